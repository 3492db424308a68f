//! What commands find in the workspace, and what gets into images.

use std::fs;

use shipline_engine::event::Verdict;

use crate::world::{PLATFORM, World};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_test_or_a_twin_gets_into_an_image() {
    let mut world = World::new(&[
        (
            "SETUP",
            "mkdir -p modules && echo dependency > modules/a && echo changed > page.txt",
        ),
        (
            "TEST_WEB",
            "test -e modules/a && touch coverage.txt && mkdir -p cache && echo kept >> cache/c",
        ),
        (
            "PREPARE",
            "test ! -e coverage.txt && test ! -e out.txt && test -e modules/a && grep -q hello page.txt && grep -q kept cache/c && echo $API > out.txt",
        ),
    ]);
    let ran = world.run().await;
    assert_eq!(
        ran.end.summary.verdict,
        Verdict::Green,
        "{:?}",
        ran.outcomes()
    );
    // `setup` ran once, although tests and two builds need it.
    let setups = ran
        .events
        .iter()
        .filter(|event| format!("{event:?}").contains("\"$ mkdir -p modules"))
        .count();
    assert_eq!(setups, 1);
    // Caches survive into the next run, the rest does not.
    let work = world.state().join("work/web");
    assert!(work.join("cache/c").exists());
    world.config.components.get_mut("web").unwrap().test =
        Some("test ! -e out.txt && test -e cache/c && false".to_owned());
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert!(!work.join("out.txt").exists());
    assert!(
        fs::read_to_string(work.join("cache/c"))
            .unwrap()
            .contains("kept")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn making_one_component_clean_leaves_the_others_alone() {
    // `web` is made clean before its builds while `api` is at work on a file of its own.
    let mut world = World::new(&[
        ("TEST_WEB", "touch rubbish"),
        ("PREPARE", "test ! -e rubbish && touch ../web-is-clean"),
        (
            "TEST_API",
            "touch working; until test -e ../web-is-clean; do sleep 0.02; done; test -e working",
        ),
    ]);
    let api = world.config.components.get_mut("api").unwrap();
    api.timeout = std::time::Duration::from_secs(60);
    let ran = world.run().await;
    assert_eq!(
        ran.end.summary.verdict,
        Verdict::Green,
        "{:?}",
        ran.outcomes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_sees_the_sources_and_nothing_of_stages_before_it() {
    let mut world = World::of(
        &PLATFORM
            .replace("SETUP", "'true'")
            .replace("PREPARE", "'true'")
            .replace("TEST_WEB", "'test ! -e generated && grep -q hello page.txt'")
            .replace("TEST_API", "'test ! -e generated'")
            .replace(
                "      unit: { kind: test, needs: [detect] }\n",
                "      codegen: { kind: run, command: touch generated && echo other > page.txt }\n      unit: { kind: test, needs: [codegen] }\n",
            ),
    );
    let ran = world.run().await;
    assert_eq!(
        ran.end.summary.verdict,
        Verdict::Green,
        "{:?}",
        ran.outcomes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_holds_its_own_sources_however_wide_its_context_is() {
    let wide = PLATFORM
        .replace("SETUP", "mkdir -p ../modules && touch ../modules/m")
        .replace("TEST_WEB", "touch ../left-behind left-behind")
        .replace(
            "TEST_API",
            "touch left-behind && echo cached > ../cache-of-api",
        )
        .replace("PREPARE", "test -e ../modules/m && echo made > made")
        .replace(
            "      dockerfile: Dockerfile\n      prepare",
            "      dockerfile: Dockerfile\n      context: ..\n      prepare",
        )
        .replace(
            "    path: api\n",
            "    path: api\n    caches: [../cache-of-api]\n",
        );
    let mut world = World::of(&wide);
    let ran = world.run().await;
    assert_eq!(
        ran.end.summary.verdict,
        Verdict::Green,
        "{:?}",
        ran.outcomes()
    );
    let requests = world.builder.requests();
    let web = requests
        .iter()
        .find(|request| request.id.component.as_str() == "web")
        .unwrap();
    let mut found: Vec<String> = Vec::new();
    let mut open = vec![web.context.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(&web.context).unwrap();
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    assert_eq!(
        found,
        ["modules/m", "web/Dockerfile", "web/made", "web/page.txt"]
    );
    // What others share goes on as ever.
    assert!(world.state().join("work/cache-of-api").exists());
}
