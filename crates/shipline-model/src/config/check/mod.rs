//! From what is written to what is meant: names, references, defaults, and all that serde cannot know.

mod component;
mod environment;
mod image;
mod manifests;
mod pipeline;
mod profile;
mod scans;
pub(super) mod text;

use super::problem::{Part, Problems, value};
use super::types::Config;
use super::{raw, suggest};
use crate::yaml::Route;

/// Gives the 1-based line of a byte of the file.
pub(super) type Lines<'a> = &'a dyn Fn(usize) -> usize;

/// Checks the whole file. Whatever is wrong is in `problems`; then the result means nothing.
pub(super) fn file(
    file: &raw::File,
    lines: Lines<'_>,
    problems: &mut Problems<'_>,
) -> Option<Config> {
    let root = Route::root();
    if let Some(version) = file.version.filter(|version| *version != 1) {
        problems.push(
            value(
                &root.key("version"),
                format!("version {version} is unknown"),
            )
            .help("this Shipline reads `version: 1`"),
        );
    }
    let project = file
        .project
        .as_ref()
        .and_then(|project| text::plain(project, &root.key("project"), problems));
    let environments = environment::all(file.environments.as_ref(), problems);
    let profiles = profile::all(file.profiles.as_ref(), problems);
    let components = component::all(
        file.components.as_ref(),
        file.environments.as_ref(),
        problems,
    );
    let scans = scans::all(
        file.scans.as_ref(),
        scans::Known {
            components: file.components.as_ref(),
            environments: file.environments.as_ref(),
            profiles: &profiles,
        },
        lines,
        problems,
    );
    let pipelines = pipeline::all(file, problems);
    Some(Config {
        project: project?,
        environments,
        profiles,
        components,
        scans,
        pipelines,
    })
}

/// Reports a reference to a name that is not declared. A reference to one that is declared, but wrong, is right.
fn declared<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a String>,
    what: &str,
    route: &Route,
    problems: &mut Problems<'_>,
) -> bool {
    let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
    if known.contains(&name) {
        return true;
    }
    if problems.is_full() {
        return false;
    }
    let help = if known.is_empty() {
        format!("there is no {what} yet: declare one")
    } else {
        suggest::did_you_mean(name, known.iter().copied())
    };
    problems.push(
        value(route, format!("there is no {what} `{name}`"))
            .label("unknown")
            .help(help),
    );
    false
}

/// The 1-based line of the value at a route.
fn line(route: &Route, lines: Lines<'_>, problems: &Problems<'_>) -> usize {
    lines(problems.place(route, Part::Value).start)
}
