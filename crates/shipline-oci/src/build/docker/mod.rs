//! Builds by a Docker engine: BuildKit where the engine has it, the classic builder otherwise (old engines, Podman).
//!
//! The built image leaves the engine as a stream into the image store, so that scanners and registries see the same bytes
//! as with the embedded builder, and the digest is known before anything is published.

mod address;
mod age;
mod bare;
mod bases;
mod context;
mod export;
mod files;
mod login;
mod memory;
mod progress;
mod session;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{BuildInfoAux, SystemVersion};
use bollard::query_parameters::BuildImageOptionsBuilder;
use futures_util::StreamExt as _;
use shipline_engine::backend::{BuildRequest, ImageBuilder, ImageStore};
use shipline_engine::error::{BackendError, Cause, ErrorClass, chain};
use shipline_engine::event::BuiltImage;
use shipline_engine::folder::Place;
use shipline_engine::task::{TaskContext, TaskMessage};

use super::BaseImages;
use crate::credentials::{CredentialSource, Credentials};

use self::address::Address;
pub use self::address::{DockerSettings, Wanted};
use self::bases::Bases;
use self::files::BuildFiles;
use self::login::Logins;
use self::progress::Progress;
use self::session::Session;

/// How long one answer of the engine may take to begin, in seconds. Builds themselves are bounded by the task's own limit.
const ANSWER_LIMIT: u64 = 24 * 60 * 60;

/// How often a build begins again because the engine lost an image under it.
const LOST_IMAGES: u32 = 6;

/// The wait before it begins again for the first time; it doubles with each time. Whoever removes images removes many, one
/// after the other.
const LOST_WAIT: Duration = Duration::from_millis(50);

/// Builds with a Docker engine.
#[derive(Clone)]
pub struct DockerBuilder {
    settings: DockerSettings,
    known_layers: Place,
    threads: NonZeroUsize,
    bases: Option<Arc<dyn BaseImages>>,
    logins: Arc<dyn CredentialSource>,
}

/// Which of the engine's builders is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    BuildKit,
    Classic,
}

impl DockerBuilder {
    /// A builder that looks for the engine when it is needed. `cache` is a folder of ours in which it remembers layers by
    /// diff ID; layers are compressed with `threads` threads.
    #[must_use]
    pub fn new(settings: DockerSettings, cache: impl Into<Place>, threads: NonZeroUsize) -> Self {
        Self {
            settings,
            known_layers: cache.into().join("docker-layers"),
            threads,
            bases: None,
            logins: Arc::new(Credentials::Anonymous),
        }
    }

    /// With a source of base images: what it resolves is what the engine builds on. Without one the engine decides alone.
    #[must_use]
    pub fn with_bases(mut self, bases: Arc<dyn BaseImages>) -> Self {
        self.bases = Some(bases);
        self
    }

    /// With logins for the registries that the engine pulls from. Without, it pulls as nobody.
    #[must_use]
    pub fn with_logins(mut self, logins: Arc<dyn CredentialSource>) -> Self {
        self.logins = logins;
        self
    }

    async fn connect(&self) -> Result<Engine, BackendError> {
        let address = Address::find(&self.settings)?;
        let unreachable = |error: bollard::errors::Error| {
            BackendError::new(
                ErrorClass::Unavailable,
                format!("reach the Docker engine at {address}"),
            )
            .because(error)
            .hint("is it running, and may you use its socket? `docker version` asks the same")
        };
        let docker = match &address {
            Address::Unix(path) => Docker::connect_with_unix(
                &path.display().to_string(),
                ANSWER_LIMIT,
                bollard::API_DEFAULT_VERSION,
            ),
            Address::Tcp(host) => Docker::connect_with_http(
                &format!("tcp://{host}"),
                ANSWER_LIMIT,
                bollard::API_DEFAULT_VERSION,
            ),
        };
        let docker = docker
            .map_err(unreachable)?
            .negotiate_version()
            .await
            .map_err(unreachable)?;
        let version = docker.version().await.map_err(unreachable)?;
        Ok(Engine {
            docker,
            address,
            flavour: flavour(&version),
            version,
        })
    }
}

