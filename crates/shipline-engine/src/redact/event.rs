//! Masking of whole events, reports and documents.

use std::borrow::Cow;

use shipline_model::finding::Finding;
use shipline_model::path::GitPath;
use shipline_model::plan::Plan;

use super::texts::{Text, of_event, of_finding, of_plan};
use super::{Redactor, harmless_json};
use crate::backend::{Artifact, Sbom, ScanReport};
use crate::event::EventKind;

impl Redactor {
    /// A text without secrets, and clean.
    fn see(&self, text: Text<'_>) {
        match text {
            Text::Line(line) => *line = self.show_line(line),
            Text::Lines(lines) => *lines = self.show(lines),
            Text::Path(path) => {
                let shown = path.to_string();
                let masked = self.show_line(&shown);
                // A path that would show nothing secret stays as it is, whatever its bytes are.
                if masked != shown {
                    *path = GitPath::new(masked);
                }
            }
        }
    }

    fn each(&self, texts: Vec<String>) -> Vec<String> {
        texts.iter().map(|text| self.show_line(text)).collect()
    }

    /// The event as it may be shown: every text in it that came from outside is cleaned and without secrets.
    #[must_use]
    pub fn mask_event(&self, mut kind: EventKind) -> EventKind {
        of_event(&mut kind, &mut |text| self.see(text));
        kind
    }

    /// The plan as it may be shown.
    #[must_use]
    pub fn mask_plan(&self, mut plan: Plan) -> Plan {
        of_plan(&mut plan, &mut |text| self.see(text));
        plan
    }

    pub(crate) fn mask_finding(&self, mut finding: Finding) -> Finding {
        of_finding(&mut finding, &mut |text| self.see(text));
        finding
    }

    /// The report without any secret.
    pub(crate) fn mask_report(&self, report: ScanReport) -> ScanReport {
        ScanReport {
            findings: report
                .findings
                .into_iter()
                .map(|finding| self.mask_finding(finding))
                .collect(),
            bytes: report.bytes,
            notes: self.each(report.notes),
            not_assessed: report.not_assessed.map(|why| self.show_line(&why)),
            undecided: report.undecided.map(|why| self.show_line(&why)),
        }
    }

    /// A JSON document without any secret, and [harmless](super::harmless_json) where it is shown. It stays JSON, and the same
    /// bytes where there is neither.
    #[must_use]
    pub fn mask_document(&self, document: Vec<u8>) -> Vec<u8> {
        let masked = match self.mask_bytes(&document) {
            Cow::Borrowed(_) => None,
            Cow::Owned(masked) => Some(match serde_json::from_slice(&document) {
                Ok(value) => self.mask_json(value).to_string().into_bytes(),
                Err(_) => masked,
            }),
        };
        let document = masked.unwrap_or(document);
        match std::str::from_utf8(&document).map(harmless_json) {
            Ok(Cow::Owned(harmless)) => harmless.into_bytes(),
            Ok(Cow::Borrowed(_)) | Err(_) => document,
        }
    }

    /// The SBOM without any secret.
    pub(crate) fn mask_sbom(&self, sbom: Sbom) -> Sbom {
        Sbom {
            document: Artifact {
                bytes: self.mask_document(sbom.document.bytes),
                ..sbom.document
            },
            packages: sbom.packages,
            notes: self.each(sbom.notes),
        }
    }

    fn mask_json(&self, value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::String(text) => Value::String(self.mask(&text).into_owned()),
            Value::Array(values) => {
                let values = values.into_iter();
                Value::Array(values.map(|value| self.mask_json(value)).collect())
            }
            Value::Object(fields) => {
                let fields = fields.into_iter();
                let masked = fields
                    .map(|(key, value)| (self.mask(&key).into_owned(), self.mask_json(value)));
                Value::Object(masked.collect())
            }
            value @ (Value::Null | Value::Bool(_) | Value::Number(_)) => value,
        }
    }
}
