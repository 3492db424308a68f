//! The Dockerfiles of what a plan builds, looked at before anything runs: one that is not there, or is wrong, would be found after
//! all tests.

use std::fs;

use shipline_engine::backend::SourceRepo;
use shipline_model::config::{BuildEngine, Component, Config, ImageSpec};
use shipline_model::name::RepoPath;
use shipline_model::plan::{ImageAction, Plan};
use shipline_oci::build::dockerfile::Dockerfile;
use shipline_oci::build::{describe, plan_builder};

use crate::error::CommandError;

/// How many names of a folder are looked at for what was meant.
const MOST_NAMES: usize = 10_000;

/// Looks at the Dockerfile of each component that `plan` builds.
pub(crate) fn check(
    plan: &Plan,
    config: &Config,
    source: &dyn SourceRepo,
) -> Result<(), CommandError> {
    let mut seen = Vec::new();
    for image in plan.components.iter().flat_map(|it| &it.images) {
        let component = &image.id.component;
        match image.action {
            ImageAction::Build { why: _ } if !seen.contains(&component) => {}
            ImageAction::Build { why: _ } | ImageAction::Take { digest: _, from: _ } => continue,
        }
        seen.push(component);
        if let Some(component) = config.components.get(component)
            && component.path.is_some()
            && let Some(image) = &component.image
        {
            one(component, image, source)?;
        }
    }
    Ok(())
}

fn one(
    component: &Component,
    image: &ImageSpec,
    source: &dyn SourceRepo,
) -> Result<(), CommandError> {
    let name = &image.dockerfile;
    let cannot = || CommandError::usage(format!("no image of {} can be built", component.name));
    let Some(bytes) = source.read(name)? else {
        let error = cannot().because(format!("{name} is not among the sources"));
        return match alike(name, source) {
            Some(there) => Err(error.hint(format!(
                "did you mean {there}? Set `dockerfile` of the image, relative to the component's path"
            ))),
            // It may make the file.
            None if image.prepare.is_some() => Ok(()),
            None => Err(error.hint(
                "set `dockerfile` of the image, relative to the component's path, and see that git does not ignore the file",
            )),
        };
    };
    // An engine may know more of the language than we do.
    if image.engine == BuildEngine::Docker {
        return Ok(());
    }
    let text =
        Dockerfile::decode(&bytes).map_err(|error| cannot().because(format!("{name}: {error}")))?;
    match plan_builder(&text, image.target.as_deref()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let remedy = error.remedy.clone();
            let wrong = cannot().because(describe(name.as_str(), &text, &error));
            Err(match remedy {
                Some(remedy) => wrong.hint(remedy),
                None => wrong,
            })
        }
    }
}

/// A source beside a path that is none, whose name is nearly the same: in other letters' case, or two letters away.
fn alike(path: &RepoPath, source: &dyn SourceRepo) -> Option<RepoPath> {
    let (folder, wanted) = path
        .as_str()
        .rsplit_once('/')
        .unwrap_or((".", path.as_str()));
    let wanted = wanted.to_lowercase();
    let listing = fs::read_dir(source.folder()?.join(folder)).ok()?;
    let mut near: Vec<(usize, String)> = listing
        .take(MOST_NAMES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .map(|name| {
            (
                strsim::damerau_levenshtein(&name.to_lowercase(), &wanted),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= 2)
        .collect();
    near.sort();
    near.into_iter().find_map(|(_, name)| {
        let path = match folder {
            "." => RepoPath::new(name),
            folder => RepoPath::new(format!("{folder}/{name}")),
        };
        let path = path.ok()?;
        source.read(&path).ok()??;
        Some(path)
    })
}
