//! Decisions and results in a few words, for reporters and for `plan` and `explain`.

use std::collections::BTreeSet;

use shipline_engine::event::{CancelReason, Facts, Outcome, SkipReason};
use shipline_model::finding::{Finding, Group, Location, Suppression};
use shipline_model::plan::{Base, BaseRule, ChangeKind, DeclaredBy, Head, PathChange, Reason};

use crate::text::{bytes, counted};

/// What is checked out: `1a2b3c4d on main, 2 uncommitted files`.
#[must_use]
pub fn head(head: &Head) -> String {
    let branch = match &head.branch {
        Some(branch) => format!("on {branch}"),
        None => "detached".to_owned(),
    };
    let dirty = match head.dirty.len() {
        0 => String::new(),
        count => format!(
            ", {}",
            counted(count, "uncommitted file", "uncommitted files")
        ),
    };
    format!("{} {branch}{dirty}", head.commit.short())
}

/// What a change is measured from: `since 1a2b3c4d, which staging runs (staging-1a2b3c4d-20260102030405)`.
#[must_use]
pub fn base(base: &Base) -> String {
    match base {
        Base::Commit {
            rule: BaseRule::Deployed { tag, .. },
            ..
        } => format!("{} ({tag})", since(base)),
        Base::Commit { .. } | Base::Unknown { .. } | Base::All => since(base),
    }
}

/// The same without the tag, whose commit it names.
pub(crate) fn since(base: &Base) -> String {
    match base {
        Base::Commit { id, rule } => {
            let rule = match rule {
                BaseRule::Asked => "as asked for".to_owned(),
                BaseRule::PullRequest => "the pull request's merge base".to_owned(),
                BaseRule::PullRequestBase => {
                    "the tip of what the pull request goes into".to_owned()
                }
                BaseRule::Deployed { environment, .. } => format!("which {environment} runs"),
                BaseRule::PushBefore => "the head before this push".to_owned(),
                BaseRule::DefaultBranch { branch } => format!("the merge base with {branch}"),
            };
            format!("since {}, {rule}", id.short())
        }
        Base::Unknown { reason } => format!("since when is not known: {reason}"),
        Base::All => "everything was asked for".to_owned(),
    }
}

/// Why a component is affected: `src/main.rs modified`.
#[must_use]
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Path {
            file,
            under,
            declared,
        } => {
            let through = match declared {
                DeclaredBy::Path => String::new(),
                DeclaredBy::Uses => format!(" (it uses {under})"),
            };
            format!("{}{through}", change(file))
        }
        Reason::PipelineFile { file } => format!("{} (it affects all)", change(file)),
        Reason::LockedBase { base } => format!("its locked base {} moved", base.reference),
        Reason::NoBase { why } => format!("counts as changed: {why}"),
        Reason::All => "everything was asked for".to_owned(),
    }
}

fn change(file: &PathChange) -> String {
    let kind = match file.kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "modified",
        ChangeKind::Deleted => "deleted",
    };
    format!("{} {kind}", file.path)
}

/// What a task produced; empty where there is nothing to tell.
#[must_use]
pub fn facts(facts: &Facts) -> String {
    match facts {
        Facts::None => String::new(),
        Facts::Detected { affected, of } => {
            format!(
                "{affected} of {} affected",
                counted(*of, "component", "components")
            )
        }
        Facts::Built(image) => {
            let reused = match image.reused_layers {
                0 => String::new(),
                reused => format!(" ({reused} reused)"),
            };
            format!(
                "sha256:{}  {}, {}{reused}",
                image.digest.short(),
                bytes(image.size),
                counted(image.layers, "layer", "layers"),
            )
        }
        Facts::Scanned {
            bytes: 0,
            findings: 0,
            suppressed: _,
            packages,
            not_assessed: _,
        } => match packages {
            Some(packages) => sbom(*packages),
            None => "nothing to look for".to_owned(),
        },
        Facts::Scanned {
            bytes: looked_at,
            findings,
            suppressed,
            packages,
            not_assessed,
        } => {
            let found = match (findings, suppressed) {
                (0, _) => "no findings".to_owned(),
                (found, 0) => counted(*found, "finding", "findings"),
                (found, ignored) => format!(
                    "{} ({ignored} ignored)",
                    counted(*found, "finding", "findings")
                ),
            };
            let sbom = match packages {
                Some(packages) => format!(", {}", sbom(*packages)),
                None => String::new(),
            };
            let open = match not_assessed.as_slice() {
                [] => String::new(),
                open => format!("; not assessed: {}", open.join("; ")),
            };
            format!("{found} in {}{sbom}{open}", bytes(*looked_at))
        }
        Facts::Pushed(images) => {
            let sent: u64 = images.iter().map(|image| image.sent).sum();
            let there = images.iter().filter(|image| image.already_there).count();
            let there = match there {
                0 => String::new(),
                there if there == images.len() => ", already there".to_owned(),
                there => format!(", {there} already there"),
            };
            format!(
                "{}, {} sent{there}",
                counted(images.len(), "image", "images"),
                bytes(sent)
            )
        }
        Facts::Deployed(commit) if commit.made => format!(
            "commit {}, {} changed",
            short(&commit.commit),
            counted(commit.changes.len(), "image", "images")
        ),
        Facts::Deployed(commit) => format!("up to date at commit {}", short(&commit.commit)),
    }
}

