//! A writer of scan results that writes all that a reader could look for.

use shipline_engine::backend::{Artifact, Scan, ScanWriter};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::finding::Suppression;

/// Writes scans as plain JSON, under SARIF's media type.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainScanWriter;

impl ScanWriter for PlainScanWriter {
    fn write(&self, scans: &[Scan]) -> Result<Artifact, BackendError> {
        let scans: Vec<_> = scans
            .iter()
            .map(|scan| {
                let findings = scan.findings.iter().map(|finding| {
                    serde_json::json!({
                        "rule": finding.rule.id,
                        "message": finding.message,
                        "matched": finding.matched,
                        "place": finding.location.stable(),
                        "suppression": finding.suppression.as_ref().map(|why| match why {
                            Suppression::Exception { reason, until } => {
                                format!("{reason} until {until}")
                            }
                            Suppression::Baseline { file } => file.clone(),
                        }),
                    })
                });
                serde_json::json!({ "scanner": scan.scanner, "findings": findings.collect::<Vec<_>>() })
            })
            .collect();
        Ok(Artifact {
            media_type: "application/sarif+json".to_owned(),
            title: "image-scan.sarif.json".to_owned(),
            bytes: serde_json::to_vec(&scans).map_err(|cause| {
                BackendError::new(ErrorClass::Failed, "write the scan's result").because(cause)
            })?,
        })
    }
}
