//! Whether an image is what its own documents say, once, when it comes into the store. That blobs have their digests the store
//! sees to; that the layers are those of the config only who unpacks them can see.

use shipline_engine::archive::{Expected, LayerReader};
use shipline_engine::backend::{ImageStore, Manifest};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use crate::image::{self, is_layer};

/// Reads the layers of an image whose blobs are in the store, and compares them with its config.
///
/// # Errors
/// `Conflict` where a layer is not the one that the config names, `Invalid` where the config is none; those of the store.
pub(crate) fn layers(store: &dyn ImageStore, manifest: &Manifest) -> Result<(), BackendError> {
    let config = image::read_config(store, &manifest.config)?;
    let names = &config.rootfs.diff_ids;
    let attempted = || format!("verify image {}", manifest.descriptor.digest);
    if names.len() != manifest.layers.len() {
        return Err(BackendError::new(ErrorClass::Conflict, attempted())
            .because(format!(
                "its config lists {} layers and its manifest {}",
                names.len(),
                manifest.layers.len()
            ))
            .hint(REMEDY));
    }
    for (layer, name) in manifest.layers.iter().zip(names) {
        // Nobody builds on what we cannot read: whoever tries is told so.
        if !is_layer(&layer.media_type) {
            continue;
        }
        let diff_id = Digest::new(name.as_str()).map_err(|error| {
            BackendError::new(ErrorClass::Invalid, attempted())
                .because(error)
                .hint(REMEDY)
        })?;
        let expected = Expected {
            blob: None,
            diff_id: Some(diff_id),
        };
        LayerReader::new(store.open(&layer.digest)?, expected)
            .and_then(LayerReader::finish)
            .map_err(|error| {
                BackendError::new(
                    ErrorClass::Conflict,
                    format!(
                        "verify layer {} of image {}",
                        layer.digest, manifest.descriptor.digest
                    ),
                )
                .because(error)
                .hint(REMEDY)
            })?;
    }
    Ok(())
}

const REMEDY: &str = "the image was put together wrongly, or somebody changed it: build or push it again, or use another one";
