//! Base images out of registries: through indexes, once, verified, without network, pinned.

use std::sync::Arc;

use shipline_engine::backend::Registry as _;
use shipline_engine::error::ErrorClass;
use shipline_model::config::Platform;
use shipline_model::name::{Digest, RepositoryName};
use shipline_oci::build::BaseImages as _;
use shipline_oci::credentials::Credentials;
use shipline_oci::http::{self, HttpSettings};
use shipline_oci::image::OCI_INDEX;
use shipline_oci::pull::{
    ImageReference, LockKey, Pins, PipelineLock, PullSettings, RegistryImages,
};
use shipline_testkit::contract::registry::image;
use shipline_testkit::ecr::{Effect, FakeEcr, Fault, When};

use crate::distribution::{fake, login, of_fake, once, patient, shared_store};
use crate::support::Task;

const SIZE: usize = 900_000;

fn amd64() -> Platform {
    Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: None,
    }
}

struct World {
    directory: tempfile::TempDir,
    fake: FakeEcr,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            fake: fake().await,
            http: http::client(&HttpSettings::default()).unwrap(),
        }
    }

    fn reference(&self, rest: &str) -> String {
        format!("{}/user_service{rest}", self.fake.host())
    }

    fn images(&self, pins: Pins) -> RegistryImages {
        self.with_retries(pins, patient())
    }

    fn with_retries(
        &self,
        pins: Pins,
        retries: shipline_oci::registry::distribution::RetryPolicy,
    ) -> RegistryImages {
        let settings = PullSettings {
            http: self.http.clone(),
            credentials: Arc::new(login("AWS", self.fake.token())),
            retries,
            records: self.directory.path().join("records"),
        };
        RegistryImages::new(settings, pins)
    }

    /// Pushes an image and an index that names it, both under tags; gives the image's digest.
    async fn publish(&self, text: &str) -> Digest {
        let repository: RepositoryName = "user_service".parse().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = shared_store(&directory);
        let digest = image(store.as_ref(), text, &[SIZE, 10]).unwrap();
        of_fake(&self.fake, once())
            .upload(&repository, &digest, &store, &Task::new().context)
            .await
            .unwrap();
        let size = store.manifest(&digest).unwrap().unwrap().bytes.len();
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let url = format!("{}/v2/user_service/manifests/base", self.fake.url());
        let response = self
            .http
            .put(url)
            .basic_auth("AWS", Some(self.fake.token()))
            .header("content-type", OCI_INDEX)
            .body(index)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201);
        digest
    }
}

#[tokio::test]
async fn an_index_leads_to_the_image_which_is_pulled_once() {
    let world = World::new().await;
    let first = world.publish("one").await;
    let store = shared_store(&world.directory);
    let images = world.images(Pins::default());
    let task = Task::new();
    let reference = world.reference(":base");
    let found = images
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap();
    assert_eq!(found, first);
    assert!(store.is_whole(&found).unwrap());
    world.fake.reset();
    let again = images
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap();
    assert_eq!(again, first);
    let log = world.fake.log();
    assert!(
        log.iter().all(|entry| entry.method == "HEAD") && !log.is_empty(),
        "an unmoved tag costs one look: {log:?}"
    );
    // The tag moves: the new image comes, of which one layer is new.
    let second = world.publish("two").await;
    let found = images
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap();
    assert_eq!(found, second);
}

#[tokio::test]
async fn without_network_the_last_resolution_is_taken() {
    let world = World::new().await;
    let digest = world.publish("one").await;
    let store = shared_store(&world.directory);
    let reference = world.reference(":base");
    let pinned = world.reference(&format!("@{digest}"));
    for reference in [&reference, &pinned] {
        world
            .images(Pins::default())
            .resolve(reference, &amd64(), &store, &Task::new().context)
            .await
            .unwrap();
    }
    let images = world.images(Pins::default());
    let World {
        directory, fake, ..
    } = world;
    drop(fake);
    let mut task = Task::new();
    // A digest needs nobody.
    let found = images
        .resolve(&pinned, &amd64(), &store, &task.context)
        .await;
    assert_eq!(found.unwrap(), digest);
    assert_eq!(task.lines(), Vec::<String>::new());
    let found = images
        .resolve(&reference, &amd64(), &store, &task.context)
        .await;
    assert_eq!(found.unwrap(), digest);
    let lines = task.lines();
    assert!(
        lines.iter().any(|line| line.contains("cannot be reached")),
        "{lines:?}"
    );
    // What was never resolved cannot be had.
    let other = images
        .resolve(&format!("{reference}x"), &amd64(), &store, &task.context)
        .await;
    assert_eq!(other.unwrap_err().class, ErrorClass::Retryable);
    drop(directory);
}

