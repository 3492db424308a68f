//! Credentials out of the docker config (`config.json`): `auths`, `credHelpers` and `credsStore`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::value::Secret;
use tokio::sync::Mutex;

use super::{CredentialSource, Credentials, Freshness};

/// Key of Docker Hub in docker configs and credential helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What a credential helper answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperAnswer {
    /// Whether its exit status was 0.
    pub succeeded: bool,
    /// Its standard output.
    pub stdout: String,
}

/// Runs credential helpers, which are programs (`docker-credential-NAME get`, the server on standard input).
#[async_trait]
pub trait HelperRunner: Send + Sync + std::fmt::Debug {
    /// Runs `program get` with `server` on its standard input.
    ///
    /// # Errors
    /// `Unavailable` where the program cannot be started, `Retryable` where it does not end in time.
    async fn get(&self, program: &str, server: &str) -> Result<HelperAnswer, BackendError>;
}

/// What was said of one registry; empty before it was asked.
type Answered = Arc<Mutex<Option<Credentials>>>;

/// A docker config file. One that is not there knows no credentials. What it says of a registry is remembered until the registry
/// refuses it: a helper may ask a key ring, or a person, and is asked once, however many tokens a run needs.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    path: PathBuf,
    helpers: Arc<dyn HelperRunner>,
    known: Arc<std::sync::Mutex<HashMap<String, Answered>>>,
}

impl DockerConfig {
    /// The config at `path`, usually `~/.docker/config.json`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, helpers: Arc<dyn HelperRunner>) -> Self {
        Self {
            path: path.into(),
            helpers,
            known: Arc::default(),
        }
    }

    async fn read(&self) -> Result<Option<ConfigFile>, BackendError> {
        let failed = || {
            BackendError::new(
                ErrorClass::Invalid,
                format!("read the docker config {}", self.path.display()),
            )
        };
        match tokio::fs::read(&self.path).await {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                // The file holds passwords, and serde's message would hold values of it.
                .map_err(|error| {
                    let (line, column) = (error.line(), error.column());
                    failed().because(format!(
                        "it is not the JSON of a docker config (line {line}, column {column})"
                    ))
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed().because(error)),
        }
    }

    async fn ask(&self, helper: &str, server: &str) -> Result<Option<Credentials>, BackendError> {
        let program = format!("docker-credential-{helper}");
        let failed = || {
            BackendError::new(
                ErrorClass::Unavailable,
                format!("get the credentials for {server} from `{program}`"),
            )
        };
        if helper.is_empty() || helper.contains(['/', '\\']) {
            return Err(failed().because(format!(
                "{} names a helper that is no name",
                self.path.display()
            )));
        }
        let answer = self
            .helpers
            .get(&program, server)
            .await
            .map_err(|error| failed().because(error))?;
        if !answer.succeeded {
            // The helpers' protocol: this text on standard output, and nothing else, says that there are none.
            let none = answer.stdout.trim() == "credentials not found in native keychain";
            return if none {
                Ok(None)
            } else {
                Err(failed()
                    .because(answer.stdout.trim().to_owned())
                    .hint(format!("try `echo {server} | {program} get`")))
            };
        }
        // The answer holds the password: it is never part of an error.
        let found: HelperCredentials = serde_json::from_str(&answer.stdout)
            .map_err(|_| failed().because("its answer is not JSON with `Username` and `Secret`"))?;
        Ok(Some(login(found.username, found.secret)))
    }
}

#[async_trait]
impl CredentialSource for DockerConfig {
    async fn credentials(
        &self,
        host: &str,
        freshness: Freshness,
    ) -> Result<Credentials, BackendError> {
        let entry = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(host.to_owned()).or_default())
        };
        // Those who come while it is looked up wait for the result and do not ask again.
        let mut entry = entry.lock().await;
        if let Some(known) = entry.as_ref()
            && freshness == Freshness::Remembered
        {
            return Ok(known.clone());
        }
        let found = self.look_up(host).await?;
        *entry = Some(found.clone());
        Ok(found)
    }
}

