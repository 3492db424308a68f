//! Shipline's own way: the embedded builder into the store, from the store to the registry, by digest and then by tag.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shipline_engine::backend::{BuildRequest, ImageBuilder, ImageStore, Registry, TagRequest};
use shipline_engine::fault::Faults;
use shipline_engine::task::TaskContext;
use shipline_model::config::{BuildEngine, Platform};
use shipline_model::name::RepositoryName;
use shipline_model::plan::{ImageId, TaskId};
use shipline_oci::build::EmbeddedBuilder;
use shipline_oci::credentials::Credentials;
use shipline_oci::http::{self, HttpSettings};
use shipline_oci::registry::DistributionRegistry;
use shipline_oci::registry::distribution::{RegistryAddress, RetryPolicy, Security};
use shipline_oci::store::LayoutStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Failure, figures};

/// A store and a cache in a directory, a repository in the registry.
pub(crate) struct Work {
    directory: PathBuf,
    host: String,
    repository: RepositoryName,
}

impl Work {
    /// Works in `directory` and pushes to `repository` of the registry at `host`.
    pub(crate) fn new(directory: &Path, host: &str, repository: &str) -> Result<Self, Failure> {
        Ok(Self {
            directory: directory.to_path_buf(),
            host: host.to_owned(),
            repository: format!("shipline/{repository}").parse()?,
        })
    }

    /// Builds `context` and publishes the image as `tag`, opening everything anew, as a process does.
    pub(crate) fn publish(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(self.build_and_push(context, tag))
    }

    async fn build_and_push(&self, context: &Path, tag: &str) -> Result<(), Failure> {
        let store: Arc<dyn ImageStore> = Arc::new(LayoutStore::open(
            self.directory.join("store"),
            Faults::none(),
        )?);
        let builder = EmbeddedBuilder::new(
            self.directory.join("cache"),
            std::thread::available_parallelism()?,
        );
        let registry = DistributionRegistry::new(
            RegistryAddress::parse(&self.host, Security::Required)?,
            http::client(&HttpSettings::default())?,
            Arc::new(Credentials::Anonymous),
            RetryPolicy {
                attempts: 1,
                first: Duration::from_millis(1),
                longest: Duration::from_millis(1),
                patience: Duration::from_secs(1),
            },
            Faults::none(),
        );
        // Nobody listens: what is said goes nowhere.
        let (sender, _) = mpsc::channel(1);
        let id = TaskId {
            stage: "push".parse()?,
            component: Some("frontend".parse()?),
            variant: None,
        };
        let task = TaskContext::new(id, sender, CancellationToken::new());
        registry
            .preflight(std::slice::from_ref(&self.repository))
            .await?;
        let built = builder.build(&request(context)?, &store, &task).await?;
        registry
            .upload(&self.repository, &built.digest, &store, &task)
            .await?;
        let tag = TagRequest {
            repository: self.repository.clone(),
            tag: tag.to_owned(),
            digest: built.digest,
        };
        registry.tag(&[tag], &task).await?;
        Ok(())
    }
}

fn request(context: &Path) -> Result<BuildRequest, Failure> {
    Ok(BuildRequest {
        id: ImageId {
            component: "frontend".parse()?,
            variant: None,
        },
        engine: BuildEngine::Embedded,
        context: context.to_path_buf(),
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

/// Starts this program again with `argument`, so that the peak is this work's and nobody else's.
#[allow(clippy::disallowed_methods, reason = "a bench starts programs")]
pub(crate) fn measure_memory(argument: &str, directory: &Path, host: &str) -> Result<(), Failure> {
    let status = std::process::Command::new(std::env::current_exe()?)
        .arg(argument)
        .arg(directory)
        .arg(host)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the child that measures memory: {status}").into())
    }
}

/// The child: builds and pushes `directory`'s context, and says how much memory it took at its peak.
pub(crate) fn report_memory(directory: &Path, host: &str) -> Result<(), Failure> {
    let work = Work::new(directory, host, "large")?;
    let figure = figures::measure(|| work.publish(&directory.join("context"), "first"))?;
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    println!(
        "shipline, embedded builder: peak {} resident, wall {:.1} s, CPU {} s",
        figures::peak().map_or("unknown".to_owned(), megabytes),
        figure.wall,
        figure.cpu.map_or("-".to_owned(), |cpu| format!("{cpu:.1}"))
    );
    Ok(())
}
