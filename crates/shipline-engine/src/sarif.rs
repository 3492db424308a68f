//! Scans as SARIF 2.1.0 (OASIS), the form that other tools read. The document holds what was found and nothing of the run that
//! found it: the same scan gives the same bytes.

use serde::Serialize;
use shipline_model::finding::{Finding, Location, Severity};

/// Media type of a SARIF document.
pub const MEDIA_TYPE: &str = "application/sarif+json";

/// What one scanner found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The scanner's name, for people ("environment leaks").
    pub scanner: String,
    /// Everything found, suppressed findings included and marked.
    pub findings: Vec<Finding>,
}

/// The document of these scans, one SARIF run for each.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn document(scans: &[Scan]) -> Result<Vec<u8>, serde_json::Error> {
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
struct Rule<'a> {
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScanResult<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Message<'a>,
    locations: [ResultLocation; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<ResultSuppression>,
    properties: Properties<'a>,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    #[serde(skip_serializing_if = "Option::is_none")]
    byte_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_line: Option<u32>,
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
}

fn run(scan: &Scan) -> Run<'_> {
    let mut rules: Vec<&str> = scan
        .findings
        .iter()
        .map(|found| found.rule.as_str())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    Run {
        results: scan
            .findings
            .iter()
            .map(|found| result(found, &rules))
            .collect(),
        tool: Tool {
            driver: Driver {
                name: format!("Shipline: {}", scan.scanner),
                rules: rules.into_iter().map(|id| Rule { id }).collect(),
            },
        },
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
        rule_id: &finding.rule,
        rule_index: rules.partition_point(|rule| *rule < finding.rule.as_str()),
        level: match finding.severity {
            Severity::Critical | Severity::High => "error",
            Severity::Medium => "warning",
            Severity::Low => "note",
        },
        message: Message {
            text: &finding.message,
        },
        locations: [location(&finding.location)],
        suppressions: finding
            .suppression
            .iter()
            .map(|suppression| ResultSuppression {
                kind: "external",
                status: "accepted",
                justification: format!("{} (until {})", suppression.reason, suppression.until),
            })
            .collect(),
        properties: Properties {
            severity: finding.severity.as_str(),
            matched: &finding.matched,
            layer,
            layer_index,
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
                start_line: None,
            },
        ),
        Location::SourceFile { path, line } => physical(
            path,
            Region {
                byte_offset: None,
                start_line: Some(*line),
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
    use shipline_model::finding::Suppression;
    use shipline_model::name::Digest;

    use super::*;

    fn finding(rule: &str, location: Location, suppressed: bool) -> Finding {
        Finding {
            rule: rule.to_owned(),
            severity: Severity::Critical,
            message: "the staging image holds production's URL".to_owned(),
            matched: "https://example.com/api".to_owned(),
            location,
            suppression: suppressed.then(|| Suppression {
                reason: "a link".to_owned(),
                until: "2099-12-31".to_owned(),
            }),
        }
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
