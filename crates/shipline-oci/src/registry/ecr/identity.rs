//! Who we are towards AWS: what `aws-config` finds on this machine, or a role by GitHub's OIDC token.

use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvidedCredentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_credential_types::{Credentials, provider};
use serde::Deserialize;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::header::HeaderValue;
use shipline_http::{Method, Peer, Request, RetryPolicy, Tries, Url, class, is_loopback_url};
use shipline_model::value::Secret;

use super::connector::SharedClient;
use super::failure::failed;

/// What AWS wants to find in the token's `aud`.
const AUDIENCE: &str = "sts.amazonaws.com";
/// The session's name in AWS's logs.
const SESSION: &str = "shipline";
/// What is attempted at GitHub.
const ATTEMPTED: &str = "get an OIDC token from GitHub";
/// Time limit for GitHub's answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most that is read of the token's answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// Who we are towards AWS.
#[derive(Debug, Clone)]
pub enum AwsIdentity {
    /// What the AWS tools would take: variables, profile (keys, roles, SSO, a credential process), a web identity file, a
    /// container's or machine's role. `aws-config` reads the environment and `~/.aws` for this by itself.
    Ambient {
        /// The profile, and nothing else, where one is asked for.
        profile: Option<String>,
        /// Whether the machine may have a role of its own.
        metadata: InstanceMetadata,
    },
    /// A role by the OIDC token of a GitHub Actions job.
    GithubActions {
        /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
        url: String,
        /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
        token: Secret,
        /// ARN of the role.
        role: String,
    },
    /// Nobody, on purpose: whatever needs an identity fails.
    Withheld,
}

/// Whether EC2's instance metadata is asked for credentials. Where there is none, asking costs seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceMetadata {
    /// It is not.
    Absent,
    /// It is, last.
    Asked,
}

