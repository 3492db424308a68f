//! What a server answered. Its body is read in pieces or as a whole, always with a limit.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode, Url};
use shipline_engine::error::{BackendError, ErrorClass};

use crate::address::RequestLine;
use crate::client::{STALL, stalled};
use crate::unanswered::{Peer, unanswered};

/// Time limit for a whole document (a manifest, a list, an error): a server that sends it byte by byte never stalls.
const DOCUMENT: Duration = Duration::from_secs(300);

/// An answer's head, and its body as it comes in.
#[derive(Debug)]
pub struct Answer {
    response: Response,
    line: RequestLine,
    peer: Peer,
}

impl Answer {
    pub(crate) fn new(response: Response, method: &Method, peer: Peer) -> Self {
        Self {
            line: RequestLine::new(method, response.url()),
            response,
            peer,
        }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Where it came from: behind redirects, where the last one led.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.response.url()
    }

    /// The request that it answers, as errors name it.
    #[must_use]
    pub fn line(&self) -> &RequestLine {
        &self.line
    }

    /// The next piece of the body, `None` at its end. The caller counts what it takes.
    ///
    /// # Errors
    /// `Retryable` where the connection breaks, or nothing moves for two minutes.
    pub async fn chunk(&mut self, attempted: &str) -> Result<Option<Bytes>, BackendError> {
        match tokio::time::timeout(STALL, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| unanswered(attempted, &self.line, self.peer, error)),
            Err(_) => Err(stalled(attempted)),
        }
    }

    /// A whole body that is not longer than `limit` bytes.
    ///
    /// # Errors
    /// `Invalid` where it is longer; `Retryable` where it breaks off, stands still or takes longer than five minutes.
    pub async fn read(mut self, limit: usize, attempted: &str) -> Result<Vec<u8>, BackendError> {
        let whole = async {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk(attempted).await? {
                if body.len() + chunk.len() > limit {
                    return Err(BackendError::new(ErrorClass::Invalid, attempted).because(
                        format!("{}: the answer is longer than {limit} bytes", self.line),
                    ));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        match tokio::time::timeout(DOCUMENT, whole).await {
            Ok(body) => body,
            Err(_) => Err(
                BackendError::new(ErrorClass::Retryable, attempted).because(format!(
                    "the answer was not there after {} seconds",
                    DOCUMENT.as_secs()
                )),
            ),
        }
    }

    /// The next piece as the library gives it, for readers that block.
    pub(crate) async fn raw_chunk(&mut self) -> reqwest::Result<Option<Bytes>> {
        self.response.chunk().await
    }
}
