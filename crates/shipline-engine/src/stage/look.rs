//! Looking into one image with everything that does: what is known from earlier runs is taken, and the image is shown once to
//! all others together.

use std::io;
use std::sync::Arc;

use shipline_model::name::Digest;
use shipline_model::plan::{ImageId, PlannedImage};

use super::sbom::{self, Catalogued};
use super::{Shared, StageTask, blocking};
use crate::backend::{Look, Looking, ScanReport, ScanTarget, Scanner, TargetKind, Visitor};
use crate::error::{BackendError, ErrorClass};
use crate::event::Unit;
use crate::run::ScanCache;
use crate::task::TaskContext;

/// Progress is told each time this many bytes have been read.
const STEP: u64 = 4 * 1024 * 1024;

/// What there is to say of an image.
pub(super) struct Looked {
    /// Of each scanner that looks into images, in their order.
    pub(super) reports: Vec<Reported>,
    /// Its packages, or why there is no SBOM.
    pub(super) sbom: Result<Catalogued, BackendError>,
}

/// What one scanner reported.
pub(super) struct Reported {
    pub(super) scanner: Arc<dyn Scanner>,
    pub(super) report: ScanReport,
    /// The run that made the report and the scanner's key, where it is an earlier one.
    pub(super) taken: Option<(String, String)>,
}

/// Looks into an image, or takes what is known of it.
pub(super) async fn look(
    task: &StageTask,
    image: &PlannedImage,
    digest: &Digest,
) -> Result<Looked, BackendError> {
    if task.context.is_cancelled() {
        return Err(task.cancelled());
    }
    let shared = Arc::clone(&task.shared);
    let (id, digest) = (image.id.clone(), digest.clone());
    let name = image.repository.to_string();
    let context = task.context.clone();
    blocking(move || {
        let mut looked = all(&shared, &id, &digest, &name, &context);
        if let Err(error) = &mut looked
            && context.is_cancelled()
        {
            error.class = ErrorClass::Cancelled;
        }
        looked
    })
    .await
}

/// A scanner's report, or that it is being made.
enum Making<'l> {
    Known(ScanReport, (String, String)),
    Done(ScanReport),
    AtFiles(Box<dyn Look<ScanReport> + 'l>),
}

fn all(
    shared: &Shared,
    id: &ImageId,
    digest: &Digest,
    name: &str,
    context: &TaskContext,
) -> Result<Looked, BackendError> {
    let backends = &shared.backends;
    let target = ScanTarget::Image { id, digest };
    let scanners = backends.scanners.iter();
    let scanners: Vec<_> = scanners
        .filter(|scanner| scanner.looks_into(TargetKind::Image))
        .collect();
    let mut making = Vec::with_capacity(scanners.len());
    for scanner in &scanners {
        making.push(match known(shared, id, digest, scanner.as_ref()) {
            Some((run, report)) => Making::Known(report, (run, scanner.key().unwrap_or_default())),
            None => match scanner.scan(&target, context)? {
                Looking::Done(report) => Making::Done(report),
                Looking::AtFiles(look) => Making::AtFiles(look),
            },
        });
    }
    let known_sbom = sbom::known(shared, digest, name);
    let mut sbom = match &known_sbom {
        Some(_) => None,
        None => Some(backends.cataloguer.catalogue(name, digest)),
    };
    let mut visitors: Vec<&mut dyn Visitor> = Vec::new();
    for making in &mut making {
        match making {
            Making::AtFiles(look) => visitors.push(&mut **look),
            Making::Known(..) | Making::Done(_) => {}
        }
    }
    let scanned = !visitors.is_empty();
    if let Some(Ok(Looking::AtFiles(look))) = &mut sbom {
        visitors.push(&mut **look);
    }
    let shown = if visitors.is_empty() {
        Ok(())
    } else {
        let mut read = Progress::new(context);
        let mut step = |bytes: u64| read.step(bytes);
        backends
            .reader
            .show(digest, &*backends.store, &mut visitors, &mut step)
    };
    // An image that scanners cannot read is no pass; one that only the cataloguer cannot read has no SBOM.
    let unlisted = match shown {
        Err(error) if scanned || context.is_cancelled() => return Err(error),
        Err(error) => Some(error),
        Ok(()) => None,
    };
    let mut reports = Vec::with_capacity(making.len());
    for (scanner, making) in scanners.into_iter().zip(making) {
        let (report, taken) = match making {
            Making::Known(report, from) => (report, Some(from)),
            Making::Done(report) => (made(shared, id, digest, scanner, report)?, None),
            Making::AtFiles(look) => {
                let report = look.finish()?;
                (made(shared, id, digest, scanner, report)?, None)
            }
        };
        reports.push(Reported {
            scanner: Arc::clone(scanner),
            report,
            taken,
        });
    }
    let sbom = match (known_sbom, sbom, unlisted) {
        (Some(known), _, _) => sbom::keep(shared, id, digest, name, known, sbom::Source::Earlier),
        (None, _, Some(error)) => Err(error),
        (None, Some(Ok(looking)), None) => {
            let made = match looking {
                Looking::Done(made) => Ok(made),
                Looking::AtFiles(look) => look.finish(),
            };
            made.and_then(|made| sbom::keep(shared, id, digest, name, made, sbom::Source::Made))
        }
        (None, Some(Err(error)), None) => Err(error),
        (None, None, None) => Err(BackendError::new(
            ErrorClass::Failed,
            format!("list the packages of {id}"),
        )),
    };
    Ok(Looked { reports, sbom })
}

/// The key includes the image ID: the same bytes may leak in staging and be right in production.
fn key(id: &ImageId, scanner: &dyn Scanner) -> Option<String> {
    scanner.key().map(|key| format!("{id} {key}"))
}

/// An earlier report of the same bytes under the same rules, with its run.
fn known(
    shared: &Shared,
    id: &ImageId,
    digest: &Digest,
    scanner: &dyn Scanner,
) -> Option<(String, ScanReport)> {
    match shared.options.scan_cache {
        ScanCache::Use => shared
            .cache
            .scan(digest, scanner.name(), &key(id, scanner)?),
        ScanCache::Ignore => None,
    }
}

/// A report that was made now, without any secret. It is remembered where the gate lets it pass: failures never are.
fn made(
    shared: &Shared,
    id: &ImageId,
    digest: &Digest,
    scanner: &Arc<dyn Scanner>,
    report: ScanReport,
) -> Result<ScanReport, BackendError> {
    let report = shared.options.redactor.mask_report(report);
    let target = ScanTarget::Image { id, digest };
    let judged = shared
        .judge
        .judge(&target.name(), scanner.kind(), report.clone());
    if let Some(key) = key(id, scanner.as_ref())
        && judged.stopped.is_empty()
        && report.not_assessed.is_none()
    {
        let run = shared.options.run.as_str();
        shared
            .cache
            .record_scan(digest, scanner.name(), &key, run, &report)?;
    }
    Ok(report)
}

/// Tells how much was read, and notices that the task should stop.
struct Progress<'t> {
    task: &'t TaskContext,
    read: u64,
    told: u64,
}

impl<'t> Progress<'t> {
    fn new(task: &'t TaskContext) -> Self {
        Self {
            task,
            read: 0,
            told: 0,
        }
    }

    fn step(&mut self, bytes: u64) -> io::Result<()> {
        self.read += bytes;
        if self.read - self.told >= STEP {
            self.told = self.read;
            self.task
                .progress("looked at", self.read, None, Unit::Bytes);
        }
        if self.task.is_cancelled() {
            return Err(io::Error::other("the task was stopped"));
        }
        Ok(())
    }
}
