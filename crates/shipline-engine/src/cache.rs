//! What is known from earlier runs in this clone: tests that passed, builds, scans, versions of tools.
//!
//! Everything is a small file of its own below `.shipline/cache`, written whole. A file that cannot be read or is not ours is
//! one that is not there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shipline_model::name::{CommitId, Digest, EnvironmentName};
use shipline_model::plan::{BuildKey, ImageId, Known, KnownBuild, PlannedImage, SourceKey};
use shipline_model::stage_kind::Kind as StageKind;
use shipline_model::tag::TagBase;

use crate::backend::{Artifact, ImageStore, Sbom, ScanReport};
use crate::disk::{failed, link_or_write, read_if_there, write_whole};
use crate::error::{BackendError, ErrorClass};
use crate::event::BuiltImage;
use crate::folder::{Folder, Kind, Place};
use crate::record::v1;

/// The folder of passes; its name is from the time when only tests were remembered.
const PASSES: &str = "tests";

/// The version of every file; others are not read.
const VERSION: u32 = 1;
/// Entries of each kind that are kept, the youngest.
const KEPT: usize = 1000;

/// The kind of a pass that was recorded without one.
fn test() -> StageKind {
    StageKind::Test
}

/// The folder of what is known.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Place,
}

/// A build that the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedBuild {
    /// The manifests of its images.
    pub images: Vec<Digest>,
    /// How long ago it was recorded.
    pub age: std::time::Duration,
    file: Place,
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    version: u32,
    content: T,
}

#[derive(Serialize, Deserialize)]
struct Pass {
    #[serde(default = "test")]
    kind: StageKind,
    key: String,
    run: String,
}

#[derive(Serialize, Deserialize)]
struct Ledger {
    source_key: String,
    base: String,
    commit: String,
    commit_time: i64,
    run: String,
    images: Vec<LedgerImage>,
}

#[derive(Serialize, Deserialize)]
struct LedgerImage {
    variant: Option<String>,
    build_key: String,
    image: BuiltImage,
}

#[derive(Serialize, Deserialize)]
struct Scan {
    run: String,
    bytes: u64,
    notes: Vec<String>,
    #[serde(default)]
    undecided: Option<String>,
    findings: Vec<v1::Finding>,
}

/// What is known of an SBOM; its document is a file beside it.
#[derive(Serialize, Deserialize)]
struct Catalogue {
    run: String,
    packages: usize,
    notes: Vec<String>,
    media_type: String,
    title: String,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Attached {
    run: String,
}

/// An artifact about an image, in a registry.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// The registry's name.
    pub registry: &'a str,
    /// The repository.
    pub repository: &'a str,
    /// The image.
    pub subject: &'a Digest,
    /// The artifact's manifest.
    pub artifact: &'a Digest,
}

impl Attachment<'_> {
    fn key(&self) -> String {
        hash(&[
            self.registry,
            self.repository,
            self.subject.as_str(),
            self.artifact.as_str(),
        ])
    }
}

#[derive(Serialize, Deserialize)]
struct Tool {
    identity: String,
    version: String,
}

impl Cache {
    /// The cache of the state folder (`.shipline`).
    #[must_use]
    pub fn new(state: impl Into<Place>) -> Self {
        Self {
            folder: state.into().join("cache"),
        }
    }

