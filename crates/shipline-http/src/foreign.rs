//! Requests of libraries that bring their own idea of requests, retries and errors (the AWS SDK): they share connections, roots,
//! proxies and limits with everybody else.

use std::time::Duration;

use crate::client::Client;

/// Why a foreign request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Foreign {
    /// There was none in time.
    #[error("there was no answer in time")]
    Late(#[source] reqwest::Error),
    /// The request is none.
    #[error("the request cannot be sent")]
    Malformed(#[source] reqwest::Error),
    /// The connection failed or broke.
    #[error("the connection failed")]
    Broken(#[source] reqwest::Error),
    /// The answer is longer than allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// A foreign request's whole answer.
pub type Passed = http::Response<Vec<u8>>;

impl Client {
    /// Sends a request once and reads its whole answer, of at most `most` bytes, in at most `limit`. No redirect is followed.
    ///
    /// # Errors
    /// Where there is no such answer.
    pub async fn pass(
        &self,
        request: http::Request<Vec<u8>>,
        limit: Duration,
        most: usize,
    ) -> Result<Passed, Foreign> {
        let (parts, body) = request.into_parts();
        let mut response = self
            .0
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body)
            .timeout(limit)
            .send()
            .await
            .map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > most {
                return Err(Foreign::TooLong(most));
            }
            bytes.extend_from_slice(&chunk);
        }
        let mut answer = http::Response::new(bytes);
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        Ok(answer)
    }
}

fn failed(error: reqwest::Error) -> Foreign {
    let error = error.without_url();
    if error.is_timeout() {
        Foreign::Late(error)
    } else if error.is_builder() {
        Foreign::Malformed(error)
    } else {
        Foreign::Broken(error)
    }
}
