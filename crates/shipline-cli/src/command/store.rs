//! `store show` and `store gc`: what the image store of this clone holds, and what of it nothing needs any more.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use shipline_engine::backend::ImageStore as _;
use shipline_engine::cache::{Cache, RecordedBuild};
use shipline_engine::lock::Wait;
use shipline_engine::record::{self, StoredRun};
use shipline_model::config::Variants;
use shipline_model::name::Digest;
use shipline_model::plan::{ImageId, LOCK_FILE};
use shipline_oci::pull::{PipelineLock, RecordedBase, recorded};
use shipline_oci::store::{Collected, Garbage, LayoutStore, NamedImage};
use shipline_report::bytes;

use crate::again::Program;
use crate::age;
use crate::args::StoreGcArgs;
use crate::error::CommandError;
use crate::exit;
use crate::session::{self, Session, inside};
use crate::settings::Settings;
use crate::shown::{print_error, print_page};
use crate::wiring;

/// Runs whose release sets are kept whole however old they are.
const RELEASES: usize = 10;

/// The age that `store gc` goes by unless told otherwise.
const USUAL_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Everything that may need images of the store.
struct Needs {
    /// Names of images that pipeline.yaml declares.
    names: Vec<NamedImage>,
    lock: PipelineLock,
    bases: Vec<RecordedBase>,
    builds: Vec<RecordedBuild>,
    /// The manifests of the last runs' release sets.
    released: BTreeSet<Digest>,
}

impl Needs {
    fn read(
        session: &Session,
        store: &LayoutStore,
        cache: &Cache,
        runs: &[StoredRun],
    ) -> Result<Self, CommandError> {
        let declared = declared(session);
        let names = store.names()?.into_iter();
        let released = runs
            .iter()
            .filter_map(StoredRun::release_set)
            .take(RELEASES)
            .flat_map(|set| set.images)
            .filter_map(|image| Digest::new(image.digest).ok());
        Ok(Self {
            names: names
                .filter(|image| declared.contains(&image.name))
                .collect(),
            lock: lock(session)?,
            bases: recorded(&wiring::base_records(session)),
            builds: cache.builds(),
            released: released.collect(),
        })
    }

    fn roots(&self, older_than: Duration) -> Vec<Digest> {
        let mut roots: BTreeSet<Digest> = self.released.clone();
        roots.extend(self.names.iter().map(|image| image.digest.clone()));
        roots.extend(self.lock.entries().map(|(_, digest)| digest.clone()));
        let young = self.bases.iter().filter(|base| base.unused < older_than);
        roots.extend(young.map(|base| base.digest.clone()));
        let young = self.builds.iter().filter(|build| build.age < older_than);
        roots.extend(young.flat_map(|build| build.images.iter().cloned()));
        roots.into_iter().collect()
    }
}

/// The names that images of pipeline.yaml's components have in the store.
fn declared(session: &Session) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for component in session.config.components.values() {
        let Some(image) = &component.image else {
            continue;
        };
        let variants = match &image.variants {
            Variants::One => vec![None],
            Variants::PerEnvironment(variants) => variants.keys().cloned().map(Some).collect(),
        };
        for variant in variants {
            let id = ImageId {
                component: component.name.clone(),
                variant,
            };
            names.insert(id.to_string());
        }
    }
    names
}

/// Bytes that a `pipeline.lock` may have.
const LARGEST_LOCK: u64 = 16 << 20;

/// The lock in the work tree. One that cannot be read is an error: its images would go.
fn lock(session: &Session) -> Result<PipelineLock, CommandError> {
    let place = inside(&session.root, LOCK_FILE)?;
    match place.read_at_most(LARGEST_LOCK) {
        Ok(text) => Ok(PipelineLock::parse(&String::from_utf8_lossy(&text))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PipelineLock::default()),
        Err(error) => Err(CommandError::usage(format!(
            "failed to read {}",
            place.path().display()
        ))
        .because(error)),
    }
}

/// `store show`.
pub(crate) fn show(settings: &Settings, program: &Program) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let root = wiring::store_as_it_is(&session, settings);
    let root = root.layout().root();
    if !root.exists() {
        // A look makes none.
        let text = format!("{} is not there yet\n", root.display());
        return print_page(&text, settings.page);
    }
    let store = wiring::layout_store(&session, settings)?;
    let cache = Cache::new(session.state());
    let runs = record::runs(session.state())?;
    let needs = Needs::read(&session, &store, &cache, &runs)?;
    let garbage = store.garbage(&needs.roots(USUAL_AGE), USUAL_AGE)?.size();
    let mut text = format!(
        "{} holds {}\n",
        store.layout().root().display(),
        amount(store.size_of_all()?)
    );
    images(&store, &mut text)?;
    bases(&store, &needs, &mut text)?;
    // Writing into a String cannot fail.
    let _ = match garbage.blobs {
        0 => writeln!(text, "`{} store gc` would remove nothing", program.name),
        _ => writeln!(
            text,
            "`{} store gc` would free {}",
            program.name,
            amount(garbage)
        ),
    };
    print_page(&text, settings.page)
}