    /// Everything that a plan can use: passes, builds whose images `store` has whole, and builds that it has lost.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn known(&self, store: &dyn ImageStore) -> Result<Known, BackendError> {
        let passes = self
            .all::<Pass>(PASSES)
            .into_iter()
            .map(|pass| ((pass.kind, SourceKey(pass.key)), pass.run))
            .collect();
        let (mut builds, mut lost) = (BTreeMap::new(), BTreeMap::new());
        for ledger in self.all::<Ledger>("builds") {
            let key = SourceKey(ledger.source_key.clone());
            let Some(build) = known_build(ledger) else {
                continue;
            };
            let mut whole = true;
            for (_, digest) in build.images.values() {
                whole = whole && store.is_whole(digest)?;
            }
            if whole {
                builds.insert(key, build);
            } else {
                lost.insert(key, build.run);
            }
        }
        Ok(Known {
            passes,
            builds,
            lost,
        })
    }

    /// Records that a stage of this kind passed with these sources.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn record_pass(
        &self,
        kind: StageKind,
        key: &SourceKey,
        run: &str,
    ) -> Result<(), BackendError> {
        // Tests have always been named by their key alone.
        let name = if kind == StageKind::Test {
            key.0.clone()
        } else {
            format!("{}-{key}", kind.nature().word)
        };
        self.write(
            PASSES,
            &name,
            Pass {
                kind,
                key: key.0.clone(),
                run: run.to_owned(),
            },
        )
    }

    /// Announces a build before its first image: what the tags of all its images share is fixed from now on. A build that was
    /// announced with the same goes on, with the images that it has.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn announce_build(&self, image: &PlannedImage, run: &str) -> Result<(), BackendError> {
        let base = image.tag.base().to_string();
        if self
            .ledger(&image.source_key)
            .is_some_and(|ledger| ledger.base == base && ledger.commit == image.commit.as_str())
        {
            return Ok(());
        }
        self.write(
            "builds",
            &image.source_key.0,
            Ledger {
                source_key: image.source_key.0.clone(),
                base,
                commit: image.commit.to_string(),
                commit_time: image.commit_time,
                run: run.to_owned(),
                images: Vec::new(),
            },
        )
    }

    /// Adds an image, which is whole in the store, to its announced build.
    ///
    /// # Errors
    /// Where it cannot be written; `NotFound` where the build is not announced any more.
    pub fn record_image(
        &self,
        planned: &PlannedImage,
        built: &BuiltImage,
    ) -> Result<(), BackendError> {
        let mut ledger = self.ledger(&planned.source_key).ok_or_else(|| {
            BackendError::new(
                ErrorClass::NotFound,
                format!("record the build of {}: its announcement is gone", built.id),
            )
        })?;
        let variant = planned.id.variant.as_ref().map(ToString::to_string);
        ledger.images.retain(|image| image.variant != variant);
        ledger.images.push(LedgerImage {
            variant,
            build_key: planned.build_key.0.clone(),
            image: built.clone(),
        });
        self.write("builds", &planned.source_key.0, ledger)
    }

    /// Every recorded build, for the garbage collection of the store.
    #[must_use]
    pub fn builds(&self) -> Vec<RecordedBuild> {
        let place = self.folder.join("builds");
        let Ok(folder) = place.open() else {
            return Vec::new();
        };
        files(&folder)
            .into_iter()
            .filter_map(|name| {
                let ledger: Ledger = read_file(&folder, &name)?;
                Some(RecordedBuild {
                    images: ledger
                        .images
                        .into_iter()
                        .map(|image| image.image.digest)
                        .collect(),
                    age: folder.see(&name).ok()??.age().unwrap_or_default(),
                    file: place.join(&name),
                })
            })
            .collect()
    }

    /// Forgets a build whose images go. This comes before they do: what the ledger names is built again under its old tag where
    /// it is missing, and must not be another image then. The lock of the clone is held.
    ///
    /// # Errors
    /// Where its file cannot be removed.
    pub fn forget(&self, build: &RecordedBuild) -> Result<(), BackendError> {
        build
            .file
            .remove()
            .map_err(|cause| failed("remove", build.file.path(), cause))
    }

    /// Forgets the build of an image whose tag names another image in the registry: tags never move, so that it can never be
    /// published, and the next run must build it under a new one. The lock of the clone is held.
    ///
    /// # Errors
    /// Where its file cannot be removed.
    pub fn forget_build(&self, image: &PlannedImage) -> Result<(), BackendError> {
        let file = self.file("builds", &image.source_key.0);
        match file.remove() {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", file.path(), cause))
            }
            _ => Ok(()),
        }
    }

    /// What the ledger says of an image that was built earlier.
    #[must_use]
    pub fn built_image(&self, key: &SourceKey, id: &ImageId) -> Option<BuiltImage> {
        let variant = id.variant.as_ref().map(ToString::to_string);
        let ledger = self.ledger(key)?;
        let image = ledger
            .images
            .into_iter()
            .find(|image| image.variant == variant)?;
        Some(image.image)
    }

    /// An earlier scan of an image by a scanner, with the run that made it. `key` is the scanner's (what it knows and by which
    /// rules it judges).
    #[must_use]
    pub fn scan(&self, digest: &Digest, scanner: &str, key: &str) -> Option<(String, ScanReport)> {
        let scan: Scan = self.read("scans", &scan_key(digest, scanner, key))?;
        let findings = scan
            .findings
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()
            .ok()?;
        Some((
            scan.run,
            ScanReport {
                findings,
                bytes: scan.bytes,
                notes: scan.notes,
                not_assessed: None,
                undecided: scan.undecided,
            },
        ))
    }

    /// Records a scan.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn record_scan(
        &self,
        digest: &Digest,
        scanner: &str,
        key: &str,
        run: &str,
        report: &ScanReport,
    ) -> Result<(), BackendError> {
        self.write(
            "scans",
            &scan_key(digest, scanner, key),
            Scan {
                run: run.to_owned(),
                bytes: report.bytes,
                notes: report.notes.clone(),
                undecided: report.undecided.clone(),
                findings: report.findings.iter().map(v1::Finding::from).collect(),
            },
        )
    }

    /// An earlier SBOM of an image. `key` is the cataloguer's, with the name of the image.
    #[must_use]
    pub fn sbom(&self, digest: &Digest, key: &str) -> Option<Sbom> {
        let name = hash(&[digest.as_str(), key]);
        let known: Catalogue = self.read("sboms", &name)?;
        let bytes = read_if_there(&self.document(&name))?;
        // Run records share the file: somebody may have written into it.
        (hex::encode(Sha256::digest(&bytes)) == known.sha256).then_some(Sbom {
            document: Artifact {
                media_type: known.media_type,
                title: known.title,
                bytes,
            },
            packages: known.packages,
            notes: known.notes,
        })
    }

    /// Records an SBOM.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn record_sbom(
        &self,
        digest: &Digest,
        key: &str,
        run: &str,
        sbom: &Sbom,
    ) -> Result<(), BackendError> {
        let name = hash(&[digest.as_str(), key]);
        let Artifact {
            media_type,
            title,
            bytes,
        } = &sbom.document;
        write_whole(&self.document(&name), bytes)?;
        self.write(
            "sboms",
            &name,
            Catalogue {
                run: run.to_owned(),
                packages: sbom.packages,
                notes: sbom.notes.clone(),
                media_type: media_type.clone(),
                title: title.clone(),
                sha256: hex::encode(Sha256::digest(bytes)),
            },
        )
    }

    /// Lays the document of a recorded SBOM at `place`, `bytes` being what it holds.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn lay_sbom(
        &self,
        digest: &Digest,
        key: &str,
        place: &Place,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        let name = hash(&[digest.as_str(), key]);
        link_or_write(&self.document(&name), place, bytes)
    }

    /// Whether an artifact is known to be listed among an image's referrers in a registry.
    #[must_use]
    pub fn attached(&self, place: &Attachment<'_>) -> bool {
        self.read::<Attached>("attached", &place.key()).is_some()
    }

    /// Remembers that an artifact is listed. Nothing is lost where that fails: it is looked for again.
    pub fn record_attached(&self, place: &Attachment<'_>, run: &str) {
        let run = run.to_owned();
        let _ = self.write("attached", &place.key(), Attached { run });
    }

    /// The version that the program with this identity gave.
    pub(crate) fn tool(&self, name: &str, identity: &str) -> Option<String> {
        let tool: Tool = self.read("tools", &hash(&[name, identity]))?;
        (tool.identity == identity).then_some(tool.version)
    }

    /// Remembers a program's version. Nothing is lost where that fails.
    pub(crate) fn record_tool(&self, name: &str, identity: &str, version: &str) {
        let tool = Tool {
            identity: identity.to_owned(),
            version: version.to_owned(),
        };
        let _ = self.write("tools", &hash(&[name, identity]), tool);
    }

    /// Removes the oldest entries of each kind beyond a thousand, and what killed processes left half-written. The lock of the
    /// clone is held: nobody else writes. Nothing is lost where that fails.
    pub fn prune(&self) {
        for folder in ["", "layers/layers", "docker-layers"] {
            crate::disk::sweep(&self.folder.join(folder));
        }
        for kind in [PASSES, "builds", "scans", "sboms", "attached", "tools"] {
            let Ok(folder) = self.folder.join(kind).open() else {
                continue;
            };
            folder.sweep();
            let names = files(&folder);
            if names.len() <= KEPT {
                continue;
            }
            let mut files: Vec<_> = names
                .into_iter()
                .filter_map(|name| Some((folder.see(&name).ok()??.modified_ns, name)))
                .collect();
            files.sort();
            for (_, name) in files.iter().rev().skip(KEPT) {
                let _ = folder.remove(name);
            }
        }
    }

    fn ledger(&self, key: &SourceKey) -> Option<Ledger> {
        self.read::<Ledger>("builds", &key.0)
            .filter(|ledger| ledger.source_key == key.0)
    }

    fn file(&self, kind: &str, key: &str) -> Place {
        self.folder.join(kind).join(format!("{key}.json"))
    }

    fn document(&self, name: &str) -> Place {
        self.folder.join("sboms").join(format!("{name}.document"))
    }

    fn read<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Option<T> {
        parse(&read_if_there(&self.file(kind, key))?)
    }

    fn write<T: Serialize>(&self, kind: &str, key: &str, content: T) -> Result<(), BackendError> {
        let place = self.file(kind, key);
        let file = File {
            version: VERSION,
            content,
        };
        let bytes = serde_json::to_vec(&file).map_err(|cause| {
            let what = format!("write {}", place.path().display());
            BackendError::new(ErrorClass::Invalid, what).because(cause)
        })?;
        write_whole(&place, &bytes)
    }

    fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let Ok(folder) = self.folder.join(kind).open() else {
            return Vec::new();
        };
        let names = files(&folder).into_iter();
        names.filter_map(|name| read_file(&folder, &name)).collect()
    }
}

