//! The `docker-registry` of the distributions: the neutral implementation of the distribution specification.

use std::io;
use std::path::{Path, PathBuf};

use super::{Port, Service, skip, start};
use crate::ecr::TestCertificate;

/// Who may use the registry, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryAccess {
    /// Everybody, in plain HTTP.
    Open,
    /// [`DockerRegistry::USER`] only, in plain HTTP.
    Password,
    /// [`DockerRegistry::USER`] only, with TLS.
    Protected,
    /// The same with a certificate that signs itself ([`TestCertificate::self_signed`]).
    SelfSigned,
}

/// A running registry with a directory of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    port: Port,
    directory: tempfile::TempDir,
    _service: Service,
}

/// bcrypt of [`DockerRegistry::PASSWORD`].
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";

impl DockerRegistry {
    /// The user of a protected registry.
    pub const USER: &str = "shipline";
    /// The user's password.
    pub const PASSWORD: &str = "correct horse";

    /// Starts one; `None`, and a line that says so, where it is not installed.
    ///
    /// # Errors
    /// Where it is installed and does not start.
    pub fn start(access: RegistryAccess) -> io::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let port = Port::take()?;
        let at = |name: &str| directory.path().join(name);
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp:\n  addr: 127.0.0.1:{}\n",
            at("data").display(),
            port.number
        );
        match access {
            RegistryAccess::Open => {}
            RegistryAccess::Password => config.push_str(&password(directory.path())?),
            RegistryAccess::Protected | RegistryAccess::SelfSigned => {
                let names = ["localhost", "127.0.0.1"];
                let certificate = match access {
                    RegistryAccess::SelfSigned => TestCertificate::self_signed(&names, 2999)?,
                    RegistryAccess::Open | RegistryAccess::Password | RegistryAccess::Protected => {
                        TestCertificate::new(&names)?
                    }
                };
                std::fs::write(at("ca.pem"), &certificate.ca)?;
                std::fs::write(at("certificate.pem"), &certificate.certificate)?;
                std::fs::write(at("key.pem"), &certificate.key)?;
                config.push_str(&format!(
                    "  tls: {{ certificate: {}, key: {} }}\n{}",
                    at("certificate.pem").display(),
                    at("key.pem").display(),
                    password(directory.path())?
                ));
            }
        }
        let path = at("config.yml");
        std::fs::write(&path, config)?;
        let path = path.display().to_string();
        match start("docker-registry", &["serve", &path], &[], &port)? {
            Some(service) => Ok(Some(Self {
                port,
                directory,
                _service: service,
            })),
            None => {
                skip("docker-registry");
                Ok(None)
            }
        }
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// The CA that signed a protected registry's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The directory in which it keeps everything.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Lets nobody in but the one user.
fn password(directory: &Path) -> io::Result<String> {
    let file = directory.join("htpasswd");
    std::fs::write(&file, format!("{}:{HASH}\n", DockerRegistry::USER))?;
    Ok(format!(
        "auth: {{ htpasswd: {{ realm: tests, path: {} }} }}\n",
        file.display()
    ))
}
