//! Plans of a small platform: twins, a component for all environments, one without image.

use std::collections::BTreeMap;

use super::*;
use crate::config::{self, Config};
use crate::name::{CommitId, ComponentName, Digest, PipelineName, ProfileName, StageName};
use crate::path::{ByPath, GitPath};
use crate::stage_kind::Kind;
use crate::tag::{TagBase, TagInstant};
use crate::value::Variables;

mod builds;

const FILE: &str = r#"
version: 1
project: tiny
environments:
  staging: { api_urls: ["https://staging.example/api"], delivery: automatic }
  production: { api_urls: ["https://example/api"], delivery: manual, promotes: staging }
components:
  web:
    path: web
    tools: [node]
    setup: npm ci
    test: npm test
    environment: { TOKEN: "${secret.TOKEN:-t}" }
    image:
      prepare: npm run build
      args: { MODE: "${env.MODE:-fast}" }
      variants:
        staging: { tag_prefix: staging-, args: { API: "${env.API:-https://staging.example/api}" } }
        production: { args: { API: "${secret.API:-https://example/api}" } }
  api:
    path: services/api
    uses: [services/common]
    timeout: 5m
    image: {}
  docs:
    path: docs
    uses: [web]
    test: make check
pipelines:
  all:
    components: [web, api, docs]
    stages:
      gitops: { kind: gitops, needs: [push], environment: staging }
      detect: { kind: detect }
      tests: { kind: test, needs: [detect], timeout: 7m }
      build: { kind: build, needs: [tests] }
      scan: { kind: image-scan, needs: [build] }
      push: { kind: push, needs: [scan] }
      lint: { kind: run, command: make lint, needs: [scan] }
"#;

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn commit(digit: char) -> CommitId {
    CommitId::new(digit.to_string().repeat(40)).unwrap()
}

/// Everything that a plan is made from, to be changed by a test.
struct World {
    config: Config,
    changes: ChangeSet,
    only: Vec<StageName>,
    components: Vec<ComponentName>,
    caching: Caching,
    publishing: Publishing,
    trees: BTreeMap<ComponentName, String>,
    tools: BTreeMap<ComponentName, BTreeMap<String, String>>,
    bases: BTreeMap<ComponentName, Vec<(String, Digest)>>,
    known: Known,
    instant: TagInstant,
    variables: BTreeMap<String, String>,
    fingerprint: fn(&str) -> String,
}

impl World {
    /// These paths changed.
    fn new(paths: &[&str]) -> Self {
        let paths = paths.iter().map(|path| PathChange {
            path: GitPath::new(path),
            kind: ChangeKind::Modified,
        });
        let change = ComponentChange {
            base: Base::Commit {
                id: commit('b'),
                rule: BaseRule::Asked,
            },
            paths: paths.collect(),
            moved_bases: Vec::new(),
        };
        let names = ["web", "api", "docs"];
        Self {
            config: config::load("pipeline.yaml", FILE).unwrap(),
            changes: ChangeSet {
                head: Head {
                    commit: commit('a'),
                    time: 1000,
                    branch: Some("main".to_owned()),
                    dirty: ByPath::default(),
                },
                components: names.map(|it| (name(it), change.clone())).into(),
            },
            only: Vec::new(),
            components: Vec::new(),
            caching: Caching::Use,
            publishing: Publishing::Publish,
            trees: names.map(|it| (name(it), format!("tree of {it}"))).into(),
            tools: BTreeMap::from([(name("web"), tool("v22"))]),
            bases: BTreeMap::new(),
            known: Known::default(),
            instant: TagInstant::new("20261124030405").unwrap(),
            variables: BTreeMap::new(),
            fingerprint: |secret| format!("keyed {}", secret.len()),
        }
    }

    fn plan(&self) -> Result<Plan, PlanError> {
        let pipeline: PipelineName = name("all");
        let profile: ProfileName = name("local");
        make(&PlanRequest {
            config: &self.config,
            pipeline: &pipeline,
            profile: &profile,
            changes: &self.changes,
            affected: &affected(
                &self.config,
                &self.config.pipelines[&pipeline],
                &self.changes,
            ),
            only: &self.only,
            components: &self.components,
            caching: self.caching,
            publishing: self.publishing.clone(),
            trees: &self.trees,
            tools: &self.tools,
            bases: &self.bases,
            known: &self.known,
            instant: &self.instant,
            variables: &Variables::new(self.variables.clone()),
            fingerprint: &self.fingerprint,
            notes: &[],
        })
    }

    fn made(&self) -> Plan {
        self.plan().unwrap()
    }

