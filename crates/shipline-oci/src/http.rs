//! The one HTTP client of registries and AWS: rustls on ring, the system's roots and further ones, proxies as they were given.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use shipline_engine::error::{BackendError, ErrorClass};

/// How connections are made. Everything comes from the caller; the environment is not read, but for the place of the
/// system's certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`), which belongs to the system's own lookup of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// PEM files with roots beside the system's.
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

/// Redirects that are followed before an answer counts as a loop.
const REDIRECTS: usize = 5;
/// Limit for a TCP and TLS connection.
const CONNECT: Duration = Duration::from_secs(15);
/// An idle connection is closed before servers and middle boxes silently drop it.
const IDLE: Duration = Duration::from_secs(30);

/// Makes a client. It has no time limit for whole requests: uploads take what they take, and callers watch for stalls.
///
/// # Errors
/// `Invalid` where a PEM file cannot be read or holds no certificate, or a proxy's URL is none.
pub fn client(settings: &HttpSettings) -> Result<reqwest::Client, BackendError> {
    build(settings, redirect::Policy::custom(follow))
}

/// A client that gives redirects as they come: for callers that must know where their credentials go.
///
/// # Errors
/// As [`client`].
pub fn client_that_stays(settings: &HttpSettings) -> Result<reqwest::Client, BackendError> {
    build(settings, redirect::Policy::none())
}

fn build(
    settings: &HttpSettings,
    redirects: redirect::Policy,
) -> Result<reqwest::Client, BackendError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(settings)?)
        .user_agent(concat!("shipline/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .redirect(redirects)
        .no_proxy();
    let except = [
        Some("localhost,127.0.0.0/8,::1"),
        settings.proxies.except.as_deref(),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(",");
    type Make = fn(reqwest::Url) -> reqwest::Result<reqwest::Proxy>;
    let proxies: [(&Option<String>, Make); 2] = [
        (&settings.proxies.http, reqwest::Proxy::http),
        (&settings.proxies.https, reqwest::Proxy::https),
    ];
    for (url, make) in proxies {
        let Some(url) = url else { continue };
        let invalid = || {
            BackendError::new(ErrorClass::Invalid, "set up the proxy")
                .hint("A proxy is a URL such as `http://proxy.example.com:3128`.")
        };
        let url = reqwest::Url::parse(url).map_err(|error| invalid().because(error))?;
        let proxy = make(url).map_err(|error| invalid().because(error))?;
        builder = builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(&except)));
    }
    builder.build().map_err(|error| {
        BackendError::new(ErrorClass::Failed, "set up the HTTP client").because(error)
    })
}

/// Follows what leads on, but never from an encrypted connection to a plain one. (reqwest drops the credentials itself where
/// a redirect leads to another host.)
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade = attempt.url().scheme() == "http"
        && attempt
            .previous()
            .iter()
            .any(|from| from.scheme() == "https");
    if downgrade {
        let to = attempt.url().host_str().unwrap_or_default().to_owned();
        return attempt.error(format!("it redirects to unencrypted {to}"));
    }
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("it redirects too often");
    }
    attempt.follow()
}

fn tls(settings: &HttpSettings) -> Result<rustls::ClientConfig, BackendError> {
    let mut further = RootCertStore::empty();
    for path in &settings.roots {
        let invalid = || {
            BackendError::new(
                ErrorClass::Invalid,
                format!("read the CA certificates in {}", path.display()),
            )
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| invalid().because(error))?;
        if certificates.is_empty() {
            return Err(invalid().because("it holds no PEM certificate"));
        }
        for certificate in certificates {
            further
                .add(certificate)
                .map_err(|error| invalid().because(error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Roots {
        further,
        provider: Arc::clone(&provider),
        verifier: OnceLock::new(),
    };
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BackendError::new(ErrorClass::Failed, "set up TLS").because(error))?
        // "Dangerous" is what rustls calls every verifier of one's own; this one only puts off reading the roots.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(roots))
        .with_no_client_auth())
}

/// Verifies servers as rustls does by itself, with the system's roots and further ones. The system's are read when the first
/// server is to be verified: reading them takes longer than a whole run with nothing to do, which speaks to no server.
#[derive(Debug)]
struct Roots {
    further: RootCertStore,
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
}

impl Roots {
    fn verifier(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let verifier = self.verifier.get_or_init(|| {
            let mut roots = self.further.clone();
            // A machine without roots can still reach plain registries and those of the PEM files; the connection itself
            // says what it could not verify.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|_| CertificateError::UnknownIssuer.into())
        });
        verifier.as_deref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Roots {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier()?
            .verify_server_cert(certificate, intermediates, server, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_must_be_pem() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let settings = HttpSettings {
            roots: vec![path.clone()],
            ..HttpSettings::default()
        };
        assert_eq!(client(&settings).unwrap_err().class, ErrorClass::Invalid);
        std::fs::write(&path, "no PEM").unwrap();
        assert_eq!(client(&settings).unwrap_err().class, ErrorClass::Invalid);
        client(&HttpSettings::default()).unwrap();
    }

    #[test]
    fn a_proxy_is_a_url() {
        let settings = HttpSettings {
            proxies: Proxies {
                https: Some("http://[".to_owned()),
                ..Proxies::default()
            },
            ..HttpSettings::default()
        };
        assert_eq!(client(&settings).unwrap_err().class, ErrorClass::Invalid);
    }
}
