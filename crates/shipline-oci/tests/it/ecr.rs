//! ECR: the API and the registry of the fake, a second opinion from ministack, faults and credentials.

use std::sync::Arc;
use std::time::Duration;

use shipline_engine::backend::{Reference, Registry, TagOutcome};
use shipline_engine::error::ErrorClass;
use shipline_engine::fault::Faults;
use shipline_http::RetryPolicy;
use shipline_http::{self as http, HttpSettings, Proxies};
use shipline_model::name::RepositoryName;
use shipline_model::value::Secret;
use shipline_oci::image::{OCI_INDEX, OCI_MANIFEST};
use shipline_oci::registry::EcrRegistry;
use shipline_oci::registry::ecr::{
    AwsIdentity, EcrSettings, InstanceMetadata, MissingRepositories,
};
use shipline_testkit::contract::registry::{Deviation, Task, image, request, suite};
use shipline_testkit::ecr::{
    Behaviour, Effect, Expiry, FakeEcr, Fault, ImageStatus, Mutability, Options, TestCertificate,
    When,
};
use shipline_testkit::service::Ministack;
use shipline_testkit::tunnel::Tunnel;

use crate::distribution::{Push, each_request_meets, once, patient, shared_store, subject};
use crate::support::at_fake;

const ACCOUNT: &str = "123456789012";
const ROLE: &str = "arn:aws:iam::123456789012:role/deploy";

/// The exchange of a job: no test depends on the AWS setup of the machine that it runs on.
fn job(fake: &FakeEcr) -> AwsIdentity {
    let (url, token) = fake.github_job();
    AwsIdentity::GithubActions {
        url,
        token: Secret::new(token),
        role: ROLE.to_owned(),
    }
}

pub(crate) fn settings(fake: &FakeEcr) -> EcrSettings {
    EcrSettings {
        account: ACCOUNT.to_owned(),
        region: "us-east-1".to_owned(),
        missing: MissingRepositories::Refused,
        identity: job(fake),
        endpoint: Some(fake.url()),
        sts_endpoint: Some(fake.url()),
        registry_endpoint: Some(fake.url()),
    }
}

pub(crate) async fn ecr(settings: EcrSettings, retries: RetryPolicy) -> EcrRegistry {
    let http = http::client(&HttpSettings::default()).unwrap();
    EcrRegistry::new(settings, http, retries, Faults::none())
        .await
        .unwrap()
}

pub(crate) async fn of_fake(fake: &FakeEcr, retries: RetryPolicy) -> Arc<dyn Registry> {
    Arc::new(ecr(settings(fake), retries).await)
}

async fn fake() -> FakeEcr {
    crate::distribution::fake().await
}

#[tokio::test]
async fn ecr_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let fake = fake().await;
    suite(&subject(of_fake(&fake, once()).await, &directory)).await;
    assert_eq!(fake.broken(), Vec::<String>::new());
}

#[tokio::test]
async fn ecr_keeps_the_contract_on_the_fake_of_others() {
    let Some(server) = Ministack::start().unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let fake = fake().await;
    let settings = EcrSettings {
        account: "000000000000".to_owned(),
        missing: MissingRepositories::Created,
        endpoint: Some(server.url()),
        registry_endpoint: Some(server.url()),
        ..settings(&fake)
    };
    let mut subject = subject(Arc::new(ecr(settings, once()).await), &directory);
    subject.deviations = &[Deviation::ForgetsEarlierTags, Deviation::ListsNoReferrers];
    // Its own registry knows repositories only once they are created.
    subject
        .registry
        .preflight(&subject.repositories)
        .await
        .unwrap();
    suite(&subject).await;
}

#[tokio::test]
async fn a_fault_in_any_request_leaves_nothing_wrong_and_the_next_run_completes() {
    for effect in [Effect::Cut, Effect::CutAfter] {
        let failed = each_request_meets(effect.clone(), &once(), of_fake).await;
        assert!(
            failed > 5,
            "{failed}: a single try does not survive {effect:?}"
        );
        assert_eq!(each_request_meets(effect, &patient(), of_fake).await, 0);
    }
    for status in [429, 503] {
        let effect = Effect::Refuse {
            status,
            retry_after: None,
        };
        assert_eq!(each_request_meets(effect, &patient(), of_fake).await, 0);
    }
    each_request_meets(Effect::WrongDigest, &patient(), of_fake).await;
}

