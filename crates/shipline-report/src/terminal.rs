//! The terminal: running tasks below, what has finished above them.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use shipline_engine::event::{Event, EventKind, Outcome, OutputStream, Reporter, Unit};
use shipline_model::finding::grouped;
use shipline_model::plan::{Decision, Plan, TaskId};

use crate::meter::Meter;
use crate::screen::{Screen, Sizes};
use crate::style::Palette;
use crate::summary::{Signposts, Summary};
use crate::text::{bytes, clean, duration};
use crate::{describe, opening};

/// Longest task ID that the others are lined up with.
const COLUMN: usize = 40;

/// Time between two frames in which only clocks move.
const FRAME: Duration = Duration::from_millis(100);

/// One after the other, ten a second.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Gives the time since some moment that stays the same.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// What moves the running tasks' clocks.
pub enum Ticking {
    /// Time itself, ten times a second.
    Steady(Clock),
    /// The events' own times: a replay looks the same each time.
    ByEvents,
}

impl std::fmt::Debug for Ticking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Steady(_) => "Steady",
            Self::ByEvents => "ByEvents",
        })
    }
}

/// Draws on a terminal.
#[derive(Debug)]
pub struct TerminalReporter {
    drawing: Arc<Mutex<Drawing>>,
    ticker: Option<Ticker>,
    palette: Palette,
    summary: Summary,
    column: usize,
}

/// Draws a frame each time that a moment is over, until it is dropped.
#[derive(Debug)]
struct Ticker {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// What is on the screen.
#[derive(Debug)]
struct Drawing {
    screen: Screen,
    palette: Palette,
    ticking: Ticking,
    /// The time of the last event.
    at: Duration,
    /// When the run began.
    since: Duration,
    /// How many tasks came to their end, of those that run or are taken from earlier runs.
    meter: Meter,
    running: Vec<Running>,
}

/// A task at work.
#[derive(Debug)]
struct Running {
    id: TaskId,
    /// Its ID, lined up with the others.
    name: String,
    since: Duration,
    /// The last that it said.
    said: String,
}

impl Drawing {
    fn now(&self) -> Duration {
        match &self.ticking {
            Ticking::Steady(clock) => clock(),
            Ticking::ByEvents => self.at,
        }
    }

    /// Puts lines above the running tasks, and draws those anew.
    fn draw(&mut self, stay: &[String]) {
        let now = self.now();
        let mut live = Vec::new();
        for task in &self.running {
            let took = now.saturating_sub(task.since);
            let frame = usize::try_from(took.as_millis() / FRAME.as_millis()).unwrap_or_default();
            live.push(format!(
                "{} {} {:>6} {}",
                SPINNER[frame % SPINNER.len()],
                task.name,
                duration(took),
                self.palette.dim(&task.said)
            ));
        }
        if !live.is_empty() {
            let took = duration(now.saturating_sub(self.since));
            live.push(self.palette.dim(&self.meter.line(&took)));
        }
        self.screen.draw(stay, &live);
    }
}

fn locked(drawing: &Mutex<Drawing>) -> MutexGuard<'_, Drawing> {
    // A frame that a panic cut off is at worst drawn wrong.
    drawing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticker {
    /// `None` where there is no thread for it: then only events draw.
    fn start(drawing: &Arc<Mutex<Drawing>>) -> Option<Self> {
        let (stop, stopped) = sync_channel(0);
        let drawing = Arc::clone(drawing);
        let thread = std::thread::Builder::new().name("terminal".to_owned());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                let mut drawing = locked(&drawing);
                if !drawing.running.is_empty() {
                    drawing.draw(&[]);
                }
            }
        });
        thread.ok().map(|thread| Self { stop, thread })
    }
}

impl Drop for TerminalReporter {
    fn drop(&mut self) {
        if let Some(Ticker { stop, thread }) = self.ticker.take() {
            drop(stop);
            // It ends with its sender; that it panicked is no reason to panic here.
            let _ = thread.join();
        }
    }
}

