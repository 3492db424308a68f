//! HTTP for callers that block, one request at a time: git's smart HTTP protocol is such a one.

use std::fmt;
use std::io::{self, Read};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Url};
use shipline_engine::error::{BackendError, ErrorClass};
use tokio::runtime::Handle;

use crate::answer::Answer;
use crate::client::{Client, Request, STALL};
use crate::unanswered::Peer;
use crate::{shown, status};

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
    /// Names and values; values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The body as it comes in. The caller bounds what it reads of it.
    pub body: Box<dyn Read + Send>,
}

/// One HTTP exchange after the other, on the calling thread. Certificates are checked, redirects are given as they come and not
/// followed, nothing is tried twice, and headers reach no log.
pub trait HttpExchange: Send + Sync {
    /// Sends a request and gives the response, whatever its status.
    ///
    /// # Errors
    /// Where no response comes: `Unavailable` where nobody listens, `Retryable` for connections that fail otherwise or break,
    /// `Invalid` for certificates.
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError>;
}

impl HttpMethod {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, url, size) = (self.method.name(), &self.url, self.body.len());
        write!(f, "{method} {url} ({size} bytes)")
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answer {}", self.status)
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

    /// Where a redirect leads.
    #[must_use]
    pub fn redirect(&self) -> Option<&str> {
        match self.status {
            301 | 302 | 303 | 307 | 308 => self.header("location"),
            _ => None,
        }
    }

    /// The response as error, where its status is not 200: its class, and how long the server asks to wait.
    ///
    /// # Errors
    /// By [`class`](crate::class), but `Failed` where that knows no better than `Invalid`: the request is ours and in order.
    pub fn successful(self, attempt: &str) -> Result<Self, BackendError> {
        if self.status == 200 {
            return Ok(self);
        }
        let mut class = status::class(self.status);
        if class == ErrorClass::Invalid {
            class = ErrorClass::Failed;
        }
        let message = format!("{attempt}: the server answered {}", self.status);
        let mut error = BackendError::new(class, message);
        let headers = self.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        error.retry_after = status::retry_after(&headers.collect());
        Err(error)
    }
}

/// The client for threads that may block: never for those that drive the runtime.
#[derive(Debug, Clone)]
pub struct BlockingClient {
    client: Client,
    peer: Peer,
    runtime: Handle,
}

impl BlockingClient {
    /// A client on a runtime that drives its connections.
    #[must_use]
    pub fn new(client: Client, peer: Peer, runtime: Handle) -> Self {
        Self {
            client,
            peer,
            runtime,
        }
    }
}

impl HttpExchange for BlockingClient {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let address = Url::parse(&request.url);
        let attempt = match &address {
            Ok(url) => format!("ask {}", shown(url)),
            Err(_) => "ask a server".to_owned(),
        };
        let invalid = || BackendError::new(ErrorClass::Invalid, attempt.as_str());
        let address = address.map_err(|error| invalid().because(error))?;
        let (mut headers, mut credential) = (HeaderMap::new(), None);
        for (name, value) in request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| invalid().because(error))?;
            let mut value =
                HeaderValue::from_str(&value).map_err(|error| invalid().because(error))?;
            value.set_sensitive(true);
            if name == AUTHORIZATION {
                credential = Some(value);
            } else {
                headers.insert(name, value);
            }
        }
        let method = match request.method {
            HttpMethod::Get => Method::GET,
            HttpMethod::Post => Method::POST,
        };
        let bytes = bytes::Bytes::from(request.body);
        let make = |_: &crate::Activity| Body::from(bytes.clone());
        let mut sent = Request::new(method, &address, self.peer, &attempt)
            .headers(headers)
            .authorization(credential.as_ref());
        if !bytes.is_empty() {
            sent = sent.body(&make);
        }
        let answer = self.runtime.block_on(self.client.send(&sent))?;
        let headers = answer.headers().iter();
        let headers = headers.filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        Ok(HttpResponse {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: Box::new(Incoming {
                runtime: self.runtime.clone(),
                answer,
                chunk: bytes::Bytes::new(),
            }),
        })
    }
}

