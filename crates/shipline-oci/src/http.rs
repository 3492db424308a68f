//! The one HTTP client of registries, git and AWS: rustls on ring, the system's roots and further ones, proxies as they were
//! given. It follows no redirect by itself: whether one may be followed, and what may go along, depends on what a request
//! carries, so `redirect` decides it where the request is made.

mod address;
mod certificate;
mod proxy;
pub(crate) mod redirect;
mod tls;
mod unanswered;

use std::path::PathBuf;
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};

pub(crate) use address::{RequestLine, is_loopback_url, shown};
pub(crate) use unanswered::{Peer, is_certificate, unanswered};

/// How connections are made. Everything comes from the caller; the environment is not read, but for the place of the
/// system's certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`), which belongs to the system's own lookup of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// PEM files with roots, or with the very certificates of servers, beside the system's.
    pub roots: Vec<PathBuf>,
    /// Proxies.
    pub proxies: Proxies,
}

/// Proxies as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` give them. Loopback never goes through a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// URL of the proxy for `http` addresses.
    pub http: Option<String>,
    /// URL of the proxy for `https` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly, separated by commas.
    pub except: Option<String>,
}

/// The client that [`client`] makes.
pub type Client = reqwest::Client;

/// Limit for a TCP and TLS connection.
const CONNECT: Duration = Duration::from_secs(15);
/// An idle connection is closed before servers and middle boxes silently drop it.
const IDLE: Duration = Duration::from_secs(30);

/// Makes a client. It has no time limit for whole requests: uploads take what they take, and callers watch for stalls.
///
/// # Errors
/// `Invalid` where a PEM file cannot be read or holds no certificate, or a proxy's URL is none.
pub fn client(settings: &HttpSettings) -> Result<reqwest::Client, BackendError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(&settings.roots)?)
        .user_agent(concat!("shipline/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    for proxy in proxy::all(&settings.proxies)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| {
        BackendError::new(ErrorClass::Failed, "set up the HTTP client").because(error)
    })
}
