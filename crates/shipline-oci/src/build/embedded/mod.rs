//! The embedded builder: assembles images whose Dockerfiles execute nothing, in this process and reproducibly.
//!
//! One COPY is one layer. What a layer's bytes follow from: the paths, contents, owners and modes of its files, and nothing
//! of the machine. So times are one constant ([`tarball`]; never the commit's, so that a commit which changes one file changes
//! one layer), owners are numbers without names, and modes of files from the context are `0755` where their owner may execute
//! them and else `0644`, of directories `0755`: the one bit that git keeps, whatever the umask. `--chmod` says otherwise.

pub(crate) mod archive;
mod binary;
mod cache;
mod context;
mod copy;
mod layer;
mod mode;
mod owner;
mod parents;
mod session;
mod stage;
pub(crate) mod tarball;
pub(crate) mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shipline_engine::backend::{BuildRequest, Descriptor, ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_engine::folder::Place;
use shipline_engine::task::TaskContext;
use shipline_model::name::Digest;

use self::archive::Spool;
use self::cache::{LayerCache, Scratch};
use self::layer::{Layer, LayerError, Observed, Press};
pub(super) use self::session::Failure;
use self::session::{Session, cancelled};
use self::stage::{Stage, Step};
use self::tree::LastLink;
use super::BaseImages;
use super::dockerfile::{Dockerfile, DockerfileError, Globals};
use super::recipe::{read, read_ignore, shown, wrong};
use crate::image::{
    self, ImageConfig, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, RawDescriptor, RawManifest, RootFs,
};

pub(super) use context::{Context, Seen, Source, within};
pub(super) use stage::references;
pub(super) use tree::{Content, NodeKind, join, show};

/// The embedded builder.
#[derive(Clone)]
pub struct EmbeddedBuilder {
    /// Where it remembers layers, and unpacks what it must.
    cache: Place,
    /// Compressors that work at once; no digest depends on it.
    threads: NonZeroUsize,
    bases: Option<Arc<dyn BaseImages>>,
    settling: Duration,
}

/// Some file systems count whole seconds, FAT two of them.
const SETTLING: Duration = Duration::from_secs(2);

impl EmbeddedBuilder {
    /// A builder that keeps its records in directory `cache` (which need not exist) and compresses with `threads` threads.
    #[must_use]
    pub fn new(cache: impl Into<Place>, threads: NonZeroUsize) -> Self {
        Self {
            cache: cache.into(),
            threads,
            bases: None,
            settling: SETTLING,
        }
    }

    /// With a source of base images. Without one, every image but `scratch` is refused.
    #[must_use]
    pub fn with_bases(mut self, bases: Arc<dyn BaseImages>) -> Self {
        self.bases = Some(bases);
        self
    }

    /// With another time for which a file must not have changed before its stamp may stand for its content (git's "racy"
    /// files); 2 s unless said. Layers with younger files are made again.
    #[must_use]
    pub fn with_settling(mut self, settling: Duration) -> Self {
        self.settling = settling;
        self
    }

    async fn resolve(
        &self,
        prepared: &Prepared,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<Vec<(String, Digest)>, BackendError> {
        let mut resolved = Vec::new();
        for (reference, line) in &prepared.references {
            let Some(bases) = &self.bases else {
                return Err(BackendError::new(
                    ErrorClass::Unavailable,
                    format!("build {} from {}", request.id, prepared.name),
                )
                .because(format!(
                    "line {line}: image `{reference}` would have to be pulled, and no source of base images is configured"
                ))
                .hint("build `FROM scratch` or from an earlier stage, or use `engine: docker`"));
            };
            if task.is_cancelled() {
                return Err(cancelled(request));
            }
            let resolved_to = bases.resolve(reference, &request.platform, store, task);
            let digest = resolved_to.await.map_err(|error| {
                match prepared.dockerfile.stage_like(reference) {
                    Some(stage) => error
                        .within(format!(
                            "find `{reference}` of {} line {line}",
                            prepared.name
                        ))
                        .hint(format!("did you mean the stage `{stage}`?")),
                    None => error,
                }
            })?;
            task.note(format!("{reference} is {digest}")).await;
            resolved.push((reference.clone(), digest));
        }
        Ok(resolved)
    }

    fn assemble(
        &self,
        prepared: &Prepared,
        bases: Vec<(String, Digest)>,
        request: &BuildRequest,
        store: &dyn ImageStore,
        task: &TaskContext,
    ) -> Result<BuiltImage, Failure> {
        let seen = cache::now();
        let context = Context::new(
            &request.context,
            read_ignore(request)?,
            request.caches.clone(),
        )
        .beside(request.live.clone());
        let mut session = Session::new(
            request,
            &prepared.dockerfile,
            prepared.globals.clone(),
            store,
            task,
            instant(request)?,
            context,
            prepared.name.clone(),
        );
        for (reference, digest) in &bases {
            session.look_for_triggers(&prepared.needed, reference, digest)?;
        }
        for (reference, digest) in bases {
            session.add_image(&reference, digest)?;
        }
        let stage = session.run(&prepared.needed)?;
        let made = self.layers(&stage, seen, &prepared.name, &session)?;
        Ok(finish(stage, made, &session)?)
    }

    /// Makes the layers of a stage, or takes those that are there.
    fn layers(
        &self,
        stage: &Stage,
        seen: i128,
        name: &str,
        session: &Session<'_>,
    ) -> Result<Vec<Placed>, BackendError> {
        let (request, store, task) = (session.request, session.store, session.task);
        let cache = LayerCache::new(self.cache.join("layers"), self.settling);
        cache.forget_old();
        let count = stage.steps.len();
        let mut placed = Vec::with_capacity(count);
        for (index, step) in stage.steps.iter().enumerate() {
            let (changes, line, source) = match step {
                Step::Ready(descriptor, diff_id) => {
                    placed.push(Placed {
                        descriptor: descriptor.clone(),
                        diff_id: diff_id.clone(),
                        reused: true,
                        observed: Observed::default(),
                    });
                    continue;
                }
                Step::Make {
                    changes,
                    line,
                    source,
                } => (changes, *line, source),
            };
            if task.is_cancelled() {
                return Err(cancelled(request));
            }
            let fingerprint = cache::fingerprint(changes, &request.platform);
            let found = cache.find(&fingerprint, store)?;
            let reused = found.is_some();
            let layer = match found {
                Some(layer) => layer,
                None => {
                    let what = format!("layer {}/{count}", index + 1);
                    let layer = self
                        .press(changes, &what, session)
                        .map_err(|error| refused(error, line, source, name, request))?;
                    cache.remember(&fingerprint, seen, &layer)?;
                    layer
                }
            };
            for note in &layer.observed.notes {
                session.note(line, note);
            }
            placed.push(Placed::new(layer, reused)?);
        }
        for placed in &placed {
            for (file, loader) in &placed.observed.loaders {
                let there = stage
                    .tree
                    .resolve(loader.as_bytes(), LastLink::Follow)
                    .is_ok_and(|path| stage.tree.get(&path).is_some());
                if !there {
                    task.note_blocking(format!(
                        "{name}: `{file}` needs the loader `{loader}`, which is not in the image, and will not start: link it statically, or build on a base that has the loader"
                    ));
                }
            }
        }
        Ok(placed)
    }

    fn press(
        &self,
        changes: &copy::Changes,
        what: &str,
        session: &Session<'_>,
    ) -> Result<Layer, LayerError> {
        // There are few archives, and what lies side by side is mostly of one.
        let mut packed: Vec<(&tree::Archive, BTreeSet<u64>)> = Vec::new();
        for node in changes.values() {
            let NodeKind::File {
                content: Content::Packed { archive, entry },
                size: 1..,
            } = &node.kind
            else {
                continue;
            };
            match packed.iter_mut().find(|(known, _)| *known == archive) {
                Some((_, entries)) => {
                    entries.insert(*entry);
                }
                None => packed.push((archive, [*entry].into())),
            }
        }
        let scratch = if packed.is_empty() {
            None
        } else {
            Some(Scratch::new(&self.cache.join("scratch")).map_err(LayerError::Store)?)
        };
        let mut spool = Spool::new(
            scratch
                .as_ref()
                .map(|scratch| scratch.path().to_owned())
                .unwrap_or_default(),
        );
        for (archive, entries) in packed {
            spool
                .fetch(archive, entries, session.store, session.task)
                .map_err(|why| match session.task.is_cancelled() {
                    true => LayerError::Cancelled,
                    false => LayerError::Sources(why),
                })?;
        }
        Press {
            platform: &session.request.platform,
            store: session.store,
            threads: self.threads,
            task: session.task,
            spool: &spool,
            what,
        }
        .layer(changes)
    }
}

#[async_trait]
impl ImageBuilder for EmbeddedBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<BuiltImage, BackendError> {
        self.attempt(request, store, task)
            .await
            .map_err(|failure| match failure {
                Failure::Stopped(error) => error,
                Failure::NeedsEngine(error) => wrong(request, error),
            })
    }
}

impl EmbeddedBuilder {
    /// Builds, or finds out that only an engine can: what a base image triggers, or an arg stands for, is known only on the way.
    pub(super) async fn attempt(
        &self,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<BuiltImage, Failure> {
        let prepared = Prepared::read(request)?;
        let bases = self.resolve(&prepared, request, store, task).await?;
        let (builder, owned, store, context) = (
            self.clone(),
            request.clone(),
            Arc::clone(store),
            task.clone(),
        );
        let work = tokio::task::spawn_blocking(move || {
            builder.assemble(&prepared, bases, &owned, store.as_ref(), &context)
        });
        match work.await {
            Ok(result) => result,
            Err(error) => Err(BackendError::new(
                ErrorClass::Failed,
                format!("build {}", request.id),
            )
            .because(error)
            .into()),
        }
    }
}

/// A Dockerfile, read, and what follows from it and the request alone.
struct Prepared {
    dockerfile: Dockerfile,
    name: String,
    globals: Globals,
    needed: Vec<usize>,
    references: Vec<(String, usize)>,
}

impl Prepared {
    fn read(request: &BuildRequest) -> Result<Self, BackendError> {
        if request.platform.os != "linux" {
            return Err(BackendError::new(
                ErrorClass::Invalid,
                format!("build {} for {}", request.id, request.platform),
            )
            .because("images are made for linux only"));
        }
        let name = shown(request);
        let dockerfile = read(request)?;
        let at = |error| wrong(request, error);
        let args = request
            .args
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        let globals = Globals::new(&dockerfile, &args, &request.platform).map_err(at)?;
        let target = dockerfile.target(request.target.as_deref()).map_err(at)?;
        let needed = dockerfile.needed(target, &globals).map_err(at)?;
        let references = references(&dockerfile, &needed, &globals).map_err(at)?;
        Ok(Self {
            dockerfile,
            name,
            globals,
            needed,
            references,
        })
    }
}

/// A layer of the image to be.
struct Placed {
    descriptor: Descriptor,
    diff_id: String,
    reused: bool,
    observed: Observed,
}

impl Placed {
    fn new(layer: Layer, reused: bool) -> Result<Self, BackendError> {
        Ok(Self {
            descriptor: Descriptor {
                media_type: OCI_LAYER_GZIP.to_owned(),
                digest: Digest::new(layer.digest).map_err(|error| {
                    BackendError::new(ErrorClass::Invalid, "read the record of a layer")
                        .because(error)
                })?,
                size: layer.size,
            },
            diff_id: layer.diff_id,
            reused,
            observed: layer.observed,
        })
    }
}

fn refused(
    error: LayerError,
    line: usize,
    source: &str,
    name: &str,
    request: &BuildRequest,
) -> BackendError {
    let failed = |class| {
        BackendError::new(
            class,
            format!("build {} from {name} line {line} (`{source}`)", request.id),
        )
    };
    match error {
        LayerError::Cancelled => cancelled(request),
        LayerError::Sources(why) => failed(ErrorClass::Failed).because(why),
        LayerError::Foreign { file, what } => failed(ErrorClass::Invalid)
            .because(format!(
                "`{file}` is {what}, and the image is for {}",
                request.platform
            ))
            .hint(format!(
                "build it for {}: with cargo, `--target` and `CARGO_BUILD_TARGET` say for what; or set `platform` of the image",
                request.platform
            )),
        LayerError::Store(error) => error,
    }
}

fn instant(request: &BuildRequest) -> Result<String, BackendError> {
    jiff::Timestamp::from_second(request.created)
        .map(|at| at.to_string())
        .map_err(|error| {
            BackendError::new(ErrorClass::Invalid, format!("date image {}", request.id))
                .because(error)
        })
}

fn base_labels(
    session: &Session<'_>,
    bases: &[(String, Digest)],
) -> Result<BTreeMap<String, String>, DockerfileError> {
    let target = session
        .dockerfile
        .target(session.request.target.as_deref())?;
    super::bases::labels(session.dockerfile, target, &session.globals, bases)
}

/// How many layers Docker's storage stacks at most (its overlay driver counts 128 folders, and one is the container's own).
const MAX_LAYERS: usize = 127;

/// Writes config and manifest, and names the image.
fn finish(
    stage: Stage,
    layers: Vec<Placed>,
    session: &Session<'_>,
) -> Result<BuiltImage, BackendError> {
    let (request, store) = (session.request, session.store);
    if layers.len() > MAX_LAYERS {
        session.task.note_blocking(format!(
            "{}: the image has {} layers, and Docker's storage takes {MAX_LAYERS} at most, so that it may not run: give one COPY several sources, or copy a whole folder",
            session.name,
            layers.len()
        ));
    }
    let mut container = stage.config;
    let bases = session.bases();
    container
        .labels
        .extend(base_labels(session, &bases).map_err(|error| wrong(request, error))?);
    container.labels.extend(
        request
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let config = ImageConfig {
        created: Some(session.created.clone()),
        author: stage.author,
        architecture: request.platform.architecture.clone(),
        variant: request.platform.variant.clone(),
        os: request.platform.os.clone(),
        config: container,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        },
        history: Some(stage.history),
    };
    let config = image::to_json(&config)?;
    let config_digest = image::digest_of(&config);
    store.put_blob(&config_digest, &mut config.as_slice())?;
    let manifest = RawManifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: RawDescriptor::new(&Descriptor {
            media_type: OCI_CONFIG.to_owned(),
            digest: config_digest,
            size: config.len() as u64,
        }),
        layers: layers
            .iter()
            .map(|layer| RawDescriptor::new(&layer.descriptor))
            .collect(),
        annotations: BTreeMap::new(),
    };
    if session.task.is_cancelled() {
        return Err(cancelled(request));
    }
    let digest = store.put_manifest(OCI_MANIFEST, &image::to_json(&manifest)?)?;
    store.name_image(&digest, &request.id.to_string())?;
    Ok(BuiltImage {
        id: request.id.clone(),
        digest,
        size: config.len() as u64
            + layers
                .iter()
                .map(|layer| layer.descriptor.size)
                .sum::<u64>(),
        layers: layers.len(),
        reused_layers: layers.iter().filter(|layer| layer.reused).count(),
        bases,
        builder: "embedded".to_owned(),
    })
}