/// An engine that answers.
struct Engine {
    docker: Docker,
    address: Address,
    flavour: Flavour,
    version: SystemVersion,
}

/// Podman takes `version=2` and builds without BuildKit: it must be known by name. Engines have BuildKit since API 1.39.
fn flavour(version: &SystemVersion) -> Flavour {
    let podman = version
        .components
        .iter()
        .flatten()
        .any(|component| component.name.to_lowercase().contains("podman"));
    let api = version.api_version.as_deref().unwrap_or_default();
    let modern = api
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    if podman || modern.is_none_or(|modern| modern < (1, 39)) {
        Flavour::Classic
    } else {
        Flavour::BuildKit
    }
}

#[async_trait]
impl ImageBuilder for DockerBuilder {
    async fn build(
        &self,
        request: &BuildRequest,
        store: &Arc<dyn ImageStore>,
        task: &TaskContext,
    ) -> Result<BuiltImage, BackendError> {
        let engine = self.connect().await?;
        let version = engine
            .version
            .version
            .as_deref()
            .unwrap_or("of unknown version");
        let (flavour, word) = match (engine.flavour, self.settings.wanted) {
            (Flavour::BuildKit, Wanted::Best) => (Flavour::BuildKit, "BuildKit"),
            (Flavour::BuildKit, Wanted::Classic) | (Flavour::Classic, _) => {
                (Flavour::Classic, "the classic builder")
            }
        };
        task.note(format!(
            "builds with {word} of the engine at {} ({version})",
            engine.address
        ))
        .await;
        if flavour == Flavour::Classic && !request.secrets.is_empty() {
            return Err(BackendError::new(ErrorClass::Unavailable, format!("give build secrets to {}", request.id))
                .because(format!("{word} of the engine at {} cannot mount secrets", engine.address))
                .hint("use an engine with BuildKit (Docker 18.09 or newer), and do not set DOCKER_BUILDKIT=0"));
        }
        let bases = Bases::choose(&engine.docker, self.bases.as_deref(), request, task).await?;
        let mut request = request.clone();
        for (name, value) in bases.labels() {
            request.labels.entry(name).or_insert(value);
        }
        let request = &request;
        let logins = Logins(Arc::clone(&self.logins));
        let making = Making {
            engine: &engine,
            flavour,
            request,
            dockerfile: bases.dockerfile(),
            logins,
            task,
        };
        let built = self.again_where_lost(&making, store).await;
        let mut built = built.map_err(|error| match error.class {
            ErrorClass::Failed => too_old(request, flavour, version)
                .into_iter()
                .fold(error, BackendError::hint),
            ErrorClass::Retryable
            | ErrorClass::Denied
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::Invalid
            | ErrorClass::Unavailable
            | ErrorClass::Cancelled => error,
        })?;
        built.bases = bases.known(&engine.docker).await?;
        Ok(built)
    }
}

/// What one build is made of.
struct Making<'a> {
    engine: &'a Engine,
    flavour: Flavour,
    request: &'a BuildRequest,
    dockerfile: Option<String>,
    logins: Logins,
    task: &'a TaskContext,
}

