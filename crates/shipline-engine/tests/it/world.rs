//! A platform of two components in a temporary folder, with backends in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shipline_engine::backend::{Scanner, SourceRepo};
use shipline_engine::cache::Cache;
use shipline_engine::event::{CancelReason, Event, EventKind, Outcome, Reporter};
use shipline_engine::fault::Faults;
use shipline_engine::folder::{Owner, Place};
use shipline_engine::record;
use shipline_engine::record::v1::Selection;
use shipline_engine::redact::Redactor;
use shipline_engine::run::{Backends, Graces, RunEnd, RunOptions, ScanCache, run};
use shipline_model::config::{self, Config, Ignore};
use shipline_model::name::{CommitId, PipelineName, ProfileName, RunId};
use shipline_model::path::ByPath;
use shipline_model::plan::{
    Base, Caching, ChangeSet, ComponentChange, Head, Limits, OnFailure, Plan, PlanRequest,
    Publishing, affected, make, sources,
};
use shipline_model::tag::TagInstant;
use shipline_model::value::Variables;
use shipline_testkit::memory::{
    MemoryBuilder, MemoryGitops, MemoryRegistry, MemorySource, MemoryStore, NoReader,
    PlainScanWriter, ScriptedCataloguer, ScriptedScanner,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// `web` has twins, `api` has one image; both have commands.
pub(crate) const PLATFORM: &str = "
version: 1
project: tiny
environments:
  staging: { delivery: automatic, api_urls: [https://staging.example.com/api] }
  production: { delivery: manual, promotes: staging, confirm: DEPLOY, api_urls: [https://example.com/api] }
components:
  web:
    path: web
    caches: [cache]
    setup: SETUP
    test: TEST_WEB
    image:
      dockerfile: Dockerfile
      prepare: PREPARE
      variants:
        staging: { tag_prefix: staging-, args: { API: https://staging.example.com/api } }
        production: { args: { API: https://example.com/api } }
  api:
    path: api
    test: TEST_API
    image: { dockerfile: Dockerfile }
pipelines:
  all:
    components: [web, api]
    stages:
      detect: { kind: detect }
      unit: { kind: test, needs: [detect] }
      build: { kind: build, needs: [unit] }
      scan: { kind: image-scan, needs: [build] }
      push: { kind: push, needs: [scan] }
      gitops: { kind: gitops, needs: [push], environment: staging }
";

/// Everything that a run needs.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) config: Config,
    pub(crate) source: Arc<MemorySource>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) builder: Arc<MemoryBuilder>,
    pub(crate) registry: Arc<MemoryRegistry>,
    pub(crate) gitops: Arc<MemoryGitops>,
    pub(crate) scanners: Vec<Arc<dyn Scanner>>,
    pub(crate) cataloguer: Arc<ScriptedCataloguer>,
    pub(crate) secrets: Vec<String>,
    pub(crate) variables: Variables,
    pub(crate) on_failure: OnFailure,
    pub(crate) graces: Graces,
    pub(crate) scan_cache: ScanCache,
    pub(crate) log_limit: u64,
    runs: u32,
}

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) end: RunEnd,
    pub(crate) events: Vec<Event>,
    pub(crate) run: RunId,
}

impl Ran {
    /// Tasks in the order of their ends, with their outcomes.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, Outcome> {
        self.events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::TaskFinished { id, outcome, .. } => {
                    Some((id.to_string(), outcome.clone()))
                }
                _ => None,
            })
            .collect()
    }

    pub(crate) fn outcome(&self, task: &str) -> Outcome {
        self.outcomes()
            .remove(task)
            .unwrap_or_else(|| panic!("{task} did not end"))
    }

    /// The message of a task's failure.
    #[track_caller]
    pub(crate) fn failure(&self, task: &str) -> String {
        match self.outcome(task) {
            Outcome::Failed(failure) => failure.message,
            other => panic!("{task}: {other:?}"),
        }
    }

    /// All lines of a task.
    pub(crate) fn lines(&self, task: &str) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::TaskOutput { id, line, .. } if id.to_string() == task => {
                    Some(line.clone())
                }
                _ => None,
            })
            .collect()
    }

    /// What every stream of events keeps.
    #[track_caller]
    pub(crate) fn check(&self) {
        let EventKind::RunStarted { plan, .. } = &self.events[0].kind else {
            panic!("{:?}", self.events[0]);
        };
        let mut ended: BTreeMap<String, usize> = plan
            .tasks
            .iter()
            .map(|task| (task.id.to_string(), 0))
            .collect();
        for (position, event) in self.events.iter().enumerate() {
            assert_eq!(event.seq, position as u64);
            match &event.kind {
                EventKind::TaskFinished { id, .. } => *ended.get_mut(&id.to_string()).unwrap() += 1,
                EventKind::TaskStarted { id, .. }
                | EventKind::TaskOutput { id, .. }
                | EventKind::TaskProgress { id, .. }
                | EventKind::TaskRetrying { id, .. }
                | EventKind::FindingReported { id, .. } => {
                    assert_eq!(ended[&id.to_string()], 0, "{id} after its end");
                }
                EventKind::RunFinished { summary } => {
                    assert_eq!(position, self.events.len() - 1);
                    assert_eq!(*summary, self.end.summary);
                }
                EventKind::RunStarted { .. } => assert_eq!(position, 0),
                EventKind::RunCancelling { .. } => {}
            }
        }
        assert!(ended.values().all(|times| *times == 1), "{ended:?}");
        assert!(matches!(
            self.events.last().unwrap().kind,
            EventKind::RunFinished { .. }
        ));
    }
}

