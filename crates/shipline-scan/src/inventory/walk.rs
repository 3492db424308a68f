//! What an image's layers, one over the other, hold: base first, each streamed once. What a later layer deletes or replaces is
//! not in the image (OCI image specification, "Filesystem Layers").
//!
//! Memory is that of what was found, whatever the layers hold.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde_json::Value;
use shipline_engine::archive::{EntryKind, LONGEST_PATH};
use shipline_engine::backend::{Content, Opened, Shown, Visitor, Want, Whole};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::name::Digest;

use super::catalog::{MOST_PACKAGES, READERS, Reader, Told};
use super::elf::{self, Executable};
use crate::layers;

/// Package data in text is read up to this many bytes; the largest that is known (a distribution's whole `status`) has 10 MB.
const LARGEST_TEXT: u64 = 32 * 1024 * 1024;

/// Archives and executables are read up to this many bytes; larger ones are databases with a header.
const LARGEST_FILE: u64 = 4 * 1024 * 1024 * 1024;

/// Licences of packages that other files list; a whole distribution has a tenth of it.
const MOST_LICENCES: usize = 200_000;

/// Of more files than this nobody keeps why they could be read only in part.
const MOST_NOTED: usize = 10_000;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// A file that said something.
#[derive(Debug)]
pub(super) struct Found {
    /// The layer that it is in, from 0.
    pub(super) layer: usize,
    /// What it said.
    pub(super) told: Told,
}

/// What an image says of itself.
#[derive(Debug)]
pub(super) struct Said {
    /// The image.
    pub(super) image: Digest,
    /// When it was made.
    pub(super) created: Option<String>,
    /// The digests of its layers' contents.
    pub(super) diff_ids: Vec<Option<Digest>>,
}

/// A walk over an image's layers.
pub(crate) struct Walk {
    said: Said,
    /// What the layers before this one hold.
    found: BTreeMap<String, Found>,
    /// What this layer holds: its whiteouts do not hide that, and looking at it for each of them would take the square of the time.
    own: BTreeMap<String, Found>,
    /// This layer, from 0.
    layer: usize,
    packages: usize,
    licences: usize,
    noted: usize,
    failed: Option<BackendError>,
}

impl Visitor for Walk {
    fn open(&mut self, image: Opened<'_>) -> io::Result<()> {
        self.said.created = created(image.config);
        self.said.diff_ids = layers::diff_ids(image.config);
        Ok(())
    }

    fn entry(&mut self, shown: Shown<'_>) -> Want {
        let Some(path) = clean(&shown.entry.path) else {
            return Want::Nothing;
        };
        let layer = shown.layer;
        if layer != self.layer {
            self.found.append(&mut self.own);
            self.layer = layer;
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            self.forget_below(folder, Of::Older);
            return Want::Nothing;
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let hidden = if folder.is_empty() {
                hidden.to_owned()
            } else {
                format!("{folder}/{hidden}")
            };
            self.forget(&hidden, Of::Older);
            self.forget_below(&hidden, Of::Older);
            return Want::Nothing;
        }
        if shown.entry.kind == EntryKind::Directory {
            self.forget(&path, Of::All);
            return Want::Nothing;
        }
        let linked = match &shown.entry.kind {
            EntryKind::HardLink { target } => clean(target).and_then(|target| {
                let found = self.own.get(&target).or_else(|| self.found.get(&target));
                Some(found?.told.clone())
            }),
            EntryKind::File { .. }
            | EntryKind::Symlink { .. }
            | EntryKind::Directory
            | EntryKind::CharDevice(..)
            | EntryKind::BlockDevice(..)
            | EntryKind::Fifo
            | EntryKind::Unknown(_) => None,
        };
        self.forget(&path, Of::All);
        self.forget_below(&path, Of::All);
        if let Some(told) = linked {
            self.keep(path, layer, told);
            return Want::Nothing;
        }
        match (&shown.entry.kind, reader(&path)) {
            (EntryKind::File { .. }, Some(Reader::Text { .. })) => Want::Whole {
                largest: LARGEST_TEXT,
            },
            (EntryKind::File { .. }, Some(Reader::Archive { .. })) => Want::Whole {
                largest: LARGEST_FILE,
            },
            (EntryKind::File { .. }, _) if shown.start == elf::MAGIC => Want::Whole {
                largest: LARGEST_FILE,
            },
            (_, _) => Want::Nothing,
        }
    }

    /// It wants no stream.
    fn stream(&mut self, _: Shown<'_>, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }

    fn whole(&mut self, shown: Shown<'_>, file: Whole<'_>) -> io::Result<()> {
        let Some(path) = clean(&shown.entry.path) else {
            return Ok(());
        };
        let told = match file {
            Whole::Content(content) => read(&path, content)?,
            Whole::TooLarge => Told::malformed("it is too large"),
            Whole::NoRoom(error) => {
                self.failed.get_or_insert_with(|| {
                    BackendError::new(
                        ErrorClass::Failed,
                        format!("keep /{path} for a look into it"),
                    )
                    .because(error)
                });
                return Ok(());
            }
        };
        self.keep(path, shown.layer, told);
        Ok(())
    }
}

impl Walk {
    /// A walk over this image.
    pub(crate) fn new(image: &Digest) -> Self {
        Self {
            said: Said {
                image: image.clone(),
                created: None,
                diff_ids: Vec::new(),
            },
            found: BTreeMap::new(),
            own: BTreeMap::new(),
            layer: 0,
            packages: 0,
            licences: 0,
            noted: 0,
            failed: None,
        }
    }

