//! `detect`: reports what changed. The plan has found it out.

use shipline_model::plan::{Base, BaseRule, ChangeKind, PathChange, PlannedComponent, Reason};

use super::{Ended, StageTask};
use crate::error::BackendError;
use crate::event::Facts;

/// Reasons that are shown for one component.
const SHOWN: usize = 3;

pub(super) async fn run(task: &StageTask) -> Result<Ended, BackendError> {
    let components = &task.shared.plan.components;
    for component in components {
        task.context.note(line(component)).await;
    }
    Ok(Ended::Passed(Facts::Detected {
        affected: components
            .iter()
            .filter(|component| !component.reasons.is_empty())
            .count(),
        of: components.len(),
    }))
}

fn line(component: &PlannedComponent) -> String {
    let name = &component.name;
    let since = match &component.base {
        Base::Commit { id, rule } => {
            let rule = match rule {
                BaseRule::Asked => "as asked".to_owned(),
                BaseRule::PullRequest => "merge base of the pull request".to_owned(),
                BaseRule::PullRequestBase => "tip of what the pull request goes into".to_owned(),
                BaseRule::Deployed { tag, environment } => format!("{environment} runs {tag}"),
                BaseRule::PushBefore => "before the push".to_owned(),
                BaseRule::DefaultBranch { branch } => format!("merge base with {branch}"),
            };
            format!(" since {} ({rule})", id.short())
        }
        Base::Unknown { .. } | Base::All => String::new(),
    };
    if component.reasons.is_empty() {
        return format!("{name}: not affected{since}");
    }
    let mut shown: Vec<String> = component.reasons.iter().take(SHOWN).map(reason).collect();
    if component.reasons.len() > SHOWN {
        shown.push(format!("{} more", component.reasons.len() - SHOWN));
    }
    format!("{name}: affected{since}: {}", shown.join(", "))
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Path { file, .. } | Reason::PipelineFile { file } => changed(file),
        Reason::LockedBase { base } => format!("its locked base {} moved", base.reference),
        Reason::NoBase { why } => why.clone(),
        Reason::All => "everything is asked for".to_owned(),
    }
}

fn changed(file: &PathChange) -> String {
    let how = match file.kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "changed",
        ChangeKind::Deleted => "deleted",
    };
    format!("{} {how}", file.path)
}
