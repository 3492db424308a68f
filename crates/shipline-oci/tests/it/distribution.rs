//! Our registry client against the fake ECR, a real registry and faults.

use std::sync::Arc;
use std::time::Duration;

use shipline_engine::backend::{ImageStore, Reference, Registry, TagOutcome};
use shipline_engine::error::ErrorClass;
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskMessage;
use shipline_http::{self as http, HttpSettings, RetryPolicy};
use shipline_model::name::{Digest, RepositoryName};
use shipline_model::value::Secret;
use shipline_oci::credentials::Credentials;
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_oci::registry::{DistributionRegistry, LayoutRegistry};
use shipline_oci::store::LayoutStore;
use shipline_testkit::contract::registry::{
    Subject, Task, document, image, labelled, request, suite,
};
use shipline_testkit::ecr::{
    Behaviour, Effect, FakeEcr, Fault, ImageStatus, LoggedRequest, Mounting, Mutability, Options,
    When,
};
use shipline_testkit::service::{DockerRegistry, RegistryAccess};

pub(crate) fn once() -> RetryPolicy {
    RetryPolicy {
        attempts: 1,
        ..patient()
    }
}

/// The tries of everyday life, without its waits.
pub(crate) fn patient() -> RetryPolicy {
    RetryPolicy {
        attempts: 6,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        patience: Duration::from_secs(2),
    }
}

