//! The client: one request, sent wherever it may be led, without a time limit for whole transfers and with one for standing
//! still.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response, Url};
use shipline_engine::error::{BackendError, ErrorClass};

use crate::activity::Activity;
use crate::address::RequestLine;
use crate::answer::Answer;
use crate::redirect::{AstrayAt, Reach, Redirects, Step};
use crate::unanswered::{Peer, is_certificate, unanswered};
use crate::{HttpSettings, proxy, tls};

/// Limit for a TCP and TLS connection.
const CONNECT: Duration = Duration::from_secs(15);
/// An idle connection is closed before servers and middle boxes silently drop it.
const IDLE: Duration = Duration::from_secs(30);
/// A transfer on which nothing moves for so long has failed, and so has a request without an answer.
pub const STALL: Duration = Duration::from_secs(120);

/// The HTTP client. Its copies share their connections.
#[derive(Debug, Clone)]
pub struct Client(pub(crate) reqwest::Client, Answered);

/// The servers that have answered. That nobody listens, or that a host has no address, is a wrong address at first, and a server
/// that begins anew later.
#[derive(Debug, Clone, Default)]
struct Answered(Arc<Mutex<HashSet<String>>>);

/// Servers that are remembered: redirects may lead to any number of them.
const MOST_SERVERS: usize = 1000;

impl Answered {
    fn server(url: &Url) -> String {
        let port = url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", url.host_str().unwrap_or_default())
    }

    fn add(&self, url: &Url) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() < MOST_SERVERS {
            servers.insert(Self::server(url));
        }
    }

    /// The error, which may pass where there was an answer before.
    fn judge(&self, url: &Url, mut error: BackendError) -> BackendError {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if error.class == ErrorClass::Unavailable && servers.contains(&Self::server(url)) {
            error.class = ErrorClass::Retryable;
        }
        error
    }
}

/// Makes a client.
///
/// # Errors
/// `Invalid` where a PEM file cannot be read or holds no certificate, or a proxy's URL is none.
pub fn client(settings: &HttpSettings) -> Result<Client, BackendError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(&settings.roots)?)
        .user_agent(concat!("shipline/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        // Whether a redirect may be followed, and what may go along, depends on what a request carries: `redirect` decides.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    for proxy in proxy::all(&settings.proxies)? {
        builder = builder.proxy(proxy);
    }
    let built = builder.build();
    let client = built.map(|client| Client(client, Answered::default()));
    client.map_err(|error| {
        BackendError::new(ErrorClass::Failed, "set up the HTTP client").because(error)
    })
}

/// Makes a body. It is called for each server that a request is sent to, and tells the activity what has moved.
type MakeBody<'a> = &'a (dyn Fn(&Activity) -> Body + Send + Sync);

/// A request.
pub struct Request<'a> {
    method: Method,
    url: &'a Url,
    headers: HeaderMap,
    authorization: Option<&'a HeaderValue>,
    body: Option<MakeBody<'a>>,
    reach: Reach,
    limit: Option<Duration>,
    peer: Peer,
    attempted: &'a str,
}

impl<'a> Request<'a> {
    /// A request that is led nowhere, without headers and body. `attempted` is what errors say.
    #[must_use]
    pub fn new(method: Method, url: &'a Url, peer: Peer, attempted: &'a str) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            authorization: None,
            body: None,
            reach: Reach::Nowhere,
            limit: None,
            peer,
            attempted,
        }
    }

    /// With headers that any server may see.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// With a credential. Only the server of the URL gets it.
    #[must_use]
    pub fn authorization(mut self, credential: Option<&'a HeaderValue>) -> Self {
        self.authorization = credential;
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, make: MakeBody<'a>) -> Self {
        self.body = Some(make);
        self
    }

    /// With redirects followed so far.
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// With a limit for each answer as a whole, its body included.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// What a first request to a server showed.
#[derive(Debug)]
pub enum Probe {
    /// It answers.
    Answered,
    /// It speaks TLS and is not trusted.
    Untrusted,
    /// There is no connection, or no answer in time.
    Silent,
    /// Something else went wrong.
    Failed(BackendError),
}