impl DockerConfig {
    async fn look_up(&self, host: &str) -> Result<Credentials, BackendError> {
        let Some(config) = self.read().await? else {
            return Ok(Credentials::Anonymous);
        };
        let hub = is_docker_hub(host);
        let server = if hub { DOCKER_HUB_KEY } else { host };
        let helper = config
            .cred_helpers
            .iter()
            .find(|(key, _)| is_for(key, host))
            .map(|(_, helper)| helper)
            .or(config.creds_store.as_ref().filter(|name| !name.is_empty()));
        if let Some(helper) = helper
            && let Some(found) = self.ask(helper, server).await?
        {
            return Ok(found);
        }
        let entry = config
            .auths
            .iter()
            .find(|(key, _)| key.as_str() == server)
            .or_else(|| config.auths.iter().find(|(key, _)| is_for(key, host)));
        match entry {
            Some((key, entry)) => entry.credentials().map_err(|why| {
                BackendError::new(
                    ErrorClass::Invalid,
                    format!("read the login for {key} in {}", self.path.display()),
                )
                .because(why)
                .hint("log in again with `docker login`")
            }),
            None => Ok(Credentials::Anonymous),
        }
    }
}

/// Whether this host is Docker Hub by one of its names.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    matches!(
        host,
        "docker.io" | "index.docker.io" | "registry-1.docker.io"
    )
}

/// Whether a key of the config (`host`, `https://host`, `https://host/v1/`) is for this registry.
fn is_for(key: &str, host: &str) -> bool {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.split('/').next().unwrap_or(key);
    key == host || (is_docker_hub(key) && is_docker_hub(host))
}

fn login(username: String, secret: String) -> Credentials {
    if username == TOKEN_USER {
        Credentials::Identity(Secret::new(secret))
    } else {
        Credentials::Login {
            username,
            password: Secret::new(secret),
        }
    }
}

