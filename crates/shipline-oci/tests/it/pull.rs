//! Base images out of registries: through indexes, once, verified, without network, pinned.

use std::collections::BTreeMap;
use std::sync::Arc;

use shipline_engine::backend::{Registry as _, TagRequest};
use shipline_engine::error::ErrorClass;
use shipline_http::{self as http, HttpSettings};
use shipline_model::config::Platform;
use shipline_model::name::{Digest, RepositoryName};
use shipline_oci::build::{BaseChoice, BaseImages as _};
use shipline_oci::credentials::Credentials;
use shipline_oci::image::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest_of};
use shipline_oci::pull::{
    ImageReference, LockKey, Pins, PipelineLock, PullSettings, RegistryImages,
};
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_testkit::contract::registry::image;
use shipline_testkit::ecr::{Effect, FakeEcr, Fault, Mutability, When};

use crate::distribution::{fake, login, of_fake, once, patient, shared_store};
use crate::support::{Task, at_fake};

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
    http: shipline_http::Client,
    mirrors: BTreeMap<String, RegistryAddress>,
}

impl World {
    async fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            fake: fake().await,
            http: http::client(&HttpSettings::default()).unwrap(),
            mirrors: BTreeMap::new(),
        }
    }

    fn reference(&self, rest: &str) -> String {
        format!("{}/user_service{rest}", self.fake.host())
    }

    fn images(&self, pins: Pins) -> RegistryImages {
        self.with_retries(pins, patient())
    }

    fn with_retries(&self, pins: Pins, retries: shipline_http::RetryPolicy) -> RegistryImages {
        let settings = PullSettings {
            http: self.http.clone(),
            credentials: Arc::new(login("AWS", self.fake.token())),
            retries,
            mirrors: self.mirrors.clone(),
            records: self.directory.path().join("records").into(),
        };
        RegistryImages::new(settings, pins)
    }

    /// Pushes an image and an index that names it, both under tags; gives the image's digest.
    async fn publish(&self, text: &str) -> Digest {
        self.publish_as("user_service", text).await
    }

    async fn publish_as(&self, name: &str, text: &str) -> Digest {
        let repository: RepositoryName = name.parse().unwrap();
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
        let url = format!("{}/v2/{name}/manifests/base", self.fake.url());
        let response = at_fake(&self.fake, "PUT", &url, index).await;
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
    let again = world
        .images(Pins::default())
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap();
    assert_eq!(again, first);
    let log = world.fake.log();
    assert!(
        log.iter().all(|entry| entry.method == "HEAD") && !log.is_empty(),
        "an unmoved tag costs one look: {log:?}"
    );
    // The tag moves. What was resolved holds for the run; the next one takes the new image.
    let second = world.publish("two").await;
    let found = images
        .resolve(&reference, &amd64(), &store, &task.context)
        .await
        .unwrap();
    assert_eq!(found, first);
    let found = world
        .images(Pins::default())
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
        lines.iter().any(|line| line.contains("cannot be asked")),
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
        .current(&parsed, &amd64(), &task.context)
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
        mirrors: BTreeMap::new(),
        records: world.directory.path().join("others").into(),
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

#[tokio::test]
async fn a_mirror_is_asked_first_and_docker_hubs_official_images_lie_below_library() {
    let mut world = World::new().await;
    world.fake.create("hub/library/nginx", Mutability::Mutable);
    let digest = world.publish_as("hub/library/nginx", "one").await;
    let mirror = format!("{}/hub", world.fake.host());
    let mirror = RegistryAddress::parse(&mirror, Security::Required).unwrap();
    world.mirrors = BTreeMap::from([
        ("docker.io".to_owned(), mirror.clone()),
        ("registry.invalid".to_owned(), mirror),
    ]);
    // Of neither registry anything is asked: there is no network in these tests.
    for reference in [
        "nginx:base",
        "docker.io/library/nginx:base",
        "index.docker.io/nginx:base",
        "registry.invalid/library/nginx:base",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = shared_store(&directory);
        let mut task = Task::new();
        let found = world
            .images(Pins::default())
            .resolve(reference, &amd64(), &store, &task.context)
            .await;
        assert_eq!(found.unwrap(), digest, "{reference}");
        assert!(store.is_whole(&digest).unwrap(), "{reference}");
        let lines = task.lines();
        assert!(
            !lines.iter().any(|line| line.contains("mirror")),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn behind_a_mirror_that_fails_is_the_registry_itself() {
    let mut world = World::new().await;
    let digest = world.publish("one").await;
    let closed = "127.0.0.1:1".to_owned();
    let without = format!("{}/nothing", world.fake.host());
    for (mirror, why) in [(closed, "failed"), (without, "does not have it")] {
        let address = RegistryAddress::parse(&mirror, Security::Required).unwrap();
        world.mirrors = BTreeMap::from([(world.fake.host(), address)]);
        let directory = tempfile::tempdir().unwrap();
        let store = shared_store(&directory);
        let mut task = Task::new();
        let images = world.images(Pins::default());
        let reference = world.reference(":base");
        for _ in 0..2 {
            let found = images
                .resolve(&reference, &amd64(), &store, &task.context)
                .await;
            assert_eq!(found.unwrap(), digest, "{mirror}");
        }
        let lines = task.lines();
        assert!(
            lines
                .iter()
                .any(|line| line.contains(&format!("the mirror {mirror} {why}"))),
            "{lines:?}"
        );
        std::fs::remove_dir_all(world.directory.path().join("records")).unwrap();
    }
}

#[tokio::test]
async fn an_engine_is_told_the_digest_and_nothing_is_pulled() {
    let world = World::new().await;
    let digest = world.publish("one").await;
    let reference = world.reference(":base");
    let task = Task::new();
    world.fake.reset();
    let images = world.images(Pins::default());
    let (name, found) = images
        .look_up(&reference, &amd64(), &task.context)
        .await
        .unwrap();
    assert_eq!(found, digest);
    assert_eq!(name, world.reference(&format!("@{digest}")));
    let log = world.fake.log();
    assert!(
        log.iter().all(|entry| !entry.target.contains("/blobs/")),
        "{log:?}"
    );

    let parsed: ImageReference = reference.parse().unwrap();
    let other = shipline_oci::image::digest_of(b"another");
    let mut pins = Pins::default();
    pins.components.insert("frontend".parse().unwrap());
    pins.lock
        .update([(LockKey::new(&parsed, &amd64()), other.clone())].into());
    let images = world.images(pins);
    assert_eq!(images.choice(&task.context), BaseChoice::Locked);
    let (name, found) = images
        .look_up(&reference, &amd64(), &task.context)
        .await
        .unwrap();
    assert_eq!(found, other);
    assert!(name.ends_with(&format!("@{other}")), "{name}");
}

/// Pushes an image whose config is this, under a tag; gives its digest and the manifest's size.
async fn publish_raw(world: &World, tag: &str, config: serde_json::Value) -> (Digest, usize) {
    let repository: RepositoryName = "user_service".parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = shared_store(&directory);
    let put = |bytes: &[u8]| {
        let digest = digest_of(bytes);
        store.put_blob(&digest, &mut &bytes[..]).unwrap();
        digest
    };
    let (layer, config) = (vec![0; 1024], config.to_string());
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": put(config.as_bytes()).as_str(), "size": config.len() },
        "layers": [{ "mediaType": OCI_LAYER, "digest": put(&layer).as_str(), "size": layer.len() }],
    });
    let digest = store
        .put_manifest(OCI_MANIFEST, manifest.to_string().as_bytes())
        .unwrap();
    let size = store.manifest(&digest).unwrap().unwrap().bytes.len();
    let client = of_fake(&world.fake, once());
    let task = Task::new();
    client
        .upload(&repository, &digest, &store, &task.context)
        .await
        .unwrap();
    let requests = [TagRequest {
        repository,
        tag: tag.to_owned(),
        digest: digest.clone(),
    }];
    client.tag(&requests, &task.context).await.unwrap();
    (digest, size)
}

fn config_of(architecture: &str, diff_id: &Digest) -> serde_json::Value {
    serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": null,
        "rootfs": { "type": "layers", "diff_ids": [diff_id.as_str()] },
    })
}