fn sbom(packages: usize) -> String {
    match packages {
        // A static program says nothing of what it was made of: that is not the same as nothing.
        0 => "SBOM: no package data found".to_owned(),
        packages => format!("SBOM: {}", counted(packages, "package", "packages")),
    }
}

/// How a task ended, in a word and what there is to tell: `cached from 20260102030405-abcdef`.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(produced) => facts(produced),
        Outcome::Cached {
            from,
            facts: produced,
            ..
        } => match facts(produced) {
            text if text.is_empty() => format!("cached from run {from}"),
            text => format!("{text}, cached from run {from}"),
        },
        Outcome::Failed(failure) => failed(&failure.message),
        Outcome::Skipped { reason } => skip(reason),
        Outcome::NotAssessed { why } => format!("not assessed: {why}"),
        Outcome::Cancelled => "stopped".to_owned(),
    }
}

/// What a failure's message says was attempted, as a sentence.
pub(crate) fn failed(message: &str) -> String {
    format!("failed to {message}")
}

/// `12ms`, `0.3s`, `12.0s`, `2m 05s`, `1h 02m`.
#[must_use]
pub fn duration(took: std::time::Duration) -> String {
    crate::text::duration(took)
}

/// Why a task did not run.
#[must_use]
pub fn skip(reason: &SkipReason) -> String {
    match reason {
        SkipReason::Planned { reason } => reason.clone(),
        SkipReason::Dependency { failed } => format!("{failed} did not pass"),
        SkipReason::RunFailed => "the run had failed".to_owned(),
    }
}

/// What was found and where, in one line.
#[must_use]
pub fn finding(finding: &Finding) -> String {
    format!(
        "{} in {}{}",
        what(finding),
        location(&finding.location),
        ignored(finding)
    )
}

fn what(finding: &Finding) -> String {
    format!(
        "{} {}: {}",
        finding.severity.as_str(),
        finding.rule.id,
        finding.message
    )
}

fn ignored(finding: &Finding) -> String {
    match &finding.suppression {
        Some(Suppression::Exception { reason, until }) => {
            format!(" (ignored until {until}: {reason})")
        }
        Some(Suppression::Baseline { file }) => format!(" (in the baseline {file})"),
        None => String::new(),
    }
}

/// Files that a group of findings names.
const PLACES: usize = 3;

/// What was found in several places, in one line.
#[must_use]
pub fn findings(group: &Group<'_>) -> String {
    let [_, _, ..] = group.places.as_slice() else {
        return finding(group.finding);
    };
    let files: BTreeSet<&str> = group
        .places
        .iter()
        .filter_map(|place| place.path())
        .collect();
    let named: Vec<String> = group
        .places
        .iter()
        .take(PLACES)
        .map(|place| location(place))
        .collect();
    let more = match group.places.len().saturating_sub(PLACES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = if files.is_empty() {
        counted(group.places.len(), "place", "places")
    } else {
        counted(files.len(), "file", "files")
    };
    format!(
        "{} in {count}: {}{more}{}",
        what(group.finding),
        named.join(", "),
        ignored(group.finding)
    )
}

/// A place.
#[must_use]
pub fn location(location: &Location) -> String {
    match location {
        Location::ImageFile {
            layer_index,
            path,
            offset,
            ..
        } => format!("{path}, byte {offset} (layer {})", layer_index + 1),
        Location::ImageConfig { field } => format!("the image's {field}"),
        Location::SourceFile { path, region } => format!("{path}:{}", region.start.line),
    }
}

/// Why a run is being stopped, and what a person can do.
#[must_use]
pub fn cancel(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Interrupt => {
            "stopping: interrupted; commands have 10 s to end, a second Ctrl-C kills them"
        }
        CancelReason::Terminate => "stopping: told to terminate; commands have 10 s to end",
        CancelReason::Kill => "killing what still runs",
    }
}

/// The first 8 hex digits of a commit.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..8).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use shipline_model::finding::{FindingKind, Region, Rule, Severity, grouped};

    use super::*;

    #[test]
    fn findings_that_differ_in_their_place_are_one_line() {
        let of = |count: u32| -> Vec<Finding> {
            let at = |number| {
                let location = Location::SourceFile {
                    path: format!("{}.js", number % 26),
                    region: Region::line(number),
                };
                let rule = Rule::new("environment-leak");
                let (kind, severity) = (FindingKind::Leak, Severity::Critical);
                Finding::new(kind, rule, severity, "it holds a URL", "", location)
            };
            (0..count).map(at).collect()
        };
        let lines = |findings: &[Finding]| -> Vec<String> {
            grouped(findings).iter().map(super::findings).collect()
        };
        assert_eq!(
            lines(&of(51)),
            [
                "critical environment-leak: it holds a URL in 26 files: 0.js:0, 1.js:1, 2.js:2 and 48 more"
            ]
        );
        assert_eq!(
            lines(&of(2)),
            ["critical environment-leak: it holds a URL in 2 files: 0.js:0, 1.js:1"]
        );
        assert_eq!(
            lines(&of(1)),
            ["critical environment-leak: it holds a URL in 0.js:0"]
        );
    }
}
