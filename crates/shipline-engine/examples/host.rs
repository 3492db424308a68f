//! A program that hosts the engine's processes, for tests: `host run DIRECTORY SCRIPT` runs a command below a supervisor and
//! prints its lines. It is also its own supervisor.

#![allow(clippy::print_stdout, reason = "its output is what tests read")]

use std::collections::BTreeMap;
use std::time::Duration;

use shipline_engine::fault::Faults;
use shipline_engine::process::{ShellCommand, Supervisor, supervise_if_asked};
use shipline_engine::redact::Redactor;
use shipline_engine::task::{TaskContext, TaskMessage};
use shipline_model::name::StageName;
use shipline_model::plan::TaskId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(code) = supervise_if_asked(&arguments) {
        return Ok(code.into());
    }
    let [program, _, directory, script] = arguments.as_slice() else {
        return Err("usage: host run DIRECTORY SCRIPT".into());
    };
    let supervisor = Supervisor {
        program: std::fs::canonicalize(program)?,
        grace: Duration::from_secs(10),
        kill: CancellationToken::new(),
        faults: Faults::none(),
    };
    let command = ShellCommand {
        script: script.to_string_lossy().into_owned(),
        directory: directory.into(),
        environment: BTreeMap::from([(
            "PATH".to_owned(),
            "/usr/local/bin:/usr/bin:/bin".to_owned(),
        )]),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async move {
        let (sender, mut messages) = mpsc::channel(16);
        let id = TaskId {
            stage: StageName::new("host")?,
            component: None,
            variant: None,
        };
        let task = TaskContext::new(id, sender, CancellationToken::new());
        let printer = tokio::spawn(async move {
            while let Some((_, message)) = messages.recv().await {
                if let TaskMessage::Output { line, .. } = message {
                    println!("{line}");
                }
            }
        });
        let ended = supervisor
            .run(&command, &Redactor::default(), &task)
            .await?;
        drop(task);
        printer.await?;
        Ok::<_, Box<dyn std::error::Error>>(ended)
    })?;
    println!("{}", ended.exit);
    Ok(std::process::ExitCode::SUCCESS)
}
