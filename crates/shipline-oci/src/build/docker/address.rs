//! Where the engine listens: `DOCKER_HOST`, the current context of the docker config, or the sockets that engines use.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shipline_engine::error::{BackendError, ErrorClass};

/// Which of an engine's builders is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wanted {
    /// BuildKit where the engine has it.
    #[default]
    Best,
    /// The classic builder (`DOCKER_BUILDKIT=0`).
    Classic,
}

/// What the CLI knows about engines on this machine.
#[derive(Debug, Clone, Default)]
pub struct DockerSettings {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// The folder of docker's `config.json`.
    pub config_folder: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_folder: Option<PathBuf>,
    /// `DOCKER_BUILDKIT`.
    pub wanted: Wanted,
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `host:port`, without TLS.
    Tcp(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    current_context: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextMeta {
    endpoints: std::collections::BTreeMap<String, ContextEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextEndpoint {
    host: String,
}

impl Address {
    /// Finds the engine: `DOCKER_HOST`, then the context, then the first socket that is there.
    pub(super) fn find(settings: &DockerSettings) -> Result<Self, BackendError> {
        if let Some(host) = &settings.host {
            return Self::parse(host, "DOCKER_HOST");
        }
        if let Some(context) = context_name(settings)? {
            let host = context_host(settings, &context)?;
            return Self::parse(&host, &format!("the docker context `{context}`"));
        }
        let candidates = sockets(settings);
        candidates.iter().find(|path| path.exists()).map(|path| Self::Unix(path.clone())).ok_or_else(|| {
            let tried: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            BackendError::new(ErrorClass::Unavailable, "find a Docker engine")
                .because(format!("no socket at {}", tried.join(", ")))
                .hint("start Docker or Podman on this machine, or name an engine in DOCKER_HOST")
                .hint("an image whose Dockerfile has no RUN needs no engine: build what RUN makes with `image.prepare` on the host")
        })
    }

    fn parse(text: &str, origin: &str) -> Result<Self, BackendError> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(address) = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))
        {
            return Ok(Self::Tcp(address.trim_end_matches('/').to_owned()));
        }
        Err(BackendError::new(ErrorClass::Invalid, format!("use the engine at `{text}` ({origin})"))
            .because("only unix:// and tcp:// addresses are supported")
            .hint("forward a remote engine to a local socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST"))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

fn context_name(settings: &DockerSettings) -> Result<Option<String>, BackendError> {
    let chosen = match (&settings.context, &settings.config_folder) {
        (Some(context), _) => context.clone(),
        (None, Some(folder)) => {
            let path = folder.join("config.json");
            match std::fs::read(&path) {
                Ok(bytes) => {
                    serde_json::from_slice::<DockerConfig>(&bytes)
                        .map_err(|error| {
                            BackendError::new(
                                ErrorClass::Invalid,
                                format!("read {}", path.display()),
                            )
                            .because(error)
                        })?
                        .current_context
                }
                Err(_) => String::new(),
            }
        }
        (None, None) => String::new(),
    };
    Ok(Some(chosen).filter(|name| !name.is_empty() && name != "default"))
}

fn context_host(settings: &DockerSettings, context: &str) -> Result<String, BackendError> {
    let folder = settings.config_folder.clone().unwrap_or_default();
    let path = folder
        .join("contexts/meta")
        .join(hex::encode(Sha256::digest(context.as_bytes())))
        .join("meta.json");
    let failed = |cause: String| {
        BackendError::new(ErrorClass::Unavailable, format!("read the docker context `{context}` from {}", path.display()))
            .because(cause)
            .hint("list contexts with `docker context ls`; choose one with `docker context use` or DOCKER_CONTEXT")
    };
    let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let meta: ContextMeta =
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    meta.endpoints
        .get("docker")
        .map(|endpoint| endpoint.host.clone())
        .ok_or_else(|| failed("it has no docker endpoint".to_owned()))
}

fn sockets(settings: &DockerSettings) -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
    let below = |folder: &Option<PathBuf>, path: &str| {
        folder.as_deref().map(|folder: &Path| folder.join(path))
    };
    sockets.extend(below(&settings.runtime_folder, "docker.sock"));
    sockets.extend(below(&settings.home, ".docker/run/docker.sock"));
    sockets.extend(below(&settings.runtime_folder, "podman/podman.sock"));
    sockets.push(PathBuf::from("/run/podman/podman.sock"));
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_comes_first_and_names_what_is_not_supported() {
        let settings = |host: &str| DockerSettings {
            host: Some(host.to_owned()),
            ..DockerSettings::default()
        };
        assert_eq!(
            Address::find(&settings("unix:///x.sock")).unwrap(),
            Address::Unix("/x.sock".into())
        );
        assert_eq!(
            Address::find(&settings("tcp://127.0.0.1:2375/")).unwrap(),
            Address::Tcp("127.0.0.1:2375".into())
        );
        let error = Address::find(&settings("ssh://me@host")).unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
        assert!(error.message.contains("DOCKER_HOST"), "{error}");
    }

    #[test]
    fn the_current_context_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("config.json"),
            r#"{"auths":{},"currentContext":"lab"}"#,
        )
        .unwrap();
        let settings = DockerSettings {
            config_folder: Some(folder.path().to_owned()),
            ..DockerSettings::default()
        };
        assert!(
            Address::find(&settings)
                .unwrap_err()
                .message
                .contains("`lab`")
        );
        let meta = folder
            .path()
            .join("contexts/meta")
            .join(hex::encode(Sha256::digest(b"lab")));
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"lab","Endpoints":{"docker":{"Host":"unix:///lab.sock"}}}"#,
        )
        .unwrap();
        assert_eq!(
            Address::find(&settings).unwrap(),
            Address::Unix("/lab.sock".into())
        );
    }
}
