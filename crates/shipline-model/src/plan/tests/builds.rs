//! Which builds are taken, completed or made anew, and the keys that decide it.

use super::*;

#[test]
fn twins_share_source_key_base_and_commit() {
    let plan = World::new(&["web/a"]).made();
    let images = &of(&plan, "web").images;
    assert_eq!(images[0].source_key, images[1].source_key);
    assert_ne!(images[0].build_key, images[1].build_key);
    let tags: Vec<String> = images.iter().map(|image| image.tag.to_string()).collect();
    assert_eq!(
        tags,
        ["staging-aaaaaaaa-20261124030405", "aaaaaaaa-20261124030405"]
    );
    assert_eq!(
        images[0].args["API"].expose(),
        "https://staging.example/api"
    );
    assert_eq!(images[0].args["MODE"].expose(), "fast");
    assert!(images[1].args["API"].is_secret());
}

#[test]
fn inputs_say_what_keys_are_made_of() {
    let plan = World::new(&["web/a"]).made();
    let web = of(&plan, "web");
    let named = |inputs: &[KeyInput], name: &str| {
        let found = inputs.iter().find(|input| input.name == name);
        found.and_then(|input| input.value.clone())
    };
    assert_eq!(
        named(&web.source_inputs, "component").as_deref(),
        Some("web")
    );
    assert!(named(&web.source_inputs, "tree").is_some());
    let [staging, production] = web.images.as_slice() else {
        panic!("two images")
    };
    let differing: Vec<&str> = staging
        .build_inputs
        .iter()
        .zip(&production.build_inputs)
        .filter(|(one, other)| one != other)
        .map(|(one, _)| one.name.as_str())
        .collect();
    assert_eq!(differing, ["variant", "arg API"]);
    let secret = named(&production.build_inputs, "arg API").unwrap();
    assert!(secret.starts_with("secret "), "{secret}");
    let text = production.args["API"].expose();
    assert!(!secret.contains(text), "{secret}");
}

#[test]
fn a_complete_build_is_taken_with_its_tags() {
    let mut world = World::new(&["web/a"]);
    let first = world.made();
    world.remember(&first, "web", &[Some("staging"), Some("production")]);
    world.changes.head.commit = commit('c');
    world.instant = TagInstant::new("20270101000000").unwrap();
    let plan = world.made();
    assert_eq!(
        actions(&plan, "web"),
        [
            "staging-aaaaaaaa-20261124030405 take from earlier",
            "aaaaaaaa-20261124030405 take from earlier"
        ]
    );
    assert_eq!(of(&plan, "web").images[0].commit, commit('a'));
    let Decision::Cached { key, from } = decision(&plan, "tests/web") else {
        panic!("{:?}", drawn(&plan));
    };
    assert_eq!(
        (key, from.as_str()),
        (&of(&plan, "web").source_key.clone().unwrap().0, "earlier")
    );
    assert!(matches!(
        decision(&plan, "build/web@staging"),
        Decision::Cached { .. }
    ));
    // They may still have to be scanned and published.
    assert!(runs(&plan, "scan/web@staging") && runs(&plan, "push") && runs(&plan, "gitops"));
}

#[test]
fn a_build_that_was_cut_off_is_completed_under_its_own_base() {
    let mut world = World::new(&["web/a"]);
    let first = world.made();
    world.remember(&first, "web", &[Some("staging")]);
    world.instant = TagInstant::new("20270101000000").unwrap();
    assert_eq!(
        actions(&world.made(), "web"),
        [
            "staging-aaaaaaaa-20261124030405 take from earlier",
            "aaaaaaaa-20261124030405 build: run earlier built these sources, and of them not this image"
        ]
    );
}

#[test]
fn a_build_that_lost_an_image_is_over() {
    // Its tag may be in a registry, and other bytes under it would be refused there for ever.
    let mut world = World::new(&["web/a"]);
    let first = world.made();
    let key = of(&first, "web").source_key.clone().unwrap();
    world.known.lost.insert(key, "earlier".to_owned());
    world.instant = TagInstant::new("20270101000000").unwrap();
    let why = "build: an image that run earlier built is not whole in the store any more";
    assert_eq!(
        actions(&world.made(), "web"),
        [
            format!("staging-aaaaaaaa-20270101000000 {why}"),
            format!("aaaaaaaa-20270101000000 {why}")
        ]
    );
}

#[test]
fn other_args_of_one_twin_build_both_anew() {
    let mut world = World::new(&["web/a"]);
    let first = world.made();
    world.remember(&first, "web", &[Some("staging"), Some("production")]);
    world.instant = TagInstant::new("20270101000000").unwrap();
    let world = world.set("API", "https://elsewhere/api");
    let why = "build: run earlier built web@staging with other args or under another project name";
    assert_eq!(
        actions(&world.made(), "web"),
        [
            format!("staging-aaaaaaaa-20270101000000 {why}"),
            format!("aaaaaaaa-20270101000000 {why}")
        ]
    );
}

#[test]
fn no_cache_does_everything_again() {
    let mut world = World::new(&["web/a"]);
    let first = world.made();
    world.remember(&first, "web", &[Some("staging"), Some("production")]);
    world.caching = Caching::Ignore;
    let plan = world.made();
    assert!(runs(&plan, "tests/web") && runs(&plan, "build/web@production"));
    assert_eq!(
        actions(&plan, "web")[1],
        "aaaaaaaa-20261124030405 build: --no-cache"
    );
}

