//! JSON lines.

use shipline_engine::event::{Event, Reporter};
use shipline_engine::record::v1;
use shipline_report::JsonReporter;

use crate::runs::{self, Page, Pipe};

fn replay(events: &[Event]) -> String {
    let page = Page::default();
    let mut reporter = JsonReporter::new(Box::new(page.clone()));
    for event in events {
        reporter.event(event);
    }
    page.text()
}

#[test]
fn each_line_is_an_event_that_can_be_read_back() {
    for events in [
        runs::green(),
        runs::red(),
        runs::cached(),
        runs::cancelled(),
        runs::findings(),
        runs::unchanged(),
    ] {
        let text = replay(&events);
        let read: Vec<Event> = text
            .lines()
            .map(|line| {
                let stored: v1::Event = serde_json::from_str(line).unwrap();
                Event::try_from(stored).unwrap()
            })
            .collect();
        assert_eq!(read, events);
    }
}

#[test]
fn the_format_is_a_promise() {
    insta::assert_snapshot!(replay(&runs::findings()));
}

#[test]
fn a_broken_pipe_ends_the_output_and_nothing_else() {
    let page = Page::default();
    let pipe = Pipe {
        left: 10,
        page: page.clone(),
    };
    let mut reporter = JsonReporter::new(Box::new(pipe));
    for event in runs::red() {
        reporter.event(&event);
    }
    assert_eq!(page.text().len(), 10);
}
