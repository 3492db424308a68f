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

impl Logins {
    fn of(&self, host: &str) -> &dyn CredentialSource {
        if host == self.host {
            self.own.as_ref()
        } else {
            self.others.as_ref()
        }
    }
}

#[async_trait]
impl CredentialSource for Logins {
    async fn credentials(
        &self,
        host: &str,
        freshness: Freshness,
    ) -> Result<Credentials, BackendError> {
        self.of(host).credentials(host, freshness).await
    }

    fn remedy(&self, host: &str) -> String {
        self.of(host).remedy(host)
    }
}
