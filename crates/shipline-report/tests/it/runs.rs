//! Runs made by hand: plans and event lists.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shipline_engine::error::ErrorClass;
use shipline_engine::event::{
    BuiltImage, CancelReason, DeployedCommit, Event, EventKind, Facts, Failure, ImageChange,
    Outcome, OutputStream, PushedImage, RunSummary, SkipReason, Unit, Verdict,
};
use shipline_model::config::StageKind;
use shipline_model::finding::{Finding, FindingKind, Location, Rule, Severity, Suppression};
use shipline_model::name::{
    CommitId, ComponentName, Digest, EnvironmentName, PipelineName, ProfileName, RepoPath, RunId,
    StageName,
};
use shipline_model::path::{ByPath, GitPath};
use shipline_model::plan::{
    Base, BaseRule, ChangeKind, Decision, DeclaredBy, Head, ImageId, PathChange, Plan,
    PlannedComponent, Reason, Resource, Task, TaskId,
};
use shipline_report::Signposts;

/// When all runs begin.
const START_MS: i64 = 1_767_323_045_000;

pub(crate) fn commit() -> CommitId {
    CommitId::new("1a2b3c4d".repeat(5)).unwrap()
}

fn digest(seed: char) -> Digest {
    Digest::new(format!("sha256:{}", String::from(seed).repeat(64))).unwrap()
}

/// `stage`, `stage/component`, `stage/component@variant`.
pub(crate) fn id(text: &str) -> TaskId {
    let (rest, variant) = match text.split_once('@') {
        Some((rest, variant)) => (rest, Some(EnvironmentName::new(variant).unwrap())),
        None => (text, None),
    };
    let (stage, component) = match rest.split_once('/') {
        Some((stage, component)) => (stage, Some(ComponentName::new(component).unwrap())),
        None => (rest, None),
    };
    TaskId {
        stage: StageName::new(stage).unwrap(),
        component,
        variant,
    }
}

fn image(variant: &str) -> ImageId {
    ImageId {
        component: ComponentName::new("frontend").unwrap(),
        variant: Some(EnvironmentName::new(variant).unwrap()),
    }
}

pub(crate) fn signposts() -> Signposts {
    Signposts {
        repeat: Box::new(|_, id| {
            let component = match &id.component {
                Some(component) => format!(" --component {component}"),
                None => String::new(),
            };
            format!(
                "cargo xtask pipeline frontend --only {}{component}",
                id.stage
            )
        }),
        log: Box::new(|run, id| format!(".shipline/runs/{run}/logs/{}.log", id.stage)),
    }
}

/// A plan of these components (with their reasons) and tasks.
fn plan(components: Vec<PlannedComponent>, tasks: &[&str]) -> Plan {
    let staging = EnvironmentName::new("staging").unwrap();
    Plan {
        pipeline: PipelineName::new("frontend").unwrap(),
        profile: ProfileName::new("local").unwrap(),
        head: Head {
            commit: commit(),
            time: 0,
            branch: Some("main".to_owned()),
            dirty: ByPath::default(),
        },
        components,
        tasks: tasks
            .iter()
            .map(|text| {
                let id = id(text);
                let kind = match id.stage.as_str() {
                    "detect" => StageKind::Detect,
                    "unit-tests" => StageKind::Test,
                    "build" => StageKind::Build,
                    "image-scan" => StageKind::ImageScan,
                    "push" => StageKind::Push,
                    _ => StageKind::Gitops {
                        environment: staging.clone(),
                    },
                };
                let why = "affected".to_owned();
                Task {
                    id,
                    kind,
                    needs: Vec::new(),
                    decision: Decision::Run { why },
                    resource: Resource::Light,
                    timeout: Duration::from_secs(1800),
                }
            })
            .collect(),
        notes: Vec::new(),
    }
}

fn component(name: &str, base: Base, reasons: Vec<Reason>) -> PlannedComponent {
    PlannedComponent {
        bases: Vec::new(),
        name: ComponentName::new(name).unwrap(),
        base,
        reasons,
        source_key: None,
        source_inputs: Vec::new(),
        images: Vec::new(),
    }
}

fn deployed() -> Base {
    Base::Commit {
        id: CommitId::new("0badcafe".repeat(5)).unwrap(),
        rule: BaseRule::Deployed {
            tag: "staging-0badcafe-20260101000000".to_owned(),
            environment: EnvironmentName::new("staging").unwrap(),
        },
    }
}

