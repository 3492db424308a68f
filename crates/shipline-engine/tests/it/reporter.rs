//! Reporters that block or break.

use std::sync::mpsc;
use std::time::Duration;

use shipline_engine::event::{CancelReason, Event, Outcome, Verdict};

use crate::world::{OnEvent, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_reporter_that_blocks_is_detached_and_stops_neither_the_run_nor_its_signals() {
    let mut world = World::new(&[("TEST_WEB", "yes | head -n 5000; echo over; exec sleep 1000")]);
    world.graces.reporter = Duration::from_millis(200);
    let (release, held) = mpsc::channel::<()>();
    let stopped = OnEvent(move |_: &Event| {
        let _ = held.recv();
    });
    let (sender, signals) = tokio::sync::mpsc::unbounded_channel();
    let watcher = OnEvent(move |event: &Event| {
        if let shipline_engine::event::EventKind::TaskOutput { line, .. } = &event.kind
            && line == "over"
        {
            sender.send(CancelReason::Interrupt).unwrap();
        }
    });
    let ran = world
        .run_with(signals, vec![Box::new(stopped), Box::new(watcher)])
        .await;
    assert_eq!(ran.outcome("unit/web"), Outcome::Cancelled);
    assert_eq!(ran.end.notes.len(), 1, "{:?}", ran.end.notes);
    assert!(ran.end.notes[0].contains("output 1"), "{:?}", ran.end.notes);
    // The record has all of it.
    assert_eq!(
        ran.lines("unit/web")
            .iter()
            .filter(|line| *line == "y")
            .count(),
        5000
    );
    drop(release);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reporter_that_panics_is_left_out() {
    let mut world = World::new(&[]);
    let (_keep, signals) = tokio::sync::mpsc::unbounded_channel();
    let broken = OnEvent(|event: &Event| assert!(event.seq < 2, "broken pipe"));
    let ran = world.run_with(signals, vec![Box::new(broken)]).await;
    assert_eq!(ran.end.summary.verdict, Verdict::Green);
    assert_eq!(ran.end.notes.len(), 1, "{:?}", ran.end.notes);
}
