//! HTTP as this crate needs it. Who makes the connections (and holds the TLS library) is handed in.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};

/// A request. Its headers may hold a credential: nothing prints them.
pub struct HttpRequest {
    /// Method.
    pub method: HttpMethod,
    /// The whole URL.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// Body; empty for GET.
    pub body: Vec<u8>,
}

/// A request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// A response: content encodings are undone.
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body as it comes in.
    pub body: Box<dyn Read + Send>,
}

/// One HTTP exchange after the other, on the calling thread. Certificates are checked, redirects are followed on the same
/// host only, and headers reach no log.
pub trait HttpExchange: Send + Sync {
    /// Sends a request and gives the response, whatever its status.
    ///
    /// # Errors
    /// Where no response comes: `Retryable` for connections that fail or break, `Denied` for certificates.
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError>;
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {} ({} bytes)",
            self.method,
            self.url,
            self.body.len()
        )
    }
}

impl HttpResponse {
    /// A header's value; names are compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The response, if its status is 200.
    pub(super) fn successful(self, attempt: &str) -> Result<Self, BackendError> {
        let class = match self.status {
            200 => return Ok(self),
            401 | 403 => ErrorClass::Denied,
            404 => ErrorClass::NotFound,
            408 | 425 | 429 | 500..=599 => ErrorClass::Retryable,
            _ => ErrorClass::Failed,
        };
        let wait = self
            .header("retry-after")
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs);
        let message = format!("{attempt}: the server answered {}", self.status);
        let mut error = BackendError::new(class, message);
        error.retry_after = wait;
        Err(if class == ErrorClass::Denied {
            error.hint("Give a `token` that may write to the repository.")
        } else if class == ErrorClass::NotFound {
            error.hint(
                "Correct the URL, or give a `token`: hosts say the same of what may not be seen.",
            )
        } else {
            error
        })
    }
}