#[test]
fn an_image_that_takes_caches_in_is_built_anew() {
    let mut world = World::new(&["web/a"]);
    let text = FILE.replace("    path: web\n", "    path: web\n    caches: [deps]\n");
    assert_ne!(text, FILE);
    world.config = config::load("pipeline.yaml", &text).unwrap();
    let first = world.made();
    world.remember(&first, "web", &[Some("staging"), Some("production")]);
    assert!(actions(&world.made(), "web")[1].contains("take from earlier"));

    let text = text.replace("[deps]\n", "[deps]\n    include_caches: [deps]\n");
    world.config = config::load("pipeline.yaml", &text).unwrap();
    let included = world.made();
    // Another context is another image.
    let key = |plan: &Plan| of(plan, "web").source_key.clone();
    assert_ne!(key(&first), key(&included));
    world.remember(&included, "web", &[Some("staging"), Some("production")]);
    for action in actions(&world.made(), "web") {
        let why = "build: its build context holds the cache web/deps, and no key stands for";
        assert!(action.contains(why), "{action}");
    }
}

#[test]
fn only_dirty_sources_make_dirty_tags() {
    let check = |dirty: &[&str], web: bool, api: bool| {
        let mut world = World::new(&["web/a", "services/api/a"]);
        world.changes.head.dirty = dirty.iter().map(GitPath::new).collect();
        let plan = world.made();
        let is_dirty = |component: &str| of(&plan, component).images[0].tag.base().is_dirty();
        assert_eq!((is_dirty("web"), is_dirty("api")), (web, api), "{dirty:?}");
        let notes = plan
            .notes
            .iter()
            .filter(|note| note.contains("in no commit"));
        assert_eq!(notes.count(), usize::from(!dirty.is_empty()));
    };
    check(&[], false, false);
    check(&["README.md"], false, false);
    check(&["web/a"], true, false);
    check(&["services/common/a"], false, true);
    check(&["pipeline.yaml"], true, true);
}

#[test]
fn a_dirty_build_is_not_what_the_commit_gives() {
    let mut world = World::new(&["web/a"]);
    world.changes.head.dirty = ["web/a"].into_iter().map(GitPath::new).collect();
    let first = world.made();
    world.remember(&first, "web", &[Some("staging"), Some("production")]);
    assert!(actions(&world.made(), "web")[0].ends_with("-dirty take from earlier"));
    world.changes.head.dirty = ByPath::default();
    assert_eq!(
        actions(&world.made(), "web")[1],
        "aaaaaaaa-20261124030405 build: run earlier built these sources before they were committed"
    );
}

#[test]
fn keys_change_with_all_that_decides_and_with_nothing_else() {
    let keys = |world: World| {
        let plan = world.made();
        let web = of(&plan, "web");
        let builds: Vec<BuildKey> = web
            .images
            .iter()
            .map(|image| image.build_key.clone())
            .collect();
        (web.source_key.clone().unwrap(), builds)
    };
    let new = || World::new(&["web/a"]);
    let (source, builds) = keys(new());
    let same = |world: World, same_source: bool, same_builds: [bool; 2], what: &str| {
        let (other, others) = keys(world);
        assert_eq!(other == source, same_source, "{what}");
        assert_eq!(
            [others[0] == builds[0], others[1] == builds[1]],
            same_builds,
            "{what}"
        );
    };
    same(new(), true, [true, true], "nothing");
    same(
        new().set("API", "https://b"),
        true,
        [false, false],
        "an arg of both, one of them secret",
    );
    same(
        new().set("MODE", "slow"),
        true,
        [false, false],
        "a shared arg",
    );
    same(
        new().set("TOKEN", "other"),
        false,
        [false, false],
        "the environment",
    );
    let file = |from: &str, to: &str| {
        assert!(FILE.contains(from), "{from}");
        let mut world = new();
        world.config = config::load("pipeline.yaml", &FILE.replace(from, to)).unwrap();
        world
    };
    for (from, to) in [
        ("npm ci", "npm ci -q"),
        ("test: npm test", "test: npm run test"),
        ("npm run build", "npm run bundle"),
        ("make lint", "make checks"),
        ("prepare: npm", "dockerfile: Other\n      prepare: npm"),
        ("prepare: npm", "target: a\n      prepare: npm"),
        ("prepare: npm", "platform: linux/arm64\n      prepare: npm"),
        ("prepare: npm", "engine: docker\n      prepare: npm"),
    ] {
        same(file(from, to), false, [false, false], to);
    }
    same(
        file("timeout: 7m", "timeout: 8m"),
        true,
        [true, true],
        "a limit",
    );
    same(
        file("make check", "make all"),
        true,
        [true, true],
        "another component",
    );
    same(
        file("tag_prefix: staging-", "tag_prefix: s-"),
        true,
        [true, true],
        "a prefix",
    );
    same(
        file("https://example/api}", "https://other/api}"),
        true,
        [true, false],
        "an arg of one twin",
    );
    same(
        file("project: ", "project: not-"),
        true,
        [false, false],
        "the project, which labels name",
    );
    let mut world = new();
    world.trees.insert(name("web"), "other".to_owned());
    same(world, false, [false, false], "the sources");
    let mut world = new();
    world.tools.insert(name("web"), tool("v24"));
    same(world, false, [false, false], "a tool");
    let mut world = new();
    world.tools.insert(name("api"), tool("v24"));
    same(world, true, [true, true], "another component's tool");
    let mut world = new();
    world
        .bases
        .insert(name("web"), vec![("node:22".to_owned(), digest())]);
    same(world, false, [false, false], "a base");
    let mut world = new();
    world.fingerprint = |_| "another key".to_owned();
    same(world, false, [false, false], "secrets by their fingerprint");
}
