//! Looking into images: each layer is read once, and each of its files is offered to everybody who looks.

use std::io::{self, Read, Seek};

use serde_json::Value;
use shipline_model::name::Digest;

use crate::archive::Entry;
use crate::backend::{ImageStore, Manifest};
use crate::error::BackendError;

/// A file that can be read from any place.
pub trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// An image before its layers are read.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'i> {
    /// Its manifest.
    pub manifest: &'i Manifest,
    /// Its config.
    pub config: &'i Value,
}

/// An entry of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'e> {
    /// The layer's index in the manifest, from 0.
    pub layer: usize,
    /// The layer's blob.
    pub digest: &'e Digest,
    /// The entry.
    pub entry: &'e Entry,
    /// The first bytes of a file, four where it has so many; empty for everything else.
    pub start: &'e [u8],
}

/// How a visitor wants to see a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Not at all.
    Nothing,
    /// From its beginning to its end, once.
    Stream,
    /// From any place in it.
    Whole {
        /// Larger files are not wanted, in bytes.
        largest: u64,
    },
}

/// What a visitor gets that wants a whole file.
pub enum Whole<'c> {
    /// The file.
    Content(&'c mut dyn Content),
    /// It is larger than what was wanted.
    TooLarge,
    /// There was no room to keep it while it was read.
    NoRoom(io::Error),
}

/// Is shown an image: its config, then every entry of every layer in their order, base first. An error that it gives ends the
/// reading for everybody.
pub trait Visitor {
    /// Sees the image before its layers.
    ///
    /// # Errors
    /// Where the task is to stop.
    fn open(&mut self, image: Opened<'_>) -> io::Result<()>;

    /// Sees an entry, and says how it wants to see its content. Only files have any.
    fn entry(&mut self, shown: Shown<'_>) -> Want;

    /// Reads a file that it wants as a stream.
    ///
    /// # Errors
    /// Those of the stream, and where the task is to stop.
    fn stream(&mut self, shown: Shown<'_>, file: &mut dyn Read) -> io::Result<()>;

    /// Reads a file that it wants whole. A visitor that wants a stream gets this instead where others read the stream and the
    /// file is too large to be kept.
    ///
    /// # Errors
    /// Where the task is to stop.
    fn whole(&mut self, shown: Shown<'_>, file: Whole<'_>) -> io::Result<()>;
}

/// A visitor that comes to a result when it has seen everything.
pub trait Look<T>: Visitor {
    /// The result.
    ///
    /// # Errors
    /// What it could not do by itself.
    fn finish(self: Box<Self>) -> Result<T, BackendError>;
}

/// How something comes to its result.
pub enum Looking<'l, T> {
    /// It has it.
    Done(T),
    /// It has to be shown an image first.
    AtFiles(Box<dyn Look<T> + 'l>),
}

/// Told of uncompressed bytes that were read; an error of it ends the reading.
pub type Step<'s> = dyn FnMut(u64) -> io::Result<()> + 's;

/// Shows images.
pub trait ImageReader: Send + Sync {
    /// Shows an image to all visitors. Called on blocking threads.
    ///
    /// # Errors
    /// Where the image cannot be read, and the errors of `step` and of visitors.
    fn show(
        &self,
        digest: &Digest,
        store: &dyn ImageStore,
        visitors: &mut [&mut dyn Visitor],
        step: &mut Step<'_>,
    ) -> Result<(), BackendError>;
}