fn modified(path: &str, under: &str, declared: DeclaredBy) -> Reason {
    Reason::Path {
        file: PathChange {
            path: GitPath::new(path),
            kind: ChangeKind::Modified,
        },
        under: RepoPath::new(under).unwrap(),
        declared,
    }
}

/// An event list in the making.
pub(crate) struct Run {
    events: Vec<Event>,
    now_ms: i64,
    counts: RunSummary,
}

impl Run {
    fn start(plan: Plan) -> Self {
        let mut run = Self {
            events: Vec::new(),
            now_ms: START_MS,
            counts: RunSummary {
                verdict: Verdict::Green,
                passed: 0,
                cached: 0,
                failed: 0,
                skipped: 0,
                cancelled: 0,
                first_failed: None,
                took: Duration::ZERO,
            },
        };
        run.push(EventKind::RunStarted {
            run: RunId::new("20260102030405-abcdef").unwrap(),
            plan: Box::new(plan),
        });
        run
    }

    fn push(&mut self, kind: EventKind) -> &mut Self {
        let seq = self.events.len() as u64;
        let at_ms = self.now_ms;
        self.events.push(Event { seq, at_ms, kind });
        self
    }

    fn wait(&mut self, ms: i64) -> &mut Self {
        self.now_ms += ms;
        self
    }

    fn begin(&mut self, task: &str) -> &mut Self {
        self.push(EventKind::TaskStarted {
            id: id(task),
            attempt: 1,
        })
    }

    fn say(&mut self, task: &str, stream: OutputStream, line: &str) -> &mut Self {
        self.push(EventKind::TaskOutput {
            id: id(task),
            stream,
            line: line.to_owned(),
        })
    }

    fn end(&mut self, task: &str, outcome: Outcome, ms: u64) -> &mut Self {
        match &outcome {
            Outcome::Passed(_) => self.counts.passed += 1,
            Outcome::Cached { .. } => self.counts.cached += 1,
            Outcome::Failed(_) | Outcome::NotAssessed { .. } => self.counts.failed += 1,
            Outcome::Skipped { .. } => self.counts.skipped += 1,
            Outcome::Cancelled => self.counts.cancelled += 1,
        }
        self.push(EventKind::TaskFinished {
            id: id(task),
            outcome,
            took: Duration::from_millis(ms),
        })
    }

    fn finish(&mut self, verdict: Verdict) -> Vec<Event> {
        let took = u64::try_from(self.now_ms - START_MS).unwrap();
        self.counts.verdict = verdict;
        self.counts.took = Duration::from_millis(took);
        let summary = self.counts.clone();
        self.push(EventKind::RunFinished { summary });
        std::mem::take(&mut self.events)
    }
}

fn built(variant: &str, seed: char, reused_layers: usize) -> Outcome {
    Outcome::Passed(Facts::Built(BuiltImage {
        id: image(variant),
        digest: digest(seed),
        size: 1_234_567,
        layers: 3,
        reused_layers,
        bases: Vec::new(),
        builder: "embedded".to_owned(),
    }))
}

const FRONTEND: &[&str] = &[
    "detect",
    "unit-tests/frontend",
    "build/frontend@staging",
    "build/frontend@production",
    "image-scan/frontend@staging",
    "push",
    "gitops",
];

fn frontend() -> Run {
    let reasons = vec![
        modified("frontend/app/page.tsx", "frontend", DeclaredBy::Path),
        modified("frontend/package.json", "frontend", DeclaredBy::Path),
    ];
    let mut plan = plan(vec![component("frontend", deployed(), reasons)], FRONTEND);
    plan.head.dirty = [GitPath::new("frontend/app/page.tsx")]
        .into_iter()
        .collect();
    plan.notes = vec!["the work tree is dirty: tags end in -dirty".to_owned()];
    let mut run = Run::start(plan);
    let detected = Facts::Detected { affected: 1, of: 1 };
    run.begin("detect")
        .say(
            "detect",
            OutputStream::Note,
            "frontend: affected since 0badcafe: frontend/app/page.tsx changed",
        )
        .end("detect", Outcome::Passed(detected), 0);
    run
}