/// Keeps events.
#[derive(Clone, Default)]
pub(crate) struct Recorder(pub(crate) Arc<Mutex<Vec<Event>>>);

impl Reporter for Recorder {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl World {
    /// The platform, with these commands in the places of the words.
    pub(crate) fn new(commands: &[(&str, &str)]) -> Self {
        let mut text = PLATFORM.to_owned();
        let mut place = |word: &str, command: &str| {
            text = text.replace(word, &serde_json::to_string(command).unwrap());
        };
        for (word, command) in commands {
            place(word, command);
        }
        for word in ["SETUP", "TEST_WEB", "TEST_API", "PREPARE"] {
            place(word, "true");
        }
        Self::of(&text)
    }

    pub(crate) fn of(text: &str) -> Self {
        let head = Head {
            commit: CommitId::new("0123456789abcdef0123456789abcdef01234567").unwrap(),
            time: 1_765_802_096,
            branch: Some("main".to_owned()),
            dirty: ByPath::default(),
        };
        let files = [
            ("web/Dockerfile", "FROM scratch\nCOPY . /\n"),
            ("web/page.txt", "hello"),
            ("api/Dockerfile", "FROM scratch\nCOPY . /\n"),
            ("api/main.txt", "serve"),
        ];
        Self {
            folder: TempDir::with_prefix("shipline-engine-").unwrap(),
            config: config::load("pipeline.yaml", text)
                .unwrap_or_else(|error| panic!("{error}: {text}")),
            source: Arc::new(MemorySource::new(head, &files)),
            store: Arc::default(),
            builder: Arc::default(),
            registry: Arc::default(),
            gitops: Arc::default(),
            scanners: vec![Arc::new(ScriptedScanner::clean())],
            cataloguer: Arc::default(),
            secrets: Vec::new(),
            variables: Variables::default(),
            on_failure: OnFailure::Stop,
            graces: Graces::default(),
            scan_cache: ScanCache::Use,
            log_limit: 50_000_000,
            runs: 0,
        }
    }

    /// Takes findings of a rule out of the gate.
    pub(crate) fn accept(&mut self, rule: &str) {
        self.config.scans.ignore.push(Ignore {
            rule: rule.to_owned(),
            matched: None,
            file: None,
            component: None,
            variant: None,
            reason: "a link".to_owned(),
            until: "2099-12-31".to_owned(),
            line: 1,
        });
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join(".shipline")
    }

    /// The same, as it is opened.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.folder.path(), Owner::Ours).join(".shipline")
    }

