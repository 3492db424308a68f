//! Certificates that sign themselves, as `openssl req -x509` makes them: named as `ca` they are taken as they are, for their
//! hosts and in their time.

use std::sync::Arc;

use shipline_engine::backend::Registry as _;
use shipline_engine::error::ErrorClass;
use shipline_http::{HttpSettings, Proxies};
use shipline_oci::credentials::Credentials;
use shipline_testkit::ecr::{FakeEcr, Mutability, Options, TestCertificate};
use shipline_testkit::service::{DockerRegistry, RegistryAccess};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::distribution::{client, login, once, patient, subject};

/// What an error says when a registry shows `shown` and `named` is the `ca`.
async fn refused(shown: TestCertificate, named: Option<&TestCertificate>) -> (ErrorClass, String) {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let fake = FakeEcr::start(Options {
        tls: Some(shown),
        ..Options::default()
    })
    .await
    .unwrap();
    fake.create("user_service", Mutability::Mutable);
    let mut settings = HttpSettings::default();
    if let Some(named) = named {
        FakeEcr::write_ca(named, &ca).unwrap();
        settings.roots.push(ca);
    }
    let registry = client(
        &fake.url(),
        login("AWS", fake.token()),
        &settings,
        patient(),
    );
    match registry.preflight(&["user_service".parse().unwrap()]).await {
        Ok(()) => (ErrorClass::Failed, "it was trusted".to_owned()),
        Err(error) => (error.class, error.hints.join(" ")),
    }
}

fn own(names: &[&str], until: i32) -> TestCertificate {
    TestCertificate::self_signed(names, until).unwrap()
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_where_it_is_named() {
    let check = async |shown: TestCertificate, named: Option<&TestCertificate>, part: &str| {
        let (_, text) = refused(shown, named).await;
        assert!(text.contains(part), "{part}: {text}");
    };
    let right = own(&["127.0.0.1"], 2999);
    check(right.clone(), Some(&right), "it was trusted").await;
    // The same name is not the same certificate.
    let (class, text) = refused(own(&["127.0.0.1"], 2999), Some(&right)).await;
    assert_eq!(class, ErrorClass::Invalid, "{text}");
    assert!(!text.contains("it was trusted"), "{text}");
    check(right, None, "signs itself: name its PEM file as `ca`").await;
    let other = own(&["registry.example.com"], 2999);
    check(
        other.clone(),
        Some(&other),
        "is for registry.example.com and not for 127.0.0.1",
    )
    .await;
    let nameless = own(&[], 2999);
    check(
        nameless.clone(),
        Some(&nameless),
        "subjectAltName=IP:127.0.0.1",
    )
    .await;
    let old = own(&["127.0.0.1"], 2001);
    check(old.clone(), Some(&old), "has expired").await;
    // An authority's certificates are told apart in the same way.
    let signed = TestCertificate::new(&["registry.example.com"]).unwrap();
    check(signed.clone(), Some(&signed), "not for 127.0.0.1").await;
    check(
        TestCertificate::new(&["127.0.0.1"]).unwrap(),
        None,
        "signed by nobody who is known here",
    )
    .await;
}

#[tokio::test]
async fn a_real_registry_with_such_a_certificate_keeps_the_contract() {
    let Some(server) = DockerRegistry::start(RegistryAccess::SelfSigned).unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let settings = HttpSettings {
        roots: vec![server.ca()],
        ..HttpSettings::default()
    };
    let right = login(DockerRegistry::USER, DockerRegistry::PASSWORD);
    let registry = client(&server.host(), right, &settings, once());
    shipline_testkit::contract::registry::suite(&subject(Arc::new(registry), &directory)).await;
}

/// A proxy that wants a login; gives its address.
async fn closed_proxy() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // base64 of `user:s/cret`
            let known = String::from_utf8_lossy(&head).contains("Basic dXNlcjpzL2NyZXQ=");
            let answer: &[u8] = match known {
                true => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                false => b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            };
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn a_proxy_that_wants_a_login_is_told_apart_from_the_registry() {
    let proxy = closed_proxy().await;
    let ask = async |proxy: String, except: Option<&str>| {
        let settings = HttpSettings {
            proxies: Proxies {
                https: Some(proxy),
                except: except.map(str::to_owned),
                ..Proxies::default()
            },
            ..HttpSettings::default()
        };
        let registry = client(
            "registry.invalid",
            Credentials::Anonymous,
            &settings,
            once(),
        );
        let asked = registry.preflight(&["a".parse().unwrap()]).await;
        asked.unwrap_err()
    };
    for address in [format!("http://{proxy}"), proxy.clone()] {
        let error = ask(address, None).await;
        assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
        assert!(
            error.hints[0].contains("the proxy wants a login"),
            "{error:?}"
        );
    }
    // The login of its URL is shown to it, and is in no error.
    let error = ask(format!("http://user:s%2Fcret@{proxy}"), None).await;
    assert_eq!(error.class, ErrorClass::Retryable, "{error:?}");
    assert!(!format!("{error:?}").contains("cret"), "{error:?}");
    // Who is reached directly is not looked for by the proxy.
    let error = ask(
        format!("http://{proxy}"),
        Some("other.io, registry.invalid:443"),
    )
    .await;
    assert_eq!(error.class, ErrorClass::Unavailable, "{error:?}");
}
