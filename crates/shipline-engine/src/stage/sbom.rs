//! The SBOM of an image: made once for its bytes, remembered, laid into the run's record and kept for the registry.

use shipline_model::name::Digest;
use shipline_model::plan::ImageId;

use super::Shared;
use crate::backend::Sbom;
use crate::disk::write_whole;
use crate::error::BackendError;
use crate::record::document_path;
use crate::run::ScanCache;

/// What is in an SBOM.
pub(super) struct Catalogued {
    /// Its packages.
    pub(super) packages: usize,
    /// Whether it was made now.
    pub(super) source: Source,
    /// Things that a person should know.
    pub(super) notes: Vec<String>,
}

/// Where an SBOM comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It was made now.
    Made,
    /// It is that of an earlier run.
    Earlier,
}

/// What is remembered of these bytes under this name.
pub(super) fn known(shared: &Shared, digest: &Digest, name: &str) -> Option<Sbom> {
    match shared.options.scan_cache {
        ScanCache::Use => shared.cache.sbom(digest, &key(shared, name)),
        ScanCache::Ignore => None,
    }
}

/// Remembers the SBOM, lays it into the run's record, and keeps it for the registry.
pub(super) fn keep(
    shared: &Shared,
    id: &ImageId,
    digest: &Digest,
    name: &str,
    sbom: Sbom,
    source: Source,
) -> Result<Catalogued, BackendError> {
    let options = &shared.options;
    let key = key(shared, name);
    let recorded = match source {
        Source::Earlier => sbom,
        Source::Made => {
            let sbom = options.redactor.mask_sbom(sbom);
            shared
                .cache
                .record_sbom(digest, &key, options.run.as_str(), &sbom)?;
            sbom
        }
    };
    // Another run may have had other secrets.
    let sbom = options.redactor.mask_sbom(recorded.clone());
    let path = document_path(&options.state, &options.run, id, &sbom.document.title);
    if sbom == recorded {
        shared
            .cache
            .lay_sbom(digest, &key, &path, &sbom.document.bytes)?;
    } else {
        write_whole(&path, &sbom.document.bytes)?;
    }
    let mut results = shared.results();
    results.sboms.insert(id.clone(), sbom.document);
    Ok(Catalogued {
        packages: sbom.packages,
        source,
        notes: sbom.notes,
    })
}

fn key(shared: &Shared, name: &str) -> String {
    format!("{name} {}", shared.backends.cataloguer.key())
}
