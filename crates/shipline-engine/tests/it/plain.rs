//! Runs that nobody disturbs.

use shipline_engine::event::{Facts, Outcome, SkipReason, Verdict};
use shipline_engine::record::{self, v1};
use shipline_model::plan::OnFailure;

use crate::world::{Recorder, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_green_run_publishes_what_it_built() {
    let mut world = World::new(&[
        ("TEST_WEB", "echo testing; cat page.txt"),
        ("PREPARE", "echo \"calls $API\" > baked.txt"),
    ]);
    let recorder = Recorder::default();
    let (_keep, signals) = tokio::sync::mpsc::unbounded_channel();
    let ran = world
        .run_with(signals, vec![Box::new(recorder.clone())])
        .await;
    assert_eq!(
        ran.end.summary.verdict,
        Verdict::Green,
        "{:?}",
        ran.outcomes()
    );
    assert_eq!(ran.end.notes, Vec::<String>::new());
    assert!(ran.lines("unit/web").contains(&"hello".to_owned()));
    // What a reporter saw is what the record gives back.
    assert_eq!(*recorder.0.lock().unwrap(), ran.events);

    let tags: Vec<String> = world.registry.all_tags().into_keys().collect();
    assert_eq!(
        tags,
        [
            "api:01234567-20251215123456",
            "web:01234567-20251215123456",
            "web:staging-01234567-20251215123456"
        ]
    );
    // Each twin holds its own environment's URL and not the other's.
    let layer = |name: &str| {
        use shipline_engine::backend::ImageStore;
        let digest = world.store.named(name).unwrap();
        let manifest = world.store.manifest(&digest).unwrap().unwrap();
        String::from_utf8(world.store.blob(&manifest.layers[0].digest).unwrap()).unwrap()
    };
    assert!(layer("web@staging").contains("calls https://staging.example.com/api"));
    assert!(layer("web@production").contains("calls https://example.com/api"));

    let deployments = world.gitops.deployments();
    assert_eq!(deployments.len(), 1);
    let tags: Vec<&str> = deployments[0]
        .images
        .iter()
        .map(|image| image.tag.as_str())
        .collect();
    assert_eq!(
        tags,
        ["staging-01234567-20251215123456", "01234567-20251215123456"]
    );
    assert_eq!(
        deployments[0].trailers,
        [
            ("Run-Id".to_owned(), ran.run.to_string()),
            ("Run-Url".to_owned(), "https://ci.example.com/7".to_owned())
        ]
    );

    let set = record::find(&world.place(), "last")
        .unwrap()
        .release_set()
        .unwrap();
    assert_eq!(set.images.len(), 3);
    assert!(
        set.images
            .iter()
            .all(|image| image.verdict == v1::GateVerdict::Passed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_takes_everything() {
    let mut world = World::new(&[]);
    let first = world.run().await;
    let second = world.run().await;
    assert_eq!(second.end.summary.verdict, Verdict::Green);
    let cached = |outcome: Outcome| match outcome {
        Outcome::Cached { from, facts, .. } => (from, facts),
        other => panic!("{other:?}"),
    };
    assert_eq!(cached(second.outcome("unit/api")).0, first.run.to_string());
    let (from, facts) = cached(second.outcome("build/web@staging"));
    assert_eq!(from, first.run.to_string());
    let Facts::Built(image) = facts else {
        panic!("{facts:?}");
    };
    assert_eq!(Some(image.digest), world.store.named("web@staging"));
    assert_eq!(image.builder, "memory");
    assert_eq!(world.builder.requests().len(), 3);
    let Outcome::Passed(Facts::Deployed(commit)) = second.outcome("gitops") else {
        panic!("{:?}", second.outcome("gitops"));
    };
    assert!(!commit.made);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_left_the_store_is_built_again() {
    let mut world = World::new(&[]);
    world.run().await;
    world
        .store
        .forget(&world.store.named("web@staging").unwrap());
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Green);
    assert!(matches!(
        ran.outcome("build/web@staging"),
        Outcome::Passed(Facts::Built(_))
    ));
    assert!(matches!(ran.outcome("build/api"), Outcome::Cached { .. }));
    // The registry has the old tags for ever, and builds need not give the same bytes again: both twins have a new one.
    assert!(matches!(
        ran.outcome("build/web@production"),
        Outcome::Passed(Facts::Built(_))
    ));
    assert_eq!(world.registry.all_tags().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_leaves_the_store_after_planning_fails_its_task() {
    let mut world = World::new(&[]);
    world.run().await;
    let plan = world.plan();
    world.store.forget(&world.store.named("api").unwrap());
    let options = world.options();
    let (_keep, signals) = tokio::sync::mpsc::unbounded_channel();
    let end = shipline_engine::run::run(
        plan,
        &world.config,
        world.backends(),
        options,
        Vec::new(),
        signals,
    )
    .await
    .unwrap();
    assert_eq!(end.summary.verdict, Verdict::Red);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_test_stops_the_run_and_publishes_nothing() {
    let mut world = World::new(&[("TEST_API", "echo broken >&2; exit 3")]);
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert_eq!(
        ran.failure("unit/api"),
        "run the tests of api (`echo broken >&2; exit 3`): exit code 3"
    );
    assert!(ran.lines("unit/api").contains(&"broken".to_owned()));
    let Outcome::Skipped {
        reason: SkipReason::Dependency { failed },
    } = ran.outcome("build/api")
    else {
        panic!("{:?}", ran.outcome("build/api"));
    };
    assert_eq!(failed.to_string(), "unit/api");
    assert_eq!(world.registry.all_tags().len(), 0);
    assert_eq!(world.gitops.deployments().len(), 0);
    // A failure is never remembered.
    assert!(!matches!(
        world.run().await.outcome("unit/api"),
        Outcome::Cached { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_going_finishes_the_others_and_still_publishes_nothing() {
    let mut world = World::new(&[("TEST_API", "exit 1")]);
    world.on_failure = OnFailure::KeepGoing;
    let ran = world.run().await;
    assert_eq!(ran.end.summary.verdict, Verdict::Red);
    assert!(matches!(
        ran.outcome("scan/web@production"),
        Outcome::Passed(_)
    ));
    assert!(matches!(ran.outcome("push"), Outcome::Skipped { .. }));
    assert_eq!(world.registry.all_tags().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_see_the_declared_environment_and_no_input() {
    let mut world = World::new(&[(
        "TEST_API",
        "env | sort | cut -d= -f1 | grep -v '^\\(PWD\\|SHLVL\\|_\\|OLDPWD\\)$'; cat; pwd -P",
    )]);
    let ran = world.run().await;
    let lines = ran.lines("unit/api");
    let folder = world.state().canonicalize().unwrap().join("work/api");
    assert_eq!(
        lines[lines.len() - 2..],
        ["PATH".to_owned(), folder.display().to_string()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_is_explained() {
    let mut world = World::new(&[("TEST_API", "no-such-program")]);
    let ran = world.run().await;
    let Outcome::Failed(failure) = ran.outcome("unit/api") else {
        panic!();
    };
    assert!(failure.message.ends_with("exit code 127"), "{failure:?}");
    assert!(failure.hints[0].contains("PATH"));
}
