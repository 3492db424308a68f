//! Whatever happens to tasks, each ends once and the run ends last.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use shipline_engine::backend::ScanReport;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::{CancelReason, Outcome, Verdict};
use shipline_model::plan::OnFailure;
use shipline_testkit::memory::{MemoryRegistry, ScriptedScanner};
use tokio::sync::mpsc;

use crate::world::World;

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    Fails,
    Panics,
    IsInterrupted,
    IsKilled,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Passes),
        1 => Just(Fate::Fails),
        1 => Just(Fate::Panics),
        1 => Just(Fate::IsInterrupted),
        1 => Just(Fate::IsKilled),
    ]
}

#[test]
fn every_task_ends_once() {
    // Tests and builds are done once; the runs that are tried out take them.
    let built: Cell<Option<World>> = Cell::new(None);
    let config = ProptestConfig {
        cases: 48,
        ..ProptestConfig::default()
    };
    proptest!(config, |(
        scans in prop::collection::vec(fates(), 3),
        push in fates(),
        gitops in fates(),
        keep_going in any::<bool>(),
        threads in 1..3_usize,
    )| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        let mut world = built.take().unwrap_or_else(|| {
            let mut world = World::new(&[]);
            runtime.block_on(world.run());
            world
        });
        let (sender, signals) = mpsc::unbounded_channel();
        let by_image: BTreeMap<&str, Fate> = ["web@staging", "web@production", "api"].into_iter().zip(scans.clone()).collect();
        let teller = sender.clone();
        world.scanners = vec![Arc::new(ScriptedScanner::new(None, move |id, _| match by_image[id.to_string().as_str()] {
            Fate::Passes => Ok(ScanReport::default()),
            Fate::Fails => Err(BackendError::new(ErrorClass::Failed, "scan")),
            Fate::Panics => panic!("a bug"),
            Fate::IsInterrupted | Fate::IsKilled => {
                let _ = teller.send(CancelReason::Interrupt);
                Ok(ScanReport::default())
            }
        }))];
        world.on_failure = if keep_going { OnFailure::KeepGoing } else { OnFailure::Stop };
        world.registry = Arc::new(MemoryRegistry::default());
        let failing = |fate: Fate| fate != Fate::Passes;
        if failing(push) {
            world.registry.taggings.fail(BackendError::new(ErrorClass::Conflict, "tag"));
        }
        world.gitops = Arc::default();
        if failing(gitops) {
            world.gitops.script.fail(BackendError::new(ErrorClass::Invalid, "edit"));
        }
        if scans.contains(&Fate::IsKilled) {
            sender.send(CancelReason::Interrupt).unwrap();
            sender.send(CancelReason::Interrupt).unwrap();
        }
        // The checks of every stream are made in here.
        let ran = runtime.block_on(world.run_with(signals, Vec::new()));
        let all_pass = scans.iter().all(|fate| *fate == Fate::Passes) && !failing(push) && !failing(gitops);
        prop_assert_eq!(ran.end.summary.verdict == Verdict::Green, all_pass || ran.end.summary.failed + ran.end.summary.cancelled == 0);
        let deployed = matches!(ran.outcome("gitops"), Outcome::Passed(_));
        prop_assert_eq!(!world.gitops.deployments().is_empty(), deployed);
        prop_assert!(!deployed || scans.iter().all(|fate| !matches!(fate, Fate::Fails | Fate::Panics)));
        built.set(Some(world));
    });
}
