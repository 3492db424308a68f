//! Real processes: none outlives us.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use shipline_engine::fault::Faults;
use shipline_engine::process::{Ended, Exit, ShellCommand, Supervisor};
use shipline_engine::redact::Redactor;
use shipline_engine::task::{TaskContext, TaskMessage};
use shipline_model::name::StageName;
use shipline_model::plan::TaskId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::world::{host, wait_for};

fn context(cancel: &CancellationToken) -> (TaskContext, mpsc::Receiver<(TaskId, TaskMessage)>) {
    let (sender, receiver) = mpsc::channel(10_000);
    let id = TaskId {
        stage: StageName::new("s").unwrap(),
        component: None,
        variant: None,
    };
    (TaskContext::new(id, sender, cancel.clone()), receiver)
}

fn supervisor() -> Supervisor {
    Supervisor {
        program: host(),
        grace: Duration::from_secs(10),
        kill: CancellationToken::new(),
        faults: Faults::none(),
    }
}

fn command(directory: &Path, script: &str) -> ShellCommand {
    ShellCommand {
        script: script.to_owned(),
        directory: directory.to_owned(),
        environment: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
    }
}

async fn run(script: &str) -> (Ended, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let (task, mut messages) = context(&CancellationToken::new());
    let ended = supervisor()
        .run(&command(folder.path(), script), &Redactor::default(), &task)
        .await
        .unwrap();
    drop(task);
    let mut lines = Vec::new();
    while let Some((_, message)) = messages.recv().await {
        if let TaskMessage::Output { line, .. } = message {
            lines.push(line);
        }
    }
    (ended, lines)
}

/// Whether a process lives (a zombie does not).
fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(!stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(false)
}

fn pid_in(path: &Path) -> i32 {
    wait_for("a process ID", || {
        fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
    });
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn endings_and_output_come_back() {
    let check = |ended: Ended, exit: Exit| {
        assert_eq!(
            ended,
            Ended {
                exit,
                left_behind: 0
            }
        );
    };
    let (ended, lines) = run("echo out; echo err >&2; printf last; exit 7").await;
    check(ended, Exit::Code(7));
    let mut sorted = lines;
    sorted.sort();
    assert_eq!(sorted, ["err", "last", "out"]);
    let (ended, _) = run("kill -SEGV $$").await;
    check(ended, Exit::Signal(11));
    let (ended, lines) = run("seq 20000 | tail -n 1").await;
    check(ended, Exit::Code(0));
    assert_eq!(lines, ["20000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_leaves_behind_is_ended_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {}; exec sleep 1000' > /dev/null 2>&1 & until test -s {}; do sleep 0.01; done",
        pid.display(),
        pid.display()
    );
    let (ended, lines) = run(&script).await;
    assert_eq!(
        ended,
        Ended {
            exit: Exit::Code(0),
            left_behind: 1
        }
    );
    assert!(
        lines.last().unwrap().contains("left 1 process"),
        "{lines:?}"
    );
    assert!(!lives(pid_in(&pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_a_grandchild_holds_open_does_not_hold_us() {
    let (ended, lines) = run("sleep 1000 & echo done").await;
    assert_eq!(ended.left_behind, 1);
    assert_eq!(lines[0], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ignores_sigterm_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, outer) = (folder.path().join("inner"), folder.path().join("outer"));
    let script = format!(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > {}; while :; do sleep 1; done' & echo $$ > {}; while :; do sleep 1; done",
        inner.display(),
        outer.display()
    );
    let cancel = CancellationToken::new();
    let (task, _messages) = context(&cancel);
    let mut supervisor = supervisor();
    supervisor.grace = Duration::from_millis(50);
    let command = command(folder.path(), &script);
    let at_work = tokio::spawn(async move {
        supervisor
            .run(&command, &Redactor::default(), &task)
            .await
            .unwrap_err()
            .class
    });
    let (inner, outer) = tokio::task::spawn_blocking(move || (pid_in(&inner), pid_in(&outer)))
        .await
        .unwrap();
    cancel.cancel();
    assert_eq!(
        at_work.await.unwrap(),
        shipline_engine::error::ErrorClass::Cancelled
    );
    assert!(!lives(inner) && !lives(outer));
}

#[test]
fn nothing_outlives_us_after_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let pid = |name: &str| folder.path().join(name);
    // A child, a child in a session of its own, and an orphan of a process that ended.
    let script = "sh -c 'echo $$ > child; exec sleep 1000' & \
        setsid sh -c 'trap \"\" TERM HUP; echo $$ > session; exec sleep 1000' & \
        sh -c 'setsid sh -c \"echo \\$\\$ > orphan; exec sleep 1000\" &' ; \
        echo ready; wait";
    let mut us = Command::new(host())
        .args(["run", folder.path().to_str().unwrap(), script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(us.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pids = [
        pid_in(&pid("child")),
        pid_in(&pid("session")),
        pid_in(&pid("orphan")),
    ];
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    us.kill().unwrap();
    us.wait().unwrap();
    wait_for("the end of everything", || {
        !pids.iter().any(|pid| lives(*pid))
    });
}

#[test]
fn a_supervisor_that_is_alone_before_it_was_told_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mark = folder.path().join("mark");
    let mut supervisor = Command::new(host())
        .args(["__supervise", "--", "/usr/bin/touch"])
        .arg(&mark)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    drop(ours);
    assert!(supervisor.wait().unwrap().success());
    assert!(!mark.exists());
}
