//! The kinds of package data. One file for each; to add one, write it and list it in [`READERS`].

mod apk;
mod cargo;
mod composer;
mod conda;
mod copyright;
mod document;
mod dpkg;
mod gem;
mod golang;
mod java;
mod npm;
mod nuget;
mod python;
pub(super) mod release;
mod rpm;

use super::elf::Executable;
use super::package::{Distribution, Package};
use crate::layers::spool::Content;

/// What one file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Told {
    /// The packages that it lists; their places are not filled in.
    pub(super) packages: Vec<Package>,
    /// The distribution, where it names that.
    pub(super) distribution: Option<Distribution>,
    /// Licences of packages of the system that another file lists: the package's name, and one licence.
    pub(super) licences: Vec<(String, String)>,
    /// Why it could be read only in part.
    pub(super) notes: Vec<String>,
}

/// An entry without a usable name or version.
struct Malformed;

impl Told {
    /// What the entries of a list say, each a package or something that does not count; of an endless list, the start.
    fn of(entries: impl IntoIterator<Item = Result<Option<Package>, Malformed>>) -> Self {
        let mut told = Self::default();
        let mut malformed = 0;
        for entry in entries {
            match entry {
                Ok(package) => told.packages.extend(package),
                Err(Malformed) => malformed += 1,
            }
            if told.packages.len() > MOST_PACKAGES {
                break;
            }
        }
        match malformed {
            0 => {}
            1 => told
                .notes
                .push("1 entry has no name or no version".to_owned()),
            entries => told
                .notes
                .push(format!("{entries} entries have no name or no version")),
        }
        told
    }

    /// Takes what another part of the same file says.
    pub(super) fn add(&mut self, other: Self) {
        self.packages.extend(other.packages);
        self.licences.extend(other.licences);
        self.distribution = self.distribution.take().or(other.distribution);
        self.notes.extend(other.notes);
    }

    /// A file that is not what its name says.
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self {
            notes: vec![why.into()],
            ..Self::default()
        }
    }
}

/// More packages than this are not an image's but an attack's. Readers stop behind them; one more tells that there are more.
pub(super) const MOST_PACKAGES: usize = 100_000;

/// How package data is recognised and read.
pub(super) enum Reader {
    /// Files that are told by their path (without the leading `/`) and read whole.
    Text {
        /// Whether it is such a file.
        wants: fn(&str) -> bool,
        /// Reads one; malformed content is told, never an error.
        read: fn(&str, &[u8]) -> Told,
    },
    /// Archives that are told by their path and read from any place in them.
    Archive {
        /// Whether it is such a file.
        wants: fn(&str) -> bool,
        /// Reads one.
        read: fn(&str, &mut dyn Content) -> Told,
    },
    /// A section of executables, wherever they are.
    Section {
        /// The section's name.
        name: &'static str,
        /// It is read up to this many bytes.
        largest: usize,
        /// Reads one.
        read: fn(&[u8], &mut Executable<'_>) -> Told,
    },
}

/// All of them. The first one that wants a file gets it.
pub(super) const READERS: &[Reader] = &[
    release::READER,
    dpkg::READER,
    copyright::READER,
    apk::READER,
    rpm::DATABASE,
    rpm::MANIFEST,
    // Before the others that look at JSON: a wheel's SBOMs have any name.
    document::READER,
    npm::READER,
    python::READER,
    python::EGG,
    java::READER,
    composer::READER,
    gem::READER,
    nuget::READER,
    conda::READER,
    golang::READER,
    cargo::READER,
];

/// What stands for text in a file: bytes that are not UTF-8 are replaced.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A JSON text, or the texts of a list: how several ecosystems write licences.
fn strings(value: Option<&serde_json::Value>) -> Vec<String> {
    use serde_json::Value;
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            Vec::new()
        }
    }
}

/// The last component of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Blocks of lines with empty lines between them.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            end += line.len();
            if line.trim().is_empty() {
                break;
            }
        }
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        Some(paragraph)
    })
    .filter(|paragraph| !paragraph.trim().is_empty())
}