/// A body that comes in.
struct Incoming {
    runtime: Handle,
    answer: Answer,
    chunk: bytes::Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let answer = &mut self.answer;
            let next = self
                .runtime
                .block_on(async { tokio::time::timeout(STALL, answer.raw_chunk()).await });
            match next {
                Ok(Ok(Some(chunk))) => self.chunk = chunk,
                Ok(Ok(None)) => return Ok(0),
                Ok(Err(error)) => return Err(io::Error::other(error.without_url())),
                Err(silent) => return Err(io::Error::new(io::ErrorKind::TimedOut, silent)),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
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

    fn exchange(runtime: &tokio::runtime::Runtime) -> BlockingClient {
        let client = crate::client(&crate::HttpSettings::default()).unwrap();
        BlockingClient::new(client, Peer::Git, runtime.handle().clone())
    }

    fn get(url: &str) -> HttpRequest {
        HttpRequest {
            method: HttpMethod::Get,
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    #[test]
    fn answers_come_whatever_their_status() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, asked) =
            serve("HTTP/1.1 404 No\r\nX-Why: gone\r\nContent-Length: 5\r\n\r\nhello");
        let url = format!("http://{address}/a?b");
        let request = HttpRequest {
            headers: vec![("Authorization", "Basic c2VjcmV0".to_owned())],
            ..get(&url)
        };
        let mut answer = exchange(&runtime).exchange(request).unwrap();
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
        let error = exchange.exchange(get(&url)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unavailable);
    }

    #[test]
    fn redirects_are_given_and_not_followed() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (address, _) = serve(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        );
        let url = format!("http://{address}/");
        let answer = exchange(&runtime).exchange(get(&url)).unwrap();
        assert_eq!(
            (answer.status, answer.redirect()),
            (302, Some("http://127.0.0.1:1/"))
        );
    }

    #[test]
    fn what_breaks_may_be_tried_again() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let exchange = exchange(&runtime);
        let (address, _) = serve("");
        let url = format!("http://{address}/");
        let request = HttpRequest {
            method: HttpMethod::Post,
            body: b"x".to_vec(),
            ..get(&url)
        };
        let error = exchange.exchange(request).unwrap_err();
        assert_eq!(error.class, ErrorClass::Retryable);
        let (address, _) = serve("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        let url = format!("http://{address}/");
        let mut answer = exchange.exchange(get(&url)).unwrap();
        assert!(answer.body.read_to_end(&mut Vec::new()).is_err());
        let error = exchange.exchange(get("no url")).unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
    }

    fn response(status: u16, headers: &[(&str, &str)]) -> HttpResponse {
        let headers = headers.iter();
        HttpResponse {
            status,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Box::new(io::empty()),
        }
    }

    #[test]
    fn a_refusal_has_a_class_and_a_wait() {
        let error = response(503, &[("retry-after", "7 ")]).successful("ask");
        let error = error.unwrap_err();
        assert_eq!(error.class, ErrorClass::Retryable);
        assert_eq!(error.retry_after.map(|wait| wait.as_secs()), Some(7));
        assert_eq!(error.message, "ask: the server answered 503");
        let class = |status| response(status, &[]).successful("ask").unwrap_err().class;
        assert_eq!(class(418), ErrorClass::Failed);
        assert_eq!(class(404), ErrorClass::NotFound);
        response(200, &[]).successful("ask").unwrap();
    }

    #[test]
    fn redirects_have_a_place() {
        let mut redirect = response(200, &[("Location", "/x")]);
        assert_eq!(redirect.redirect(), None);
        for status in [301, 302, 303, 307, 308] {
            redirect.status = status;
            assert_eq!(redirect.redirect(), Some("/x"));
        }
        redirect.status = 304;
        assert_eq!(redirect.redirect(), None);
    }
}
