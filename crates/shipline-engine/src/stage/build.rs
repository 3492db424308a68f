//! `build`: `prepare` with the variant's args, then the image, into the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shipline_model::config::{Component, ImageSpec};
use shipline_model::name::RepoPath;
use shipline_model::plan::{ImageAction, PlannedImage};
use shipline_model::value::MissingVariable;

use super::command::{Needs, execute, ready, restore};
use super::{Ended, StageTask, blocking};
use crate::backend::BuildRequest;
use crate::error::{BackendError, ErrorClass};
use crate::event::{BuiltImage, Facts};
use crate::fault::FaultPoint;
use crate::folder::Place;
use crate::workspace::Workspace;

pub(super) async fn run(task: &StageTask) -> Result<Ended, BackendError> {
    let component = task.component()?;
    let images = task.images();
    let mut ended = Ended::Passed(Facts::None);
    for image in images {
        ended = match &image.action {
            ImageAction::Take { digest: _, from } => {
                let built = take(task, image).await?;
                Ended::Cached {
                    key: image.build_key.to_string(),
                    from: from.clone(),
                    facts: Facts::Built(built),
                }
            }
            ImageAction::Build { why: _ } => {
                Ended::Passed(Facts::Built(build(task, component, image).await?))
            }
        };
    }
    Ok(ended)
}

/// Looks once more whether an image that the plan takes is whole, and finds what is known of it.
async fn take(task: &StageTask, image: &PlannedImage) -> Result<BuiltImage, BackendError> {
    let digest = task.shared.digest(image)?;
    let shared = std::sync::Arc::clone(&task.shared);
    let planned = image.clone();
    let built = blocking(move || {
        let store = &shared.backends.store;
        let manifest = match store.is_whole(&digest)? {
            true => store.manifest(&digest)?,
            false => None,
        };
        let manifest = manifest.ok_or_else(|| {
            BackendError::new(
                ErrorClass::NotFound,
                format!(
                    "take {} from the store: it was there when the run was planned and is not whole now",
                    planned.id
                ),
            )
            .hint("run the same command again: it builds the image")
        })?;
        let known = shared
            .cache
            .built_image(&planned.source_key, &planned.id)
            .filter(|known| known.digest == digest);
        let layers = manifest.layers.len();
        Ok(BuiltImage {
            id: planned.id,
            size: manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>(),
            layers,
            reused_layers: layers,
            bases: known
                .as_ref()
                .map(|known| known.bases.clone())
                .unwrap_or_default(),
            builder: known.map(|known| known.builder).unwrap_or_default(),
            digest,
        })
    })
    .await?;
    task.shared
        .results()
        .images
        .insert(built.id.clone(), built.clone());
    Ok(built)
}

async fn build(
    task: &StageTask,
    component: &Component,
    image: &PlannedImage,
) -> Result<BuiltImage, BackendError> {
    let spec = component.image.as_ref().ok_or_else(|| {
        BackendError::new(
            ErrorClass::Invalid,
            format!("build {}: the component declares no image", image.id),
        )
    })?;
    let shared = &task.shared;
    let faults = &shared.options.faults;
    // An image that is made of the sources alone needs nothing of what `setup` makes.
    let needs = match &spec.prepare {
        Some(_) => Needs::Setup,
        None => Needs::Sources,
    };
    let mut state = ready(task, component, needs).await?;
    if needs == Needs::Sources && state.setup.take().is_some_and(|extras| !extras.is_empty()) {
        // What `setup` made for other tasks would be in the image or not, as they ran before or not. Who needs it sets up again.
        state.touched = true;
    }
    restore(task, component, &mut state).await?;

    let cache = shared.cache.clone();
    let (planned, run) = (image.clone(), shared.options.run.to_string());
    blocking(move || cache.announce_build(&planned, &run)).await?;
    faults.reach(FaultPoint::BuildAnnounced);

    if let Some(prepare) = &spec.prepare {
        state.touched = true;
        execute(task, component, "prepare", prepare, &image.args).await?;
    }
    faults.reach(FaultPoint::Prepared);
    let request = request(task, component, spec, image)?;
    let built = shared
        .backends
        .builder
        .build(&request, &shared.backends.store, &task.context)
        .await?;
    drop(state);

    let shared = std::sync::Arc::clone(shared);
    let planned = image.clone();
    let built = blocking(move || {
        let store = &shared.backends.store;
        if !store.is_whole(&built.digest)? {
            return Err(BackendError::new(
                ErrorClass::Conflict,
                format!("find {} whole in the store after its build", built.id),
            ));
        }
        store.name_image(&built.digest, &built.id.to_string())?;
        shared.cache.record_image(&planned, &built)?;
        Ok(built)
    })
    .await?;
    faults.reach(FaultPoint::BuildRecorded);
    task.shared
        .results()
        .images
        .insert(built.id.clone(), built.clone());
    Ok(built)
}

