//! The supervisor: our own program, started again, as the parent of a command.

#![allow(
    clippy::disallowed_methods,
    reason = "the supervisor starts the command"
)]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{GO, KILL, SUPERVISE, TERMINATE};

/// How long what a command leaves behind may take to end when it is asked to.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(1);
/// How long killed processes may take to be gone (one in an uninterruptible system call cannot be waited for).
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Between two rounds of killing: new children of what was just killed are found in the next round.
const ROUND: Duration = Duration::from_millis(20);

/// Becomes a supervisor if the arguments (the program's name first) ask for it, and gives the exit code when all is over.
/// To be called first of all in `main`, while the process has one thread.
#[must_use]
pub fn supervise_if_asked(arguments: &[OsString]) -> Option<u8> {
    match arguments {
        [_, word, dashes, program, rest @ ..] if word == SUPERVISE && dashes == "--" => {
            Some(supervise(program, rest))
        }
        _ => None,
    }
}

/// What the supervisor's threads tell its main thread.
enum News {
    /// We are told something.
    Told(u8),
    /// Whoever started us is gone.
    Alone,
    /// The command ended.
    Ended(Status),
    /// No child is left.
    NoneLeft,
}

/// How the command ended.
#[derive(Clone, Copy)]
enum Status {
    Code(i32),
    Signal(i32),
}

/// Keeps other processes of the same user from reading this one's memory, environment and open files, and the system from
/// writing it to a core file: secrets are in it. What this process starts is not affected, for a new program begins anew; nor is
/// that it is told to end.
pub fn refuse_inspection() {
    // Where the system knows no such thing, nothing is lost.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

fn supervise(program: &OsString, arguments: &[OsString]) -> u8 {
    // The command's environment is ours as well.
    refuse_inspection();
    // Away from the terminal: no Ctrl-C from it, and a command that asks it for a password fails instead of stopping.
    let _ = nix::unistd::setsid();
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);

    let Ok(control) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return 1;
    };
    let mut control = UnixStream::from(control);
    let mut byte = [0];
    if !matches!(control.read(&mut byte), Ok(1)) || byte[0] != GO {
        return 0;
    }
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    let group = match child {
        Ok(child) => Pid::from_raw(child.id().cast_signed()),
        Err(error) => {
            let _ = control.write_all(format!("error {error}\n").as_bytes());
            return 1;
        }
    };
    let (sender, news) = mpsc::channel();
    listen(&control, sender.clone());
    std::thread::spawn(move || reap(group, &sender));
    let (status, left) = watch(group, &news);
    let answer = match status {
        Some(Status::Code(code)) => format!("code {code} {left}\n"),
        Some(Status::Signal(signal)) => format!("signal {signal} {left}\n"),
        None => "error the command could not be killed\n".to_owned(),
    };
    // Nobody may be there to read it.
    let _ = control.write_all(answer.as_bytes());
    0
}

/// Hears what we are told, on a thread of its own.
fn listen(control: &UnixStream, sender: mpsc::Sender<News>) {
    let Ok(mut control) = control.try_clone() else {
        let _ = sender.send(News::Alone);
        return;
    };
    std::thread::spawn(move || {
        let mut byte = [0];
        loop {
            let news = match control.read(&mut byte) {
                Ok(1) => News::Told(byte[0]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => News::Alone,
            };
            let over = matches!(news, News::Alone);
            if sender.send(news).is_err() || over {
                return;
            }
        }
    });
}

/// Reaps the command and every orphan that it leaves us, until there is none.
fn reap(command: Pid, sender: &mpsc::Sender<News>) {
    loop {
        let status = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => Status::Code(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                Status::Signal(signal as i32)
            }
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => {
                let _ = sender.send(News::NoneLeft);
                return;
            }
        };
        let _ = sender.send(News::Ended(status));
    }
}

/// Waits for the end of everything, and brings it about when it is time. Gives how the command ended and how many processes
/// it left behind.
fn watch(group: Pid, news: &mpsc::Receiver<News>) -> (Option<Status>, usize) {
    let mut status = None;
    let mut left = 0;
    let mut asked = false;
    let mut kill_from: Option<Instant> = None;
    let mut looked = false;
    loop {
        let now = Instant::now();
        let killing = kill_from.is_some_and(|from| from <= now);
        if killing {
            signal_all(group, Signal::SIGKILL);
            if kill_from.is_some_and(|from| from + KILL_LIMIT <= now) {
                return (status, left);
            }
        }
        let wait = match (killing, kill_from, status.is_some() && !looked) {
            (true, _, _) | (false, None, true) => ROUND,
            (false, Some(from), _) => from - now,
            (false, None, false) => Duration::from_secs(3600),
        };
        match news.recv_timeout(wait) {
            Ok(News::Told(TERMINATE)) => {
                asked = true;
                signal_all(group, Signal::SIGTERM);
            }
            Ok(News::Told(KILL) | News::Alone) | Err(RecvTimeoutError::Disconnected) => {
                kill_from = Some(kill_from.map_or(now, |from| from.min(now)));
            }
            Ok(News::Told(_)) => {}
            Ok(News::Ended(ended)) => status = Some(ended),
            Ok(News::NoneLeft) => {
                if cfg!(not(target_os = "linux")) {
                    // No subreaper: what is still in the command's group is nobody's child.
                    let _ = killpg(group, Signal::SIGKILL);
                }
                return (status, left);
            }
            Err(RecvTimeoutError::Timeout) => {
                // The command is over and something of it is still there. Those who were asked to end have the time that
                // whoever asked gives them.
                if status.is_some() && !looked && kill_from.is_none() {
                    looked = true;
                    if !asked {
                        left = descendants().len();
                        signal_all(group, Signal::SIGTERM);
                        kill_from = Some(now + LEFT_BEHIND_GRACE);
                    }
                }
            }
        }
    }
}

/// Sends a signal to the command's group and to every descendant of ours that is in another: each gets it once, since many
/// programs take a second one for impatience.
fn signal_all(group: Pid, signal: Signal) {
    let _ = killpg(group, signal);
    for pid in descendants() {
        if nix::unistd::getpgid(Some(pid)) != Ok(group) {
            let _ = kill(pid, signal);
        }
        if signal == Signal::SIGTERM {
            // A stopped process would not notice.
            let _ = kill(pid, Signal::SIGCONT);
        }
    }
}

/// Every living process below us. Without `/proc`, none: the command's group is all that is known.
fn descendants() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut living: Vec<(i32, i32)> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Ok(stat) = std::fs::read_to_string(entry.path().join("stat"))
            && let Some((state, parent)) = state_and_parent(&stat)
            && !matches!(state, "Z" | "X")
        {
            living.push((pid, parent));
        }
    }
    let mut found = vec![Pid::this().as_raw()];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(
            living
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    found.split_off(1).into_iter().map(Pid::from_raw).collect()
}

/// State and parent of a process, from `/proc/PID/stat` (proc(5)); the name in it may hold anything, also `)`.
fn state_and_parent(stat: &str) -> Option<(&str, i32)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_brackets_does_not_mislead() {
        assert_eq!(state_and_parent("12 (a) S 9 (x) R 7 7 7 0"), Some(("R", 7)));
        assert_eq!(state_and_parent("12 (sh"), None);
    }

    #[test]
    fn other_arguments_are_left_alone() {
        for arguments in [
            &["shipline"][..],
            &["shipline", "pipeline"],
            &["shipline", "__supervise"],
            &["shipline", "__supervise", "--"],
        ] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(supervise_if_asked(&arguments), None);
        }
    }
}
