//! Keyed fingerprints of secrets: what stands for a secret in keys, so that a changed secret changes a key and a leaked key
//! tells nothing.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{CommandError, ErrorKind};

/// The key of one clone.
pub(crate) struct Fingerprints {
    key: [u8; 32],
}

impl Fingerprints {
    /// The clone's key, made where there is none yet. It is readable by its owner only.
    pub(crate) fn of_clone(state: &Path) -> Result<Self, CommandError> {
        let path = state.join("cache/fingerprint.key");
        let failed = |error: std::io::Error| {
            CommandError::new(
                ErrorKind::NotReady,
                format!("failed to make the key {}", path.display()),
            )
            .because(error)
        };
        if let Some(key) = read(&path) {
            return Ok(Self { key });
        }
        let key = random().map_err(failed)?;
        std::fs::create_dir_all(state.join("cache")).map_err(failed)?;
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        std::io::Write::write_all(&mut file, &key).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        Ok(Self { key })
    }

    /// The clone's key, or one for this process where there is none: for commands that change nothing.
    pub(crate) fn without_writing(state: &Path) -> Result<Self, CommandError> {
        match read(&state.join("cache/fingerprint.key")) {
            Some(key) => Ok(Self { key }),
            None => {
                let failed = |error| {
                    CommandError::new(ErrorKind::NotReady, "failed to read random bytes")
                        .because(error)
                };
                Ok(Self {
                    key: random().map_err(failed)?,
                })
            }
        }
    }

    /// The fingerprint of a secret's text (HMAC-SHA-256, RFC 2104, in hex).
    pub(crate) fn of(&self, secret: &str) -> String {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            for (padded, key) in block.iter_mut().zip(self.key) {
                *padded ^= key;
            }
            block
        };
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update(secret.as_bytes())
            .finalize();
        hex::encode(
            Sha256::new()
                .chain_update(pad(0x5c))
                .chain_update(inner)
                .finalize(),
        )
    }
}

fn read(path: &Path) -> Option<[u8; 32]> {
    std::fs::read(path).ok()?.try_into().ok()
}

fn random() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_hmac_sha_256() {
        // RFC 4231, test case 2, its key padded with zeros as HMAC does.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let fingerprints = Fingerprints { key };
        assert_eq!(
            fingerprints.of("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_clone_keeps_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let first = Fingerprints::of_clone(folder.path()).unwrap().of("secret");
        assert_eq!(
            Fingerprints::of_clone(folder.path()).unwrap().of("secret"),
            first
        );
        assert_eq!(
            Fingerprints::without_writing(folder.path())
                .unwrap()
                .of("secret"),
            first
        );
        assert_ne!(
            Fingerprints::without_writing(&folder.path().join("other"))
                .unwrap()
                .of("secret"),
            first
        );
    }
}
