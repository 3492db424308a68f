//! The loop itself. Everything that happens in a run passes here, one thing after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shipline_model::config::Config;
use shipline_model::plan::{Decision, Ending, NeverStarts, Plan, Scheduler, TaskId};
use shipline_model::stage_kind::{Cached, Publishes};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{self, Control, Stopped};
use super::limit::OutputLimit;
use super::outlet::Outlet;
use super::verdict::{Tally, failure};
use super::{Backends, RunEnd, RunOptions};
use crate::error::{BackendError, ErrorClass};
use crate::event::{CancelReason, EventKind, Facts, Failure, Outcome, Reporter, SkipReason};
use crate::findings::{Judge, day};
use crate::record::{Asked, RecordWriter};
use crate::stage::{Ended, Shared, StageTask};
use crate::task::{TaskContext, TaskMessage};

/// Messages of tasks that wait for the loop.
const MESSAGES: usize = 256;

pub(super) struct Driver {
    plan: Arc<Plan>,
    positions: BTreeMap<TaskId, usize>,
    options: Arc<RunOptions>,
    shared: Arc<Shared>,
    scheduler: Scheduler,
    outlet: Outlet,
    tally: Tally,
    running: BTreeMap<usize, Running>,
    outputs: BTreeMap<TaskId, OutputLimit>,
    finished: Vec<bool>,
    gate: Gate,
    cancelling: Cancelling,
    kill: CancellationToken,
    bug: Option<String>,
    message_sender: mpsc::Sender<(TaskId, TaskMessage)>,
    messages: mpsc::Receiver<(TaskId, TaskMessage)>,
    control_sender: mpsc::UnboundedSender<Control>,
    control: mpsc::UnboundedReceiver<Control>,
}

/// A task at work.
struct Running {
    started: Instant,
    limit: Duration,
    cancel: CancellationToken,
    in_section: Arc<AtomicBool>,
    stop: Option<Stop>,
}

/// A task that was told to stop.
#[derive(Clone, Copy)]
struct Stop {
    why: StopReason,
    at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StopReason {
    /// It took longer than its limit.
    Limit,
    /// The run is being cancelled.
    Cancelled,
}

/// Whether tasks may start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// The registry is being checked since then.
    Closed(Instant),
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cancelling {
    No,
    Gracefully,
    Killing,
}

impl Driver {
    /// Opens the record and gets everything ready.
    pub(super) fn start(
        plan: Plan,
        config: &Config,
        backends: Backends,
        options: RunOptions,
        reporters: Vec<Box<dyn Reporter + Send>>,
    ) -> Result<Self, BackendError> {
        let today = day(options.started_ms)?;
        let source = &backends.source;
        let judge = Judge::new(&config.scans, &plan.profile, &today, &|path| {
            source.read(path)
        })?;
        let record = RecordWriter::create(
            &options.state,
            &options.run,
            Asked {
                command: options.redactor.show_line(&options.command),
                argv: options
                    .argv
                    .iter()
                    .map(|word| options.redactor.show_line(word))
                    .collect(),
                selection: &options.selection,
            },
            &options.faults,
        )?;
        let outlet = Outlet::new(
            record,
            reporters,
            Arc::clone(&options.redactor),
            options.started_ms,
            options.graces.reporter,
        );
        let plan = Arc::new(plan);
        let options = Arc::new(options);
        let kill = CancellationToken::new();
        let shared = Arc::new(Shared::new(
            Arc::clone(&plan),
            config.clone(),
            backends,
            judge,
            Arc::clone(&options),
            kill.clone(),
        ));
        let (message_sender, messages) = mpsc::channel(MESSAGES);
        let (control_sender, control) = mpsc::unbounded_channel();
        Ok(Self {
            scheduler: Scheduler::new(&plan.tasks, options.limits, options.on_failure),
            positions: plan
                .tasks
                .iter()
                .enumerate()
                .map(|(position, task)| (task.id.clone(), position))
                .collect(),
            finished: vec![false; plan.tasks.len()],
            plan,
            options,
            shared,
            outlet,
            tally: Tally::default(),
            running: BTreeMap::new(),
            outputs: BTreeMap::new(),
            gate: Gate::Open,
            cancelling: Cancelling::No,
            kill,
            bug: None,
            message_sender,
            messages,
            control_sender,
            control,
        })
    }

