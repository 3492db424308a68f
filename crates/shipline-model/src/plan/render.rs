//! A plan as text: all of it in a line for each decision, or one component with everything that led there.

use std::fmt::Write as _;

use super::affected::MOST_REASONS;
use super::types::{
    Base, BaseRule, ChangeKind, Decision, DeclaredBy, ImageAction, Plan, PlannedComponent, Reason,
    Task,
};
use crate::name::{ComponentName, Digest};

/// Hex digits of a key that are shown where a line must stay short.
const SHORT_KEY: usize = 12;

/// The whole plan: what is checked out, each component with its reason, each task with its decision.
#[must_use]
pub fn render(plan: &Plan) -> String {
    let mut lines = vec![header(plan)];
    lines.extend(plan.notes.iter().map(|note| labelled(note)));
    let components: Vec<(String, String)> = plan
        .components
        .iter()
        .map(|component| (component.name.to_string(), verdict(component)))
        .collect();
    table("components", &components, &mut lines);
    let tasks: Vec<(String, String)> = plan
        .tasks
        .iter()
        .map(|task| (task.id.to_string(), decision(&task.decision)))
        .collect();
    table("tasks", &tasks, &mut lines);
    ended(lines)
}

/// One component: what it is measured from, which files affect it by which rule, its keys, its tags, and what happens with
/// each of its tasks and why.
#[must_use]
pub fn explain(plan: &Plan, component: &ComponentName) -> String {
    let mut lines = vec![header(plan)];
    let Some(planned) = plan.components.iter().find(|it| it.name == *component) else {
        lines.push(format!(
            "{component} is not among the components of this plan"
        ));
        return ended(lines);
    };
    let affected = if planned.reasons.is_empty() {
        "not affected"
    } else {
        "affected"
    };
    lines.push(format!("{component} is {affected}"));
    lines.push(format!("  measured {}", base(&planned.base)));
    if planned.reasons.is_empty() {
        lines.push(
            "  no changed file lies under its path, its uses, or affects all components".to_owned(),
        );
        return ended(lines);
    }
    lines.push("  because".to_owned());
    lines.extend(
        planned
            .reasons
            .iter()
            .map(|it| format!("    {}", reason(it, component))),
    );
    if planned.reasons.len() >= MOST_REASONS {
        lines.push("    there may be more".to_owned());
    }
    if let Some(key) = &planned.source_key {
        lines.push(format!("  source key {key}"));
    }
    for (reference, digest) in &planned.bases {
        lines.push(format!("  base {reference} is {digest} (pipeline.lock)"));
    }
    images(planned, &mut lines);
    let of_it = |task: &&Task| task.id.component.as_ref() == Some(component);
    let tasks: Vec<(String, String)> = plan
        .tasks
        .iter()
        .filter(of_it)
        .map(|task| (task.id.to_string(), decision(&task.decision)))
        .collect();
    table("tasks", &tasks, &mut lines);
    ended(lines)
}

/// A note behind its label. One that says itself that it is a warning needs no other.
fn labelled(note: &str) -> String {
    match note.strip_prefix("warning: ") {
        Some(_) => note.to_owned(),
        None => format!("note: {note}"),
    }
}

fn header(plan: &Plan) -> String {
    let branch = plan.head.branch.as_ref();
    let branch = branch.map_or("detached".to_owned(), |branch| format!("on {branch}"));
    let dirty = match plan.head.dirty.len() {
        0 => String::new(),
        1 => ", 1 uncommitted path".to_owned(),
        count => format!(", {count} uncommitted paths"),
    };
    format!(
        "pipeline {}, profile {}, commit {} {branch}{dirty}",
        plan.pipeline,
        plan.profile,
        plan.head.commit.short()
    )
}

fn images(planned: &PlannedComponent, lines: &mut Vec<String>) {
    for image in &planned.images {
        lines.push(format!(
            "  image {} as {}:{}",
            image.id, image.repository, image.tag
        ));
        lines.push(format!("    build key {}", image.build_key));
        lines.push(format!(
            "    from commit {} for {}",
            image.commit.short(),
            image.platform
        ));
        lines.push(match &image.action {
            ImageAction::Build { why } => format!("    will be built: {why}"),
            ImageAction::Take { digest, from } => {
                format!("    taken from run {from}: {digest}")
            }
        });
    }
}

