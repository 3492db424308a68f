//! What is made once in a command, however many ask for it: connections, and the logins of registries.
//!
//! Two parts that each made their own would log in twice, read the certificates twice, and ask a credential helper twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use shipline_http::Client;
use shipline_model::name::ProfileName;
use shipline_oci::credentials::CredentialSource;
use shipline_oci::registry::ecr::EcrRegistry;

use crate::error::CommandError;

/// Parts of one command.
#[derive(Default)]
pub(crate) struct Parts {
    clients: Mutex<BTreeMap<Vec<PathBuf>, Client>>,
    ecr: Mutex<BTreeMap<ProfileName, Arc<EcrRegistry>>>,
    docker_config: OnceLock<Arc<dyn CredentialSource>>,
}

impl Parts {
    /// The HTTP client with these further certificates.
    pub(crate) fn client(
        &self,
        roots: Vec<PathBuf>,
        make: impl FnOnce(Vec<PathBuf>) -> Result<Client, CommandError>,
    ) -> Result<Client, CommandError> {
        once(&self.clients, roots.clone(), || make(roots))
    }

    /// The ECR registry of a profile.
    pub(crate) fn ecr(
        &self,
        profile: &ProfileName,
        make: impl FnOnce() -> Result<Arc<EcrRegistry>, CommandError>,
    ) -> Result<Arc<EcrRegistry>, CommandError> {
        once(&self.ecr, profile.clone(), make)
    }

    /// The logins of the docker config.
    pub(crate) fn docker_config(
        &self,
        make: impl FnOnce() -> Arc<dyn CredentialSource>,
    ) -> Arc<dyn CredentialSource> {
        Arc::clone(self.docker_config.get_or_init(make))
    }
}

fn once<K: Ord, T: Clone>(
    known: &Mutex<BTreeMap<K, T>>,
    key: K,
    make: impl FnOnce() -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(&key) {
        return Ok(found.clone());
    }
    let made = make()?;
    known.insert(key, made.clone());
    Ok(made)
}
