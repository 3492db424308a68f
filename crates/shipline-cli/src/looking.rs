//! What of `pipeline.yaml` does not fit the repository or this machine, found before anything runs.

use shipline_engine::backend::{SourceRepo, Standing};
use shipline_engine::disk;
use shipline_engine::error::BackendError;
use shipline_model::config::{Component, GitopsSpec, Objection, Profile, RegistrySpec};
use shipline_model::name::RepoPath;
use shipline_model::plan;
use shipline_model::stage_kind::Publishes;
use shipline_model::yaml::Route;

use crate::error::CommandError;
use crate::planning::Selected;
use crate::session::Session;

/// Programs that run a script whose path is their first argument.
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ksh"];

/// Paths of components that are not there, or that hide their changes.
///
/// # Errors
/// Where the repository cannot be read.
pub(crate) fn misplaced(
    components: &[&Component],
    source: &dyn SourceRepo,
) -> Result<Vec<Objection>, BackendError> {
    let mut found = Vec::new();
    for component in components {
        let route = Route::root().key("components").key(component.name.as_str());
        let Some(path) = &component.path else {
            continue;
        };
        let here = route.key("path");
        found.extend(match source.standing(path)? {
            Some(Standing::Folder) => None,
            None => Some(missing(path, &here)),
            Some(Standing::File) => Some(Objection {
                route: here,
                message: format!("`{path}` is a file"),
                label: "no folder",
                help: "name the folder that the component's commands run in; single files belong to `uses`".to_owned(),
            }),
            Some(Standing::Link { to: _ }) => Some(Objection {
                route: here,
                message: format!("`{path}` is a symlink"),
                label: "no folder",
                help: "name the folder that it leads to: changes there are no changes of the link".to_owned(),
            }),
        });
        for (index, used) in component.uses.iter().enumerate() {
            let here = route.key("uses").index(index);
            found.extend(match source.standing(used)? {
                Some(Standing::Folder | Standing::File) => None,
                None => Some(missing(used, &here)),
                Some(Standing::Link { to }) => linked(component, used, to, &here),
            });
        }
    }
    Ok(found)
}

fn missing(path: &RepoPath, here: &Route) -> Objection {
    Objection {
        route: here.clone(),
        message: format!("`{path}` is not in this repository"),
        label: "not there",
        help: "write where it is now, or remove it; what .gitignore hides and an empty folder are not in the repository".to_owned(),
    }
}

/// A link whose target is watched too may stand in `uses`: what is not watched would change unseen.
fn linked(
    component: &Component,
    path: &RepoPath,
    to: Option<RepoPath>,
    here: &Route,
) -> Option<Objection> {
    let sources = plan::sources(component);
    let (message, help) = match to {
        Some(to) if sources.iter().any(|source| source.contains(to.as_str())) => return None,
        Some(to) => (
            format!("`{path}` is a symlink to `{to}`, whose changes would not be seen"),
            format!("write `{to}` in its place, or beside it"),
        ),
        None => (
            format!("`{path}` is a symlink that leaves the repository"),
            "name a path of this repository".to_owned(),
        ),
    };
    Some(Objection {
        route: here.clone(),
        message,
        label: "a symlink",
        help,
    })
}

/// Where the profile would write what cannot be written.
///
/// # Errors
/// Where a link is in the way.
pub(crate) fn unwritable(
    selected: &Selected<'_>,
    session: &Session,
) -> Result<Vec<Objection>, CommandError> {
    let Profile {
        name,
        registry,
        gitops,
        manifests: _,
        mirrors: _,
    } = selected.profile;
    let route = Route::root().key("profiles").key(name.as_str());
    let mut found = Vec::new();
    let mut check = |path: &RepoPath, here: Route| {
        if let Some(why) = disk::obstacle(session.place(path.as_str())?.path()) {
            found.push(Objection {
                route: here,
                message: format!("`{path}` cannot be written: {why}"),
                label: "written by this run",
                help: "name a folder that this user may write".to_owned(),
            });
        }
        Ok::<(), CommandError>(())
    };
    let pipeline = selected.pipeline;
    if let RegistrySpec::Layout { path } = registry
        && pipeline.has(|is| is.publishes == Publishes::Images)
    {
        check(path, route.key("registry").key("layout"))?;
    }
    if let Some(GitopsSpec::Local { path, .. }) = gitops
        && pipeline.has(|is| is.publishes == Publishes::Deployment)
    {
        check(path, route.key("gitops").key("path"))?;
    }
    Ok(found)
}

/// Scripts that a component's commands name by their path and that its sources do not hold. A note and no error: something that
/// runs before may make them.
///
/// # Errors
/// Where the repository cannot be read.
pub(crate) fn scripts(
    components: &[&Component],
    source: &dyn SourceRepo,
) -> Result<Vec<String>, BackendError> {
    let mut notes = Vec::new();
    for component in components {
        let Some(home) = &component.path else {
            continue;
        };
        let image = component.image.as_ref();
        let prepare = image.and_then(|image| image.prepare.as_deref());
        for (key, command) in [
            ("setup", component.setup.as_deref()),
            ("test", component.test.as_deref()),
            ("image.prepare", prepare),
        ] {
            // What `setup` makes is there afterwards.
            if component.setup.is_some() && key != "setup" {
                continue;
            }
            let Some(script) = command.and_then(script) else {
                continue;
            };
            let Some(path) = RepoPath::resolve(home, script) else {
                continue;
            };
            let made = component
                .caches
                .iter()
                .any(|cache| cache.contains(path.as_str()));
            let held = plan::sources(component)
                .iter()
                .any(|source| source.contains(path.as_str()));
            let there = source.standing(&path)?.is_some();
            if made || (held && there) {
                continue;
            }
            notes.push(if there {
                format!(
                    "{}: `{key}` runs {script}, and {path} is not among its sources: add it to `uses`",
                    component.name
                )
            } else {
                format!(
                    "{}: `{key}` runs {script}, and there is no {path} in this repository",
                    component.name
                )
            });
        }
    }
    Ok(notes)
}

/// The path of the script that a command starts with, if it names one: `./test.sh`, `sh ci/test.sh -v`.
fn script(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    let mut word = words.next()?;
    let is_plain = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-+/@".contains(&byte))
    };
    if SHELLS.contains(&word) {
        word = words.next()?;
        // `sh -c …` runs what stands there, and `sh -e x` is seldom.
        if word.starts_with('-') {
            return None;
        }
    } else if !word.contains('/') {
        return None;
    }
    let word = word.trim_end_matches(';');
    (is_plain(word) && !word.starts_with('/')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_what_commands_name_by_path() {
        for (command, expected) in [
            ("./test.sh", Some("./test.sh")),
            ("sh test.sh -v", Some("test.sh")),
            ("bash ci/test.sh; echo", Some("ci/test.sh")),
            ("../scripts/test arg && x", Some("../scripts/test")),
            ("npm test", None),
            ("sh -c './x'", None),
            ("/usr/bin/make", None),
            ("$BIN/x", None),
            ("A=1 ./x", None),
            ("", None),
        ] {
            assert_eq!(script(command), expected, "{command}");
        }
    }
}
