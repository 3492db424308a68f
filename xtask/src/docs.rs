//! `cargo xtask docs [--record RUN]`: what of the documentation is made by a program: the reference of `pipeline.yaml` from its
//! schema, and the picture of a run from a recorded one.

mod picture;
mod reference;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::steps::root;

/// The schema, which another test holds to the code.
const SCHEMA: &str = "pipeline.schema.json";
/// The reference that is made of it.
const REFERENCE: &str = "docs/reference/pipeline-yaml.md";
/// What a run printed.
const RECORDED: &str = "docs/run.txt";
/// Its picture.
const PICTURE: &str = "docs/run.svg";

/// Writes what is made by a program.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    match options {
        [] => {}
        ["--record", run] => record(run)?,
        _ => return Err("usage: cargo xtask docs [--record RUN]".to_owned()),
    }
    for (path, text) in made(&root())? {
        let path = root().join(path);
        std::fs::write(&path, text)
            .map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Keeps what a recorded run of this clone printed.
fn record(run: &str) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let shown = Command::new(program)
        .args(["runs", "show", run])
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("show run {run}: {error}"))?;
    if !shown.status.success() {
        return Err(format!(
            "show run {run}: {}",
            String::from_utf8_lossy(&shown.stderr)
        ));
    }
    let mut text = shown.stdout;
    text.extend(shown.stderr);
    let text = String::from_utf8_lossy(&text).into_owned();
    // Where this clone lies is of no interest, and a terminal does not keep what commands print.
    let text = text
        .replace(&root().display().to_string(), ".")
        .replace("./.shipline", ".shipline");
    let lines = text.lines().filter(|line| !is_output(line));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let path = root().join(RECORDED);
    std::fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))
}

/// Whether a line is one of a command: `build/frontend@staging | …`.
fn is_output(line: &str) -> bool {
    line.split_once(" |")
        .is_some_and(|(task, _)| task.contains('/') && !task.contains(' '))
}

/// The made files, by their paths in the repository.
fn made(root: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).map_err(|error| format!("read {path}: {error}"))
    };
    let schema =
        serde_json::from_str(&read(SCHEMA)?).map_err(|error| format!("read {SCHEMA}: {error}"))?;
    Ok(vec![
        (REFERENCE, reference::page(&schema)?),
        (PICTURE, picture::svg(&read(RECORDED)?)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_fresh() {
        for (path, expected) in made(&root()).unwrap() {
            let found = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            assert!(found == expected, "{path} is stale: run `cargo xtask docs`");
        }
    }
}
