//! Git over SSH, by the `ssh` that is installed: the same requests as over HTTP, each in a connection of its own.
//!
//! A request for refs runs the service and takes what it advertises; one with a body skips what is advertised and sends the body.
//! So there is one protocol and one compare-and-swap for both transports. Host keys are checked always, and nothing is asked
//! of a person.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use shipline_engine::error::{BackendError, ErrorClass};
use shipline_gitops::SshAddress;
use shipline_http::{HttpExchange, HttpMethod, HttpRequest, HttpResponse};
use shipline_model::value::Secret;

/// How long the other side may say nothing.
const SILENCE: Duration = Duration::from_secs(120);

/// The most that a list of refs has.
const MAX_REFS: usize = 16 * 1024 * 1024;

/// The most of what `ssh` and the server say that is kept.
const MAX_SAID: u64 = 8 * 1024;

/// How many lines of it are shown.
const LINES: usize = 5;

/// How git is spoken over SSH.
pub(crate) struct SshExchange {
    pub(crate) address: SshAddress,
    /// A private key; without it, those that `ssh` finds.
    pub(crate) key: Option<Secret>,
    /// Lines of a `known_hosts` file; without it, those that `ssh` finds.
    pub(crate) known_hosts: Option<String>,
    /// Where private files may be written.
    pub(crate) folder: PathBuf,
    /// The variables that `ssh` sees.
    pub(crate) environment: BTreeMap<String, String>,
}

/// A file that only this user can read, for as long as this lives.
struct Private(PathBuf);

/// Numbers the private files of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Private {
    fn write(folder: &Path, text: &str) -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shipline-ssh-{}-{number}", std::process::id());
        let path = folder.join(name);
        // Whatever is there already is not ours.
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let private = Self(path);
        file.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(private)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What cannot be removed can be read by this user alone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A connection.
struct Connection {
    child: Child,
    chunks: Receiver<io::Result<Vec<u8>>>,
    rest: Vec<u8>,
    at: usize,
    said: Option<JoinHandle<String>>,
    writer: Option<JoinHandle<()>>,
    _files: Vec<Private>,
}

impl SshExchange {
    fn failed(&self, class: ErrorClass, what: &str) -> BackendError {
        BackendError::new(class, format!("{what} {} by ssh", self.address.host))
    }

