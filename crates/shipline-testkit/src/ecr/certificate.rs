//! A certificate authority that lives as long as a test, and a server's certificate from it.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A server certificate, its key, and the authority that signed it, as PEM.
#[derive(Debug, Clone)]
pub struct TestCertificate {
    /// The authority's certificate: what clients must trust.
    pub ca: String,
    /// The server's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl TestCertificate {
    /// A certificate for these host names and addresses.
    ///
    /// # Errors
    /// Where a name is none.
    pub fn new(names: &[&str]) -> io::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "Shipline tests");
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = CertifiedIssuer::self_signed(authority, key).map_err(io::Error::other)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &authority))
            .map_err(io::Error::other)?;
        Ok(Self {
            ca: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// A certificate that signs itself and says that it is an authority, as `openssl req -x509` makes it. What clients must
    /// trust is the certificate itself. It is good from 1975, `until` a year.
    ///
    /// # Errors
    /// Where a name is none.
    pub fn self_signed(names: &[&str], until: i32) -> io::Result<Self> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self {
            ca: certificate.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    pub(super) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