fn request(
    task: &StageTask,
    component: &Component,
    spec: &ImageSpec,
    image: &PlannedImage,
) -> Result<BuildRequest, BackendError> {
    let shared = &task.shared;
    let workspace = shared.workspaces.of(&image.id.component);
    let source = &shared.backends.source;
    let mut cache_from = Vec::new();
    for template in &spec.cache_from {
        let value = template
            .resolve(&shared.options.variables)
            .map_err(|missing| {
                let missing: Vec<String> = missing.iter().map(MissingVariable::written).collect();
                BackendError::new(
                    ErrorClass::Invalid,
                    format!("build {}: not set: {}", image.id, missing.join(", ")),
                )
            })?;
        cache_from.push(value.expose().to_owned());
    }
    Ok(BuildRequest {
        id: image.id.clone(),
        engine: spec.engine,
        root: workspace.place(&RepoPath::root()).path().to_path_buf(),
        live: source.folder().map(|root| root.join(spec.context.as_str())),
        recipe: source.read(&spec.dockerfile).ok().flatten(),
        context: context_folder(workspace, image, &spec.context)?,
        caches: workspace
            .caches_in(&spec.context, &component.include_caches)
            .ok_or_else(|| {
                let context = &spec.context;
                let what = format!("build {}: its context {context} is a cache", image.id);
                BackendError::new(ErrorClass::Invalid, what).hint(
                    "caches are outside every build context: list it under `include_caches` of the component, or let `prepare` put its results elsewhere",
                )
            })?,
        dockerfile: workspace.place(&spec.dockerfile).path().to_path_buf(),
        target: spec.target.clone(),
        platform: image.platform.clone(),
        args: image.args.clone(),
        secrets: image.secrets.clone(),
        network: spec.network.clone(),
        extra_hosts: spec.extra_hosts.clone(),
        cache_from,
        labels: labels(task, image)?,
        created: image.commit_time,
    })
}

/// The folder of the build context. What it holds is taken as it is, and so no link may lead it out of the workspace.
fn context_folder(
    workspace: &Workspace,
    image: &PlannedImage,
    context: &RepoPath,
) -> Result<PathBuf, BackendError> {
    let place = workspace.place(context);
    match Place::inside(workspace.place(&RepoPath::root()).path(), context.as_str()) {
        Err(cause) => {
            let what = format!("build {}: use {}", image.id, place.path().display());
            Err(BackendError::new(ErrorClass::Invalid, what)
                .because(cause)
                .hint("`context` must be a folder of the repository"))
        }
        Ok(_) => Ok(place.path().to_path_buf()),
    }
}

/// The commit's facts (OCI image specification, pre-defined annotation keys) and ours.
fn labels(
    task: &StageTask,
    image: &PlannedImage,
) -> Result<BTreeMap<String, String>, BackendError> {
    let created = jiff::Timestamp::from_second(image.commit_time).map_err(|cause| {
        BackendError::new(
            ErrorClass::Invalid,
            format!("build {}: the commit's time is out of range", image.id),
        )
        .because(cause)
    })?;
    let mut labels = BTreeMap::new();
    let mut set = |name: &str, value: String| labels.insert(name.to_owned(), value);
    set(
        "org.opencontainers.image.title",
        image.id.component.to_string(),
    );
    set(
        "org.opencontainers.image.revision",
        image.commit.to_string(),
    );
    set("org.opencontainers.image.created", created.to_string());
    set("io.shipline.project", task.shared.config.project.clone());
    set("io.shipline.component", image.id.component.to_string());
    if let Some(variant) = &image.id.variant {
        set("io.shipline.variant", variant.to_string());
    }
    set("io.shipline.source-key", image.source_key.to_string());
    set("io.shipline.build-key", image.build_key.to_string());
    Ok(labels)
}
