//! Logins for the registries that an engine pulls from during a build: it asks for them, and does not read our files.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bollard::auth::DockerCredentials;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::Auth;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use shipline_engine::backend::BuildRequest;
use shipline_engine::error::BackendError;
use tonic::{Request, Response, Status};

use crate::credentials::{CredentialSource, Credentials, Freshness, is_docker_hub};
use crate::pull::ImageReference;

/// Docker Hub's name in what engines are told.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Where the logins come from.
#[derive(Clone)]
pub(super) struct Logins(pub(super) Arc<dyn CredentialSource>);

impl Logins {
    /// The logins for all registries that a build may pull from: the classic builder wants them before it begins.
    pub(super) async fn of(
        &self,
        request: &BuildRequest,
    ) -> Result<HashMap<String, DockerCredentials>, BackendError> {
        let text = crate::build::recipe::read_text(request)?;
        // A Dockerfile that we cannot read is the engine's to refuse.
        let references = crate::build::base_references(
            &text,
            request.target.as_deref(),
            &request.args,
            &request.platform,
        )
        .unwrap_or_default();
        let names = references.into_iter().map(|(reference, _)| reference);
        let hosts: BTreeSet<String> = names
            .chain(request.cache_from.iter().cloned())
            .filter_map(|name| name.parse::<ImageReference>().ok())
            .map(|reference| reference.host)
            .collect();
        let mut logins = HashMap::new();
        for host in hosts {
            let found = self.0.credentials(&host, Freshness::Remembered).await?;
            let server = if is_docker_hub(&host) {
                DOCKER_HUB.to_owned()
            } else {
                host
            };
            let login = DockerCredentials {
                serveraddress: Some(server.clone()),
                ..DockerCredentials::default()
            };
            let login = match found {
                Credentials::Anonymous => continue,
                Credentials::Login { username, password } => DockerCredentials {
                    username: Some(username),
                    password: Some(password.expose().to_owned()),
                    ..login
                },
                Credentials::Identity(token) => DockerCredentials {
                    identitytoken: Some(token.expose().to_owned()),
                    ..login
                },
                Credentials::Bearer(token) => DockerCredentials {
                    registrytoken: Some(token.expose().to_owned()),
                    ..login
                },
            };
            logins.insert(server, login);
        }
        Ok(logins)
    }
}

/// BuildKit asks when it needs one.
#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let found = self.0.credentials(&host, Freshness::Remembered).await;
        let (username, secret) = match found.map_err(|error| Status::internal(error.to_string()))? {
            Credentials::Login { username, password } => (username, password.expose().to_owned()),
            // Without a user, it is a token for the registry's token server.
            Credentials::Identity(token) => (String::new(), token.expose().to_owned()),
            // The protocol has no place for a token that is used as it is.
            Credentials::Anonymous | Credentials::Bearer(_) => (String::new(), String::new()),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("engines fetch their tokens"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("engines fetch their tokens"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("engines fetch their tokens"))
    }
}
