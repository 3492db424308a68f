//! Keyed fingerprints of secrets: what stands for a secret in keys, so that a changed secret changes a key and a leaked key
//! tells nothing.

use std::io::{Read as _, Write as _};

use sha2::{Digest as _, Sha256};
use shipline_engine::folder::{Obstacle, Place};

use crate::error::{CommandError, ErrorKind};

/// Where the key is in the state folder.
const KEY: &str = "cache/fingerprint.key";

/// The key of one clone.
pub(crate) struct Fingerprints {
    key: [u8; 32],
}

impl Fingerprints {
    /// The clone's key, made where there is none yet. It is readable by its owner only.
    pub(crate) fn of_clone(state: &Place) -> Result<Self, CommandError> {
        let place = state.join(KEY);
        let failed = |error: std::io::Error| {
            let what = format!("failed to make the key {}", place.path().display());
            let remedy = Obstacle::of(&error).map(Obstacle::remedy);
            let failed = CommandError::new(ErrorKind::NotReady, what).because(error);
            match remedy {
                Some(remedy) => failed.hint(remedy),
                None => failed,
            }
        };
        if let Some(key) = read(&place) {
            return Ok(Self { key });
        }
        let key = random().map_err(failed)?;
        let (folder, name) = place.make_parent().map_err(failed)?;
        let (mut file, temporary) = folder.temporary(&name).map_err(failed)?;
        file.write_all(&key)
            .and_then(|()| folder.rename(&temporary, &folder, &name))
            .map_err(failed)?;
        Ok(Self { key })
    }

    /// The clone's key, or one for this process where there is none: for commands that change nothing.
    pub(crate) fn without_writing(state: &Place) -> Result<Self, CommandError> {
        match read(&state.join(KEY)) {
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

fn read(place: &Place) -> Option<[u8; 32]> {
    place.read().ok()?.try_into().ok()
}

fn random() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use shipline_engine::folder::Owner;

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
        let state = Place::new(folder.path(), Owner::Ours);
        let first = Fingerprints::of_clone(&state).unwrap().of("secret");
        assert_eq!(Fingerprints::of_clone(&state).unwrap().of("secret"), first);
        let again = Fingerprints::without_writing(&state).unwrap();
        assert_eq!(again.of("secret"), first);
        assert_ne!(
            Fingerprints::without_writing(&state.join("other"))
                .unwrap()
                .of("secret"),
            first
        );
    }
}
