//! A fake of AWS ECR: its API (JSON 1.1) and its registry (`/v2/`) on one port, with state, real digests, immutable tags,
//! expiring tokens, GitHub's OIDC exchange, the portal of IAM Identity Center, the quirks that clients trip over, and faults on demand. Every request is logged.

mod api;
mod bearer;
mod certificate;
mod control;
mod data;
mod fault;
mod lifecycle;
mod quirk;
mod referrers;
mod server;
mod state;
mod sts;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

pub use certificate::TestCertificate;
pub use fault::{Effect, Fault, LoggedRequest, When};
pub use quirk::{Quirk, Reply};
pub use referrers::Referrers;
pub use state::{Behaviour, Expiry, ImageStatus, Login, Mounting, Mutability};

use state::State;

/// How the fake behaves where the real thing can be set up in several ways.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port on loopback; 0 takes a free one.
    pub port: u16,
    /// Account ID.
    pub account: String,
    /// Region, in the registry's name.
    pub region: String,
    /// Whether it speaks TLS, and with which certificate.
    pub tls: Option<TestCertificate>,
    /// Host and port by which the API names the registry; the fake's own address where absent.
    pub proxy_host: Option<String>,
    /// Where real registries and accounts differ.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            tls: None,
            proxy_host: None,
            behaviour: Behaviour::default(),
        }
    }
}

/// A running fake; it ends when this is dropped.
#[derive(Debug)]
pub struct FakeEcr {
    address: SocketAddr,
    encrypted: bool,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What the fake's connections share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    faults: Mutex<fault::Faults>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, fault::Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeEcr {
    /// Starts a fake on loopback.
    ///
    /// # Errors
    /// Where the port is taken.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", options.port)).await?;
        let address = listener.local_addr()?;
        let encrypted = options.tls.is_some();
        let acceptor = options
            .tls
            .as_ref()
            .map(TestCertificate::acceptor)
            .transpose()?;
        let proxy_host = options
            .proxy_host
            .clone()
            .unwrap_or_else(|| address.to_string());
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(
                options.account,
                proxy_host,
                if encrypted { "https" } else { "http" },
                options.behaviour,
            )),
            faults: Mutex::default(),
        });
        let server = tokio::spawn(server::serve(listener, acceptor, Arc::clone(&shared)));
        Ok(Self {
            address,
            encrypted,
            shared,
            server,
        })
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Base URL of API and registry.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Creates a repository.
    pub fn create(&self, repository: &str, mutability: Mutability) {
        self.shared
            .state()
            .create(repository, mutability, state::ScanOnPush::No);
    }

    /// A password for user `AWS` that is good now.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared.state().issue_token().0
    }

    /// An identity token that the token server takes (with [`Login::Bearer`]).
    #[must_use]
    pub fn identity_token(&self) -> &'static str {
        bearer::IDENTITY
    }

    /// Gives a repository a lifecycle policy that keeps its newest images.
    pub fn keep_newest(&self, repository: &str, images: usize) {
        self.shared.state().set_policy(repository, images);
    }

    /// `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN` of a job that the fake's STS knows. (STS answers
    /// at [`FakeEcr::url`], too.)
    #[must_use]
    pub fn github_job(&self) -> (String, &'static str) {
        let url = format!("{}{}?api-version=2.0", self.url(), sts::TOKEN_PATH);
        (url, sts::JOB_SECRET)
    }

    /// The access key that signed the last request to the API.
    #[must_use]
    pub fn caller(&self) -> Option<String> {
        self.shared.state().caller.clone()
    }

    /// Lets time pass for the fake: tokens expire.
    pub fn advance(&self, seconds: i64) {
        self.shared.state().advance(seconds);
    }

    /// Makes every token that was given out worthless.
    pub fn revoke_tokens(&self) {
        self.shared.state().revoke_tokens();
    }

    /// Archives an image or brings it back.
    pub fn set_status(&self, repository: &str, digest: &str, status: ImageStatus) {
        self.shared.state().set_status(repository, digest, status);
    }

    /// The digest that a tag names.
    #[must_use]
    pub fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.shared.state().tag(repository, tag)
    }

    /// Sets a tag, or moves it, as somebody else's push would.
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &str) {
        self.shared.state().move_tag(repository, tag, digest);
    }

    /// Every repository's tags, as `repository:tag`.
    #[must_use]
    pub fn all_tags(&self) -> Vec<String> {
        self.shared.state().all_tags()
    }

    /// Whether a repository has the manifest with this digest and everything that it names.
    #[must_use]
    pub fn holds(&self, repository: &str, digest: &str) -> bool {
        self.shared.state().holds(repository, digest)
    }

    /// The documents that refer to an image: artifact type and bytes.
    #[must_use]
    pub fn documents(&self, repository: &str, digest: &str) -> Vec<(String, Vec<u8>)> {
        referrers::documents(&self.shared.state(), repository, digest)
    }

    /// What is wrong with the state: tags whose images are not whole. Empty: nothing.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.shared.state().broken()
    }

    /// The scan-on-push setting of a repository, and whether its tags are immutable.
    #[must_use]
    pub fn settings(&self, repository: &str) -> Option<(bool, Mutability)> {
        self.shared.state().settings(repository)
    }

    /// Arms a fault.
    pub fn arm(&self, fault: Fault) {
        self.shared.faults().arm(fault);
    }

    /// Disarms all faults and forgets the log: requests count from 0 again.
    pub fn reset(&self) {
        self.shared.faults().reset();
    }

    /// All requests since the start or the last reset, in the order of their arrival.
    #[must_use]
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.shared.faults().log()
    }

    /// Serves until the process ends.
    pub async fn run(mut self) {
        // The server only ends by being aborted.
        let _ = (&mut self.server).await;
    }

    /// Writes the certificate's CA where clients can be pointed to.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write_ca(certificate: &TestCertificate, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, &certificate.ca)
    }
}

impl Drop for FakeEcr {
    fn drop(&mut self) {
        self.server.abort();
    }
}
