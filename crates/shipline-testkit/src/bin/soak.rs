//! The soak: kills runs of the tiny platform at random instants, repeats them, and checks that nothing is lost, doubled or
//! half-written: on this machine alone, with ECR (the fake), and with a `docker-registry`; the last two with a GitOps repository
//! behind HTTP. `cargo xtask soak` builds the binary and runs this; it is no part of the gate.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program that talks to the person who runs it"
)]

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shipline_testkit::remote::RemoteRegistry;
use shipline_testkit::tiny::{self, RemoteTiny};
use shipline_testkit::world::World;

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

/// Where a tiny platform publishes.
enum Platform {
    Local(World),
    Remote(RemoteTiny),
}

impl Platform {
    fn world(&self) -> &World {
        match self {
            Self::Local(world) => world,
            Self::Remote(tiny) => &tiny.world,
        }
    }

    fn command<'a>(&self, pipeline: &'a str) -> Vec<&'a str> {
        match self {
            Self::Local(_) => vec!["pipeline", pipeline],
            Self::Remote(_) => vec!["pipeline", pipeline, "--profile", "ci"],
        }
    }

    fn edit(&self, edition: u64) {
        match self {
            Self::Local(world) => {
                world.write("lib/greeting.txt", &format!("edition {edition} of "));
                let page = format!("<script>fetch(\"@API@/me\")</script> {edition}\n");
                world.write("web/index.html", &page);
                world.commit("Edit");
            }
            Self::Remote(tiny) => tiny.edit(edition),
        }
    }

    /// Deployment commits so far.
    fn commits(&self) -> usize {
        match self {
            Self::Local(world) => tiny::commits_or_none(world).unwrap_or(1),
            Self::Remote(tiny) => tiny.gitops.commits(&tiny.world),
        }
    }

    fn tags(&self) -> usize {
        match self {
            Self::Local(world) => tiny::tags(world).len(),
            Self::Remote(tiny) => tiny.registry.tags().len(),
        }
    }

    fn assert_nothing_wrong(&self) {
        match self {
            // Half of what it has can be looked at only when a run has completed.
            Self::Local(_) => {}
            Self::Remote(tiny) => tiny.assert_nothing_wrong(),
        }
    }

    fn assert_complete(&self) {
        match self {
            Self::Local(world) => tiny::assert_complete(world),
            Self::Remote(tiny) => tiny.assert_complete(),
        }
    }
}

/// Kills fall within this time at most. A run that waits for the lock of one that was killed takes longer than others.
const LONGEST: Duration = Duration::from_secs(1);

/// What a soak has done so far.
struct Score {
    kills: u64,
    completed: u64,
    /// About how long a run takes: kills fall everywhere in that time.
    took: Duration,
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
    soak("local", kills, seed, &mut random, || {
        Platform::Local(tiny::world(program))
    });
    soak("ECR", kills, seed, &mut random, || {
        Platform::Remote(RemoteTiny::ecr(program))
    });
    if let Some(registry) = RemoteRegistry::docker() {
        let mut platform = Some(Platform::Remote(RemoteTiny::new(program, registry)));
        soak("docker-registry", kills, seed, &mut random, || {
            platform.take().unwrap_or_else(|| {
                let registry = RemoteRegistry::docker().expect("it was there a moment ago");
                Platform::Remote(RemoteTiny::new(program, registry))
            })
        });
    }
}

/// Kills on one kind of platform, with a fresh one every few changes.
fn soak(
    name: &str,
    kills: u64,
    seed: u64,
    random: &mut Random,
    mut platform: impl FnMut() -> Platform,
) {
    let start = Instant::now();
    let mut score = Score {
        kills: 0,
        completed: 0,
        took: Duration::from_millis(500),
    };
    let mut round = 0;
    while score.kills < kills {
        round += 1;
        let platform = platform();
        for edition in 0..4 {
            let what = format!("{name}, seed {seed}, round {round}, edition {edition}");
            platform.edit(edition);
            one_change(&platform, &what, random, &mut score);
        }
        println!(
            "{name}, round {round}: {} kills, {} completed runs, {} s",
            score.kills,
            score.completed,
            start.elapsed().as_secs()
        );
    }
    println!(
        "{name}: {} kills, {} repeated runs, all complete, nothing doubled (seed {seed})",
        score.kills, score.completed
    );
}

/// Kills runs for one change at random instants, and then lets them end.
fn one_change(platform: &Platform, what: &str, random: &mut Random, score: &mut Score) {
    let world = platform.world();
    let (commits, tags) = (platform.commits(), platform.tags());
    for pipeline in ["web", "backend"] {
        for _ in 0..random.below(5) {
            let latest = u64::try_from(score.took.as_micros()).unwrap_or(u64::MAX);
            let mut child = world.start(&platform.command(pipeline));
            std::thread::sleep(Duration::from_micros(random.below(latest.max(1))));
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process ID"));
            let early = child.try_wait().expect("a child").is_none();
            // The child may have ended in between: then there is nothing to kill.
            let _ = kill(pid, Signal::SIGKILL);
            let ran = world.wait(child);
            assert!(
                matches!(ran.code, 0 | 137),
                "{what}: {}\n{}",
                ran.code,
                ran.stderr
            );
            score.kills += u64::from(early && ran.code == 137);
            tiny::assert_no_process(world);
            platform.assert_nothing_wrong();
        }
    }
    for pipeline in ["web", "backend"] {
        let begin = Instant::now();
        let ran = world.run(&platform.command(pipeline));
        // A repeated run may have little left to do.
        score.took = begin.elapsed().max(score.took * 9 / 10).min(LONGEST);
        assert_eq!(
            ran.code, 0,
            "{what}: {pipeline} did not complete:\n{}",
            ran.stderr
        );
        score.completed += 1;
    }
    platform.assert_complete();
    let made = platform.commits() - commits;
    assert!(made <= 2, "{what}: {made} commits for two pipelines");
    let made = platform.tags() - tags;
    assert!(made <= 4, "{what}: {made} tags for four images");
}
