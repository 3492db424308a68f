//! Plain lines.

use shipline_engine::event::{Event, Reporter};
use shipline_report::PlainReporter;

use crate::runs::{self, Page, Pipe};

fn replay(events: &[Event]) -> String {
    let page = Page::default();
    let mut reporter = PlainReporter::new(Box::new(page.clone()), runs::signposts());
    for event in events {
        reporter.event(event);
    }
    let text = page.text();
    assert!(!text.contains('\u{1b}'), "no escape codes");
    text
}

#[test]
fn a_green_run() {
    insta::assert_snapshot!(replay(&runs::green()));
}

#[test]
fn a_red_run_ends_with_its_failure() {
    let text = replay(&runs::red());
    insta::assert_snapshot!(text);
    assert!(text.ends_with(
        "again: cargo xtask pipeline frontend --only unit-tests --component frontend\n"
    ));
    assert!(
        !text.contains("│ line 6\n"),
        "only the last twenty lines are shown again"
    );
}

#[test]
fn a_cancelled_run() {
    insta::assert_snapshot!(replay(&runs::cancelled()));
}

#[test]
fn a_run_without_changes() {
    insta::assert_snapshot!(replay(&runs::unchanged()));
}

#[test]
fn a_cached_run() {
    insta::assert_snapshot!(replay(&runs::cached()));
}

#[test]
fn a_run_with_findings_ends_with_what_failed_first() {
    insta::assert_snapshot!(replay(&runs::findings()));
}

#[test]
fn a_broken_pipe_ends_the_output_and_nothing_else() {
    let whole = replay(&runs::red());
    for left in [0, 1, 100] {
        let page = Page::default();
        let pipe = Pipe {
            left,
            page: page.clone(),
        };
        let mut reporter = PlainReporter::new(Box::new(pipe), runs::signposts());
        for event in runs::red() {
            reporter.event(&event);
        }
        assert_eq!(page.text(), whole[..left]);
    }
}
