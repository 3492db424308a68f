//! `test`: `setup` once, then `test` on exactly the sources; a pass is remembered, a failure never.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use shipline_model::config::Component;

use super::command::{execute, folder, ready, restore};
use super::{Ended, StageTask, blocking};
use crate::error::BackendError;
use crate::event::Facts;
use crate::fault::FaultPoint;
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
    let shared = &task.shared;
    let result = {
        let mut state = ready(task, component).await?;
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
    shared.options.faults.reach(FaultPoint::TestPassed);
    let key = shared
        .plan
        .components
        .iter()
        .find(|planned| planned.name == component.name)
        .and_then(|planned| planned.source_key.clone());
    if let Some(key) = key {
        let cache = shared.cache.clone();
        let run = shared.options.run.to_string();
        blocking(move || cache.record_pass(&key, &run)).await?;
        shared.options.faults.reach(FaultPoint::TestRecorded);
    }
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

fn copy(from: &Path, to: &Path, globs: &[String], redactor: &Redactor) -> (usize, Vec<String>) {
    let mut files = Vec::new();
    find(from, from, globs, DEPTH, &mut files);
    files.sort();
    let mut count = 0;
    let mut problems = Vec::new();
    for file in files {
        match keep(&from.join(&file), &to.join(&file), redactor) {
            Ok(()) => count += 1,
            Err(cause) => problems.push(format!("{}: {cause}", file.display())),
        }
    }
    (count, problems)
}

/// Writes the file at `to` as it is at `from`, without any secret.
fn keep(from: &Path, to: &Path, redactor: &Redactor) -> io::Result<()> {
    if fs::metadata(from)?.len() > LARGEST {
        return Err(io::Error::other(format!(
            "it has more than {} MiB",
            LARGEST >> 20
        )));
    }
    let bytes = fs::read(from)?;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, redactor.mask_bytes(&bytes))
}

/// Finds regular files below `at` whose path below `root` matches; symlinks are not followed.
fn find(root: &Path, at: &Path, globs: &[String], depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let path = entry.path();
        let Ok(relative) = path.strip_prefix(root) else {
            continue;
        };
        if kind.is_dir() {
            // Tests write no results there, and it is large.
            if depth > 0 && entry.file_name() != "node_modules" {
                find(root, &path, globs, depth - 1, found);
            }
        } else if kind.is_file()
            && relative
                .to_str()
                .is_some_and(|text| globs.iter().any(|glob| matches(glob, text)))
        {
            found.push(relative.to_owned());
        }
    }
}