    pub(super) async fn drive(
        mut self,
        mut signals: mpsc::UnboundedReceiver<CancelReason>,
    ) -> Result<RunEnd, BackendError> {
        self.outlet.emit(EventKind::RunStarted {
            run: self.options.run.clone(),
            plan: Box::new((*self.plan).clone()),
        });
        let pushes = self.plan.tasks.iter().any(|task| {
            task.kind.nature().publishes == Publishes::Images
                && matches!(task.decision, Decision::Run { .. })
        });
        if pushes {
            self.gate = Gate::Closed(Instant::now());
            attempt::start_preflight(Arc::clone(&self.shared), self.control_sender.clone());
        }
        let mut signals_open = true;
        loop {
            if self.is_over() {
                break;
            }
            if self.gate == Gate::Open || self.cancelling != Cancelling::No {
                self.advance();
                if self.is_over() {
                    break;
                }
            }
            let wake = self.next_deadline();
            tokio::select! {
                biased;
                signal = signals.recv(), if signals_open => match signal {
                    Some(reason) => self.cancel(reason),
                    None => signals_open = false,
                },
                Some(control) = self.control.recv() => {
                    // What a task said before comes before.
                    while let Ok((id, message)) = self.messages.try_recv() {
                        self.said(id, message);
                    }
                    self.control(control);
                }
                () = self.outlet.catch_up(), if self.outlet.is_behind() => {}
                Some((id, message)) = self.messages.recv(), if !self.outlet.is_behind() => {
                    self.said(id, message);
                }
                () = sleep_until(wake) => self.enforce_deadlines(),
            }
        }
        let summary = self.tally.summary(whole_millis(self.outlet.elapsed()));
        self.outlet.emit(EventKind::RunFinished {
            summary: summary.clone(),
        });
        let notes = self.outlet.close(&summary).await;
        self.shared.cache.prune();
        Ok(RunEnd {
            summary,
            notes,
            bug: self.bug,
        })
    }

    fn is_over(&self) -> bool {
        self.finished.iter().all(|finished| *finished)
    }

    /// Starts what may start, and ends what never will.
    fn advance(&mut self) {
        loop {
            let mut moved = false;
            while let Some(position) = self.scheduler.start_next() {
                moved = true;
                self.begin(position);
            }
            for (position, reason) in self.scheduler.never_starts() {
                moved = true;
                let outcome = match reason {
                    NeverStarts::Dependency(failed) => Outcome::Skipped {
                        reason: SkipReason::Dependency { failed },
                    },
                    NeverStarts::RunFailed => Outcome::Skipped {
                        reason: SkipReason::RunFailed,
                    },
                    NeverStarts::Cancelled => Outcome::Cancelled,
                };
                self.finish(position, outcome, Duration::ZERO);
            }
            if !moved {
                return;
            }
        }
    }

    fn begin(&mut self, position: usize) {
        let task = &self.plan.tasks[position];
        let known = match (&task.decision, task.kind.nature().cached) {
            (Decision::Skip { reason }, _) => Some(Outcome::Skipped {
                reason: SkipReason::Planned {
                    reason: reason.clone(),
                },
            }),
            // An image that is taken is looked at once more.
            (Decision::Cached { .. }, Cached::InStore) | (Decision::Run { .. }, _) => None,
            (Decision::Cached { key, from }, _) => Some(Outcome::Cached {
                key: key.clone(),
                from: from.clone(),
                facts: Facts::None,
            }),
        };
        if let Some(outcome) = known {
            self.scheduler.finished(position, Ending::Ok);
            self.finish(position, outcome, Duration::ZERO);
            return;
        }
        let id = task.id.clone();
        let cancel = CancellationToken::new();
        let in_section = Arc::new(AtomicBool::new(false));
        self.outlet.emit(EventKind::TaskStarted {
            id: id.clone(),
            attempt: 1,
        });
        self.running.insert(
            position,
            Running {
                started: Instant::now(),
                limit: task.timeout,
                cancel: cancel.clone(),
                in_section: Arc::clone(&in_section),
                stop: None,
            },
        );
        let stage_task = StageTask {
            shared: Arc::clone(&self.shared),
            task: task.clone(),
            context: TaskContext::new(id, self.message_sender.clone(), cancel),
            in_section,
        };
        attempt::start(position, Arc::new(stage_task), self.control_sender.clone());
    }

