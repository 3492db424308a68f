//! A terminal: the running tasks below, what has finished above them.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use shipline_engine::event::{Event, EventKind, Outcome, OutputStream, Reporter, Unit};
use shipline_model::finding::grouped;
use shipline_model::plan::{Plan, TaskId};

use crate::screen::{Screen, Width};
use crate::style::Palette;
use crate::summary::{Signposts, Summary};
use crate::text::{bytes, clean, duration};
use crate::{describe, opening};

/// Longest task ID that the others are lined up with.
const COLUMN: usize = 40;

/// What moves the running tasks' clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticking {
    /// Time itself, ten times a second.
    Steady,
    /// The events' own times: a replay looks the same each time.
    ByEvents,
}

/// Draws on a terminal.
pub struct TerminalReporter {
    screen: Screen,
    bars: MultiProgress,
    palette: Palette,
    ticking: Ticking,
    summary: Summary,
    running: HashMap<TaskId, ProgressBar>,
    now_ms: Arc<AtomicI64>,
    column: usize,
}

impl std::fmt::Debug for TerminalReporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TerminalReporter")
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

impl TerminalReporter {
    /// A reporter that draws on the terminal behind `output`; `width` bounds the lines of running tasks.
    #[must_use]
    pub fn new(
        output: Box<dyn Write + Send>,
        width: Width,
        palette: Palette,
        ticking: Ticking,
        signposts: Signposts,
    ) -> Self {
        let screen = Screen::new(output, width);
        let term = Box::new(screen.clone());
        let target = match ticking {
            Ticking::Steady => ProgressDrawTarget::term_like_with_hz(term, 20),
            Ticking::ByEvents => ProgressDrawTarget::term_like(term),
        };
        Self {
            screen,
            bars: MultiProgress::with_draw_target(target),
            palette,
            ticking,
            summary: Summary::new(signposts),
            running: HashMap::new(),
            now_ms: Arc::default(),
            column: 0,
        }
    }

    /// Puts lines above the running tasks.
    fn print(&self, lines: &[String]) {
        if !lines.is_empty() {
            self.bars.suspend(|| self.screen.lines(lines));
        }
    }

    fn line_up(&mut self, plan: &Plan) {
        let longest = plan.tasks.iter().map(|task| task.id.to_string().len());
        self.column = longest.max().unwrap_or_default().min(COLUMN);
    }

    fn padded(&self, id: &TaskId) -> String {
        let id = id.to_string();
        let padding = self.column.saturating_sub(id.len());
        format!("{}{}", self.palette.bold(&id), " ".repeat(padding))
    }

