//! The end of a run: what was published, or why nothing was to do, and last of all what failed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use shipline_engine::event::{
    DeployedCommit, Event, EventKind, Facts, Failure, Outcome, PushedImage, RunSummary, SkipReason,
    Verdict,
};
use shipline_engine::redact;
use shipline_model::finding::{Finding, grouped};
use shipline_model::name::{EnvironmentName, RunId};
use shipline_model::plan::{Decision, Plan, TaskId};
use shipline_model::stage_kind::Publishes;

use crate::style::Palette;
use crate::text::{clean, counted, cropped, duration};
use crate::{describe, opening};

/// Lines of a failed task's log that are shown.
const TAIL: usize = 20;

/// Failures that are shown in full; further ones are named.
const IN_FULL: usize = 3;

/// What stands before the path of a log.
const LOG: &str = "log:";

/// What stands before the command that repeats a task.
const AGAIN: &str = "again:";

/// What stands before a line of a task's output.
const RULE: &str = "│";

/// What a line is, which decides how it is broken where it does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// A sentence of ours.
    Prose,
    /// A command, which people copy into a shell.
    Command,
    /// A task's output behind a rule; `text` begins at this byte.
    Output {
        /// Where.
        text: usize,
    },
}

/// What the line is.
pub(crate) fn kind(line: &str) -> LineKind {
    let plain = redact::clean(line);
    let plain = plain.trim_start();
    if plain.starts_with(AGAIN) {
        return LineKind::Command;
    }
    let behind = match plain.starts_with(RULE) {
        true => line
            .split_once(RULE)
            .and_then(|(_, rest)| rest.split_once(' ')),
        false => None,
    };
    match behind {
        Some((_, text)) => LineKind::Output {
            text: line.len() - text.len(),
        },
        None => LineKind::Prose,
    }
}

/// Says something of a task of a run.
pub type Signpost = Box<dyn Fn(&RunId, &TaskId) -> String + Send>;

/// Where a person goes from a task that failed.
pub struct Signposts {
    /// The command that repeats a task, as a person would type it.
    pub repeat: Signpost,
    /// The file that holds all of a task's output.
    pub log: Signpost,
}

impl std::fmt::Debug for Signposts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signposts").finish_non_exhaustive()
    }
}

/// The last lines of a task's output.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    /// Lines before them.
    before: usize,
}

/// Gathers a run's events, and tells in the end what became of it.
pub struct Summary {
    signposts: Signposts,
    run: Option<RunId>,
    plan: Option<Box<Plan>>,
    begun: HashSet<TaskId>,
    tails: HashMap<TaskId, Tail>,
    findings: Vec<(TaskId, Finding)>,
    finished: Vec<Finished>,
}

struct Finished {
    id: TaskId,
    outcome: Outcome,
    took: Duration,
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Summary")
            .field("finished", &self.finished.len())
            .finish_non_exhaustive()
    }
}

impl Summary {
    /// The summary of a run that has not begun.
    #[must_use]
    pub fn new(signposts: Signposts) -> Self {
        Self {
            signposts,
            run: None,
            plan: None,
            begun: HashSet::new(),
            tails: HashMap::new(),
            findings: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::RunStarted { run, plan } => {
                self.run = Some(run.clone());
                self.plan = Some(plan.clone());
            }
            EventKind::TaskOutput { id, line, .. } => {
                let tail = self.tails.entry(id.clone()).or_default();
                if tail.lines.len() == TAIL {
                    tail.lines.pop_front();
                    tail.before += 1;
                }
                tail.lines.push_back(cropped(clean(line)));
            }
            EventKind::TaskStarted { id, .. } => {
                self.begun.insert(id.clone());
            }
            EventKind::FindingReported { id, finding } => {
                self.findings.push((id.clone(), finding.clone()));
            }
            EventKind::TaskFinished { id, outcome, took } => {
                if failure(outcome).is_none() {
                    self.tails.remove(id);
                }
                self.finished.push(Finished {
                    id: id.clone(),
                    outcome: outcome.clone(),
                    took: *took,
                });
            }
            EventKind::TaskProgress { .. }
            | EventKind::TaskRetrying { .. }
            | EventKind::RunCancelling { .. }
            | EventKind::RunFinished { .. } => {}
        }
    }

