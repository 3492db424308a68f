//! ministack (PyPI): AWS's API and a registry on one port, written by others than us.

use std::io;

use super::{Port, Service, skip, start};

/// A running ministack; it ends when this is dropped.
#[derive(Debug)]
pub struct Ministack {
    port: Port,
    _directory: tempfile::TempDir,
    _service: Service,
}

impl Ministack {
    /// Starts one; `None`, and a line that says so, where it is not installed.
    ///
    /// # Errors
    /// Where it is installed and does not start.
    pub fn start() -> io::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let port = Port::take()?;
        let environment = [
            ("GATEWAY_PORT", port.number.to_string()),
            // It binds all addresses where it is not told otherwise.
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("TMPDIR", directory.path().display().to_string()),
        ];
        match start("ministack", &[], &environment, &port)? {
            Some(service) => Ok(Some(Self {
                port,
                _directory: directory,
                _service: service,
            })),
            None => {
                skip("ministack");
                Ok(None)
            }
        }
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// Base URL of API and registry.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.host())
    }
}
