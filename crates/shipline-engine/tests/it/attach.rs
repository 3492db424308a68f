//! What is known of images goes to the registry with them, and what the registry is about to take away is told.

use std::sync::Arc;

use shipline_engine::backend::{Expiring, Reference, Registry, ScanReport};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::{Facts, Outcome, Verdict};
use shipline_engine::record;
use shipline_model::finding::{Finding, FindingKind, Location, Rule, Severity};
use shipline_model::name::{Digest, RepositoryName};
use shipline_testkit::memory::{MemoryRegistry, ScriptedCataloguer, ScriptedScanner, digest_of};

use crate::world::{Ran, World};

/// Finds a leak in each image.
fn scanner() -> Arc<ScriptedScanner> {
    Arc::new(ScriptedScanner::new(Some("rules-1"), |id, _| {
        Ok(ScanReport {
            findings: vec![Finding::new(
                FindingKind::Leak,
                Rule::new("environment-leak"),
                Severity::Critical,
                format!("{id} holds hunter2hunter2"),
                "https://example.com/api",
                Location::ImageConfig {
                    field: "config.Env[2]".to_owned(),
                },
            )],
            bytes: 10,
            ..ScanReport::default()
        })
    }))
}

fn repository(name: &str) -> RepositoryName {
    RepositoryName::new(name).unwrap()
}

/// The images of a registry: repository and digest, by tag.
fn images(registry: &MemoryRegistry) -> Vec<(RepositoryName, Digest)> {
    let tags = registry.all_tags().into_iter();
    tags.map(|(name, digest)| (repository(name.split_once(':').unwrap().0), digest))
        .collect()
}

/// The documents about all images: a scan and an SBOM for each.
async fn documents(registry: &MemoryRegistry) -> Vec<Digest> {
    let mut all = Vec::new();
    for (repository, image) in images(registry) {
        let referrers = registry.referrers(&repository, &image).await.unwrap();
        let mut types: Vec<_> = referrers
            .iter()
            .map(|referrer| referrer.artifact_type.as_deref().unwrap())
            .collect();
        types.sort_unstable();
        assert_eq!(
            types,
            [
                "application/sarif+json",
                "application/vnd.example.sbom+json"
            ]
        );
        all.extend(
            referrers
                .into_iter()
                .map(|referrer| referrer.descriptor.digest),
        );
    }
    all.sort_unstable();
    all
}

fn notes<'a>(lines: &'a [String], part: &str) -> Vec<&'a str> {
    let lines = lines.iter().map(String::as_str);
    lines.filter(|line| line.contains(part)).collect()
}

