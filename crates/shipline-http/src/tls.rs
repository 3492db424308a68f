//! Which servers are trusted: those that the system's roots vouch for, those that a PEM file's certificates vouch for, and
//! those that show one of the PEM file's very certificates.
//!
//! The last kind is what `openssl req -x509` makes: a certificate that signs itself and says that it is an authority. Web PKI
//! refuses it as a server's certificate, whoever trusts it. Named explicitly it is meant as it stands, so it is compared byte
//! by byte; its host name and its time are checked all the same, and its signature proves nothing that the bytes do not.

use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use shipline_engine::error::{BackendError, ErrorClass};

use super::certificate::is_authority_as_server;

/// Most that is read of a PEM file: a system's whole bundle is a quarter of it.
const PEM_BYTES: u64 = 1 << 20;

/// TLS with further certificates from PEM files.
pub(super) fn config(files: &[PathBuf]) -> Result<rustls::ClientConfig, BackendError> {
    let mut further = RootCertStore::empty();
    let mut pinned = Vec::new();
    for path in files {
        let invalid = || {
            BackendError::new(
                ErrorClass::Invalid,
                format!("read the certificates in {}", path.display()),
            )
        };
        let text = read(path).map_err(|error| invalid().because(error))?;
        let certificates = CertificateDer::pem_reader_iter(Cursor::new(text))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid().because(error))?;
        if certificates.is_empty() {
            return Err(invalid()
                .because("it holds no PEM certificate")
                .hint("a PEM certificate begins with `-----BEGIN CERTIFICATE-----`"));
        }
        for certificate in certificates {
            pinned.push(certificate.clone());
            further
                .add(certificate)
                .map_err(|error| invalid().because(error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Roots {
        further,
        pinned,
        provider: Arc::clone(&provider),
        verifier: OnceLock::new(),
    };
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BackendError::new(ErrorClass::Failed, "set up TLS").because(error))?
        // "Dangerous" is what rustls calls every verifier of one's own; this one puts off reading the roots, and compares.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(roots))
        .with_no_client_auth())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let other = |what: &str| std::io::Error::other(what.to_owned());
    // A device or a pipe would never end, or never begin.
    if !std::fs::metadata(path)?.is_file() {
        return Err(other("it is no file"));
    }
    let mut text = Vec::new();
    let mut file = std::fs::File::open(path)?.take(PEM_BYTES + 1);
    file.read_to_end(&mut text)?;
    if text.len() as u64 > PEM_BYTES {
        return Err(other("it is longer than 1 MiB"));
    }
    Ok(text)
}

/// Verifies servers as rustls does by itself, with the system's roots and further ones, and takes a certificate that was named
/// itself. The system's are read when the first server is to be verified: reading them takes longer than a whole run with
/// nothing to do, which speaks to no server.
#[derive(Debug)]
struct Roots {
    further: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
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
        let verified = self.verifier()?.verify_server_cert(
            certificate,
            intermediates,
            server,
            ocsp_response,
            now,
        );
        match verified {
            // Web PKI looks at the time before it looks for an authority: a certificate that is not in its time never gets here.
            Err(rustls::Error::InvalidCertificate(why))
                if (why == CertificateError::UnknownIssuer || is_authority_as_server(&why))
                    && self.pinned.iter().any(|named| named == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, server)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
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
    fn certificates_come_from_a_pem_file_that_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let refused = |path: &Path| {
            let error = config(&[path.to_owned()]).unwrap_err();
            assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
            format!("{error:?}")
        };
        assert!(refused(&path).contains("ca.pem"));
        std::fs::write(&path, "no PEM").unwrap();
        assert!(refused(&path).contains("no PEM certificate"));
        std::fs::write(&path, vec![b'\n'; (PEM_BYTES + 1) as usize]).unwrap();
        assert!(refused(&path).contains("longer than 1 MiB"));
        assert!(refused(directory.path()).contains("no file"));
        assert!(refused(Path::new("/dev/zero")).contains("no file"));
        config(&[]).unwrap();
    }
}
