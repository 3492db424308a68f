//! Killed with SIGKILL at each enumerated point, then the same command again.

use std::collections::BTreeSet;

use shipline_engine::fault::FaultPoint;

use shipline_testkit::tiny;

/// Kills a run of both pipelines at `point`, repeats them, and looks at everything.
fn kill_and_repeat(point: FaultPoint, nth: u32) -> bool {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
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
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !tiny::processes(&world).is_empty() {
            assert!(
                std::time::Instant::now() < deadline,
                "{point}:{nth}: children are left: {:#?}",
                tiny::processes(&world)
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
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
    for point in FaultPoint::ALL {
        for nth in [1, 2] {
            if !kill_and_repeat(*point, nth) && nth == 1 {
                never.insert(point.word());
            }
        }
    }
    assert!(never.is_empty(), "no run came past these points: {never:?}");
}
