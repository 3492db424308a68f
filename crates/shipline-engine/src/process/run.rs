//! Running a shell command below a supervisor.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the place that starts programs"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{GO, KILL, LineSplitter, SUPERVISE, TERMINATE};
use crate::error::{BackendError, ErrorClass};
use crate::event::OutputStream;
use crate::fault::{FaultPoint, Faults};
use crate::redact::Redactor;
use crate::task::{TaskContext, TaskMessage};

/// How long a supervisor may take beyond all graces, and how long output may still come after the end of everything.
const SLACK: Duration = Duration::from_secs(15);
/// How long output may still come after the end of a command that no process of ours can write any more.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// A command, run by `/bin/sh -c` with nothing but the declared environment and no input.
#[derive(Clone)]
pub struct ShellCommand {
    /// What the shell runs.
    pub script: String,
    /// Where, absolute.
    pub directory: PathBuf,
    /// Everything that it sees of the environment. May hold secrets.
    pub environment: BTreeMap<String, String>,
}

impl fmt::Debug for ShellCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShellCommand")
            .field("script", &self.script)
            .field("directory", &self.directory)
            .field("environment", &self.environment.keys())
            .finish()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A shell gives 128 + N for a command of its that signal N ended.
            Self::Code(code) => match signal_name(code - 128) {
                Some(name) if *code > 128 => write!(f, "exit code {code} ({name})"),
                Some(_) | None => write!(f, "exit code {code}"),
            },
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The command itself.
    pub exit: Exit,
    /// Processes that it left behind and that were ended.
    pub left_behind: usize,
}

/// Starts commands.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// Our own program (it calls [`supervise_if_asked`](super::supervise_if_asked) first).
    pub program: PathBuf,
    /// How long a command may take to end when it is asked to.
    pub grace: Duration,
    /// Cancelled when commands are to be killed at once.
    pub kill: CancellationToken,
    /// Fault points.
    pub faults: Faults,
}

impl Supervisor {
    /// Runs a command and streams its output, by line, as the task's. The task's cancellation ends it: SIGTERM, and after the
    /// grace, or when [`Supervisor::kill`] says so, SIGKILL.
    ///
    /// # Errors
    /// `Cancelled`, `Unavailable` where it cannot be started. An exit code is no error.
    pub async fn run(
        &self,
        command: &ShellCommand,
        redactor: &Redactor,
        task: &TaskContext,
    ) -> Result<Ended, BackendError> {
        let failed = |what: &str, cause: std::io::Error| {
            BackendError::new(
                ErrorClass::Unavailable,
                format!("{what} `{}`", command.script),
            )
            .because(cause)
        };
        if task.is_cancelled() {
            return Err(cancelled(&command.script));
        }
        if !command.directory.is_dir() {
            return Err(BackendError::new(
                ErrorClass::NotFound,
                format!(
                    "run `{}`: the folder {} does not exist",
                    command.script,
                    command.directory.display()
                ),
            ));
        }
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()
            .map_err(|cause| failed("make a socket for", cause))?;
        let mut child = Command::new(&self.program)
            .arg(SUPERVISE)
            .arg("--")
            .args(["/bin/sh", "-c", &command.script])
            .env_clear()
            .envs(&command.environment)
            .current_dir(&command.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|cause| failed("start", cause))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(BackendError::new(
                ErrorClass::Unavailable,
                format!("read the output of `{}`", command.script),
            ));
        };
        ours.set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours))
            .map_err(|cause| failed("speak to the supervisor of", cause))
            .map(|control| Control {
                supervisor: self,
                control,
                child,
            })?
            .conduct(command, redactor, task, stdout, stderr)
            .await
    }
}

/// A supervisor at work.
struct Control<'s> {
    supervisor: &'s Supervisor,
    control: UnixStream,
    child: Child,
}

