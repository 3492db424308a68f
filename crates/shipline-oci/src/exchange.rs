//! The HTTP client for callers that block, one request at a time: git's smart HTTP protocol is such a one.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

pub use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use shipline_engine::error::{BackendError, ErrorClass};
use tokio::runtime::Handle;

use crate::http::{Peer, RequestLine, shown, unanswered};

/// How long the other side may be silent.
const STALL: Duration = Duration::from_secs(120);

/// A client for threads that may block: never for those that drive the runtime.
#[derive(Debug, Clone)]
pub struct Exchange {
    client: reqwest::Client,
    runtime: Handle,
}

/// What a server answered.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Names and values; values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The body as it comes in.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer {}", self.status)
    }
}

impl Exchange {
    /// A client on a runtime that drives its connections.
    #[must_use]
    pub fn new(client: reqwest::Client, runtime: Handle) -> Self {
        Self { client, runtime }
    }

    /// Sends a request and waits for the answer's head. Headers may hold credentials: they are kept out of logs. Redirects are
    /// given as they come: the caller knows where its credentials may go.
    ///
    /// # Errors
    /// `Unavailable` where nobody listens at the address; `Retryable` where the connection fails otherwise, breaks or is silent for two minutes; `Invalid` where the URL or a header is
    /// none, or the certificate is not trusted.
    pub fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Answer, BackendError> {
        let attempt = match reqwest::Url::parse(url) {
            Ok(url) => format!("ask {}", shown(&url)),
            Err(_) => "ask a server".to_owned(),
        };
        let invalid = || BackendError::new(ErrorClass::Invalid, attempt.as_str());
        let address = reqwest::Url::parse(url).map_err(|error| invalid().because(error))?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| invalid().because(error))?;
            let mut value =
                HeaderValue::from_str(value).map_err(|error| invalid().because(error))?;
            value.set_sensitive(true);
            map.insert(name, value);
        }
        let line = RequestLine::new(&method, &address);
        let mut request = self.client.request(method, address).headers(map);
        if !body.is_empty() {
            request = request.body(body);
        }
        let answered = self
            .runtime
            .block_on(async { tokio::time::timeout(STALL, request.send()).await });
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let refused = is_refused(&error);
                let mut error = unanswered(&attempt, &line, Peer::Git, error);
                if refused {
                    error.class = ErrorClass::Unavailable;
                }
                return Err(error);
            }
            Err(silent) => {
                let error = BackendError::new(ErrorClass::Retryable, attempt);
                return Err(error.because(silent));
            }
        };
        let headers = response.headers().iter();
        let headers = headers.filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        Ok(Answer {
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: Box::new(Body {
                runtime: self.runtime.clone(),
                response,
                chunk: Vec::new(),
                at: 0,
            }),
        })
    }
}

/// Whether the machine is there and nobody listens.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let refused = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            return true;
        }
        next = cause.source();
    }
    false
}

struct Body {
    runtime: Handle,
    response: reqwest::Response,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.chunk.len() {
            let response = &mut self.response;
            let next = self
                .runtime
                .block_on(async { tokio::time::timeout(STALL, response.chunk()).await });
            match next {
                Ok(Ok(Some(chunk))) => self.chunk = chunk.to_vec(),
                Ok(Ok(None)) => return Ok(0),
                Ok(Err(error)) => return Err(io::Error::other(error.without_url())),
                Err(silent) => return Err(io::Error::new(io::ErrorKind::TimedOut, silent)),
            }
            self.at = 0;
        }
        let rest = &self.chunk[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one request with these bytes, and gives what was asked.
    fn serve(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
            head
        });
        (address, asked)
    }

    fn exchange(runtime: &tokio::runtime::Runtime) -> Exchange {
        let client = crate::http::client(&crate::http::HttpSettings::default()).unwrap();
        Exchange::new(client, runtime.handle().clone())
    }

    #[test]
    fn answers_come_whatever_their_status() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, asked) =
            serve("HTTP/1.1 404 No\r\nX-Why: gone\r\nContent-Length: 5\r\n\r\nhello");
        let url = format!("http://{address}/a?b");
        let headers = [("Authorization", "Basic c2VjcmV0".to_owned())];
        let mut answer = exchange(&runtime)
            .send(Method::GET, &url, &headers, Vec::new())
            .unwrap();
        let mut body = String::new();
        answer.body.read_to_string(&mut body).unwrap();
        assert_eq!((answer.status, body.as_str()), (404, "hello"));
        assert!(
            answer
                .headers
                .contains(&("x-why".to_owned(), "gone".to_owned()))
        );
        let head = asked.join().unwrap();
        assert!(head.starts_with("GET /a?b HTTP/1.1"), "{head}");
        assert!(head.contains("Basic c2VjcmV0"), "{head}");
    }

    #[test]
    fn nobody_who_listens_is_no_failure_that_passes() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let exchange = exchange(&runtime);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = exchange
            .send(Method::GET, &url, &[], Vec::new())
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Unavailable);
    }

    #[test]
    fn redirects_are_given_and_not_followed() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, _) = serve(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        );
        let url = format!("http://{address}/");
        let answer = exchange(&runtime)
            .send(Method::GET, &url, &[], Vec::new())
            .unwrap();
        assert_eq!(answer.status, 302);
    }

    #[test]
    fn what_breaks_may_be_tried_again() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let exchange = exchange(&runtime);
        let (address, _) = serve("");
        let url = format!("http://{address}/");
        let error = exchange
            .send(Method::POST, &url, &[], b"x".to_vec())
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Retryable);
        let (address, _) = serve("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        let url = format!("http://{address}/");
        let mut answer = exchange.send(Method::GET, &url, &[], Vec::new()).unwrap();
        assert!(answer.body.read_to_end(&mut Vec::new()).is_err());
        let error = exchange
            .send(Method::GET, "no url", &[], Vec::new())
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
    }
}
