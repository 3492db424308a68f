//! Scans, push and GitOps: gates, retries, and what is asked before anything is begun.

use std::sync::Arc;

use shipline_engine::backend::ScanReport;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::{EventKind, Facts, Outcome, SkipReason, Verdict};
use shipline_model::config::NotAssessed;
use shipline_model::finding::{Finding, FindingKind, Location, Rule, Severity};
use shipline_model::name::RepositoryName;
use shipline_testkit::contract::registry;
use shipline_testkit::memory::{MemoryRegistry, MemoryStore, ScriptedScanner, digest_of};

use crate::world::World;

fn leak() -> Finding {
    Finding::new(
        FindingKind::Leak,
        Rule::new("environment-leak"),
        Severity::Critical,
        "the staging image holds production's URL",
        "https://example.com/api",
        Location::ImageFile {
            layer: digest_of(b"layer"),
            layer_index: 2,
            path: "/app/index.js".to_owned(),
            offset: 123,
        },
    )
}

fn finds(finding: Finding) -> ScriptedScanner {
    ScriptedScanner::new(Some("rules-1"), move |id, _| {
        let is_staging = id.to_string() == "web@staging";
        Ok(ScanReport {
            findings: if is_staging {
                vec![finding.clone()]
            } else {
                Vec::new()
            },
            bytes: 10,
            undecided: Some("whether it is right".to_owned()),
            ..ScanReport::default()
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_at_the_gate_publishes_nothing_and_says_where() {
    let mut world = World::new(&[]);
    world.scanners = vec![Arc::new(finds(leak()))];
    let ran = world.run().await;
    let message = ran.failure("scan/web@staging");
    for part in [
        "web@staging",
        "/app/index.js",
        "byte 123",
        "layer 2",
        "environment-leak",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(world.registry.all_tags().len(), 0);
    assert!(
        ran.events
            .iter()
            .any(|event| matches!(event.kind, EventKind::FindingReported { .. }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppressed_finding_passes_and_clean_scans_are_remembered() {
    let mut world = World::new(&[]);
    let scanner = Arc::new(finds(leak()));
    world.scanners = vec![Arc::<ScriptedScanner>::clone(&scanner)];
    world.accept("environment-leak");
    let first = world.run().await;
    assert_eq!(first.end.summary.verdict, Verdict::Green);
    let scanned = Facts::Scanned {
        bytes: 10,
        findings: 1,
        suppressed: 1,
        packages: Some(0),
        not_assessed: Vec::new(),
    };
    assert_eq!(
        first.outcome("scan/web@staging"),
        Outcome::Passed(scanned.clone())
    );
    let second = world.run().await;
    let Outcome::Cached { from, facts, .. } = second.outcome("scan/web@staging") else {
        panic!("{:?}", second.outcome("scan/web@staging"));
    };
    assert_eq!((from, facts), (first.run.to_string(), scanned));
    assert_eq!(scanner.scans(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_tell_is_no_pass_where_the_profile_says_so() {
    let mut world = World::new(&[]);
    world.scanners = vec![Arc::new(ScriptedScanner::new(Some("rules-1"), |_, _| {
        Ok(ScanReport {
            not_assessed: Some("there is no advisory data".to_owned()),
            ..ScanReport::default()
        })
    }))];
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Green, "local warns");
    let lines = ran.lines("scan/web@staging");
    assert!(
        lines.contains(&"not assessed: there is no advisory data".to_owned()),
        "{lines:?}"
    );
    for policy in world.config.scans.leaks.not_assessed.values_mut() {
        *policy = NotAssessed::Fail;
    }
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert_eq!(
        ran.outcome("scan/web@staging"),
        Outcome::NotAssessed {
            why: "web@staging: there is no advisory data".to_owned()
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_scanner_is_no_pass() {
    let mut world = World::new(&[]);
    world.scanners = Vec::new();
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert_eq!(world.registry.all_tags().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_written_stops_the_run_before_it_begins() {
    let mut world = World::new(&[]);
    let denied = BackendError::new(ErrorClass::Denied, "write the repository web").hint("log in");
    world.registry.preflights.fail(denied);
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::NotReady);
    assert_eq!(ran.failure("push"), "write the repository web");
    assert_eq!(
        ran.outcome("unit/web"),
        Outcome::Skipped {
            reason: SkipReason::RunFailed
        }
    );
    assert!(
        !ran.events
            .iter()
            .any(|event| matches!(event.kind, EventKind::TaskStarted { .. }))
    );
}

/// A world whose commands are not run: only what publishes is left to do, so that the clock can be paused.
async fn published_up_to(registry: MemoryRegistry) -> World {
    let mut world = World::new(&[]);
    world.run().await;
    world.registry = Arc::new(registry);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_asked_once_because_it_tries_again_by_itself() {
    let mut world = published_up_to(MemoryRegistry::default()).await;
    let error = |class| BackendError::new(class, "upload a blob: 429");
    for class in [ErrorClass::Retryable, ErrorClass::Conflict] {
        world.registry = Arc::default();
        // The second failure would be met by a second attempt.
        for _ in 0..2 {
            world.registry.uploads.fail(error(class));
        }
        let ran = world.run().await;
        assert_eq!(ran.failure("push"), "upload a blob: 429");
        let pushes = ran.events.iter().filter(
            |event| matches!(&event.kind, EventKind::TaskStarted { id, .. } if id.to_string() == "push"),
        );
        assert_eq!(pushes.count(), 1, "{class:?}");
        let waits = ran
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::TaskRetrying { .. }));
        assert!(!waits, "{class:?}");
    }
}

#[test]
fn a_section_that_does_not_end_is_left_behind_after_its_deadline() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut world = runtime.block_on(published_up_to(MemoryRegistry::closed()));
    let paused = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let ran = paused.block_on(world.run());
    let message = ran.failure("push");
    assert!(message.contains("what was done is not known"), "{message}");
    assert_eq!(ran.end.summary.verdict, Verdict::NotReady);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_not_made_where_the_registry_lost_the_tag() {
    let mut world = World::new(&[]);
    world.run().await;
    let mut plan = world.plan();
    for task in &mut plan.tasks {
        if task.id.to_string() == "push" {
            task.decision = shipline_model::plan::Decision::Skip {
                reason: "a test".to_owned(),
            };
        }
    }
    world.registry = Arc::default();
    let options = world.options();
    let run = options.run.clone();
    let (_keep, signals) = tokio::sync::mpsc::unbounded_channel();
    let end = shipline_engine::run::run(
        plan,
        &world.config,
        world.backends(),
        options,
        Vec::new(),
        signals,
    )
    .await
    .unwrap();
    assert_eq!(end.summary.verdict, Verdict::Red);
    assert!(world.events(&run).iter().any(|event| match &event.kind {
        EventKind::TaskFinished {
            outcome: Outcome::Failed(failure),
            ..
        } => failure.message.contains("it is not there"),
        _ => false,
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_in_memory_does_what_every_registry_must() {
    let repository = |name: &str| RepositoryName::new(name).unwrap();
    registry::suite(&registry::Subject {
        registry: Arc::new(MemoryRegistry::default()),
        store: Arc::new(MemoryStore::default()),
        repositories: [repository("one"), repository("two")],
        deviations: &[],
        unknown: repository("unknown"),
    })
    .await;
}
