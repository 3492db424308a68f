//! Killed with SIGKILL at every enumerated point of store and registry: the next attempt completes, and nothing is torn.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use shipline_engine::backend::{ImageStore, Reference, Registry, TagRequest};
use shipline_engine::fault::{FaultPoint, Faults};
use shipline_model::name::{Digest, RepositoryName};
use shipline_oci::registry::LayoutRegistry;
use shipline_oci::store::LayoutStore;

use crate::support::Task;
use crate::world::World;

const ROOT: &str = "SHIPLINE_TEST_ROOT";
const POINT: &str = "SHIPLINE_TEST_POINT";
const THIS: &str = "kill::after_every_kill_the_next_attempt_completes";
const CONTEXT: &[(&str, &str)] = &[("a", "a"), ("b/c", "c")];
const DOCKERFILE: &str = "FROM scratch\nCOPY a /\nCOPY b /b\n";
const POINTS: &[FaultPoint] = &[
    FaultPoint::StoreBlobHalf,
    FaultPoint::StoreBlob,
    FaultPoint::StoreBlobs,
    FaultPoint::StoreManifest,
    FaultPoint::RegistryBlob,
    FaultPoint::RegistryManifest,
    FaultPoint::RegistryTag,
];

fn repository() -> RepositoryName {
    "frontend".parse().unwrap()
}

/// Builds, pushes and tags below `root`.
fn publish(root: &Path, faults: &Faults) -> Digest {
    let mut world = World::new(CONTEXT, DOCKERFILE);
    world.shared = Arc::new(LayoutStore::open(root.join("store"), faults.clone()).unwrap());
    let built = world.build();
    let registry = LayoutRegistry::new(root.join("registry"), faults.clone());
    let task = Task::new();
    let request = TagRequest {
        repository: repository(),
        tag: "t".to_owned(),
        digest: built.digest.clone(),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        registry
            .upload(
                &request.repository,
                &built.digest,
                &world.shared,
                &task.context,
            )
            .await
            .unwrap();
        registry
            .tag(std::slice::from_ref(&request), &task.context)
            .await
            .unwrap();
    });
    built.digest
}

/// What a process does that the test has started to kill it.
fn be_killed(root: &Path) {
    let armed = std::env::var(POINT).unwrap();
    let (point, nth) = armed.split_once(':').unwrap();
    publish(
        root,
        &Faults::kill_at(point.parse().unwrap(), nth.parse().unwrap()),
    );
}

#[test]
fn after_every_kill_the_next_attempt_completes() {
    // The processes to kill are this very test: no other program knows how to make a world.
    if let Ok(root) = std::env::var(ROOT) {
        return be_killed(Path::new(&root));
    }
    let reference = tempfile::tempdir().unwrap();
    let expected = publish(reference.path(), &Faults::none());
    for point in POINTS {
        let mut kills = 0;
        for nth in 1..20 {
            let root = tempfile::tempdir().unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", THIS])
                .env(ROOT, root.path())
                .env(POINT, format!("{point}:{nth}"))
                .env("TMPDIR", root.path())
                .output()
                .unwrap()
                .status;
            if status.success() {
                break;
            }
            assert_eq!(status.signal(), Some(9), "{point}:{nth}: {status}");
            kills += 1;
            for part in ["store", "registry"] {
                let blobs = root.path().join(part).join("blobs/sha256");
                let Ok(blobs) = fs::read_dir(blobs) else {
                    continue;
                };
                for blob in blobs {
                    let blob = blob.unwrap();
                    let digest = shipline_oci::image::digest_of(&fs::read(blob.path()).unwrap());
                    assert_eq!(
                        blob.file_name().to_str(),
                        Some(digest.hex()),
                        "{point}:{nth}"
                    );
                }
            }
            assert_eq!(
                publish(root.path(), &Faults::none()),
                expected,
                "{point}:{nth}"
            );
            let registry = LayoutRegistry::new(root.path().join("registry"), Faults::none());
            let resolved = tokio::runtime::Runtime::new()
                .unwrap()
                .block_on(registry.resolve(&repository(), &Reference::Tag("t".to_owned())))
                .unwrap();
            assert_eq!(resolved.map(|found| found.digest), Some(expected.clone()));
            let store = LayoutStore::open(root.path().join("store"), Faults::none()).unwrap();
            assert!(store.is_whole(&expected).unwrap());
        }
        assert!(kills > 0, "{point} is never reached");
    }
}
