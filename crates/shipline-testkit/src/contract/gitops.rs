//! What every [`GitopsRepo`] does.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use shipline_engine::backend::{Deployment, GitopsRepo, Pinning, SetImage, Target};
use shipline_engine::error::ErrorClass;
use shipline_model::name::{CommitId, ComponentName, Digest, EnvironmentName, Tag};

/// A GitOps repository and somebody else who also works on it.
pub trait GitopsWorld: Send + Sync {
    /// The repository under test, opened anew: as another process would.
    fn open(&self) -> Box<dyn GitopsRepo>;

    /// Somebody else's commit of these files (path, text) on the branch.
    fn commit(&self, files: &[(&str, &str)]);

    /// A file's text at the head of the branch.
    fn file(&self, path: &str) -> Option<String>;

    /// The messages of the branch's commits, newest first.
    fn messages(&self) -> Vec<String>;
}

/// A manifest with one Deployment of one container.
#[must_use]
pub fn manifest(component: &str, tag: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {component}\nspec:\n  template:\n    spec:\n      containers:\n        - name: {component}\n          image: r.example:5000/team/{component}:{tag} # set by the pipeline\n"
    )
}

/// Where the image of [`manifest`] stands in staging.
#[must_use]
pub fn target(component: &str) -> Target {
    Target::new(name(component), staging())
}

/// A deployment of tags to staging.
#[must_use]
pub fn deployment(id: &str, tags: &[(&str, &str)]) -> Deployment {
    let images = tags.iter().map(|(component, tag)| SetImage {
        target: target(component),
        name: None,
        tag: Tag::new(*tag).expect("a tag"),
        pinning: Pinning::AsBefore,
        digest: Digest::new(format!("sha256:{}", "a".repeat(64))).ok(),
        source_commit: CommitId::new("b".repeat(40)).ok(),
    });
    Deployment {
        id: id.to_owned(),
        environment: staging(),
        images: images.collect(),
        message: None,
        author: Some("Ada <ada@example.com>".to_owned()),
        committer: None,
        trailers: vec![("Run-Id".to_owned(), "20250101000000-abcdef".to_owned())],
        time: 1_735_689_600,
    }
}

fn staging() -> EnvironmentName {
    EnvironmentName::new("staging").expect("a name")
}

fn name(component: &str) -> ComponentName {
    ComponentName::new(component).expect("a name")
}

fn path(component: &str) -> String {
    format!("staging/{component}/deployment.yaml")
}

/// A world whose branch holds these components at tag `old`.
fn world(new: &dyn Fn() -> Arc<dyn GitopsWorld>, components: &[&str]) -> Arc<dyn GitopsWorld> {
    let world = new();
    let files: Vec<(String, String)> = components
        .iter()
        .map(|component| (path(component), manifest(component, "old")))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    world.commit(&files);
    world
}

/// Runs the whole suite; `new` gives an empty branch's world for each case.
///
/// # Panics
/// Where the repository does not do what it should.
pub fn suite(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    reads_what_is_declared(new);
    sets_all_images_in_one_commit(new);
    makes_no_commit_where_all_is_up_to_date(new);
    tells_what_was_deployed(new);
    knows_its_own_deployment_again(new);
    previews_without_writing(new);
    refuses_all_where_one_is_unfit(new);
    keeps_what_others_write(new);
    lets_many_write_at_once(new);
    tells_of_a_missing_folder(new);
}

fn reads_what_is_declared(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web", "api"]);
    let state = world
        .open()
        .snapshot()
        .expect("a snapshot")
        .read(&[target("web"), target("gone"), target("api")])
        .expect("a state");
    assert_eq!(state.images.len(), 3);
    let web = state.images[&name("web")].as_ref().expect("declared");
    assert_eq!(web.file, path("web"));
    assert_eq!(web.line, 10);
    assert_eq!(web.image, "r.example:5000/team/web:old");
    assert_eq!(web.tag.as_deref(), Some("old"));
    let gone = state.images[&name("gone")].as_ref().expect_err("nothing");
    assert_eq!(gone.class, ErrorClass::NotFound);
}

fn sets_all_images_in_one_commit(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web", "api", "other"]);
    let deployed = world
        .open()
        .deploy(&deployment("d1", &[("web", "new1"), ("api", "new2")]))
        .expect("deployed");
    assert!(deployed.made);
    let changed: Vec<_> = deployed
        .changes
        .iter()
        .map(|change| (change.component.as_str(), change.line, change.to.as_str()))
        .collect();
    let expected = [
        ("web", 10, "r.example:5000/team/web:new1"),
        ("api", 10, "r.example:5000/team/api:new2"),
    ];
    assert_eq!(changed, expected);
    assert_eq!(world.file(&path("web")), Some(manifest("web", "new1")));
    assert_eq!(world.file(&path("api")), Some(manifest("api", "new2")));
    assert_eq!(world.file(&path("other")), Some(manifest("other", "old")));
    let messages = world.messages();
    assert_eq!(messages.len(), 2);
    let block = messages[0]
        .trim_end()
        .rsplit("\n\n")
        .next()
        .expect("a block");
    for line in [
        "Deploy-Id: d1",
        "Environment: staging",
        "Components: web, api",
        "Run-Id: 20250101000000-abcdef",
    ] {
        assert!(block.lines().any(|l| l == line), "{line} is not in {block}");
    }
    let state = world
        .open()
        .snapshot()
        .expect("a snapshot")
        .read(&[target("web")])
        .expect("a state");
    assert_eq!(state.commit.as_str(), deployed.commit);
}

