//! What an image's layers, one over the other, hold: base first, each streamed once. What a later layer deletes or replaces is
//! not in the image (OCI image specification, "Filesystem Layers").
//!
//! Memory is that of what was found, whatever the layers hold.

use std::collections::BTreeMap;
use std::io::{self, Read};

use shipline_engine::archive::{Entry, EntryKind, LONGEST_PATH, TarReader};
use shipline_engine::error::{BackendError, ErrorClass};

use super::catalog::{MOST_PACKAGES, READERS, Reader, Told};
use super::elf::{self, Executable};
use super::spool::{Content, Spool};
use crate::layers::Image;

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

/// Told of bytes that were looked at; an error of it ends the walk.
pub(super) type Step<'s> = dyn FnMut(u64) -> io::Result<()> + 's;

/// A file that said something.
#[derive(Debug)]
pub(super) struct Found {
    /// The layer that it is in, from 0.
    pub(super) layer: usize,
    /// What it said.
    pub(super) told: Told,
}

/// A walk over an image's layers.
pub(super) struct Walk<'w> {
    spool: &'w mut Spool,
    found: BTreeMap<String, Found>,
    packages: usize,
    licences: usize,
    noted: usize,
}

impl<'w> Walk<'w> {
    pub(super) fn new(spool: &'w mut Spool) -> Self {
        Self {
            spool,
            found: BTreeMap::new(),
            packages: 0,
            licences: 0,
            noted: 0,
        }
    }

    /// What was found, by path (without the leading `/`).
    pub(super) fn found(self) -> BTreeMap<String, Found> {
        self.found
    }

    /// Reads the next layer.
    ///
    /// # Errors
    /// Where the layer cannot be read or is another than the image says, and those of `step`.
    pub(super) fn layer(
        &mut self,
        image: &Image<'_>,
        index: usize,
        step: &mut Step<'_>,
    ) -> Result<(), BackendError> {
        let failed = |error: io::Error| {
            BackendError::new(ErrorClass::Failed, image.named(index)).because(error)
        };
        let counted = Counted {
            from: image.layer(index)?,
            step,
        };
        let mut tar = TarReader::new(counted);
        while let Some(entry) = tar.next_entry().map_err(failed)? {
            self.entry(index, entry, &mut tar).map_err(failed)?;
        }
        image.finish(index, tar.into_inner().from)
    }

    fn entry(&mut self, layer: usize, entry: Entry, content: &mut impl Read) -> io::Result<()> {
        let Some(path) = clean(&entry.path) else {
            return Ok(());
        };
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            self.forget_below(folder, Some(layer));
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let hidden = if folder.is_empty() {
                hidden.to_owned()
            } else {
                format!("{folder}/{hidden}")
            };
            self.forget(&hidden, Some(layer));
            self.forget_below(&hidden, Some(layer));
            return Ok(());
        }
        if entry.kind == EntryKind::Directory {
            self.forget(&path, None);
            return Ok(());
        }
        let linked = match &entry.kind {
            EntryKind::HardLink { target } => {
                clean(target).and_then(|target| Some(self.found.get(&target)?.told.clone()))
            }
            EntryKind::File { .. }
            | EntryKind::Symlink { .. }
            | EntryKind::Directory
            | EntryKind::CharDevice(..)
            | EntryKind::BlockDevice(..)
            | EntryKind::Fifo
            | EntryKind::Unknown(_) => None,
        };
        self.forget(&path, None);
        self.forget_below(&path, None);
        let told = if matches!(entry.kind, EntryKind::File { .. }) {
            self.read(&path, content)?
        } else {
            linked
        };
        if let Some(told) = told {
            self.keep(path, layer, told);
        }
        Ok(())
    }

    /// Reads a file that may say something.
    fn read(&mut self, path: &str, mut file: impl Read) -> io::Result<Option<Told>> {
        for reader in READERS {
            match reader {
                Reader::Text { wants, read } if wants(path) => {
                    let mut bytes = Vec::new();
                    file.by_ref()
                        .take(LARGEST_TEXT + 1)
                        .read_to_end(&mut bytes)?;
                    return Ok(Some(if bytes.len() as u64 > LARGEST_TEXT {
                        too_large()
                    } else {
                        read(path, &bytes)
                    }));
                }
                Reader::Archive { wants, read } if wants(path) => {
                    return Ok(Some(match self.spool.take(file, LARGEST_FILE)? {
                        Some(mut content) => read(path, &mut *content),
                        None => too_large(),
                    }));
                }
                Reader::Text { .. } | Reader::Archive { .. } | Reader::Section { .. } => {}
            }
        }
        let mut start = Vec::with_capacity(elf::MAGIC.len());
        file.by_ref()
            .take(elf::MAGIC.len() as u64)
            .read_to_end(&mut start)?;
        if start != elf::MAGIC {
            return Ok(None);
        }
        let file = start.as_slice().chain(file);
        Ok(Some(match self.spool.take(file, LARGEST_FILE)? {
            Some(mut content) => executable(&mut *content),
            None => too_large(),
        }))
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
            self.found.insert(path, Found { layer, told });
        }
    }

    /// Forgets a file; with `above`, only where it lies in a layer below that one.
    fn forget(&mut self, path: &str, above: Option<usize>) {
        let goes = |found: &Found| above.is_none_or(|above| found.layer < above);
        if self.found.get(path).is_some_and(goes)
            && let Some(found) = self.found.remove(path)
        {
            self.packages -= found.told.packages.len();
            self.licences -= found.told.licences.len();
        }
    }

    /// Forgets all files of a folder (`""`: of all folders) likewise.
    fn forget_below(&mut self, folder: &str, above: Option<usize>) {
        if self.found.is_empty() {
            return;
        }
        let start = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let below = self.found.range(start.clone()..);
        let below: Vec<String> = below
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&start))
            .cloned()
            .collect();
        for path in below {
            self.forget(&path, above);
        }
    }
}

fn too_large() -> Told {
    Told::malformed("it is too large")
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

/// Tells of every byte that goes through.
struct Counted<'s, 'f, R> {
    from: R,
    step: &'s mut Step<'f>,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        (self.step)(read as u64)?;
        Ok(read)
    }
}
