//! The repository that a command works in: its root and its checked `pipeline.yaml`.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use shipline_engine::error::ErrorClass;
use shipline_engine::folder::{Folder, Obstacle, Owner, Place};
use shipline_engine::lock::{Holder, StateLock, Wait};
use shipline_model::config::{self, Config, Objection};
use tokio::runtime::{Builder, Runtime};

use crate::again::shown;
use crate::drawing;
use crate::error::{CommandError, ErrorKind};
use crate::parts::Parts;
use crate::secrets;
use crate::settings::Settings;
use crate::shown::print_error;
use crate::trust::Trust;

/// The file that everything starts from.
pub(crate) const FILE: &str = "pipeline.yaml";

/// Most that a `pipeline.yaml` may have, in bytes.
const LARGEST: u64 = 512 * 1024;

/// The folder of everything that Shipline keeps in a clone.
pub(crate) const STATE: &str = ".shipline";

/// How long the end of a command waits for threads that still block.
const CLEARING_UP: Duration = Duration::from_secs(5);

/// A repository with a checked configuration.
pub(crate) struct Session {
    /// The folder that holds `pipeline.yaml`: the repository's root.
    pub(crate) root: PathBuf,
    /// The checked configuration, without what it is not trusted with.
    pub(crate) config: Config,
    state: Place,
    /// What it is trusted with.
    pub(crate) trust: Trust,
    /// The text of `pipeline.yaml`.
    text: String,
    runtime: OnceLock<Runtime>,
    /// What is made once, however many ask.
    pub(crate) parts: Parts,
}

impl Session {
    /// Finds `pipeline.yaml` in the settings' directory or above it, and checks it. Its warnings go to standard error.
    pub(crate) fn open(settings: &Settings) -> Result<Self, CommandError> {
        let root = find(&settings.directory)?;
        let path = root.join(FILE);
        let bytes = inside(&root, FILE)?
            .read_at_most(LARGEST)
            .map_err(|error| {
                if error.kind() == io::ErrorKind::FileTooLarge {
                    return CommandError::usage(format!(
                        "{} has more than {LARGEST} bytes",
                        path.display()
                    ))
                    .hint("it says what is to be done: move data elsewhere");
                }
                CommandError::usage(format!("failed to read {}", path.display())).because(error)
            })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            CommandError::usage(format!("{} is not UTF-8 (line {line})", path.display()))
                .hint("save the file as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        secrets::know(text, settings);
        let mut config = config::load(FILE, text).map_err(|errors| {
            let redactor = secrets::redactor();
            CommandError::drawn(drawing::draw(&errors, text, settings.screen, &redactor))
        })?;
        // An escape of YAML's may hide what is written here as it is.
        secrets::know(&config::show(&config), settings);
        let unknown = config::unknown_rules(&config, &shipline_scan::rules());
        if !unknown.is_empty() {
            let errors = config::objections(FILE, text, unknown);
            let redactor = secrets::redactor();
            let drawn = drawing::draw(&errors, text, settings.screen, &redactor);
            return Err(CommandError::drawn(drawn));
        }
        for warning in config::warnings(&config) {
            print_error(&format!(
                "warning: {FILE}: {warning}\n  hint: {}\n",
                warning.help
            ));
        }
        let trust = Trust::establish(&root, &mut config, settings);
        Ok(Self {
            state: state_place(&root, settings)?,
            root,
            config,
            trust,
            text: text.to_owned(),
            runtime: OnceLock::new(),
            parts: Parts::default(),
        })
    }

    /// The error for what is wrong with `pipeline.yaml`, each drawn at its place.
    pub(crate) fn objection(&self, found: Vec<Objection>, settings: &Settings) -> CommandError {
        let errors = config::objections(FILE, &self.text, found);
        let redactor = secrets::redactor();
        CommandError::drawn(drawing::draw(
            &errors,
            &self.text,
            settings.screen,
            &redactor,
        ))
    }

    /// The threads of everything that waits, started when they are first needed.
    pub(crate) fn runtime(&self) -> Result<&Runtime, CommandError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                CommandError::new(ErrorKind::NotReady, "threads cannot be started").because(error)
            })?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    /// The folder of everything that Shipline keeps: `.shipline`, or the `--state` of the command line.
    pub(crate) fn state(&self) -> &Place {
        &self.state
    }

    /// What pipeline.yaml names by a path of the repository, which no link may lead out of. What it names in `.shipline` is in
    /// the state folder, wherever that is.
    pub(crate) fn place(&self, path: &str) -> Result<Place, CommandError> {
        match Path::new(path).strip_prefix(STATE) {
            Ok(below) => Ok(self.state.join(below)),
            Err(_) => inside(&self.root, path),
        }
    }
}