pub(crate) fn login(username: &str, password: impl Into<String>) -> Credentials {
    Credentials::Login {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

pub(crate) fn client(
    address: &str,
    credentials: Credentials,
    settings: &HttpSettings,
    retries: RetryPolicy,
) -> DistributionRegistry {
    DistributionRegistry::new(
        RegistryAddress::parse(address, Security::Required).unwrap(),
        http::client(settings).unwrap(),
        Arc::new(credentials),
        retries,
        Faults::none(),
    )
}

pub(crate) fn of_fake(fake: &FakeEcr, retries: RetryPolicy) -> DistributionRegistry {
    client(
        &fake.url(),
        login("AWS", fake.token()),
        &HttpSettings::default(),
        retries,
    )
}

async fn plain(fake: &FakeEcr, retries: RetryPolicy) -> Arc<dyn Registry> {
    Arc::new(of_fake(fake, retries))
}

pub(crate) fn shared_store(directory: &tempfile::TempDir) -> Arc<dyn ImageStore> {
    Arc::new(LayoutStore::open(directory.path().join("store"), Faults::none()).unwrap())
}

pub(crate) fn subject(registry: Arc<dyn Registry>, directory: &tempfile::TempDir) -> Subject {
    Subject {
        registry,
        store: shared_store(directory),
        deviations: &[],
        repositories: ["team/frontend", "user_service"].map(|name| name.parse().unwrap()),
        unknown: "unknown".parse().unwrap(),
    }
}

pub(crate) async fn fake() -> FakeEcr {
    let fake = FakeEcr::start(Options::default()).await.unwrap();
    fake.create("team/frontend", Mutability::Immutable);
    fake.create("user_service", Mutability::Mutable);
    fake
}

#[tokio::test]
async fn the_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let registry = LayoutRegistry::new(directory.path().join("registry"), Faults::none());
    suite(&subject(Arc::new(registry), &directory)).await;
}

#[tokio::test]
async fn the_client_keeps_the_contract_on_the_fake() {
    let directory = tempfile::tempdir().unwrap();
    let fake = fake().await;
    suite(&subject(Arc::new(of_fake(&fake, once())), &directory)).await;
    assert_eq!(fake.broken(), Vec::<String>::new());
}

#[tokio::test]
async fn the_client_keeps_the_contract_on_a_real_registry() {
    let Some(server) = DockerRegistry::start(RegistryAccess::Open).unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let registry = client(
        &server.host(),
        Credentials::Anonymous,
        &HttpSettings::default(),
        once(),
    );
    suite(&subject(Arc::new(registry), &directory)).await;
}

#[tokio::test]
async fn the_client_keeps_the_contract_with_tls_and_a_login() {
    let Some(server) = DockerRegistry::start(RegistryAccess::Protected).unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let settings = HttpSettings {
        roots: vec![server.ca()],
        ..HttpSettings::default()
    };
    let right = login(DockerRegistry::USER, DockerRegistry::PASSWORD);
    let address = format!("{}/deep/prefix", server.host());
    let registry = client(&address, right.clone(), &settings, once());
    suite(&subject(Arc::new(registry), &directory)).await;

    let repositories: [RepositoryName; 1] = ["a".parse().unwrap()];
    for wrong in [Credentials::Anonymous, login(DockerRegistry::USER, "guess")] {
        let registry = client(&server.host(), wrong, &settings, patient());
        let error = registry.preflight(&repositories).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
        assert!(
            error.hints.iter().any(|hint| hint.contains("docker login")),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains("guess"), "{error:?}");
    }
    // Without the CA it is not trusted, and not spoken to in plain HTTP instead.
    let registry = client(&server.host(), right, &HttpSettings::default(), patient());
    let error = registry.preflight(&repositories).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    assert!(error.hints[0].contains("`ca`"), "{:?}", error.hints);
}

/// A push of two images to two repositories, as a run does it.
pub(crate) struct Push {
    pub(crate) images: [(RepositoryName, Digest); 2],
    /// A document about the second one.
    pub(crate) document: Digest,
    pub(crate) store: Arc<dyn ImageStore>,
}

impl Push {
    pub(crate) fn new(directory: &tempfile::TempDir) -> Self {
        let store = shared_store(directory);
        let one = image(store.as_ref(), "one", &[400_000, 7]).unwrap();
        let two = image(store.as_ref(), "two", &[400_000, 7, 300]).unwrap();
        Self {
            document: document(store.as_ref(), &two, "scan").unwrap(),
            images: [
                ("team/frontend".parse().unwrap(), one),
                ("user_service".parse().unwrap(), two),
            ],
            store,
        }
    }

    pub(crate) async fn run(
        &self,
        registry: &dyn Registry,
    ) -> Result<Vec<TagOutcome>, shipline_engine::error::BackendError> {
        let task = Task::default();
        for (repository, digest) in &self.images {
            registry
                .upload(repository, digest, &self.store, &task.context)
                .await?;
        }
        let (repository, digest) = &self.images[1];
        let documents = std::slice::from_ref(&self.document);
        registry
            .attach(repository, digest, documents, &self.store, &task.context)
            .await?;
        let requests =
            [0, 1].map(|at: usize| request(&self.images[at].0, "tag", &self.images[at].1));
        registry.tag(&requests, &task.context).await
    }

    /// Nothing wrong is tagged; all is there if `complete`.
    pub(crate) fn check(&self, fake: &FakeEcr, complete: bool, what: &str) {
        assert_eq!(fake.broken(), Vec::<String>::new(), "{what}");
        for (repository, digest) in &self.images {
            match fake.tag(repository.as_str(), "tag") {
                Some(named) => assert_eq!(named, digest.as_str(), "{what}"),
                None => assert!(!complete, "{what}: {repository} has no tag"),
            }
        }
    }
}

/// Each request of a push in turn meets the fault; the next run completes what is left. Gives how many pushes failed.
pub(crate) async fn each_request_meets(
    effect: Effect,
    retries: &RetryPolicy,
    connect: impl AsyncFn(&FakeEcr, RetryPolicy) -> Arc<dyn Registry>,
) -> usize {
    each_request_of(fake, effect, retries, connect).await
}

/// The same with fakes of another kind.
pub(crate) async fn each_request_of(
    fake: impl AsyncFn() -> FakeEcr,
    effect: Effect,
    retries: &RetryPolicy,
    connect: impl AsyncFn(&FakeEcr, RetryPolicy) -> Arc<dyn Registry>,
) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let count = {
        let fake = fake().await;
        push.run(connect(&fake, once()).await.as_ref())
            .await
            .unwrap();
        fake.log().len()
    };
    let mut failed = 0;
    for number in 0..count as u64 {
        let what = format!("{effect:?} in request {number} of {count}");
        let fake = fake().await;
        let registry = connect(&fake, retries.clone()).await;
        fake.arm(Fault {
            when: When::Request(number),
            effect: effect.clone(),
        });
        match push.run(registry.as_ref()).await {
            Ok(_) => push.check(&fake, true, &what),
            Err(error) => {
                eprintln!("{what}: {error}");
                failed += 1;
                push.check(&fake, false, &what);
            }
        }
        push.run(connect(&fake, once()).await.as_ref())
            .await
            .unwrap();
        push.check(&fake, true, &what);
    }
    assert!(count > 20, "{count} requests are a push");
    failed
}

