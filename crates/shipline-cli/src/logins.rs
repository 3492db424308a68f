//! Logins of more than one registry as one source.

use std::sync::Arc;

use async_trait::async_trait;
use shipline_engine::error::BackendError;
use shipline_oci::credentials::{CredentialSource, Credentials, Freshness};

/// The login of one registry, and of all others.
#[derive(Debug)]
pub(crate) struct Logins {
    /// The registry's host.
    pub(crate) host: String,
    /// Its login.
    pub(crate) own: Arc<dyn CredentialSource>,
    /// Everybody else's.
    pub(crate) others: Arc<dyn CredentialSource>,
}

#[async_trait]
impl CredentialSource for Logins {
    async fn credentials(
        &self,
        host: &str,
        freshness: Freshness,
    ) -> Result<Credentials, BackendError> {
        let source = if host == self.host {
            &self.own
        } else {
            &self.others
        };
        source.credentials(host, freshness).await
    }
}
