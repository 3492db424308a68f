//! The terminal.

use shipline_engine::event::{Event, Reporter};
use shipline_report::{Palette, TerminalReporter, Ticking};

use crate::runs;
use crate::screen::Screen;

const WIDTH: u16 = 100;

fn reporter(screen: &Screen, width: u16, palette: Palette) -> TerminalReporter {
    TerminalReporter::new(
        Box::new(screen.clone()),
        Box::new(move || width),
        palette,
        Ticking::ByEvents,
        runs::signposts(),
    )
}

fn replay(events: &[Event], palette: Palette) -> Screen {
    let screen = Screen::new(WIDTH.into());
    let mut reporter = reporter(&screen, WIDTH, palette);
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

#[test]
fn a_running_task_shows_its_clock_and_its_last_line_within_the_width() {
    let screen = Screen::new(60);
    let mut reporter = reporter(&screen, 60, Palette::Plain);
    let mut seen = Vec::new();
    for event in runs::green() {
        reporter.event(&event);
        let text = screen.text();
        let last = text.lines().last().unwrap_or_default().to_owned();
        if last.starts_with(|first| "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏".contains(first)) {
            assert!(last.chars().count() <= 60, "{last}");
            seen.push(last.chars().skip(2).collect::<String>());
        }
    }
    seen.dedup();
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn a_terminal_that_goes_away_ends_the_output_and_nothing_else() {
    let screen = Screen::new(80);
    let mut reporter = reporter(&screen, 80, Palette::Plain);
    for (position, event) in runs::green().iter().enumerate() {
        if position == 5 {
            screen.break_off();
        }
        reporter.event(event);
    }
    assert!(!screen.text().contains("published"));
}
