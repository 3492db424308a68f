//! `gitops set`: the same edit and the same compare-and-swap as the pipeline's, by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use shipline_engine::backend::{
    Deployment, GitopsRepo, Pinning, Reference, Registry, SetImage, Target,
};
use shipline_engine::event::DeployedCommit;
use shipline_engine::lock;
use shipline_gitops::Location;
use shipline_gitops::image::ImageText;
use shipline_model::config::{Component, Delivery, Environment, GitopsSpec, did_you_mean};
use shipline_model::name::{ComponentName, Digest, ImageName, RepositoryName};
use shipline_model::tag_form::{ForeignTags, TagFault, TagForm};

use crate::args::GitopsSetArgs;
use crate::error::{CommandError, ErrorKind};
use crate::planning;
use crate::secrets;
use crate::session::Session;
use crate::settings::Settings;
use crate::shown::{print, print_error};
use crate::signing::Person;
use crate::waiting;
use crate::wiring::{self, GitLogin};

/// Runs the command.
pub(crate) fn run(args: &GitopsSetArgs, settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let environment = session
        .config
        .environments
        .get(&args.environment)
        .ok_or_else(|| {
            let known = session.config.environments.keys().map(AsRef::as_ref);
            CommandError::usage(format!("there is no environment `{}`", args.environment))
                .hint(did_you_mean(args.environment.as_str(), known))
        })?;
    if session.trust.is_pull_request() && !args.dry_run {
        return Err(CommandError::usage(
            "`gitops set` writes nothing in a pull request or merge request",
        )
        .hint("`--dry-run` shows what it would write"));
    }
    confirm(environment, args)?;
    let mut images = images(&session, args)?;
    let person = Person::of(&session, settings)?;
    let gitops = match &args.repository {
        Some(text) => {
            let location = match Location::parse(text)? {
                Location::Local(path) => Location::Local(settings.directory.join(path)),
                other @ (Location::Http(_) | Location::Ssh(_)) => other,
            };
            let login = GitLogin {
                token: token(args, settings)?,
                ..GitLogin::default()
            };
            wiring::gitops_at(
                &session,
                location,
                &args.branch,
                login,
                person.signer,
                settings,
            )?
        }
        None => wiring::gitops_signed(&session, &args.profile, person.signer, settings)?,
    };
    let gitops = gitops.as_ref();
    if args.dry_run {
        refuse_missing(&session, args)?;
    } else {
        lock::prepare_state(session.state())?;
        for note in waiting::watch(gitops, || gitops.prepare())? {
            print_error(&format!("note: {note}\n"));
        }
    }
    if !args.offline {
        require_images(&session, args, gitops, &mut images, settings)?;
    }
    let deployment = Deployment {
        id: format!("set-{}-{:08x}", settings.now, std::process::id()),
        environment: args.environment.clone(),
        images,
        // A commit is read by more people than a terminal.
        message: args.message.clone().map(secrets::mask),
        author: person.author,
        committer: person.committer,
        trailers: settings
            .actor
            .iter()
            .map(|actor| ("Set-By".to_owned(), actor.clone()))
            .collect(),
        time: settings.now,
    };
    let commit = waiting::watch(gitops, || {
        if args.dry_run {
            gitops.preview(&deployment)
        } else {
            gitops.deploy(&deployment)
        }
    })?;
    for note in &commit.notes {
        print_error(&format!("note: {note}\n"));
    }
    print(&render(&commit, args.dry_run, gitops))
}

/// The word of an environment that no pipeline writes, byte for byte.
fn confirm(environment: &Environment, args: &GitopsSetArgs) -> Result<(), CommandError> {
    let name = &environment.name;
    match (&environment.delivery, &args.confirm) {
        (Delivery::Automatic, None) => Ok(()),
        (Delivery::Automatic, Some(_)) => Err(CommandError::usage(format!(
            "{name} has no word: pipelines deliver to it"
        ))
        .hint("leave --confirm out")),
        (Delivery::Manual { confirm, .. }, Some(given)) if given == confirm => Ok(()),
        (Delivery::Manual { .. }, None) if args.dry_run => Ok(()),
        (Delivery::Manual { confirm, .. }, None) => Err(CommandError::usage(format!(
            "{name} is delivered by hand only: its word is missing"
        ))
        .hint(format!(
            "look at it with --dry-run, then add `--confirm {confirm}`"
        ))),
        (Delivery::Manual { .. }, Some(given)) => Err(CommandError::usage(format!(
            "`{given}` is not the word for {name}"
        ))
        .hint(format!(
            "the word is `confirm` of {name} in pipeline.yaml, byte for byte"
        ))),
    }
}