impl DockerBuilder {
    /// Builds and takes the image out of the engine, and again where the engine lost an image meanwhile: what it has done is
    /// in its cache.
    async fn again_where_lost(
        &self,
        making: &Making<'_>,
        store: &Arc<dyn ImageStore>,
    ) -> Result<BuiltImage, BackendError> {
        let task = making.task;
        for time in 0..LOST_IMAGES {
            match self.once(making, store).await {
                Err(error) if error.class == ErrorClass::Retryable => {
                    let wait = LOST_WAIT * 2u32.pow(time);
                    task.say(TaskMessage::Retrying {
                        error: chain(&error),
                        after: wait,
                    })
                    .await;
                    tokio::select! {
                        // The build says that it was cancelled.
                        () = task.cancellation().cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                built => return built,
            }
        }
        self.once(making, store).await
    }

    async fn once(
        &self,
        making: &Making<'_>,
        store: &Arc<dyn ImageStore>,
    ) -> Result<BuiltImage, BackendError> {
        let (engine, task) = (making.engine, making.task);
        let image = engine.build(making).await?;
        task.note(format!(
            "takes image {} out of the engine",
            image
                .trim_start_matches("sha256:")
                .get(..12)
                .unwrap_or(&image)
        ))
        .await;
        export::into_store(
            &engine.docker,
            &image,
            making.request,
            store,
            &self.known_layers,
            self.threads,
            task,
        )
        .await
    }
}

impl Engine {
    /// Runs the build to its end and gives the image's ID.
    async fn build(&self, making: &Making<'_>) -> Result<String, BackendError> {
        let (request, task) = (making.request, making.task);
        let (dockerfile, logins) = (making.dockerfile.clone(), making.logins.clone());
        let mut known = None;
        let (docker, session, options, body) = match making.flavour {
            Flavour::Classic => {
                let (chunks, dockerfile) = context::stream(request, dockerfile, task)?;
                let docker = adjusted(&self.docker, request, None);
                known = Some(logins.of(request).await?);
                let body = bollard::body_try_stream(chunks);
                (docker, None, options(request, &dockerfile).build(), body)
            }
            Flavour::BuildKit => {
                let secrets: HashMap<String, Vec<u8>> = request
                    .secrets
                    .iter()
                    .map(|(id, value)| (id.clone(), value.expose().as_bytes().to_vec()))
                    .collect();
                let files = BuildFiles::of(request, dockerfile, task)?;
                let id = session_id(request, task);
                let session = Session::open(&self.address, id, secrets, files, logins).await?;
                let docker = adjusted(&self.docker, request, Some(&session.id));
                let options = options(request, files::DOCKERFILE).remote("client-session");
                // The library wants a body, and the engine one that is empty.
                let body = bollard::body_full(bytes::Bytes::new());
                (docker, Some(session), options.build(), body)
            }
        };
        let mut progress = Progress::default();
        let mut image = None;
        let mut messages = Box::pin(docker.build_image(options, known, Some(body)));
        let ending = loop {
            let message = tokio::select! {
                // The engine stops a build whose client goes away: dropping the stream is how a build is cancelled.
                () = task.cancellation().cancelled() => break Err(BackendError::new(ErrorClass::Cancelled, format!("build {}", request.id))),
                message = messages.next() => message,
            };
            match message {
                None => break Ok(()),
                Some(Err(error)) => break Err(failed(request, error)),
                Some(Ok(info)) => {
                    if let Some(text) = &info.stream {
                        progress.text(text, task).await;
                    }
                    if let (Some(status), None) = (&info.status, &info.progress_detail) {
                        progress.text(&format!("{status}\n"), task).await;
                    }
                    // The classic builder names every stage's image; the last one is the image.
                    match &info.aux {
                        Some(BuildInfoAux::Default(built)) => image = built.id.clone().or(image),
                        Some(BuildInfoAux::BuildKit(status)) => progress.status(status, task).await,
                        None => {}
                    }
                    if let Some(message) = info.error_detail.and_then(|detail| detail.message) {
                        break Err(failed(request, message));
                    }
                }
            }
        };
        progress.finish(task).await;
        drop(messages);
        drop(session);
        ending?;
        image.ok_or_else(|| {
            BackendError::new(ErrorClass::Failed, format!("build {}", request.id))
                .because("the engine ended the build without naming an image")
        })
    }
}

/// What the engine may be too old for. A Dockerfile that cannot be read has told so already.
fn too_old(request: &BuildRequest, flavour: Flavour, version: &str) -> Vec<String> {
    let text = crate::build::recipe::read_text(request).unwrap_or_default();
    age::hints(
        &request.id,
        &text,
        request.target.as_deref(),
        flavour,
        version,
    )
}

fn failed(request: &BuildRequest, cause: impl Into<Cause>) -> BackendError {
    let cause = cause.into();
    let class = if lost_an_image(&cause.to_string()) {
        ErrorClass::Retryable
    } else {
        ErrorClass::Failed
    };
    BackendError::new(
        class,
        format!(
            "build {} from {}",
            request.id,
            crate::build::recipe::shown(request)
        ),
    )
    .because(cause)
}

/// Whether the engine says that an image went away between two of its own looks. The classic builder looks at every image
/// beside the one that it looks for, and gives up where somebody removes any of them; or its last step's image is pruned
/// before the next step. The engine has no code for it, and names such an image by its ID alone.
fn lost_an_image(message: &str) -> bool {
    ["unable to find image \"sha256:", "No such image: sha256:"]
        .iter()
        .any(|text| message.contains(text))
}

/// Unique on the engine: run, task and process decide it.
fn session_id(request: &BuildRequest, task: &TaskContext) -> String {
    use sha2::Digest as _;
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let text = format!(
        "{}\n{}\n{}\n{nanos}",
        request.id,
        task.id(),
        std::process::id()
    );
    hex::encode(&sha2::Sha256::digest(text.as_bytes())[..16])
}

/// What bollard cannot say: `version=2` together with a session that gives secrets, and more than one extra host.
fn adjusted(docker: &Docker, request: &BuildRequest, session: Option<&str>) -> Docker {
    let mut more = String::new();
    for host in &request.extra_hosts {
        more.push_str("&extrahosts=");
        for byte in host.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
                more.push(char::from(byte));
            } else {
                more.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if let Some(id) = session {
        more.push_str(&format!("&session={id}"));
    }
    let version = if session.is_some() {
        "version=2"
    } else {
        "version=1"
    };
    docker.clone().with_request_modifier(move |mut request| {
        let uri = request.uri().to_string();
        if uri.contains("/build?")
            && let Ok(changed) = format!("{}{more}", uri.replace("version=1", version)).parse()
        {
            *request.uri_mut() = changed;
        }
        // Engines read the URL-safe alphabet, and the library writes the other.
        if let Some(logins) = request.headers_mut().get_mut("x-registry-config")
            && let Ok(text) = logins.to_str()
            && let Ok(safe) = text.replace('+', "-").replace('/', "_").parse()
        {
            *logins = safe;
        }
        request
    })
}

fn options(request: &BuildRequest, dockerfile: &str) -> BuildImageOptionsBuilder {
    let args: HashMap<String, String> = request
        .args
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    let labels: HashMap<String, String> = request
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(dockerfile)
        .t(&engine_tag(request))
        .rm(true)
        .forcerm(true)
        .buildargs(&args)
        .labels(&labels)
        .platform(&request.platform.to_string());
    if let Some(target) = &request.target {
        options = options.target(target);
    }
    if let Some(network) = &request.network {
        options = options.networkmode(network);
    }
    if !request.cache_from.is_empty() {
        options = options.cachefrom(&request.cache_from);
    }
    options
}

/// The image's name in the engine. It never leaves it: it keeps the latest build from being collected, and the next one
/// takes it over.
fn engine_tag(request: &BuildRequest) -> String {
    match &request.id.variant {
        Some(variant) => format!("shipline.local/{}:{variant}", request.id.component),
        None => format!("shipline.local/{}:latest", request.id.component),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemVersionComponents;

    use super::*;

    #[test]
    fn podman_and_old_engines_build_classically() {
        let check = |api: &str, component: &str, expected: Flavour| {
            let components = vec![SystemVersionComponents {
                name: component.to_owned(),
                ..SystemVersionComponents::default()
            }];
            let version = SystemVersion {
                api_version: Some(api.to_owned()),
                components: Some(components),
                ..SystemVersion::default()
            };
            assert_eq!(flavour(&version), expected, "{api} {component}");
        };
        check("1.41", "Engine", Flavour::BuildKit);
        check("1.38", "Engine", Flavour::Classic);
        check("1.41", "Podman Engine", Flavour::Classic);
        check("", "Engine", Flavour::Classic);
    }
}