fn images(store: &LayoutStore, text: &mut String) -> Result<(), CommandError> {
    let names = store.names()?;
    if !names.is_empty() {
        text.push_str("images\n");
    }
    let width = names.iter().map(|image| image.name.len()).max();
    let width = width.unwrap_or(0);
    for image in names {
        let size = size(store, &image.digest)?;
        let _ = writeln!(text, "  {:width$}  {}  {size}", image.name, image.digest);
    }
    Ok(())
}

fn bases(store: &LayoutStore, needs: &Needs, text: &mut String) -> Result<(), CommandError> {
    let mut lines = Vec::new();
    for (key, digest) in needs.lock.entries() {
        lines.push((key.clone(), digest.clone(), "locked".to_owned()));
    }
    for base in &needs.bases {
        let used = format!("last used {} ago", age::shown(base.unused));
        lines.push((base.key.clone(), base.digest.clone(), used));
    }
    lines.sort();
    if !lines.is_empty() {
        text.push_str("base images\n");
    }
    for (key, digest, why) in lines {
        let size = size(store, &digest)?;
        let _ = writeln!(
            text,
            "  {} for {}  {digest}  {size}, {why}",
            key.reference, key.platform
        );
    }
    Ok(())
}

/// Bytes of an image's blobs, for people.
fn size(store: &LayoutStore, digest: &Digest) -> Result<String, CommandError> {
    Ok(match store.manifest(digest)? {
        Some(manifest) if store.is_whole(digest)? => {
            let layers: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
            bytes(manifest.config.size + layers)
        }
        Some(_) | None => "not pulled".to_owned(),
    })
}

fn amount(amount: Collected) -> String {
    let blobs = match amount.blobs {
        1 => "1 blob".to_owned(),
        count => format!("{count} blobs"),
    };
    format!("{} in {blobs}", bytes(amount.bytes))
}

/// `store gc`.
pub(crate) fn gc(
    args: &StoreGcArgs,
    settings: &Settings,
    program: &Program,
) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let wait = if args.no_wait {
        Wait::Never
    } else {
        Wait::ForIt
    };
    let command = format!("{} store gc", program.name);
    let _lock = session::lock(&session, &command, wait, settings)?;
    let store = wiring::layout_store(&session, settings)?;
    let cache = Cache::new(session.state());
    let mut runs = record::runs(session.state())?;
    let surplus = match args.keep_runs {
        Some(keep) => runs.split_off(runs.len().min(usize::from(keep))),
        None => Vec::new(),
    };
    let needs = Needs::read(&session, &store, &cache, &runs)?;
    let garbage = store.garbage(&needs.roots(args.older_than), args.older_than)?;
    let builds = lost(&needs, &garbage)?;
    let bases = unused(&needs, &garbage, args.older_than)?;
    let freed = garbage.size();
    let (mut recorded, records) = (0, surplus.len());
    if args.dry_run {
        recorded = surplus.iter().map(StoredRun::size).sum();
    } else {
        for build in &builds {
            cache.forget(build)?;
        }
        for base in &bases {
            base.forget()?;
        }
        garbage.remove()?;
        for run in &surplus {
            recorded += run.remove()?;
        }
    }
    let verb = if args.dry_run { "would free" } else { "freed" };
    let mut text = format!("{verb} {}\n", amount(freed));
    for (count, what) in [(builds.len(), "build"), (bases.len(), "base image")] {
        let plural = if count == 1 { "" } else { "s" };
        if count > 0 {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "  {count} {what}{plural} that nothing needs");
        }
    }
    if records > 0 {
        let plural = if records == 1 { "" } else { "s" };
        let _ = writeln!(
            text,
            "{verb} {} in {records} run record{plural}",
            bytes(recorded)
        );
    }
    print_error(&text);
    Ok(exit::PASSED)
}

/// The builds that lose an image.
fn lost<'n>(needs: &'n Needs, garbage: &Garbage) -> Result<Vec<&'n RecordedBuild>, CommandError> {
    let mut lost = Vec::new();
    for build in &needs.builds {
        for image in &build.images {
            if !garbage.leaves(image)? {
                lost.push(build);
                break;
            }
        }
    }
    Ok(lost)
}

/// The records of base images that nobody asked for and that are gone.
fn unused<'n>(
    needs: &'n Needs,
    garbage: &Garbage,
    older_than: Duration,
) -> Result<Vec<&'n RecordedBase>, CommandError> {
    let mut unused = Vec::new();
    for base in &needs.bases {
        if base.unused >= older_than && !garbage.leaves(&base.digest)? {
            unused.push(base);
        }
    }
    Ok(unused)
}