    fn start(&mut self, id: &TaskId) {
        if self.running.contains_key(id) {
            return;
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(self.style());
        bar.set_prefix(self.padded(id));
        if self.ticking == Ticking::Steady {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar.tick();
        self.running.insert(id.clone(), bar);
    }

    fn style(&self) -> ProgressStyle {
        let now = Arc::clone(&self.now_ms);
        let since = now.load(Ordering::Relaxed);
        let ticking = self.ticking;
        let took = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let took = match ticking {
                Ticking::Steady => state.elapsed(),
                Ticking::ByEvents => {
                    let ms = now.load(Ordering::Relaxed).saturating_sub(since);
                    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
                }
            };
            // A bar has nobody to report to that its text buffer failed.
            let _ = write!(out, "{:>6}", duration(took));
        };
        // The template is a constant of ours; a bare spinner stands in should it ever be wrong.
        ProgressStyle::with_template("{spinner} {prefix} {took} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
            .with_key("took", took)
    }

    fn say(&self, id: &TaskId, text: &str) {
        if let Some(bar) = self.running.get(id) {
            bar.set_message(self.palette.dim(text));
        }
    }

    fn finish(&mut self, id: &TaskId, outcome: &Outcome, took: Duration) {
        if let Some(bar) = self.running.remove(id) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        let palette = self.palette;
        let symbol = match outcome {
            Outcome::Passed(_) => palette.good("✓"),
            Outcome::Cached { .. } => palette.good("="),
            Outcome::Failed(_) => palette.bad("✗"),
            Outcome::NotAssessed { .. } => palette.bad("?"),
            Outcome::Cancelled if self.summary.has_begun(id) => palette.warn("■"),
            // The end says once for all what was left out and why.
            Outcome::Cancelled | Outcome::Skipped { .. } => return,
        };
        let took = match outcome {
            Outcome::Cached { .. } | Outcome::Skipped { .. } => String::new(),
            Outcome::Passed(_)
            | Outcome::Failed(_)
            | Outcome::NotAssessed { .. }
            | Outcome::Cancelled => duration(took),
        };
        let told = describe::outcome(outcome);
        let told = clean(told.lines().next().unwrap_or_default());
        let line = format!(
            "{symbol} {} {} {told}",
            self.padded(id),
            palette.dim(&format!("{took:>6}"))
        );
        self.print(&[line.trim_end().to_owned()]);
    }
}

impl Reporter for TerminalReporter {
    fn event(&mut self, event: &Event) {
        self.summary.event(event);
        self.now_ms.store(event.at_ms, Ordering::Relaxed);
        match &event.kind {
            EventKind::RunStarted { plan, .. } => {
                self.line_up(plan);
                let lines = opening::lines(plan, self.palette);
                self.print(&lines);
            }
            EventKind::TaskStarted { id, attempt } => {
                self.start(id);
                if *attempt > 1 {
                    self.say(id, &format!("attempt {attempt}"));
                }
            }
            EventKind::TaskOutput { id, stream, line } => match stream {
                OutputStream::Stdout | OutputStream::Stderr => {
                    let line = clean(line);
                    if !line.trim().is_empty() {
                        self.say(id, line.trim());
                    }
                }
                OutputStream::Note => {
                    if !opening::tells(self.summary.plan(), id) {
                        let line = self.palette.dim(&format!("  {id}: {}", clean(line)));
                        self.print(&[line]);
                    }
                }
            },
            EventKind::TaskProgress {
                id,
                what,
                done,
                total,
                unit,
            } => self.say(id, &progress(what, *done, *total, *unit)),
            EventKind::TaskRetrying { id, error, after } => {
                let sign = self.palette.warn("↻");
                let (error, after) = (clean(&describe::failed(error)), duration(*after));
                let line = format!(
                    "{sign} {}        {error}; again in {after}",
                    self.padded(id)
                );
                self.print(&[line]);
            }
            // Told at the task's end, those that differ in their place together.
            EventKind::FindingReported { .. } => {}
            EventKind::TaskFinished { id, outcome, took } => {
                let findings = self.summary.findings(id);
                let counting = findings.filter(|finding| finding.suppression.is_none());
                let lines: Vec<String> = grouped(counting)
                    .iter()
                    .map(|group| {
                        let found = clean(&describe::findings(group));
                        format!("{} {} {found}", self.palette.bad("!"), self.padded(id))
                    })
                    .collect();
                if !lines.is_empty() {
                    self.print(&lines);
                }
                self.finish(id, outcome, *took);
            }
            EventKind::RunCancelling { reason } => {
                let line = self.palette.warn(describe::cancel(*reason));
                self.print(&[line]);
            }
            EventKind::RunFinished { summary } => {
                for (_, bar) in self.running.drain() {
                    bar.finish_and_clear();
                }
                let mut lines = vec![String::new()];
                lines.extend(self.summary.lines(summary, self.palette));
                self.print(&lines);
            }
        }
    }
}

fn progress(what: &str, done: u64, total: Option<u64>, unit: Unit) -> String {
    let shown = |count: u64| match unit {
        Unit::Bytes => bytes(count),
        Unit::Files | Unit::Steps => count.to_string(),
    };
    let noun = match unit {
        Unit::Bytes => "",
        Unit::Files => " files",
        Unit::Steps => " steps",
    };
    let what = clean(what);
    match total {
        Some(total) => format!("{what} {} of {}{noun}", shown(done), shown(total)),
        None => format!("{what} {}{noun}", shown(done)),
    }
}
