//! `pipeline.lock`: base images pinned, moved on purpose, and taken from the store without network.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use shipline_engine::backend::{ImageStore, Registry as _};
use shipline_engine::fault::Faults;
use shipline_http::{HttpSettings, RetryPolicy};
use shipline_model::name::Digest;
use shipline_oci::credentials::Credentials;
use shipline_oci::image::{OCI_CONFIG, OCI_MANIFEST, digest_of};
use shipline_oci::registry::DistributionRegistry;
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_oci::store::LayoutStore;
use shipline_testkit::contract::registry::Task;
use shipline_testkit::ecr::{FakeEcr, Mutability, Options};
use shipline_testkit::tiny;
use shipline_testkit::world::World;
use tokio::runtime::Runtime;

/// A registry with base images, and a world that may pull them.
struct Bases {
    runtime: Runtime,
    fake: FakeEcr,
    world: World,
}

impl Bases {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let fake = runtime
            .block_on(FakeEcr::start(Options::default()))
            .unwrap();
        fake.create("base", Mutability::Mutable);
        let world = tiny::world(env!("CARGO_BIN_EXE_shipline"));
        let login = format!(
            r#"{{"auths":{{"{}":{{"username":"AWS","password":"{}"}}}}}}"#,
            fake.host(),
            fake.token()
        );
        std::fs::create_dir_all(world.path("home/.docker")).unwrap();
        std::fs::write(world.path("home/.docker/config.json"), login).unwrap();
        Self {
            runtime,
            fake,
            world,
        }
    }

    /// Publishes an image with one file, `/base.txt`, and sets a tag on it.
    fn publish(&self, tag: &str, text: &str) -> Digest {
        let directory = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(directory.path(), Faults::none()).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, "base.txt", text.as_bytes())
            .unwrap();
        let tar = tar.into_inner().unwrap();
        let layer = digest_of(&tar);
        store.put_blob(&layer, &mut tar.as_slice()).unwrap();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        );
        let config_digest = digest_of(config.as_bytes());
        store
            .put_blob(&config_digest, &mut config.as_bytes())
            .unwrap();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{}}}]}}"#,
            config.len(),
            tar.len()
        );
        let digest = store
            .put_manifest(OCI_MANIFEST, manifest.as_bytes())
            .unwrap();
        let store: Arc<dyn ImageStore> = Arc::new(store);
        let registry = DistributionRegistry::new(
            RegistryAddress::parse(&self.fake.url(), Security::Required).unwrap(),
            shipline_http::client(&HttpSettings::default()).unwrap(),
            Arc::new(Credentials::Login {
                username: "AWS".to_owned(),
                password: shipline_model::value::Secret::new(self.fake.token()),
            }),
            RetryPolicy::default(),
            Faults::none(),
        );
        let repository = "base".parse().unwrap();
        let task = Task::default();
        self.runtime.block_on(async {
            registry
                .upload(&repository, &digest, &store, &task.context)
                .await
                .unwrap();
        });
        self.fake.move_tag("base", tag, digest.as_str());
        digest
    }

    /// Builds a component on `base:TAG`, locked.
    fn lock(&self, component: &str, tag: &str) {
        let from = format!("FROM {}/base:{tag}", self.fake.host());
        self.world
            .replace(&format!("{component}/Dockerfile"), "FROM scratch", &from);
        let own = format!("    path: {component}\n");
        let locked = self.world.read("pipeline.yaml");
        let (before, after) = locked.split_once(&own).unwrap();
        let after = after.replacen(
            "image: { prepare: sh build.sh }",
            "image: { prepare: sh build.sh, lock: true }",
            1,
        );
        self.world
            .write("pipeline.yaml", &format!("{before}{own}{after}"));
    }

    fn files(&self, component: &str) -> Vec<(String, String)> {
        let tag = tiny::declared_tag(&self.world, "staging", component);
        let tags = tiny::tags(&self.world);
        let name = format!("{component}:{tag}");
        let (_, digest) = tags.iter().find(|(found, _)| *found == name).unwrap();
        tiny::image_files(&self.world, digest)
    }
}

fn holds(files: &[(String, String)], path: &str, text: &str) -> bool {
    files
        .iter()
        .any(|(found, content)| found == path && content == text)
}