impl Control<'_> {
    async fn conduct(
        mut self,
        command: &ShellCommand,
        redactor: &Redactor,
        task: &TaskContext,
        stdout: impl AsyncRead + Unpin,
        stderr: impl AsyncRead + Unpin,
    ) -> Result<Ended, BackendError> {
        let over = CancellationToken::new();
        let told = async {
            let answer = self.follow(task).await;
            over.cancel();
            answer
        };
        let (answer, (), ()) = tokio::join!(
            told,
            pump(stdout, OutputStream::Stdout, redactor, task, &over),
            pump(stderr, OutputStream::Stderr, redactor, task, &over),
        );
        if task.is_cancelled() {
            return Err(cancelled(&command.script));
        }
        let ended = parse(&answer).map_err(|why| {
            BackendError::new(
                ErrorClass::Unavailable,
                format!("run `{}`: {why}", command.script),
            )
        })?;
        if ended.left_behind > 0 {
            task.note(format!(
                "`{}` left {} process{} running in the background; {} ended",
                command.script,
                ended.left_behind,
                if ended.left_behind == 1 { "" } else { "es" },
                if ended.left_behind == 1 {
                    "it was"
                } else {
                    "they were"
                },
            ))
            .await;
        }
        Ok(ended)
    }

    /// Starts the command, ends it when it is time, and gives the supervisor's answer (empty if it gave none).
    async fn follow(&mut self, task: &TaskContext) -> String {
        let mut answer = Vec::new();
        if self.tell(GO).await {
            self.supervisor.faults.reach(FaultPoint::CommandStarted);
            let mut stopping = Stopping::No;
            loop {
                let grace = self.supervisor.grace;
                tokio::select! {
                    read = self.control.read_buf(&mut answer) => match read {
                        Ok(0) | Err(_) => break,
                        Ok(_) if answer.ends_with(b"\n") => break,
                        Ok(_) => {}
                    },
                    () = task.cancellation().cancelled(), if stopping == Stopping::No => {
                        self.tell(TERMINATE).await;
                        stopping = Stopping::Asked;
                    }
                    () = self.supervisor.kill.cancelled(), if stopping != Stopping::Killed => {
                        self.tell(KILL).await;
                        stopping = Stopping::Killed;
                    }
                    () = tokio::time::sleep(grace), if stopping == Stopping::Asked => {
                        self.tell(KILL).await;
                        stopping = Stopping::Killed;
                    }
                    () = tokio::time::sleep(SLACK), if stopping == Stopping::Killed => break,
                }
            }
        }
        // Its socket is closed by our end or about to be by its own: it ends by itself. A stopped one would not.
        if tokio::time::timeout(SLACK, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.start_kill();
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn tell(&mut self, byte: u8) -> bool {
        self.control.write_all(&[byte]).await.is_ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Asked,
    Killed,
}

fn parse(answer: &str) -> Result<Ended, String> {
    let answer = answer.trim_end();
    let numbers = |rest: &str| -> Option<(i32, usize)> {
        let (first, second) = rest.split_once(' ')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    };
    let ended = match answer.split_once(' ') {
        Some(("code", rest)) => numbers(rest).map(|(code, left)| (Exit::Code(code), left)),
        Some(("signal", rest)) => numbers(rest).map(|(signal, left)| (Exit::Signal(signal), left)),
        Some(("error", why)) => return Err(why.to_owned()),
        Some(_) | None => None,
    };
    ended
        .map(|(exit, left_behind)| Ended { exit, left_behind })
        .ok_or_else(|| "its supervisor ended without an answer".to_owned())
}

/// Reads output until its end, and says it by line.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    stream: OutputStream,
    redactor: &Redactor,
    task: &TaskContext,
    over: &CancellationToken,
) {
    let mut splitter = LineSplitter::new(redactor);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let late = async {
            over.cancelled().await;
            tokio::time::sleep(LAST_OUTPUT).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read,
            () = late => Ok(0),
        };
        let length = match read {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        for line in splitter.push(&buffer[..length]) {
            task.say(TaskMessage::Output { stream, line }).await;
        }
    }
    if let Some(line) = splitter.finish() {
        task.say(TaskMessage::Output { stream, line }).await;
    }
}

fn cancelled(script: &str) -> BackendError {
    BackendError::new(ErrorClass::Cancelled, format!("run `{script}`: cancelled"))
}

/// What a program that only tells something about itself printed (both streams), e.g. its version. Blocking; not supervised,
/// killed when `limit` is over.
///
/// # Errors
/// `Unavailable` where it cannot be started or does not end in time, `Failed` where its exit code is not 0.
pub fn quick(
    program: &Path,
    arguments: &[&str],
    directory: &Path,
    environment: &BTreeMap<String, String>,
    limit: Duration,
) -> Result<String, BackendError> {
    use std::io::Read;
    let what = format!("run `{} {}`", program.display(), arguments.join(" "));
    let unavailable = |cause: std::io::Error| {
        BackendError::new(ErrorClass::Unavailable, what.clone()).because(cause)
    };
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unavailable)?;
    let (sender, pieces) = std::sync::mpsc::channel();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for (position, stream) in streams.into_iter().enumerate() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(stream) = stream {
                // More than this is no version.
                let _ = stream.take(64 * 1024).read_to_end(&mut text);
            }
            let _ = sender.send((position, text));
        });
    }
    let late = |child: &mut std::process::Child| {
        let _ = child.kill();
        let _ = child.wait();
        BackendError::new(
            ErrorClass::Unavailable,
            format!("{what}: no end after {} s", limit.as_secs()),
        )
    };
    let end = std::time::Instant::now() + limit;
    let mut texts = [Vec::new(), Vec::new()];
    for _ in 0..texts.len() {
        let wait = end.saturating_duration_since(std::time::Instant::now());
        match pieces.recv_timeout(wait) {
            Ok((position, text)) => texts[position] = text,
            Err(_) => return Err(late(&mut child)),
        }
    }
    // Its output is over; it may have closed it and stay.
    let status = loop {
        if let Some(status) = child.try_wait().map_err(unavailable)? {
            break status;
        }
        if std::time::Instant::now() >= end {
            return Err(late(&mut child));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let text = String::from_utf8_lossy(&texts.concat()).trim().to_owned();
    if status.success() {
        Ok(text)
    } else {
        Err(BackendError::new(
            ErrorClass::Failed,
            format!("{what}: {status}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_read_well() {
        let check = |exit: Exit, expected: &str| assert_eq!(exit.to_string(), expected);
        check(Exit::Code(1), "exit code 1");
        check(Exit::Code(139), "exit code 139 (SIGSEGV)");
        check(Exit::Code(255), "exit code 255");
        check(Exit::Signal(9), "killed by SIGKILL");
        check(Exit::Signal(200), "killed by signal 200");
    }

    #[test]
    fn answers_of_a_supervisor_are_understood() {
        assert_eq!(
            parse("code 3 1\n"),
            Ok(Ended {
                exit: Exit::Code(3),
                left_behind: 1
            })
        );
        assert_eq!(
            parse("signal 9 0\n"),
            Ok(Ended {
                exit: Exit::Signal(9),
                left_behind: 0
            })
        );
        assert_eq!(parse("error no sh\n"), Err("no sh".to_owned()));
        assert!(parse("").is_err());
    }
}