/// The SDK's configuration for this identity.
pub(super) async fn configure(
    identity: &AwsIdentity,
    region: &str,
    sts_endpoint: Option<&str>,
    retries: &RetryPolicy,
    http: &shipline_http::Client,
) -> SdkConfig {
    let attempts = RetryConfig::standard().with_max_attempts(retries.attempts);
    let region = Region::new(region.to_owned());
    let client = SharedClient(http.clone());
    let credentials = match identity {
        AwsIdentity::Ambient { profile, metadata } => {
            ambient(profile.as_deref(), *metadata, &region, &client)
        }
        AwsIdentity::GithubActions { url, token, role } => {
            let mut sts = aws_sdk_sts::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(region.clone())
                .retry_config(attempts.clone())
                .http_client(client.clone());
            sts.set_endpoint_url(sts_endpoint.map(str::to_owned));
            SharedCredentialsProvider::new(GithubActions {
                http: http.clone(),
                url: url.clone(),
                token: token.clone(),
                role: role.clone(),
                sts: aws_sdk_sts::Client::from_conf(sts.build()),
                retries: retries.clone(),
            })
        }
        AwsIdentity::Withheld => SharedCredentialsProvider::new(Withheld),
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(client)
        .retry_config(attempts)
        .credentials_provider(credentials);
    if let AwsIdentity::Ambient {
        profile: Some(profile),
        ..
    } = identity
    {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

fn ambient(
    profile: Option<&str>,
    metadata: InstanceMetadata,
    region: &Region,
    client: &SharedClient,
) -> SharedCredentialsProvider {
    let config = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_http_client(client.clone());
    let mut profiles = ProfileFileCredentialsProvider::builder().configure(&config);
    if let Some(profile) = profile {
        profiles = profiles.profile_name(profile);
    }
    if profile.is_some() {
        // Who asks for a profile does not want to be somebody else where it is missing.
        return SharedCredentialsProvider::new(profiles.build());
    }
    let web_identity = WebIdentityTokenCredentialsProvider::builder()
        .configure(&config)
        .build();
    let container = aws_config::ecs::EcsCredentialsProvider::builder()
        .configure(&config)
        .build();
    let chain = CredentialsProviderChain::first_try(
        "environment",
        EnvironmentVariableCredentialsProvider::new(),
    )
    .or_else("profile", profiles.build())
    .or_else("web identity", web_identity)
    .or_else("container", container);
    SharedCredentialsProvider::new(match metadata {
        InstanceMetadata::Absent => chain,
        InstanceMetadata::Asked => chain.or_else(
            "instance",
            aws_config::imds::credentials::ImdsCredentialsProvider::builder()
                .configure(&config)
                .build(),
        ),
    })
}

/// Gives no credentials.
#[derive(Debug)]
struct Withheld;

impl ProvideCredentials for Withheld {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        ProvidedCredentials::ready(Err(CredentialsError::provider_error(
            "credentials are withheld from this pull request: its base does not name this registry alike",
        )))
    }
}

/// GitHub's token for the job, and AWS's credentials for the token.
#[derive(Debug)]
struct GithubActions {
    http: shipline_http::Client,
    url: String,
    token: Secret,
    role: String,
    sts: aws_sdk_sts::Client,
    retries: RetryPolicy,
}

#[derive(Deserialize)]
struct TokenAnswer {
    value: String,
}

impl ProvideCredentials for GithubActions {
    fn provide_credentials<'a>(&'a self) -> ProvidedCredentials<'a>
    where
        Self: 'a,
    {
        ProvidedCredentials::new(self.assume())
    }
}

impl GithubActions {
    async fn assume(&self) -> provider::Result {
        let token = self.identity_token().await?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role)
            .role_session_name(SESSION)
            .web_identity_token(token)
            .send()
            .await
            .map_err(|error| {
                let attempted = format!("assume role {} for this job", self.role);
                CredentialsError::provider_error(failed(&attempted, error))
            })?;
        let credentials = answer
            .credentials
            .ok_or_else(|| CredentialsError::provider_error("AWS gave no credentials"))?;
        let expires = SystemTime::try_from(credentials.expiration)
            .map_err(CredentialsError::provider_error)?;
        Ok(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            Some(expires),
            "GitHub OIDC",
        ))
    }

    async fn identity_token(&self) -> Result<String, CredentialsError> {
        let mut tries = Tries::new(&self.retries, Peer::Service, None);
        loop {
            match self.try_identity_token().await {
                Ok(token) => return Ok(token),
                Err(error) => tries
                    .after(error.into())
                    .await
                    .map_err(CredentialsError::provider_error)?,
            }
        }
    }

    async fn try_identity_token(&self) -> Result<String, BackendError> {
        let refused = |class| BackendError::new(class, ATTEMPTED);
        let mut url =
            Url::parse(&self.url).map_err(|error| refused(ErrorClass::Invalid).because(error))?;
        if url.scheme() != "https" && !is_loopback_url(&url) {
            return Err(refused(ErrorClass::Invalid)
                .because("ACTIONS_ID_TOKEN_REQUEST_URL is reached without encryption"));
        }
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        let mut credential = HeaderValue::from_str(&format!("bearer {}", self.token.expose()))
            .map_err(|error| refused(ErrorClass::Invalid).because(error))?;
        credential.set_sensitive(true);
        let request = Request::new(Method::GET, &url, Peer::Service, ATTEMPTED)
            .authorization(Some(&credential))
            .limit(ANSWER);
        let answer = self.http.send(&request).await?;
        let status = answer.status();
        if !status.is_success() {
            let passes = class(status.as_u16()) == ErrorClass::Retryable;
            let class = if passes || status.is_server_error() {
                ErrorClass::Retryable
            } else {
                ErrorClass::Denied
            };
            return Err(refused(class).because(format!(
                "GitHub answered {status}; the workflow's job needs `permissions: id-token: write`"
            )));
        }
        let body = answer.read(ANSWER_BYTES, ATTEMPTED).await?;
        // The answer is a credential: it is never part of an error.
        serde_json::from_slice::<TokenAnswer>(&body)
            .map(|answer| answer.value)
            .map_err(|_| {
                refused(ErrorClass::Invalid).because("GitHub's answer is not the JSON of a token")
            })
    }
}
