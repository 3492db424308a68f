//! A git server over HTTP: `git http-backend` behind a few lines of server, with what goes wrong in between.
#![allow(clippy::disallowed_methods)]

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushFault {
    /// It is served.
    None,
    /// It is not served: the connection breaks.
    Lost,
    /// It is served, and the connection breaks before the answer.
    AnswerLost,
    /// It is not served: this status is the answer.
    Status(u16),
}

type OnPush = dyn FnMut(usize) -> PushFault + Send;

/// Serves the repositories of a directory on loopback until it is dropped.
pub struct GitServer {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    root: PathBuf,
    stopped: AtomicBool,
    pushes: AtomicUsize,
    requests: AtomicUsize,
    authorization: Mutex<Option<String>>,
    on_push: Mutex<Option<Box<OnPush>>>,
}

impl fmt::Debug for GitServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitServer on port {}", self.port)
    }
}

impl GitServer {
    /// Serves the repositories below `root`.
    ///
    /// # Errors
    /// Where no port can be had.
    pub fn start(root: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            stopped: AtomicBool::new(false),
            pushes: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            authorization: Mutex::new(None),
            on_push: Mutex::new(None),
        });
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let server = Arc::clone(&server);
                std::thread::spawn(move || {
                    // A client that goes away is the client's business.
                    if let Ok(stream) = stream {
                        let _ = server.serve(stream);
                    }
                });
            }
        });
        Ok(Self { shared, port })
    }

    /// The URL of a repository below the root.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("http://127.0.0.1:{}/{repository}", self.port)
    }

    /// Answers 401 to whoever does not send exactly this `Authorization`.
    pub fn require(&self, authorization: &str) {
        *lock(&self.shared.authorization) = Some(authorization.to_owned());
    }

    /// Asks `decide` at each push (numbered from 1), after it has come in and before it is served: the place for a competitor.
    pub fn on_push(&self, decide: impl FnMut(usize) -> PushFault + Send + 'static) {
        *lock(&self.shared.on_push) = Some(Box::new(decide));
    }

    /// How many pushes have come in.
    #[must_use]
    pub fn pushes(&self) -> usize {
        self.shared.pushes.load(Ordering::SeqCst)
    }

    /// How many requests have come in.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request, as far as it matters here.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(from: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(from);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => request
                    .headers
                    .push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None => break,
            }
        }
        let length = request.header("content-length").parse().unwrap_or(0);
        reader.take(length).read_to_end(&mut request.body)?;
        Ok(request)
    }

    fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let request = Request::read(&stream)?;
        self.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(wanted) = lock(&self.authorization).as_deref()
            && request.header("authorization") != wanted
        {
            return stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            );
        }
        let mut fault = PushFault::None;
        if request.method == "POST" && request.path.ends_with("/git-receive-pack") {
            let number = self.pushes.fetch_add(1, Ordering::SeqCst) + 1;
            if let Some(decide) = lock(&self.on_push).as_mut() {
                fault = decide(number);
            }
        }
        match fault {
            PushFault::None => stream.write_all(&self.backend(&request)?),
            PushFault::Lost => Ok(()),
            PushFault::AnswerLost => self.backend(&request).map(|_| ()),
            PushFault::Status(status) => stream.write_all(
                format!("HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                    .as_bytes(),
            ),
        }
    }

    /// The response of `git http-backend`, a CGI program.
    fn backend(&self, request: &Request) -> io::Result<Vec<u8>> {
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("REMOTE_USER", "test")
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", &request.path)
            .env("QUERY_STRING", &request.query)
            .env("CONTENT_TYPE", request.header("content-type"))
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .env("GIT_PROTOCOL", request.header("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A backend that does not want the body closes its end.
            let _ = input.write_all(&request.body);
        }
        let output = child.wait_with_output()?.stdout;
        let split = output.windows(4).position(|window| window == b"\r\n\r\n");
        let head = String::from_utf8_lossy(&output[..split.unwrap_or(0)]).into_owned();
        let body = &output[split.map_or(0, |at| at + 4)..];
        let status = head
            .lines()
            .find_map(|line| line.strip_prefix("Status: "))
            .unwrap_or("200 OK");
        let mut response = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for line in head.lines().filter(|line| !line.starts_with("Status: ")) {
            response.push_str(&format!("{line}\r\n"));
        }
        response.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut response = response.into_bytes();
        response.extend_from_slice(body);
        Ok(response)
    }
}
