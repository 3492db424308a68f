//! Who we are towards a registry: a login that was given, the docker config and its credential helpers, or nobody.

mod docker;

use std::fmt;

use async_trait::async_trait;
use shipline_engine::error::BackendError;
use shipline_model::value::Secret;

pub(crate) use docker::is_docker_hub;
pub use docker::{DockerConfig, HelperAnswer, HelperRunner};

/// What is shown to a registry or its token server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user and a password.
    Login {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token for the registry's OAuth 2 token server (`identitytoken` of the docker config).
    Identity(Secret),
    /// A bearer token that goes to the registry as it is (`registrytoken` of the docker config).
    Bearer(Secret),
}

/// Whether credentials that are still remembered will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// They will.
    Remembered,
    /// The registry refused those: new ones are wanted.
    Renewed,
}

/// Where credentials come from.
#[async_trait]
pub trait CredentialSource: Send + Sync + fmt::Debug {
    /// The credentials for a registry.
    ///
    /// # Errors
    /// Where the source is broken: an unreadable config, a helper that fails. To know none is not an error.
    async fn credentials(
        &self,
        host: &str,
        freshness: Freshness,
    ) -> Result<Credentials, BackendError>;

    /// What a person can do where there is no login for a registry, or it is refused: a sentence.
    fn remedy(&self, host: &str) -> String {
        format!(
            "log in with `docker login {host}`, or give `username` and `password` beside the `url` of the profile's registry"
        )
    }
}

/// Credentials that were given.
#[async_trait]
impl CredentialSource for Credentials {
    async fn credentials(
        &self,
        _host: &str,
        _freshness: Freshness,
    ) -> Result<Credentials, BackendError> {
        Ok(self.clone())
    }
}
