//! `index.json`: read without a lock, replaced by rename under one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use shipline_engine::error::{BackendError, ErrorClass};

use super::disk::{disk_error, sync_directory};
use super::{Layout, Lock};
use crate::image::{self, RawIndex};

impl Layout {
    pub(super) fn index_path(&self) -> PathBuf {
        self.root().join("index.json")
    }

    /// What the layout lists now.
    ///
    /// # Errors
    /// `Invalid` where the file is no index.
    pub fn index(&self) -> Result<RawIndex, BackendError> {
        let path = self.index_path();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                BackendError::new(ErrorClass::Invalid, format!("read {}", path.display()))
                    .because(error)
                    .hint(format!(
                        "{} must be an OCI image layout.",
                        self.root().display()
                    ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RawIndex::empty()),
            Err(error) => Err(disk_error("read", &path, error)),
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
        if after != before || !self.index_path().exists() {
            self.replace(&self.index_path(), &image::to_json(&after)?)?;
        }
        Ok(value)
    }

    /// Replaces a file of the layout's root by rename, durably.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), BackendError> {
        let (mut file, temporary) = self.temporary_file()?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_data())
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            // Where it cannot be removed now, the next opening of the layout sweeps it.
            let _ = fs::remove_file(&temporary);
            return Err(disk_error("write", path, error));
        }
        sync_directory(self.root())
    }
}
