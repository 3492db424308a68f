//! `gitops set`: the same edit and the same compare-and-swap as the pipeline's, by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use shipline_engine::backend::{Deployment, GitopsRepo, SetImage};
use shipline_engine::event::DeployedCommit;
use shipline_engine::lock;
use shipline_model::config::{GitopsSpec, did_you_mean};
use shipline_model::name::ComponentName;

use crate::args::GitopsSetArgs;
use crate::command::{print, print_error};
use crate::error::{CommandError, ErrorKind};
use crate::planning;
use crate::secrets;
use crate::session::Session;
use crate::settings::Settings;
use crate::wiring;

/// Runs the command.
pub(crate) fn run(args: &GitopsSetArgs, settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    if !session.config.environments.contains_key(&args.environment) {
        let known = session.config.environments.keys().map(AsRef::as_ref);
        return Err(
            CommandError::usage(format!("there is no environment `{}`", args.environment))
                .hint(did_you_mean(args.environment.as_str(), known)),
        );
    }
    if session.trust.is_pull_request() && !args.dry_run {
        return Err(CommandError::usage(
            "`gitops set` writes nothing in a pull request or merge request",
        )
        .hint("`--dry-run` shows what it would write"));
    }
    let images = images(&session, args)?;
    let gitops = match &args.repository {
        Some(path) => wiring::gitops_at(&settings.directory.join(path), &args.branch, settings),
        None => wiring::gitops(&session, &args.profile, settings)?,
    };
    if args.dry_run {
        refuse_missing(&session, args)?;
    } else {
        lock::prepare_state(session.state())?;
        for note in gitops.prepare()? {
            print_error(&format!("note: {note}\n"));
        }
    }
    let deployment = Deployment {
        id: format!("set-{}-{:08x}", settings.now, std::process::id()),
        environment: args.environment.clone(),
        images,
        // A commit is read by more people than a terminal.
        message: args.message.clone().map(secrets::mask),
        author: None,
        trailers: settings
            .actor
            .iter()
            .map(|actor| ("Set-By".to_owned(), actor.clone()))
            .collect(),
        time: settings.now,
    };
    let commit = if args.dry_run {
        gitops.preview(&deployment)?
    } else {
        gitops.deploy(&deployment)?
    };
    print(&render(&commit, args.dry_run, gitops.as_ref()))
}

/// A profile's repository that is yet to be made is not made for a look at it.
fn refuse_missing(session: &Session, args: &GitopsSetArgs) -> Result<(), CommandError> {
    let profile = session.config.profiles.get(&args.profile);
    match profile.map(|profile| &profile.gitops) {
        Some(GitopsSpec::Local { path, .. }) if args.repository.is_none() => {
            let place = session.place(path.as_str())?;
            let path = place.path();
            if path.exists() {
                return Ok(());
            }
            Err(CommandError::new(
                ErrorKind::Failed,
                format!("{} does not exist yet", path.display()),
            )
            .hint("a first run, or this without --dry-run, makes it"))
        }
        Some(GitopsSpec::Local { .. } | GitopsSpec::Remote { .. }) | None => Ok(()),
    }
}

fn images(session: &Session, args: &GitopsSetArgs) -> Result<Vec<SetImage>, CommandError> {
    let mut seen = BTreeSet::new();
    let mut images = Vec::new();
    for text in &args.images {
        let (name, tag) = text.split_once('=').ok_or_else(|| {
            CommandError::usage(format!("`{text}` is not COMPONENT=TAG"))
                .hint("write for example user_service=1.4.2")
        })?;
        let name =
            ComponentName::new(name).map_err(|error| CommandError::usage(error.to_string()))?;
        let component = session.config.components.get(&name).ok_or_else(|| {
            let known = session.config.components.keys().map(AsRef::as_ref);
            CommandError::usage(format!("there is no component `{name}`"))
                .hint(did_you_mean(name.as_str(), known))
        })?;
        if !is_tag(tag) {
            return Err(CommandError::usage(format!("`{tag}` is not an image tag"))
                .hint("a tag has letters, digits, `_`, `.` and `-`, starts with none of the last two, and is at most 128 long"));
        }
        if !seen.insert(name.clone()) {
            return Err(CommandError::usage(format!("`{name}` is set twice")));
        }
        images.push(SetImage {
            target: planning::target(component, &args.environment),
            name: None,
            tag: tag.to_owned(),
            digest: None,
            source_commit: None,
        });
    }
    Ok(images)
}

/// A tag of the OCI distribution specification.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn render(commit: &DeployedCommit, dry_run: bool, gitops: &dyn GitopsRepo) -> String {
    if commit.changes.is_empty() {
        return format!(
            "everything is up to date in {} at {}\n",
            gitops.name(),
            short(&commit.commit)
        );
    }
    let mut text = String::new();
    for change in &commit.changes {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{}:{}\n  - {}\n  + {}",
            change.file, change.line, change.from, change.to
        );
    }
    let _ = if dry_run {
        writeln!(text, "nothing was written (--dry-run)")
    } else {
        writeln!(
            text,
            "commit {} in {}",
            short(&commit.commit),
            gitops.name()
        )
    };
    text
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
