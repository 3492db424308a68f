//! RPM packages: the database of rpm in each of its three formats (SQLite, NDB, Berkeley DB), and the list that images without
//! rpm keep instead (`container-manifest-2` of Azure Linux).

mod header;
mod ndb;
mod old;
mod sqlite;

use std::io;

use super::super::package::{Package, PackageKind, SourcePackage, is_plain};
use super::{MOST_PACKAGES, Malformed, Reader, Told, text};
use crate::layers::spool::{Content, length};

/// Folders of the database: the usual one, that of newer distributions, and that of images which are made with ostree.
const FOLDERS: [&str; 3] = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
/// One package's header, in bytes; the largest that is known (a kernel's modules) has 5 MB.
const LARGEST_HEADER: usize = 64 * 1024 * 1024;

pub(super) const DATABASE: Reader = Reader::Archive {
    wants: |path| database(path).is_some(),
    read,
};

pub(super) const MANIFEST: Reader = Reader::Text {
    wants: |path| path == "var/lib/rpmmanifest/container-manifest-2",
    read: manifest,
};

/// The file formats of the database.
#[derive(Debug, Clone, Copy)]
enum Format {
    Sqlite,
    /// What SQLite has not yet written into its database.
    SqliteLog,
    Ndb,
    BerkeleyDb,
}

fn database(path: &str) -> Option<Format> {
    let (folder, name) = path.rsplit_once('/')?;
    if !FOLDERS.contains(&folder) {
        return None;
    }
    match name {
        "rpmdb.sqlite" => Some(Format::Sqlite),
        "rpmdb.sqlite-wal" => Some(Format::SqliteLog),
        "Packages.db" => Some(Format::Ndb),
        "Packages" => Some(Format::BerkeleyDb),
        _ => None,
    }
}

fn read(path: &str, content: &mut dyn Content) -> Told {
    let Some(format) = database(path) else {
        return Told::default();
    };
    let mut headers = Headers::default();
    let outcome = length(content).and_then(|length| {
        headers.room = length;
        match format {
            // A database that was closed has an empty one, or none.
            Format::SqliteLog if length == 0 => Ok(()),
            Format::SqliteLog => Err(invalid("the packages in it are not in the database yet")),
            Format::Sqlite => sqlite::read(content, length, &mut headers),
            Format::Ndb => ndb::read(content, length, &mut headers),
            Format::BerkeleyDb => old::read(content, length, &mut headers),
        }
    });
    let mut told = Told::of(headers.entries);
    if let Err(error) = outcome {
        told.add(Told::malformed(error.to_string()));
    }
    told
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What a database gives: the header of each installed package.
#[derive(Default)]
struct Headers {
    entries: Vec<Result<Option<Package>, Malformed>>,
    /// Bytes that headers can still take: together they are not longer than their database, unless they lie in each other.
    room: u64,
}

impl Headers {
    /// Makes room for a header of so many bytes before it is read.
    ///
    /// # Errors
    /// Where no honest database can hold it.
    fn reserve(&mut self, bytes: u64) -> io::Result<usize> {
        let bytes_here = usize::try_from(bytes).ok();
        let Some(bytes_here) = bytes_here.filter(|bytes| *bytes <= LARGEST_HEADER) else {
            return Err(invalid("a package's header is too large"));
        };
        match self.room.checked_sub(bytes) {
            Some(room) => self.room = room,
            None => return Err(invalid("its packages lie in each other")),
        }
        if self.entries.len() > MOST_PACKAGES {
            return Err(invalid("it has too many packages"));
        }
        Ok(bytes_here)
    }

    fn add(&mut self, header: &[u8]) {
        self.entries.push(header::package(header).ok_or(Malformed));
    }
}

/// A package of rpm. Its version is `[epoch:]version-release`, its source what `NAME-VERSION-RELEASE.src.rpm` names.
fn package(
    name: &str,
    epoch: Option<u32>,
    version: &str,
    release: &str,
    source: Option<&str>,
) -> Option<Package> {
    let full = match epoch {
        Some(epoch) if epoch > 0 => format!("{epoch}:{version}-{release}"),
        Some(_) | None => format!("{version}-{release}"),
    };
    if version.is_empty() || release.is_empty() {
        return None;
    }
    let mut package = Package::new(PackageKind::Rpm, None, name, Some(&full))?;
    package.source = source.and_then(source_package);
    Some(package)
}

/// `openssl-3.0.7-18.el9.src.rpm` is `openssl` in `3.0.7-18.el9`.
fn source_package(file: &str) -> Option<SourcePackage> {
    let stem = file
        .strip_suffix(".src.rpm")
        .or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    is_plain(stem).then(|| SourcePackage {
        name: name.to_owned(),
        version: Some(format!("{version}-{release}")),
    })
}

/// One package a line, its fields with tabs between them: name, version-release, two times, vendor, epoch, size, architecture,
/// epoch, source package.
fn manifest(_: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Told::of(lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let package = (|| {
            let (version, release) = fields.get(1)?.rsplit_once('-')?;
            let epoch = fields.get(8).and_then(|epoch| epoch.parse().ok());
            let source = fields.get(9).copied();
            let mut package = package(fields.first()?, epoch, version, release, source)?;
            let architecture = fields.get(7).filter(|text| is_plain(text));
            package.architecture = architecture.map(|text| (*text).to_owned());
            Some(package)
        })();
        package.map(Some).ok_or(Malformed)
    }))
}

#[cfg(test)]
mod tests;