/// The token for `--repository`, which is masked from here on.
fn token(args: &GitopsSetArgs, settings: &Settings) -> Result<Option<String>, CommandError> {
    let Some(name) = &args.token_from else {
        return Ok(None);
    };
    secrets::know(&format!("${{secret.{name}}}"), settings);
    let value = settings
        .variables
        .get(name)
        .filter(|value| !value.is_empty());
    match value {
        Some(value) => Ok(Some(value.to_owned())),
        None => Err(CommandError::usage(format!("not set: {name}"))
            .hint("set it in the environment of this command")),
    }
}

/// A profile's repository that is yet to be made is not made for a look at it.
fn refuse_missing(session: &Session, args: &GitopsSetArgs) -> Result<(), CommandError> {
    let profile = session.config.profiles.get(&args.profile);
    match profile.and_then(|profile| profile.gitops.as_ref()) {
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
    let mut wanted = Vec::new();
    for text in &args.images {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            CommandError::usage(format!("`{text}` is not COMPONENT=TAG"))
                .hint("write for example user_service=abc12345-20251215123456")
        })?;
        let name =
            ComponentName::new(name).map_err(|error| CommandError::usage(error.to_string()))?;
        let component = session.config.components.get(&name).ok_or_else(|| {
            let known = session.config.components.keys().map(AsRef::as_ref);
            CommandError::usage(format!("there is no component `{name}`"))
                .hint(did_you_mean(name.as_str(), known))
        })?;
        if !seen.insert(name.clone()) {
            return Err(CommandError::usage(format!("`{name}` is set twice")));
        }
        wanted.push((component, value));
    }
    wanted
        .into_iter()
        .map(|(component, value)| image(session, component, value, args))
        .collect()
}

/// `TAG`, `TAG@DIGEST`, `NAME:TAG` or `NAME:TAG@DIGEST`.
fn image(
    session: &Session,
    component: &Component,
    value: &str,
    args: &GitopsSetArgs,
) -> Result<SetImage, CommandError> {
    let target = Target::of(&session.config, &args.profile, &args.environment, component);
    let (rest, digest) = match value.split_once('@') {
        // `@TAG@` is a placeholder, which the tag's own check names.
        Some((rest, digest)) if !rest.is_empty() => (rest, Some(digest)),
        Some(_) | None => (value, None),
    };
    let digest = digest
        .map(Digest::new)
        .transpose()
        .map_err(|error| CommandError::usage(error.to_string()))?;
    // A placeholder may hold what looks like a name.
    let whole = rest.contains(['/', ':']) && shipline_model::placeholder::unfilled(rest).is_none();
    let (name, tag) = if whole {
        let text = ImageText::split(rest);
        let name = ImageName::new(text.name).map_err(|error| {
            CommandError::usage(error.to_string()).hint(format!(
                "write the whole name: {}=HOST/PATH/{}:TAG",
                component.name, target.repository
            ))
        })?;
        if !text.is_of(&target.repository) {
            return Err(CommandError::usage(format!(
                "`{name}` does not end in `{}`, the repository of {}",
                target.repository, component.name
            ))
            .hint("correct the name, or `repository` of the component in pipeline.yaml"));
        }
        let tag = text.tag.ok_or_else(|| {
            CommandError::usage(format!("`{value}` names no tag"))
                .hint(format!("write {}={name}:TAG", component.name))
        })?;
        (Some(name), tag)
    } else {
        (None, rest)
    };
    let foreign = if args.any_tag {
        ForeignTags::Taken
    } else {
        ForeignTags::Refused
    };
    let tag = TagForm::of(component, &args.environment)
        .check(tag, foreign)
        .map_err(|fault| refuse_tag(&fault))?;
    let by_hand = session
        .config
        .environments
        .get(&args.environment)
        .is_some_and(|environment| matches!(environment.delivery, Delivery::Manual { .. }));
    if by_hand && !args.any_tag && tag.as_str().ends_with("-dirty") {
        return Err(CommandError::usage(format!(
            "`{tag}` was built from changes that are in no commit: nobody can tell what would run in {}",
            args.environment
        ))
        .hint("commit the changes and build again, or add --any-tag"));
    }
    Ok(SetImage {
        target,
        name,
        tag,
        pinning: match digest {
            Some(_) => Pinning::Always,
            None => Pinning::AsBefore,
        },
        digest,
        source_commit: None,
    })
}