#[tokio::test]
async fn a_cut_in_any_request_leaves_nothing_wrong_and_the_next_run_completes() {
    for effect in [Effect::Cut, Effect::CutAfter] {
        let failed = each_request_meets(effect.clone(), &once(), plain).await;
        assert!(
            failed > 10,
            "{failed}: a single try does not survive {effect:?}"
        );
        assert_eq!(each_request_meets(effect, &patient(), plain).await, 0);
    }
}

#[tokio::test]
async fn refusals_that_pass_are_survived_in_any_request() {
    for (status, retry_after) in [(429, Some(0)), (503, None), (500, None)] {
        let effect = Effect::Refuse {
            status,
            retry_after,
        };
        assert_eq!(
            each_request_meets(effect, &patient(), plain).await,
            0,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_wrong_digest_is_never_tagged() {
    each_request_meets(Effect::WrongDigest, &patient(), plain).await;
}

#[tokio::test]
async fn bursts_are_waited_out() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    for status in [429, 503] {
        let fake = fake().await;
        let registry = of_fake(&fake, patient());
        fake.arm(Fault {
            when: When::Next(4),
            effect: Effect::Refuse {
                status,
                retry_after: None,
            },
        });
        fake.arm(Fault {
            when: When::Matching {
                method: "PUT".to_owned(),
                target: "/blobs/uploads/".to_owned(),
                times: 4,
            },
            effect: Effect::Refuse {
                status,
                retry_after: Some(0),
            },
        });
        push.run(&registry).await.unwrap();
        push.check(&fake, true, "after the burst");
    }
}

#[tokio::test]
async fn a_registry_that_asks_for_too_much_patience_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    fake.arm(Fault {
        when: When::Next(1),
        effect: Effect::Refuse {
            status: 429,
            retry_after: Some(600),
        },
    });
    let error = push.run(&of_fake(&fake, patient())).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Retryable);
    assert_eq!(error.retry_after, Some(Duration::from_secs(600)));
}

#[tokio::test]
async fn tags_come_after_every_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    push.run(&of_fake(&fake, once())).await.unwrap();
    let log = fake.log();
    let is_tag = |target: &str| target.ends_with("/manifests/tag");
    let first_tag = log
        .iter()
        .position(|entry| entry.method == "PUT" && is_tag(&entry.target))
        .unwrap();
    let last_write = log
        .iter()
        .rposition(|entry| entry.method == "PUT" && !is_tag(&entry.target))
        .unwrap();
    assert!(last_write < first_tag, "{log:#?}");
    // One request for each blob carries it: ECR loses what comes after the first.
    let patches = log.iter().filter(|entry| entry.method == "PATCH").count();
    assert_eq!(patches, 0);
}

#[tokio::test]
async fn a_registry_that_takes_no_put_gets_one_patch() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    fake.arm(Fault {
        when: When::Matching {
            method: "PUT".to_owned(),
            target: "/blobs/uploads/".to_owned(),
            times: 1,
        },
        effect: Effect::Refuse {
            status: 405,
            retry_after: None,
        },
    });
    push.run(&of_fake(&fake, once())).await.unwrap();
    push.check(&fake, true, "with PATCH");
    let patches = fake.log().iter().filter(|e| e.method == "PATCH").count();
    assert!(patches > 3, "{patches}");
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_is_begun_anew() {
    for method in ["PUT", "PATCH"] {
        let directory = tempfile::tempdir().unwrap();
        let push = Push::new(&directory);
        let fake = fake().await;
        if method == "PATCH" {
            // So that blobs go by PATCH.
            fake.arm(refusal("PUT", "/blobs/uploads/", 405, 1));
        }
        fake.arm(refusal(method, "/blobs/uploads/", 404, 2));
        push.run(&of_fake(&fake, patient())).await.unwrap();
        push.check(&fake, true, method);
    }
}

