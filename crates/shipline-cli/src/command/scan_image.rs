//! `scan image`: looks into images of the clone's store as `image-scan` does, and writes baselines.

use std::path::Path;
use std::sync::Arc;

use shipline_engine::backend::{
    ImageReader, ImageStore, Looking, Scan, ScanReport, ScanTarget, ScanWriter, Scanner,
    TargetKind, Visitor,
};
use shipline_engine::findings::{Baseline, Judge, TargetName, day};
use shipline_engine::task::TaskContext;
use shipline_model::config::{Config, Scans, Variants, did_you_mean};
use shipline_model::finding::{Finding, grouped};
use shipline_model::name::{Digest, StageName};
use shipline_model::plan::{ImageId, TaskId};
use shipline_report::{SarifWriter, describe};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::args::{ScanFormat, ScanImageArgs};
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::file;
use crate::planning;
use crate::secrets;
use crate::session::Session;
use crate::settings::Settings;
use crate::shown::{print, print_data, print_error};
use crate::wiring;

/// What the gate says to all images.
#[derive(Default)]
struct Found {
    /// What each scanner found in each image, judged.
    scans: Vec<(ImageId, Scan)>,
    stopped: usize,
}

/// Runs the command.
pub(crate) fn run(args: &ScanImageArgs, settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let profile = planning::profile(&session, &args.profile)?;
    let images = images(args, &session, settings)?;
    let source = wiring::source(&session, settings, &wiring::waiting())?;
    let today = day(settings.now.saturating_mul(1000))?;
    let scans = match args.write_baseline {
        Some(_) => without_baselines(&session.config.scans),
        None => session.config.scans.clone(),
    };
    let judge = Judge::new(&scans, &profile.name, &today, &|path| source.read(path))?;
    let found = look(&session, settings, &images, &judge)?;
    if let Some(path) = &args.write_baseline {
        return write_baseline(&found, &settings.directory.join(path));
    }
    let redactor = secrets::redactor();
    match args.format {
        ScanFormat::Sarif => {
            let scans: Vec<Scan> = found.scans.iter().map(|(_, scan)| scan.clone()).collect();
            let document = redactor.mask_document(SarifWriter.write(&scans)?.bytes);
            print_data(&String::from_utf8_lossy(&document))?;
        }
        ScanFormat::Table => {
            print(&redactor.show(&table(&found)))?;
        }
    }
    let all = found.scans.iter().map(|(_, scan)| scan.findings.len());
    let line = format!(
        "{} in {}, {} at or above the gate\n",
        counted(all.sum(), "finding"),
        counted(images.len(), "image"),
        found.stopped
    );
    print_error(&line);
    Ok(if found.stopped == 0 {
        exit::PASSED
    } else {
        exit::FAILED
    })
}

/// The same exceptions and gates, as if nothing had been there before.
fn without_baselines(scans: &Scans) -> Scans {
    let mut scans = scans.clone();
    scans.image.baseline = None;
    scans.leaks.baseline = None;
    scans
}

/// The images that are asked for, or all that the store has of the configuration's.
fn images(
    args: &ScanImageArgs,
    session: &Session,
    settings: &Settings,
) -> Result<Vec<(ImageId, Digest)>, CommandError> {
    let store = wiring::store_as_it_is(session, settings);
    let listed = store.images()?;
    let digest = |id: &ImageId| {
        let name = id.to_string();
        let image = listed
            .iter()
            .find(|image| image.name.as_deref() == Some(&name));
        image.map(|image| image.digest.clone())
    };
    let there: Vec<(ImageId, Digest)> = declared(&session.config)
        .into_iter()
        .filter_map(|id| digest(&id).map(|digest| (id, digest)))
        .collect();
    if there.is_empty() {
        let why = "the image store of this clone has no image of pipeline.yaml's components";
        return Err(CommandError::usage(why).hint("build them first: `pipeline NAME --all`"));
    }
    if args.targets.is_empty() {
        return Ok(there);
    }
    let find = |name: &String| {
        let named = there.iter().find(|(id, _)| id.to_string() == *name);
        named.cloned().ok_or_else(|| {
            let known: Vec<String> = there.iter().map(|(id, _)| id.to_string()).collect();
            let known = known.iter().map(String::as_str);
            CommandError::usage(format!(
                "there is no image `{name}` in the store of this clone"
            ))
            .hint(did_you_mean(name, known))
        })
    };
    args.targets.iter().map(find).collect()
}

/// All images that the configuration declares.
fn declared(config: &Config) -> Vec<ImageId> {
    let mut all = Vec::new();
    for component in config.components.values() {
        let id = |variant| ImageId {
            component: component.name.clone(),
            variant,
        };
        match component.image.as_ref().map(|image| &image.variants) {
            Some(Variants::One) => all.push(id(None)),
            Some(Variants::PerEnvironment(variants)) => {
                all.extend(variants.keys().cloned().map(Some).map(id));
            }
            None => {}
        }
    }
    all
}

