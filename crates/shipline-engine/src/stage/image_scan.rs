//! `image-scan`: every scanner looks into the image in the store, and the gate judges; its packages are listed in an SBOM.

use std::sync::Arc;

use shipline_model::finding::{Finding, Group, Location, Severity, grouped};
use shipline_model::plan::{Decision, ImageId};

use super::look::{Reported, look};
use super::sbom::Source;
use super::{Ended, StageTask};
use crate::backend::{Scan, Scanner, TargetKind};
use crate::error::{BackendError, ErrorClass, chain};
use crate::event::Facts;
use crate::findings::{Judged, TargetName};
use crate::task::TaskMessage;

/// Findings that a failure's message names; all are reported.
const NAMED: usize = 10;

/// What all scanners together said.
#[derive(Default)]
struct Total {
    bytes: u64,
    findings: usize,
    suppressed: usize,
    packages: Option<usize>,
    /// Findings that the gate does not let pass, with their image.
    stopped: Vec<(ImageId, Finding)>,
    /// Why nothing could be told of an image, where that is no pass.
    not_assessed: Option<String>,
    /// What scanners cannot decide of findings that count.
    undecided: Vec<String>,
    /// The run and key of the report, as long as all reports were taken.
    taken: Option<(String, String)>,
    scanned: bool,
}

/// What the gate says to a task's images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Passed,
    Stopped,
}

impl Total {
    fn gate(&self) -> Gate {
        if self.stopped.is_empty() && self.not_assessed.is_none() {
            Gate::Passed
        } else {
            Gate::Stopped
        }
    }

    fn count(&mut self, image: &ImageId, judged: &Judged) {
        self.findings += judged.findings.len();
        let suppressed = |finding: &&Finding| finding.suppression.is_some();
        self.suppressed += judged.findings.iter().filter(suppressed).count();
        for index in &judged.stopped {
            self.stopped
                .push((image.clone(), judged.findings[*index].clone()));
        }
        if let Some(why) = &judged.not_assessed {
            self.not_assessed
                .get_or_insert_with(|| format!("{image}: {why}"));
        }
    }
}

pub(super) async fn run(task: &StageTask) -> Result<Ended, BackendError> {
    let shared = &task.shared;
    let scanners = &shared.backends.scanners;
    let image = |scanner: &Arc<dyn Scanner>| scanner.looks_into(TargetKind::Image);
    if !scanners.iter().any(image) {
        return Ok(Ended::NotAssessed("no scanner is configured".to_owned()));
    }
    let mut total = Total::default();
    for image in task.images() {
        let digest = shared.digest(image)?;
        let looked = look(task, image, &digest).await?;
        let mut scans = Vec::with_capacity(looked.reports.len());
        for Reported {
            scanner,
            report,
            taken,
        } in looked.reports
        {
            match taken {
                Some(from) => total.taken = Some(from),
                None => total.scanned = true,
            }
            total.bytes = total.bytes.max(report.bytes);
            let undecided = report.undecided.clone();
            let judged = shared
                .judge
                .judge(&TargetName::from(&image.id), scanner.kind(), report);
            total.count(&image.id, &judged);
            let counts = |finding: &Finding| finding.suppression.is_none();
            if judged.findings.iter().any(counts) {
                total.undecided.extend(undecided);
            }
            shared.results().exceptions.extend(&judged.exceptions);
            for note in judged.notes {
                task.context.note(note).await;
            }
            scans.push(Scan {
                scanner: scanner.name().to_owned(),
                findings: judged.findings.clone(),
            });
            for finding in judged.findings {
                task.context
                    .say(TaskMessage::Finding(Box::new(finding)))
                    .await;
            }
        }
        match looked.sbom {
            Ok(sbom) => {
                for note in sbom.notes {
                    let line = format!("SBOM of {}: {note}", image.id);
                    task.context.note(line).await;
                }
                *total.packages.get_or_insert(0) += sbom.packages;
                total.scanned |= sbom.source == Source::Made;
            }
            Err(error) if error.class == ErrorClass::Cancelled => return Err(error),
            // One that cannot be made is no reason not to publish.
            Err(error) => {
                let line = format!("{} has no SBOM: failed to {}", image.id, chain(&error));
                task.context.note(line).await;
            }
        }
        if total.gate() == Gate::Passed {
            let mut results = shared.results();
            results.passed.insert(image.id.clone(), digest);
            results.scans.insert(image.id.clone(), scans);
        }
    }
    for note in unused(task, total.gate()) {
        task.context.note(note).await;
    }
    if !total.stopped.is_empty() {
        return Err(stopped(task, &total.stopped));
    }
    if let Some(why) = total.not_assessed {
        return Ok(Ended::NotAssessed(why));
    }
    let facts = Facts::Scanned {
        bytes: total.bytes,
        findings: total.findings,
        suppressed: total.suppressed,
        packages: total.packages,
        not_assessed: total.undecided,
    };
    Ok(match total.taken {
        Some((from, key)) if !total.scanned => Ended::Cached { key, from, facts },
        Some(_) | None => Ended::Passed(facts),
    })
}