#[tokio::test]
async fn a_mount_that_is_refused_is_an_upload() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    fake.arm(refusal("POST", "mount=", 403, 100));
    push.run(&of_fake(&fake, once())).await.unwrap();
    push.check(&fake, true, "without mounts");
    let refused = |entry: &LoggedRequest| entry.target.contains("mount=") && entry.status == 403;
    assert!(fake.log().iter().any(refused));
}

fn refusal(method: &str, target: &str, status: u16, times: u32) -> Fault {
    Fault {
        when: When::Matching {
            method: method.to_owned(),
            target: target.to_owned(),
            times,
        },
        effect: Effect::Refuse {
            status,
            retry_after: None,
        },
    }
}

#[tokio::test]
async fn an_archived_image_is_not_there_to_be_pulled() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, once());
    push.run(&registry).await.unwrap();
    let (repository, digest) = &push.images[0];
    fake.set_status(repository.as_str(), digest.as_str(), ImageStatus::Archived);
    let found = registry
        .resolve(repository, &Reference::Tag("tag".into()))
        .await;
    assert_eq!(found.unwrap(), None);
}

#[tokio::test]
async fn long_lists_are_read_to_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let fake = fake().await;
    let registry = of_fake(&fake, once());
    let store = shared_store(&directory);
    let digest = image(store.as_ref(), "x", &[1]).unwrap();
    let repository: RepositoryName = "user_service".parse().unwrap();
    let task = Task::default();
    registry
        .upload(&repository, &digest, &store, &task.context)
        .await
        .unwrap();
    let requests: Vec<_> = (0..1001)
        .map(|n| request(&repository, &format!("t{n:04}"), &digest))
        .collect();
    registry.tag(&requests, &task.context).await.unwrap();
    let tags = registry.tags(&repository).await.unwrap();
    assert_eq!(tags.len(), 1001);
    assert_eq!(tags.last().map(String::as_str), Some("t1000"));
}

#[tokio::test]
async fn a_damaged_blob_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::open(directory.path().join("store"), Faults::none()).unwrap();
    let digest = image(&store, "x", &[600_000]).unwrap();
    let manifest = store.manifest(&digest).unwrap().unwrap();
    let blob = store.place(&manifest.layers[0].digest).unwrap();
    let path = blob.path();
    std::fs::write(path, vec![1; 600_000]).unwrap();
    let fake = fake().await;
    let store: Arc<dyn ImageStore> = Arc::new(store);
    let error = of_fake(&fake, patient())
        .upload(
            &"user_service".parse().unwrap(),
            &digest,
            &store,
            &Task::default().context,
        )
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error:?}");
    assert!(error.hints[0].contains("damaged"), "{:?}", error.hints);
}

#[tokio::test]
async fn blobs_are_mounted_where_the_registry_lets_them() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let behaviour = |mounting| Behaviour {
        mounting,
        ..Behaviour::default()
    };
    for (mounting, shared) in [(Mounting::Enabled, 0), (Mounting::Disabled, 400_007)] {
        let fake = FakeEcr::start(Options {
            behaviour: behaviour(mounting),
            ..Options::default()
        })
        .await
        .unwrap();
        for (repository, _) in &push.images {
            fake.create(repository.as_str(), Mutability::Immutable);
        }
        let registry = of_fake(&fake, once());
        let task = Task::default();
        let mut sent = Vec::new();
        for (repository, digest) in &push.images {
            let uploaded = registry.upload(repository, digest, &push.store, &task.context);
            sent.push(uploaded.await.unwrap().sent);
        }
        // The layers that both have; the second one's own is 300 bytes, and its config is small.
        assert!(sent[0] > 400_007, "{sent:?}");
        assert!(
            (shared + 300..shared + 1_300).contains(&sent[1]),
            "{sent:?}"
        );
        push.run(&registry).await.unwrap();
        push.check(&fake, true, "mounted");
    }
}

