//! Registries that send clients elsewhere: storage gets no credentials, and nobody is led from TLS to plain HTTP.

use std::sync::Arc;
use std::sync::mpsc;

use shipline_engine::backend::{ImageStore, Registry};
use shipline_engine::fault::Faults;
use shipline_http::{self as http, HttpSettings};
use shipline_oci::registry::DistributionRegistry;
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_oci::store::LayoutStore;
use shipline_testkit::contract::registry::{Task, image};
use shipline_testkit::ecr::{Effect, FakeEcr, Fault, Mutability, Options, TestCertificate, When};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::distribution::{login, once};

/// Storage that answers every request with these bytes; gives its URL and the heads of the requests.
async fn storage(bytes: Vec<u8>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!(
        "http://{}/storage?signature=x",
        listener.local_addr().unwrap()
    );
    let (sender, heads) = mpsc::channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            sender.send(String::from_utf8(head).unwrap()).unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                bytes.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (url, heads)
}

/// A registry that sends whoever wants a blob to `storage`, and an image in it.
struct Redirecting {
    fake: FakeEcr,
    registry: DistributionRegistry,
    bytes: Vec<u8>,
    media_type: String,
    empty: Arc<dyn ImageStore>,
    _directory: tempfile::TempDir,
}

impl Redirecting {
    async fn new(tls: bool) -> (Self, mpsc::Receiver<String>) {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| -> Arc<dyn ImageStore> {
            Arc::new(LayoutStore::open(directory.path().join(name), Faults::none()).unwrap())
        };
        let (store, empty) = (open("store"), open("empty"));
        let certificate = TestCertificate::new(&["127.0.0.1"]).unwrap();
        let ca = directory.path().join("ca.pem");
        FakeEcr::write_ca(&certificate, &ca).unwrap();
        let fake = FakeEcr::start(Options {
            tls: tls.then_some(certificate),
            ..Options::default()
        })
        .await
        .unwrap();
        fake.create("user_service", Mutability::Immutable);
        let http = http::client(&HttpSettings {
            roots: vec![ca],
            ..HttpSettings::default()
        });
        let registry = DistributionRegistry::new(
            RegistryAddress::parse(&fake.url(), Security::Required).unwrap(),
            http.unwrap(),
            Arc::new(login("AWS", fake.token())),
            once(),
            Faults::none(),
        );
        let digest = image(store.as_ref(), "x", &[70_000]).unwrap();
        let repository = "user_service".parse().unwrap();
        let task = Task::default();
        registry
            .upload(&repository, &digest, &store, &task.context)
            .await
            .unwrap();
        let manifest = store.manifest(&digest).unwrap().unwrap();
        let layer = &manifest.layers[0].digest;
        let mut blob = Vec::new();
        std::io::Read::read_to_end(&mut store.open(layer).unwrap(), &mut blob).unwrap();
        let (url, heads) = storage(blob).await;
        fake.arm(Fault {
            when: When::Matching {
                method: "GET".to_owned(),
                target: format!("/blobs/{layer}"),
                times: 1,
            },
            effect: Effect::Redirect(url),
        });
        let redirecting = Self {
            fake,
            registry,
            bytes: manifest.bytes,
            media_type: manifest.descriptor.media_type,
            empty,
            _directory: directory,
        };
        (redirecting, heads)
    }

    async fn pull(&self) -> Result<(), shipline_engine::error::BackendError> {
        let repository = "user_service".parse().unwrap();
        let task = Task::default();
        let pulled = self.registry.pull(
            &repository,
            &self.media_type,
            self.bytes.clone(),
            &self.empty,
            &task.context,
        );
        pulled.await.map(|_| ())
    }
}

#[tokio::test]
async fn storage_elsewhere_gets_no_credentials() {
    let (registry, heads) = Redirecting::new(false).await;
    registry.pull().await.unwrap();
    let head = heads.try_recv().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /storage?signature=x "), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert!(registry.fake.log().iter().any(|entry| entry.status == 307));
}

#[tokio::test]
async fn nobody_is_led_from_tls_to_plain_http() {
    let (registry, heads) = Redirecting::new(true).await;
    let error = registry.pull().await.unwrap_err();
    let text = error.cause.unwrap().to_string();
    assert!(
        text.contains("redirects to unencrypted 127.0.0.1"),
        "{text}"
    );
    assert!(heads.try_recv().is_err());
}
