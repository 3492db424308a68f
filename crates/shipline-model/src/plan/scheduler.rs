//! Which task may start next: a plain state machine over a plan's tasks.

use std::collections::BTreeMap;

use super::types::{Decision, Resource, Task, TaskId};

/// How many tasks of each class may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tests, builds.
    pub workspace: usize,
    /// Scans.
    pub cpu: usize,
    /// Push, GitOps.
    pub network: usize,
}

/// What a failure does to the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing new is begun.
    Stop,
    /// Tests, builds and scans that do not need what failed are finished; nothing is published (`--keep-going`).
    KeepGoing,
}

/// How a started task ended, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It passed, or its result was known, or it was left out by plan.
    Ok,
    /// It failed.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// Why a task never starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NeverStarts {
    /// Something that it needs did not pass: the first such task.
    Dependency(TaskId),
    /// Another task failed, and nothing is begun or published after that.
    RunFailed,
    /// The run was cancelled.
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended(Ending),
    Never,
}

/// The state of a run's schedule. Each task is started once by [`Scheduler::next`] or given once by
/// [`Scheduler::never_starts`].
#[derive(Debug)]
pub struct Scheduler {
    tasks: Vec<Task>,
    states: Vec<State>,
    limits: Limits,
    on_failure: OnFailure,
    failed: bool,
    cancelled: bool,
}

impl Scheduler {
    /// A schedule of tasks, each of which stands after all that it needs.
    #[must_use]
    pub fn new(tasks: &[Task], limits: Limits, on_failure: OnFailure) -> Self {
        Self {
            states: vec![State::Waiting; tasks.len()],
            tasks: tasks.to_vec(),
            limits,
            on_failure,
            failed: false,
            cancelled: false,
        }
    }

    /// Starts the first task that may start, and gives its position.
    pub fn start_next(&mut self) -> Option<usize> {
        if self.cancelled {
            return None;
        }
        let next = (0..self.tasks.len()).find(|position| self.may_start(*position))?;
        self.states[next] = State::Running;
        Some(next)
    }

    /// Takes a started task's ending.
    pub fn finished(&mut self, position: usize, ending: Ending) {
        debug_assert_eq!(
            self.states[position],
            State::Running,
            "only a running task ends"
        );
        self.states[position] = State::Ended(ending);
        if ending == Ending::Failed {
            self.failed = true;
        }
    }

    /// Nothing new starts from now on.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Tasks of which it is certain since the last call that they never start, in order, with the reason.
    pub fn never_starts(&mut self) -> Vec<(usize, NeverStarts)> {
        let mut certain = Vec::new();
        for position in 0..self.tasks.len() {
            if self.states[position] == State::Waiting
                && let Some(reason) = self.reason_against(position)
            {
                self.states[position] = State::Never;
                certain.push((position, reason));
            }
        }
        certain
    }

