//! Git's smart HTTP protocol, version 0 (gitprotocol-http, gitprotocol-pack): what refs are there, fetch, push.
//!
//! Spoken here and not by libgit2 because its transports are registered once for the whole process, by unsafe code, and
//! because its push does not say which old value of the ref was meant: the compare of our compare-and-swap.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use git2::Oid;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_http::{HttpExchange, HttpMethod, HttpRequest, HttpResponse, proxy_login};
use shipline_model::value::Secret;

use super::bounded::Bounded;
use super::pkt::{self, Band, Packet};
use crate::waiting::Waiting;

/// Which half of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    /// Fetch.
    Upload,
    /// Push.
    Receive,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Upload => "git-upload-pack",
            Self::Receive => "git-receive-pack",
        }
    }
}

/// What a server has and can do.
#[derive(Debug, Default)]
pub(super) struct Advertisement {
    refs: HashMap<String, Oid>,
    capabilities: Vec<String>,
}

impl Advertisement {
    /// The commit of a ref.
    pub(super) fn get(&self, name: &str) -> Option<Oid> {
        self.refs.get(name).copied()
    }

    fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }
}

/// What is fetched.
pub(super) struct Want<'a> {
    /// The commit.
    pub(super) commit: Oid,
    /// A commit that is here, with all that it needs down to the shallow border.
    pub(super) have: Option<Oid>,
    /// Commits that are here without their parents.
    pub(super) shallow: &'a [Oid],
    /// How many commits deep.
    pub(super) depth: Option<u32>,
}

/// A ref's move.
pub(super) struct Push<'a> {
    pub(super) reference: &'a str,
    pub(super) old: Oid,
    pub(super) new: Oid,
    pub(super) pack: &'a [u8],
}

/// What a server said to a push.
#[derive(Debug)]
pub(super) enum Reply {
    /// The ref has moved.
    Accepted,
    /// The ref has not moved; the server's words.
    Rejected(String),
}

/// A server.
pub(super) struct Wire {
    pub(super) url: String,
    pub(super) exchange: Arc<dyn HttpExchange>,
    pub(super) token: Option<Secret>,
    /// Bytes that one fetch may bring.
    pub(super) max_pack: u64,
    /// Where the server said that the repository is, on the same host.
    pub(super) moved: Mutex<Option<String>>,
    pub(super) waiting: Arc<Waiting>,
}

/// The most that a list of refs has: a quarter of a million of them.
const MAX_REFS: u64 = 16 * 1024 * 1024;

/// The most that the answer to a push has.
const MAX_REPORT: u64 = 4 * 1024 * 1024;

/// How long a list of refs or the answer to a push may take.
const ANSWER: Duration = Duration::from_secs(120);

/// How long a fetch may take.
const FETCH: Duration = Duration::from_secs(30 * 60);

/// Redirects that are followed before an answer counts as a loop.
const REDIRECTS: usize = 5;

const AGENT: &str = concat!("git/2.0 (shipline ", env!("CARGO_PKG_VERSION"), ")");

