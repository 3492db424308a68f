//! `index.json`: read without a lock, replaced by rename under one.

use std::io::{self, Write};

use shipline_engine::error::{BackendError, ErrorClass};

use super::disk::{disk_error, sync_directory};
use super::{Layout, Lock, read_document};
use crate::image::{self, RawIndex};

/// The name of the index.
pub(super) const INDEX: &str = "index.json";

impl Layout {
    /// What the layout lists now.
    ///
    /// # Errors
    /// `Invalid` where the file is no index.
    pub fn index(&self) -> Result<RawIndex, BackendError> {
        let place = self.place().join(INDEX);
        let path = place.path();
        match read_document(&place) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, format!("read {}", path.display()))
                    .because(error)
                    .hint(format!(
                        "{} must be an OCI image layout",
                        self.root().display()
                    ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RawIndex::empty()),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Err(image::too_large(&path.display().to_string()))
            }
            Err(error) => Err(disk_error("read", path, error)),
        }
    }

    /// Changes the index, alone among all processes. Written, durably, only where `change` changed something and did not
    /// fail.
    ///
    /// # Errors
    /// `change`'s own, and where the index cannot be read or written.
    pub fn update_index<T>(
        &self,
        change: impl FnOnce(&mut RawIndex) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let _lock = self.lock("index.lock", Lock::Exclusive)?;
        let before = self.index()?;
        let mut after = before.clone();
        let value = change(&mut after)?;
        if after != before || !self.has(INDEX)? {
            self.replace(INDEX, &image::to_json(&after)?)?;
        }
        Ok(value)
    }

    /// Whether something has this name in the layout's root.
    pub(super) fn has(&self, name: &str) -> Result<bool, BackendError> {
        let place = self.place().join(name);
        place
            .see()
            .map(|seen| seen.is_some())
            .map_err(|error| disk_error("read", place.path(), error))
    }

    /// Replaces a file of the layout's root by rename, durably.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), BackendError> {
        let mut temporary = self.temporary_file()?;
        temporary
            .file
            .write_all(bytes)
            .and_then(|()| self.place().open())
            .and_then(|root| temporary.place(&root, name))
            .map_err(|error| disk_error("write", &self.root().join(name), error))?;
        sync_directory(self.place())
    }
}
