//! `lock update`: resolves the base images of the components that lock them, and writes `pipeline.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use shipline_engine::backend::SourceRepo;
use shipline_engine::error::BackendError;
use shipline_engine::folder::Place;
use shipline_engine::task::{TaskContext, TaskMessage};
use shipline_model::config::{Component, Platform};
use shipline_model::name::{ComponentName, Digest, StageName};
use shipline_model::plan::{LOCK_FILE, TaskId};
use shipline_oci::pull::{ImageReference, LockChange, LockKey, Pins, PipelineLock, RegistryImages};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::again::Program;
use crate::args::LockUpdateArgs;
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::locking::{self, named};
use crate::planning;
use crate::session::{Session, inside};
use crate::settings::Settings;
use crate::shown::{print, print_error};
use crate::wiring;

/// An image that is to be locked.
struct Wanted {
    reference: ImageReference,
    platform: Platform,
    /// The components that stand on it.
    components: BTreeSet<ComponentName>,
}

/// `lock update`.
pub(crate) fn update(
    args: &LockUpdateArgs,
    settings: &Settings,
    program: &Program,
) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let profile = planning::profile(&session, &args.profile)?;
    let waiting = wiring::waiting();
    let source = wiring::source(&session, settings, &waiting)?;
    let place = inside(&session.root, LOCK_FILE)?;
    let mut lock = read(&place, args)?;
    let wanted = wanted(&session, source.as_ref(), settings)?;
    let asked = asked(&session, args)?;
    let images = wiring::base_images(&session, profile, Pins::default(), settings)?;
    let digests = digests(&session, &images, &wanted, &asked, &lock)?;
    let count = digests.len();
    let changes = lock.update(digests);
    let mut text = String::new();
    for change in &changes {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line(change, &wanted));
    }
    let writes = !changes.is_empty() && !args.dry_run && !args.check;
    if writes {
        let text = lock.to_text()?;
        place.write_whole(text.as_bytes()).map_err(|error| {
            CommandError::new(
                ErrorKind::Failed,
                format!("failed to write {}", place.path().display()),
            )
            .because(error)
            .hint("the file is as it was")
        })?;
    }
    print(&text)?;
    let images = match count {
        1 => "1 base image".to_owned(),
        count => format!("{count} base images"),
    };
    print_error(&match (changes.len(), writes) {
        (0, _) => format!("{LOCK_FILE} is up to date: {images}\n"),
        (moved, true) => format!("{LOCK_FILE} holds {images}; {moved} changed: commit it\n"),
        (moved, false) => {
            format!("{LOCK_FILE} is not written: {moved} of its entries would change\n")
        }
    });
    if args.check && !changes.is_empty() {
        print_error(&format!(
            "  hint: `{} lock update` writes it; then commit it\n",
            program.name
        ));
        return Ok(exit::FAILED);
    }
    Ok(exit::PASSED)
}

/// The lock as it stands in the work tree: that is what is replaced. One that cannot be read is written anew, but only as a
/// whole.
fn read(place: &Place, args: &LockUpdateArgs) -> Result<PipelineLock, CommandError> {
    let text = match place.read() {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(PipelineLock::default());
        }
        Err(error) => {
            let path = place.path().display();
            return Err(CommandError::usage(format!("failed to read {path}")).because(error));
        }
    };
    match PipelineLock::parse(&text) {
        Ok(lock) => Ok(lock),
        Err(error) if args.components.is_empty() && !args.check => {
            print_error(&format!("note: failed to {error}; it is written anew\n"));
            Ok(PipelineLock::default())
        }
        Err(error) => Err(error.into()),
    }
}

/// Every image that must be locked, of all components: only so it is known which entries nothing needs any more.
fn wanted(
    session: &Session,
    source: &dyn SourceRepo,
    settings: &Settings,
) -> Result<BTreeMap<LockKey, Wanted>, CommandError> {
    let mut wanted: BTreeMap<LockKey, Wanted> = BTreeMap::new();
    let mut problems = Problems::default();
    let components = session.config.components.values();
    for component in components.filter(|component| locking::locks(component)) {
        let Some(image) = &component.image else {
            continue;
        };
        match named(component, source, &settings.variables) {
            Ok(bases) => {
                for base in bases {
                    let entry = wanted.entry(base.key).or_insert_with(|| Wanted {
                        reference: base.reference,
                        platform: image.platform.clone(),
                        components: BTreeSet::new(),
                    });
                    entry.components.insert(component.name.clone());
                }
            }
            Err(error) => problems.add(error.kind, error.in_one_line(), error.hints),
        }
    }
    problems.none("find out all base images")?;
    Ok(wanted)
}