impl Wire {
    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("User-Agent", AGENT.to_owned())];
        if let Some(token) = &self.token {
            let login = format!("x-access-token:{}", token.expose());
            let login = base64::engine::general_purpose::STANDARD.encode(login);
            headers.push(("Authorization", format!("Basic {login}")));
        }
        headers
    }

    fn unreadable(&self, attempt: &str, cause: std::io::Error) -> BackendError {
        let class = if cause.kind() == std::io::ErrorKind::InvalidData {
            ErrorClass::Failed
        } else {
            ErrorClass::Retryable
        };
        BackendError::new(class, format!("{attempt} {}", self.url)).because(cause)
    }

    /// Where the repository is.
    fn base(&self) -> String {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.clone().unwrap_or_else(|| self.url.clone())
    }

    fn ask(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let _wait = self.waiting.on(format!("{} to answer", self.url));
        self.exchange.exchange(request)
    }

    /// Asks for the refs, and goes where the server says that the repository is, on the same host: a token, and the commit that
    /// is pushed, are for no other, and not for a plain connection.
    fn ask_refs(&self, service: Service, attempt: &str) -> Result<HttpResponse, BackendError> {
        let suffix = format!("/info/refs?service={}", service.name());
        let mut base = self.base();
        for _ in 0..=REDIRECTS {
            let response = self.ask(HttpRequest {
                method: HttpMethod::Get,
                url: format!("{base}{suffix}"),
                headers: self.headers(),
                body: Vec::new(),
            })?;
            let Some(to) = response.redirect() else {
                let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                *moved = (base != self.url).then_some(base);
                return Ok(response);
            };
            let whole = match (to.starts_with('/') && !to.starts_with("//"), origin(&base)) {
                (true, Some(origin)) => format!("{origin}{to}"),
                (true, None) | (false, _) => to.to_owned(),
            };
            match whole.strip_suffix(&suffix) {
                Some(new) if origin(new).is_some() && origin(new) == origin(&base) => {
                    base = new.to_owned();
                }
                Some(_) | None => {
                    let shown = whole.strip_suffix(&suffix).unwrap_or(&whole);
                    let shown = shown.split('?').next().unwrap_or_default();
                    let message = format!("{attempt}: the server redirects to {shown}");
                    return Err(BackendError::new(ErrorClass::Invalid, message).hint(
                        "write the URL where the repository is now: nothing is sent to another host, or without encryption",
                    ));
                }
            }
        }
        let message = format!("{attempt}: the server redirects too often");
        Err(BackendError::new(ErrorClass::Invalid, message))
    }

    /// The refs of the server.
    pub(super) fn refs(&self, service: Service) -> Result<Advertisement, BackendError> {
        let attempt = format!("read the refs of {}", self.url);
        let response = successful(self.ask_refs(service, &attempt)?, &attempt)?;
        let kind = format!("application/x-{}-advertisement", service.name());
        if response.header("content-type") != Some(kind.as_str()) {
            let message = format!("{attempt}: it is no git repository (or one without smart HTTP)");
            return Err(BackendError::new(ErrorClass::Invalid, message)
                .hint("write the URL from which `git clone` works"));
        }
        let _wait = self.waiting.on(format!("the refs of {}", self.url));
        let mut body = Bounded::new(response.body, MAX_REFS, ANSWER);
        let found =
            advertisement(&mut body).map_err(|cause| self.unreadable("read the refs of", cause))?;
        let other = found.capabilities.iter().find(|capability| {
            capability.starts_with("object-format=") && *capability != "object-format=sha1"
        });
        if let Some(other) = other {
            let message = format!("{attempt}: {other} is not supported");
            return Err(BackendError::new(ErrorClass::Invalid, message));
        }
        Ok(found)
    }

    fn post(
        &self,
        service: Service,
        body: Vec<u8>,
        attempt: &str,
    ) -> Result<HttpResponse, BackendError> {
        let mut headers = self.headers();
        let name = service.name();
        headers.push(("Content-Type", format!("application/x-{name}-request")));
        headers.push(("Accept", format!("application/x-{name}-result")));
        let request = HttpRequest {
            method: HttpMethod::Post,
            url: format!("{}/{name}", self.base()),
            headers,
            body,
        };
        let response = self.ask(request)?;
        if response.redirect().is_some() {
            let message = format!("{attempt}: the server redirects what is sent");
            return Err(BackendError::new(ErrorClass::Invalid, message)
                .hint("write the URL where the repository is now"));
        }
        successful(response, attempt)
    }

    /// Fetches: `take` gets the pack as it comes in. Gives how the shallow border moves (`true`: onto this commit).
    pub(super) fn fetch(
        &self,
        want: &Want<'_>,
        take: &mut dyn FnMut(&mut dyn Read) -> Result<(), BackendError>,
    ) -> Result<Vec<(Oid, bool)>, BackendError> {
        let attempt = format!("fetch {} from {}", want.commit, self.url);
        let mut body = Vec::new();
        let capabilities = "side-band-64k ofs-delta no-progress";
        let line = format!("want {} {capabilities} agent=shipline\n", want.commit);
        pkt::push_line(&mut body, line.as_bytes());
        for commit in want.shallow {
            pkt::push_line(&mut body, format!("shallow {commit}\n").as_bytes());
        }
        if let Some(depth) = want.depth {
            pkt::push_line(&mut body, format!("deepen {depth}\n").as_bytes());
        }
        pkt::push_flush(&mut body);
        if let Some(have) = want.have {
            pkt::push_line(&mut body, format!("have {have}\n").as_bytes());
        }
        pkt::push_line(&mut body, b"done\n");
        let response = self.post(Service::Upload, body, &attempt)?;
        let _wait = self
            .waiting
            .on(format!("what is fetched from {}", self.url));
        let mut body = Bounded::new(response.body, self.max_pack, FETCH);
        let broken = |cause| self.unreadable("fetch from", cause);
        let mut border = Vec::new();
        let first = loop {
            match pkt::read(&mut body).map_err(broken)? {
                Packet::Line(line) if matches!(line.first(), Some(1..=3)) => break line,
                Packet::Line(line) => {
                    let line = pkt::text(&line);
                    let moved = |prefix: &str| {
                        line.strip_prefix(prefix)
                            .and_then(|oid| Oid::from_str(oid).ok())
                    };
                    if let Some(commit) = moved("shallow ") {
                        border.push((commit, true));
                    } else if let Some(commit) = moved("unshallow ") {
                        border.push((commit, false));
                    } else if let Some(said) = line.strip_prefix("ERR ") {
                        let message = format!("{attempt}: the server said `{said}`");
                        return Err(BackendError::new(ErrorClass::Retryable, message));
                    }
                }
                Packet::Flush => {}
                Packet::End => return Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
            }
        };
        let mut band = Band::new(&mut body, Some(first)).map_err(broken)?;
        take(&mut band)?;
        Ok(border)
    }

    /// Moves a ref from `old` to `new`.
    ///
    /// # Errors
    /// Where no reply comes: whether the ref has moved must then be read.
    pub(super) fn push(&self, ads: &Advertisement, push: &Push<'_>) -> Result<Reply, BackendError> {
        let attempt = format!("push to {}", self.url);
        if !ads.can("report-status") || !ads.can("side-band-64k") {
            let message = format!("{attempt}: the server does not report what it did");
            return Err(BackendError::new(ErrorClass::Invalid, message));
        }
        let mut body = Vec::new();
        let line = format!(
            "{} {} {}\0 report-status side-band-64k agent=shipline\n",
            push.old, push.new, push.reference
        );
        pkt::push_line(&mut body, line.as_bytes());
        pkt::push_flush(&mut body);
        body.extend_from_slice(push.pack);
        let response = self.post(Service::Receive, body, &attempt)?;
        let _wait = self
            .waiting
            .on(format!("{} to take what is pushed", self.url));
        let mut body = Bounded::new(response.body, MAX_REPORT, ANSWER);
        self.report(&mut body, push.reference)
            .map_err(|cause| self.unreadable("read the answer to the push to", cause))
    }

    fn report(&self, from: &mut dyn Read, reference: &str) -> std::io::Result<Reply> {
        let mut band = Band::new(from, None)?;
        let mut unpacked = None;
        let mut moved = None;
        while let Packet::Line(line) = pkt::read(&mut band)? {
            let line = pkt::text(&line);
            if let Some(result) = line.strip_prefix("unpack ") {
                unpacked = Some(result.to_owned());
            } else if line.strip_prefix("ok ") == Some(reference) {
                moved = Some(Ok(()));
            } else if let Some(rest) = line.strip_prefix("ng ") {
                moved = Some(Err(rest
                    .split_once(' ')
                    .map_or("", |(_, why)| why)
                    .to_owned()));
            }
        }
        let said = band.said.trim().to_owned();
        let words = |why: String| match said.as_str() {
            "" => why,
            said => format!(
                "{why} ({})",
                said.split_whitespace().collect::<Vec<_>>().join(" ")
            ),
        };
        match (unpacked.as_deref(), moved) {
            (Some("ok"), Some(Ok(()))) => Ok(Reply::Accepted),
            (_, Some(Err(why))) => Ok(Reply::Rejected(words(why))),
            (Some(why), _) if why != "ok" => Ok(Reply::Rejected(words(why.to_owned()))),
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The response, if its status is 200.
fn successful(response: HttpResponse, attempt: &str) -> Result<HttpResponse, BackendError> {
    let status = response.status;
    response.successful(attempt).map_err(|error| match status {
        407 => error.hint(proxy_login("HTTP_PROXY")),
        401 | 403 => error.hint("give a `token` that may write to the repository"),
        404 | 410 => error
            .hint("correct the URL, or give a `token`: hosts say the same of what may not be seen"),
        _ => error,
    })
}

/// Scheme, host and port of a URL, in lower case.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    (!host.is_empty() && !host.contains('@'))
        .then(|| format!("{scheme}://{host}").to_ascii_lowercase())
}

fn advertisement(from: &mut dyn Read) -> std::io::Result<Advertisement> {
    let invalid = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut found = Advertisement::default();
    let mut flushes = 0;
    while flushes < 2 {
        let line = match pkt::read(from)? {
            Packet::Line(line) => line,
            Packet::Flush => {
                flushes += 1;
                continue;
            }
            Packet::End => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        if line.starts_with(b"#") {
            continue;
        }
        // Servers may leave out the line that names the service, and its flush.
        flushes = flushes.max(1);
        let line = pkt::text(&line);
        if let Some(said) = line.strip_prefix("ERR ") {
            return Err(std::io::Error::other(said.to_owned()));
        }
        let (entry, capabilities) = match line.split_once('\0') {
            Some((entry, capabilities)) => (entry, Some(capabilities)),
            None => (line.as_str(), None),
        };
        if let Some(capabilities) = capabilities {
            found.capabilities = capabilities.split_whitespace().map(str::to_owned).collect();
        }
        let (oid, name) = entry
            .split_once(' ')
            .ok_or_else(|| invalid("no ref in a line of refs"))?;
        let oid = Some(oid)
            .filter(|oid| oid.len() == 40)
            .and_then(|oid| Oid::from_str(oid).ok())
            .ok_or_else(|| invalid("no object ID in a line of refs"))?;
        if !oid.is_zero() {
            found.refs.insert(name.to_owned(), oid);
        }
    }
    Ok(found)
}
