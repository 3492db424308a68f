//! What the tests share: contexts of tasks, small images, foreign tools.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use shipline_engine::backend::ImageStore;
use shipline_engine::fault::Faults;
use shipline_engine::task::{TaskContext, TaskMessage};
use shipline_model::name::Digest;
use shipline_model::plan::TaskId;
use shipline_oci::image::{self, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use shipline_oci::store::LayoutStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A request as another client would send it, past all that ours does.
pub(crate) async fn foreign(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> http::Response<Vec<u8>> {
    let request = http::Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let request = request.body(body.into().into_bytes()).unwrap();
    let client = shipline_http::client(&shipline_http::HttpSettings::default()).unwrap();
    let limit = std::time::Duration::from_secs(60);
    client.pass(request, limit, 64 << 20).await.unwrap()
}

/// The same to a fake registry, with its login.
pub(crate) async fn at_fake(
    fake: &shipline_testkit::ecr::FakeEcr,
    method: &str,
    url: &str,
    body: impl Into<String>,
) -> http::Response<Vec<u8>> {
    use base64::Engine as _;
    let login = format!("AWS:{}", fake.token());
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    let login = format!("Basic {login}");
    let headers = [
        ("authorization", login.as_str()),
        ("content-type", shipline_oci::image::OCI_INDEX),
    ];
    foreign(method, url, &headers, body).await
}

/// A task's context and what it says.
pub(crate) struct Task {
    pub(crate) context: TaskContext,
    pub(crate) cancel: CancellationToken,
    messages: mpsc::Receiver<(TaskId, TaskMessage)>,
}

impl Task {
    pub(crate) fn new() -> Self {
        let (sender, messages) = mpsc::channel(100_000);
        let cancel = CancellationToken::new();
        let id = TaskId {
            stage: "build".parse().unwrap(),
            component: Some("frontend".parse().unwrap()),
            variant: None,
        };
        Self {
            context: TaskContext::new(id, sender, cancel.clone()),
            cancel,
            messages,
        }
    }

    /// The lines said so far.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok((_, message)) = self.messages.try_recv() {
            if let TaskMessage::Output { line, .. } = message {
                lines.push(line);
            }
        }
        lines
    }

    /// Why it said that it tries again, since it was last asked anything.
    pub(crate) fn retries(&mut self) -> Vec<String> {
        let mut retries = Vec::new();
        while let Ok((_, message)) = self.messages.try_recv() {
            if let TaskMessage::Retrying { error, .. } = message {
                retries.push(error);
            }
        }
        retries
    }
}

pub(crate) fn store(root: &Path) -> (LayoutStore, Arc<dyn ImageStore>) {
    let store = LayoutStore::open(root, Faults::none()).unwrap();
    (store.clone(), Arc::new(store))
}

/// An image of one layer that holds nothing but `text`'s digest.
pub(crate) fn small_image(store: &LayoutStore, text: &str) -> Digest {
    let tar = vec![0; 1024];
    let (layer, layer_size) = store
        .put_stream(&mut |writer| {
            let mut gzip = flate2::GzBuilder::new().write(writer, flate2::Compression::default());
            std::io::Write::write_all(&mut gzip, &tar)?;
            gzip.finish().map(|_| ())
        })
        .unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"text":"{text}"}}}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        image::digest_of(&tar)
    );
    let config_digest = image::digest_of(config.as_bytes());
    store
        .put_blob(&config_digest, &mut config.as_bytes())
        .unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"{OCI_LAYER_GZIP}","digest":"{layer}","size":{layer_size}}}]}}"#,
        config.len()
    );
    store
        .put_manifest(OCI_MANIFEST, manifest.as_bytes())
        .unwrap()
}

/// Runs a tool that may not be there: `None`, and a line that names what is skipped.
#[allow(clippy::disallowed_methods)]
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some((
            output.status.success(),
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// The config that skopeo reads from `oci:DIR:NAME`.
pub(crate) fn skopeo_config(directory: &Path, name: &str) -> Option<serde_json::Value> {
    let (good, output) = tool(
        "skopeo",
        &[
            "inspect",
            "--config",
            &format!("oci:{}:{name}", directory.display()),
        ],
    )?;
    assert!(good, "{output}");
    Some(serde_json::from_str(&output).unwrap())
}