    fn connect(&self, service: &str, input: Vec<u8>) -> Result<Connection, BackendError> {
        let mut files = Vec::new();
        let mut private = |text: &str| {
            let file = Private::write(&self.folder, text).map_err(|cause| {
                self.failed(ErrorClass::Failed, "write a private file to connect to")
                    .because(cause)
            })?;
            let path = file.0.display().to_string();
            files.push(file);
            Ok::<String, BackendError>(path)
        };
        let mut arguments: Vec<String> = ["-T", "-a", "-x"].map(str::to_owned).into();
        let mut options = vec![
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "ClearAllForwardings=yes".to_owned(),
            "PermitLocalCommand=no".to_owned(),
            "ConnectTimeout=30".to_owned(),
            "ServerAliveInterval=15".to_owned(),
            "ServerAliveCountMax=4".to_owned(),
        ];
        if let Some(known) = &self.known_hosts {
            options.push(format!("UserKnownHostsFile={}", private(known)?));
            options.push("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        if let Some(key) = &self.key {
            options.push("IdentitiesOnly=yes".to_owned());
            options.push("IdentityAgent=none".to_owned());
            arguments.extend(["-i".to_owned(), private(key.expose())?]);
        }
        for option in options {
            arguments.extend(["-o".to_owned(), option]);
        }
        if let Some(port) = self.address.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        let place = match &self.address.user {
            Some(user) => format!("{user}@{}", self.address.host),
            None => self.address.host.clone(),
        };
        arguments.extend(["--".to_owned(), place]);
        arguments.push(format!("{service} {}", quote(&self.address.path)));
        self.start(&arguments, input, files)
    }

    fn start(
        &self,
        arguments: &[String],
        input: Vec<u8>,
        files: Vec<Private>,
    ) -> Result<Connection, BackendError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "git is spoken over its standard input and output while it runs"
        )]
        let mut command = Command::new("ssh");
        command
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| {
            let missing = cause.kind() == io::ErrorKind::NotFound;
            let error = self
                .failed(ErrorClass::Unavailable, "connect to")
                .because(cause);
            if missing {
                error.hint("install the OpenSSH client (`ssh`), or write the repository's `https://` URL and a `token`")
            } else {
                error
            }
        })?;
        let mut stdin = child.stdin.take();
        let writer = std::thread::spawn(move || {
            if let Some(stdin) = &mut stdin {
                // One that does not read it says why, and ends.
                let _ = stdin.write_all(&input);
            }
            drop(stdin);
        });
        let (send, chunks) = sync_channel(8);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || read_all(stdout, &send));
        }
        let said = child
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || read_said(stderr)));
        Ok(Connection {
            child,
            chunks,
            rest: Vec::new(),
            at: 0,
            said,
            writer: Some(writer),
            _files: files,
        })
    }

    /// Why a connection ended before it gave what it should.
    fn ended(&self, mut connection: Connection, cause: io::Error) -> BackendError {
        let late = cause.kind() == io::ErrorKind::TimedOut;
        if late {
            let _ = connection.child.kill();
        }
        let status = connection.child.wait();
        let said = connection.said.take().and_then(|said| said.join().ok());
        let said = said.unwrap_or_default();
        let lines: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let shown = lines[lines.len().saturating_sub(LINES)..].join("; ");
        // `ssh` ends with 255 whatever failed, so that its words are all there is.
        let (class, hint) = if said.contains("Host key verification failed")
            || said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
        {
            (
                ErrorClass::Invalid,
                Some(
                    "add the host's key to `known_hosts`, after comparing it with what its owner publishes",
                ),
            )
        } else if said.contains("Permission denied") || said.contains("invalid format") {
            (
                ErrorClass::Denied,
                Some(
                    "load a key that may write there into the SSH agent, or give one as `key: ${secret.NAME}`",
                ),
            )
        } else if said.contains("Could not resolve hostname") {
            (ErrorClass::Unavailable, Some("correct the host's name"))
        } else if said.contains("Connection refused") {
            (ErrorClass::Unavailable, None)
        } else if status.as_ref().is_ok_and(|it| it.code() == Some(128)) {
            (
                ErrorClass::NotFound,
                Some(
                    "correct the path of the repository: the URL is one from which `git clone` works",
                ),
            )
        } else {
            (ErrorClass::Retryable, None)
        };
        let error = self.failed(class, "connect to");
        let error = if shown.is_empty() {
            error.because(cause)
        } else {
            error.because(shown)
        };
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn read_all(mut stdout: ChildStdout, send: &std::sync::mpsc::SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; 1 << 16];
        let sent = match stdout.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                send.send(Ok(chunk))
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => send.send(Err(cause)),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn read_said(stderr: ChildStderr) -> String {
    let mut stderr = stderr;
    let mut said = Vec::new();
    let _ = stderr.by_ref().take(MAX_SAID).read_to_end(&mut said);
    // The rest is read, so that nothing waits for it.
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

impl Connection {
    /// What the service advertises, up to its end.
    fn advertised(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut digits = [0; 4];
            self.read_exact(&mut digits)?;
            all.extend_from_slice(&digits);
            let length = std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| usize::from_str_radix(digits, 16).ok());
            match length {
                Some(0) => return Ok(all),
                Some(length @ 4..) if all.len() + length <= MAX_REFS => {
                    let start = all.len();
                    all.resize(start + length - 4, 0);
                    self.read_exact(&mut all[start..])?;
                }
                Some(_) | None => {
                    let what = "the server does not speak git, or has too many refs";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.rest.len() {
            self.rest = match self.chunks.recv_timeout(SILENCE) {
                Ok(chunk) => chunk?,
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
                Err(RecvTimeoutError::Timeout) => {
                    let late = format!("nothing came for {} s", SILENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, late));
                }
            };
            self.at = 0;
        }
        let count = buffer.len().min(self.rest.len() - self.at);
        buffer[..count].copy_from_slice(&self.rest[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It has ended by itself, or nobody wants the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl HttpExchange for SshExchange {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, BackendError> {
        let advertisement = matches!(request.method, HttpMethod::Get);
        let end = if advertisement {
            request.url.rsplit('=').next()
        } else {
            request.url.rsplit('/').next()
        };
        let service = end.unwrap_or_default().to_owned();
        let input = if advertisement {
            // A flush: nothing is wanted.
            b"0000".to_vec()
        } else {
            request.body
        };
        let mut connection = self.connect(&service, input)?;
        let advertised = match connection.advertised() {
            Ok(advertised) => advertised,
            Err(cause) => return Err(self.ended(connection, cause)),
        };
        let (kind, body): (&str, Box<dyn Read + Send>) = if advertisement {
            ("advertisement", Box::new(io::Cursor::new(advertised)))
        } else {
            ("result", Box::new(connection))
        };
        Ok(HttpResponse {
            status: 200,
            headers: vec![(
                "content-type".to_owned(),
                format!("application/x-{service}-{kind}"),
            )],
            body,
        })
    }
}

/// A path as one word of the server's shell.
fn quote(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word() {
        assert_eq!(quote("a b/c.git"), "'a b/c.git'");
        assert_eq!(quote("a'; rm -rf b"), "'a'\\''; rm -rf b'");
    }

    #[test]
    fn private_files_are_private_and_go() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = Private::write(folder.path(), "key").unwrap();
        let mode = std::fs::metadata(&file.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&file.0).unwrap(), "key\n");
        drop(file);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
