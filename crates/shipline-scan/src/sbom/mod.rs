//! SBOMs: the packages of an image as a CycloneDX document.

mod cyclonedx;

use std::io::{self, Read};

use shipline_engine::backend::{
    Artifact, Cataloguer, Look, Looking, Opened, Sbom, Shown, Visitor, Want, Whole,
};
use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

pub use cyclonedx::{MEDIA_TYPE, cyclonedx};

use crate::inventory::Walk;

/// Raised whenever the same image would give another document.
const VERSION: u32 = 2;

/// All that decides a document besides the image and its name.
fn key() -> String {
    format!("shipline {} catalogue {VERSION}", env!("CARGO_PKG_VERSION"))
}

/// Writes SBOMs of images.
#[derive(Debug, Clone, Copy, Default)]
pub struct SbomWriter;

impl Cataloguer for SbomWriter {
    fn key(&self) -> String {
        key()
    }

    fn catalogue<'l>(
        &'l self,
        name: &str,
        digest: &Digest,
    ) -> Result<Looking<'l, Sbom>, BackendError> {
        Ok(Looking::AtFiles(Box::new(SbomLook {
            name: name.to_owned(),
            walk: Walk::new(digest),
        })))
    }
}

/// Sees the packages of an image.
struct SbomLook {
    name: String,
    walk: Walk,
}

impl Visitor for SbomLook {
    fn open(&mut self, image: Opened<'_>) -> io::Result<()> {
        self.walk.open(image)
    }

    fn entry(&mut self, shown: Shown<'_>) -> Want {
        self.walk.entry(shown)
    }

    fn stream(&mut self, shown: Shown<'_>, file: &mut dyn Read) -> io::Result<()> {
        self.walk.stream(shown, file)
    }

    fn whole(&mut self, shown: Shown<'_>, file: Whole<'_>) -> io::Result<()> {
        self.walk.whole(shown, file)
    }
}

impl Look<Sbom> for SbomLook {
    fn finish(self: Box<Self>) -> Result<Sbom, BackendError> {
        let inventory = self.walk.inventory()?;
        Ok(Sbom {
            document: Artifact {
                media_type: MEDIA_TYPE.to_owned(),
                title: "sbom.cdx.json".to_owned(),
                bytes: cyclonedx(&self.name, &inventory)?,
            },
            packages: inventory.packages.len(),
            notes: inventory.notes,
        })
    }
}