impl Drop for Session {
    /// Threads that block may clear up behind themselves, but nobody waits for ever for one that hangs: then it is as if the
    /// process had been killed, and every write withstands that.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(CLEARING_UP);
        }
    }
}

/// Takes the lock of `.shipline` for `command`, and says for whom it waits.
pub(crate) fn lock(
    session: &Session,
    command: &str,
    wait: Wait,
    settings: &Settings,
) -> Result<StateLock, CommandError> {
    let holder = Holder {
        pid: std::process::id(),
        command: command.to_owned(),
        since: settings.now,
    };
    let mut waiting = |other: Option<&Holder>| {
        let who = other.map_or_else(|| "another run".to_owned(), ToString::to_string);
        let state = shown(session.state().path(), &settings.started_in);
        print_error(&format!("note: waiting for {who}, which holds {state}\n"));
    };
    StateLock::acquire(session.state(), &holder, wait, &mut waiting).map_err(|error| {
        let held = error.class == ErrorClass::Conflict;
        let mut error = CommandError::from(error);
        if held {
            error.kind = ErrorKind::NotReady;
            error.hints = vec!["leave `--no-wait` out to wait for its end".to_owned()];
        }
        error
    })
}

/// The folder of everything that Shipline keeps in the clone that the settings' directory is in. `pipeline.yaml` is not read:
/// past runs can be looked at while it is wrong.
pub(crate) fn state(settings: &Settings) -> Result<Place, CommandError> {
    let root = find(&settings.directory)?;
    // Whatever it holds: what it calls a secret is one.
    let text = inside(&root, FILE).map(|file| file.read_at_most(LARGEST).unwrap_or_default());
    let text = text.unwrap_or_default();
    secrets::know(&String::from_utf8_lossy(&text), settings);
    state_place(&root, settings)
}

/// What the repository at `root` names by a path, which no link may lead out of.
pub(crate) fn inside(root: &Path, path: &str) -> Result<Place, CommandError> {
    Place::inside(root, path).map_err(|error| {
        let remedy = Obstacle::of(&error).map(Obstacle::remedy);
        let refused = CommandError::usage(format!("failed to use {path}")).because(error);
        match remedy {
            Some(remedy) => refused.hint(remedy),
            None => refused,
        }
    })
}

/// The state folder. Links above one that `--state` names are the person's own; everything below is ours.
fn state_place(root: &Path, settings: &Settings) -> Result<Place, CommandError> {
    let Some(state) = &settings.state else {
        return Ok(Place::new(root, Owner::Ours).join(STATE));
    };
    let state = state.canonicalize().unwrap_or_else(|_| state.clone());
    let (Some(above), Some(name)) = (state.parent(), state.file_name()) else {
        return Err(CommandError::usage(format!(
            "{} cannot be a state folder",
            state.display()
        )));
    };
    let place = Place::new(above, Owner::Ours).join(name);
    match place.open() {
        Ok(folder) if !is_state_folder(&folder) => Err(CommandError::usage(format!(
            "{} is no state folder: other things are in it",
            state.display()
        ))
        .hint("name one that is empty or not there: all that is in it would be hidden from git, and removed at times")),
        // What else is wrong is told by whoever works with it.
        Ok(_) | Err(_) => Ok(place),
    }
}

/// Whether a folder is a state folder, or may become one.
fn is_state_folder(folder: &Folder) -> bool {
    let unfinished = |name: &OsStr| name.to_string_lossy().starts_with(".gitignore.");
    folder.read(".gitignore").is_ok_and(|text| text == b"*\n")
        || folder
            .entries()
            .is_ok_and(|entries| entries.iter().all(|entry| unfinished(&entry.name)))
}

fn find(start: &Path) -> Result<PathBuf, CommandError> {
    for folder in start.ancestors() {
        let path = folder.join(FILE);
        if path.is_file() {
            return Ok(folder.to_path_buf());
        }
        if let Ok(metadata) = path.symlink_metadata() {
            let what = if metadata.is_dir() {
                "is a directory"
            } else if metadata.is_symlink() && !path.exists() {
                "links to what is not there"
            } else {
                "is not a file"
            };
            return Err(CommandError::usage(format!("{} {what}", path.display())));
        }
    }
    Err(
        CommandError::usage(format!("no {FILE} in {} or above it", start.display()))
            .hint("change to the repository that holds one, or name it with `-C DIR`"),
    )
}