impl Client {
    /// Sends a request, and wherever it is led: without its credential to other servers.
    ///
    /// # Errors
    /// Where there is no answer: `Retryable` for connections that fail, break or stand still for two minutes, `Invalid` for
    /// certificates that are not trusted, `Denied` for a proxy that wants a login. `Invalid` where a redirect may not be
    /// followed; [`is_astray`](crate::is_astray) tells that one.
    pub async fn send(&self, request: &Request<'_>) -> Result<Answer, BackendError> {
        let mut redirects = Redirects::new(request.url, request.reach);
        let (mut to, mut authorization) = (request.url.clone(), request.authorization);
        loop {
            let response = self.send_once(request, &to, authorization).await?;
            to = match redirects.next(&response, &request.method) {
                Ok(None) => return Ok(Answer::new(response, &request.method, request.peer)),
                Ok(Some(Step::Home(to))) => to,
                Ok(Some(Step::Elsewhere(to))) => {
                    authorization = None;
                    to
                }
                Err(astray) => {
                    let hint = astray.hint();
                    let request_line = RequestLine::new(&request.method, &to);
                    let error = BackendError::new(ErrorClass::Invalid, request.attempted)
                        .because(AstrayAt(request_line, astray));
                    return Err(hint.into_iter().fold(error, BackendError::hint));
                }
            };
        }
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, BackendError> {
        let activity = Activity::new();
        let mut sent = self
            .0
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some(authorization) = authorization {
            sent = sent.header(AUTHORIZATION, authorization);
        }
        if let Some(make) = request.body {
            sent = sent.body(make(&activity));
        }
        if let Some(limit) = request.limit {
            sent = sent.timeout(limit);
        }
        let line = RequestLine::new(&request.method, url);
        tokio::select! {
            response = sent.send() => match response {
                Ok(response) => {
                    self.1.add(url);
                    Ok(response)
                }
                Err(error) => {
                    let error = unanswered(request.attempted, &line, request.peer, error);
                    Err(self.1.judge(url, error))
                }
            },
            () = activity.stalled(STALL) => Err(stalled(request.attempted)),
        }
    }

    /// Asks whether a server answers at an address, and how it does not.
    pub async fn probe(&self, url: &Url, limit: Duration, peer: Peer, attempted: &str) -> Probe {
        match self.0.get(url.clone()).timeout(limit).send().await {
            Ok(_) => Probe::Answered,
            Err(error) if is_certificate(&error) => Probe::Untrusted,
            Err(error) if error.is_connect() || error.is_timeout() => Probe::Silent,
            Err(error) => {
                let line = RequestLine::new(&Method::GET, url);
                Probe::Failed(unanswered(attempted, &line, peer, error))
            }
        }
    }
}

/// A transfer on which nothing moves any more.
pub(crate) fn stalled(attempted: &str) -> BackendError {
    BackendError::new(ErrorClass::Retryable, attempted)
        .because(format!("nothing moved for {} seconds", STALL.as_secs()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::JoinHandle;

    use super::*;
    use crate::is_astray;

    /// Answers one request with these bytes, and gives what was asked.
    fn serve(answer: String) -> (SocketAddr, JoinHandle<String>) {
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

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 307 No\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    }

    const WELL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    #[tokio::test]
    async fn a_credential_goes_to_its_server_only() {
        let client = client(&HttpSettings::default()).unwrap();
        let (second, asked_second) = serve(WELL.to_owned());
        let (first, asked_first) = serve(redirect(&format!("http://user:word@{second}/there")));
        let url = Url::parse(&format!("http://{first}/here")).unwrap();
        let credential = HeaderValue::from_static("Bearer c2VjcmV0");
        let request = Request::new(Method::GET, &url, Peer::Registry, "ask")
            .authorization(Some(&credential))
            .reach(Reach::Anywhere);
        let answer = client.send(&request).await.unwrap();
        assert_eq!(answer.url().path(), "/there");
        assert!(asked_first.join().unwrap().contains("c2VjcmV0"));
        let second = asked_second.join().unwrap();
        assert!(
            !second.to_ascii_lowercase().contains("authorization"),
            "{second}"
        );
    }

    #[tokio::test]
    async fn a_request_goes_no_further_than_it_reaches() {
        let client = client(&HttpSettings::default()).unwrap();
        let (address, _) = serve(redirect("http://127.0.0.1:1/there"));
        let url = Url::parse(&format!("http://{address}/here")).unwrap();
        let request = Request::new(Method::GET, &url, Peer::Service, "ask").reach(Reach::Origin);
        let error = client.send(&request).await.unwrap_err();
        assert!(is_astray(&error), "{error:?}");
        assert_eq!(error.class, ErrorClass::Invalid);
        let (address, _) = serve(redirect("http://127.0.0.1:1/there"));
        let url = Url::parse(&format!("http://{address}/here")).unwrap();
        let request = Request::new(Method::GET, &url, Peer::Service, "ask");
        assert_eq!(client.send(&request).await.unwrap().status(), 307);
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_a_limit() {
        let client = client(&HttpSettings::default()).unwrap();
        for (limit, expected) in [(5, Ok(5)), (4, Err(ErrorClass::Invalid))] {
            let (address, _) = serve(WELL.to_owned());
            let url = Url::parse(&format!("http://{address}/")).unwrap();
            let request = Request::new(Method::GET, &url, Peer::Service, "ask");
            let answer = client.send(&request).await.unwrap();
            let read = answer.read(limit, "ask").await;
            assert_eq!(
                read.map(|body| body.len()).map_err(|error| error.class),
                expected
            );
        }
    }

    #[tokio::test]
    async fn a_foreign_request_is_sent_once_and_its_answer_bounded() {
        let client = client(&HttpSettings::default()).unwrap();
        for (limit, fits) in [(5, true), (4, false)] {
            let (address, _) = serve(WELL.to_owned());
            let request = http::Request::post(format!("http://{address}/"));
            let request = request.body(b"x".to_vec()).unwrap();
            let passed = client.pass(request, STALL, limit).await;
            match passed {
                Ok(answer) => assert!(fits && answer.body() == b"hello"),
                Err(error) => assert!(!fits, "{error}"),
            }
        }
    }
}