#[tokio::test]
async fn tokens_that_expire_anywhere_in_an_upload_are_renewed() {
    // With a single try for everything else.
    for effect in [Effect::ExpireToken, Effect::ForgetToken] {
        let failed = each_request_meets(effect.clone(), &once(), of_fake).await;
        assert_eq!(failed, 0, "{effect:?}");
    }
}

fn logins(fake: &FakeEcr) -> usize {
    let log = fake.log();
    let logins = log
        .iter()
        .filter(|entry| entry.target == "/#GetAuthorizationToken");
    logins.count()
}

#[tokio::test]
async fn an_end_in_the_past_is_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = FakeEcr::start(Options {
        behaviour: Behaviour {
            expiry: Expiry::Past,
            ..Behaviour::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    for (repository, _) in &push.images {
        fake.create(repository.as_str(), Mutability::Immutable);
    }
    let registry = of_fake(&fake, once()).await;
    push.run(registry.as_ref()).await.unwrap();
    push.run(registry.as_ref()).await.unwrap();
    assert_eq!(logins(&fake), 1, "{:#?}", fake.log());
}

#[tokio::test]
async fn a_login_that_is_always_refused_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    for effect in [Effect::ExpireToken, Effect::ForgetToken] {
        let fake = fake().await;
        fake.arm(Fault {
            when: When::Matching {
                method: String::new(),
                target: "/v2/".to_owned(),
                times: 1000,
            },
            effect,
        });
        let registry = of_fake(&fake, patient()).await;
        let (repository, digest) = &push.images[0];
        let task = Task::default();
        let uploaded = registry.upload(repository, digest, &push.store, &task.context);
        let error = uploaded.await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
        // Four blobs at once, and each renews what was refused once.
        assert!(logins(&fake) <= 8, "{:#?}", fake.log());
    }
}

#[tokio::test]
async fn a_token_serves_many_uploads_and_its_end_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, once()).await;
    push.run(registry.as_ref()).await.unwrap();
    assert_eq!(logins(&fake), 1, "{:#?}", fake.log());
    fake.advance(13 * 3600);
    push.run(registry.as_ref()).await.unwrap();
    assert_eq!(logins(&fake), 2, "the expired one is replaced, once");
}

#[tokio::test]
async fn missing_repositories_are_refused_or_created() {
    let fake = FakeEcr::start(Options::default()).await.unwrap();
    let names: [RepositoryName; 2] = ["team/frontend", "user_service"].map(|n| n.parse().unwrap());
    let refusing = of_fake(&fake, once()).await;
    let error = refusing.preflight(&names).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    let cause = error.cause.unwrap().to_string();
    for name in &names {
        assert!(cause.contains(name.as_str()), "all are named: {cause}");
    }
    assert!(
        error
            .hints
            .iter()
            .any(|hint| hint.contains("create_repositories")),
        "{:?}",
        error.hints
    );
    let creating = EcrSettings {
        missing: MissingRepositories::Created,
        ..settings(&fake)
    };
    let creating = ecr(creating, once()).await;
    creating.preflight(&names).await.unwrap();
    creating.preflight(&names).await.unwrap();
    for name in &names {
        let settings = fake.settings(name.as_str());
        assert_eq!(settings, Some((true, Mutability::Immutable)));
    }
}

#[tokio::test]
async fn who_may_push_need_not_be_allowed_to_look() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let there = fake().await;
    let nowhere = FakeEcr::start(Options::default()).await.unwrap();
    for fake in [&there, &nowhere] {
        fake.arm(Fault {
            when: When::Matching {
                method: "POST".to_owned(),
                target: "DescribeRepositories".to_owned(),
                times: 100,
            },
            effect: Effect::Refuse {
                status: 403,
                retry_after: None,
            },
        });
    }
    let names: Vec<RepositoryName> = push.images.iter().map(|(name, _)| name.clone()).collect();
    let registry = of_fake(&there, once()).await;
    registry.preflight(&names).await.unwrap();
    push.run(registry.as_ref()).await.unwrap();
    // The upload that is tried tells what is missing.
    let registry = of_fake(&nowhere, once()).await;
    let error = registry.preflight(&names).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error:?}");
    let says = |hint: &String| hint.contains("create it first");
    assert!(error.hints.iter().any(says), "{:?}", error.hints);
}

