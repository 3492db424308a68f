//! Commands of components in the workspace: `setup`, and what `run` stages name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shipline_model::config::Component;
use shipline_model::value::{MissingVariable, Value};

use super::{Ended, StageTask};
use crate::backend::Materialized;
use crate::error::{BackendError, ErrorClass};
use crate::event::Facts;
use crate::folder::{Obstacle, Place};
use crate::process::{Exit, ShellCommand};
use crate::workspace::State;

pub(super) async fn run(task: &StageTask, command: &str) -> Result<Ended, BackendError> {
    let component = task.component()?;
    let mut state = ready(task, component, Needs::Setup).await?;
    state.touched = true;
    execute(task, component, "the command", command, &BTreeMap::new()).await?;
    Ok(Ended::Passed(Facts::None))
}

/// What a task needs of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The sources, and what `setup` makes of them.
    Setup,
    /// The sources.
    Sources,
}

/// Makes the workspace ready for a task of the component: filled, and set up where that is needed.
pub(super) async fn ready<'t>(
    task: &'t StageTask,
    component: &Component,
    needs: Needs,
) -> Result<tokio::sync::MutexGuard<'t, State>, BackendError> {
    let workspace = task.shared.workspaces.of(&component.name);
    let state = workspace.state(component)?;
    if let Some(done) = workspace.fill().await? {
        task.context.note(filled(done)).await;
    }
    let mut state = state.lock().await;
    if state.setup.is_none() && needs == Needs::Setup {
        if let Some(setup) = &component.setup {
            state.touched = true;
            execute(task, component, "setup", setup, &BTreeMap::new()).await?;
            state.setup = Some(workspace.extras(&component.name).await?);
        } else {
            state.setup = Some(Vec::new());
        }
    }
    Ok(state)
}

/// What was done to the workspace.
fn filled(done: Materialized) -> String {
    let files = |count: usize| match count {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    match (done.written, done.removed) {
        (0, 0) => format!("workspace: {}, as they were", files(done.kept)),
        (written, 0) => format!("workspace: {} written", files(written)),
        (0, removed) => format!("workspace: {} removed", files(removed)),
        (written, removed) => format!("workspace: {} written, {removed} removed", files(written)),
    }
}

/// Makes the component's part of the workspace equal to its sources again where commands have run in it.
pub(super) async fn restore(
    task: &StageTask,
    component: &Component,
    state: &mut State,
) -> Result<(), BackendError> {
    if state.touched {
        let extras = state.setup.clone().unwrap_or_default();
        task.shared
            .workspaces
            .of(&component.name)
            .restore(&component.name, &extras)
            .await?;
        state.touched = false;
    }
    Ok(())
}

/// Runs a command of the component. `extra` comes over its environment.
pub(super) async fn execute(
    task: &StageTask,
    component: &Component,
    what: &str,
    script: &str,
    extra: &BTreeMap<String, Value>,
) -> Result<(), BackendError> {
    let mut environment = environment(task, component)?;
    environment.extend(
        extra
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned())),
    );
    let command = ShellCommand {
        script: script.to_owned(),
        directory: command_folder(task, component, what)?,
        environment,
    };
    task.context.note(format!("$ {script}")).await;
    let shared = &task.shared;
    let ended = shared
        .supervisor
        .run(&command, &shared.options.redactor, &task.context)
        .await?;
    match ended.exit {
        Exit::Code(0) => Ok(()),
        // The shell's own words for a program that is not there or not to be run.
        Exit::Code(126 | 127) => Err(BackendError::new(
            ErrorClass::Failed,
            format!("run {what} of {} (`{script}`): {}", component.name, ended.exit),
        )
        .hint("exit code 127 says that a program was not found: commands see the PATH and the variables that the component declares, not all of yours")),
        Exit::Code(_) | Exit::Signal(_) => Err(BackendError::new(
            ErrorClass::Failed,
            format!("run {what} of {} (`{script}`): {}", component.name, ended.exit),
        )),
    }
}

/// The component's folder in the workspace.
pub(super) fn folder(task: &StageTask, component: &Component) -> Place {
    let workspace = task.shared.workspaces.of(&component.name);
    match &component.path {
        Some(path) => workspace.place(path),
        None => workspace.place(&shipline_model::name::RepoPath::root()),
    }
}

/// The same for a command, which would work wherever a link leads.
fn command_folder(
    task: &StageTask,
    component: &Component,
    what: &str,
) -> Result<PathBuf, BackendError> {
    let place = folder(task, component);
    match place.open() {
        Err(cause) if Obstacle::of(&cause).is_some() => {
            let name = &component.name;
            let what = format!("run {what} of {name}: use {}", place.path().display());
            Err(BackendError::new(ErrorClass::Invalid, what)
                .because(cause)
                .hint(format!("`path` of {name} must be a folder of the repository, and commands must leave it one")))
        }
        // What is not there is told by whoever starts the command.
        Ok(_) | Err(_) => Ok(place.path().to_path_buf()),
    }
}

/// The declared environment: the base, and what the component lists.
fn environment(
    task: &StageTask,
    component: &Component,
) -> Result<BTreeMap<String, String>, BackendError> {
    let options = &task.shared.options;
    let mut environment = options.environment.clone();
    // The workspace is no git repository, and git is not to find the live one above it: what stands there is in no key.
    environment.insert(
        "GIT_CEILING_DIRECTORIES".to_owned(),
        options.state.path().display().to_string(),
    );
    for (name, template) in &component.environment {
        let value = template.resolve(&options.variables).map_err(|missing| {
            let missing: Vec<String> = missing.iter().map(MissingVariable::written).collect();
            BackendError::new(
                ErrorClass::Invalid,
                format!(
                    "make the environment of {}: not set: {}",
                    component.name,
                    missing.join(", ")
                ),
            )
        })?;
        environment.insert(name.clone(), value.expose().to_owned());
    }
    Ok(environment)
}