    /// As a run would: `images` of the plan's component were built, with the tests passed, in run `earlier`.
    fn remember(&mut self, plan: &Plan, component: &str, images: &[Option<&str>]) {
        let planned = of(plan, component);
        let source = planned.source_key.clone().unwrap();
        self.known
            .passes
            .insert((Kind::Test, source.clone()), "earlier".to_owned());
        let Some(first) = planned.images.first() else {
            return;
        };
        let built = planned.images.iter().filter(|image| {
            let variant = image.id.variant.as_ref().map(AsRef::as_ref);
            images.contains(&variant)
        });
        let images = built.map(|image| {
            (
                image.id.variant.clone(),
                (image.build_key.clone(), digest()),
            )
        });
        let build = KnownBuild {
            base: first.tag.base().clone(),
            commit: first.commit.clone(),
            commit_time: first.commit_time,
            run: "earlier".to_owned(),
            images: images.collect(),
        };
        self.known.builds.insert(source, build);
    }

    fn only(mut self, stages: &[&str]) -> Self {
        self.only = stages.iter().map(|it| name(it)).collect();
        self
    }

    fn set(mut self, variable: &str, value: &str) -> Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }
}

fn tool(version: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("tool node".to_owned(), version.to_owned())])
}

fn digest() -> Digest {
    Digest::new(format!("sha256:{}", "d".repeat(64))).unwrap()
}

fn of<'a>(plan: &'a Plan, component: &str) -> &'a PlannedComponent {
    let found = plan
        .components
        .iter()
        .find(|it| it.name.as_str() == component);
    found.unwrap()
}

/// Each task with what it needs and its decision's first letter.
fn drawn(plan: &Plan) -> Vec<String> {
    let id = |position: &usize| plan.tasks[*position].id.to_string();
    let tasks = plan.tasks.iter().map(|task| {
        let decision = match task.decision {
            Decision::Run { .. } => "run",
            Decision::Cached { .. } => "cached",
            Decision::Skip { .. } => "skip",
        };
        let needs: Vec<String> = task.needs.iter().map(id).collect();
        format!("{} {decision} [{}]", task.id, needs.join(" "))
    });
    tasks.collect()
}

fn decision<'a>(plan: &'a Plan, task: &str) -> &'a Decision {
    let found = plan.tasks.iter().find(|it| it.id.to_string() == task);
    &found
        .unwrap_or_else(|| panic!("{task} in {:?}", drawn(plan)))
        .decision
}

fn skipped(plan: &Plan, task: &str) -> String {
    match decision(plan, task) {
        Decision::Skip { reason } => reason.clone(),
        other @ (Decision::Run { .. } | Decision::Cached { .. }) => panic!("{task}: {other:?}"),
    }
}

fn runs(plan: &Plan, task: &str) -> bool {
    matches!(decision(plan, task), Decision::Run { .. })
}

fn actions(plan: &Plan, component: &str) -> Vec<String> {
    let images = of(plan, component).images.iter();
    let actions = images.map(|image| match &image.action {
        ImageAction::Build { why } => format!("{} build: {why}", image.tag),
        ImageAction::Take { from, .. } => format!("{} take from {from}", image.tag),
    });
    actions.collect()
}

#[test]
fn tasks_wait_for_what_comes_before_them_and_barriers_for_all() {
    let plan = World::new(&["web/a.ts", "services/common/x.rs"]).made();
    let mut expected = vec![
        "detect run []".to_owned(),
        "tests/web run [detect]".to_owned(),
        "tests/api skip [detect]".to_owned(),
        "tests/docs run [detect]".to_owned(),
        "build/web@staging run [tests/web]".to_owned(),
        "build/web@production run [tests/web]".to_owned(),
        "build/api run [tests/api]".to_owned(),
        "scan/web@staging run [build/web@staging]".to_owned(),
        "scan/web@production run [build/web@production]".to_owned(),
        "scan/api run [build/api]".to_owned(),
        "lint/web run [scan/web@staging scan/web@production]".to_owned(),
        "lint/api run [scan/api]".to_owned(),
        // It has no image: its lint waits for its tests.
        "lint/docs run [tests/docs]".to_owned(),
    ];
    let before = |tasks: &[String]| {
        let ids: Vec<&str> = tasks
            .iter()
            .filter_map(|task| task.split(' ').next())
            .collect();
        ids.join(" ")
    };
    // `push` does not name `lint`, and waits for it all the same: what fails publishes nothing.
    expected.push(format!("push run [{}]", before(&expected)));
    expected.push(format!("gitops run [{}]", before(&expected)));
    assert_eq!(drawn(&plan), expected);
}

