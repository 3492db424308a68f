//! Credential helpers of the docker config: small programs that are asked for a login.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::tools;
use shipline_oci::credentials::{HelperAnswer, HelperRunner};
use tokio::io::AsyncWriteExt as _;

/// How long a helper may take: some of them ask a key ring, or a person.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs helpers with the caller's environment, which is where key rings and agents are named.
#[derive(Debug)]
pub(crate) struct Helpers {
    environment: BTreeMap<String, String>,
}

impl Helpers {
    /// Helpers that see `environment` and are never programs of the repository at `root`.
    pub(crate) fn outside_of(root: &Path, environment: &BTreeMap<String, String>) -> Self {
        let mut environment = environment.clone();
        if let Some(path) = environment.get_mut("PATH") {
            *path = tools::path_outside_of(root, path);
        }
        Self { environment }
    }
}

#[async_trait::async_trait]
impl HelperRunner for Helpers {
    async fn get(&self, program: &str, server: &str) -> Result<HelperAnswer, BackendError> {
        let unavailable = |error: std::io::Error| {
            BackendError::new(
                ErrorClass::Unavailable,
                format!("ask the credential helper `{program}` for {server}"),
            )
            .because(error)
            .hint("install it, or take it out of the docker config (`credHelpers`, `credsStore`)")
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a helper reads its question from standard input and must end before anything else"
        )]
        let mut command = tokio::process::Command::new(program);
        let mut child = command
            .arg("get")
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(unavailable)?;
        if let Some(mut question) = child.stdin.take() {
            // A helper that does not read its question answers it all the same, or fails by itself.
            let _ = question.write_all(server.as_bytes()).await;
        }
        match tokio::time::timeout(LIMIT, child.wait_with_output()).await {
            Ok(Ok(output)) => Ok(HelperAnswer {
                succeeded: output.status.success(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            }),
            Ok(Err(error)) => Err(unavailable(error)),
            Err(_) => Err(BackendError::new(
                ErrorClass::Retryable,
                format!("ask the credential helper `{program}` for {server}"),
            )
            .because(format!("it did not answer within {} s", LIMIT.as_secs()))),
        }
    }
}