impl TerminalReporter {
    /// A reporter that draws on the terminal behind `output`, which has the size that `sizes` gives.
    #[must_use]
    pub fn new(
        output: Box<dyn Write + Send>,
        sizes: Sizes,
        palette: Palette,
        ticking: Ticking,
        signposts: Signposts,
    ) -> Self {
        let ticks = matches!(ticking, Ticking::Steady(_));
        let drawing = Arc::new(Mutex::new(Drawing {
            screen: Screen::new(output, sizes),
            palette,
            ticking,
            at: Duration::ZERO,
            since: Duration::ZERO,
            meter: Meter::new(),
            running: Vec::new(),
        }));
        Self {
            ticker: ticks.then(|| Ticker::start(&drawing)).flatten(),
            drawing,
            palette,
            summary: Summary::new(signposts),
            column: 0,
        }
    }

    /// Puts lines above the running tasks.
    fn print(&self, lines: &[String]) {
        if !lines.is_empty() {
            locked(&self.drawing).draw(lines);
        }
    }

    fn line_up(&mut self, plan: &Plan) {
        let longest = plan.tasks.iter().map(|task| task.id.to_string().len());
        self.column = longest.max().unwrap_or_default().min(COLUMN);
        let left_out = |decision: &Decision| matches!(decision, Decision::Skip { .. });
        let tasks = plan.tasks.iter().filter(|task| !left_out(&task.decision));
        let mut drawing = locked(&self.drawing);
        drawing.meter.expect(tasks.count());
        drawing.since = drawing.now();
    }

    fn padded(&self, id: &TaskId) -> String {
        let id = id.to_string();
        let padding = self.column.saturating_sub(id.len());
        format!("{}{}", self.palette.bold(&id), " ".repeat(padding))
    }

    fn start(&mut self, id: &TaskId) {
        let name = self.padded(id);
        let mut drawing = locked(&self.drawing);
        if drawing.running.iter().any(|task| task.id == *id) {
            return;
        }
        let since = drawing.now();
        drawing.running.push(Running {
            id: id.clone(),
            name,
            since,
            said: String::new(),
        });
        drawing.draw(&[]);
    }

    fn say(&self, id: &TaskId, text: String) {
        let mut drawing = locked(&self.drawing);
        if let Some(task) = drawing.running.iter_mut().find(|task| task.id == *id) {
            task.said = text;
            // A task may say a thousand things between two frames.
            if self.ticker.is_none() {
                drawing.draw(&[]);
            }
        }
    }

    fn finish(&mut self, id: &TaskId, outcome: &Outcome, took: Duration) {
        {
            let mut drawing = locked(&self.drawing);
            drawing.running.retain(|task| task.id != *id);
            let ended = match outcome {
                Outcome::Passed(_)
                | Outcome::Cached { .. }
                | Outcome::Failed(_)
                | Outcome::NotAssessed { .. } => true,
                // What was never begun did not come to its end either.
                Outcome::Cancelled => self.summary.has_begun(id),
                Outcome::Skipped { .. } => false,
            };
            if ended {
                drawing.meter.advance();
            }
        }
        let palette = self.palette;
        let symbol = match outcome {
            Outcome::Passed(_) => palette.good("✓"),
            Outcome::Cached { .. } => palette.good("="),
            Outcome::Failed(_) => palette.bad("✗"),
            Outcome::NotAssessed { .. } => palette.bad("?"),
            Outcome::Cancelled if self.summary.has_begun(id) => palette.warn("■"),
            // The end says once for all what was left out and why.
            Outcome::Cancelled | Outcome::Skipped { .. } => {
                locked(&self.drawing).draw(&[]);
                return;
            }
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
        let at = u64::try_from(event.at_ms).unwrap_or_default();
        locked(&self.drawing).at = Duration::from_millis(at);
        match &event.kind {
            EventKind::RunStarted { plan, .. } => {
                self.line_up(plan);
                let lines = opening::lines(plan, self.palette);
                self.print(&lines);
            }
            EventKind::TaskStarted { id, attempt } => {
                self.start(id);
                if *attempt > 1 {
                    self.say(id, format!("attempt {attempt}"));
                }
            }
            EventKind::TaskOutput { id, stream, line } => match stream {
                OutputStream::Stdout | OutputStream::Stderr => {
                    let line = clean(line);
                    if !line.trim().is_empty() {
                        self.say(id, line.trim().to_owned());
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
            } => self.say(id, progress(what, *done, *total, *unit)),
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
                locked(&self.drawing).running.clear();
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
