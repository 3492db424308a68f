//! moto (PyPI): AWS's API on one port, without a registry. Its word counts for the form of requests and answers, and for what a
//! missing repository or image is; not for digests, tags or tokens.

use std::io;

use super::{Port, Service, skip, start};

/// A running moto; it ends when this is dropped.
#[derive(Debug)]
pub struct Moto {
    port: Port,
    _service: Service,
}

impl Moto {
    /// Starts one; `None`, and a line that says so, where it is not installed.
    ///
    /// # Errors
    /// Where it is installed and does not start.
    pub fn start() -> io::Result<Option<Self>> {
        let port = Port::take()?;
        let number = port.number.to_string();
        match start(
            "moto_server",
            &["-H", "127.0.0.1", "-p", &number],
            &[],
            &port,
        )? {
            Some(service) => Ok(Some(Self {
                port,
                _service: service,
            })),
            None => {
                skip("moto_server");
                Ok(None)
            }
        }
    }

    /// Base URL of the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }
}
