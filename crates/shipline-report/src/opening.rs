//! The start of a run: what it will do, and why.

use shipline_model::plan::{Decision, Plan, Reason, TaskId};
use shipline_model::stage_kind::Order;

use crate::describe;
use crate::style::Palette;
use crate::text::{clean, counted};

/// Lines about the plan.
pub(crate) fn lines(plan: &Plan, palette: Palette) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}",
        palette.bold(&format!("pipeline {}", plan.pipeline)),
        palette.dim(&format!(
            "(profile {}, {})",
            plan.profile,
            clean(&describe::head(&plan.head))
        )),
    )];
    for note in &plan.notes {
        let (label, note) = match note.strip_prefix("warning: ") {
            Some(warning) => ("warning:", warning),
            None => ("note:", note.as_str()),
        };
        lines.push(format!("{} {}", palette.warn(label), clean(note)));
    }
    let mut unchanged = Vec::new();
    for component in &plan.components {
        let Some(first) = component.reasons.first() else {
            unchanged.push(component.name.as_str());
            continue;
        };
        let since = match first {
            // A note says why, once for all components.
            Reason::NoBase { .. } => continue,
            Reason::All => String::new(),
            Reason::Path { .. } | Reason::PipelineFile { .. } | Reason::LockedBase { .. } => {
                format!(" {}", clean(&describe::since(&component.base)))
            }
        };
        let more = match component.reasons.len() - 1 {
            0 => String::new(),
            more => format!(" and {}", counted(more, "other reason", "other reasons")),
        };
        lines.push(format!(
            "  {}: {}{}",
            palette.bold(component.name.as_str()),
            clean(&describe::reason(first)),
            palette.dim(&format!("{more}{since}")),
        ));
    }
    if !unchanged.is_empty() && unchanged.len() < plan.components.len() {
        lines.push(palette.dim(&format!("  unchanged: {}", unchanged.join(", "))));
    }
    lines
}

/// Whether what a task notes is in these lines already.
pub(crate) fn tells(plan: Option<&Plan>, id: &TaskId) -> bool {
    let task = plan.and_then(|plan| plan.tasks.iter().find(|task| task.id == *id));
    task.is_some_and(|task| task.kind.nature().order == Order::First)
}

/// Whether anything of the plan runs or is taken from earlier runs.
pub(crate) fn has_work(plan: &Plan) -> bool {
    plan.components
        .iter()
        .any(|component| !component.reasons.is_empty())
        || plan.tasks.iter().any(|task| match task.decision {
            Decision::Run { .. } => task.id.component.is_some() || task.kind.nature().is_barrier(),
            Decision::Cached { .. } => true,
            Decision::Skip { .. } => false,
        })
}
