//! An image's config and layers, as every scanner reads them.

use std::cell::Cell;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;
use shipline_engine::backend::{Descriptor, ImageStore, Manifest};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::zstd::{self, ZstdReader};
use shipline_model::name::Digest;

/// Larger configs than this are not what any builder makes, in bytes.
const LARGEST_CONFIG: u64 = 16 * 1024 * 1024;

/// What stands before one file of a layer (names of any length, extended attributes) has that many bytes at most.
const LARGEST_HEADER: u64 = 8 * 1024 * 1024;

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

/// An image's manifest.
pub(crate) fn manifest(store: &dyn ImageStore, digest: &Digest) -> Result<Manifest, BackendError> {
    store.manifest(digest)?.ok_or_else(|| {
        BackendError::new(
            ErrorClass::NotFound,
            format!("read image {}", digest.short()),
        )
        .because("it is not in the store")
    })
}

/// Opens a layer as a tar stream.
pub(crate) fn layer(
    store: &dyn ImageStore,
    layer: &Descriptor,
) -> Result<Box<dyn Read + Send>, BackendError> {
    let blob = store.open(&layer.digest)?;
    let failed = |class: ErrorClass| {
        BackendError::new(class, format!("read layer {}", layer.digest.short()))
    };
    let (start, known) = peek(blob).map_err(|error| failed(ErrorClass::Failed).because(error))?;
    if zstd::begins(&start) {
        return Ok(Box::new(ZstdReader::new(known)));
    }
    if start.starts_with(GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            128 * 1024,
            known,
        ))));
    }
    if layer.media_type.ends_with("tar") {
        return Ok(Box::new(known));
    }
    Err(failed(ErrorClass::Invalid).because(format!(
        "it is called `{}`, and is neither tar nor gzip nor zstd",
        layer.media_type
    )))
}

/// Goes from file to file of a layer. Headers are read into memory whole: one that a few compressed bytes make endless is an
/// error.
#[derive(Default)]
pub(crate) struct Files {
    /// Bytes that may still be read.
    left: Rc<Cell<u64>>,
    /// Those of the last file.
    last: Cell<u64>,
}

impl Files {
    /// The layer as an archive.
    pub(crate) fn of<R: Read>(&self, layer: R) -> tar::Archive<Bounded<R>> {
        tar::Archive::new(Bounded {
            from: layer,
            left: Rc::clone(&self.left),
        })
    }

    /// The next file of this layer.
    pub(crate) fn next<'a, R: Read>(
        &self,
        entries: &mut tar::Entries<'a, Bounded<R>>,
    ) -> Option<io::Result<tar::Entry<'a, Bounded<R>>>> {
        // What nobody read of the last one is skipped first.
        self.left
            .set(self.last.get().saturating_add(LARGEST_HEADER));
        let entry = entries.next();
        self.left.set(u64::MAX);
        if let Some(Ok(entry)) = &entry {
            self.last.set(entry.size());
        }
        entry
    }
}

/// A stream of which only so much may be read.
pub(crate) struct Bounded<R> {
    from: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => self.left.set(left),
            None => return Err(io::Error::other("a file's header is too large")),
        }
        Ok(read)
    }
}

/// An image's config.
pub(crate) fn config(store: &dyn ImageStore, config: &Descriptor) -> Result<Value, BackendError> {
    let failed = |class: ErrorClass| {
        BackendError::new(
            class,
            format!("read image config {}", config.digest.short()),
        )
    };
    let mut bytes = Vec::new();
    store
        .open(&config.digest)?
        .take(LARGEST_CONFIG)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(ErrorClass::Failed).because(error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(ErrorClass::Invalid).because(error))
}
