//! Shipline's own way: a builder into the store, from the store to the registry, by digest and then by tag. Each time in a
//! process of its own, as when a person runs it, so that time and memory are this work's and nobody else's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shipline_engine::backend::{
    BuildRequest, ImageBuilder, ImageStore, Reference, Registry, TagRequest,
};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use shipline_http::{self as http, HttpSettings, RetryPolicy};
use shipline_model::config::{BuildEngine, Platform};
use shipline_model::name::RepositoryName;
use shipline_model::plan::{ImageId, TaskId};
use shipline_oci::build::EmbeddedBuilder;
use shipline_oci::build::docker::{DockerBuilder, DockerSettings};
use shipline_oci::credentials::Credentials;
use shipline_oci::registry::DistributionRegistry;
use shipline_oci::registry::distribution::{RegistryAddress, Security};
use shipline_oci::store::LayoutStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// The image that the large content becomes in a Docker engine.
pub(crate) const LARGE_IN_ENGINE: &str = "shipline.local/bench-large:latest";

/// Which builder builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Embedded,
    Docker,
}

impl Engine {
    /// The word for it as an argument of a process.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Docker => "docker",
        }
    }

    fn component(self) -> &'static str {
        match self {
            Self::Embedded => "frontend",
            Self::Docker => "bench-large",
        }
    }
}

/// A store and a cache in a directory, a repository in the registry.
pub(crate) struct Work {
    pub(crate) engine: Engine,
    pub(crate) directory: PathBuf,
    pub(crate) host: String,
    pub(crate) repository: String,
}

impl Work {
    /// Builds `context` and publishes the image as `tag`, in a process of its own. Gives the part of its time that the build
    /// took, as that process says it.
    pub(crate) fn publish(&self, context: &Path, tag: &str) -> Result<String, Failure> {
        child([
            self.engine.word().as_ref(),
            self.directory.as_os_str(),
            self.host.as_ref(),
            self.repository.as_ref(),
            context.as_os_str(),
            tag.as_ref(),
        ])
    }

    /// That process.
    pub(crate) fn publish_here(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        runtime()?.block_on(self.build_and_push(context, tag))
    }

    async fn build_and_push(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        let start = Instant::now();
        let store: Arc<dyn ImageStore> = Arc::new(LayoutStore::open(
            self.directory.join("store"),
            Faults::none(),
        )?);
        let threads = std::thread::available_parallelism()?;
        let cache = self.directory.join("cache");
        let builder: Box<dyn ImageBuilder> = match self.engine {
            Engine::Embedded => Box::new(EmbeddedBuilder::new(cache, threads)),
            Engine::Docker => Box::new(DockerBuilder::new(engine_settings(), cache, threads)),
        };
        let registry = registry(&self.host)?;
        // Nobody listens: what is said goes nowhere.
        let (sender, _) = mpsc::channel(1);
        let id = TaskId {
            stage: "push".parse()?,
            component: Some(self.engine.component().parse()?),
            variant: None,
        };
        let task = TaskContext::new(id, sender, CancellationToken::new());
        let repository: RepositoryName = self.repository.parse()?;
        registry
            .preflight(std::slice::from_ref(&repository))
            .await?;
        let request = request(self.engine, context)?;
        let built = builder.build(&request, &store, &task).await?;
        let build = start.elapsed().as_secs_f64();
        registry
            .upload(&repository, &built.digest, &store, &task)
            .await?;
        let tag = TagRequest {
            repository,
            tag: tag.to_owned(),
            digest: built.digest,
        };
        registry.tag(&[tag], &task).await?;
        let push = start.elapsed().as_secs_f64() - build;
        println!("build {build:.3} s, push {push:.3} s");
        Ok(())
    }
}

/// Starts this program again with `arguments`, waits for its end, and gives the line that it says.
#[allow(clippy::disallowed_methods, reason = "a bench starts programs")]
pub(crate) fn child<'a>(
    arguments: impl IntoIterator<Item = &'a std::ffi::OsStr>,
) -> Result<String, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("a process of the bench: {}", output.status).into())
    }
}

/// Compressed bytes of an image in the registry.
pub(crate) fn image_size(host: &str, repository: &str, tag: &str) -> Result<u64, Failure> {
    let repository: RepositoryName = repository.parse()?;
    let found = runtime()?.block_on(async {
        registry(host)?
            .manifest(&repository, &Reference::Tag(tag.to_owned()))
            .await
            .map_err(Failure::from)
    })?;
    let (_, bytes) = found.ok_or("the image is not in the registry")?;
    let manifest: serde_json::Value = serde_json::from_slice(&bytes)?;
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    Ok(layers
        .iter()
        .filter_map(|layer| layer["size"].as_u64())
        .sum())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

fn registry(host: &str) -> Result<DistributionRegistry, Failure> {
    Ok(DistributionRegistry::new(
        RegistryAddress::parse(host, Security::Required)?,
        http::client(&HttpSettings::default())?,
        Arc::new(Credentials::Anonymous),
        RetryPolicy {
            attempts: 1,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(1),
            patience: Duration::from_secs(1),
        },
        Faults::none(),
    ))
}

/// The engine that this machine's own client would use.
#[allow(
    clippy::disallowed_methods,
    reason = "a bench reads the environment of whoever runs it"
)]
fn engine_settings() -> DockerSettings {
    DockerSettings {
        host: std::env::var("DOCKER_HOST").ok(),
        ..DockerSettings::default()
    }
}

fn request(engine: Engine, context: &Path) -> Result<BuildRequest, Failure> {
    Ok(BuildRequest {
        id: ImageId {
            component: engine.component().parse()?,
            variant: None,
        },
        engine: match engine {
            Engine::Embedded => BuildEngine::Embedded,
            Engine::Docker => BuildEngine::Docker,
        },
        root: context.to_path_buf(),
        context: context.to_path_buf(),
        caches: Vec::new(),
        live: None,
        recipe: None,
        dockerfile: context.join("Dockerfile"),
        target: None,
        platform: Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
        },
        args: BTreeMap::new(),
        secrets: BTreeMap::new(),
        network: None,
        extra_hosts: Vec::new(),
        cache_from: Vec::new(),
        labels: BTreeMap::new(),
        created: 1_700_000_000,
    })
}