    /// A task spoke.
    fn said(&mut self, id: TaskId, message: TaskMessage) {
        let at_work = self
            .positions
            .get(&id)
            .is_some_and(|position| self.running.contains_key(position));
        if !at_work {
            return;
        }
        self.outlet.emit(match message {
            TaskMessage::Output { stream, line } => {
                let limit = self.options.log_limit;
                let output = self.outputs.entry(id.clone());
                let output = output.or_insert_with(|| OutputLimit::new(limit));
                match output.take((stream, line)) {
                    Some((stream, line)) => EventKind::TaskOutput { id, stream, line },
                    None => return,
                }
            }
            TaskMessage::Progress {
                what,
                done,
                total,
                unit,
            } => EventKind::TaskProgress {
                id,
                what,
                done,
                total,
                unit,
            },
            TaskMessage::Retrying { error, after } => EventKind::TaskRetrying {
                id,
                error,
                after: whole_millis(after),
            },
            TaskMessage::Finding(finding) => EventKind::FindingReported {
                id,
                finding: *finding,
            },
        });
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Preflight(result) => {
                if let Gate::Closed(since) = self.gate {
                    self.gate = Gate::Open;
                    if let Err(stopped) = *result
                        && self.cancelling == Cancelling::No
                    {
                        self.refuse(stopped, since.elapsed());
                    }
                }
            }
            Control::Finished { position, result } => {
                if let Some(running) = self.running.remove(&position) {
                    let stop = running.stop.map(|stop| stop.why);
                    let outcome = self.outcome(*result, stop, running.limit);
                    self.end(position, outcome, running.started.elapsed());
                }
            }
        }
    }

    /// The registry cannot be written: that is the failure of the task that would write it, before anything else is begun.
    fn refuse(&mut self, stopped: Stopped, took: Duration) {
        let outcome = self.outcome(Err(stopped), None, Duration::ZERO);
        let push = self.plan.tasks.iter().position(|task| {
            task.kind.nature().publishes == Publishes::Images
                && matches!(task.decision, Decision::Run { .. })
        });
        if let Some(push) = push {
            self.finish(push, outcome, took);
        }
        for position in 0..self.finished.len() {
            if !self.finished[position] {
                let reason = match &self.plan.tasks[position].decision {
                    Decision::Skip { reason } => SkipReason::Planned {
                        reason: reason.clone(),
                    },
                    Decision::Run { .. } | Decision::Cached { .. } => SkipReason::RunFailed,
                };
                self.finish(position, Outcome::Skipped { reason }, Duration::ZERO);
            }
        }
    }

    fn outcome(
        &mut self,
        result: Result<Ended, Stopped>,
        stop: Option<StopReason>,
        limit: Duration,
    ) -> Outcome {
        match (result, stop) {
            (Ok(Ended::Passed(facts)), _) => Outcome::Passed(facts),
            (Ok(Ended::Cached { key, from, facts }), _) => Outcome::Cached { key, from, facts },
            (Ok(Ended::NotAssessed(why)), _) => Outcome::NotAssessed { why },
            (Err(Stopped::Error(error)), Some(StopReason::Limit)) => {
                let what = match error.class {
                    ErrorClass::Cancelled => "it was stopped".to_owned(),
                    ErrorClass::Retryable
                    | ErrorClass::Denied
                    | ErrorClass::NotFound
                    | ErrorClass::Conflict
                    | ErrorClass::Invalid
                    | ErrorClass::Unavailable
                    | ErrorClass::Failed => failure(&error).message,
                };
                Outcome::Failed(over_limit(limit, &what))
            }
            (Err(Stopped::Error(error)), Some(StopReason::Cancelled))
                if error.class == ErrorClass::Cancelled =>
            {
                Outcome::Cancelled
            }
            (Err(Stopped::Error(error)), Some(StopReason::Cancelled) | None) => {
                Outcome::Failed(failure(&error))
            }
            (Err(Stopped::Panic(message)), _) => {
                let masked = self.options.redactor.show(&message);
                self.bug.get_or_insert(masked);
                Outcome::Failed(Failure {
                    class: ErrorClass::Failed,
                    message: format!("go on after a bug in Shipline: {message}"),
                    hints: vec![
                        "this is not your fault: please report it with the run's record".to_owned(),
                    ],
                })
            }
        }
    }