#[tokio::test]
async fn entries_without_a_platform_are_told_by_their_configs() {
    let world = World::new().await;
    let content = digest_of(&vec![0; 1024]);
    let (arm, arm_size) = publish_raw(&world, "arm", config_of("arm64", &content)).await;
    let (amd, amd_size) = publish_raw(&world, "amd", config_of("amd64", &content)).await;
    let entry = |digest: &Digest, size: usize, more: &str| {
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size}{more}}}"#)
    };
    let both = [
        entry(&arm, arm_size, ""),
        entry(&amd, amd_size, r#","platform":{}"#),
    ]
    .join(",");
    for (tag, entries, expected) in [
        ("both", both, Ok(())),
        ("one", entry(&amd, amd_size, r#","platform":null"#), Ok(())),
        (
            "other",
            entry(&arm, arm_size, ""),
            Err("there is only linux/arm64"),
        ),
        ("none", String::new(), Err("no image of any platform")),
    ] {
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{entries}]}}"#);
        let url = format!("{}/v2/user_service/manifests/{tag}", world.fake.url());
        let response = at_fake(&world.fake, "PUT", &url, index).await;
        assert_eq!(response.status(), 201);
        let store = shared_store(&world.directory);
        let task = Task::new();
        let found = world
            .images(Pins::default())
            .resolve(
                &world.reference(&format!(":{tag}")),
                &amd64(),
                &store,
                &task.context,
            )
            .await;
        match (found, expected) {
            (Ok(found), Ok(())) => assert_eq!(found, amd, "{tag}"),
            (Err(error), Err(why)) => {
                let cause = error.cause.unwrap().to_string();
                assert!(cause.contains(why), "{tag}: {cause}");
            }
            (found, expected) => panic!("{tag}: {found:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_base_whose_layers_are_not_those_of_its_config_is_not_taken() {
    let world = World::new().await;
    let (wrong, _) = publish_raw(&world, "wrong", config_of("amd64", &digest_of(b"x"))).await;
    let mut two = config_of("amd64", &digest_of(&vec![0; 1024]));
    let ids = two["rootfs"]["diff_ids"].clone();
    two["rootfs"]["diff_ids"] = serde_json::json!([ids[0], ids[0]]);
    let (count, _) = publish_raw(&world, "count", two).await;
    for (tag, digest, why) in [
        ("wrong", wrong, "its content has the digest"),
        ("count", count, "lists 2 layers and its manifest 1"),
    ] {
        let store = shared_store(&world.directory);
        let task = Task::new();
        let error = world
            .images(Pins::default())
            .resolve(
                &world.reference(&format!(":{tag}")),
                &amd64(),
                &store,
                &task.context,
            )
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict, "{tag}");
        let cause = error.cause.unwrap().to_string();
        assert!(cause.contains(why), "{tag}: {cause}");
        assert!(!store.is_whole(&digest).unwrap(), "{tag}");
    }
}