    /// The plan, once the run has begun.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        self.plan.as_deref()
    }

    /// What was found in a task.
    pub(crate) fn findings(&self, id: &TaskId) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |(of, _)| of == id)
            .map(|(_, finding)| finding)
    }

    /// Whether the task was begun.
    pub(crate) fn has_begun(&self, id: &TaskId) -> bool {
        self.begun.contains(id)
    }

    /// The lines that end the run's output.
    #[must_use]
    pub fn lines(&self, end: &RunSummary, palette: Palette) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(plan) = &self.plan {
            if opening::has_work(plan) {
                self.published(plan, palette, &mut lines);
            } else {
                nothing_to_do(plan, palette, &mut lines);
            }
        }
        self.skipped(palette, &mut lines);
        lines.push(self.total(end, palette));
        self.failures(palette, &mut lines);
        lines
    }

    fn published(&self, plan: &Plan, palette: Palette, lines: &mut Vec<String>) {
        let before = lines.len();
        for finished in &self.finished {
            match produced(&finished.outcome) {
                Some(Facts::Pushed(images)) => pushed(images, palette, lines),
                Some(Facts::Deployed(commit)) => {
                    let environment = plan
                        .tasks
                        .iter()
                        .find(|task| task.id == finished.id)
                        .and_then(|task| task.kind.environment())
                        .map_or("deployment", EnvironmentName::as_str);
                    deployed(environment, commit, palette, lines);
                }
                Some(
                    Facts::None | Facts::Detected { .. } | Facts::Built(_) | Facts::Scanned { .. },
                )
                | None => {}
            }
        }
        if lines.len() > before {
            lines.insert(before, palette.bold("published"));
        }
    }

    /// What the plan left out, by reason; what a failure kept from running needs no line of its own.
    fn skipped(&self, palette: Palette, lines: &mut Vec<String>) {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for finished in &self.finished {
            if let Outcome::Skipped {
                reason: SkipReason::Planned { reason },
            } = &finished.outcome
            {
                let stages = by_reason.entry(reason).or_default();
                let stage = finished.id.stage.as_str();
                if !stages.contains(&stage) {
                    stages.push(stage);
                }
            }
        }
        for (reason, stages) in by_reason {
            lines.push(palette.dim(&format!("skipped {}: {}", stages.join(", "), clean(reason))));
        }
    }

    fn total(&self, end: &RunSummary, palette: Palette) -> String {
        let stopped = self.finished.iter().filter(|finished| {
            matches!(finished.outcome, Outcome::Cancelled) && self.has_begun(&finished.id)
        });
        let stopped = stopped.count().min(end.cancelled);
        let mut parts = Vec::new();
        for (count, word) in [
            (end.passed, "passed"),
            (end.cached, "cached"),
            (end.failed, "failed"),
            (stopped, "stopped"),
            (end.cancelled - stopped, "not begun"),
            (end.skipped, "skipped"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        if parts.is_empty() {
            parts.push(counted(0, "task", "tasks"));
        }
        let verdict = match end.verdict {
            Verdict::Green => palette.good("green"),
            Verdict::Red => palette.bad("red"),
            Verdict::NotReady => palette.bad("not ready"),
            Verdict::Cancelled => palette.warn("cancelled"),
        };
        let run = match &self.run {
            Some(run) => palette.dim(&format!(" (run {run})")),
            None => String::new(),
        };
        let publishes = |plan: &Plan| {
            plan.tasks.iter().any(|task| {
                task.kind.nature().publishes == Publishes::Images
                    && matches!(task.decision, Decision::Run { .. })
                    && !self.has_begun(&task.id)
            })
        };
        let unpublished = match end.verdict {
            Verdict::Green => "",
            Verdict::Red | Verdict::NotReady | Verdict::Cancelled => {
                match self.plan().is_some_and(publishes) {
                    true => "; nothing was published",
                    false => "",
                }
            }
        };
        format!(
            "{verdict}: {} in {}{unpublished}{run}",
            parts.join(", "),
            duration(end.took)
        )
    }

    fn failures(&self, palette: Palette, lines: &mut Vec<String>) {
        let failed: Vec<(&Finished, Failure)> = self
            .finished
            .iter()
            .filter_map(|finished| Some((finished, failure(&finished.outcome)?)))
            .collect();
        // The first to fail is the most telling: it comes last, where people look.
        for (position, (finished, failure)) in failed.iter().enumerate().rev() {
            lines.push(String::new());
            if position < IN_FULL {
                self.failure(finished, failure, palette, lines);
            } else {
                let told = clean(failure.message.lines().next().unwrap_or_default());
                lines.push(format!(
                    "{} {}: {told}",
                    palette.bad("✗"),
                    palette.bold(&finished.id.to_string()),
                ));
            }
        }
    }

    fn failure(
        &self,
        finished: &Finished,
        failure: &Failure,
        palette: Palette,
        lines: &mut Vec<String>,
    ) {
        let word = if matches!(finished.outcome, Outcome::NotAssessed { .. }) {
            "was not assessed"
        } else {
            "failed"
        };
        lines.push(format!(
            "{} {} {word} after {}",
            palette.bad("✗"),
            palette.bold(&finished.id.to_string()),
            duration(finished.took)
        ));
        let groups = grouped(
            self.findings(&finished.id)
                .filter(|finding| finding.suppression.is_none()),
        );
        let mut findings = groups.iter().take(TAIL).peekable();
        // Findings stand below with all that is known of them: the message need not list them too.
        let most = match findings.peek() {
            Some(_) => 1,
            None => usize::MAX,
        };
        for line in failure.message.lines().take(most) {
            lines.push(format!("  {}", clean(line)));
        }
        if findings.peek().is_some() {
            lines.push(String::new());
        }
        for group in findings {
            lines.push(format!(
                "  {} {}",
                palette.bad("!"),
                clean(&describe::findings(group))
            ));
            let matched = &group.finding.matched;
            if !matched.is_empty() {
                lines.push(palette.dim(&format!("      {}", clean(matched))));
            }
        }
        let further = groups.len().saturating_sub(TAIL);
        if further > 0 {
            lines.push(palette.dim(&format!("  and {further} more")));
        }
        let tail = self.tails.get(&finished.id);
        if let Some(tail) = tail {
            lines.push(String::new());
            if tail.before > 0 {
                let before = counted(tail.before, "line", "lines");
                lines.push(palette.dim(&format!("  │ … {before} before")));
            }
            for line in &tail.lines {
                lines.push(
                    format!("  {} {line}", palette.dim(RULE))
                        .trim_end()
                        .to_owned(),
                );
            }
        }
        lines.push(String::new());
        for hint in &failure.hints {
            for (number, line) in hint.lines().enumerate() {
                match number {
                    0 => lines.push(format!("  {} {}", palette.warn("hint:"), clean(line))),
                    _ => lines.push(format!("    {}", clean(line))),
                }
            }
        }
        let Some(run) = &self.run else {
            return;
        };
        if tail.is_some() {
            let log = (self.signposts.log)(run, &finished.id);
            lines.push(format!("  {} {}", palette.bold(LOG), clean(&log)));
        }
        let repeat = (self.signposts.repeat)(run, &finished.id);
        lines.push(format!("  {} {}", palette.bold(AGAIN), clean(&repeat)));
    }
}

fn produced(outcome: &Outcome) -> Option<&Facts> {
    match outcome {
        Outcome::Passed(facts) | Outcome::Cached { facts, .. } => Some(facts),
        Outcome::Failed(_)
        | Outcome::Skipped { .. }
        | Outcome::NotAssessed { .. }
        | Outcome::Cancelled => None,
    }
}

/// Why the task counts as failed, if it does.
fn failure(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Failed(failure) => Some(Failure {
            message: describe::failed(&failure.message),
            ..failure.clone()
        }),
        Outcome::NotAssessed { why } => Some(Failure {
            class: shipline_engine::error::ErrorClass::Unavailable,
            message: why.clone(),
            hints: Vec::new(),
        }),
        Outcome::Passed(_)
        | Outcome::Cached { .. }
        | Outcome::Skipped { .. }
        | Outcome::Cancelled => None,
    }
}

