//! Where credentials go: to the registry and the token server that it names, and nowhere else.

use std::sync::{Arc, Mutex};

use shipline_engine::backend::Registry as _;
use shipline_engine::error::ErrorClass;
use shipline_http::HttpSettings;
use shipline_model::value::Secret;
use shipline_oci::credentials::Credentials;
use shipline_testkit::ecr::{Behaviour, Effect, FakeEcr, Fault, Login, Mutability, Options, When};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::distribution::{Push, client, login, once};

/// A server of somebody else, which answers everything in one way; gives its URL and all that it was sent.
async fn foreign(answer: String) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::<Mutex<String>>::default();
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let length = text
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
                    .unwrap_or(0);
                let mut body = vec![0; length];
                let _ = stream.read_exact(&mut body).await;
                log.lock().unwrap().push_str(&format!(
                    "{}{}\n",
                    String::from_utf8_lossy(&head),
                    String::from_utf8_lossy(&body)
                ));
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (url, heard)
}

async fn fake(login: Login) -> FakeEcr {
    let fake = FakeEcr::start(Options {
        behaviour: Behaviour {
            login,
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

fn all(method: &str, target: &str, effect: Effect) -> Fault {
    Fault {
        when: When::Matching {
            method: method.to_owned(),
            target: target.to_owned(),
            times: u32::MAX,
        },
        effect,
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_token_server_that_leads_elsewhere_takes_no_login_there() {
    let (url, heard) = foreign(OK.to_owned()).await;
    let fake = fake(Login::Bearer).await;
    fake.arm(all(
        "",
        "/token",
        Effect::Redirect(format!("{url}/token?x=secret")),
    ));
    let identity = Credentials::Identity(Secret::new(fake.identity_token()));
    for credentials in [identity, login("AWS", fake.token())] {
        let registry = client(&fake.url(), credentials, &HttpSettings::default(), once());
        let error = registry
            .preflight(&["user_service".parse().unwrap()])
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
        let cause = error.cause.unwrap().to_string();
        assert!(
            cause.contains(&format!("redirects to {url}/token, which")),
            "{cause}"
        );
        assert!(!cause.contains("secret"), "{cause}");
    }
    assert_eq!(*heard.lock().unwrap(), "");
}

#[tokio::test]
async fn strangers_may_be_led_on_to_another_token_server() {
    let (url, heard) = foreign(OK.to_owned()).await;
    let fake = fake(Login::Bearer).await;
    fake.arm(all("", "/token", Effect::Redirect(format!("{url}/token"))));
    let registry = client(
        &fake.url(),
        Credentials::Anonymous,
        &HttpSettings::default(),
        once(),
    );
    registry
        .preflight(&["user_service".parse().unwrap()])
        .await
        .unwrap_err();
    let heard = heard.lock().unwrap().to_ascii_lowercase();
    assert!(heard.starts_with("get /token"), "{heard}");
    assert!(!heard.contains("authorization"), "{heard}");
}

#[tokio::test]
async fn storage_that_asks_for_a_login_gets_none() {
    // It asks for tokens of its own server, and for the password itself.
    let (thief, stolen) = foreign(OK.to_owned()).await;
    for challenge in [
        format!("Bearer realm=\"{thief}/token\""),
        "Basic realm=\"storage\"".to_owned(),
    ] {
        for status in ["401 Unauthorized", "403 Forbidden"] {
            let (url, heard) = foreign(format!(
                "HTTP/1.1 {status}\r\nWWW-Authenticate: {challenge}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
            let fake = fake(Login::Basic).await;
            let directory = tempfile::tempdir().unwrap();
            let push = Push::new(&directory);
            let registry = client(
                &fake.url(),
                login("AWS", fake.token()),
                &HttpSettings::default(),
                once(),
            );
            fake.arm(all(
                "GET",
                "/manifests/",
                Effect::Redirect(format!("{url}/m")),
            ));
            let error = push.run(&registry).await.unwrap_err();
            // It may pass: the registry gives another address.
            assert_eq!(error.class, ErrorClass::Retryable, "{error:?}");
            assert!(error.hints[0].contains("gets no credentials"), "{error:?}");
            let heard = heard.lock().unwrap().to_ascii_lowercase();
            assert!(heard.starts_with("get /m"), "{heard}");
            assert!(!heard.contains("authorization"), "{heard}");
        }
    }
    assert_eq!(*stolen.lock().unwrap(), "");
}

#[tokio::test]
async fn an_upload_that_goes_on_elsewhere_takes_no_login_there() {
    for status in ["202 Accepted", "401 Unauthorized"] {
        let (url, heard) = foreign(format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        let fake = fake(Login::Basic).await;
        fake.arm(all(
            "PUT",
            "/blobs/uploads/",
            Effect::Redirect(format!("{url}/put")),
        ));
        let directory = tempfile::tempdir().unwrap();
        let push = Push::new(&directory);
        let registry = client(
            &fake.url(),
            login("AWS", fake.token()),
            &HttpSettings::default(),
            once(),
        );
        push.run(&registry).await.unwrap_err();
        let heard = heard.lock().unwrap().to_ascii_lowercase();
        assert!(heard.contains("put /put"), "{heard}");
        assert!(!heard.contains("authorization"), "{heard}");
    }
}
