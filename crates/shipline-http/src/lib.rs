//! The one HTTP client of everything that speaks HTTP: registries, the GitOps repository, identity providers, and the AWS SDK,
//! which keeps its own idea of requests and shares the connections.
//!
//! It is rustls on ring with the system's roots and further ones, and proxies as they were given. Each request is bounded: in
//! the time in which nothing moves, in its redirects, and in what is read of its answer. Credentials go to the server for which
//! they are meant and to no other. No crate but this one names an HTTP or TLS library (`tests/tidy.rs`).

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

mod activity;
mod address;
mod answer;
mod certificate;
mod client;
mod exchange;
mod foreign;
mod proxy;
mod redirect;
mod retry;
mod status;
mod tls;
mod unanswered;

use std::path::PathBuf;

pub use reqwest::{Body, Method, StatusCode, Url, header};

pub use activity::Activity;
pub use address::{RequestLine, is_loopback, is_loopback_url, shown};
pub use answer::Answer;
pub use client::{Client, Probe, Request, STALL, client};
pub use exchange::{BlockingClient, HttpExchange, HttpMethod, HttpRequest, HttpResponse};
pub use foreign::{Foreign, Passed};
pub use redirect::{Astray, Reach, is_astray, is_same_server, still_encrypted};
pub use retry::{Again, Failed, Patience, RetryPolicy, Tries};
pub use status::{class, proxy_login, retry_after};
pub use unanswered::Peer;

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
