//! A reader of images that have no layers.

use shipline_engine::backend::{ImageReader, ImageStore, Step, Visitor};
use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

/// Shows nobody anything: images in memory have no layers, and scripted scanners look at none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReader;

impl ImageReader for NoReader {
    fn show(
        &self,
        _: &Digest,
        _: &dyn ImageStore,
        _: &mut [&mut dyn Visitor],
        _: &mut Step<'_>,
    ) -> Result<(), BackendError> {
        Ok(())
    }
}