/// What the last image scan of the run says, and one that the gate does not let pass, for others may not come to it any more: the
/// exceptions that no image needed, of those that speak of images of this run.
fn unused(task: &StageTask, gate: Gate) -> Vec<String> {
    let shared = &task.shared;
    let kind = &task.task.kind;
    let planned = shared.plan.tasks.iter().filter(|task| {
        task.kind == *kind
            && match &task.decision {
                Decision::Run { .. } => true,
                Decision::Cached { .. } | Decision::Skip { .. } => false,
            }
    });
    let planned = planned.count();
    let mut results = shared.results();
    results.scanned.extend(task.task.id.component.clone());
    if gate == Gate::Passed && results.scanned.len() != planned {
        return Vec::new();
    }
    let exceptions = shared.config.scans.ignore.iter().filter(|ignore| {
        let concerns = match (&ignore.component, &ignore.variant) {
            (Some(component), _) => results.scanned.contains(component),
            (None, _) => true,
        };
        concerns && !results.exceptions.contains(&ignore.line)
    });
    exceptions
        .map(|ignore| {
            format!(
                "the exception from {} in line {} of pipeline.yaml matched nothing in this run",
                ignore.rule, ignore.line
            )
        })
        .collect()
}

fn describe(group: &Group<'_>) -> String {
    let finding = group.finding;
    let place = match &finding.location {
        Location::ImageFile {
            layer,
            layer_index,
            path,
            offset,
        } => format!(
            "{path}, byte {offset}, layer {layer_index} ({})",
            layer.short()
        ),
        Location::ImageConfig { field } => field.clone(),
        Location::SourceFile { path, region } => format!("{path}:{}", region.start.line),
    };
    let more = match group.places.len() {
        0 | 1 => String::new(),
        2 => " and one more place".to_owned(),
        places => format!(" and {} more places", places - 1),
    };
    format!(
        "{} ({}) in {place}{more}: {}",
        finding.rule.id,
        finding.severity.as_str(),
        finding.message
    )
}

fn stopped(task: &StageTask, findings: &[(ImageId, Finding)]) -> BackendError {
    let gates = findings
        .iter()
        .map(|(_, finding)| task.shared.judge.fail_on(finding.kind));
    let gate = gates.min().unwrap_or(Severity::Low);
    let mut images: Vec<&ImageId> = findings.iter().map(|(image, _)| image).collect();
    images.dedup();
    let mut lines = Vec::new();
    for image in images {
        let of_image = findings
            .iter()
            .filter(|(other, _)| other == image)
            .map(|(_, finding)| finding);
        for group in grouped(of_image) {
            lines.push(format!("{image}: {}", describe(&group)));
        }
    }
    let further = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if further > 0 {
        lines.push(format!("and {further} more"));
    }
    BackendError::new(
        ErrorClass::Failed,
        format!(
            "pass the gate: {} finding{} at or above {}\n  {}",
            findings.len(),
            if findings.len() == 1 { "" } else { "s" },
            gate.as_str(),
            lines.join("\n  ")
        ),
    )
    .hint("mend what was found, or list it under `scans.ignore` with a reason and an end")
}
