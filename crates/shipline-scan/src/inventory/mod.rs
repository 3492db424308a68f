//! Which packages an image holds, as typed data: the SBOM is written from it, and what matches packages with advisories reads it.
//!
//! Packages are read from what package managers and linkers leave behind, in the layers as they are. Not seen is what nobody
//! wrote down: copied sources, vendored C libraries, binaries without build information.

mod catalog;
mod elf;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod package;
mod walk;
mod zip;

use std::collections::BTreeMap;

use shipline_engine::backend::{ImageReader, ImageStore, Step};
use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

pub(crate) use package::purl;
pub use package::{Distribution, Package, PackageKind, Place, SourcePackage};
pub(crate) use walk::Walk;

use catalog::release;
use package::is_plain;
use walk::Found;

/// Files that a note names, of those that could be read only in part.
const NAMED: usize = 5;

/// All packages of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The image.
    pub image: Digest,
    /// When the image says that it was made, as it says it.
    pub created: Option<String>,
    /// Its distribution.
    pub distribution: Option<Distribution>,
    /// Its packages, in order, each once.
    pub packages: Vec<Package>,
    /// What a person should know: files that could be read only in part.
    pub notes: Vec<String>,
}

/// Lists the packages of an image. `step` is told of bytes that were read and ends the reading with its error.
///
/// # Errors
/// Where the image cannot be read. Malformed package data is no error: it is among the notes.
pub fn of_image(
    image: &Digest,
    store: &dyn ImageStore,
    reader: &dyn ImageReader,
    step: &mut Step<'_>,
) -> Result<Inventory, BackendError> {
    let mut walk = Walk::new(image);
    reader.show(image, store, &mut [&mut walk], step)?;
    walk.inventory()
}

impl Walk {
    /// The packages of what it saw.
    ///
    /// # Errors
    /// Where a file could not be kept while it was read.
    pub(crate) fn inventory(self) -> Result<Inventory, BackendError> {
        let (said, found) = self.found()?;
        let distribution = release::PATHS
            .into_iter()
            .find_map(|path| found.get(path)?.told.distribution.clone());
        Ok(Inventory {
            image: said.image,
            created: said.created,
            notes: notes(&found),
            packages: packages(found, distribution.as_ref(), &said.diff_ids),
            distribution,
        })
    }
}

/// Each package once, with all its places.
fn packages(
    found: BTreeMap<String, Found>,
    distribution: Option<&Distribution>,
    diff_ids: &[Option<Digest>],
) -> Vec<Package> {
    let mut all: BTreeMap<String, Package> = BTreeMap::new();
    let mut licences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, Found { layer, told }) in found {
        let place = Place {
            path: format!("/{path}"),
            layer: diff_ids.get(layer).cloned().flatten(),
        };
        for (package, licence) in told.licences {
            licences.entry(package).or_default().push(licence);
        }
        for mut package in told.packages {
            // An SBOM inside of the image says itself of which distribution its packages are.
            if package.kind.is_of_a_system() && package.namespace.is_none() {
                package.namespace = distribution.map(|own| own.id.clone());
                package.release = distribution.map(|own| match &own.version {
                    Some(version) => format!("{}-{version}", own.id),
                    None => own.id.clone(),
                });
            }
            package.licences.retain(|licence| is_plain(licence));
            match all.get_mut(&package.purl()) {
                Some(known) => {
                    if !known.places.contains(&place) {
                        known.places.push(place.clone());
                    }
                    for licence in package.licences {
                        if !known.licences.contains(&licence) {
                            known.licences.push(licence);
                        }
                    }
                }
                None => {
                    package.places.push(place.clone());
                    all.insert(package.purl(), package);
                }
            }
        }
    }
    let mut packages: Vec<Package> = all.into_values().collect();
    license(&mut packages, &licences);
    packages.sort();
    packages
}

/// Gives packages of the system the licences that other files name. One that has no such file is built from the sources of one
/// that has: distributions link the folders of such packages to each other.
fn license(packages: &mut [Package], licences: &BTreeMap<String, Vec<String>>) {
    let source = |package: &Package| match &package.source {
        Some(source) => source.name.clone(),
        None => package.name.clone(),
    };
    let mut of_sources: BTreeMap<String, &Vec<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| wants_licences(package)) {
        if let Some(own) = licences.get(&package.name) {
            of_sources.entry(source(package)).or_insert(own);
        }
    }
    for package in packages
        .iter_mut()
        .filter(|package| wants_licences(package))
    {
        let own = licences.get(&package.name);
        if let Some(found) = own.or_else(|| of_sources.get(&source(package)).copied()) {
            package.licences.clone_from(found);
        }
    }
}

fn wants_licences(package: &Package) -> bool {
    package.kind == PackageKind::Deb && package.licences.is_empty()
}

fn notes(found: &BTreeMap<String, Found>) -> Vec<String> {
    let mut notes: Vec<String> = found
        .iter()
        .filter(|(_, found)| !found.told.notes.is_empty())
        .map(|(path, found)| format!("/{path} was read in part: {}", found.told.notes.join(", ")))
        .collect();
    if let Some(more) = notes.len().checked_sub(NAMED).filter(|more| *more > 0) {
        notes.truncate(NAMED);
        notes.push(format!("and so were {more} more files"));
    }
    notes
}

#[cfg(test)]
mod tests;
