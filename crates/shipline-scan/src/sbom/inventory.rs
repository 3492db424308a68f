//! All packages of an image.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use shipline_engine::backend::ImageStore;
use shipline_engine::error::BackendError;
use shipline_model::name::Digest;

use super::catalog::release;
use super::package::{Distribution, Package, PackageKind, Place, is_plain};
use super::spool::Spool;
use super::walk::{Found, Step, Walk};
use crate::layers;

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

/// Lists the packages of an image. Files that are too large for memory pass through a temporary file in `scratch`; `step` is
/// told of bytes that were looked at and ends the walk with its error.
///
/// # Errors
/// Where the image cannot be read. Malformed package data is no error: it is among the notes.
pub fn inventory(
    image: &Digest,
    store: &dyn ImageStore,
    scratch: &Path,
    step: &mut Step<'_>,
) -> Result<Inventory, BackendError> {
    let manifest = layers::manifest(store, image)?;
    let config = layers::config(store, &manifest.config)?;
    let mut spool = Spool::new(scratch.to_path_buf());
    let mut walk = Walk::new(&mut spool);
    for (index, layer) in manifest.layers.iter().enumerate() {
        walk.layer(store, index, layer, step)?;
    }
    let diff_ids = diff_ids(&config);
    let found = walk.found();
    let distribution = release::PATHS
        .into_iter()
        .find_map(|path| found.get(path)?.told.distribution.clone());
    Ok(Inventory {
        image: image.clone(),
        created: created(&config),
        notes: notes(&found),
        packages: packages(found, distribution.as_ref(), &diff_ids),
        distribution,
    })
}

/// Each package once, with all its places.
fn packages(
    found: BTreeMap<String, Found>,
    distribution: Option<&Distribution>,
    diff_ids: &[Option<Digest>],
) -> Vec<Package> {
    let mut all: BTreeMap<String, Package> = BTreeMap::new();
    for (path, Found { layer, told }) in found {
        let place = Place {
            path: format!("/{path}"),
            layer: diff_ids.get(layer).cloned().flatten(),
        };
        for mut package in told.packages {
            if matches!(package.kind, PackageKind::Deb | PackageKind::Apk) {
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
    packages.sort();
    packages
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

fn diff_ids(config: &Value) -> Vec<Option<Digest>> {
    let ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
    let ids = ids.into_iter().flatten();
    ids.map(|id| Digest::new(id.as_str()?).ok()).collect()
}

/// The label counts before the config's own field: builders for which equal sources give equal bytes set that to a constant.
fn created(config: &Value) -> Option<String> {
    let label = config.pointer("/config/Labels/org.opencontainers.image.created");
    let created = label.or_else(|| config.get("created"))?.as_str()?;
    Some(created.to_owned())
}