#[test]
fn limits_come_from_the_stage_then_from_the_component() {
    let plan = World::new(&["web/a", "services/api/b"]).made();
    let minutes = |task: &str| {
        let found = plan
            .tasks
            .iter()
            .find(|it| it.id.to_string() == task)
            .unwrap();
        (found.timeout.as_secs() / 60, found.resource)
    };
    assert_eq!(minutes("tests/api"), (7, Resource::Workspace));
    assert_eq!(minutes("build/api"), (5, Resource::Workspace));
    assert_eq!(minutes("scan/web@staging"), (30, Resource::Cpu));
    assert_eq!(minutes("detect"), (30, Resource::Light));
    assert_eq!(minutes("push"), (30, Resource::Network));
}

#[test]
fn components_are_affected_by_path_uses_and_the_shared_files() {
    let check = |paths: &[&str], expected: &[&str]| {
        let world = World::new(paths);
        let pipeline = &world.config.pipelines[0];
        let affected = affected(&world.config, pipeline, &world.changes);
        let names: Vec<&str> = affected
            .iter()
            .filter(|(_, reasons)| !reasons.is_empty())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, expected, "{paths:?}");
    };
    check(&[], &[]);
    check(&["README.md", "webserver/a", "services/common.rs"], &[]);
    check(&["web/a"], &["docs", "web"]);
    check(&["services/common/a"], &["api"]);
    check(&["pipeline.yaml"], &["api", "docs", "web"]);
    check(&["pipeline.lock"], &[]);
    check(&["docs/pipeline.yaml"], &["docs"]);
}

#[test]
fn nothing_affected_is_a_plan_that_does_nothing() {
    let plan = World::new(&["README.md"]).made();
    assert_eq!(
        drawn(&plan),
        [
            "detect run []",
            "push skip [detect]",
            "gitops skip [detect push]"
        ]
    );
    assert_eq!(skipped(&plan, "push"), "no component is affected");
    assert!(
        plan.components
            .iter()
            .all(|it| it.reasons.is_empty() && it.images.is_empty())
    );
}

#[test]
fn without_an_image_nothing_is_published() {
    let plan = World::new(&["docs/a.md"]).made();
    assert_eq!(
        skipped(&plan, "gitops"),
        "no affected component has an image"
    );
    assert!(runs(&plan, "tests/docs"));
}

#[test]
fn no_base_and_all_affect_everything_and_are_told() {
    let mut world = World::new(&[]);
    for (component, base) in [
        ("web", Base::All),
        (
            "api",
            Base::Unknown {
                reason: "the clone is shallow".to_owned(),
            },
        ),
        (
            "docs",
            Base::Unknown {
                reason: "the clone is shallow".to_owned(),
            },
        ),
    ] {
        world.changes.components.get_mut(component).unwrap().base = base;
    }
    let plan = world.made();
    assert_eq!(of(&plan, "web").reasons, [Reason::All]);
    assert_eq!(
        plan.notes,
        [
            "warning: the image of api is made once for staging and production: the search for leaks cannot tell whose API URLs belong in it; where URLs are built in, declare `image.variants`, one for each environment (nothing is to do where they are read at run time)",
            "api, docs count as changed: the clone is shallow"
        ]
    );
    assert_eq!(plan.tasks.len(), 15);
}

#[test]
fn what_nobody_looked_at_is_not_taken_for_unchanged() {
    let mut world = World::new(&["web/a"]);
    world.changes.components.remove("api");
    assert!(matches!(world.plan(), Err(PlanError::Unknown { name, .. }) if name == "api"));
    world.components = vec![name("web")];
    assert_eq!(world.made().components.len(), 1);
}

#[test]
fn many_reasons_are_cut_but_the_shared_file_is_named() {
    let files: Vec<String> = (0..500).map(|it| format!("web/{it:03}")).collect();
    let mut paths: Vec<&str> = files.iter().map(String::as_str).collect();
    paths.push("pipeline.yaml");
    let plan = World::new(&paths).made();
    let reasons = &of(&plan, "web").reasons;
    assert!(reasons.len() < 30);
    assert!(matches!(reasons.last(), Some(Reason::PipelineFile { .. })));
}