    /// Whether every task has ended or never starts.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.states.iter().all(|state| match state {
            State::Waiting | State::Running => false,
            State::Ended(_) | State::Never => true,
        })
    }

    /// Positions of running tasks.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        self.states
            .iter()
            .enumerate()
            .filter(|(_, state)| **state == State::Running)
            .map(|(position, _)| position)
    }

    fn may_start(&self, position: usize) -> bool {
        let task = &self.tasks[position];
        self.states[position] == State::Waiting
            && task
                .needs
                .iter()
                .all(|need| self.states[*need] == State::Ended(Ending::Ok))
            && self.reason_against(position).is_none()
            && self.has_room(task)
    }

    fn has_room(&self, task: &Task) -> bool {
        // A task that the plan leaves out or knows the result of costs nothing.
        match task.decision {
            Decision::Cached { .. } | Decision::Skip { .. } => return true,
            Decision::Run { .. } => {}
        }
        let mut running: BTreeMap<Resource, usize> = BTreeMap::new();
        for position in self.running() {
            let other = &self.tasks[position];
            *running.entry(other.resource).or_default() += 1;
            let same_workspace = other.resource == Resource::Workspace
                && task.resource == Resource::Workspace
                && other.id.component == task.id.component;
            if same_workspace {
                return false;
            }
        }
        let limit = match task.resource {
            Resource::Light => usize::MAX,
            Resource::Workspace => self.limits.workspace,
            Resource::Cpu => self.limits.cpu,
            Resource::Network => self.limits.network,
        };
        running.get(&task.resource).copied().unwrap_or(0) < limit.max(1)
    }

    fn reason_against(&self, position: usize) -> Option<NeverStarts> {
        let task = &self.tasks[position];
        let lost = task.needs.iter().find(|need| match self.states[**need] {
            State::Waiting | State::Running | State::Ended(Ending::Ok) => false,
            State::Ended(Ending::Failed | Ending::Cancelled) | State::Never => true,
        });
        if let Some(lost) = lost {
            return Some(match (self.cancelled, self.states[*lost]) {
                (true, _) => NeverStarts::Cancelled,
                (false, State::Never) => self.first_cause(*lost),
                (false, _) => NeverStarts::Dependency(self.tasks[*lost].id.clone()),
            });
        }
        if self.cancelled {
            return Some(NeverStarts::Cancelled);
        }
        let barrier = task.kind.is_barrier();
        let stops = match self.on_failure {
            OnFailure::Stop => true,
            OnFailure::KeepGoing => barrier,
        };
        (self.failed && stops).then_some(NeverStarts::RunFailed)
    }

    /// The task that really failed behind one that never started.
    fn first_cause(&self, position: usize) -> NeverStarts {
        let mut at = position;
        loop {
            let lost = self.tasks[at]
                .needs
                .iter()
                .find(|need| match self.states[**need] {
                    State::Waiting | State::Running | State::Ended(Ending::Ok) => false,
                    State::Ended(Ending::Failed | Ending::Cancelled) | State::Never => true,
                });
            match lost {
                Some(lost) if self.states[*lost] == State::Never => at = *lost,
                Some(lost) => return NeverStarts::Dependency(self.tasks[*lost].id.clone()),
                None => return NeverStarts::RunFailed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::StageKind;
    use crate::name::{ComponentName, StageName};

    fn task(position: usize, component: usize, barrier: bool, needs: Vec<usize>) -> Task {
        let kind = if barrier {
            StageKind::Push
        } else {
            StageKind::Test
        };
        Task {
            id: TaskId {
                stage: StageName::new(format!("s{position}")).unwrap(),
                component: (!barrier).then(|| ComponentName::new(format!("c{component}")).unwrap()),
                variant: None,
            },
            resource: if barrier {
                Resource::Network
            } else {
                Resource::Workspace
            },
            kind,
            needs,
            decision: Decision::Run { why: String::new() },
            timeout: Duration::from_secs(1),
        }
    }

    fn graphs() -> impl Strategy<Value = Vec<Task>> {
        let one = (
            0..4_usize,
            any::<bool>(),
            prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        );
        prop::collection::vec(one, 1..20).prop_map(|specs| {
            let mut tasks = Vec::new();
            for (position, (component, barrier, needs)) in specs.into_iter().enumerate() {
                let barrier = barrier && position % 5 == 4;
                let mut needs: Vec<usize> = if position == 0 {
                    Vec::new()
                } else {
                    needs.iter().map(|need| need.index(position)).collect()
                };
                needs.sort_unstable();
                needs.dedup();
                tasks.push(task(position, component, barrier, needs));
            }
            tasks
        })
    }

    proptest! {
        #[test]
        fn every_task_ends_once_and_no_rule_is_broken(
            tasks in graphs(),
            endings in prop::collection::vec(0..6_u8, 20),
            order in prop::collection::vec(any::<prop::sample::Index>(), 200),
            keep_going in any::<bool>(),
            limit in 1..4_usize,
            cancel_at in prop::option::of(0..20_usize),
        ) {
            let on_failure = if keep_going { OnFailure::KeepGoing } else { OnFailure::Stop };
            let mut scheduler = Scheduler::new(&tasks, Limits { workspace: limit, cpu: 1, network: 1 }, on_failure);
            let mut seen = vec![0; tasks.len()];
            let mut ok = vec![false; tasks.len()];
            let mut running: Vec<usize> = Vec::new();
            let mut failed = false;
            let mut cancelled = false;
            let mut order = order.into_iter();
            let mut ended = 0;
            loop {
                while let Some(position) = scheduler.start_next() {
                    prop_assert!(!cancelled);
                    prop_assert!(tasks[position].needs.iter().all(|need| ok[*need]));
                    prop_assert!(!(failed && (tasks[position].kind.is_barrier() || !keep_going)));
                    let same = |other: &usize| tasks[*other].id.component.is_some() && tasks[*other].id.component == tasks[position].id.component;
                    prop_assert!(!running.iter().any(same));
                    running.push(position);
                    prop_assert!(running.iter().filter(|r| !tasks[**r].kind.is_barrier()).count() <= limit);
                }
                for (position, _) in scheduler.never_starts() {
                    seen[position] += 1;
                }
                if running.is_empty() {
                    break;
                }
                let position = running.swap_remove(order.next().unwrap().index(running.len()));
                seen[position] += 1;
                ended += 1;
                let ending = match endings[position] { 0 => Ending::Failed, _ if cancelled => Ending::Cancelled, _ => Ending::Ok };
                ok[position] = ending == Ending::Ok;
                failed |= ending == Ending::Failed;
                scheduler.finished(position, ending);
                if cancel_at == Some(ended) {
                    scheduler.cancel();
                    cancelled = true;
                }
            }
            prop_assert!(scheduler.is_done());
            prop_assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        }
    }

    #[test]
    fn a_skipped_task_names_what_really_failed() {
        let tasks = vec![
            task(0, 0, false, vec![]),
            task(1, 0, false, vec![0]),
            task(2, 0, false, vec![1]),
        ];
        let mut scheduler = Scheduler::new(
            &tasks,
            Limits {
                workspace: 1,
                cpu: 1,
                network: 1,
            },
            OnFailure::KeepGoing,
        );
        assert_eq!(scheduler.start_next(), Some(0));
        scheduler.finished(0, Ending::Failed);
        let first = NeverStarts::Dependency(tasks[0].id.clone());
        assert_eq!(
            scheduler.never_starts(),
            vec![(1, first.clone()), (2, first)]
        );
        assert!(scheduler.is_done());
    }
}
