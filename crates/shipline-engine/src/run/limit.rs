//! How much of a task's output is kept: its beginning at once, and of the rest its end.

use std::collections::VecDeque;

use crate::event::OutputStream;

/// The most that is held back in memory for the end.
const END: u64 = 1_000_000;

/// A line counts as this much at least: in the record it is an event.
const LINE: u64 = 64;

/// A line and where it came from.
pub(super) type Line = (OutputStream, String);

/// The output of one task.
#[derive(Debug)]
pub(super) struct OutputLimit {
    limit: u64,
    /// What may still be said at once.
    left: u64,
    /// The last lines beyond that, and what they count as.
    end: VecDeque<Line>,
    held: u64,
    /// What was dropped between the two.
    lines: u64,
    bytes: u64,
}

fn cost(line: &Line) -> u64 {
    (line.1.len() as u64 + 1).max(LINE)
}

impl OutputLimit {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            left: limit - Self::reserved(limit),
            end: VecDeque::new(),
            held: 0,
            lines: 0,
            bytes: 0,
        }
    }

    /// What is kept of a limit for the end.
    fn reserved(limit: u64) -> u64 {
        END.min(limit / 2)
    }

    /// Takes a line, and gives it back where it may be said at once.
    pub(super) fn take(&mut self, line: Line) -> Option<Line> {
        let cost = cost(&line);
        if self.end.is_empty() && cost <= self.left {
            self.left -= cost;
            return Some(line);
        }
        self.held += cost;
        self.end.push_back(line);
        while self.held > Self::reserved(self.limit) {
            let Some(dropped) = self.end.pop_front() else {
                break;
            };
            self.held -= self::cost(&dropped);
            self.lines += 1;
            self.bytes += dropped.1.len() as u64 + 1;
            // One line may be more than all that is kept.
            if self.end.is_empty() {
                self.left = 0;
                break;
            }
        }
        None
    }

    /// What is left to say at the end of the task.
    pub(super) fn finish(self) -> Vec<Line> {
        let mut lines = Vec::new();
        if self.lines > 0 {
            let plural = if self.lines == 1 { "line" } else { "lines" };
            lines.push((
                OutputStream::Note,
                format!(
                    "{} {plural} ({:.1} MB) are left out here: more than {:.1} MB of output (--log-limit)",
                    self.lines,
                    self.bytes as f64 / 1e6,
                    self.limit as f64 / 1e6,
                ),
            ));
        }
        lines.extend(self.end);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Line {
        (
            OutputStream::Stdout,
            format!("line {number:07} {}", "x".repeat(83)),
        )
    }

    /// What is said of `count` lines of 97 bytes each, in order, and the most that was held.
    fn said(count: usize, limit: u64) -> (Vec<Line>, u64) {
        let mut output = OutputLimit::new(limit);
        let (mut said, mut most) = (Vec::new(), 0);
        for number in 0..count {
            said.extend(output.take(line(number)));
            most = most.max(output.held);
        }
        said.extend(output.finish());
        (said, most)
    }

    #[test]
    fn output_within_the_limit_is_said_as_it_is() {
        for count in [0, 1, 5, 10] {
            let (said, _) = said(count, 1000);
            assert_eq!(said, (0..count).map(line).collect::<Vec<_>>(), "{count}");
        }
    }

    #[test]
    fn of_more_the_beginning_and_the_end_are_said() {
        let (said, most) = said(100_000, 1_000_000);
        let size: usize = said.iter().map(|(_, line)| line.len() + 1).sum();
        assert!((900_000..1_001_000).contains(&size), "{size}");
        assert!(most <= 500_100, "{most}");
        assert_eq!(said.first(), Some(&line(0)));
        assert_eq!(said.last(), Some(&line(99_999)));
        let note = said
            .iter()
            .position(|(stream, _)| *stream == OutputStream::Note)
            .unwrap();
        assert_eq!(
            said[note].1,
            format!(
                "{} lines (8.7 MB) are left out here: more than 1.0 MB of output (--log-limit)",
                100_001 - said.len()
            )
        );
        assert_eq!(said[note - 1], line(note - 1));
    }

    #[test]
    fn empty_lines_and_very_long_ones_count_too() {
        let mut output = OutputLimit::new(6400);
        let empty = || (OutputStream::Stderr, String::new());
        let now = (0..1000).filter_map(|_| output.take(empty())).count();
        assert_eq!((now, output.end.len()), (50, 50));
        let mut output = OutputLimit::new(6400);
        assert_eq!(
            output.take((OutputStream::Stdout, "x".repeat(100_000))),
            None
        );
        assert_eq!(output.take(line(1)), None);
        assert_eq!(output.take(line(2)), None);
        let lines = output.finish();
        assert!(lines[0].1.starts_with("1 line (0.1 MB)"), "{lines:?}");
        assert_eq!(lines[1..], [line(1), line(2)]);
    }
}