#[test]
fn a_lock_pins_what_is_built_on_until_it_is_moved() {
    let bases = Bases::new();
    let world = &bases.world;
    let first = bases.publish("1", "first");
    bases.lock("api", "1");
    world.commit("Build the API on a base");
    let refused = world.run(&["pipeline", "backend"]).expect(2);
    assert!(
        refused.stderr.contains("lock update") && refused.stderr.contains("/base:1"),
        "{}",
        refused.stderr
    );

    let from_below = world.run(&["-C", "api", "lock", "update"]).expect(0);
    assert!(
        from_below.stdout.starts_with("added") && from_below.stdout.contains(first.as_str()),
        "{}",
        from_below.stdout
    );
    assert!(world.read("pipeline.lock").contains(first.as_str()));
    let _ = world.run(&["lock", "update", "--check"]).expect(0);
    world.commit("Lock it");
    tiny::green(world, &["pipeline", "backend"]);
    assert!(holds(&bases.files("api"), "base.txt", "first"));
    let events = world
        .run(&["runs", "show", "last", "--json"])
        .expect(0)
        .stdout;
    assert!(
        events
            .lines()
            .any(|line| line.contains("task-finished") && line.contains(first.as_str())),
        "the run says what it built on: {events}"
    );

    // The tag moves, and nothing of ours does.
    let second = bases.publish("1", "second");
    let checked = world.run(&["lock", "update", "--check"]).expect(1);
    assert!(
        checked.stdout.contains("moved") && checked.stdout.contains(second.as_str()),
        "{}",
        checked.stdout
    );
    let _ = world.run(&["lock", "update", "--dry-run"]).expect(0);
    assert!(!world.read("pipeline.lock").contains(second.as_str()));
    world.write("api/name.txt", "api again\n");
    world.commit("Change the API");
    tiny::green(world, &["pipeline", "backend"]);
    assert!(holds(&bases.files("api"), "base.txt", "first"));

    let moved = world.run(&["lock", "update", "api"]).expect(0);
    assert!(moved.stdout.contains(&format!("{first} → {second}")));
    world.commit("Move the base");
    let plan = world.run(&["plan", "backend"]).expect(0).stdout;
    assert!(
        plan.contains("pipeline.lock moves") && plan.contains("worker  not affected"),
        "the lock affects whose base moved and nobody else: {plan}"
    );
    let explained = world.run(&["explain", "backend", "api"]).expect(0).stdout;
    assert!(
        explained.contains(&format!("is {second} (pipeline.lock)")),
        "{explained}"
    );
    tiny::green(world, &["pipeline", "backend"]);
    assert!(holds(&bases.files("api"), "base.txt", "second"));

    // Without the registry, what is locked comes from the store.
    let Bases {
        fake,
        world,
        runtime,
    } = bases;
    drop(fake);
    drop(runtime);
    tiny::green(&world, &["pipeline", "backend", "--all", "--no-cache"]);
    let offline = world.run(&["lock", "update"]);
    assert_eq!(offline.code, 3, "{}", offline.stderr);
    assert!(
        offline.stderr.contains("pipeline.lock is as it was"),
        "{}",
        offline.stderr
    );
    assert!(world.read("pipeline.lock").contains(second.as_str()));
}

#[test]
fn all_problems_are_told_and_nothing_is_written() {
    let bases = Bases::new();
    let world = &bases.world;
    bases.publish("1", "first");
    bases.lock("api", "1");
    bases.lock("worker", "none");
    world.replace("worker/Dockerfile", "COPY", "COPY --from=");
    world.commit("Break a Dockerfile");
    let refused = world.run(&["lock", "update"]).expect(2);
    assert!(
        refused.stderr.contains("worker/Dockerfile line 2"),
        "{}",
        refused.stderr
    );
    world.replace("worker/Dockerfile", "COPY --from=", "COPY");
    world.replace("api/Dockerfile", "base:1", "base:nothing");
    world.commit("Name what is not there");
    let refused = world.run(&["lock", "update"]).expect(1);
    for missing in ["base:nothing", "base:none"] {
        assert!(refused.stderr.contains(missing), "{}", refused.stderr);
    }
    assert!(!world.repository().join("pipeline.lock").exists());
    let unknown = world.run(&["lock", "update", "web"]).expect(2);
    assert!(unknown.stderr.contains("lock: true"), "{}", unknown.stderr);
}