/// The components whose images are resolved.
fn asked(
    session: &Session,
    args: &LockUpdateArgs,
) -> Result<BTreeSet<ComponentName>, CommandError> {
    let locking = |component: &&Component| locking::locks(component);
    let all: BTreeSet<ComponentName> = session
        .config
        .components
        .values()
        .filter(locking)
        .map(|component| component.name.clone())
        .collect();
    if args.components.is_empty() {
        return Ok(all);
    }
    for name in &args.components {
        if !session.config.components.contains_key(name) {
            let known: Vec<&str> = session
                .config
                .components
                .keys()
                .map(AsRef::as_ref)
                .collect();
            return Err(
                CommandError::usage(format!("there is no component `{name}`"))
                    .hint(format!("known: {}", known.join(", "))),
            );
        }
        if !all.contains(name) {
            return Err(CommandError::usage(format!(
                "component `{name}` does not lock its base images"
            ))
            .hint(format!(
                "set `lock: true` under components.{name}.image first"
            )));
        }
    }
    Ok(args.components.iter().cloned().collect())
}

/// What the lock is to hold: what the registries say of the images that are asked for, and for others what it held.
fn digests(
    session: &Session,
    images: &RegistryImages,
    wanted: &BTreeMap<LockKey, Wanted>,
    asked: &BTreeSet<ComponentName>,
    lock: &PipelineLock,
) -> Result<BTreeMap<LockKey, Digest>, CommandError> {
    let stage = StageName::new("lock").map_err(|error| CommandError::usage(error.to_string()))?;
    session.runtime()?.block_on(async {
        let (sender, mut receiver) = mpsc::channel(64);
        let printing = tokio::spawn(async move {
            while let Some((_, message)) = receiver.recv().await {
                match message {
                    TaskMessage::Output { stream: _, line } => {
                        print_error(&format!("note: {line}\n"));
                    }
                    TaskMessage::Retrying { error, after } => print_error(&format!(
                        "note: {error}; tries again in {:.1} s\n",
                        after.as_secs_f32()
                    )),
                    TaskMessage::Progress { .. } | TaskMessage::Finding(_) => {}
                }
            }
        });
        let id = TaskId {
            stage,
            component: None,
            variant: None,
        };
        let task = TaskContext::new(id, sender, CancellationToken::new());
        let mut digests = BTreeMap::new();
        let mut problems = Problems::default();
        for (key, image) in wanted {
            if image.components.is_disjoint(asked) {
                if let Some(digest) = lock.find(key) {
                    digests.insert(key.clone(), digest.clone());
                }
                continue;
            }
            match images
                .current(&image.reference, &image.platform, &task)
                .await
            {
                Ok(digest) => {
                    digests.insert(key.clone(), digest);
                }
                Err(error) => problems.refused(image, error),
            }
        }
        drop(task);
        // It ends with its sender; that it panicked is no reason to lose what was found.
        let _ = printing.await;
        problems.none("resolve all base images")?;
        Ok(digests)
    })
}

/// What stands in the way: all of it is told at once, and nothing is written.
#[derive(Default)]
struct Problems {
    kind: Option<ErrorKind>,
    lines: Vec<String>,
    hints: Vec<String>,
}

impl Problems {
    fn add(&mut self, kind: ErrorKind, line: String, hints: Vec<String>) {
        self.kind.get_or_insert(kind);
        self.lines.push(line);
        for hint in hints {
            if !self.hints.contains(&hint) {
                self.hints.push(hint);
            }
        }
    }

    fn refused(&mut self, image: &Wanted, error: BackendError) {
        let error = CommandError::from(error);
        let line = format!("{} ({})", error.in_one_line(), joined(&image.components));
        self.add(error.kind, line, error.hints);
    }

    fn none(self, attempted: &str) -> Result<(), CommandError> {
        let Some(kind) = self.kind else {
            return Ok(());
        };
        let mut error = CommandError::new(kind, format!("failed to {attempted}"));
        for line in self.lines {
            error = error.because(line);
        }
        for hint in self.hints {
            error = error.hint(hint);
        }
        Err(error.hint(format!("{LOCK_FILE} is as it was")))
    }
}

fn joined(components: &BTreeSet<ComponentName>) -> String {
    let names: Vec<&str> = components.iter().map(AsRef::as_ref).collect();
    names.join(", ")
}

fn line(change: &LockChange, wanted: &BTreeMap<LockKey, Wanted>) -> String {
    let name = |key: &LockKey| {
        let of = match wanted.get(key) {
            Some(image) => format!(" ({})", joined(&image.components)),
            None => String::new(),
        };
        format!("{} for {}{of}", key.reference, key.platform)
    };
    match change {
        LockChange::Added(key, digest) => format!("added    {}: {digest}", name(key)),
        LockChange::Moved { key, from, to } => {
            format!("moved    {}: {from} → {to}", name(key))
        }
        LockChange::Removed(key) => format!("removed  {}", name(key)),
    }
}
