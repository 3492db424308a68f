//! A cataloguer that lists what it is told to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use shipline_engine::backend::{Artifact, Cataloguer, Looking, Sbom};
use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

use super::{Script, lock};

/// A cataloguer that finds the same packages in each image.
#[derive(Debug, Default)]
pub struct ScriptedCataloguer {
    packages: Mutex<Vec<String>>,
    asked: AtomicUsize,
    /// Errors that it answers with first.
    pub script: Script,
}

impl ScriptedCataloguer {
    /// A cataloguer that finds these packages.
    pub fn new<'p>(packages: impl IntoIterator<Item = &'p str>) -> Self {
        Self {
            packages: Mutex::new(packages.into_iter().map(str::to_owned).collect()),
            ..Self::default()
        }
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Cataloguer for ScriptedCataloguer {
    fn key(&self) -> String {
        "scripted".to_owned()
    }

    fn catalogue<'l>(
        &'l self,
        name: &str,
        digest: &Digest,
    ) -> Result<Looking<'l, Sbom>, BackendError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.script.next()?;
        let packages = lock(&self.packages).clone();
        let document = serde_json::json!({
            "image": format!("{name}@{digest}"),
            "version": 1,
            "packages": packages,
        });
        Ok(Looking::Done(Sbom {
            document: Artifact {
                media_type: "application/vnd.example.sbom+json".to_owned(),
                title: "sbom.json".to_owned(),
                bytes: document.to_string().into_bytes(),
            },
            packages: packages.len(),
            notes: Vec::new(),
        }))
    }
}
