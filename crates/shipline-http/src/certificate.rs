//! What is wrong with a certificate, and what a person can do about it.

use rustls::CertificateError;

use super::Peer;

/// Names of a certificate that are shown.
const SHOWN: usize = 5;

/// Whether a certificate was refused because it is an authority's and a server shows it as its own.
pub(super) fn is_authority_as_server(error: &CertificateError) -> bool {
    if let CertificateError::Other(other) = error {
        return other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity);
    }
    false
}

/// What a person can do about a server's certificate.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the TLS library adds kinds of errors as it likes"
)]
pub(super) fn remedy(error: &CertificateError, host: &str, peer: Peer) -> String {
    let name = host_name(host);
    match error {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            let kind = match name.parse::<std::net::IpAddr>() {
                Ok(_) => "IP",
                Err(_) => "DNS",
            };
            format!(
                "the certificate of {host} names no host: it has no subjectAltName, and a common name does not count; make it anew (`openssl req -x509 … -addext subjectAltName={kind}:{name}`)"
            )
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let mut names: Vec<String> = presented
                .iter()
                .take(SHOWN)
                .map(|name| bare(name))
                .collect();
            if presented.len() > SHOWN {
                names.push("…".to_owned());
            }
            format!(
                "the certificate is for {} and not for {name}: use one of these names as the address, or get a certificate that has {name} as subjectAltName",
                names.join(", ")
            )
        }
        CertificateError::NotValidForName => {
            format!(
                "the certificate is not for {name}: use the name that it is for, or get one that has {name} as subjectAltName"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!(
                "the certificate of {host} has expired: its server needs a new one (is the clock of this machine right?)"
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!(
                "the certificate of {host} is not valid yet: is the clock of this machine right?"
            )
        }
        CertificateError::UnknownIssuer => match peer {
            Peer::Registry => format!(
                "the certificate of {host} is signed by nobody who is known here: name the PEM file of its authority, or of the certificate itself where it signs itself, as `ca` of the profile's registry; for other registries (mirrors, base images) add it to the system's certificates, or name a file with all of them in SSL_CERT_FILE"
            ),
            Peer::Git | Peer::Service => unknown_to_the_system(host),
        },
        other if is_authority_as_server(other) => match peer {
            Peer::Registry => format!(
                "the certificate of {host} signs itself: name its PEM file as `ca` of the profile's registry (for mirrors and base images the server needs a certificate that an authority signed)"
            ),
            Peer::Git | Peer::Service => format!(
                "the certificate of {host} signs itself and says that it is an authority, which no client takes for a server's: make it anew with `-addext basicConstraints=CA:FALSE`, and add it to the system's certificates"
            ),
        },
        _ => format!("the certificate of {host} cannot be used: its server needs another one"),
    }
}

fn unknown_to_the_system(host: &str) -> String {
    format!(
        "the certificate of {host} is signed by nobody who is known here: add the PEM file of its authority to the system's certificates, or name a file with all of them in SSL_CERT_FILE"
    )
}

/// `DnsName("a.io")` of the TLS library as `a.io`.
fn bare(name: &str) -> String {
    match name.split_once("(\"") {
        Some((_, rest)) => rest.trim_end_matches("\")").to_owned(),
        None => name.to_owned(),
    }
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn each_fault_has_its_own_remedy() {
        let other_name = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("r.io").unwrap(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        let check = |error: CertificateError, peer: Peer, parts: &[&str], absent: &str| {
            let hint = remedy(&error, "r.io:5000", peer);
            for part in parts {
                assert!(hint.contains(part), "{error:?}: {hint}");
            }
            assert!(!hint.contains(absent), "{error:?}: {hint}");
        };
        check(
            CertificateError::UnknownIssuer,
            Peer::Registry,
            &["`ca`", "SSL_CERT_FILE"],
            "insecure",
        );
        check(
            CertificateError::UnknownIssuer,
            Peer::Git,
            &["SSL_CERT_FILE"],
            "`ca`",
        );
        check(
            other_name(&["DnsName(\"a.io\")", "DnsName(\"*.b.io\")"]),
            Peer::Registry,
            &["a.io, *.b.io", "not for r.io"],
            "`ca`",
        );
        check(
            other_name(&[]),
            Peer::Registry,
            &["subjectAltName=DNS:r.io"],
            "`ca`",
        );
        check(
            CertificateError::Expired,
            Peer::Registry,
            &["expired"],
            "`ca`",
        );
        check(
            CertificateError::NotValidYet,
            Peer::Registry,
            &["clock"],
            "`ca`",
        );
        assert_eq!(host_name("[::1]:5000"), "::1");
    }
}