#[test]
fn a_lock_affects_those_whose_bases_moved_and_marks_their_images() {
    let mut world = World::new(&["pipeline.lock"]);
    assert!(
        world
            .made()
            .components
            .iter()
            .all(|component| component.reasons.is_empty()),
        "by itself the file affects nobody"
    );
    let moved = MovedBase {
        reference: "node:22".to_owned(),
        from: None,
        to: Some(digest()),
    };
    let change = world.changes.components.get_mut("web").unwrap();
    change.moved_bases.push(moved.clone());
    world
        .bases
        .insert(name("web"), vec![("node:22".to_owned(), digest())]);
    let plan = world.made();
    assert_eq!(
        of(&plan, "web").reasons,
        [Reason::LockedBase { base: moved }]
    );
    assert!(of(&plan, "api").reasons.is_empty());
    let explained = explain(&plan, &name("web"));
    for line in [
        format!("base node:22 is {} (pipeline.lock)", digest()),
        format!("pipeline.lock moves node:22 from nothing to {}", digest()),
    ] {
        assert!(explained.contains(&line), "{explained}");
    }
    // An uncommitted lock makes the images of those dirty that lock.
    world.changes.head.dirty = ["pipeline.lock"].into_iter().map(GitPath::new).collect();
    let dirty = |world: &World| of(&world.made(), "web").images[0].tag.base().is_dirty();
    assert!(!dirty(&world));
    let locked = FILE.replacen("    image:\n", "    image:\n      lock: true\n", 1);
    world.config = config::load("pipeline.yaml", &locked).unwrap();
    assert!(dirty(&world));
}

#[test]
fn missing_variables_are_all_named_at_once() {
    let mut world = World::new(&["web/a"]);
    let text = FILE
        .replace("${env.MODE:-fast}", "${env.MODE}")
        .replace("${secret.TOKEN:-t}", "${secret.TOKEN}");
    world.config = config::load("pipeline.yaml", &text).unwrap();
    let Err(PlanError::MissingVariables(missing)) = world.plan() else {
        panic!("planned");
    };
    let missing: Vec<String> = missing.iter().map(|it| it.written()).collect();
    assert_eq!(missing, ["${env.MODE}", "${secret.TOKEN}"]);
    let unaffected = World {
        changes: World::new(&["services/api/a"]).changes,
        ..world
    };
    assert!(unaffected.plan().is_ok());
}

#[test]
fn what_is_withheld_stands_in_the_plan_with_its_reason() {
    let mut world = World::new(&["web/a"]);
    world.publishing = Publishing::Withhold {
        reason: "this is a pull request".to_owned(),
    };
    let plan = world.made();
    assert_eq!(skipped(&plan, "push"), "this is a pull request");
    assert_eq!(skipped(&plan, "gitops"), "this is a pull request");
    assert!(runs(&plan, "scan/web@staging"));
}

#[test]
fn only_leaves_the_rest_out_but_no_gate_of_what_is_published() {
    let plan = World::new(&["web/a"]).only(&["tests"]).made();
    assert!(runs(&plan, "tests/web"));
    for task in [
        "detect",
        "build/web@staging",
        "scan/web@staging",
        "lint/web",
        "push",
        "gitops",
    ] {
        assert_eq!(skipped(&plan, task), "not asked for (--only)", "{task}");
    }

    let plan = World::new(&["web/a"]).only(&["build", "push"]).made();
    for task in ["tests/web", "build/web@staging", "scan/web@staging", "push"] {
        assert!(runs(&plan, task), "{task}");
    }
    assert!(!runs(&plan, "gitops") && !runs(&plan, "detect"));

    let mut withheld = World::new(&["web/a"]).only(&["push"]);
    withheld.publishing = Publishing::Withhold {
        reason: "this is a pull request".to_owned(),
    };
    let plan = withheld.made();
    assert_eq!(skipped(&plan, "push"), "this is a pull request");
    assert!(!runs(&plan, "scan/web@staging"));
}

#[test]
fn only_needs_the_images_of_a_build_that_it_leaves_out() {
    for stage in ["scan", "push", "gitops"] {
        let error = World::new(&["web/a"]).only(&[stage]).plan().unwrap_err();
        let PlanError::NotBuilt { image, .. } = &error else {
            panic!("{stage}: {error:?}");
        };
        assert_eq!(image.to_string(), "web@staging", "{stage}");
    }
    let mut world = World::new(&["web/a"]);
    let first = world.made();
    world.remember(&first, "web", &[Some("staging"), Some("production")]);
    let plan = world.only(&["gitops"]).made();
    assert!(runs(&plan, "gitops") && runs(&plan, "push") && runs(&plan, "scan/web@production"));
    assert!(matches!(
        decision(&plan, "build/web@staging"),
        Decision::Cached { .. }
    ));
}

