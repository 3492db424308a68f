//! Which task may start next: a plain state machine over a plan's tasks. The same endings give the same answers.

use std::collections::BTreeSet;

use super::types::{Decision, Task, TaskId};
use crate::name::ComponentName;
use crate::stage_kind::Resource;

/// How many tasks of each class may run at once; 0 counts as 1. Light tasks are not bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tests, builds.
    pub workspace: usize,
    /// Scans.
    pub cpu: usize,
    /// Push, GitOps.
    pub network: usize,
}

impl Limits {
    fn of(self, resource: Resource) -> usize {
        match resource {
            Resource::Light => usize::MAX,
            Resource::Workspace => self.workspace.max(1),
            Resource::Cpu => self.cpu.max(1),
            Resource::Network => self.network.max(1),
        }
    }
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
    Ended,
}

/// Whether a task takes a place: what is cached or left out by plan does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Work,
    Nothing,
}

#[derive(Debug)]
struct Node {
    id: TaskId,
    state: State,
    /// How many of its needs have not passed yet.
    missing: usize,
    dependents: Vec<usize>,
    resource: Resource,
    weight: Weight,
    /// The component whose workspace it uses.
    workspace: Option<ComponentName>,
    barrier: bool,
}

/// The state of a run's schedule. Each task is started once by [`Scheduler::start_next`] or given once by
/// [`Scheduler::never_starts`].
#[derive(Debug)]
pub struct Scheduler {
    nodes: Vec<Node>,
    limits: Limits,
    on_failure: OnFailure,
    /// By class: what waits for nothing but a free place.
    ready: [BTreeSet<usize>; 4],
    /// By class: how many places are taken.
    taken: [usize; 4],
    /// Components whose workspace is in use.
    busy: BTreeSet<ComponentName>,
    running: BTreeSet<usize>,
    /// What never starts and has not been told yet.
    never: Vec<(usize, NeverStarts)>,
    /// How many tasks have neither ended nor been given up.
    open: usize,
}

impl Scheduler {
    /// A schedule of tasks, each of which stands after all that it needs.
    #[must_use]
    pub fn new(tasks: &[Task], limits: Limits, on_failure: OnFailure) -> Self {
        let mut nodes: Vec<Node> = Vec::with_capacity(tasks.len());
        for (position, task) in tasks.iter().enumerate() {
            let needs = task.needs.iter().filter(|need| **need < position);
            let needs: BTreeSet<usize> = needs.copied().collect();
            for need in &needs {
                nodes[*need].dependents.push(position);
            }
            let weight = match task.decision {
                Decision::Run { .. } => Weight::Work,
                Decision::Cached { .. } | Decision::Skip { .. } => Weight::Nothing,
            };
            let workspace = match (task.resource, weight) {
                (Resource::Workspace, Weight::Work) => task.id.component.clone(),
                (Resource::Workspace, Weight::Nothing)
                | (Resource::Light | Resource::Cpu | Resource::Network, _) => None,
            };
            nodes.push(Node {
                id: task.id.clone(),
                state: State::Waiting,
                missing: needs.len(),
                dependents: Vec::new(),
                resource: task.resource,
                weight,
                workspace,
                barrier: task.kind.nature().is_barrier(),
            });
        }
        let mut ready: [BTreeSet<usize>; 4] = Default::default();
        for (position, node) in nodes.iter().enumerate() {
            if node.missing == 0 {
                ready[class(node.resource)].insert(position);
            }
        }
        Self {
            open: nodes.len(),
            nodes,
            limits,
            on_failure,
            ready,
            taken: [0; 4],
            busy: BTreeSet::new(),
            running: BTreeSet::new(),
            never: Vec::new(),
        }
    }

    /// Starts the first task that may start, and gives its position.
    pub fn start_next(&mut self) -> Option<usize> {
        let position = (0..self.ready.len())
            .filter_map(|class| self.first(class))
            .min()?;
        let node = &mut self.nodes[position];
        node.state = State::Running;
        let class = class(node.resource);
        self.ready[class].remove(&position);
        self.running.insert(position);
        if node.weight == Weight::Work {
            self.taken[class] += 1;
            self.busy.extend(node.workspace.clone());
        }
        Some(position)
    }