/// The names of a folder's files.
fn files(folder: &Folder) -> Vec<OsString> {
    let entries = folder.entries().unwrap_or_default().into_iter();
    entries
        .filter(|entry| entry.kind == Kind::File)
        .map(|entry| entry.name)
        .collect()
}

/// The content of a folder's file; nothing where it is none of ours.
fn read_file<T: DeserializeOwned>(folder: &Folder, name: &OsStr) -> Option<T> {
    if Path::new(name).extension() != Some(OsStr::new("json")) {
        return None;
    }
    parse(&folder.read(name).ok()?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let file: File<T> = serde_json::from_slice(bytes).ok()?;
    (file.version == VERSION).then_some(file.content)
}

fn scan_key(digest: &Digest, scanner: &str, key: &str) -> String {
    hash(&[digest.as_str(), scanner, key])
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}

fn known_build(ledger: Ledger) -> Option<KnownBuild> {
    let mut images = BTreeMap::new();
    for image in ledger.images {
        let variant = match image.variant {
            Some(variant) => Some(EnvironmentName::new(variant).ok()?),
            None => None,
        };
        let built = image.image;
        images.insert(variant, (BuildKey(image.build_key), built.digest));
    }
    Some(KnownBuild {
        base: TagBase::parse(&ledger.base).ok()?,
        commit: CommitId::new(ledger.commit).ok()?,
        commit_time: ledger.commit_time,
        run: ledger.run,
        images,
    })
}
