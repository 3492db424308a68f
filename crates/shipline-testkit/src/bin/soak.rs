//! The soak: kills runs of the tiny platform at random instants, repeats them, and checks that nothing is lost, doubled or
//! half-written. `cargo xtask soak` builds the binary and runs this; it is no part of the gate.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program that talks to the person who runs it"
)]

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shipline_testkit::tiny;

/// A small generator (xorshift64*): the seed is printed, so that a failed soak can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, program, kills, seed] = arguments.as_slice() else {
        eprintln!("usage: soak PROGRAM KILLS SEED");
        std::process::exit(2);
    };
    let kills: u64 = kills.parse().expect("KILLS is a number");
    let seed: u64 = seed.parse().expect("SEED is a number");
    let mut random = Random(seed.max(1));
    let start = Instant::now();
    let (mut killed, mut completed, mut rounds) = (0_u64, 0_u64, 0_u64);
    while killed < kills {
        rounds += 1;
        let world = tiny::world(program);
        for edit in 0..4 {
            world.write(
                "lib/greeting.txt",
                &format!("edition {edit} of round {rounds}\n"),
            );
            world.write(
                "web/index.html",
                &format!("<script>fetch(\"@API@/me\")</script> {rounds} {edit}\n"),
            );
            world.commit("Edit");
            let commits = tiny::commits_or_none(&world);
            for pipeline in ["web", "backend"] {
                for _ in 0..random.below(4) {
                    let mut child = world.start(&["pipeline", pipeline]);
                    std::thread::sleep(Duration::from_micros(random.below(120_000)));
                    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process ID"));
                    let early = child.try_wait().expect("a child").is_none();
                    // The child may have ended in between: then there is nothing to kill.
                    let _ = kill(pid, Signal::SIGKILL);
                    let ran = world.wait(child);
                    assert!(
                        matches!(ran.code, 0 | 137),
                        "seed {seed}, round {rounds}: {}\n{}",
                        ran.code,
                        ran.stderr
                    );
                    killed += u64::from(early && ran.code == 137);
                }
            }
            for pipeline in ["web", "backend"] {
                let ran = world.run(&["pipeline", pipeline]);
                assert_eq!(
                    ran.code, 0,
                    "seed {seed}, round {rounds}: {pipeline} did not complete:\n{}",
                    ran.stderr
                );
                completed += 1;
            }
            tiny::assert_complete(&world);
            let made = tiny::commits(&world) - commits.unwrap_or(1);
            assert!(
                made <= 2,
                "seed {seed}, round {rounds}: {made} deployment commits for two pipelines"
            );
        }
        println!(
            "round {rounds}: {killed} kills, {completed} completed runs, {} s",
            start.elapsed().as_secs()
        );
    }
    println!(
        "{killed} kills, {completed} repeated runs, all complete, nothing doubled (seed {seed})"
    );
}