fn refuse_tag(fault: &TagFault) -> CommandError {
    let error = CommandError::usage(fault.to_string());
    match fault {
        TagFault::Unfilled { .. } => {
            error.hint("a script or template wrote this where a value is missing: set the variable")
        }
        TagFault::NoTag(_) => error,
        TagFault::Half { .. } => {
            error.hint("a variable of the script that calls this may be empty: write the whole tag")
        }
        TagFault::Twin { twin, .. } => error.hint(format!(
            "an image for {twin} speaks to {twin}: take the tag of its twin"
        )),
        TagFault::Foreign { .. } => {
            error.hint("where the image was not built by Shipline, add --any-tag")
        }
    }
}

/// Checks that the images exist, where the profile's registry can tell, and learns their digests.
fn require_images(
    session: &Session,
    args: &GitopsSetArgs,
    gitops: &dyn GitopsRepo,
    images: &mut [SetImage],
    settings: &Settings,
) -> Result<(), CommandError> {
    let profile = planning::profile(session, &args.profile)?;
    let registry = wiring::registry(session, profile, settings)?;
    let registry = registry.as_ref();
    let targets: Vec<_> = images.iter().map(|image| image.target.clone()).collect();
    let mut declared = None;
    for image in images {
        let repository = RepositoryName::new(image.target.repository.clone())
            .map_err(|error| CommandError::usage(error.to_string()))?;
        let named = registry.image_name(&repository);
        let written = match (&image.name, &named) {
            (Some(name), _) => Some(name.to_string()),
            // It is the registry of this machine, whose images keep the names that their manifests have.
            (None, None) => None,
            (None, Some(_)) => {
                if declared.is_none() {
                    declared = Some(waiting::watch(gitops, || {
                        gitops.snapshot()?.read(&targets)
                    })?);
                }
                let state = declared.as_ref().and_then(|state| {
                    let image = state.images.get(&image.target.component)?;
                    Some(
                        ImageText::split(&image.as_ref().ok()?.image)
                            .name
                            .to_owned(),
                    )
                });
                let Some(name) = state else {
                    // The edit says what is wrong there.
                    continue;
                };
                Some(name)
            }
        };
        if written.is_some() && written != named {
            print_error(&format!(
                "note: whether {}:{} exists is not known: {} does not have images of that name\n",
                written.unwrap_or_default(),
                image.tag,
                registry.name()
            ));
            continue;
        }
        require(session, registry, &repository, image)?;
    }
    Ok(())
}

fn require(
    session: &Session,
    registry: &dyn Registry,
    repository: &RepositoryName,
    image: &mut SetImage,
) -> Result<(), CommandError> {
    let runtime = session.runtime()?;
    let asking = |error| {
        CommandError::from(error).hint("add --offline to set it without asking the registry")
    };
    let tag = image.tag.to_string();
    let found = runtime
        .block_on(registry.resolve(repository, &Reference::Tag(tag.clone())))
        .map_err(asking)?;
    let Some(found) = found else {
        let here = registry.image_name(repository).is_none();
        if here
            && runtime
                .block_on(registry.tags(repository))
                .map_err(asking)?
                .is_empty()
        {
            print_error(&format!(
                "note: whether {repository}:{tag} exists is not known: {} has no image of {repository}\n",
                registry.name()
            ));
            return Ok(());
        }
        return Err(CommandError::new(
            ErrorKind::Failed,
            format!("{repository}:{tag} is not in {}", registry.name()),
        )
        .hint("correct the tag, or publish the image first")
        .hint("add --offline to set it without asking the registry"));
    };
    match &image.digest {
        Some(digest) if *digest != found.digest => Err(CommandError::new(
            ErrorKind::Failed,
            format!(
                "{repository}:{tag} is {} in {}, and not {digest}",
                found.digest,
                registry.name()
            ),
        )
        .hint("give the digest that belongs to the tag")),
        Some(_) => Ok(()),
        None => {
            image.digest = Some(found.digest);
            Ok(())
        }
    }
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