fn verdict(component: &PlannedComponent) -> String {
    let Some(first) = component.reasons.first() else {
        return format!("not affected {}", base(&component.base));
    };
    let more = match component.reasons.len() - 1 {
        0 => String::new(),
        more if component.reasons.len() >= MOST_REASONS => format!(" and at least {more} more"),
        more => format!(" and {more} more"),
    };
    let since = match &component.base {
        Base::Commit { id: _, rule: _ } => format!(" {}", base(&component.base)),
        Base::Unknown { reason: _ } | Base::All => String::new(),
    };
    match first {
        // Why stands in a note, once for all components.
        Reason::NoBase { why: _ } => "counts as changed".to_owned(),
        Reason::Path { .. }
        | Reason::PipelineFile { .. }
        | Reason::LockedBase { .. }
        | Reason::All => {
            format!("{}{more}{since}", short_reason(first))
        }
    }
}

fn short_reason(reason: &Reason) -> String {
    match reason {
        Reason::Path { file, .. } | Reason::PipelineFile { file } => {
            format!("{} {}", file.path, changed(file.kind))
        }
        Reason::LockedBase { base } => {
            format!("pipeline.lock moves {}", base.reference)
        }
        Reason::NoBase { why } => format!("counts as changed: {why}"),
        Reason::All => "everything was asked for".to_owned(),
    }
}

fn reason(reason: &Reason, component: &ComponentName) -> String {
    match reason {
        Reason::Path {
            file,
            under,
            declared,
        } => {
            let key = match declared {
                DeclaredBy::Path => "path",
                DeclaredBy::Uses => "uses",
            };
            format!(
                "{} {} → {key} {under} → {component}",
                file.path,
                changed(file.kind)
            )
        }
        Reason::PipelineFile { file } => {
            format!(
                "{} {} → affects all → {component}",
                file.path,
                changed(file.kind)
            )
        }
        Reason::LockedBase { base } => {
            let digest = |digest: &Option<Digest>| {
                digest
                    .as_ref()
                    .map_or("nothing".to_owned(), ToString::to_string)
            };
            format!(
                "pipeline.lock moves {} from {} to {} → {component}",
                base.reference,
                digest(&base.from),
                digest(&base.to)
            )
        }
        Reason::NoBase { .. } | Reason::All => format!("{} → {component}", short_reason(reason)),
    }
}

fn changed(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "modified",
        ChangeKind::Deleted => "deleted",
    }
}

fn base(base: &Base) -> String {
    match base {
        Base::Commit { id, rule } => {
            let rule = match rule {
                BaseRule::Asked => "the base that was asked for".to_owned(),
                BaseRule::PullRequest => "the merge base of the pull request".to_owned(),
                BaseRule::PullRequestBase => {
                    "the tip of what the pull request goes into; the merge base is not in this clone"
                        .to_owned()
                }
                BaseRule::Deployed { tag, environment } => {
                    format!("what {environment} runs, {tag}")
                }
                BaseRule::PushBefore => "where the branch stood before the push".to_owned(),
                BaseRule::DefaultBranch { branch } => format!("the merge base with {branch}"),
            };
            format!("since {} ({rule})", id.short())
        }
        Base::Unknown { reason } => format!("from no base: {reason}"),
        Base::All => "from no base: everything was asked for".to_owned(),
    }
}

fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Run { why } => format!("runs: {why}"),
        Decision::Cached { key, from } => {
            let key = key.get(..SHORT_KEY).unwrap_or(key);
            format!("cached: run {from} made it from the same inputs ({key})")
        }
        Decision::Skip { reason } => format!("skipped: {reason}"),
    }
}

fn table(title: &str, rows: &[(String, String)], lines: &mut Vec<String>) {
    if rows.is_empty() {
        return;
    }
    lines.push(title.to_owned());
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    lines.extend(
        rows.iter()
            .map(|(name, text)| format!("  {name:width$}  {text}")),
    );
}

/// Whether a character turns the direction of those around it: what is shown would not be what is there.
fn turns(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Lines as a text. File names may hold anything: what would move a terminal's cursor is shown as its number.
fn ended(lines: Vec<String>) -> String {
    let mut text = String::new();
    for line in lines {
        for character in line.chars() {
            if character.is_control() || turns(character) {
                // Writing into a String does not fail.
                let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
            } else {
                text.push(character);
            }
        }
        text.push('\n');
    }
    text
}
