//! Enumerated points at which a test can kill the process, to prove that the next run completes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// A point in the flow after which something durable is, or is half, done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultPoint { $($(#[$doc])* $name,)* }

        impl FaultPoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The point's word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

points! {
    /// The run's record has been opened.
    RecordOpened = "record-opened";
    /// One file of the workspace has been written.
    WorkspaceFile = "workspace-file";
    /// The workspace equals the sources, its manifest is not yet written.
    WorkspaceFiles = "workspace-files";
    /// The workspace's manifest has been written.
    WorkspaceDone = "workspace-done";
    /// A command has been started.
    CommandStarted = "command-started";
    /// A test has passed, the pass is not recorded.
    TestPassed = "test-passed";
    /// A test's pass has been recorded.
    TestRecorded = "test-recorded";
    /// The build has been announced in the ledger, nothing is built.
    BuildAnnounced = "build-announced";
    /// `prepare` is through, nothing is in the store.
    Prepared = "prepared";
    /// Half of a blob has been written to a temporary file.
    StoreBlobHalf = "store-blob-half";
    /// A blob is in the store.
    StoreBlob = "store-blob";
    /// All blobs of an image are in the store, its manifest is not.
    StoreBlobs = "store-blobs";
    /// An image's manifest is in the store, the ledger does not know it.
    StoreManifest = "store-manifest";
    /// The garbage collection has removed something from the store: names, or a blob.
    StoreCollected = "store-collected";
    /// The ledger knows the image.
    BuildRecorded = "build-recorded";
    /// The release set has been written.
    ReleaseSet = "release-set";
    /// A remote registry has begun an upload, nothing of the blob has been sent.
    RegistryUpload = "registry-upload";
    /// Half of a blob is on its way to a remote registry.
    RegistryBlobHalf = "registry-blob-half";
    /// A remote registry has taken a blob, it has not been read back.
    RegistryBlobTaken = "registry-blob-taken";
    /// A blob is in the registry.
    RegistryBlob = "registry-blob";
    /// A manifest is in the registry, by digest; from a remote one it has not been read back.
    RegistryManifest = "registry-manifest";
    /// A manifest has been read back from a remote registry.
    RegistryManifestRead = "registry-manifest-read";
    /// A document refers to its image in the registry.
    RegistryReferrer = "registry-referrer";
    /// Every image is in the registry and verified, no tag has moved.
    RegistryVerified = "registry-verified";
    /// A remote registry has taken a tag, it has not been read back.
    RegistryTagTaken = "registry-tag-taken";
    /// A tag has moved, others may not have.
    RegistryTag = "registry-tag";
    /// All tags have moved.
    RegistryTags = "registry-tags";
    /// The deployment commit exists, the ref does not name it.
    GitopsCommit = "gitops-commit";
    /// The ref is locked, on this machine, and does not name the deployment commit.
    GitopsLocked = "gitops-locked";
    /// The ref names the deployment commit.
    GitopsRef = "gitops-ref";
    /// The last event has been written, the outcome file has not.
    RecordEvents = "record-events";
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A text that names no fault point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault point")]
pub struct UnknownFaultPoint(pub String);

impl FromStr for FaultPoint {
    type Err = UnknownFaultPoint;
    fn from_str(text: &str) -> Result<Self, UnknownFaultPoint> {
        Self::ALL
            .iter()
            .copied()
            .find(|point| point.word() == text)
            .ok_or_else(|| UnknownFaultPoint(text.to_owned()))
    }
}

/// Which point is armed, if any. Cloned into every part that passes one.
#[derive(Debug, Clone, Default)]
pub struct Faults(Option<Arc<Armed>>);

#[derive(Debug)]
struct Armed {
    point: FaultPoint,
    remaining: AtomicU32,
}

impl Faults {
    /// None armed: every [`Faults::reach`] does nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Kills this process with SIGKILL when `point` is reached for the `nth` time (from 1).
    #[must_use]
    pub fn kill_at(point: FaultPoint, nth: u32) -> Self {
        Self(Some(Arc::new(Armed {
            point,
            remaining: AtomicU32::new(nth.max(1)),
        })))
    }

    /// Says that `point` is reached.
    pub fn reach(&self, point: FaultPoint) {
        if let Some(armed) = &self.0
            && armed.point == point
            && armed.remaining.fetch_sub(1, Ordering::SeqCst) == 1
        {
            // Nothing is left to report to if this fails: the process goes on as if it had not been armed.
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_point() {
        for point in FaultPoint::ALL {
            assert_eq!(point.word().parse::<FaultPoint>().as_ref(), Ok(point));
        }
        assert!("nowhere".parse::<FaultPoint>().is_err());
    }
}
