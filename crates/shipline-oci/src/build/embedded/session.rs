//! One build: its Dockerfile and context, the stages carried out so far, and the images that they refer to.

use std::collections::BTreeMap;

use shipline_engine::backend::{BuildRequest, Descriptor, ImageStore, Manifest};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::task::TaskContext;
use shipline_model::config::Platform;
use shipline_model::name::Digest;

use super::archive;
use super::context::{Context, Source, TreeSource};
use super::stage::{Stage, Step};
use super::tree::{Archive, Tree};
use crate::build::dockerfile::{
    Base, Budget, Dockerfile, DockerfileError, ErrorKind, Globals, trigger,
};
use crate::build::recipe::wrong;
use crate::image::{
    self, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD, ImageConfig, OCI_LAYER, OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
};

/// One build.
pub(super) struct Session<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) globals: Globals,
    pub(super) store: &'a dyn ImageStore,
    pub(super) task: &'a TaskContext,
    /// `created` of the config and its history.
    pub(super) created: String,
    context: Context,
    stages: BTreeMap<usize, Stage>,
    images: BTreeMap<String, BaseImage>,
    /// The Dockerfile's name, for people.
    pub(super) name: String,
    /// What may still be done with variables.
    pub(super) budget: Budget,
    /// Steps of history that stages took over from one another.
    inherited: usize,
}

/// How many steps of history stages may take over from one another, all together.
const MAX_INHERITED: usize = 100_000;

/// Why nothing was built.
pub(crate) enum Failure {
    /// An engine could.
    NeedsEngine(DockerfileError),
    /// Something is wrong or went wrong.
    Stopped(BackendError),
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Stopped(error)
    }
}

impl Failure {
    /// What a line of the Dockerfile says.
    fn of(request: &BuildRequest, error: DockerfileError) -> Self {
        match error.kind {
            ErrorKind::NeedsEngine => Self::NeedsEngine(error),
            ErrorKind::Wrong | ErrorKind::Newer => Self::Stopped(wrong(request, error)),
        }
    }
}

/// An image of the store that a Dockerfile refers to.
pub(super) struct BaseImage {
    pub(super) digest: Digest,
    config: ImageConfig,
    layers: Vec<Descriptor>,
    tree: Tree,
}

impl<'a> Session<'a> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        request: &'a BuildRequest,
        dockerfile: &'a Dockerfile,
        globals: Globals,
        store: &'a dyn ImageStore,
        task: &'a TaskContext,
        created: String,
        context: Context,
        name: String,
    ) -> Self {
        Self {
            request,
            dockerfile,
            globals,
            store,
            task,
            created,
            context,
            stages: BTreeMap::new(),
            images: BTreeMap::new(),
            name,
            budget: Budget::default(),
            inherited: 0,
        }
    }

    /// Whether an image on which one of the stages `needed` stands triggers what only an engine can carry out: said before its
    /// layers are read.
    pub(super) fn look_for_triggers(
        &self,
        needed: &[usize],
        reference: &str,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let at = |error| Failure::of(self.request, error);
        for index in needed {
            let stage = &self.dockerfile.stages[*index];
            let base = self.dockerfile.base(*index, &self.globals).map_err(at)?;
            if base != Base::Image(reference.to_owned()) {
                continue;
            }
            let (_, config) = read_config(reference, digest, self.store)?;
            for text in &config.config.on_build {
                let found = trigger(stage.line, text, self.dockerfile.escape).map_err(at)?;
                if let Some(why) = crate::build::needs_engine(&found) {
                    return Err(at(DockerfileError::needs_engine(
                        stage.line,
                        format!("the base `{reference}` has ONBUILD `{text}`: {why}"),
                    )));
                }
            }
        }
        Ok(())
    }

    /// Reads an image that the Dockerfile refers to.
    pub(super) fn add_image(
        &mut self,
        reference: &str,
        digest: Digest,
    ) -> Result<(), BackendError> {
        let image = read_image(
            reference,
            digest,
            self.store,
            &self.request.platform,
            self.task,
        )
        .map_err(|error| match self.task.is_cancelled() {
            true => cancelled(self.request),
            false => error,
        })?;
        self.images.insert(reference.to_owned(), image);
        Ok(())
    }

    /// Carries out the stages, in order, and gives the last of them.
    pub(super) fn run(&mut self, needed: &[usize]) -> Result<Stage, Failure> {
        let mut last = None;
        for index in needed {
            if self.task.is_cancelled() {
                return Err(cancelled(self.request).into());
            }
            let stage = self
                .stage(*index)
                .map_err(|error| match self.task.is_cancelled() {
                    true => cancelled(self.request).into(),
                    false => Failure::of(self.request, error),
                })?;
            self.stages.insert(*index, stage);
            last = Some(*index);
        }
        last.and_then(|index| self.stages.remove(&index))
            .ok_or_else(|| BackendError::new(ErrorClass::Invalid, "find the stage to build").into())
    }

    fn stage(&mut self, index: usize) -> Result<Stage, DockerfileError> {
        let line = self.dockerfile.stages[index].line;
        let mut stage = match self.dockerfile.base(index, &self.globals)? {
            Base::Scratch => Stage::scratch(),
            Base::Stage(base) => Stage::on(self.finished(base, line)?),
            Base::Image(reference) => {
                let image = self.image(&reference, line)?;
                let steps = image
                    .layers
                    .iter()
                    .cloned()
                    .zip(image.config.rootfs.diff_ids.iter().cloned())
                    .map(|(layer, diff_id)| Step::Ready(layer, diff_id))
                    .collect();
                Stage::on_image(image.tree.clone(), steps, image.config.clone())
            }
        };
        self.inherited += stage.history.len();
        if self.inherited > MAX_INHERITED {
            return Err(DockerfileError::new(
                line,
                format!("the stages take over more than {MAX_INHERITED} steps from one another"),
            ));
        }
        stage.run(index, self)?;
        Ok(stage)
    }

    fn finished(&self, index: usize, line: usize) -> Result<&Stage, DockerfileError> {
        self.stages
            .get(&index)
            .ok_or_else(|| DockerfileError::new(line, format!("stage {index} is not built yet")))
    }

    fn image(&self, reference: &str, line: usize) -> Result<&BaseImage, DockerfileError> {
        self.images.get(reference).ok_or_else(|| {
            DockerfileError::new(line, format!("image `{reference}` was not resolved")).remedy(
                "an ONBUILD trigger of the base refers to it; name it in a FROM of this Dockerfile",
            )
        })
    }

    /// Where a COPY of stage `index` copies from.
    pub(super) fn source(
        &self,
        index: usize,
        from: Option<&str>,
        line: usize,
    ) -> Result<Box<dyn Source + '_>, DockerfileError> {
        let Some(from) = from else {
            return Ok(Box::new(&self.context));
        };
        let (tree, name) = match self.dockerfile.copy_base(index, from, line)? {
            Base::Scratch => {
                return Err(DockerfileError::new(
                    line,
                    "nothing can be copied from scratch",
                ));
            }
            Base::Stage(stage) => (&self.finished(stage, line)?.tree, format!("stage `{from}`")),
            Base::Image(reference) => (
                &self.image(&reference, line)?.tree,
                format!("image `{reference}`"),
            ),
        };
        Ok(Box::new(TreeSource { tree, name }))
    }

    /// Says something about a line of the Dockerfile.
    pub(super) fn note(&self, line: usize, text: &str) {
        self.task
            .note_blocking(format!("{}:{line}: {text}", self.name));
    }

    /// The images that were referred to, as written and as resolved.
    pub(super) fn bases(&self) -> Vec<(String, Digest)> {
        self.images
            .iter()
            .map(|(reference, image)| (reference.clone(), image.digest.clone()))
            .collect()
    }
}

