//! The directory as registry: all tags at once, immutable, readable by others.

use std::sync::Arc;

use shipline_engine::backend::{ImageStore, Reference, Registry, TagOutcome, TagRequest};
use shipline_engine::error::ErrorClass;
use shipline_engine::fault::Faults;
use shipline_model::name::{Digest, RepositoryName};
use shipline_oci::registry::LayoutRegistry;

use crate::support::{Task, skopeo_config, small_image, store};

const TAG: &str = "staging-0123abcd-20260102030405";

fn request(repository: &str, tag: &str, digest: &Digest) -> TagRequest {
    TagRequest {
        repository: repository.parse().unwrap(),
        tag: tag.to_owned(),
        digest: digest.clone(),
    }
}

#[tokio::test]
async fn images_are_uploaded_then_tagged_all_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (images, shared) = store(&directory.path().join("store"));
    let registry = LayoutRegistry::new(directory.path().join("registry"), Faults::none());
    let task = Task::new();
    let frontend: RepositoryName = "frontend".parse().unwrap();
    let service: RepositoryName = "user_service".parse().unwrap();
    assert_eq!(
        registry.tags(&frontend).await.unwrap(),
        Vec::<String>::new()
    );
    assert!(!directory.path().join("registry").exists());
    registry
        .preflight(&[frontend.clone(), service.clone()])
        .await
        .unwrap();
    let (one, two) = (small_image(&images, "one"), small_image(&images, "two"));

    let unknown = registry
        .tag(&[request("frontend", TAG, &one)], &task.context)
        .await
        .unwrap_err();
    assert_eq!(unknown.class, ErrorClass::NotFound);

    let first = registry
        .upload(&frontend, &one, &shared, &task.context)
        .await
        .unwrap();
    assert!(first.sent > 0);
    let again = registry
        .upload(&frontend, &one, &shared, &task.context)
        .await
        .unwrap();
    assert_eq!(again.sent, 0);
    registry
        .upload(&service, &two, &shared, &task.context)
        .await
        .unwrap();
    assert_eq!(
        registry.tags(&frontend).await.unwrap(),
        Vec::<String>::new()
    );
    let by_digest = Reference::Digest(one.clone());
    assert!(
        registry
            .resolve(&frontend, &by_digest)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        registry
            .resolve(&service, &by_digest)
            .await
            .unwrap()
            .is_none()
    );

    // One that cannot be set stops the whole request.
    let requests = [
        request("frontend", TAG, &one),
        request("user_service", "0123abcd-20260102030405", &one),
    ];
    let error = registry.tag(&requests, &task.context).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert_eq!(
        registry.tags(&frontend).await.unwrap(),
        Vec::<String>::new()
    );

    let requests = [
        request("frontend", TAG, &one),
        request("user_service", "0123abcd-20260102030405", &two),
    ];
    assert_eq!(
        registry.tag(&requests, &task.context).await.unwrap(),
        [TagOutcome::Set, TagOutcome::Set]
    );
    assert_eq!(
        registry.tag(&requests, &task.context).await.unwrap(),
        [TagOutcome::AlreadyThere, TagOutcome::AlreadyThere]
    );
    assert_eq!(registry.tags(&frontend).await.unwrap(), [TAG]);

    let by_tag = Reference::Tag(TAG.to_owned());
    let details = registry.details(&frontend, &by_tag).await.unwrap().unwrap();
    assert_eq!(details.descriptor.digest, one);
    assert_eq!(details.tags, [TAG]);
    assert_eq!(details.pullable, Ok(()));
    assert!(details.pushed_at.is_some());
    let (descriptor, bytes) = registry
        .manifest(&frontend, &by_tag)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shipline_oci::image::digest_of(&bytes), descriptor.digest);

    if let Some(config) = skopeo_config(
        &directory.path().join("registry"),
        &format!("frontend:{TAG}"),
    ) {
        assert_eq!(config["config"]["Labels"]["text"], "one");
    }
}

#[tokio::test]
async fn a_tag_never_names_another_image() {
    let directory = tempfile::tempdir().unwrap();
    let (images, shared) = store(&directory.path().join("store"));
    let registry = LayoutRegistry::new(directory.path().join("registry"), Faults::none());
    let task = Task::new();
    let frontend: RepositoryName = "frontend".parse().unwrap();
    let (one, two) = (small_image(&images, "one"), small_image(&images, "two"));
    for digest in [&one, &two] {
        registry
            .upload(&frontend, digest, &shared, &task.context)
            .await
            .unwrap();
    }
    registry
        .tag(&[request("frontend", "a", &one)], &task.context)
        .await
        .unwrap();
    let error = registry
        .tag(
            &[
                request("frontend", "b", &two),
                request("frontend", "a", &two),
            ],
            &task.context,
        )
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains(one.as_str()) && cause.contains(two.as_str()),
        "{cause}"
    );
    assert_eq!(registry.tags(&frontend).await.unwrap(), ["a"]);
    let twice = registry
        .tag(
            &[
                request("frontend", "c", &one),
                request("frontend", "c", &two),
            ],
            &task.context,
        )
        .await
        .unwrap_err();
    assert_eq!(twice.class, ErrorClass::Conflict);
    for bad in ["", "-a", ".a", "a:b", "a/b", "ä"] {
        let error = registry
            .tag(&[request("frontend", bad, &one)], &task.context)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid, "{bad}");
    }
}

#[tokio::test]
async fn many_writers_set_their_tags_without_losing_one() {
    let directory = tempfile::tempdir().unwrap();
    let (images, shared) = store(&directory.path().join("store"));
    let registry = LayoutRegistry::new(directory.path().join("registry"), Faults::none());
    let task = Task::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..12 {
        let digest = small_image(&images, &format!("{writer}"));
        let (registry, shared, context) =
            (registry.clone(), Arc::clone(&shared), task.context.clone());
        writers.spawn(async move {
            let repository: RepositoryName = format!("r{}", writer % 3).parse().unwrap();
            registry
                .upload(&repository, &digest, &shared, &context)
                .await
                .unwrap();
            let tag = format!("t{writer}");
            registry
                .tag(&[request(repository.as_str(), &tag, &digest)], &context)
                .await
                .unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    for repository in 0..3 {
        let repository: RepositoryName = format!("r{repository}").parse().unwrap();
        assert_eq!(registry.tags(&repository).await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_damaged_blob_of_the_store_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let (images, shared) = store(&directory.path().join("store"));
    let registry = LayoutRegistry::new(directory.path().join("registry"), Faults::none());
    let digest = small_image(&images, "x");
    let manifest = images.manifest(&digest).unwrap().unwrap();
    let path = images.place(&manifest.layers[0].digest).unwrap();
    let path = path.path();
    let size = std::fs::metadata(path).unwrap().len();
    std::fs::write(path, vec![1; usize::try_from(size).unwrap()]).unwrap();
    let error = registry
        .upload(
            &"r".parse().unwrap(),
            &digest,
            &shared,
            &Task::new().context,
        )
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
}
