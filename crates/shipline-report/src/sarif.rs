//! Scans as SARIF 2.1.0 (OASIS), the form that other tools read. The document holds what was found and nothing of the run that
//! found it: the same scan gives the same bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use shipline_engine::backend::{Artifact, Scan, ScanWriter};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::finding::{self, Finding, Location, Severity, Suppression};

/// Media type of a SARIF document.
const MEDIA_TYPE: &str = "application/sarif+json";

/// Writes scans as SARIF.
#[derive(Debug, Clone, Copy, Default)]
pub struct SarifWriter;

impl ScanWriter for SarifWriter {
    fn write(&self, scans: &[Scan]) -> Result<Artifact, BackendError> {
        let bytes = document(scans).map_err(|cause| {
            BackendError::new(ErrorClass::Failed, "write the scan's result").because(cause)
        })?;
        Ok(Artifact {
            media_type: MEDIA_TYPE.to_owned(),
            title: "image-scan.sarif.json".to_owned(),
            bytes,
        })
    }
}

/// The document of these scans, one SARIF run for each.
fn document(scans: &[Scan]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: scans.iter().map(run).collect(),
    })
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    tool: Tool<'a>,
    results: Vec<ScanResult<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: String,
    rules: Vec<Rule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<RuleProperties<'a>>,
}

#[derive(Serialize)]
struct RuleProperties<'a> {
    tags: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScanResult<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Message<'a>,
    locations: [ResultLocation; 1],
    partial_fingerprints: Fingerprints<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<ResultSuppression>,
    properties: Properties<'a>,
}

/// Named with the version of what is hashed, as the specification wants it.
#[derive(Serialize)]
struct Fingerprints<'a> {
    #[serde(rename = "shipline/v1")]
    shipline: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultLocation {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_locations: Option<[LogicalLocation; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
}

#[derive(Serialize)]
struct ResultSuppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    severity: &'static str,
    matched: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_in: Option<&'a str>,
}

fn run(scan: &Scan) -> Run<'_> {
    let rules = scan.findings.iter().map(|found| &found.rule);
    let rules: BTreeMap<&str, &finding::Rule> =
        rules.map(|rule| (rule.id.as_str(), rule)).collect();
    let ids: Vec<&str> = rules.keys().copied().collect();
    Run {
        results: scan
            .findings
            .iter()
            .map(|found| result(found, &ids))
            .collect(),
        tool: Tool {
            driver: Driver {
                name: format!("Shipline: {}", scan.scanner),
                rules: rules.into_values().map(rule).collect(),
            },
        },
    }
}

fn rule(rule: &finding::Rule) -> Rule<'_> {
    Rule {
        id: &rule.id,
        help: rule.help.as_deref().map(|text| Message { text }),
        help_uri: rule.link.as_deref(),
        properties: (!rule.tags.is_empty()).then_some(RuleProperties { tags: &rule.tags }),
    }
}

fn result<'a>(finding: &'a Finding, rules: &[&str]) -> ScanResult<'a> {
    let (layer, layer_index) = match &finding.location {
        Location::ImageFile {
            layer, layer_index, ..
        } => (Some(layer.as_str()), Some(*layer_index)),
        Location::ImageConfig { .. } | Location::SourceFile { .. } => (None, None),
    };
    ScanResult {
        rule_id: &finding.rule.id,
        rule_index: rules.partition_point(|rule| *rule < finding.rule.id.as_str()),
        level: match finding.severity {
            Severity::Critical | Severity::High => "error",
            Severity::Medium => "warning",
            Severity::Low => "note",
        },
        message: Message {
            text: &finding.message,
        },
        locations: [location(&finding.location)],
        partial_fingerprints: Fingerprints {
            shipline: finding.fingerprint.as_str(),
        },
        suppressions: finding
            .suppression
            .iter()
            .map(|suppression| ResultSuppression {
                kind: "external",
                status: "accepted",
                justification: match suppression {
                    Suppression::Exception { reason, until } => {
                        format!("{reason} (until {until})")
                    }
                    Suppression::Baseline { file } => format!("in the baseline {file}"),
                },
            })
            .collect(),
        properties: Properties {
            severity: finding.severity.as_str(),
            matched: &finding.matched,
            layer,
            layer_index,
            commit: finding.commit.as_ref().map(AsRef::as_ref),
            package: finding.package.as_deref(),
            remedy: finding.remedy.as_deref(),
            fixed_in: finding.fixed_in.as_deref(),
        },
    }
}

fn location(location: &Location) -> ResultLocation {
    let physical = |path: &str, region: Region| ResultLocation {
        physical_location: Some(PhysicalLocation {
            artifact_location: ArtifactLocation { uri: uri(path) },
            region,
        }),
        logical_locations: None,
    };
    match location {
        Location::ImageFile { path, offset, .. } => physical(
            path,
            Region {
                byte_offset: Some(*offset),
                ..Region::default()
            },
        ),
        Location::SourceFile { path, region } => physical(
            path,
            Region {
                byte_offset: None,
                start_line: Some(region.start.line),
                start_column: region.start.column,
                end_line: region.end.map(|end| end.line),
                end_column: region.end.and_then(|end| end.column),
            },
        ),
        Location::ImageConfig { field } => ResultLocation {
            physical_location: None,
            logical_locations: Some([LogicalLocation {
                fully_qualified_name: field.clone(),
            }]),
        },
    }
}