/// Looks into the images with every scanner.
fn look(
    session: &Session,
    settings: &Settings,
    images: &[(ImageId, Digest)],
    judge: &Judge,
) -> Result<Found, CommandError> {
    let scanners: Vec<Arc<dyn Scanner>> = shipline_scan::scanners(&session.config)?
        .into_iter()
        .filter(|scanner| scanner.looks_into(TargetKind::Image))
        .collect();
    let reader = wiring::reader(session)?;
    let store = wiring::store_as_it_is(session, settings);
    let mut found = Found::default();
    for (id, digest) in images {
        let reports = reports(&scanners, &*reader, &store, id, digest)?;
        for (scanner, report) in scanners.iter().zip(reports) {
            let undecided = report.undecided.clone();
            let judged = judge.judge(&TargetName::from(id), scanner.kind(), report);
            let counts = |finding: &Finding| finding.suppression.is_none();
            if let Some(why) = undecided.filter(|_| judged.findings.iter().any(counts)) {
                print_error(&format!("note: {id}: not assessed: {why}\n"));
            }
            for note in &judged.notes {
                print_error(&format!("note: {id}: {note}\n"));
            }
            if let Some(why) = judged.not_assessed {
                return Err(CommandError::new(
                    ErrorKind::Failed,
                    format!("failed to look for {} in {id}: {why}", scanner.name()),
                ));
            }
            found.stopped += judged.stopped.len();
            found.scans.push((
                id.clone(),
                Scan {
                    scanner: scanner.name().to_owned(),
                    findings: judged.findings,
                },
            ));
        }
    }
    Ok(found)
}

/// What each scanner reports of an image, which is read once for all.
fn reports(
    scanners: &[Arc<dyn Scanner>],
    reader: &dyn ImageReader,
    store: &dyn ImageStore,
    id: &ImageId,
    digest: &Digest,
) -> Result<Vec<ScanReport>, CommandError> {
    let task = context(id)?;
    let target = ScanTarget::Image { id, digest };
    let mut looking = Vec::with_capacity(scanners.len());
    for scanner in scanners {
        looking.push(scanner.scan(&target, &task)?);
    }
    let visitors = looking.iter_mut().filter_map(|looking| match looking {
        Looking::Done(_) => None,
        Looking::AtFiles(look) => Some(&mut **look as &mut dyn Visitor),
    });
    let mut visitors: Vec<&mut dyn Visitor> = visitors.collect();
    if !visitors.is_empty() {
        reader.show(digest, store, &mut visitors, &mut |_| Ok(()))?;
    }
    let reports = looking.into_iter().map(|looking| match looking {
        Looking::Done(report) => Ok(report),
        Looking::AtFiles(look) => Ok(look.finish()?),
    });
    reports.collect()
}

/// The context of a scan that belongs to no run: nobody listens.
fn context(id: &ImageId) -> Result<TaskContext, CommandError> {
    let stage = StageName::new("image-scan")
        .map_err(|error| CommandError::new(ErrorKind::Bug, "a scan has no name").because(error))?;
    let task = TaskId {
        stage,
        component: Some(id.component.clone()),
        variant: id.variant.clone(),
    };
    let (sender, _) = mpsc::channel(1);
    Ok(TaskContext::new(task, sender, CancellationToken::new()))
}

fn table(found: &Found) -> String {
    let mut text = String::new();
    for (id, scan) in &found.scans {
        for group in grouped(&scan.findings) {
            text.push_str(&format!("{id}: {}\n", describe::findings(&group)));
        }
    }
    text
}

/// Writes what no exception covers into the file.
fn write_baseline(found: &Found, path: &Path) -> Result<u8, CommandError> {
    let mut baseline = Baseline::default();
    for (id, scan) in &found.scans {
        let open = |finding: &&Finding| finding.suppression.is_none();
        for finding in scan.findings.iter().filter(open) {
            baseline.add(finding, &TargetName::from(id));
        }
    }
    let failed = || {
        CommandError::new(
            ErrorKind::Failed,
            format!("failed to write {}", path.display()),
        )
    };
    let bytes = baseline.write().map_err(|error| failed().because(error))?;
    let text = secrets::redactor().mask_document(bytes);
    file::replace(path, &String::from_utf8_lossy(&text))
        .map_err(|error| failed().because(error))?;
    print_error(&format!(
        "{} written to {}\n",
        counted(baseline.len(), "finding"),
        path.display()
    ));
    Ok(exit::PASSED)
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
