//! Ctrl-C: the first is graceful, the second kills; nothing of a cancelled run is published.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use shipline_testkit::tiny;

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn wait_for(path: &std::path::Path) {
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_first_signal_lets_a_command_end_by_itself() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write(
        "web/test.sh",
        "trap 'echo cleaned up; exit 0' TERM\ntouch started\nwhile :; do sleep 0.05; done\n",
    );
    world.commit("Wait");
    let child = world.start(&["pipeline", "web"]);
    wait_for(&world.repository().join(".shipline/work/web/started"));
    kill(pid(&child), Signal::SIGINT).unwrap();
    let run = world.wait(child).expect(130);
    assert!(run.stderr.contains("cleaned up"), "{}", run.stderr);
    assert!(tiny::tags(&world).is_empty());
    assert_eq!(tiny::processes(&world), Vec::<String>::new());
}

#[test]
fn the_second_signal_kills() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write(
        "web/test.sh",
        "trap '' TERM INT\ntouch started\nwhile :; do sleep 0.05; done\n",
    );
    world.commit("Wait and hear nothing");
    let child = world.start(&["pipeline", "web"]);
    wait_for(&world.repository().join(".shipline/work/web/started"));
    kill(pid(&child), Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    kill(pid(&child), Signal::SIGINT).unwrap();
    let _ = world.wait(child).expect(130);
    assert_eq!(tiny::processes(&world), Vec::<String>::new());
}

#[test]
fn grandchildren_in_their_own_session_do_not_outlive_a_sigkill() {
    let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
    world.write("web/test.sh", "setsid sh -c 'while :; do sleep 0.05; done' &\ntouch started\nwhile :; do sleep 0.05; done\n");
    world.commit("Start a stray");
    let child = world.start(&["pipeline", "web"]);
    wait_for(&world.repository().join(".shipline/work/web/started"));
    kill(pid(&child), Signal::SIGKILL).unwrap();
    let _ = world.wait(child).expect(137);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !tiny::processes(&world).is_empty() {
        assert!(
            std::time::Instant::now() < deadline,
            "left: {:#?}",
            tiny::processes(&world)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    world.write("web/test.sh", "echo fine\n");
    world.commit("Behave");
    tiny::green(&world, &["pipeline", "web"]);
}
