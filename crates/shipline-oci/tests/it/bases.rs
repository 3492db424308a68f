//! What the Docker engine builds on: what the lock or the registry says, whatever it has under the same name.

#![allow(
    clippy::disallowed_methods,
    reason = "the engine of this machine is found by its own environment"
)]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::json;
use shipline_engine::backend::{ImageBuilder as _, ImageStore, Registry as _, TagRequest};
use shipline_engine::error::ErrorClass;
use shipline_engine::fault::Faults;
use shipline_http::{self as http, HttpSettings};
use shipline_model::name::Digest;
use shipline_oci::build::docker::{DockerBuilder, DockerSettings, Wanted};
use shipline_oci::credentials::Credentials;
use shipline_oci::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of};
use shipline_oci::pull::{LockKey, Pins, PullSettings, RegistryImages};
use shipline_oci::registry::DistributionRegistry;
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_testkit::service::{DockerRegistry, RegistryAccess};

use crate::distribution::{once, shared_store};
use shipline_testkit::needs;
use shipline_testkit::service::engine::docker;

use crate::docker::{BOTH, content, runtime, told, world};
use crate::support::Task;
use crate::world::World;

/// Puts an image with one file, `/base`, into a store.
fn base(store: &dyn ImageStore, text: &str) -> Digest {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(text.len() as u64);
    tar.append_data(&mut header, "base", text.as_bytes())
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest_of(&tar).as_str()] },
    })
    .to_string();
    let blob = |bytes: &[u8]| {
        let digest = digest_of(bytes);
        store.put_blob(&digest, &mut &bytes[..]).unwrap();
        (digest, bytes.len())
    };
    let ((layer, layer_size), (config, config_size)) = (blob(&tar), blob(config.as_bytes()));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": config.as_str(), "size": config_size },
        "layers": [{ "mediaType": OCI_LAYER, "digest": layer.as_str(), "size": layer_size }],
    });
    store
        .put_manifest(OCI_MANIFEST, manifest.to_string().as_bytes())
        .unwrap()
}

struct Published {
    registry: DockerRegistry,
    store: Arc<dyn ImageStore>,
    directory: tempfile::TempDir,
}

impl Published {
    fn client(&self) -> DistributionRegistry {
        DistributionRegistry::new(
            RegistryAddress::parse(&self.registry.host(), Security::Required).unwrap(),
            http::client(&HttpSettings::default()).unwrap(),
            Arc::new(Credentials::Anonymous),
            once(),
            Faults::none(),
        )
    }

    /// Publishes an image under a tag of its own.
    fn publish(&self, tag: &str, text: &str) -> Digest {
        let digest = base(self.store.as_ref(), text);
        let repository = "base".parse().unwrap();
        let task = Task::new();
        let client = self.client();
        let requests = [TagRequest {
            repository,
            tag: tag.to_owned(),
            digest: digest.clone(),
        }];
        runtime().block_on(async {
            client
                .upload(&requests[0].repository, &digest, &self.store, &task.context)
                .await
                .unwrap();
            client.tag(&requests, &task.context).await.unwrap();
        });
        digest
    }

    fn images(&self, pins: Pins) -> Arc<RegistryImages> {
        let settings = PullSettings {
            http: http::client(&HttpSettings::default()).unwrap(),
            credentials: Arc::new(Credentials::Anonymous),
            retries: once(),
            mirrors: BTreeMap::new(),
            records: self.directory.path().join("records").into(),
        };
        Arc::new(RegistryImages::new(settings, pins))
    }
}

fn builder(world: &World, wanted: Wanted, images: Arc<RegistryImages>) -> DockerBuilder {
    let settings = DockerSettings {
        host: std::env::var("DOCKER_HOST").ok(),
        wanted,
        ..DockerSettings::default()
    };
    let cache = world.directory.path().join("cache");
    DockerBuilder::new(settings, cache, NonZeroUsize::MIN).with_bases(images)
}

#[test]
fn an_engine_builds_on_what_is_recorded() {
    if !needs::docker("an_engine_builds_on_what_is_recorded") {
        return;
    }
    let Some(registry) = DockerRegistry::start(RegistryAccess::Open).unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let published = Published {
        store: shared_store(&directory),
        directory,
        registry,
    };
    for (number, wanted) in BOTH.into_iter().enumerate() {
        let (floating, locked) = (
            published.publish(&format!("now-{number}"), &format!("now {number}")),
            published.publish(&format!("then-{number}"), &format!("then {number}")),
        );
        let reference = format!("{}/base:now-{number}", published.registry.host());
        let dockerfile = format!(
            "ARG TAG=now-{number}\nFROM {}/base:${{TAG}} \\\n  AS one\nFROM one\nCOPY a /a\n",
            published.registry.host()
        );
        let world = world("bases", &[("a", "x")], &dockerfile);
        let mut pins = Pins::default();
        pins.components.insert("frontend".parse().unwrap());
        let key = LockKey::new(&reference.parse().unwrap(), &world.request.platform);
        pins.lock.update([(key, locked.clone())].into());
        for (pins, expected, text) in [(Pins::default(), &floating, "now"), (pins, &locked, "then")]
        {
            let mut task = Task::new();
            let builder = builder(&world, wanted, published.images(pins));
            let built =
                runtime().block_on(builder.build(&world.request, &world.shared, &task.context));
            let built = built
                .unwrap_or_else(|error| panic!("{wanted:?} {}\n{:#?}", told(&error), task.lines()));
            assert_eq!(
                built.bases,
                [(reference.clone(), expected.clone())],
                "{wanted:?}"
            );
            assert_eq!(
                content(&world, &built, "base"),
                format!("{text} {number}"),
                "{wanted:?}"
            );
            let labels = &world.config(&built)["config"]["Labels"];
            assert_eq!(
                labels["org.opencontainers.image.base.digest"],
                expected.as_str(),
                "{wanted:?}"
            );
            assert_eq!(labels["org.opencontainers.image.base.name"], reference);
        }
        // What is locked and not there is an error: the engine is not left to take something else.
        let mut pins = Pins::default();
        pins.components.insert("frontend".parse().unwrap());
        let builder = builder(&world, wanted, published.images(pins));
        let error = runtime()
            .block_on(builder.build(&world.request, &world.shared, &Task::new().context))
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid, "{}", told(&error));
        assert!(told(&error).contains("lock update"), "{}", told(&error));
        for digest in [&floating, &locked] {
            let name = format!("{}/base@{digest}", published.registry.host());
            // BuildKit keeps no name for what it pulled.
            let _ = docker(&["image", "rm", "--force", &name]);
        }
    }
}