#[tokio::test]
async fn an_archived_image_is_described_and_not_pullable() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, once()).await;
    push.run(registry.as_ref()).await.unwrap();
    let (repository, digest) = &push.images[0];
    fake.set_status(repository.as_str(), digest.as_str(), ImageStatus::Archived);
    let tag = Reference::Tag("tag".to_owned());
    let details = registry.details(repository, &tag).await.unwrap().unwrap();
    assert_eq!(&details.descriptor.digest, digest);
    assert!(details.pullable.unwrap_err().contains("archived"));
    assert!(details.pushed_at.is_some());
    assert_eq!(registry.manifest(repository, &tag).await.unwrap(), None);
    // Pushed again, it stays in the archive: the error says what the matter is.
    let task = Task::default();
    let uploaded = registry.upload(repository, digest, &push.store, &task.context);
    let error = uploaded.await.unwrap_err();
    assert!(
        error.hints.iter().any(|hint| hint.contains("archived")),
        "{error:?}"
    );

    // On its way back, ECR does not say that it is not there: nor do we.
    fake.set_status(
        repository.as_str(),
        digest.as_str(),
        ImageStatus::Activating,
    );
    let details = registry.details(repository, &tag).await.unwrap().unwrap();
    assert!(details.pullable.unwrap_err().contains("restoring"));
    let error = registry.resolve(repository, &tag).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error:?}");
}

#[tokio::test]
async fn what_may_not_be_looked_at_is_not_missing() {
    let fake = fake().await;
    let registry = of_fake(&fake, once()).await;
    let repository: RepositoryName = "user_service".parse().unwrap();
    let tag = Reference::Tag("tag".to_owned());
    fake.arm(Fault {
        when: When::Matching {
            method: "POST".to_owned(),
            target: "Image".to_owned(),
            times: 100,
        },
        effect: Effect::Refuse {
            status: 403,
            retry_after: None,
        },
    });
    let refused = [
        registry.resolve(&repository, &tag).await.map(|_| ()),
        registry.manifest(&repository, &tag).await.map(|_| ()),
        registry.details(&repository, &tag).await.map(|_| ()),
        registry.tags(&repository).await.map(|_| ()),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
        assert!(error.hints[0].contains("get-caller-identity"), "{error:?}");
    }
}

#[tokio::test]
async fn an_index_comes_back_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, once()).await;
    push.run(registry.as_ref()).await.unwrap();
    let (repository, digest) = &push.images[0];
    let image = push.store.manifest(digest).unwrap().unwrap();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{ "mediaType": OCI_MANIFEST, "digest": digest.as_str(), "size": image.bytes.len() }],
    })
    .to_string();
    let url = format!("{}/v2/{repository}/manifests/multi", fake.url());
    let put = at_fake(&fake, "PUT", &url, index.clone()).await;
    assert!(put.status().is_success());
    let tag = Reference::Tag("multi".to_owned());
    let (descriptor, bytes) = registry.manifest(repository, &tag).await.unwrap().unwrap();
    assert_eq!(descriptor.media_type, OCI_INDEX);
    assert_eq!(bytes, index.as_bytes());
}

#[tokio::test]
async fn what_the_lifecycle_policy_takes_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, patient()).await;
    push.run(registry.as_ref()).await.unwrap();
    let (repository, _) = &push.images[0];
    assert_eq!(registry.expiring(repository).await.unwrap(), []);
    fake.keep_newest(repository.as_str(), 1);
    assert_eq!(registry.expiring(repository).await.unwrap(), []);
    let newer = image(push.store.as_ref(), "newer", &[9]).unwrap();
    let task = Task::default();
    let uploaded = registry.upload(repository, &newer, &push.store, &task.context);
    uploaded.await.unwrap();
    for _ in 0..2 {
        // Also where another preview has been made or is under way.
        let expiring = registry.expiring(repository).await.unwrap();
        assert_eq!(expiring.len(), 1, "{expiring:?}");
        assert_eq!(expiring[0].tag, "tag");
        assert!(expiring[0].rule.contains("rule 1"), "{expiring:?}");
    }
    // A preview that is not allowed is not "nothing".
    fake.arm(Fault {
        when: When::Matching {
            method: "POST".to_owned(),
            target: "LifecyclePolicyPreview".to_owned(),
            times: 100,
        },
        effect: Effect::Refuse {
            status: 403,
            retry_after: None,
        },
    });
    let error = registry.expiring(repository).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
}