/// A path as relative URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.trim_start_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use shipline_model::finding::{FindingKind, Position};
    use shipline_model::name::Digest;

    use super::*;

    fn finding(rule: &str, location: Location, suppressed: bool) -> Finding {
        Finding {
            suppression: suppressed.then(|| Suppression::Exception {
                reason: "a link".to_owned(),
                until: "2099-12-31".to_owned(),
            }),
            ..Finding::new(
                FindingKind::Leak,
                finding::Rule::new(rule),
                Severity::Critical,
                "the staging image holds production's URL",
                "https://example.com/api",
                location,
            )
        }
    }

    #[test]
    fn all_that_is_known_of_a_finding_is_in_its_result() {
        let at = |line, column| Position {
            line,
            column: Some(column),
        };
        let location = Location::SourceFile {
            path: "src/a.rs".to_owned(),
            region: finding::Region {
                start: at(3, 5),
                end: Some(at(4, 1)),
            },
        };
        let mut found = finding("CVE-2025-0001", location, false);
        found.kind = FindingKind::Vulnerability;
        found.rule.help = Some("a buffer is too small".to_owned());
        found.rule.link = Some("https://example.com/CVE-2025-0001".to_owned());
        found.rule.tags = vec!["CWE-120".to_owned()];
        found.package = Some("pkg:cargo/x@1.0.0".to_owned());
        found.remedy = Some("update x".to_owned());
        found.fixed_in = Some("1.0.1".to_owned());
        found.suppression = Some(Suppression::Baseline {
            file: "scans/known.json".to_owned(),
        });
        let scan = Scan {
            scanner: "advisories".to_owned(),
            findings: vec![found.clone()],
        };
        let written = SarifWriter.write(&[scan]).unwrap();
        let log: serde_json::Value = serde_json::from_slice(&written.bytes).unwrap();
        let run = &log["runs"][0];
        let rule = &run["tool"]["driver"]["rules"][0];
        assert_eq!(rule["help"]["text"], "a buffer is too small");
        assert_eq!(rule["helpUri"], "https://example.com/CVE-2025-0001");
        assert_eq!(rule["properties"]["tags"], serde_json::json!(["CWE-120"]));
        let result = &run["results"][0];
        assert_eq!(
            result["locations"][0]["physicalLocation"]["region"],
            serde_json::json!({ "startLine": 3, "startColumn": 5, "endLine": 4, "endColumn": 1 })
        );
        assert_eq!(
            result["partialFingerprints"]["shipline/v1"],
            found.fingerprint.as_str()
        );
        assert_eq!(result["properties"]["package"], "pkg:cargo/x@1.0.0");
        assert_eq!(result["properties"]["remedy"], "update x");
        assert_eq!(result["properties"]["fixedIn"], "1.0.1");
        assert_eq!(
            result["suppressions"][0]["justification"],
            "in the baseline scans/known.json"
        );
    }

    #[test]
    fn findings_are_results_with_place_and_suppression() {
        let layer = Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
        let scan = Scan {
            scanner: "environment leaks".to_owned(),
            findings: vec![
                finding(
                    "environment-leak",
                    Location::ImageFile {
                        layer: layer.clone(),
                        layer_index: 2,
                        path: "/app/[id] ü.js".to_owned(),
                        offset: 123,
                    },
                    true,
                ),
                finding(
                    "another",
                    Location::ImageConfig {
                        field: "config.Env[2]".to_owned(),
                    },
                    false,
                ),
            ],
        };
        let bytes = document(std::slice::from_ref(&scan)).unwrap();
        assert_eq!(bytes, document(&[scan]).unwrap());
        let log: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "Shipline: environment leaks");
        let results = run["results"].as_array().unwrap();
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(
                run["tool"]["driver"]["rules"][index]["id"],
                result["ruleId"]
            );
            assert_eq!(result["level"], "error");
        }
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "app/%5Bid%5D%20%C3%BC.js");
        assert_eq!(place["region"]["byteOffset"], 123);
        assert_eq!(results[0]["properties"]["layer"], layer.as_str());
        assert_eq!(
            results[0]["suppressions"][0]["justification"],
            "a link (until 2099-12-31)"
        );
        assert_eq!(
            results[1]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
            "config.Env[2]"
        );
        assert!(results[1].get("suppressions").is_none());
    }

    #[test]
    fn a_scan_that_found_nothing_is_a_document_too() {
        let scan = Scan {
            scanner: "environment leaks".to_owned(),
            findings: Vec::new(),
        };
        let log: serde_json::Value = serde_json::from_slice(&document(&[scan]).unwrap()).unwrap();
        assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
    }
}
