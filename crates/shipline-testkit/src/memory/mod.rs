//! Backends in memory, for tests of everything that works with backends. What each was asked is kept, and what it answers
//! can be scripted.

mod builder;
mod cataloguer;
mod gitops;
mod reader;
mod registry;
mod scan_writer;
mod scanner;
mod source;
mod store;

pub use builder::MemoryBuilder;
pub use cataloguer::ScriptedCataloguer;
pub use gitops::MemoryGitops;
pub use reader::NoReader;
pub use registry::MemoryRegistry;
pub use scan_writer::PlainScanWriter;
pub use scanner::ScriptedScanner;
pub use source::MemorySource;
pub use store::MemoryStore;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

/// Errors that a backend answers with, one after the other, before it works.
#[derive(Debug, Default)]
pub struct Script(Mutex<VecDeque<BackendError>>);

impl Script {
    /// Adds an error.
    pub fn fail(&self, error: BackendError) {
        lock(&self.0).push_back(error);
    }

    fn next(&self) -> Result<(), BackendError> {
        match lock(&self.0).pop_front() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// A panic of one test's thread is that test's matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of these bytes.
///
/// # Panics
/// Never: 64 hex digits make a digest.
#[must_use]
#[expect(clippy::expect_used, reason = "64 hex digits make a digest")]
pub fn digest_of(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    let hex = hex::encode(sha2::Sha256::digest(bytes));
    Digest::new(format!("sha256:{hex}")).expect("64 hex digits")
}