#[tokio::test]
async fn a_conflict_says_since_when() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, once()).await;
    push.run(registry.as_ref()).await.unwrap();
    let (repository, _) = &push.images[0];
    let other = image(push.store.as_ref(), "other", &[9]).unwrap();
    let task = Task::default();
    registry
        .upload(repository, &other, &push.store, &task.context)
        .await
        .unwrap();
    let error = registry
        .tag(&[request(repository, "tag", &other)], &task.context)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict);
    let cause = error.cause.unwrap().to_string();
    assert!(cause.contains(" (pushed 20"), "{cause}");
}

#[tokio::test]
async fn many_tags_are_looked_at_in_few_requests() {
    let directory = tempfile::tempdir().unwrap();
    let fake = fake().await;
    let registry = of_fake(&fake, once()).await;
    let store = shared_store(&directory);
    let digest = image(store.as_ref(), "x", &[1]).unwrap();
    let repository: RepositoryName = "user_service".parse().unwrap();
    let task = Task::default();
    registry
        .upload(&repository, &digest, &store, &task.context)
        .await
        .unwrap();
    let requests: Vec<_> = (0..120)
        .map(|n| request(&repository, &format!("t{n:04}"), &digest))
        .collect();
    registry.tag(&requests, &task.context).await.unwrap();
    fake.reset();
    let outcomes = registry.tag(&requests, &task.context).await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == TagOutcome::AlreadyThere)
    );
    assert_eq!(fake.log().len(), 2, "{:?}", fake.log());
    assert_eq!(registry.tags(&repository).await.unwrap().len(), 120);
}

#[tokio::test]
async fn who_aws_does_not_know_is_denied_with_a_hint() {
    let fake = fake().await;
    let (url, _) = fake.github_job();
    let stranger = EcrSettings {
        identity: AwsIdentity::GithubActions {
            url,
            token: Secret::new("hunter2"),
            role: ROLE.to_owned(),
        },
        ..settings(&fake)
    };
    let names: [RepositoryName; 1] = ["user_service".parse().unwrap()];
    let error = ecr(stranger, patient())
        .await
        .preflight(&names)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    let cause = format!("{:?}", error.cause);
    assert!(cause.contains("id-token: write"), "{cause}");
    assert!(!cause.contains("hunter2"), "{cause}");
    // A profile that is not there is known at once, without asking a machine that is not there.
    let nobody = EcrSettings {
        identity: AwsIdentity::Ambient {
            profile: Some("no such profile".to_owned()),
            metadata: InstanceMetadata::Absent,
        },
        ..settings(&fake)
    };
    let error = ecr(nobody, once()).await.preflight(&names).await;
    let error = error.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    assert!(
        error.hints[0].contains("aws sso login"),
        "{:?}",
        error.hints
    );
}

