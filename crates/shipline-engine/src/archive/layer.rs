//! A layer's tar, and whether it is what it was said to be.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use shipline_model::name::Digest;

use super::{Compression, decompressed, invalid};

/// What is read at once of what nobody wants to see.
const BUFFER: usize = 128 * 1024;

/// What a layer must be. What is not said here is not verified, and costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Digest and size of the blob.
    pub blob: Option<(Digest, u64)>,
    /// Digest of the tar in it: its diff ID.
    pub diff_id: Option<Digest>,
}

/// Reads a layer's tar, decompressed. After [`LayerReader::finish`] it is known to be the one that was expected; before, nothing of
/// it may count.
pub struct LayerReader<'a> {
    from: Box<dyn Read + Send + 'a>,
    compression: Compression,
    /// What went through so far of the blob, where that matters.
    blob: Option<Arc<Mutex<Seen>>>,
    /// The tar, likewise.
    tar: Option<Seen>,
    expected: Expected,
}

impl<'a> LayerReader<'a> {
    /// The layer in a blob.
    ///
    /// # Errors
    /// Those of reading its first bytes.
    pub fn new(raw: impl Read + Send + 'a, expected: Expected) -> io::Result<Self> {
        let blob = expected.blob.is_some().then(Arc::<Mutex<Seen>>::default);
        let raw: Box<dyn Read + Send + 'a> = match &blob {
            Some(seen) => Box::new(Watched {
                from: raw,
                seen: Arc::clone(seen),
            }),
            None => Box::new(raw),
        };
        let (compression, from) = decompressed(raw, Compression::of_layer)?;
        Ok(Self {
            from,
            compression,
            blob,
            tar: expected.diff_id.is_some().then(Seen::default),
            expected,
        })
    }

    /// What compressed it.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Reads what is left, if something was expected, and compares.
    ///
    /// # Errors
    /// `InvalidData` where blob or tar are others; those of the stream.
    pub fn finish(mut self) -> io::Result<()> {
        if self.expected == Expected::default() {
            return Ok(());
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let (Some((digest, size)), Some(seen)) = (&self.expected.blob, &self.blob) {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.size != *size {
                return Err(invalid(format!(
                    "its blob has {} bytes, and the manifest says {size}",
                    seen.size
                )));
            }
            let found = seen.digest();
            if found != digest.as_str() {
                return Err(invalid(format!("its blob has the digest {found}")));
            }
        }
        if let (Some(diff_id), Some(seen)) = (&self.expected.diff_id, &self.tar) {
            let found = seen.digest();
            if found != diff_id.as_str() {
                return Err(invalid(format!(
                    "its content has the digest {found}, and the image's config says {diff_id}"
                )));
            }
        }
        Ok(())
    }
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if let Some(tar) = &mut self.tar {
            tar.add(&buffer[..read]);
        }
        Ok(read)
    }
}

/// Bytes that went by.
#[derive(Default)]
struct Seen {
    hasher: Sha256,
    size: u64,
}

impl Seen {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn digest(&self) -> String {
        format!("sha256:{}", hex::encode(self.hasher.clone().finalize()))
    }
}

/// A stream of which is known what went by.
struct Watched<R> {
    from: R,
    seen: Arc<Mutex<Seen>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(&buffer[..read]);
        Ok(read)
    }
}