#[test]
fn entries_that_nothing_needs_go_and_others_stay() {
    let bases = Bases::new();
    let world = &bases.world;
    let one = bases.publish("1", "one");
    let two = bases.publish("2", "two");
    bases.lock("api", "1");
    bases.lock("worker", "2");
    world.commit("Build both on bases");
    let _ = world.run(&["lock", "update"]).expect(0);
    let (newer, newest) = (bases.publish("1", "newer"), bases.publish("2", "newest"));
    let partly = world.run(&["lock", "update", "worker"]).expect(0);
    assert!(!partly.stdout.contains(newer.as_str()), "{}", partly.stdout);
    let lock = world.read("pipeline.lock");
    assert!(lock.contains(one.as_str()) && lock.contains(newest.as_str()));
    assert!(!lock.contains(two.as_str()));
    world.replace("api/Dockerfile", "base:1", "base:2");
    let removed = world.run(&["lock", "update"]).expect(0);
    assert!(removed.stdout.contains("removed"), "{}", removed.stdout);
    assert!(!world.read("pipeline.lock").contains(one.as_str()));
    world.write("pipeline.lock", "<<<<<<< ours\n");
    let broken = world.run(&["pipeline", "backend", "--all"]).expect(2);
    assert!(broken.stderr.contains("lock update"), "{}", broken.stderr);
    let _ = world.run(&["lock", "update"]).expect(0);
    assert!(world.read("pipeline.lock").contains(newest.as_str()));
}

/// A profile `ci` whose images go to the registry that the base image of `api` comes from.
fn publishing(bases: &Bases, registry: &str, base: &str) {
    bases.publish("1", "one");
    for repository in ["api", "worker"] {
        bases.fake.create(repository, Mutability::Immutable);
    }
    let from = format!("FROM {base}/base:1");
    bases.world.replace("api/Dockerfile", "FROM scratch", &from);
    let profile = format!(
        "  ci:\n    registry: {registry}\n    gitops: {{ path: .shipline/gitops.git, seed: gitops }}\n\ncomponents:\n"
    );
    bases
        .world
        .replace("pipeline.yaml", "\ncomponents:\n", &profile);
    bases.world.commit("Push where the base is");
}

#[test]
fn a_credential_helper_is_asked_once_in_a_run() {
    let bases = Bases::new();
    let world = &bases.world;
    let registry = format!("{{ url: \"{}\" }}", bases.fake.host());
    publishing(&bases, &registry, &bases.fake.host());
    let helpers = format!(r#"{{"credHelpers":{{"{}":"counted"}}}}"#, bases.fake.host());
    std::fs::write(world.path("home/.docker/config.json"), helpers).unwrap();
    let helper = world.path("home/docker-credential-counted");
    let script = format!(
        "#!/bin/sh\necho asked >> '{}'\necho '{{\"Username\":\"AWS\",\"Secret\":\"{}\"}}'\n",
        world.path("asked").display(),
        bases.fake.token()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        world.path("home").display(),
        std::env::var("PATH").unwrap()
    );
    let run = world.run_with(
        &["pipeline", "backend", "--profile", "ci"],
        &[("PATH", path.as_str())],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = std::fs::read_to_string(world.path("asked")).unwrap();
    assert_eq!(asked, "asked\n");
}

#[test]
fn ecr_is_asked_for_one_login_in_a_run() {
    let bases = Bases::new();
    let url = bases.fake.url();
    let registry = format!(
        "{{ ecr: {{ account: \"123456789012\", region: us-east-1, endpoint: \"{url}\", registry_endpoint: \"{url}\" }} }}"
    );
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    publishing(&bases, &registry, host);
    let run = bases.world.run_with(
        &["pipeline", "backend", "--profile", "ci"],
        &[
            ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let log = bases.fake.log();
    let logins = log
        .iter()
        .filter(|request| request.target.contains("GetAuthorizationToken"));
    assert_eq!(logins.count(), 1, "{log:#?}");
}

#[test]
fn what_a_credential_helper_says_is_masked() {
    let bases = Bases::new();
    let world = &bases.world;
    bases.lock("api", "1");
    world.replace(
        "pipeline.yaml",
        "    path: api\n",
        "    path: api\n    environment: { TOKEN: \"${secret.API_TOKEN}\" }\n",
    );
    let helpers = format!(r#"{{"credHelpers":{{"{}":"leaky"}}}}"#, bases.fake.host());
    std::fs::write(world.path("home/.docker/config.json"), helpers).unwrap();
    let helper = world.path("home/docker-credential-leaky");
    let script = "#!/bin/sh\necho \"cannot log in with $API_TOKEN\"\nexit 1\n";
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.commit("Lock with a leaky helper");
    let path = format!(
        "{}:{}",
        world.path("home").display(),
        std::env::var("PATH").unwrap()
    );
    let variables = [("PATH", path.as_str()), ("API_TOKEN", "s3cr3t-v4lue")];
    let run = world.run_with(&["lock", "update"], &variables);
    assert!(
        run.stderr.contains("cannot log in with ***"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("s3cr3t"), "{}", run.stderr);
}