fn green(ran: &Ran) {
    assert_eq!(
        ran.end.summary.verdict,
        Verdict::Green,
        "{:?}",
        ran.outcomes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_and_an_sbom_go_to_the_registry_with_their_image_and_are_the_same_each_time() {
    let mut world = World::new(&[]);
    let scanner = scanner();
    world.scanners = vec![Arc::<ScriptedScanner>::clone(&scanner)];
    world.accept("environment-leak");
    let ran = world.run().await;
    green(&ran);
    let first = documents(&world.registry).await;
    assert_eq!(first.len(), 6, "web has twins, api is one");
    let lines = ran.lines("push");
    let told = notes(&lines, "attached image-scan.sarif.json, sbom.json to ");
    assert_eq!(told.len(), 1, "{lines:?}");
    for image in ["web@staging", "web@production", "api"] {
        assert!(told[0].contains(image), "{told:?}");
    }

    // Nothing is new: nobody is asked.
    let asked = world.registry.attached();
    let ran = world.run().await;
    green(&ran);
    assert_eq!(world.registry.attached(), asked);
    assert_eq!(notes(&ran.lines("push"), "attached"), Vec::<&str>::new());

    // Another registry gets the same documents, from scans that are remembered.
    world.registry = Arc::default();
    let ran = world.run().await;
    green(&ran);
    assert!(matches!(
        ran.outcome("scan/web@staging"),
        Outcome::Cached { .. }
    ));
    assert_eq!(documents(&world.registry).await, first);
    assert_eq!(scanner.scans(), 3);
    assert_eq!(world.cataloguer.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_there_before_any_tag_moves_and_hold_no_secret() {
    let mut world = World::new(&[]);
    world.scanners = vec![scanner()];
    world.accept("environment-leak");
    world.secrets = vec!["hunter2hunter2".to_owned()];
    world.cataloguer = Arc::new(ScriptedCataloguer::new(["left-pad hunter2hunter2"]));
    let conflict = BackendError::new(ErrorClass::Conflict, "tag: another digest");
    world.registry.taggings.fail(conflict);
    let ran = world.run().await;
    assert_eq!(ran.failure("push"), "tag: another digest");
    assert_eq!(world.registry.all_tags().len(), 0);
    let attached = world.registry.attached();
    assert_eq!(attached, 3);
    green(&world.run().await);
    for (repository, image) in images(&world.registry) {
        for referrer in world.registry.referrers(&repository, &image).await.unwrap() {
            let reference = Reference::Digest(referrer.descriptor.digest);
            let (_, bytes) = world
                .registry
                .manifest(&repository, &reference)
                .await
                .unwrap()
                .unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(manifest["subject"]["digest"], image.as_str());
            let layer = manifest["layers"][0]["digest"].as_str().unwrap();
            let document = world.store.blob(&layer.parse().unwrap()).unwrap();
            let document = String::from_utf8(document).unwrap();
            assert!(
                document.contains("config.Env[2]") || document.contains("\"left-pad ***\""),
                "{document}"
            );
            assert!(!document.contains("hunter2"), "{document}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_takes_no_documents_gets_its_images() {
    let mut world = World::new(&[]);
    world.scanners = vec![scanner()];
    world.accept("environment-leak");
    for _ in 0..3 {
        let refused = BackendError::new(ErrorClass::Invalid, "attach a document");
        world
            .registry
            .attachments
            .fail(refused.because("no such type"));
    }
    let ran = world.run().await;
    green(&ran);
    assert_eq!(world.registry.all_tags().len(), 3);
    let lines = ran.lines("push");
    let told = notes(&lines, "failed to attach a document: no such type");
    assert_eq!(told.len(), 3, "{lines:?}");
    // It is tried again, though the images are there.
    green(&world.run().await);
    assert_eq!(documents(&world.registry).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sbom_lies_in_each_runs_record_and_one_that_was_damaged_is_made_again() {
    let mut world = World::new(&[]);
    world.cataloguer = Arc::new(ScriptedCataloguer::new(["left-pad", "right-pad"]));
    let path = |world: &World, ran: &Ran| {
        let folder = record::run_folder(&world.place(), &ran.run);
        folder.path().join("documents/web@staging.sbom.json")
    };
    let first = world.run().await;
    let Outcome::Passed(Facts::Scanned { packages, .. }) = first.outcome("scan/web@staging") else {
        panic!("{:?}", first.outcome("scan/web@staging"));
    };
    assert_eq!(packages, Some(2));
    let document = std::fs::read(path(&world, &first)).unwrap();
    let second = world.run().await;
    assert_eq!(std::fs::read(path(&world, &second)).unwrap(), document);
    assert_eq!(world.cataloguer.asked(), 3);

    // Somebody writes into a record, whose file is the remembered one.
    std::fs::write(path(&world, &second), b"{}").unwrap();
    let third = world.run().await;
    assert_eq!(std::fs::read(path(&world, &third)).unwrap(), document);
    assert_eq!(world.cataloguer.asked(), 4);

    // A secret that came later is masked as well, and what is remembered stays JSON.
    world.secrets = vec!["left-pad".to_owned(), "1".to_owned()];
    let fourth = world.run().await;
    let masked = std::fs::read(path(&world, &fourth)).unwrap();
    let masked: serde_json::Value = serde_json::from_slice(&masked).unwrap();
    assert_eq!(masked["packages"], serde_json::json!(["***", "right-pad"]));
    assert_eq!(masked["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_packages_cannot_be_listed_is_published_without_an_sbom() {
    let mut world = World::new(&[]);
    for _ in 0..3 {
        let error = BackendError::new(ErrorClass::Invalid, "read layer 0123");
        world.cataloguer.script.fail(error.because("it is no tar"));
    }
    let ran = world.run().await;
    green(&ran);
    let lines = ran.lines("scan/api");
    let expected = "api has no SBOM: failed to read layer 0123: it is no tar";
    assert_eq!(notes(&lines, "SBOM"), [expected]);
    for (repository, image) in images(&world.registry) {
        let referrers = world.registry.referrers(&repository, &image).await.unwrap();
        assert_eq!(referrers.len(), 1);
    }
    // It is tried again.
    green(&world.run().await);
    assert_eq!(documents(&world.registry).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_and_is_about_to_be_removed_is_told() {
    let mut world = World::new(&[]);
    green(&world.run().await);
    let deployed = world.gitops.deployments();
    let running = |component: &str| {
        let mut images = deployed.iter().flat_map(|deployment| &deployment.images);
        let image = images.find(|image| image.target.component.as_str() == component);
        image.unwrap().tag.clone()
    };
    world.registry = Arc::default();
    for tag in [
        running("web").to_string(),
        "abc12345-20200101000000".to_owned(),
    ] {
        let rule = "rule 1".to_owned();
        world
            .registry
            .expire(&repository("web"), Expiring { tag, rule });
    }
    let ran = world.run().await;
    green(&ran);
    let expected = format!(
        "staging runs web:{}, which the registry will remove by rule 1",
        running("web")
    );
    let lines = ran.lines("push");
    assert_eq!(
        notes(&lines, "will remove"),
        [expected.as_str()],
        "{lines:?}"
    );
    // No tag has moved: nothing has become older.
    let ran = world.run().await;
    assert_eq!(notes(&ran.lines("push"), "will remove"), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_names_the_run_of_this_clone_that_published_the_tag() {
    let mut world = World::new(&[]);
    let first = world.run().await;
    green(&first);
    // As if that run had had other images.
    let path = record::release_set_path(&world.place(), &first.run);
    let path = path.path();
    let text = std::fs::read_to_string(path).unwrap();
    let other = digest_of(b"another image");
    let mut set: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tag = set["images"][0]["tag"].as_str().unwrap().to_owned();
    set["images"][0]["digest"] = other.as_str().into();
    std::fs::write(path, set.to_string()).unwrap();
    let conflict = BackendError::new(ErrorClass::Conflict, "tag: another digest");
    world.registry.taggings.fail(conflict);
    let ran = world.run().await;
    let Outcome::Failed(failure) = ran.outcome("push") else {
        panic!("{:?}", ran.outcome("push"));
    };
    let told = failure
        .hints
        .iter()
        .find(|hint| hint.contains("of this clone"));
    let told = told.unwrap_or_else(|| panic!("{failure:?}"));
    for part in [first.run.as_str(), &tag, other.as_str()] {
        assert!(told.contains(part), "{told}");
    }
}
