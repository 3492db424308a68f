//! The slowest tests of a run, from what stable `cargo test` prints.
//!
//! libtest tells on stable neither when a test begins nor how long it took, but both follow from the order of its lines: it takes
//! the tests of a binary in the order of their names, runs as many at a time as there are threads, and begins the next one when a
//! result has been printed. So the first tests begin with `running N tests`, and each other one with the result of an earlier one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many are named.
const NAMED: usize = 20;

/// Runs `cargo test` as [`crate::steps::step`] does, and names the slowest tests at the end.
pub(crate) fn step(title: &str, command: &mut Command) -> Result<(), String> {
    println!("==> {title}");
    let failed = |error: std::io::Error| format!("{title}: {error}");
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut times = Times::new(threads());
    if let Some(lines) = child.stdout.take() {
        let (mut lines, mut line) = (BufReader::new(lines), Vec::new());
        while lines.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            times.read(String::from_utf8_lossy(&line).trim_end(), start.elapsed());
            std::io::stdout().write_all(&line).map_err(failed)?;
            line.clear();
        }
    }
    let status = child.wait().map_err(failed)?;
    let took = start.elapsed().as_secs_f32();
    println!("==> the slowest tests, in seconds");
    for (name, time) in times.slowest() {
        println!("{:>7.1}  {name}", time.as_secs_f32());
    }
    if status.success() {
        println!("==> {title}: ok in {took:.0} s");
        Ok(())
    } else {
        Err(format!("{title}: {status} after {took:.0} s"))
    }
}

/// How many tests libtest runs at a time.
fn threads() -> usize {
    let asked = std::env::var("RUST_TEST_THREADS").ok();
    asked
        .and_then(|text| text.parse().ok())
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
}

/// When each test of a run began and ended.
struct Times {
    threads: usize,
    /// When the binary began whose lines come now.
    begin: Duration,
    /// Its results so far, in the order in which they came.
    results: Vec<(String, Duration)>,
    /// The tests of all binaries before it.
    all: Vec<(String, Duration)>,
}

impl Times {
    fn new(threads: usize) -> Self {
        Self {
            threads: threads.max(1),
            begin: Duration::ZERO,
            results: Vec::new(),
            all: Vec::new(),
        }
    }

    /// Reads a line that came at `now`.
    fn read(&mut self, line: &str, now: Duration) {
        if line.starts_with("running ") {
            self.close();
            self.begin = now;
        } else if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
            && ["ok", "FAILED", "ignored"]
                .iter()
                .any(|word| result.starts_with(word))
        {
            self.results.push((name.to_owned(), now));
        }
    }

    /// Works out when the tests of a binary began, once all results are there.
    fn close(&mut self) {
        let results = std::mem::take(&mut self.results);
        let mut names: Vec<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        for (name, end) in &results {
            let position = names.partition_point(|other| *other < name.as_str());
            let earlier = position.checked_sub(self.threads);
            let begin = earlier.map_or(self.begin, |earlier| results[earlier].1);
            self.all.push((name.clone(), end.saturating_sub(begin)));
        }
    }

    /// The slowest tests, the slowest first.
    fn slowest(mut self) -> Vec<(String, Duration)> {
        self.close();
        self.all.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        self.all.truncate(NAMED);
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_follow_from_the_order_of_results() {
        let mut times = Times::new(2);
        for (line, second) in [
            ("running 4 tests", 10),
            ("test b ... ok", 11),
            ("test long has been running for over 60 seconds", 12),
            ("test c - should panic ... FAILED", 15),
            ("test a ... ok", 17),
            ("test d ... ignored, needs a network", 17),
            ("test result: FAILED. 2 passed", 17),
            ("running 1 test", 20),
            ("test e ... ok", 26),
        ] {
            times.read(line, Duration::from_secs(second));
        }
        let seconds: Vec<(String, u64)> = times
            .slowest()
            .into_iter()
            .map(|(name, time)| (name, time.as_secs()))
            .collect();
        let expected = [
            ("a", 7),
            ("e", 6),
            ("c - should panic", 4),
            ("d", 2),
            ("b", 1),
        ];
        assert_eq!(
            seconds,
            expected.map(|(name, time)| (name.to_owned(), time))
        );
    }
}