/// Everything works.
pub(crate) fn green() -> Vec<Event> {
    let mut run = frontend();
    run.begin("unit-tests/frontend")
        .wait(800)
        .say(
            "unit-tests/frontend",
            OutputStream::Note,
            "the workspace is as the sources: 12 files written",
        )
        .say(
            "unit-tests/frontend",
            OutputStream::Stdout,
            "\u{1b}[32mok\u{1b}[0m 12 tests\r",
        )
        .wait(2_400)
        .end("unit-tests/frontend", Outcome::Passed(Facts::None), 3_200)
        .begin("build/frontend@staging")
        .push(EventKind::TaskProgress {
            id: id("build/frontend@staging"),
            what: "layer 2 of 3".to_owned(),
            done: 1_500_000,
            total: Some(3_000_000),
            unit: Unit::Bytes,
        })
        .wait(65_000)
        .end("build/frontend@staging", built("staging", 'a', 0), 65_000)
        .begin("build/frontend@production")
        .wait(3_400)
        .end(
            "build/frontend@production",
            built("production", 'b', 2),
            3_400,
        )
        .begin("image-scan/frontend@staging")
        .wait(100);
    let scanned = Facts::Scanned {
        bytes: 4_000_000,
        findings: 0,
        suppressed: 0,
        packages: Some(253),
        not_assessed: Vec::new(),
    };
    run.end("image-scan/frontend@staging", Outcome::Passed(scanned), 100)
        .begin("push")
        .push(EventKind::TaskRetrying {
            id: id("push"),
            error: "upload a layer: connection reset".to_owned(),
            after: Duration::from_millis(1_500),
        })
        .push(EventKind::TaskStarted {
            id: id("push"),
            attempt: 2,
        })
        .wait(2_000);
    let pushed = |variant: &str, tag: &str, seed, sent, already_there| PushedImage {
        id: image(variant),
        reference: format!("registry.example.com/frontend:{tag}"),
        digest: digest(seed),
        sent,
        already_there,
    };
    let images = vec![
        pushed(
            "staging",
            "staging-1a2b3c4d-20260102030405",
            'a',
            1_200_000,
            false,
        ),
        pushed("production", "1a2b3c4d-20260102030405", 'b', 0, true),
    ];
    run.end("push", Outcome::Passed(Facts::Pushed(images)), 2_000)
        .begin("gitops")
        .wait(50);
    let deployed = DeployedCommit {
        commit: "feedbeef".repeat(5),
        made: true,
        changes: vec![ImageChange {
            component: "frontend".to_owned(),
            file: "staging/frontend/deployment.yaml".to_owned(),
            line: 21,
            from: "registry.example.com/frontend:staging-0badcafe-20260101000000".to_owned(),
            to: "registry.example.com/frontend:staging-1a2b3c4d-20260102030405".to_owned(),
        }],
        notes: Vec::new(),
    };
    run.end("gitops", Outcome::Passed(Facts::Deployed(deployed)), 50)
        .finish(Verdict::Green)
}

/// What was not begun when a run is stopped is stopped too.
fn cancel_rest(run: &mut Run, after: &str) {
    let from = FRONTEND.iter().position(|task| *task == after).unwrap() + 1;
    for task in &FRONTEND[from..] {
        run.end(task, Outcome::Cancelled, 0);
    }
}

fn skip_rest(run: &mut Run, after: &str) {
    let from = FRONTEND.iter().position(|task| *task == after).unwrap() + 1;
    for task in &FRONTEND[from..] {
        let failed = id(after);
        let reason = SkipReason::Dependency { failed };
        run.end(task, Outcome::Skipped { reason }, 0);
    }
}

/// The tests fail, with more lines than are shown.
pub(crate) fn red() -> Vec<Event> {
    let mut run = frontend();
    run.begin("unit-tests/frontend");
    for line in 1..=25 {
        run.say(
            "unit-tests/frontend",
            OutputStream::Stdout,
            &format!("line {line}"),
        );
    }
    run.say(
        "unit-tests/frontend",
        OutputStream::Stderr,
        "AssertionError: 1 == 2",
    )
    .say(
        "unit-tests/frontend",
        OutputStream::Stdout,
        &"x".repeat(1000),
    )
    .wait(3_449);
    let failure = Failure {
        class: ErrorClass::Failed,
        message: "run the tests of frontend (`npm test`): exit code 1".to_owned(),
        hints: vec!["raise `timeout` of the component if it needs longer".to_owned()],
    };
    run.end("unit-tests/frontend", Outcome::Failed(failure), 3_449);
    skip_rest(&mut run, "unit-tests/frontend");
    run.finish(Verdict::Red)
}

