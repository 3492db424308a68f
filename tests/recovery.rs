//! Killed with SIGKILL at each enumerated point, then the same command again: on this machine alone, and against a registry and
//! a GitOps repository elsewhere.

use std::collections::BTreeSet;

use shipline_engine::fault::FaultPoint;
use shipline_testkit::remote::RemoteRegistry;
use shipline_testkit::tiny::{self, RemoteTiny};

const PROGRAM: &str = env!("CARGO_BIN_EXE_shipline");

/// Points that only a registry elsewhere comes past.
const REMOTE: &[FaultPoint] = &[
    FaultPoint::RegistryUpload,
    FaultPoint::RegistryBlobHalf,
    FaultPoint::RegistryBlobTaken,
    FaultPoint::RegistryManifestRead,
    FaultPoint::RegistryTagTaken,
];

/// All points of publishing: what comes before does not know where it goes.
const PUBLISHING: &[FaultPoint] = &[
    FaultPoint::ReleaseSet,
    FaultPoint::RegistryUpload,
    FaultPoint::RegistryBlobHalf,
    FaultPoint::RegistryBlobTaken,
    FaultPoint::RegistryBlob,
    FaultPoint::RegistryManifest,
    FaultPoint::RegistryManifestRead,
    FaultPoint::RegistryReferrer,
    FaultPoint::RegistryVerified,
    FaultPoint::RegistryTagTaken,
    FaultPoint::RegistryTag,
    FaultPoint::RegistryTags,
    FaultPoint::GitopsCommit,
    FaultPoint::GitopsRef,
    FaultPoint::RecordEvents,
];

/// Kills a run of both pipelines at `point`, repeats them, and looks at everything.
fn kill_and_repeat(point: FaultPoint, nth: u32) -> bool {
    let world = tiny::world(PROGRAM);
    let fault = format!("{point}:{nth}");
    let mut killed = false;
    for pipeline in ["web", "backend"] {
        let run = world.run_with(&["pipeline", pipeline], &[("SHIPLINE_FAULT", &fault)]);
        assert!(
            matches!(run.code, 0 | 137),
            "{point}:{nth} {pipeline}: {}\n{}",
            run.code,
            run.stderr
        );
        killed |= run.code == 137;
        tiny::assert_no_process(&world);
    }
    for pipeline in ["web", "backend"] {
        let run = world.run(&["pipeline", pipeline]);
        assert_eq!(
            run.code, 0,
            "{point}:{nth}: the repeated {pipeline} run failed:\n{}",
            run.stderr
        );
    }
    tiny::assert_complete(&world);
    let commits = tiny::commits(&world);
    assert!(
        commits <= 3,
        "{point}:{nth}: {commits} commits: something was committed twice"
    );
    let head = tiny::declared_tag(&world, "staging", "web");
    for pipeline in ["web", "backend"] {
        tiny::green(&world, &["pipeline", pipeline]);
    }
    assert_eq!(
        tiny::declared_tag(&world, "staging", "web"),
        head,
        "{point}:{nth}: nothing was left to do"
    );
    assert_eq!(tiny::commits(&world), commits);
    killed
}

#[test]
fn the_next_run_completes_after_a_kill_at_every_point() {
    let mut never: BTreeSet<&str> = BTreeSet::new();
    // No run collects garbage: tests/store.rs has that point.
    let local =
        |point: &&FaultPoint| **point != FaultPoint::StoreCollected && !REMOTE.contains(*point);
    for point in FaultPoint::ALL.iter().filter(local) {
        for nth in [1, 2] {
            if !kill_and_repeat(*point, nth) && nth == 1 {
                never.insert(point.word());
            }
        }
    }
    assert!(never.is_empty(), "no run came past these points: {never:?}");
}

/// Kills runs at `point` the first, second, … time that they come past it, each time with everything changed, and repeats
/// them. Gives the number of kills.
fn kill_and_repeat_remotely(tiny: &RemoteTiny, point: FaultPoint, edition: &mut u64) -> usize {
    let mut kills = 0;
    for nth in 1.. {
        *edition += 1;
        tiny.edit(*edition);
        let (commits, tags) = (tiny.gitops.commits(&tiny.world), tiny.registry.tags().len());
        let fault = format!("{point}:{nth}");
        let before = kills;
        for pipeline in ["web", "backend"] {
            let command = ["pipeline", pipeline, "--profile", "ci"];
            let run = tiny.world.run_with(&command, &[("SHIPLINE_FAULT", &fault)]);
            assert!(
                matches!(run.code, 0 | 137),
                "{fault} {pipeline}: {}\n{}",
                run.code,
                run.stderr
            );
            kills += usize::from(run.code == 137);
            tiny::assert_no_process(&tiny.world);
            tiny.assert_nothing_wrong();
        }
        for pipeline in ["web", "backend"] {
            let run = tiny.world.run(&["pipeline", pipeline, "--profile", "ci"]);
            assert_eq!(
                run.code, 0,
                "{fault}: the repeated {pipeline} run failed:\n{}",
                run.stderr
            );
        }
        tiny.assert_complete();
        assert_eq!(
            (
                tiny.gitops.commits(&tiny.world) - commits,
                tiny.registry.tags().len() - tags
            ),
            (2, 4),
            "{fault}: one commit of each pipeline, one tag of each image"
        );
        if kills == before {
            return kills;
        }
    }
    kills
}

#[test]
fn the_next_run_completes_after_a_kill_at_every_point_of_publishing_to_ecr() {
    let mut never = Vec::new();
    let (tiny, mut edition) = (RemoteTiny::ecr(PROGRAM), 0);
    for point in PUBLISHING {
        if kill_and_repeat_remotely(&tiny, *point, &mut edition) == 0 {
            never.push(point.word());
        }
    }
    assert!(never.is_empty(), "no run came past these points: {never:?}");
}

#[test]
fn the_next_run_completes_after_a_kill_in_the_middle_of_a_push_to_a_real_registry() {
    let Some(registry) = RemoteRegistry::docker() else {
        return;
    };
    let (tiny, mut edition) = (RemoteTiny::new(PROGRAM, registry), 0);
    for point in REMOTE {
        let kills = kill_and_repeat_remotely(&tiny, *point, &mut edition);
        assert!(kills > 0, "no run came past {point}");
    }
}