#[tokio::test]
async fn a_real_registry_mounts_blobs() {
    let Some(server) = DockerRegistry::start(RegistryAccess::Open).unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let registry = client(
        &server.host(),
        Credentials::Anonymous,
        &HttpSettings::default(),
        once(),
    );
    let task = Task::default();
    let mut sent = Vec::new();
    for (repository, digest) in &push.images {
        let uploaded = registry.upload(repository, digest, &push.store, &task.context);
        sent.push(uploaded.await.unwrap().sent);
    }
    assert!(sent[0] > 400_007 && sent[1] < 1_300, "{sent:?}");
}

#[tokio::test]
async fn a_token_that_is_refused_before_a_blob_was_read_is_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let store = shared_store(&directory);
    let digest = image(store.as_ref(), "large", &[12 << 20]).unwrap();
    let fake = fake().await;
    fake.arm(Fault {
        when: When::Matching {
            method: "PUT".to_owned(),
            target: "/blobs/uploads/".to_owned(),
            times: 2,
        },
        effect: Effect::RefuseEarly,
    });
    let registry = crate::ecr::of_fake(&fake, patient()).await;
    let repository: RepositoryName = "user_service".parse().unwrap();
    let mut task = Task::default();
    registry
        .upload(&repository, &digest, &store, &task.context)
        .await
        .unwrap();
    let total = store.manifest(&digest).unwrap().unwrap();
    let total: u64 = total
        .layers
        .iter()
        .chain([&total.config])
        .map(|blob| blob.size)
        .sum();
    let progress: Vec<(u64, Option<u64>)> = task
        .messages()
        .into_iter()
        .filter_map(|message| {
            if let TaskMessage::Progress { done, total, .. } = message {
                Some((done, total))
            } else {
                None
            }
        })
        .collect();
    // What went into a try that failed is taken back.
    assert_eq!(progress.last(), Some(&(total, Some(total))));
    assert!(
        progress.iter().all(|(done, _)| *done <= total),
        "{progress:?}"
    );
}

#[tokio::test]
async fn a_conflict_says_what_the_other_image_was_built_from() {
    let fake = fake().await;
    let docker = DockerRegistry::start(RegistryAccess::Open).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let layout = LayoutRegistry::new(directory.path().join("registry"), Faults::none());
    let mut registries: Vec<Arc<dyn Registry>> = vec![
        Arc::new(layout),
        Arc::new(of_fake(&fake, once())),
        crate::ecr::of_fake(&fake, once()).await,
    ];
    if let Some(server) = &docker {
        let settings = HttpSettings::default();
        registries.push(Arc::new(client(
            &server.host(),
            Credentials::Anonymous,
            &settings,
            once(),
        )));
    }
    let store = shared_store(&directory);
    let repository: RepositoryName = "user_service".parse().unwrap();
    let task = Task::default();
    let label = "org.opencontainers.image.revision";
    for (at, registry) in registries.iter().enumerate() {
        let one = labelled(store.as_ref(), &[(label, "0123abcd")]).unwrap();
        let two = image(store.as_ref(), "two", &[9]).unwrap();
        for digest in [&one, &two] {
            let uploaded = registry.upload(&repository, digest, &store, &task.context);
            uploaded.await.unwrap();
        }
        let tag = format!("tag{at}");
        let first = [request(&repository, &tag, &one)];
        registry.tag(&first, &task.context).await.unwrap();
        let second = [request(&repository, &tag, &two)];
        let error = registry.tag(&second, &task.context).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Conflict);
        let cause = error.cause.unwrap().to_string();
        assert!(
            cause.contains("built from 0123abcd"),
            "{}: {cause}",
            registry.name()
        );
        assert!(
            cause.contains(one.as_str()) && cause.contains(two.as_str()),
            "{cause}"
        );
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_asked_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let settings = HttpSettings::default();
    let repository: RepositoryName = "user_service".parse().unwrap();
    for host in [refused.as_str(), "registry.invalid"] {
        let registry = client(host, Credentials::Anonymous, &settings, patient());
        let error = registry.preflight(std::slice::from_ref(&repository)).await;
        let error = error.unwrap_err();
        assert_eq!(error.class, ErrorClass::Unavailable, "{error:?}");
        assert!(error.hints[0].contains("be reached"), "{error:?}");
    }
}
