//! Signals, limits, panics.

use std::sync::Arc;
use std::time::Duration;

use shipline_engine::backend::ScanReport;
use shipline_engine::event::{CancelReason, Event, EventKind, Outcome, Reporter, Verdict};
use shipline_testkit::memory::{MemoryRegistry, ScriptedScanner};
use tokio::sync::mpsc;

use crate::world::{OnEvent, World};

/// A reporter that sends `reasons`, the first when `line` comes by and each further one when the run says that it is stopping.
fn signals_at(
    line: &'static str,
    reasons: &'static [CancelReason],
) -> (
    mpsc::UnboundedReceiver<CancelReason>,
    Box<dyn Reporter + Send>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut reasons = reasons.iter().copied();
    let reporter = OnEvent(move |event: &Event| {
        let now = match &event.kind {
            EventKind::TaskOutput { line: said, .. } => said == line,
            EventKind::RunCancelling { .. } => true,
            _ => false,
        };
        if now && let Some(reason) = reasons.next() {
            sender.send(reason).unwrap();
        }
    });
    (receiver, Box::new(reporter))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_lets_commands_end_gracefully() {
    let mut world = World::new(&[(
        "TEST_WEB",
        "trap 'echo bye; exit 0' TERM; sleep 1000 & echo ready; wait",
    )]);
    let grace = Duration::from_secs(900);
    world.graces.command = grace;
    let (signals, reporter) = signals_at("ready", &[CancelReason::Interrupt]);
    let ran = world.run_with(signals, vec![reporter]).await;
    assert_eq!(ran.end.summary.verdict, Verdict::Cancelled);
    assert_eq!(ran.outcome("unit/web"), Outcome::Cancelled);
    assert_eq!(ran.outcome("build/web@staging"), Outcome::Cancelled);
    assert!(ran.lines("unit/web").contains(&"bye".to_owned()));
    assert!(ran.end.summary.took < grace, "the grace was waited for");
    assert_eq!(world.registry.all_tags().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_signal_kills() {
    let mut world = World::new(&[(
        "TEST_WEB",
        "trap '' TERM; echo ready; while :; do sleep 1000; done",
    )]);
    world.graces.command = Duration::from_secs(3600);
    let (signals, reporter) =
        signals_at("ready", &[CancelReason::Interrupt, CancelReason::Interrupt]);
    let ran = world.run_with(signals, vec![reporter]).await;
    assert_eq!(ran.end.summary.verdict, Verdict::Cancelled);
    let reasons: Vec<CancelReason> = ran
        .events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::RunCancelling { reason } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [CancelReason::Interrupt, CancelReason::Kill]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_when_asked_is_killed_after_the_grace() {
    let mut world = World::new(&[(
        "TEST_WEB",
        "trap '' TERM; echo ready; while :; do sleep 1000; done",
    )]);
    world.graces.command = Duration::from_millis(50);
    let (signals, reporter) = signals_at("ready", &[CancelReason::Terminate]);
    let ran = world.run_with(signals, vec![reporter]).await;
    assert_eq!(ran.outcome("unit/web"), Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_over_its_limit_fails() {
    let mut world = World::new(&[("TEST_API", "echo ready; exec sleep 1000")]);
    let api = world.config.components.get_mut("api").unwrap();
    api.timeout = Duration::from_millis(300);
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert_eq!(
        ran.failure("unit/api"),
        "end within the limit of 0.3 s: it was stopped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure_and_a_bug() {
    let mut world = World::new(&[]);
    world.scanners = vec![Arc::new(ScriptedScanner::new(None, |id, _| {
        assert!(id.to_string() != "api", "one is none");
        Ok(ScanReport::default())
    }))];
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert_eq!(ran.end.bug.as_deref(), Some("one is none"));
    assert!(ran.failure("scan/api").contains("one is none"));
    assert_eq!(world.registry.all_tags().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_tags_ends_in_spite_of_signals_and_nothing_begins_after_it() {
    let mut world = World::new(&[]);
    world.registry = Arc::new(MemoryRegistry::closed());
    let registry = Arc::clone(&world.registry);
    let (sender, signals) = mpsc::unbounded_channel();
    let mut stopping = 0;
    let reporter = OnEvent(move |event: &Event| match &event.kind {
        EventKind::TaskStarted { id, .. } if id.to_string() == "push" => {
            // Not before it waits for the tags.
            let registry = Arc::clone(&registry);
            let sender = sender.clone();
            std::thread::spawn(move || {
                crate::world::wait_for("tagging", || registry.waiting() == 1);
                sender.send(CancelReason::Interrupt).unwrap();
                sender.send(CancelReason::Interrupt).unwrap();
            });
        }
        EventKind::RunCancelling { .. } => {
            stopping += 1;
            if stopping == 2 {
                registry.gate.add_permits(1);
            }
        }
        _ => {}
    });
    let ran = world.run_with(signals, vec![Box::new(reporter)]).await;
    assert!(
        matches!(ran.outcome("push"), Outcome::Passed(_)),
        "{:?}",
        ran.outcome("push")
    );
    assert_eq!(ran.outcome("gitops"), Outcome::Cancelled);
    assert_eq!(world.registry.all_tags().len(), 3);
    assert_eq!(ran.end.summary.verdict, Verdict::Cancelled);
}

#[test]
fn a_task_that_never_stops_is_left_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let mut world = World::new(&[]);
    world.graces.command = Duration::from_millis(10);
    world.graces.task = Duration::from_millis(50);
    let (sender, signals) = mpsc::unbounded_channel();
    world.scanners = vec![Arc::new(ScriptedScanner::new(None, move |_, _| {
        let _ = sender.send(CancelReason::Interrupt);
        let _ = held.lock().unwrap().recv();
        Ok(ScanReport::default())
    }))];
    let ran = runtime.block_on(world.run_with(signals, Vec::new()));
    assert_eq!(ran.end.summary.verdict, Verdict::Cancelled);
    assert_eq!(ran.outcome("push"), Outcome::Cancelled);
    // What was left behind goes on and writes into the world's folder: its end comes first.
    drop(release);
    drop(runtime);
}