    /// Plans the pipeline on what is known.
    pub(crate) fn plan(&self) -> Plan {
        let pipeline = PipelineName::new("all").unwrap();
        let names = &self.config.pipelines[&pipeline].components;
        let change = ComponentChange {
            moved_bases: Vec::new(),
            base: Base::All,
            paths: ByPath::default(),
        };
        let trees = names
            .iter()
            .map(|name| {
                let key = self
                    .source
                    .key(&sources(&self.config.components[name]))
                    .unwrap();
                (name.clone(), key)
            })
            .collect();
        let changes = ChangeSet {
            head: self.source.head().unwrap(),
            components: names
                .iter()
                .map(|name| (name.clone(), change.clone()))
                .collect(),
        };
        make(&PlanRequest {
            config: &self.config,
            pipeline: &pipeline,
            profile: &ProfileName::new("local").unwrap(),
            changes: &changes,
            affected: &affected(&self.config, &self.config.pipelines[&pipeline], &changes),
            only: &[],
            components: &[],
            caching: Caching::Use,
            publishing: Publishing::Publish,
            trees: &trees,
            tools: &BTreeMap::new(),
            bases: &BTreeMap::new(),
            known: &Cache::new(self.place()).known(&*self.store).unwrap(),
            instant: &TagInstant::from_unix(1_765_802_096 + i64::from(self.runs)).unwrap(),
            variables: &self.variables,
            fingerprint: &|secret| format!("{:x}", secret.len()),
            notes: &[],
        })
        .unwrap()
    }

    pub(crate) fn options(&mut self) -> RunOptions {
        self.runs += 1;
        RunOptions {
            run: RunId::new(format!("20251215123456-{:06x}", self.runs)).unwrap(),
            started_ms: 1_765_802_096_000,
            state: self.place(),
            command: "shipline pipeline all".to_owned(),
            argv: ["shipline", "pipeline", "all"].map(str::to_owned).to_vec(),
            selection: Selection::default(),
            limits: Limits {
                workspace: 2,
                cpu: 2,
                network: 1,
            },
            on_failure: self.on_failure,
            faults: Faults::none(),
            redactor: Arc::new(Redactor::new(&self.secrets)),
            environment: BTreeMap::from([(
                "PATH".to_owned(),
                std::env::var("PATH").unwrap_or_default(),
            )]),
            variables: self.variables.clone(),
            program: host(),
            graces: self.graces,
            author: None,
            trailers: vec![("Run-Url".to_owned(), "https://ci.example.com/7".to_owned())],
            scan_cache: self.scan_cache,
            log_limit: self.log_limit,
        }
    }

    pub(crate) fn backends(&self) -> Backends {
        Backends {
            source: Arc::<MemorySource>::clone(&self.source),
            store: Arc::<MemoryStore>::clone(&self.store),
            builder: Arc::<MemoryBuilder>::clone(&self.builder),
            registry: Arc::<MemoryRegistry>::clone(&self.registry),
            scanners: self.scanners.clone(),
            reader: Arc::new(NoReader),
            scan_writer: Arc::new(PlainScanWriter),
            cataloguer: Arc::<ScriptedCataloguer>::clone(&self.cataloguer),
            gitops: Arc::<MemoryGitops>::clone(&self.gitops),
        }
    }

    /// Plans and runs to the end.
    pub(crate) async fn run(&mut self) -> Ran {
        let (_keep, signals) = mpsc::unbounded_channel();
        self.run_with(signals, Vec::new()).await
    }

    /// Runs with signals and reporters. The events are those of the record.
    pub(crate) async fn run_with(
        &mut self,
        signals: mpsc::UnboundedReceiver<CancelReason>,
        reporters: Vec<Box<dyn Reporter + Send>>,
    ) -> Ran {
        let plan = self.plan();
        let options = self.options();
        let id = options.run.clone();
        let end = run(
            plan,
            &self.config,
            self.backends(),
            options,
            reporters,
            signals,
        )
        .await
        .unwrap();
        let events = self.events(&id);
        let ran = Ran {
            end,
            events,
            run: id,
        };
        ran.check();
        ran
    }

    pub(crate) fn events(&self, run: &RunId) -> Vec<Event> {
        record::find(&self.place(), run.as_str())
            .unwrap()
            .events()
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

/// Sends signals when events come by.
pub(crate) struct OnEvent<F: FnMut(&Event) + Send>(pub(crate) F);

impl<F: FnMut(&Event) + Send> Reporter for OnEvent<F> {
    fn event(&mut self, event: &Event) {
        (self.0)(event);
    }
}

/// The program of `examples/host.rs`, which `cargo test` builds beside the tests.
pub(crate) fn host() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let host = tests
        .parent()
        .and_then(|deps| deps.parent())
        .unwrap()
        .join("examples/host");
    assert!(
        host.exists(),
        "{} is missing: `cargo build -p shipline-engine --example host`",
        host.display()
    );
    host
}

/// Waits until `condition` holds; fails after a minute.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < limit, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