#[test]
fn names_that_are_not_there_are_refused() {
    let mut world = World::new(&[]);
    world.components = vec![name("nobody")];
    assert!(matches!(
        world.plan(),
        Err(PlanError::Unknown {
            what: "component",
            ..
        })
    ));
    let world = World::new(&[]).only(&["nothing"]);
    assert!(matches!(
        world.plan(),
        Err(PlanError::Unknown { what: "stage", .. })
    ));
}

#[test]
fn an_affected_component_needs_the_key_of_its_sources() {
    let mut world = World::new(&["web/a"]);
    world.trees.remove("docs");
    assert_eq!(world.plan(), Err(PlanError::NoTree(name("docs"))));
}

#[test]
fn sources_are_sorted_and_do_not_lie_in_each_other() {
    let mut component = World::new(&[]).config.components[0].clone();
    component.uses = vec![name("web/lib"), name("a"), name("web"), name("web-lib")];
    let sources: Vec<String> = sources(&component)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(sources, ["a", "web", "web-lib"]);
}

#[test]
fn the_earlier_base_is_kept_even_where_the_commit_moved_on() {
    let mut world = World::new(&["services/api/a"]);
    let first = world.made();
    world.remember(&first, "api", &[None]);
    world.changes.head = Head {
        commit: commit('e'),
        time: 2000,
        ..world.changes.head
    };
    let plan = world.made();
    let image = &of(&plan, "api").images[0];
    assert_eq!(
        image.tag.base(),
        &TagBase::parse("aaaaaaaa-20261124030405").unwrap()
    );
    assert_eq!((image.commit_time, &image.commit), (1000, &commit('a')));
}

#[test]
fn a_plan_is_shown_with_a_reason_for_everything() {
    let mut world = World::new(&["services/common/a.rs", "web/x\u{1b}[2J"]);
    world.components = vec![name("api"), name("docs")];
    let first = world.made();
    world.remember(&first, "docs", &[]);
    world.changes.components.get_mut("docs").unwrap().base = Base::Unknown {
        reason: "the clone is shallow".to_owned(),
    };
    let plan = world.made();
    let key = &of(&plan, "docs").source_key.as_ref().unwrap().0[..12];
    let expected = format!(
        "pipeline all, profile local, commit aaaaaaaa on main
warning: the image of api is made once for staging and production: the search for leaks cannot tell whose API URLs belong in it; where URLs are built in, declare `image.variants`, one for each environment (nothing is to do where they are read at run time)
note: docs counts as changed: the clone is shallow
components
  api   services/common/a.rs modified since bbbbbbbb (the base that was asked for)
  docs  counts as changed
tasks
  detect      runs: 2 of 2 components affected
  tests/api   skipped: api declares no test
  tests/docs  cached: run earlier made it from the same inputs ({key})
  build/api   runs: no earlier run in this clone built these sources
  scan/api    runs: nothing is published unscanned
  lint/api    runs: `make lint`
  lint/docs   runs: `make lint`
  push        runs: publishes 1 image
  gitops      runs: staging is to run 1 image
"
    );
    assert_eq!(render(&plan), expected);
}

#[test]
fn a_component_is_explained_from_the_file_to_the_tag() {
    let mut world = World::new(&["services/common/a.rs", "web/x\u{1b}[2J"]);
    let plan = world.made();
    world.remember(&plan, "api", &[None]);
    let plan = world.made();
    let source = of(&plan, "api").source_key.clone().unwrap();
    let build = &of(&plan, "api").images[0].build_key;
    let expected = format!(
        "pipeline all, profile local, commit aaaaaaaa on main
api is affected
  measured since bbbbbbbb (the base that was asked for)
  because
    services/common/a.rs modified → uses services/common → api
  source key {source}
  image api as api:aaaaaaaa-20261124030405
    build key {build}
    from commit aaaaaaaa for linux/amd64
    taken from run earlier: {}
tasks
  tests/api  skipped: api declares no test
  build/api  cached: run earlier made it from the same inputs ({})
  scan/api   runs: nothing is published unscanned
  lint/api   runs: `make lint`
",
        digest(),
        &build.0[..12]
    );
    assert_eq!(explain(&plan, &name("api")), expected);
    let web = explain(&plan, &name("web"));
    assert!(
        web.contains("web/x\\u{1b}[2J modified → path web → web"),
        "{web}"
    );
    assert!(
        web.contains("    will be built: no earlier run in this clone built these sources"),
        "{web}"
    );
    let quiet = explain(&World::new(&["README.md"]).made(), &name("web"));
    assert!(
        quiet.contains("web is not affected\n  measured since bbbbbbbb"),
        "{quiet}"
    );
    let strange = explain(&plan, &name("nobody"));
    assert!(
        strange.contains("nobody is not among the components"),
        "{strange}"
    );
}