    /// What the image says of itself, and what was found, by path (without the leading `/`).
    ///
    /// # Errors
    /// Where a file could not be kept while it was read.
    pub(super) fn found(mut self) -> Result<(Said, BTreeMap<String, Found>), BackendError> {
        match self.failed {
            Some(error) => Err(error),
            None => {
                self.found.append(&mut self.own);
                Ok((self.said, self.found))
            }
        }
    }

    fn keep(&mut self, path: String, layer: usize, mut told: Told) {
        let room = MOST_PACKAGES - self.packages;
        if told.packages.len() > room {
            told.packages.truncate(room);
            told.notes
                .push(format!("the image has more than {MOST_PACKAGES} packages"));
        }
        self.packages += told.packages.len();
        let room = MOST_LICENCES - self.licences;
        if told.licences.len() > room {
            told.licences.truncate(room);
            told.notes.push(format!(
                "the image names more than {MOST_LICENCES} licences"
            ));
        }
        self.licences += told.licences.len();
        if !told.notes.is_empty() {
            self.noted += 1;
            if self.noted > MOST_NOTED {
                told.notes.clear();
            }
        }
        if told != Told::default() {
            self.own.insert(path, Found { layer, told });
        }
    }

    /// Forgets a file.
    fn forget(&mut self, path: &str, of: Of) {
        let gone = self.found.remove(path);
        self.gone(gone);
        if of == Of::All {
            let gone = self.own.remove(path);
            self.gone(gone);
        }
    }

    fn gone(&mut self, found: Option<Found>) {
        if let Some(found) = found {
            self.packages -= found.told.packages.len();
            self.licences -= found.told.licences.len();
        }
    }

    /// Forgets all files of a folder (`""`: of all folders) likewise.
    fn forget_below(&mut self, folder: &str, of: Of) {
        let start = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let paths = |found: &BTreeMap<String, Found>| -> Vec<String> {
            let below = found.range(start.clone()..).map(|(path, _)| path);
            below
                .take_while(|path| path.starts_with(&start))
                .cloned()
                .collect()
        };
        let mut below = paths(&self.found);
        if of == Of::All {
            below.extend(paths(&self.own));
        }
        for path in below {
            self.forget(&path, of);
        }
    }
}

/// What is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// What the layers before this one hold.
    Older,
    /// That, and what this layer holds.
    All,
}

/// What reads a file, told by its path.
fn reader(path: &str) -> Option<&'static Reader> {
    READERS.iter().find(|reader| match reader {
        Reader::Text { wants, .. } | Reader::Archive { wants, .. } => wants(path),
        Reader::Section { .. } => false,
    })
}

/// Reads a file that may say something.
pub(super) fn read(path: &str, content: &mut dyn Content) -> io::Result<Told> {
    Ok(match reader(path) {
        Some(Reader::Text { read, .. }) => {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            read(path, &bytes)
        }
        Some(Reader::Archive { read, .. }) => read(path, content),
        Some(Reader::Section { .. }) | None => executable(content),
    })
}

/// The label counts before the config's own field: builders for which equal sources give equal bytes set that to a constant.
fn created(config: &Value) -> Option<String> {
    let label = config.pointer("/config/Labels/org.opencontainers.image.created");
    let created = label.or_else(|| config.get("created"))?.as_str()?;
    Some(created.to_owned())
}

/// What the sections of an executable say. Where they cannot be found, it is not worth a note: such files are packed or
/// stripped on purpose, and most never had any of these sections.
fn executable(content: &mut dyn Content) -> Told {
    let mut told = Told::default();
    let Ok(Some(mut executable)) = Executable::open(content) else {
        return told;
    };
    for reader in READERS {
        if let Reader::Section {
            name,
            largest,
            read,
        } = reader
        {
            match executable.section(name, *largest) {
                Ok(Some(section)) => told.add(read(&section, &mut executable)),
                Ok(None) => {}
                Err(error) => told.add(Told::malformed(format!("{name}: {error}"))),
            }
        }
    }
    told
}

/// A layer's path from its root, without `.` and empty steps; `None` where it leads out, is the root itself or no path.
fn clean(path: &[u8]) -> Option<String> {
    if path.len() > LONGEST_PATH {
        return None;
    }
    let text = String::from_utf8_lossy(path);
    let mut clean = String::with_capacity(text.len());
    for step in text.split('/') {
        match step {
            "" | "." => {}
            ".." => return None,
            step => {
                if !clean.is_empty() {
                    clean.push('/');
                }
                clean.push_str(step);
            }
        }
    }
    (!clean.is_empty()).then_some(clean)
}