#[derive(Deserialize)]
struct HelperCredentials {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Entry {
    fn credentials(&self) -> Result<Credentials, &'static str> {
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = set(&self.registrytoken) {
            return Ok(Credentials::Bearer(Secret::new(token)));
        }
        if let Some(token) = set(&self.identitytoken) {
            return Ok(Credentials::Identity(Secret::new(token)));
        }
        if let Some(auth) = set(&self.auth) {
            let decoded = STANDARD
                .decode(auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or("`auth` is not base64 of a text")?;
            let (username, password) = decoded
                .split_once(':')
                .ok_or("`auth` is not base64 of `user:password`")?;
            // Docker's own writer ended passwords with NUL bytes once.
            return Ok(login(
                username.to_owned(),
                password.trim_end_matches('\0').to_owned(),
            ));
        }
        match (set(&self.username), set(&self.password)) {
            (Some(username), Some(password)) => Ok(login(username, password)),
            (Some(_), None) => Err("it has a user and no password"),
            (None, _) => Ok(Credentials::Anonymous),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(&'static str, bool);

    #[async_trait]
    impl HelperRunner for Fixed {
        async fn get(&self, program: &str, server: &str) -> Result<HelperAnswer, BackendError> {
            assert_eq!(program, "docker-credential-vault");
            Ok(HelperAnswer {
                succeeded: self.1,
                stdout: self.0.replace("SERVER", server),
            })
        }
    }

    fn config(
        text: &str,
        answer: &'static str,
        succeeded: bool,
    ) -> (tempfile::TempDir, DockerConfig) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        (
            directory,
            DockerConfig::new(path, Arc::new(Fixed(answer, succeeded))),
        )
    }

    async fn check(text: &str, host: &str, expected: Credentials) {
        let (_directory, config) =
            config(text, "credentials not found in native keychain\n", false);
        assert_eq!(
            config
                .credentials(host, Freshness::Remembered)
                .await
                .unwrap(),
            expected,
            "{text} {host}"
        );
    }

    fn user(username: &str, password: &str) -> Credentials {
        Credentials::Login {
            username: username.into(),
            password: Secret::new(password),
        }
    }

    #[tokio::test]
    async fn logins_are_found_by_every_form_of_a_key() {
        // `dTpwOnc=` is `u:p:w`.
        for key in ["r.io:5000", "https://r.io:5000", "http://r.io:5000/v1/"] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpwOnc="}}}}}}"#);
            check(&text, "r.io:5000", user("u", "p:w")).await;
            check(&text, "r.io", Credentials::Anonymous).await;
        }
        let hub = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="}}}"#;
        check(hub, "docker.io", user("u", "p:w")).await;
        check(
            r#"{"auths":{"r.io":{"auth":"dTpwOnc=","identitytoken":"t"}}}"#,
            "r.io",
            Credentials::Identity(Secret::new("t")),
        )
        .await;
        check(
            r#"{"auths":{"r.io":{"registrytoken":"t"}}}"#,
            "r.io",
            Credentials::Bearer(Secret::new("t")),
        )
        .await;
        check(r#"{"auths":{"r.io":{}}}"#, "r.io", Credentials::Anonymous).await;
        // A helper without the credentials leaves the word to `auths`.
        check(
            r#"{"credsStore":"vault","auths":{"r.io":{"username":"u","password":"p"}}}"#,
            "r.io",
            user("u", "p"),
        )
        .await;
    }

    #[tokio::test]
    async fn helpers_come_first() {
        let answer = r#"{"ServerURL":"SERVER","Username":"u","Secret":"from SERVER"}"#;
        let text = r#"{"credHelpers":{"r.io":"vault"},"credsStore":"","auths":{"r.io":{"auth":"dTpwOnc="}}}"#;
        let (_directory, helped) = config(text, answer, true);
        assert_eq!(
            helped
                .credentials("r.io", Freshness::Remembered)
                .await
                .unwrap(),
            user("u", "from r.io")
        );
        let (_directory, helped) = config(r#"{"credsStore":"vault"}"#, answer, true);
        assert_eq!(
            helped
                .credentials("docker.io", Freshness::Remembered)
                .await
                .unwrap(),
            user("u", "from https://index.docker.io/v1/")
        );
        let token = r#"{"Username":"<token>","Secret":"t"}"#;
        let (_directory, helped) = config(r#"{"credsStore":"vault"}"#, token, true);
        assert_eq!(
            helped
                .credentials("r.io", Freshness::Remembered)
                .await
                .unwrap(),
            Credentials::Identity(Secret::new("t"))
        );
    }

    #[tokio::test]
    async fn broken_configs_and_helpers_are_errors_without_secrets() {
        let check = async |text: &str, answer: &'static str, succeeded: bool| {
            let (_directory, config) = config(text, answer, succeeded);
            let error = config
                .credentials("r.io", Freshness::Remembered)
                .await
                .unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        };
        check("{", "", true).await;
        check(r#"{"auths":{"r.io":{"auth":"%hunter2"}}}"#, "", true).await;
        check(r#"{"auths":{"r.io":{"auth":"aHVudGVyMg=="}}}"#, "", true).await;
        check(r#"{"credsStore":"vault"}"#, "{\"Secret\":\"hunter2\"", true).await;
        check(r#"{"credsStore":"vault"}"#, "locked", false).await;
        check(r#"{"credsStore":"../vault"}"#, "", true).await;
    }

    #[tokio::test]
    async fn no_config_is_nobody() {
        let config = DockerConfig::new("/nonexistent/config.json", Arc::new(Fixed("", true)));
        assert_eq!(
            config
                .credentials("r.io", Freshness::Remembered)
                .await
                .unwrap(),
            Credentials::Anonymous
        );
    }
}
