//! `test`: `setup` once, then `test` on exactly the sources.

use std::io::{self, Read as _};
use std::sync::Arc;

use shipline_model::config::Component;

use super::command::{Needs, execute, folder, ready, restore};
use super::{Ended, StageTask, blocking};
use crate::error::BackendError;
use crate::event::Facts;
use crate::folder::{Folder, Kind, Place};
use crate::glob::matches;
use crate::record::run_folder;
use crate::redact::Redactor;

/// JUnit files larger than this, in bytes, are not kept: they are masked in memory.
const LARGEST: u64 = 64 << 20;

/// Folders deeper than this below a component are not looked into for JUnit files.
const DEPTH: usize = 16;

pub(super) async fn run(task: &StageTask) -> Result<Ended, BackendError> {
    let component = task.component()?;
    let Some(test) = &component.test else {
        return Ok(Ended::Passed(Facts::None));
    };
    let result = {
        let mut state = ready(task, component, Needs::Setup).await?;
        // A pass is remembered by the sources: what `run` stages left behind has no part in it.
        restore(task, component, &mut state).await?;
        state.touched = true;
        let result = execute(
            task,
            component,
            "the tests",
            test,
            &std::collections::BTreeMap::new(),
        )
        .await;
        // What the tests wrote is wanted all the more where they failed.
        collect(task, component).await;
        result
    };
    result?;
    Ok(Ended::Passed(Facts::None))
}

/// Copies JUnit files into the record. What cannot be copied is said, and fails nothing.
async fn collect(task: &StageTask, component: &Component) {
    if component.junit.is_empty() {
        return;
    }
    let from = folder(task, component);
    let to = run_folder(&task.shared.options.state, &task.shared.options.run)
        .join("junit")
        .join(component.name.as_str());
    let globs = component.junit.clone();
    let redactor = Arc::clone(&task.shared.options.redactor);
    let copied = blocking(move || Ok(copy(&from, &to, &globs, &redactor))).await;
    let note = match copied {
        Ok((0, problems)) if problems.is_empty() => {
            format!("no file matches {}", component.junit.join(", "))
        }
        Ok((count, problems)) if problems.is_empty() => format!("{count} JUnit files kept"),
        Ok((count, problems)) => {
            format!(
                "{count} JUnit files kept, not kept: {}",
                problems.join(", ")
            )
        }
        Err(error) => error.to_string(),
    };
    task.context.note(note).await;
}

fn copy(from: &Place, to: &Place, globs: &[String], redactor: &Redactor) -> (usize, Vec<String>) {
    let mut files = Vec::new();
    if let Ok(folder) = from.open() {
        find(&folder, "", globs, DEPTH, &mut files);
    }
    files.sort();
    let mut count = 0;
    let mut problems = Vec::new();
    for file in files {
        match keep(&from.join(&file), &to.join(&file), redactor) {
            Ok(()) => count += 1,
            Err(cause) => problems.push(format!("{file}: {cause}")),
        }
    }
    (count, problems)
}

/// Writes the file at `to` as it is at `from`, without any secret.
fn keep(from: &Place, to: &Place, redactor: &Redactor) -> io::Result<()> {
    let (folder, name) = from.parent()?;
    let mut bytes = Vec::new();
    folder
        .open(name)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!(
            "it has more than {} MiB",
            LARGEST >> 20
        )));
    }
    to.write_whole(&redactor.mask_bytes(&bytes))
}

/// Finds regular files below `folder`, whose path is `path`, that match; symlinks are not followed.
fn find(folder: &Folder, path: &str, globs: &[String], depth: usize, found: &mut Vec<String>) {
    for entry in folder.entries().unwrap_or_default() {
        let Some(name) = entry.name.to_str() else {
            continue;
        };
        let below = match path {
            "" => name.to_owned(),
            path => format!("{path}/{name}"),
        };
        match entry.kind {
            // Tests write no results there, and it is large.
            Kind::Folder if depth > 0 && name != "node_modules" => {
                if let Ok(folder) = folder.folder(name) {
                    find(&folder, &below, globs, depth - 1, found);
                }
            }
            Kind::File if globs.iter().any(|glob| matches(glob, &below)) => found.push(below),
            Kind::File | Kind::Folder | Kind::Link | Kind::Special => {}
        }
    }
}
