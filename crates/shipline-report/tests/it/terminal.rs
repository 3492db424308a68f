//! The terminal.

use shipline_engine::event::{Event, EventKind, Reporter};
use shipline_report::{Palette, Size, TerminalReporter, Ticking};

use crate::runs;
use crate::screen::Screen;

const WIDTH: usize = 100;

fn reporter(screen: &Screen, palette: Palette) -> TerminalReporter {
    let shown = screen.clone();
    TerminalReporter::new(
        Box::new(screen.clone()),
        Box::new(move || Size {
            columns: shown.width().try_into().unwrap(),
            rows: 24,
        }),
        palette,
        Ticking::ByEvents,
        runs::signposts(),
    )
}

fn replay(events: &[Event], palette: Palette) -> Screen {
    let screen = Screen::new(WIDTH);
    let mut reporter = reporter(&screen, palette);
    for event in events {
        reporter.event(event);
    }
    drop(reporter);
    screen
}

#[test]
fn what_finished_stays_and_what_ran_is_gone() {
    insta::assert_snapshot!(replay(&runs::green(), Palette::Plain).text());
}

#[test]
fn a_red_run_ends_with_its_failure() {
    insta::assert_snapshot!(replay(&runs::red(), Palette::Plain).text());
}

#[test]
fn findings_stand_where_they_were_found_and_at_the_end() {
    insta::assert_snapshot!(replay(&runs::findings(), Palette::Plain).text());
}

#[test]
fn a_cancelled_run_says_what_was_stopped() {
    insta::assert_snapshot!(replay(&runs::cancelled(), Palette::Plain).text());
}

#[test]
fn colours_change_nothing_but_the_colour() {
    for events in [
        runs::green(),
        runs::red(),
        runs::cached(),
        runs::cancelled(),
        runs::findings(),
        runs::unchanged(),
    ] {
        let coloured = replay(&events, Palette::Colour);
        let plain = replay(&events, Palette::Plain);
        assert_eq!(coloured.text(), plain.text());
        assert!(coloured.colours() > 0);
        assert_eq!(plain.colours(), 0);
    }
}

fn is_live(line: &str) -> bool {
    line.starts_with(|first| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".contains(first))
}

/// What the terminal shows after each event, at a width that changes between them.
fn resized(events: &[Event], widths: &[usize]) -> Vec<String> {
    let screen = Screen::new(widths[0]);
    let mut reporter = reporter(&screen, Palette::Plain);
    let shown = |(event, width): (&Event, &usize)| {
        screen.resize(*width);
        reporter.event(event);
        screen.text()
    };
    events
        .iter()
        .zip(widths.iter().cycle())
        .map(shown)
        .collect()
}

#[test]
fn a_terminal_that_changes_its_width_shows_no_line_twice() {
    for events in [runs::green(), runs::red(), runs::cancelled()] {
        let still = resized(&events, &[100]);
        for widths in [&[100, 30][..], &[25, 100], &[100, 40, 13, 60]] {
            for (text, still) in resized(&events, widths).iter().zip(&still) {
                let count = |text: &str| text.lines().filter(|line| is_live(line)).count();
                assert_eq!(
                    count(text),
                    count(still),
                    "{widths:?}:\n{text}\n---\n{still}"
                );
                assert!(text.matches(" tasks, ").count() <= 1, "{text}");
            }
        }
    }
}

#[test]
fn what_the_terminal_writes_below_the_tasks_is_taken_back() {
    use std::io::Write as _;
    let mut screen = Screen::new(60);
    let mut reporter = reporter(&screen, Palette::Plain);
    for event in runs::cancelled() {
        // As a terminal does when somebody presses Ctrl-C.
        if matches!(event.kind, EventKind::RunCancelling { .. }) {
            screen.write_all(b"^C").unwrap();
        }
        reporter.event(&event);
    }
    drop(reporter);
    let text = screen.text();
    assert!(text.contains("stopping") && !text.contains("^C"), "{text}");
    assert!(!text.lines().any(is_live), "{text}");
}

#[test]
fn more_tasks_than_rows_leave_nothing_behind() {
    let screen = Screen::new(60);
    let shown = screen.clone();
    let mut reporter = TerminalReporter::new(
        Box::new(shown),
        Box::new(|| Size {
            columns: 60,
            rows: 2,
        }),
        Palette::Plain,
        Ticking::ByEvents,
        runs::signposts(),
    );
    for event in runs::green() {
        reporter.event(&event);
        let text = screen.text();
        assert!(
            text.lines().filter(|line| is_live(line)).count() < 2,
            "{text}"
        );
    }
}

#[test]
fn a_narrow_terminal_breaks_no_words() {
    for events in [runs::green(), runs::red(), runs::findings()] {
        let wide = replay(&events, Palette::Plain).text();
        let screen = Screen::new(40);
        let mut reporter = reporter(&screen, Palette::Plain);
        for event in &events {
            reporter.event(event);
        }
        let narrow = screen.text();
        let words = |text: &str| -> Vec<String> {
            let marks = ["│", "\\"];
            let words = text.split_whitespace().filter(|word| !marks.contains(word));
            words.map(str::to_owned).collect()
        };
        assert_eq!(words(&narrow), words(&wide));
        for line in narrow.lines().filter(|line| line.chars().count() > 40) {
            assert!(
                words(line).iter().any(|word| word.chars().count() > 20),
                "{line}"
            );
        }
        // A command is still one for a shell.
        let again = |text: &str| {
            let start = text.find("again:")?;
            let command = text[start..].replace(" \\\n", " ");
            let command = command.lines().next()?.to_owned();
            Some(words(&command).join(" "))
        };
        assert_eq!(again(&narrow), again(&wide));
    }
}

#[test]
fn a_running_task_shows_its_clock_and_its_last_line_within_the_width() {
    let screen = Screen::new(60);
    let mut reporter = reporter(&screen, Palette::Plain);
    let mut seen = Vec::new();
    for event in runs::green() {
        reporter.event(&event);
        let text = screen.text();
        for line in text.lines().filter(|line| is_live(line)) {
            assert!(line.chars().count() < 60, "{line}");
        }
        // The last task that was begun, and below it how far the run is.
        if let [.., task, status] = text.lines().collect::<Vec<_>>()[..]
            && is_live(task)
        {
            seen.push(format!(
                "{}\n{status}",
                task.chars().skip(2).collect::<String>()
            ));
        }
    }
    seen.dedup();
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn a_terminal_that_goes_away_ends_the_output_and_nothing_else() {
    let screen = Screen::new(80);
    let mut reporter = reporter(&screen, Palette::Plain);
    for (position, event) in runs::green().iter().enumerate() {
        if position == 5 {
            screen.break_off();
        }
        reporter.event(event);
    }
    assert!(!screen.text().contains("published"));
}