fn makes_no_commit_where_all_is_up_to_date(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web"]);
    let deployed = world
        .open()
        .deploy(&deployment("d1", &[("web", "old")]))
        .expect("up to date");
    assert!(!deployed.made && deployed.changes.is_empty());
    assert_eq!(world.messages().len(), 1);
    let state = world
        .open()
        .snapshot()
        .expect("a snapshot")
        .read(&[])
        .expect("a state");
    assert_eq!(state.commit.as_str(), deployed.commit);
}

fn tells_what_was_deployed(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web"]);
    let repository = world.open();
    let before = repository.snapshot().expect("a snapshot");
    for (id, tag) in [("d1", "new1"), ("d2", "new2")] {
        repository
            .deploy(&deployment(id, &[("web", tag)]))
            .expect("deployed");
        world.commit(&[("README.md", tag)]);
    }
    assert_eq!(before.deployments(9).expect("a history"), []);
    let state = before.read(&[target("web")]).expect("a state");
    let web = state.images[&name("web")].as_ref().expect("declared");
    assert_eq!(web.tag.as_deref(), Some("old"), "a snapshot stays");
    let after = repository.snapshot().expect("a snapshot");
    let history = after.deployments(9).expect("a history");
    let ids: Vec<&str> = history.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["d2", "d1"]);
    assert_eq!(history[0].changes[0].to, "r.example:5000/team/web:new2");
    assert_eq!(history[0].environment, "staging");
    assert_eq!(after.deployments(1).expect("a history").len(), 1);
    assert_eq!(after.list("").expect("names"), ["README.md", "staging/"]);
    assert_eq!(
        after.list("staging/web").expect("names"),
        ["deployment.yaml"]
    );
    assert_eq!(after.list("gone").expect("names"), Vec::<String>::new());
}

fn knows_its_own_deployment_again(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web"]);
    let ours = deployment("d1", &[("web", "new1")]);
    let first = world.open().deploy(&ours).expect("deployed");
    world
        .open()
        .deploy(&deployment("d2", &[("web", "new2")]))
        .expect("deployed");
    let again = world.open().deploy(&ours).expect("known");
    assert!(!again.made);
    assert_eq!(again.commit, first.commit);
    assert_eq!(again.changes, first.changes);
    assert_eq!(world.file(&path("web")), Some(manifest("web", "new2")));
    assert_eq!(world.messages().len(), 3);
}

fn previews_without_writing(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web"]);
    let ours = deployment("d1", &[("web", "new")]);
    let preview = world.open().preview(&ours).expect("a preview");
    assert!(!preview.made);
    assert_eq!(world.messages().len(), 1);
    let deployed = world.open().deploy(&ours).expect("deployed");
    assert_eq!(preview.changes, deployed.changes);
}

fn refuses_all_where_one_is_unfit(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web", "api", "doubled"]);
    let twice = format!(
        "{}---\n{}",
        manifest("doubled", "a"),
        manifest("doubled", "b")
    );
    world.commit(&[(&path("doubled"), &twice)]);
    let unfit = deployment("d1", &[("web", "new"), ("gone", "new"), ("doubled", "new")]);
    for refused in [world.open().deploy(&unfit), world.open().preview(&unfit)] {
        let error = refused.expect_err("refused");
        assert_eq!(error.class, ErrorClass::Invalid);
        assert!(error.message.contains("gone"), "{}", error.message);
        assert!(
            error.message.contains("deployment.yaml:10"),
            "{}",
            error.message
        );
        assert!(
            error.message.contains("deployment.yaml:21"),
            "{}",
            error.message
        );
        assert!(!error.hints.is_empty());
    }
    assert_eq!(world.file(&path("web")), Some(manifest("web", "old")));
    assert_eq!(world.messages().len(), 2);
}

fn keeps_what_others_write(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web", "api"]);
    let repository = world.open();
    repository.snapshot().expect("a snapshot");
    let edited = manifest("web", "theirs").replace("name: web\nspec", "name: web\n# hi\nspec");
    world.commit(&[(&path("web"), &edited), ("README.md", "x")]);
    repository
        .deploy(&deployment("d1", &[("web", "ours")]))
        .expect("deployed");
    assert_eq!(
        world.file(&path("web")),
        Some(edited.replace("theirs", "ours"))
    );
    assert_eq!(world.file("README.md").as_deref(), Some("x"));
}

fn lets_many_write_at_once(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let components = ["a", "b", "c", "d", "e", "f"];
    let world = world(new, &components);
    std::thread::scope(|scope| {
        for component in components {
            let world = &world;
            scope.spawn(move || {
                let ours = deployment(&format!("d-{component}"), &[(component, "new")]);
                let deployed = world.open().deploy(&ours).expect("deployed");
                assert!(deployed.made);
            });
        }
    });
    for component in components {
        assert_eq!(
            world.file(&path(component)),
            Some(manifest(component, "new"))
        );
    }
    assert_eq!(world.messages().len(), 1 + components.len());
}

fn tells_of_a_missing_folder(new: &dyn Fn() -> Arc<dyn GitopsWorld>) {
    let world = world(new, &["web"]);
    let error = world
        .open()
        .deploy(&deployment("d1", &[("gone", "new")]))
        .expect_err("refused");
    assert!(error.message.contains("staging/gone"), "{}", error.message);
}