#[tokio::test]
async fn pinned_components_take_what_is_locked_and_nothing_else() {
    let world = World::new().await;
    let old = world.publish("old").await;
    let reference = world.reference(":base");
    let mut pins = Pins::default();
    pins.components.insert("frontend".parse().unwrap());
    let task = Task::new();
    let store = shared_store(&world.directory);
    let error = world
        .images(pins.clone())
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap_err();
    assert!(
        error.hints.iter().any(|hint| hint.contains("lock update")),
        "{error:?}"
    );

    let parsed: ImageReference = reference.parse().unwrap();
    let current = world
        .images(Pins::default())
        .current(&parsed, &amd64())
        .await;
    assert_eq!(current.unwrap(), old);
    let mut lock = PipelineLock::default();
    lock.update([(LockKey::new(&parsed, &amd64()), old.clone())].into());
    pins.lock = lock;
    world.publish("new").await;
    world.fake.reset();
    let found = world
        .images(pins)
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap();
    assert_eq!(found, old);
    let log = world.fake.log();
    assert!(
        log.iter().all(|entry| !entry.target.ends_with("/base")),
        "the tag is not asked for: {log:?}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let world = World::new().await;
    world.publish("one").await;
    let store = shared_store(&world.directory);
    let images = world.images(Pins::default());
    let task = Task::new();
    let arm = Platform {
        architecture: "arm64".into(),
        ..amd64()
    };
    let reference = world.reference(":base");
    let error = images
        .resolve(&reference, &arm, &store, &task.context)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    let cause = error.cause.unwrap().to_string();
    assert_eq!(cause, "there is only linux/amd64");
    let error = images
        .resolve(
            &world.reference(":nothing"),
            &amd64(),
            &store,
            &task.context,
        )
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    let error = images
        .resolve("No Image", &amd64(), &store, &task.context)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid);
    let nobody = PullSettings {
        http: world.http.clone(),
        credentials: Arc::new(Credentials::Anonymous),
        retries: once(),
        records: world.directory.path().join("others"),
    };
    let error = RegistryImages::new(nobody, Pins::default())
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied);
}

#[tokio::test]
async fn cut_pulls_are_taken_up_and_what_is_wrong_is_not_kept() {
    let world = World::new().await;
    let digest = world.publish("one").await;
    let reference = world.reference(":base");
    world.fake.reset();
    let count = {
        let directory = tempfile::tempdir().unwrap();
        let store = shared_store(&directory);
        let images = world.with_retries(Pins::default(), once());
        images
            .resolve(&reference, &amd64(), &store, &Task::new().context)
            .await
            .unwrap();
        std::fs::remove_dir_all(world.directory.path().join("records")).unwrap();
        world.fake.log().len() as u64
    };
    assert!(count > 4, "{count}");
    for effect in [Effect::Cut, Effect::CutBody] {
        for number in 0..count {
            let directory = tempfile::tempdir().unwrap();
            let store = shared_store(&directory);
            world.fake.reset();
            world.fake.arm(Fault {
                when: When::Request(number),
                effect: effect.clone(),
            });
            let found = world
                .images(Pins::default())
                .resolve(&reference, &amd64(), &store, &Task::new().context)
                .await
                .unwrap();
            assert_eq!(found, digest, "{effect:?} in {number}");
            assert!(store.is_whole(&digest).unwrap(), "{effect:?} in {number}");
            std::fs::remove_dir_all(world.directory.path().join("records")).unwrap();
        }
    }
    world.fake.reset();
    let directory = tempfile::tempdir().unwrap();
    let store = shared_store(&directory);
    world.fake.arm(Fault {
        when: When::Matching {
            method: "GET".into(),
            target: "/manifests/sha256".into(),
            times: 1,
        },
        effect: Effect::WrongDigest,
    });
    let error = world
        .images(Pins::default())
        .resolve(&reference, &amd64(), &store, &Task::new().context)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    assert!(!store.is_whole(&digest).unwrap());
}
