//! Documents that refer to an image: registries that list them, registries that do not, and those that do not take them.

use std::sync::Arc;

use serde_json::json;
use shipline_engine::backend::{AttachOutcome, ImageStore, Registry};
use shipline_engine::error::ErrorClass;
use shipline_model::name::{Digest, RepositoryName};
use shipline_oci::credentials::Credentials;
use shipline_testkit::contract::registry::{Task, document, image, suite};
use shipline_testkit::ecr::{
    Behaviour, Effect, FakeEcr, Fault, Mutability, Options, Referrers, When,
};
use shipline_testkit::service::{DockerRegistry, RegistryAccess};

use crate::distribution::{client, of_fake, once, patient, shared_store, subject};
use crate::support::at_fake;

async fn fake(referrers: Referrers, mutability: Mutability) -> FakeEcr {
    let fake = FakeEcr::start(Options {
        behaviour: Behaviour {
            referrers,
            ..Behaviour::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    for repository in ["team/frontend", "user_service"] {
        fake.create(repository, mutability);
    }
    fake
}

/// An image in the repository `user_service`, and two documents about it in the store.
struct Pushed {
    store: Arc<dyn ImageStore>,
    repository: RepositoryName,
    image: Digest,
    documents: [Digest; 2],
    _directory: tempfile::TempDir,
}

impl Pushed {
    async fn into(registry: &dyn Registry) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = shared_store(&directory);
        let image = image(store.as_ref(), "x", &[100]).unwrap();
        let documents = ["a", "b"].map(|text| document(store.as_ref(), &image, text).unwrap());
        let repository: RepositoryName = "user_service".parse().unwrap();
        registry
            .upload(&repository, &image, &store, &Task::default().context)
            .await
            .unwrap();
        Self {
            store,
            repository,
            image,
            documents,
            _directory: directory,
        }
    }

    async fn attach(
        &self,
        registry: &dyn Registry,
        documents: &[Digest],
    ) -> Result<AttachOutcome, shipline_engine::error::BackendError> {
        let task = Task::default();
        registry
            .attach(
                &self.repository,
                &self.image,
                documents,
                &self.store,
                &task.context,
            )
            .await
    }

    fn fallback(&self) -> String {
        self.image.as_str().replace(':', "-")
    }
}

#[tokio::test]
async fn a_registry_without_lists_gets_an_index_under_the_tag_of_the_specification() {
    let directory = tempfile::tempdir().unwrap();
    let fake = fake(Referrers::Unlisted, Mutability::Mutable).await;
    suite(&subject(Arc::new(of_fake(&fake, once())), &directory)).await;
    assert_eq!(fake.broken(), Vec::<String>::new());
    let tags = fake.all_tags();
    assert!(
        tags.iter()
            .any(|tag| tag.starts_with("team/frontend:sha256-")),
        "{tags:?}"
    );
}

#[tokio::test]
async fn what_is_listed_costs_one_request() {
    for (referrers, first) in [(Referrers::Listed, 1), (Referrers::Unlisted, 2)] {
        let fake = fake(referrers, Mutability::Mutable).await;
        let registry = of_fake(&fake, once());
        let pushed = Pushed::into(&registry).await;
        pushed.attach(&registry, &pushed.documents).await.unwrap();
        // Another process does not know yet whether the registry keeps lists.
        let registry = of_fake(&fake, once());
        registry.tags(&pushed.repository).await.unwrap();
        for expected in [first, 1] {
            fake.reset();
            let outcome = pushed.attach(&registry, &pushed.documents).await.unwrap();
            assert_eq!(outcome, AttachOutcome::AlreadyThere);
            assert_eq!(
                fake.log().len(),
                expected,
                "{referrers:?} {:#?}",
                fake.log()
            );
        }
    }
}

#[tokio::test]
async fn an_immutable_tag_stops_the_second_document_and_nothing_else() {
    let fake = fake(Referrers::Unlisted, Mutability::Immutable).await;
    let registry = of_fake(&fake, once());
    let pushed = Pushed::into(&registry).await;
    pushed
        .attach(&registry, &pushed.documents[..1])
        .await
        .unwrap();
    let error = pushed
        .attach(&registry, &pushed.documents)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error:?}");
    let listed = registry.referrers(&pushed.repository, &pushed.image).await;
    assert_eq!(listed.unwrap().len(), 1);
    assert_eq!(fake.broken(), Vec::<String>::new());
    assert_eq!(
        registry.tags(&pushed.repository).await.unwrap(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_registry_that_refuses_documents_says_so() {
    let fake = fake(Referrers::Refused, Mutability::Mutable).await;
    let registry = of_fake(&fake, patient());
    let pushed = Pushed::into(&registry).await;
    let error = pushed
        .attach(&registry, &pushed.documents)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    assert_eq!(fake.all_tags(), Vec::<String>::new());
}

#[tokio::test]
async fn ecr_never_gets_a_tag_for_documents() {
    let fake = fake(Referrers::Unlisted, Mutability::Immutable).await;
    let registry = crate::ecr::of_fake(&fake, once()).await;
    let pushed = Pushed::into(registry.as_ref()).await;
    let error = pushed
        .attach(registry.as_ref(), &pushed.documents)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error:?}");
    assert_eq!(fake.all_tags(), Vec::<String>::new());
}

#[tokio::test]
async fn what_others_wrote_into_the_index_stays() {
    let fake = fake(Referrers::Unlisted, Mutability::Mutable).await;
    let registry = of_fake(&fake, once());
    let pushed = Pushed::into(&registry).await;
    pushed
        .attach(&registry, &pushed.documents[..1])
        .await
        .unwrap();
    let url = format!(
        "{}/v2/user_service/manifests/{}",
        fake.url(),
        pushed.fallback()
    );
    let get = async || {
        let answer = at_fake(&fake, "GET", &url, "").await;
        serde_json::from_slice::<serde_json::Value>(answer.body()).unwrap()
    };
    let mut index = get().await;
    index["annotations"] = json!({ "by": "another tool" });
    index["manifests"][0]["data"] = json!("e30=");
    let put = at_fake(&fake, "PUT", &url, index.to_string()).await;
    assert!(put.status().is_success());
    pushed.attach(&registry, &pushed.documents).await.unwrap();
    let after = get().await;
    assert_eq!(after["annotations"], index["annotations"]);
    assert_eq!(after["manifests"][0], index["manifests"][0]);
    assert_eq!(after["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(
        after["manifests"][1]["artifactType"],
        "application/sarif+json"
    );

    // What is no index there is not written over.
    let foreign = at_fake(&fake, "PUT", &url, "{}").await;
    assert!(foreign.status().is_success());
    let error = pushed
        .attach(&registry, &pushed.documents)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error:?}");
    assert_eq!(get().await, json!({}));
}

#[tokio::test]
async fn an_index_that_changes_meanwhile_is_read_again() {
    let fake = fake(Referrers::Unlisted, Mutability::Mutable).await;
    let registry = of_fake(&fake, once());
    let pushed = Pushed::into(&registry).await;
    fake.arm(Fault {
        when: When::Matching {
            method: "PUT".to_owned(),
            target: "/manifests/sha256-".to_owned(),
            times: 2,
        },
        effect: Effect::Refuse {
            status: 412,
            retry_after: None,
        },
    });
    pushed.attach(&registry, &pushed.documents).await.unwrap();
    let listed = registry.referrers(&pushed.repository, &pushed.image).await;
    assert_eq!(listed.unwrap().len(), 2);
}

#[tokio::test]
async fn a_fault_in_any_request_is_survived_or_mended_by_the_next_run() {
    for referrers in [Referrers::Listed, Referrers::Unlisted] {
        let count = {
            let fake = fake(referrers, Mutability::Mutable).await;
            let registry = of_fake(&fake, once());
            let pushed = Pushed::into(&registry).await;
            fake.reset();
            pushed.attach(&registry, &pushed.documents).await.unwrap();
            fake.log().len() as u64
        };
        assert!(count > 10, "{count}");
        for effect in [Effect::Cut, Effect::CutAfter, Effect::WrongDigest] {
            for number in 0..count {
                let what = format!("{referrers:?} {effect:?} in request {number}");
                let fake = fake(referrers, Mutability::Mutable).await;
                let registry = of_fake(&fake, once());
                let pushed = Pushed::into(&registry).await;
                fake.reset();
                fake.arm(Fault {
                    when: When::Request(number),
                    effect: effect.clone(),
                });
                if let Err(error) = pushed.attach(&registry, &pushed.documents).await {
                    assert!(
                        matches!(error.class, ErrorClass::Retryable | ErrorClass::Conflict),
                        "{what}: {error:?}"
                    );
                }
                pushed.attach(&registry, &pushed.documents).await.unwrap();
                let listed = registry.referrers(&pushed.repository, &pushed.image).await;
                assert_eq!(listed.unwrap().len(), 2, "{what}");
                assert_eq!(fake.broken(), Vec::<String>::new(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn other_tools_find_the_documents_of_a_real_registry_under_the_tag() {
    let Some(server) = DockerRegistry::start(RegistryAccess::Open).unwrap() else {
        return;
    };
    let registry = client(
        &server.host(),
        Credentials::Anonymous,
        &shipline_http::HttpSettings::default(),
        once(),
    );
    let pushed = Pushed::into(&registry).await;
    pushed.attach(&registry, &pushed.documents).await.unwrap();
    let name = format!(
        "docker://{}/user_service:{}",
        server.host(),
        pushed.fallback()
    );
    let arguments = ["inspect", "--raw", "--tls-verify=false", &name];
    let Some((good, output)) = crate::support::tool("skopeo", &arguments) else {
        return;
    };
    assert!(good, "{output}");
    for document in &pushed.documents {
        assert!(output.contains(document.as_str()), "{output}");
    }
}