#[tokio::test]
async fn the_true_host_is_spoken_to_with_tls_and_its_own_ca() {
    let directory = tempfile::tempdir().unwrap();
    let host = format!("{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com");
    let hosts = [
        host.as_str(),
        "api.ecr.us-east-1.amazonaws.com",
        "sts.us-east-1.amazonaws.com",
    ];
    let certificate = TestCertificate::new(&[hosts.as_slice(), &["127.0.0.1"]].concat()).unwrap();
    let ca = directory.path().join("ca.pem");
    FakeEcr::write_ca(&certificate, &ca).unwrap();
    let fake = FakeEcr::start(Options {
        tls: Some(certificate),
        proxy_host: Some(host.clone()),
        ..Options::default()
    })
    .await
    .unwrap();
    fake.create("team/frontend", Mutability::Immutable);
    fake.create("user_service", Mutability::Immutable);
    // Nothing is overridden: a proxy takes the names to where the fake is.
    let tunnel = Tunnel::start(fake.host()).await.unwrap();
    let http = http::client(&HttpSettings {
        roots: vec![ca],
        proxies: Proxies {
            https: Some(tunnel.url()),
            ..Proxies::default()
        },
    })
    .unwrap();
    let settings = EcrSettings {
        endpoint: None,
        sts_endpoint: None,
        registry_endpoint: None,
        ..settings(&fake)
    };
    let registry = EcrRegistry::new(settings, http, once(), Faults::none())
        .await
        .unwrap();
    assert_eq!(
        registry.image_name(&"user_service".parse().unwrap()),
        Some(format!("{host}/user_service"))
    );
    suite(&subject(Arc::new(registry), &directory)).await;
    let mut asked = tunnel.asked();
    asked.sort_unstable();
    asked.dedup();
    let mut expected = hosts.map(|host| format!("{host}:443"));
    expected.sort_unstable();
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn plain_http_is_for_this_machine_only() {
    let fake = fake().await;
    let check = async |settings: EcrSettings| {
        let http = http::client(&HttpSettings::default()).unwrap();
        EcrRegistry::new(settings, http, once(), Faults::none())
            .await
            .map(drop)
    };
    for bad in [
        "http://registry.example",
        "HTTP://registry.example:5000/x",
        "http://localhost:80@registry.example",
        "http://localhost.registry.example",
    ] {
        let bad = Some(bad.to_owned());
        for settings in [
            EcrSettings {
                endpoint: bad.clone(),
                ..settings(&fake)
            },
            EcrSettings {
                sts_endpoint: bad.clone(),
                ..settings(&fake)
            },
            EcrSettings {
                registry_endpoint: bad.clone(),
                ..settings(&fake)
            },
        ] {
            let error = check(settings).await.unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid, "{bad:?}: {error}");
        }
    }
    let encrypted = Some("https://registry.example".to_owned());
    check(EcrSettings {
        endpoint: encrypted.clone(),
        registry_endpoint: encrypted,
        ..settings(&fake)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_withheld_identity_signs_nothing() {
    let fake = fake().await;
    let settings = EcrSettings {
        identity: AwsIdentity::Withheld,
        ..settings(&fake)
    };
    let registry = ecr(settings, once()).await;
    let error = registry
        .preflight(&["user_service".parse().unwrap()])
        .await
        .unwrap_err();
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        told.push_str(&next.to_string());
        cause = next.source();
    }
    assert!(told.contains("withheld"), "{told}");
    // What is asked is asked as nobody.
    let log = fake.log();
    assert!(log.iter().all(|request| request.status == 401), "{log:?}");
}

#[tokio::test]
async fn a_throttled_api_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let registry = of_fake(&fake, patient()).await;
    for operation in ["/#BatchGetImage", "/#PutImage", "/#GetAuthorizationToken"] {
        fake.arm(Fault {
            when: When::Matching {
                method: "POST".to_owned(),
                target: operation.to_owned(),
                times: 2,
            },
            effect: Effect::Refuse {
                status: 429,
                retry_after: None,
            },
        });
    }
    tokio::time::timeout(Duration::from_secs(60), push.run(registry.as_ref()))
        .await
        .unwrap()
        .unwrap();
    push.check(&fake, true, "after throttling");
}

#[tokio::test]
async fn an_api_that_always_fails_is_asked_by_one_layer_only() {
    let fake = fake().await;
    let twice = RetryPolicy {
        attempts: 2,
        ..patient()
    };
    fake.arm(Fault {
        when: When::Matching {
            method: "POST".to_owned(),
            target: "/#GetAuthorizationToken".to_owned(),
            times: u32::MAX,
        },
        effect: Effect::Refuse {
            status: 503,
            retry_after: None,
        },
    });
    let registry = of_fake(&fake, twice.clone()).await;
    let error = registry
        .preflight(&["user_service".parse().unwrap()])
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error:?}");
    let log = fake.log();
    let asked = log
        .iter()
        .filter(|entry| entry.target.ends_with("#GetAuthorizationToken"));
    assert_eq!(asked.count(), twice.attempts as usize, "{log:#?}");
}

#[tokio::test]
async fn credentials_for_aws_go_nowhere_without_encryption() {
    let fake = fake().await;
    let plain = || Some("http://aws.example.com:5000".to_owned());
    let right = settings(&fake);
    for wrong in [
        EcrSettings {
            endpoint: plain(),
            ..right.clone()
        },
        EcrSettings {
            sts_endpoint: plain(),
            ..right.clone()
        },
        EcrSettings {
            registry_endpoint: plain(),
            ..right.clone()
        },
    ] {
        let http = http::client(&HttpSettings::default()).unwrap();
        let error = EcrRegistry::new(wrong, http, once(), Faults::none())
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
        let cause = error.cause.unwrap().to_string();
        assert!(cause.contains("without encryption"), "{cause}");
    }
    let identity = AwsIdentity::GithubActions {
        url: "http://token.example.com/".to_owned(),
        token: Secret::new("secret"),
        role: "arn:aws:iam::123456789012:role/ci".to_owned(),
    };
    let http = http::client(&HttpSettings::default()).unwrap();
    let registry = EcrRegistry::new(
        EcrSettings { identity, ..right },
        http,
        once(),
        Faults::none(),
    );
    let error = registry
        .await
        .unwrap()
        .preflight(&["user_service".parse().unwrap()])
        .await
        .unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("reached without encryption"), "{text}");
}
