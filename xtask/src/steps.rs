//! Running the programs of a chore, one after the other, and saying how long each took.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    // Relative to the root, as for the cargos that are started there; an absolute path replaces it.
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A command in the root, without the variables that cargo gave this process: they would change what nested cargos build.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let kept = matches!(
            text.as_ref(),
            "CARGO_HOME"
                | "CARGO_TARGET_DIR"
                | "CARGO_BUILD_JOBS"
                | "CARGO_TERM_COLOR"
                | "CARGO_INCREMENTAL"
        );
        if text.starts_with("CARGO") && !kept {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a step to its end.
pub(crate) fn step(title: &str, command: &mut Command) -> Result<(), String> {
    println!("==> {title}");
    let start = Instant::now();
    let status = command.status().map_err(|error| {
        format!(
            "{title}: cannot start {}: {error}",
            command.get_program().display()
        )
    })?;
    let took = start.elapsed().as_secs_f32();
    if status.success() {
        println!("==> {title}: ok in {took:.0} s");
        Ok(())
    } else {
        Err(format!("{title}: {status} after {took:.0} s"))
    }
}

/// Whether a program can be started and succeeds.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    command(program, arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
