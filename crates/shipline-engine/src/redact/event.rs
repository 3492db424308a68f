//! Masking of whole events: every text in them that came from outside.

use std::borrow::Cow;

use shipline_model::finding::{Finding, Location, Rule, Suppression};
use shipline_model::path::GitPath;
use shipline_model::plan::{
    Base, BaseRule, Decision, ImageAction, MovedBase, PathChange, Plan, PlannedComponent,
    PlannedImage, Reason, Task,
};
use shipline_model::value::Value;

use super::{Redactor, harmless_json};
use crate::backend::{Artifact, Sbom, ScanReport};
use crate::event::{
    BuiltImage, DeployedCommit, EventKind, Facts, Failure, ImageChange, Outcome, PushedImage,
    SkipReason,
};

impl Redactor {
    /// A text that is one line.
    fn own(&self, text: String) -> String {
        self.show_line(&text)
    }

    /// A text of several lines.
    fn lines(&self, text: String) -> String {
        self.show(&text)
    }

    fn each(&self, texts: Vec<String>) -> Vec<String> {
        texts.into_iter().map(|text| self.own(text)).collect()
    }

    /// The event as it may be shown: every text in it that came from outside is cleaned and without secrets.
    #[must_use]
    pub fn mask_event(&self, kind: EventKind) -> EventKind {
        match kind {
            EventKind::RunStarted { run, plan } => EventKind::RunStarted {
                run,
                plan: Box::new(self.mask_plan(*plan)),
            },
            EventKind::TaskOutput { id, stream, line } => EventKind::TaskOutput {
                id,
                stream,
                line: self.own(line),
            },
            EventKind::TaskProgress {
                id,
                what,
                done,
                total,
                unit,
            } => EventKind::TaskProgress {
                id,
                what: self.own(what),
                done,
                total,
                unit,
            },
            EventKind::TaskRetrying { id, error, after } => EventKind::TaskRetrying {
                id,
                error: self.lines(error),
                after,
            },
            EventKind::FindingReported { id, finding } => EventKind::FindingReported {
                id,
                finding: self.mask_finding(finding),
            },
            EventKind::TaskFinished { id, outcome, took } => EventKind::TaskFinished {
                id,
                outcome: self.mask_outcome(outcome),
                took,
            },
            kind @ (EventKind::TaskStarted { .. }
            | EventKind::RunCancelling { .. }
            | EventKind::RunFinished { .. }) => kind,
        }
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
            not_assessed: report.not_assessed.map(|why| self.own(why)),
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

    /// A path that would show nothing secret stays as it is, whatever its bytes are.
    fn mask_path(&self, path: &GitPath) -> GitPath {
        let shown = path.to_string();
        let masked = self.own(shown.clone());
        if masked == shown {
            path.clone()
        } else {
            GitPath::new(masked)
        }
    }

    /// The plan as it may be shown.
    #[must_use]
    pub fn mask_plan(&self, plan: Plan) -> Plan {
        let mut head = plan.head;
        head.branch = head.branch.map(|branch| self.own(branch));
        head.dirty = head.dirty.iter().map(|path| self.mask_path(path)).collect();
        Plan {
            head,
            components: plan
                .components
                .into_iter()
                .map(|component| self.mask_component(component))
                .collect(),
            tasks: plan
                .tasks
                .into_iter()
                .map(|task| Task {
                    decision: self.mask_decision(task.decision),
                    ..task
                })
                .collect(),
            notes: self.each(plan.notes),
            ..plan
        }
    }

    fn mask_component(&self, component: PlannedComponent) -> PlannedComponent {
        PlannedComponent {
            base: match component.base {
                Base::Commit {
                    id,
                    rule: BaseRule::Deployed { tag, environment },
                } => Base::Commit {
                    id,
                    rule: BaseRule::Deployed {
                        tag: self.own(tag),
                        environment,
                    },
                },
                Base::Unknown { reason } => Base::Unknown {
                    reason: self.own(reason),
                },
                Base::Commit {
                    id,
                    rule: BaseRule::DefaultBranch { branch },
                } => Base::Commit {
                    id,
                    rule: BaseRule::DefaultBranch {
                        branch: self.own(branch),
                    },
                },
                base @ (Base::Commit { .. } | Base::All) => base,
            },
            reasons: component
                .reasons
                .into_iter()
                .map(|reason| self.mask_reason(reason))
                .collect(),
            bases: component
                .bases
                .into_iter()
                .map(|(reference, digest)| (self.own(reference), digest))
                .collect(),
            images: component
                .images
                .into_iter()
                .map(|image| self.mask_image(image))
                .collect(),
            ..component
        }
    }

    fn mask_reason(&self, reason: Reason) -> Reason {
        let file = |file: PathChange| PathChange {
            path: self.mask_path(&file.path),
            kind: file.kind,
        };
        match reason {
            Reason::Path {
                file: change,
                under,
                declared,
            } => Reason::Path {
                file: file(change),
                under,
                declared,
            },
            Reason::PipelineFile { file: change } => Reason::PipelineFile { file: file(change) },
            Reason::LockedBase { base } => Reason::LockedBase {
                base: MovedBase {
                    reference: self.own(base.reference),
                    ..base
                },
            },
            Reason::NoBase { why } => Reason::NoBase { why: self.own(why) },
            Reason::All => Reason::All,
        }
    }

    fn mask_image(&self, image: PlannedImage) -> PlannedImage {
        PlannedImage {
            args: image
                .args
                .into_iter()
                .map(|(name, value)| match value {
                    Value::Public(text) => (name, Value::Public(self.own(text))),
                    Value::Secret(secret) => (name, Value::Secret(secret)),
                })
                .collect(),
            action: match image.action {
                ImageAction::Build { why } => ImageAction::Build { why: self.own(why) },
                ImageAction::Take { digest, from } => ImageAction::Take { digest, from },
            },
            ..image
        }
    }

    fn mask_decision(&self, decision: Decision) -> Decision {
        match decision {
            Decision::Run { why } => Decision::Run { why: self.own(why) },
            Decision::Skip { reason } => Decision::Skip {
                reason: self.own(reason),
            },
            Decision::Cached { key, from } => Decision::Cached { key, from },
        }
    }

    pub(crate) fn mask_finding(&self, finding: Finding) -> Finding {
        let Finding {
            kind,
            rule,
            severity,
            message,
            matched,
            stem,
            location,
            commit,
            package,
            remedy,
            fixed_in,
            fingerprint,
            suppression,
        } = finding;
        let optional = |text: Option<String>| text.map(|text| self.own(text));
        Finding {
            kind,
            rule: Rule {
                id: self.own(rule.id),
                help: optional(rule.help),
                link: optional(rule.link),
                tags: self.each(rule.tags),
            },
            severity,
            message: self.own(message),
            matched: self.own(matched),
            stem: optional(stem),
            location: match location {
                Location::ImageFile {
                    layer,
                    layer_index,
                    path,
                    offset,
                } => Location::ImageFile {
                    layer,
                    layer_index,
                    path: self.own(path),
                    offset,
                },
                Location::ImageConfig { field } => Location::ImageConfig {
                    field: self.own(field),
                },
                Location::SourceFile { path, region } => Location::SourceFile {
                    path: self.own(path),
                    region,
                },
            },
            commit,
            package: optional(package),
            remedy: optional(remedy),
            fixed_in: optional(fixed_in),
            fingerprint,
            suppression: suppression.map(|suppression| match suppression {
                Suppression::Exception { reason, until } => Suppression::Exception {
                    reason: self.own(reason),
                    until,
                },
                Suppression::Baseline { file } => Suppression::Baseline {
                    file: self.own(file),
                },
            }),
        }
    }

    fn mask_outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Passed(facts) => Outcome::Passed(self.mask_facts(facts)),
            Outcome::Cached { key, from, facts } => Outcome::Cached {
                key,
                from,
                facts: self.mask_facts(facts),
            },
            Outcome::Failed(failure) => Outcome::Failed(Failure {
                class: failure.class,
                message: self.lines(failure.message),
                hints: failure
                    .hints
                    .into_iter()
                    .map(|hint| self.lines(hint))
                    .collect(),
            }),
            Outcome::Skipped {
                reason: SkipReason::Planned { reason },
            } => Outcome::Skipped {
                reason: SkipReason::Planned {
                    reason: self.own(reason),
                },
            },
            Outcome::NotAssessed { why } => Outcome::NotAssessed {
                why: self.lines(why),
            },
            outcome @ (Outcome::Skipped {
                reason: SkipReason::Dependency { .. } | SkipReason::RunFailed,
            }
            | Outcome::Cancelled) => outcome,
        }
    }

    fn mask_facts(&self, facts: Facts) -> Facts {
        match facts {
            Facts::Built(image) => Facts::Built(BuiltImage {
                bases: image
                    .bases
                    .into_iter()
                    .map(|(name, digest)| (self.own(name), digest))
                    .collect(),
                ..image
            }),
            Facts::Pushed(images) => Facts::Pushed(
                images
                    .into_iter()
                    .map(|image| PushedImage {
                        reference: self.own(image.reference),
                        ..image
                    })
                    .collect(),
            ),
            Facts::Deployed(commit) => Facts::Deployed(DeployedCommit {
                changes: commit
                    .changes
                    .into_iter()
                    .map(|change| ImageChange {
                        component: change.component,
                        file: self.own(change.file),
                        line: change.line,
                        from: self.own(change.from),
                        to: self.own(change.to),
                    })
                    .collect(),
                notes: commit
                    .notes
                    .into_iter()
                    .map(|note| self.own(note))
                    .collect(),
                ..commit
            }),
            facts @ (Facts::None | Facts::Detected { .. } | Facts::Scanned { .. }) => facts,
        }
    }
}
