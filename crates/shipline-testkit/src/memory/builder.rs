//! A builder whose images are what is in the context.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::json;
use shipline_engine::backend::{BuildRequest, ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_engine::task::TaskContext;

use super::{Script, digest_of, lock};

/// A builder whose images have one layer: a JSON object of the context's files by path.
#[derive(Debug, Default)]
pub struct MemoryBuilder {
    /// What fails.
    pub script: Script,
    requests: Mutex<Vec<BuildRequest>>,
}

impl MemoryBuilder {
    /// What was built, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<BuildRequest> {
        lock(&self.requests).clone()
    }
}

#[async_trait]
impl ImageBuilder for MemoryBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<BuiltImage, BackendError> {
        self.script.next()?;
        lock(&self.requests).push(request.clone());
        task.note(format!("building {}", request.id)).await;
        let mut files = BTreeMap::new();
        read(&request.context, &request.context, &mut files).map_err(|cause| {
            BackendError::new(
                ErrorClass::NotFound,
                format!("read the context of {}", request.id),
            )
            .because(cause)
        })?;
        let layer = json!(files).to_string();
        let config =
            json!({ "config": { "Labels": request.labels }, "args": args(request) }).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config.as_bytes()).as_str(), "size": config.len() },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(layer.as_bytes()).as_str(), "size": layer.len() }],
        })
        .to_string();
        for blob in [&layer, &config] {
            store.put_blob(&digest_of(blob.as_bytes()), &mut blob.as_bytes())?;
        }
        let digest = store.put_manifest(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.as_bytes(),
        )?;
        Ok(BuiltImage {
            id: request.id.clone(),
            digest,
            size: (layer.len() + config.len()) as u64,
            layers: 1,
            reused_layers: 0,
            bases: Vec::new(),
            builder: "memory".to_owned(),
        })
    }
}

fn args(request: &BuildRequest) -> BTreeMap<&str, String> {
    request
        .args
        .iter()
        .map(|(name, value)| (name.as_str(), format!("{value:?}")))
        .collect()
}

fn read(root: &Path, at: &Path, files: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            read(root, &path, files)?;
        } else {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            files.insert(
                name,
                String::from_utf8_lossy(&fs::read(&path)?).into_owned(),
            );
        }
    }
    Ok(())
}
