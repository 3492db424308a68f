//! Bearer tokens: what most registries ask for, one for each scope, for a while.

use std::sync::Arc;

use shipline_engine::backend::Registry;
use shipline_engine::error::ErrorClass;
use shipline_http::HttpSettings;
use shipline_http::RetryPolicy;
use shipline_model::name::RepositoryName;
use shipline_model::value::Secret;
use shipline_oci::credentials::Credentials;
use shipline_testkit::contract::registry::suite;
use shipline_testkit::ecr::{Behaviour, Effect, FakeEcr, Login, Mutability, Options};

use crate::distribution::{Push, client, each_request_of, login, of_fake, once, patient, subject};

async fn fake() -> FakeEcr {
    let fake = FakeEcr::start(Options {
        behaviour: Behaviour {
            login: Login::Bearer,
            ..Behaviour::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    fake.create("team/frontend", Mutability::Immutable);
    fake.create("user_service", Mutability::Mutable);
    fake
}

fn with(fake: &FakeEcr, credentials: Credentials, retries: RetryPolicy) -> impl Registry + use<> {
    client(&fake.url(), credentials, &HttpSettings::default(), retries)
}

#[tokio::test]
async fn the_client_keeps_the_contract_with_tokens_for_scopes() {
    let directory = tempfile::tempdir().unwrap();
    let fake = fake().await;
    suite(&subject(Arc::new(of_fake(&fake, once())), &directory)).await;
    assert_eq!(fake.broken(), Vec::<String>::new());
}

#[tokio::test]
async fn one_token_serves_all_requests_of_its_scope() {
    let directory = tempfile::tempdir().unwrap();
    let push = Push::new(&directory);
    let fake = fake().await;
    let identity = Credentials::Identity(Secret::new(fake.identity_token()));
    for credentials in [login("AWS", fake.token()), identity] {
        fake.reset();
        let registry = with(&fake, credentials, once());
        push.run(&registry).await.unwrap();
        let log = fake.log();
        let tokens = log
            .iter()
            .filter(|entry| entry.target.starts_with("/token"));
        // Two repositories, to read and to write, and a blob that could be mounted from one into the other.
        let count = tokens.count();
        assert!((2..=5).contains(&count), "{count} {log:#?}");
        assert!(
            log.iter()
                .all(|entry| !entry.target.contains("refresh_token"))
        );
    }
    push.check(&fake, true, "with tokens");
}

#[tokio::test]
async fn strangers_are_denied() {
    let fake = fake().await;
    let repositories: [RepositoryName; 1] = ["user_service".parse().unwrap()];
    let wrong = [
        Credentials::Anonymous,
        login("AWS", "guess"),
        Credentials::Identity(Secret::new("guess")),
        Credentials::Bearer(Secret::new("guess")),
    ];
    for credentials in wrong {
        let shown = format!("{credentials:?}");
        let registry = with(&fake, credentials, patient());
        let error = registry.preflight(&repositories).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{shown}: {error:?}");
        assert!(!format!("{error:?}").contains("guess"), "{error:?}");
    }
}

#[tokio::test]
async fn tokens_that_end_in_any_request_are_renewed() {
    let connect = async |fake: &FakeEcr, retries: RetryPolicy| {
        Arc::new(of_fake(fake, retries)) as Arc<dyn Registry>
    };
    // The login stays good: only what was made of it ends.
    let failed = each_request_of(fake, Effect::ExpireBearer, &once(), connect).await;
    assert_eq!(failed, 0);
}
