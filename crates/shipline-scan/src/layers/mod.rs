//! An image's config and layers, as every scanner sees them.

mod show;
pub(crate) mod spool;

pub use show::StoreReader;

use std::io::{self, Chain, Cursor, Read};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shipline_engine::archive::{Compression, Expected, LayerReader};
use shipline_engine::backend::{Descriptor, ImageStore, Manifest, Verified};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use crate::json;

/// Larger configs than this are not what any builder makes, in bytes.
const LARGEST_CONFIG: u64 = 16 * 1024 * 1024;

/// How gzip begins.
pub(crate) const GZIP: &[u8] = &[0x1f, 0x8b];
/// How Zstandard begins.
pub(crate) const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// A stream whose first bytes are known.
pub(crate) type Known<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads the first bytes of a stream without losing them.
pub(crate) fn peek<R: Read>(mut from: R) -> io::Result<(Vec<u8>, Known<R>)> {
    let mut start = Vec::with_capacity(4);
    from.by_ref().take(4).read_to_end(&mut start)?;
    let known = Cursor::new(start.clone()).chain(from);
    Ok((start, known))
}

/// An image of a store. What the store has not verified is verified as it is read.
pub(crate) struct Image<'s> {
    store: &'s dyn ImageStore,
    pub(crate) manifest: Manifest,
    pub(crate) config: Value,
}

impl<'s> Image<'s> {
    /// Reads manifest and config.
    pub(crate) fn open(store: &'s dyn ImageStore, digest: &Digest) -> Result<Self, BackendError> {
        let manifest = store.manifest(digest)?.ok_or_else(|| {
            BackendError::new(
                ErrorClass::NotFound,
                format!("read image {}", digest.short()),
            )
            .because("it is not in the store")
        })?;
        let image = Self {
            config: config(store, &manifest.config)?,
            store,
            manifest,
        };
        let (named, there) = (image.diff_ids().len(), image.manifest.layers.len());
        if store.verified() != Verified::WhenTaken && named != there {
            return Err(BackendError::new(
                ErrorClass::Conflict,
                format!("read image {}", digest.short()),
            )
            .because(format!(
                "its config lists {named} layers and its manifest {there}"
            )));
        }
        Ok(image)
    }

    fn diff_ids(&self) -> Vec<Option<Digest>> {
        diff_ids(&self.config)
    }

    /// A layer, from 0, decompressed. Whoever has read it hands it to [`Image::finish`]; nothing of it counts before.
    pub(crate) fn layer(&self, index: usize) -> Result<LayerReader<'static>, BackendError> {
        let layer = &self.manifest.layers[index];
        let failed = |class: ErrorClass| BackendError::new(class, self.named(index));
        let diff_id = self.diff_ids().get(index).cloned().flatten();
        let expected = match self.store.verified() {
            Verified::WhenTaken => Expected::default(),
            Verified::Manifests => Expected {
                blob: Some((layer.digest.clone(), layer.size)),
                diff_id,
            },
            Verified::ManifestsByContent => Expected {
                blob: None,
                diff_id,
            },
        };
        if self.store.verified() != Verified::WhenTaken && expected.diff_id.is_none() {
            return Err(failed(ErrorClass::Conflict)
                .because("the image's config does not say which content it must have"));
        }
        let blob = self.store.open(&layer.digest)?;
        let reader = LayerReader::new(blob, expected)
            .map_err(|error| failed(ErrorClass::Failed).because(error))?;
        if reader.compression() == Compression::None && !layer.media_type.ends_with("tar") {
            return Err(failed(ErrorClass::Invalid).because(format!(
                "it is called `{}`, and is neither tar nor gzip nor zstd",
                layer.media_type
            )));
        }
        Ok(reader)
    }

    /// Ends with a layer: it was the one that it should be.
    pub(crate) fn finish(&self, index: usize, layer: LayerReader<'_>) -> Result<(), BackendError> {
        layer.finish().map_err(|error| {
            BackendError::new(ErrorClass::Conflict, self.named(index)).because(error)
        })
    }

    /// What is attempted with a layer, for errors.
    pub(crate) fn named(&self, index: usize) -> String {
        format!(
            "read layer {} (the image's layer {})",
            self.manifest.layers[index].digest.short(),
            index + 1
        )
    }
}

/// The digests of the layers' contents, as an image's config lists them; `None` for what is no digest.
pub(crate) fn diff_ids(config: &Value) -> Vec<Option<Digest>> {
    let ids = config.pointer("/rootfs/diff_ids");
    let ids = ids.and_then(Value::as_array).into_iter().flatten();
    ids.map(|id| Digest::new(id.as_str()?).ok()).collect()
}

fn config(store: &dyn ImageStore, config: &Descriptor) -> Result<Value, BackendError> {
    let failed = |class: ErrorClass| {
        BackendError::new(
            class,
            format!("read image config {}", config.digest.short()),
        )
    };
    let mut bytes = Vec::new();
    store
        .open(&config.digest)?
        .take(LARGEST_CONFIG + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(ErrorClass::Failed).because(error))?;
    if bytes.len() as u64 > LARGEST_CONFIG {
        return Err(failed(ErrorClass::Invalid)
            .because(format!("it has more than {} MiB", LARGEST_CONFIG >> 20)));
    }
    if store.verified() != Verified::WhenTaken {
        let found = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        let size = bytes.len() as u64;
        if found != config.digest.as_str() || size != config.size {
            return Err(failed(ErrorClass::Conflict).because(format!(
                "it has the digest {found} and {size} bytes, and the manifest says {} and {}",
                config.digest, config.size
            )));
        }
    }
    json::read(&bytes).map_err(|error| failed(ErrorClass::Invalid).because(error))
}
