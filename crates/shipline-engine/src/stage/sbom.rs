//! The SBOM of an image: made once for its bytes, remembered, laid into the run's record and kept for the registry.

use std::sync::Arc;

use shipline_model::name::Digest;
use shipline_model::plan::PlannedImage;

use super::{StageTask, blocking};
use crate::disk::write_whole;
use crate::error::{BackendError, ErrorClass};
use crate::record::document_path;
use crate::run::ScanCache;

/// What is in an SBOM.
pub(super) struct Catalogued {
    /// Its packages.
    pub(super) packages: usize,
    /// Whether it was made now, and is not that of an earlier run.
    pub(super) made: bool,
}

/// Makes or takes the image's SBOM. One that cannot be made is no reason not to publish: the task says so, and there is none.
pub(super) async fn catalogue(
    task: &StageTask,
    image: &PlannedImage,
    digest: &Digest,
) -> Result<Option<Catalogued>, BackendError> {
    match try_catalogue(task, image, digest).await {
        Ok(catalogued) => Ok(Some(catalogued)),
        Err(error) if error.class == ErrorClass::Cancelled => Err(error),
        Err(error) => {
            let why = match &error.cause {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            };
            let line = format!("{} has no SBOM: failed to {why}", image.id);
            task.context.note(line).await;
            Ok(None)
        }
    }
}

async fn try_catalogue(
    task: &StageTask,
    image: &PlannedImage,
    digest: &Digest,
) -> Result<Catalogued, BackendError> {
    let shared = &task.shared;
    let (cache, options) = (shared.cache.clone(), Arc::clone(&shared.options));
    let cataloguer = Arc::clone(&shared.backends.cataloguer);
    let store = Arc::clone(&shared.backends.store);
    let (digest, context) = (digest.clone(), task.context.clone());
    let name = image.repository.to_string();
    let key = format!("{name} {}", cataloguer.key());
    let id = image.id.clone();
    let (sbom, made) = blocking(move || {
        let known = match options.scan_cache {
            ScanCache::Use => cache.sbom(&digest, &key),
            ScanCache::Ignore => None,
        };
        let (recorded, made) = match known {
            Some(known) => (known, false),
            None => {
                let sbom = cataloguer.catalogue(&name, &digest, &*store, &context)?;
                let sbom = options.redactor.mask_sbom(sbom);
                cache.record_sbom(&digest, &key, options.run.as_str(), &sbom)?;
                (sbom, true)
            }
        };
        // Another run may have had other secrets.
        let sbom = options.redactor.mask_sbom(recorded.clone());
        let path = document_path(&options.state, &options.run, &id, &sbom.document.title);
        if sbom == recorded {
            cache.lay_sbom(&digest, &key, &path, &sbom.document.bytes)?;
        } else {
            write_whole(&path, &sbom.document.bytes)?;
        }
        Ok((sbom, made))
    })
    .await?;
    for note in sbom.notes {
        task.context
            .note(format!("SBOM of {}: {note}", image.id))
            .await;
    }
    let mut results = shared.results();
    results.sboms.insert(image.id.clone(), sbom.document);
    Ok(Catalogued {
        packages: sbom.packages,
        made,
    })
}
