//! Records: lists, runs that were cut off, damage.

use std::fs;

use shipline_engine::cache::Cache;
use shipline_engine::record::{self, Outcome, RecordError};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_with_how_they_ended() {
    let mut world = World::new(&[("TEST_WEB", "echo line")]);
    assert_eq!(record::list(&world.place()).unwrap(), []);
    let first = world.run().await;
    let second = world.run().await;
    let cut = record::find(&world.place(), first.run.as_str()).unwrap();
    fs::remove_file(cut.folder().join("outcome.json")).unwrap();
    let listed = record::list(&world.place()).unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].run, second.run);
    assert_eq!(
        listed[0].outcome,
        Outcome::Finished(second.end.summary.clone())
    );
    assert_eq!(listed[0].command.as_deref(), Some("shipline pipeline all"));
    assert_eq!(listed[1].outcome, Outcome::Interrupted);
    assert_eq!(listed[1].started_ms, Some(first.events[0].at_ms));
    assert_eq!(
        fs::read_to_string(cut.folder().join("logs/unit.web.log")).unwrap(),
        "# workspace: 4 files written\n# $ true\n# $ echo line\nline\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_last_line_is_left_out_and_damage_is_named() {
    let mut world = World::new(&[]);
    let ran = world.run().await;
    let stored = record::find(&world.place(), "last").unwrap();
    let path = stored.folder().join("events.jsonl");
    let whole = fs::read(&path).unwrap();
    for cut in [whole.len() - 1, whole.len() - 2, whole.len() - 40] {
        fs::write(&path, &whole[..cut]).unwrap();
        let events: Vec<_> = stored.events().unwrap().collect::<Result<_, _>>().unwrap();
        let expected = ran.events.len() - usize::from(cut < whole.len() - 1);
        assert_eq!(events, ran.events[..expected], "{cut}");
    }
    let mut lines: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').collect();
    lines[2] = b"{\xFF";
    fs::write(&path, lines.join(&b'\n')).unwrap();
    let events: Vec<_> = stored.events().unwrap().collect();
    assert!(matches!(
        events[1],
        Err(RecordError::Damaged { line: 3, .. })
    ));
    assert_eq!(
        events.iter().filter(|event| event.is_ok()).count(),
        ran.events.len() - 1
    );

    fs::write(&path, "no record").unwrap();
    assert!(stored.events().is_err());
    assert_eq!(record::list(&world.place()).unwrap()[0].command, None);
    assert!(record::find(&world.place(), "20251215123456-ffffff").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_version_added_is_skipped_and_named() {
    let mut world = World::new(&[]);
    let ran = world.run().await;
    let stored = record::find(&world.place(), "last").unwrap();
    let path = stored.folder().join("events.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let header = lines[0].replacen("\"minor\":1", "\"minor\":7,\"later\":[1]", 1);
    assert_ne!(lines[0], header);
    lines[0] = header;
    lines[1] = lines[1].replacen("{\"seq\":0", "{\"later\":{},\"seq\":0", 1);
    let added = r#"{"seq":1,"at_ms":1,"event":{"kind":"later-\u001b[2Jkind","text":"t"}}"#;
    lines.insert(2, added.to_owned());
    fs::write(&path, lines.join("\n")).unwrap();
    let events: Vec<_> = stored.events().unwrap().collect();
    let Err(error @ RecordError::Unknown { line: 3, .. }) = &events[1] else {
        panic!("{:?}", events[1])
    };
    let told = error.to_string();
    assert!(
        told.contains("line 3") && told.contains("`later-kind`"),
        "{told}"
    );
    let known: Vec<_> = events.into_iter().filter_map(Result::ok).collect();
    assert_eq!(known, ran.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_the_first_minor_version_is_read() {
    let mut world = World::new(&[]);
    let ran = world.run().await;
    let stored = record::find(&world.place(), "last").unwrap();
    let path = stored.folder().join("events.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let header = lines[0].as_object_mut().unwrap();
    for added in ["minor", "argv", "selection"] {
        header.remove(added).unwrap();
    }
    for component in lines[1]["event"]["plan"]["components"]
        .as_array_mut()
        .unwrap()
    {
        component
            .as_object_mut()
            .unwrap()
            .remove("source_inputs")
            .unwrap();
        for image in component["images"].as_array_mut().unwrap() {
            image
                .as_object_mut()
                .unwrap()
                .remove("build_inputs")
                .unwrap();
        }
    }
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    let events: Vec<_> = stored.events().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(events.len(), ran.events.len());
    assert_eq!(events[1..], ran.events[1..]);
    assert!(stored.listing().command.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_youngest_records_are_kept() {
    let mut world = World::new(&[]);
    let runs = world.state().join("runs");
    for number in 0..record::KEPT_RUNS + 5 {
        fs::create_dir_all(runs.join(format!("20240101000000-{number:06x}"))).unwrap();
    }
    fs::create_dir_all(runs.join("mine")).unwrap();
    let ran = world.run().await;
    let listed = record::list(&world.place()).unwrap();
    assert_eq!(listed.len(), record::KEPT_RUNS);
    assert_eq!(listed[0].run, ran.run);
    assert!(runs.join("mine").exists());
    assert!(!runs.join("20240101000000-000005").exists());
    assert!(runs.join("20240101000000-000006").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_damaged_or_foreign_is_empty() {
    let mut world = World::new(&[]);
    world.run().await;
    let cache = Cache::new(world.place());
    let known = cache.known(&*world.store).unwrap();
    assert_eq!((known.passes.len(), known.builds.len()), (2, 2));
    for kind in ["tests", "builds"] {
        for (position, entry) in fs::read_dir(world.state().join("cache").join(kind))
            .unwrap()
            .enumerate()
        {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = match position {
                0 => text[..text.len() / 2].to_owned(),
                _ => text.replace("\"version\":1", "\"version\":2"),
            };
            fs::write(path, text).unwrap();
        }
    }
    let known = cache.known(&*world.store).unwrap();
    assert_eq!((known.passes.len(), known.builds.len()), (0, 0));
    assert_eq!(world.run().await.end.summary.failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_output_beyond_the_limit_the_beginning_and_the_end_are_kept() {
    let script = r#"i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo "line $i of many"; done; printf "%0100000d" 0"#;
    let mut world = World::new(&[("TEST_WEB", script)]);
    world.log_limit = 400_000;
    let ran = world.run().await;
    let lines = ran.lines("unit/web");
    assert!(lines.contains(&"line 1 of many".to_owned()));
    assert!(lines.contains(&"line 10000 of many".to_owned()));
    assert!(!lines.contains(&"line 5000 of many".to_owned()));
    let note = lines.iter().find(|line| line.contains("--log-limit"));
    let note = note.expect("it is said");
    assert!(note.contains(" lines (0.1 MB) are left out here"), "{note}");
    // A line without an end is cut, and its end is there.
    let longest = lines.iter().map(String::len).max().unwrap();
    assert!(longest <= 64 * 1024, "{longest}");
    assert!(lines.last().unwrap().ends_with("00000"));
    let stored = record::find(&world.place(), "last").unwrap();
    let size = |file: &str| fs::metadata(stored.folder().join(file)).unwrap().len();
    assert!(size("logs/unit.web.log") < 400_000);
    assert!(size("events.jsonl") < 1_500_000);
}