    /// Takes a started task's ending. Of a task that is not running it takes none.
    pub fn finished(&mut self, position: usize, ending: Ending) {
        if !self.running.remove(&position) {
            return;
        }
        let node = &mut self.nodes[position];
        node.state = State::Ended;
        if node.weight == Weight::Work {
            self.taken[class(node.resource)] -= 1;
            if let Some(component) = &node.workspace {
                self.busy.remove(component);
            }
        }
        self.open -= 1;
        match ending {
            Ending::Ok => self.release(position),
            Ending::Failed => {
                let why = NeverStarts::Dependency(self.nodes[position].id.clone());
                self.give_up_dependents(position, &why);
                self.fail();
            }
            Ending::Cancelled => {
                self.give_up_dependents(position, &NeverStarts::Cancelled);
                self.fail();
            }
        }
    }

    /// Nothing new starts from now on.
    pub fn cancel(&mut self) {
        self.give_up(&NeverStarts::Cancelled, |_| true);
    }

    /// Tasks of which it is certain since the last call that they never start, in order, with the reason.
    pub fn never_starts(&mut self) -> Vec<(usize, NeverStarts)> {
        let mut certain = std::mem::take(&mut self.never);
        certain.sort_by_key(|(position, _)| *position);
        certain
    }

    /// Whether every task has ended or never starts.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Positions of running tasks.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        self.running.iter().copied()
    }

    /// The first task of a class that may start.
    fn first(&self, class: usize) -> Option<usize> {
        self.ready[class].iter().copied().find(|position| {
            let node = &self.nodes[*position];
            let free = self.taken[class] < self.limits.of(node.resource);
            let alone = node
                .workspace
                .as_ref()
                .is_none_or(|it| !self.busy.contains(it));
            node.weight == Weight::Nothing || (free && alone)
        })
    }

    fn release(&mut self, position: usize) {
        for dependent in self.nodes[position].dependents.clone() {
            let node = &mut self.nodes[dependent];
            node.missing -= 1;
            if node.missing == 0 && node.state == State::Waiting {
                self.ready[class(node.resource)].insert(dependent);
            }
        }
    }

    fn fail(&mut self) {
        match self.on_failure {
            OnFailure::Stop => self.give_up(&NeverStarts::RunFailed, |_| true),
            OnFailure::KeepGoing => self.give_up(&NeverStarts::RunFailed, |node| node.barrier),
        }
    }

    /// Gives up what waits and is `doomed`, and all that needs it.
    fn give_up(&mut self, why: &NeverStarts, doomed: impl Fn(&Node) -> bool) {
        for position in 0..self.nodes.len() {
            if doomed(&self.nodes[position]) && self.give_up_one(position, why) {
                self.give_up_dependents(position, why);
            }
        }
    }

    fn give_up_dependents(&mut self, position: usize, why: &NeverStarts) {
        let mut open = self.nodes[position].dependents.clone();
        while let Some(dependent) = open.pop() {
            if self.give_up_one(dependent, why) {
                open.extend_from_slice(&self.nodes[dependent].dependents);
            }
        }
    }

    /// Gives up a task that waits; says whether it did.
    fn give_up_one(&mut self, position: usize, why: &NeverStarts) -> bool {
        let node = &mut self.nodes[position];
        if node.state != State::Waiting {
            return false;
        }
        node.state = State::Ended;
        self.ready[class(node.resource)].remove(&position);
        self.open -= 1;
        self.never.push((position, why.clone()));
        true
    }
}