impl Source for &Context {
    fn see(&self, path: &[u8]) -> Result<super::context::Seen, String> {
        (**self).see(path)
    }

    fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        (**self).names(path)
    }

    fn listing(&self, path: &[u8]) -> Result<Vec<super::context::Listed>, String> {
        (**self).listing(path)
    }

    fn see_listed(
        &self,
        path: &[u8],
        listed: Option<std::fs::Metadata>,
    ) -> Result<super::context::Seen, String> {
        (**self).see_listed(path, listed)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn missing(&self, path: &[u8]) -> String {
        (**self).missing(path)
    }
}

pub(super) fn cancelled(request: &BuildRequest) -> BackendError {
    BackendError::new(ErrorClass::Cancelled, format!("build {}", request.id))
}

/// The manifest and the config of an image of the store.
fn read_config(
    reference: &str,
    digest: &Digest,
    store: &dyn ImageStore,
) -> Result<(Manifest, ImageConfig), BackendError> {
    let failed =
        |class: ErrorClass| BackendError::new(class, format!("read base image {reference}"));
    let manifest = store
        .manifest(digest)?
        .ok_or_else(|| failed(ErrorClass::NotFound).because("it is not in the store"))?;
    let config = image::read_config(store, &manifest.config)?;
    Ok((manifest, config))
}

fn read_image(
    reference: &str,
    digest: Digest,
    store: &dyn ImageStore,
    platform: &Platform,
    task: &TaskContext,
) -> Result<BaseImage, BackendError> {
    let failed =
        |class: ErrorClass| BackendError::new(class, format!("read base image {reference}"));
    let (manifest, config) = read_config(reference, &digest, store)?;
    if config.os != platform.os || config.architecture != platform.architecture {
        return Err(failed(ErrorClass::Invalid).because(format!(
            "it is for {}/{}, and the image to build is for {platform}",
            config.os, config.architecture
        )));
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(failed(ErrorClass::Invalid).because(format!(
            "its config lists {} layers and its manifest {}",
            config.rootfs.diff_ids.len(),
            manifest.layers.len()
        )));
    }
    let mut tree = Tree::default();
    let mut layers = Vec::new();
    for layer in manifest.layers {
        let media_type = match layer.media_type.as_str() {
            OCI_LAYER | OCI_LAYER_GZIP | OCI_LAYER_ZSTD => layer.media_type.clone(),
            DOCKER_LAYER_GZIP => OCI_LAYER_GZIP.to_owned(),
            DOCKER_LAYER_ZSTD => OCI_LAYER_ZSTD.to_owned(),
            other => {
                return Err(failed(ErrorClass::Invalid)
                    .because(format!("a layer of it has the media type `{other}`"))
                    .hint("use a base with tar, gzip or zstd layers, or `engine: docker`"));
            }
        };
        let archive = Archive::Layer(layer.digest.clone());
        let reader = archive::open(&archive, store, task)
            .map_err(|why| failed(ErrorClass::Failed).because(why))?;
        archive::put_layer(&mut tree, &archive, reader).map_err(|error| {
            failed(ErrorClass::Invalid).because(format!("layer {}: {error}", layer.digest))
        })?;
        layers.push(Descriptor {
            media_type,
            ..layer
        });
    }
    Ok(BaseImage {
        digest,
        config,
        layers,
        tree,
    })
}