/// Stopped by hand.
pub(crate) fn cancelled() -> Vec<Event> {
    let mut run = frontend();
    run.begin("unit-tests/frontend")
        .wait(1_000)
        .push(EventKind::RunCancelling {
            reason: CancelReason::Interrupt,
        })
        .wait(200);
    cancel_rest(&mut run, "unit-tests/frontend");
    run.end("unit-tests/frontend", Outcome::Cancelled, 1_200)
        .finish(Verdict::Cancelled)
}

/// Nothing has changed.
pub(crate) fn unchanged() -> Vec<Event> {
    let main = Base::Commit {
        id: commit(),
        rule: BaseRule::DefaultBranch {
            branch: "main".to_owned(),
        },
    };
    let components = vec![
        component("frontend", deployed(), Vec::new()),
        component("user_service", main, Vec::new()),
        component("staff_management", deployed(), Vec::new()),
    ];
    let mut run = Run::start(plan(components, &["detect"]));
    let detected = Facts::Detected { affected: 0, of: 3 };
    run.begin("detect")
        .wait(12)
        .end("detect", Outcome::Passed(detected), 12)
        .finish(Verdict::Green)
}

/// All results are known; delivery is left out.
pub(crate) fn cached() -> Vec<Event> {
    let why = "commit 0badcafe, which staging runs, is not in this clone".to_owned();
    let base = Base::Unknown {
        reason: why.clone(),
    };
    let components = vec![
        component("frontend", base, vec![Reason::NoBase { why: why.clone() }]),
        component("other", deployed(), Vec::new()),
        component(
            "user",
            deployed(),
            vec![modified("common/lib.rs", "common", DeclaredBy::Uses)],
        ),
    ];
    let tasks = [
        "unit-tests/frontend",
        "build/frontend@staging",
        "push",
        "gitops",
    ];
    let mut plan = plan(components, &tasks);
    plan.notes = vec![format!("frontend counts as changed: {why}")];
    let mut run = Run::start(plan);
    let known = |facts| Outcome::Cached {
        key: "k".to_owned(),
        from: "20260101000000-000001".to_owned(),
        facts,
    };
    let Outcome::Passed(image) = built("staging", 'a', 0) else {
        unreachable!("a build gives facts")
    };
    run.end("unit-tests/frontend", known(Facts::None), 0).end(
        "build/frontend@staging",
        known(image),
        0,
    );
    for task in ["push", "gitops"] {
        let reason = SkipReason::Planned {
            reason: "a pull request delivers nothing".to_owned(),
        };
        run.end(task, Outcome::Skipped { reason }, 0);
    }
    run.finish(Verdict::Green)
}

/// A scan finds leaks, another has nothing to judge by, a third task fails too.
pub(crate) fn findings() -> Vec<Event> {
    let mut run = frontend();
    let scan = "image-scan/frontend@staging";
    run.begin(scan);
    for (suppressed, path) in [(false, "/srv/app/main.js"), (true, "/srv/index.html")] {
        run.push(EventKind::FindingReported {
            id: id(scan),
            finding: Finding {
                suppression: suppressed.then(|| Suppression::Exception {
                    reason: "canonical link".to_owned(),
                    until: "2027-12-31".to_owned(),
                }),
                ..Finding::new(
                    FindingKind::Leak,
                    Rule::new("environment-leak"),
                    Severity::Critical,
                    "a URL of production",
                    "https://aurora-glam.com/api/users",
                    Location::ImageFile {
                        layer: digest('c'),
                        layer_index: 1,
                        path: path.to_owned(),
                        offset: 1234,
                    },
                )
            },
        });
    }
    let failure = Failure {
        class: ErrorClass::Failed,
        message:
            "pass the gate: 1 finding at or above critical\n  frontend@staging: environment-leak …"
                .to_owned(),
        hints: vec!["build the staging variant with staging's URLs".to_owned()],
    };
    run.wait(40)
        .end(scan, Outcome::Failed(failure), 40)
        .begin("build/frontend@production")
        .wait(10)
        .end(
            "build/frontend@production",
            Outcome::NotAssessed {
                why: "no advisory data".to_owned(),
            },
            10,
        );
    for task in ["push", "gitops"] {
        run.end(
            task,
            Outcome::Skipped {
                reason: SkipReason::RunFailed,
            },
            0,
        );
    }
    run.finish(Verdict::Red)
}

/// A writer that can be looked into.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A pipe whose reader is gone after so many bytes.
pub(crate) struct Pipe {
    pub(crate) left: usize,
    pub(crate) page: Page,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.left);
        self.left -= count;
        self.page.write(&bytes[..count])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