fn pushed(images: &[PushedImage], palette: Palette, lines: &mut Vec<String>) {
    for image in images {
        let there = if image.already_there {
            palette.dim("  already there")
        } else {
            String::new()
        };
        lines.push(format!("  {}{there}", clean(&image.reference)));
        lines.push(palette.dim(&format!("      {}", image.digest)));
    }
}

fn deployed(environment: &str, commit: &DeployedCommit, palette: Palette, lines: &mut Vec<String>) {
    let id = clean(describe::short(&commit.commit));
    if !commit.made {
        lines.push(format!("  {environment} is up to date at commit {id}"));
        return;
    }
    lines.push(format!("  {environment}: commit {id}"));
    for change in &commit.changes {
        lines.push(format!("      {}:{}", clean(&change.file), change.line));
        lines.push(palette.dim(&format!("      - {}", clean(&change.from))));
        lines.push(format!(
            "      {}",
            palette.good(&format!("+ {}", clean(&change.to)))
        ));
    }
}

fn nothing_to_do(plan: &Plan, palette: Palette, lines: &mut Vec<String>) {
    let mut by_base: Vec<(String, Vec<&str>)> = Vec::new();
    for component in &plan.components {
        let base = describe::base(&component.base);
        match by_base.iter_mut().find(|(known, _)| *known == base) {
            Some((_, names)) => names.push(component.name.as_str()),
            None => by_base.push((base, vec![component.name.as_str()])),
        }
    }
    lines.push(palette.bold("nothing to do"));
    for (base, names) in by_base {
        lines.push(format!(
            "  {}: unchanged {}",
            names.join(", "),
            clean(&base)
        ));
    }
}