fn class(resource: Resource) -> usize {
    match resource {
        Resource::Light => 0,
        Resource::Workspace => 1,
        Resource::Cpu => 2,
        Resource::Network => 3,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::StageKind;
    use crate::name::StageName;
    use crate::stage_kind::Scope;

    const ONE_EACH: Limits = Limits {
        workspace: 1,
        cpu: 1,
        network: 1,
    };

    fn task(position: usize, component: usize, kind: StageKind, needs: &[usize]) -> Task {
        let component = match kind.nature().scope {
            Scope::Run => None,
            Scope::Component | Scope::Image => {
                Some(ComponentName::new(format!("c{component}")).unwrap())
            }
        };
        Task {
            id: TaskId {
                stage: StageName::new(format!("s{position}")).unwrap(),
                component,
                variant: None,
            },
            resource: kind.nature().resource,
            kind,
            needs: needs.to_vec(),
            decision: Decision::Run { why: String::new() },
            timeout: Duration::from_secs(1),
        }
    }

    fn graphs() -> impl Strategy<Value = Vec<Task>> {
        let one = (
            0..4_usize,
            0..9_u8,
            prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        );
        prop::collection::vec(one, 1..24).prop_map(|specs| {
            let mut tasks = Vec::new();
            for (position, (component, kind, needs)) in specs.into_iter().enumerate() {
                let needs = needs.iter().filter(|_| position > 0);
                let needs: Vec<usize> = needs.map(|need| need.index(position)).collect();
                let mut task = task(
                    position,
                    component,
                    match kind {
                        0 => StageKind::Push,
                        1 => StageKind::Detect,
                        2..4 => StageKind::ImageScan,
                        _ => StageKind::Test,
                    },
                    &needs,
                );
                if kind == 8 {
                    task.decision = Decision::Cached {
                        key: String::new(),
                        from: String::new(),
                    };
                }
                tasks.push(task);
            }
            tasks
        })
    }

    /// What a run of random endings did, in order: starts, endings and those that never start.
    fn play(
        tasks: &[Task],
        limits: Limits,
        on_failure: OnFailure,
        endings: &[u8],
        order: &[prop::sample::Index],
        cancel_at: Option<usize>,
    ) -> Vec<(char, usize)> {
        let mut scheduler = Scheduler::new(tasks, limits, on_failure);
        let mut story = Vec::new();
        let mut seen = vec![0; tasks.len()];
        let mut ok = vec![false; tasks.len()];
        let mut running: Vec<usize> = Vec::new();
        let (mut failed, mut cancelled, mut ended) = (false, false, 0);
        let mut order = order.iter();
        let works = |task: &Task| matches!(task.decision, Decision::Run { .. });
        loop {
            while let Some(position) = scheduler.start_next() {
                let task = &tasks[position];
                story.push(('s', position));
                assert!(!cancelled);
                assert!(task.needs.iter().all(|need| ok[*need]));
                assert!(
                    !(failed && (task.kind.nature().is_barrier() || on_failure == OnFailure::Stop))
                );
                let others = || running.iter().map(|it| &tasks[*it]).filter(|it| works(it));
                if works(task) {
                    let workspace = |it: &&Task| it.resource == Resource::Workspace;
                    let same = |it: &Task| it.id.component == task.id.component;
                    assert!(!workspace(&task) || !others().filter(workspace).any(same));
                    let alike = others().filter(|it| it.resource == task.resource).count();
                    assert!(alike < limits.of(task.resource));
                }
                running.push(position);
            }
            for (position, _) in scheduler.never_starts() {
                story.push(('n', position));
                seen[position] += 1;
            }
            let mut told: Vec<usize> = scheduler.running().collect();
            let mut expected = running.clone();
            told.sort_unstable();
            expected.sort_unstable();
            assert_eq!(told, expected);
            if running.is_empty() {
                break;
            }
            let position = running.remove(order.next().unwrap().index(running.len()));
            story.push(('e', position));
            seen[position] += 1;
            ended += 1;
            let ending = match endings[position] {
                0 => Ending::Failed,
                _ if cancelled => Ending::Cancelled,
                _ => Ending::Ok,
            };
            ok[position] = ending == Ending::Ok;
            failed |= ending == Ending::Failed;
            scheduler.finished(position, ending);
            if cancel_at == Some(ended) {
                scheduler.cancel();
                cancelled = true;
            }
        }
        assert!(scheduler.is_done());
        assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        story
    }

    proptest! {
        #[test]
        fn every_task_ends_once_and_no_rule_is_broken(
            tasks in graphs(),
            endings in prop::collection::vec(0..6_u8, 24),
            order in prop::collection::vec(any::<prop::sample::Index>(), 24),
            keep_going in any::<bool>(),
            workspace in 0..4_usize,
            cancel_at in prop::option::of(0..20_usize),
        ) {
            let on_failure = if keep_going { OnFailure::KeepGoing } else { OnFailure::Stop };
            let limits = Limits { workspace, cpu: 2, network: 1 };
            let once = play(&tasks, limits, on_failure, &endings, &order, cancel_at);
            let again = play(&tasks, limits, on_failure, &endings, &order, cancel_at);
            prop_assert_eq!(once, again);
        }

        #[test]
        fn with_keep_going_only_dependents_and_barriers_are_lost(tasks in graphs(), failing in any::<prop::sample::Index>()) {
            let failing = failing.index(tasks.len());
            let mut scheduler = Scheduler::new(&tasks, ONE_EACH, OnFailure::KeepGoing);
            let mut lost = vec![false; tasks.len()];
            let mut failed = false;
            while let Some(position) = scheduler.start_next() {
                failed |= position == failing;
                scheduler.finished(position, if position == failing { Ending::Failed } else { Ending::Ok });
                for (position, _) in scheduler.never_starts() {
                    lost[position] = true;
                }
            }
            prop_assert!(failed);
            for (position, task) in tasks.iter().enumerate() {
                let behind = task.needs.iter().any(|need| *need == failing || lost[*need]);
                prop_assert!(!behind || lost[position]);
                prop_assert!(behind || task.kind.nature().is_barrier() || !lost[position]);
            }
        }
    }

    #[test]
    fn a_skipped_task_names_what_really_failed() {
        let tasks = [
            task(0, 0, StageKind::Test, &[]),
            task(1, 0, StageKind::Test, &[0]),
            task(2, 0, StageKind::Test, &[1]),
            task(3, 1, StageKind::Test, &[]),
            task(4, 0, StageKind::Push, &[3]),
            task(5, 0, StageKind::Test, &[4]),
        ];
        let mut scheduler = Scheduler::new(&tasks, ONE_EACH, OnFailure::KeepGoing);
        assert_eq!(scheduler.start_next(), Some(0));
        scheduler.finished(0, Ending::Failed);
        let first = NeverStarts::Dependency(tasks[0].id.clone());
        let expected = vec![
            (1, first.clone()),
            (2, first),
            (4, NeverStarts::RunFailed),
            (5, NeverStarts::RunFailed),
        ];
        assert_eq!(scheduler.never_starts(), expected);
        assert_eq!(scheduler.start_next(), Some(3));
        scheduler.finished(3, Ending::Ok);
        assert!(scheduler.is_done());
    }

    #[test]
    fn twins_never_share_their_workspace_and_the_second_outlives_the_first() {
        let tasks = [
            task(0, 0, StageKind::Build, &[]),
            task(1, 0, StageKind::Build, &[]),
            task(2, 1, StageKind::Build, &[]),
        ];
        let limits = Limits {
            workspace: 3,
            ..ONE_EACH
        };
        let mut scheduler = Scheduler::new(&tasks, limits, OnFailure::KeepGoing);
        assert_eq!(scheduler.start_next(), Some(0));
        assert_eq!(scheduler.start_next(), Some(2));
        assert_eq!(scheduler.start_next(), None);
        scheduler.finished(0, Ending::Failed);
        assert_eq!(scheduler.start_next(), Some(1));
    }

    #[test]
    fn what_costs_nothing_needs_no_place() {
        let mut tasks = [
            task(0, 0, StageKind::Test, &[]),
            task(1, 0, StageKind::Test, &[]),
            task(2, 1, StageKind::Test, &[]),
        ];
        tasks[1].decision = Decision::Skip {
            reason: String::new(),
        };
        let mut scheduler = Scheduler::new(&tasks, ONE_EACH, OnFailure::Stop);
        assert_eq!(scheduler.start_next(), Some(0));
        assert_eq!(scheduler.start_next(), Some(1));
        assert_eq!(scheduler.start_next(), None);
    }
}