    /// Ends a task that was begun.
    fn end(&mut self, position: usize, outcome: Outcome, took: Duration) {
        let ending = match &outcome {
            Outcome::Passed(_) | Outcome::Cached { .. } | Outcome::Skipped { .. } => Ending::Ok,
            Outcome::Failed(_) | Outcome::NotAssessed { .. } => Ending::Failed,
            Outcome::Cancelled => Ending::Cancelled,
        };
        self.scheduler.finished(position, ending);
        self.finish(position, outcome, took);
    }

    fn finish(&mut self, position: usize, outcome: Outcome, took: Duration) {
        if std::mem::replace(&mut self.finished[position], true) {
            return;
        }
        let id = self.plan.tasks[position].id.clone();
        self.tally.count(&id, &outcome);
        let output = self.outputs.remove(&id).map(OutputLimit::finish);
        for (stream, line) in output.into_iter().flatten() {
            let id = id.clone();
            self.outlet.emit(EventKind::TaskOutput { id, stream, line });
        }
        self.outlet.emit(EventKind::TaskFinished {
            id,
            outcome,
            took: whole_millis(took),
        });
    }

    fn cancel(&mut self, reason: CancelReason) {
        let (next, reason) = match (self.cancelling, reason) {
            (Cancelling::No, CancelReason::Interrupt | CancelReason::Terminate) => {
                (Cancelling::Gracefully, reason)
            }
            (Cancelling::No | Cancelling::Gracefully, _) => {
                (Cancelling::Killing, CancelReason::Kill)
            }
            (Cancelling::Killing, _) => return,
        };
        self.cancelling = next;
        self.outlet.emit(EventKind::RunCancelling { reason });
        self.scheduler.cancel();
        let graces = self.options.graces;
        let grace = match next {
            Cancelling::No | Cancelling::Gracefully => graces.command + graces.task,
            Cancelling::Killing => {
                self.kill.cancel();
                graces.task
            }
        };
        let at = Instant::now() + grace;
        for running in self.running.values_mut() {
            running.cancel.cancel();
            running.stop = match running.stop {
                // It stays what it was.
                Some(stop) => Some(Stop {
                    why: stop.why,
                    at: stop.at.min(at),
                }),
                None => Some(Stop {
                    why: StopReason::Cancelled,
                    at,
                }),
            };
        }
    }

    /// When [`Driver::enforce_deadlines`] has something to do next.
    fn next_deadline(&self) -> Option<Instant> {
        self.running
            .values()
            .map(|running| self.deadline(running))
            .min()
    }

    fn deadline(&self, running: &Running) -> Instant {
        match running.stop {
            None => running.started + running.limit,
            Some(stop) if running.in_section.load(Ordering::SeqCst) => {
                stop.at + self.options.graces.section
            }
            Some(stop) => stop.at,
        }
    }

    /// Tells tasks over their limit to stop, and goes on without those that were told and did not.
    fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        let graces = self.options.graces;
        let due: Vec<usize> = self
            .running
            .iter()
            .filter(|(_, running)| self.deadline(running) <= now)
            .map(|(position, _)| *position)
            .collect();
        for position in due {
            let Some(running) = self.running.get_mut(&position) else {
                continue;
            };
            let Some(stop) = running.stop else {
                running.cancel.cancel();
                running.stop = Some(Stop {
                    why: StopReason::Limit,
                    at: now + graces.command + graces.task,
                });
                continue;
            };
            let (took, limit) = (running.started.elapsed(), running.limit);
            self.running.remove(&position);
            let outcome = match stop.why {
                StopReason::Cancelled => Outcome::Cancelled,
                StopReason::Limit => Outcome::Failed(over_limit(
                    limit,
                    "it did not stop either and was left behind",
                )),
            };
            self.end(position, outcome, took);
        }
    }
}

/// Events are timed in milliseconds, so that a record gives back what reporters saw.
fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn over_limit(limit: Duration, what: &str) -> Failure {
    Failure {
        class: ErrorClass::Failed,
        message: format!("end within the limit of {}: {what}", span(limit)),
        hints: vec!["raise `timeout` of the component or the stage if it needs longer".to_owned()],
    }
}

fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, _) if duration.subsec_millis() > 0 => format!("{} s", duration.as_secs_f64()),
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
