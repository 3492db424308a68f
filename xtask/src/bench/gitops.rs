//! One image value in a GitOps repository of 10,000 manifests: `shipline gitops set` beside clone, edit, commit and push.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{
    Scratch, Series, children_seconds, command, commit_all, git, load, quiet, shipline, tiny,
};

/// Manifests in the repository.
const MANIFESTS: usize = 10_000;
/// How often Shipline is measured.
const TIMES: usize = 5;
/// How often the naive way is measured: it checks everything out each time.
const NAIVE_TIMES: usize = 2;
/// The manifest that is written.
const WRITTEN: &str = "staging/api/deployment.yaml";

/// Measures both ways on repositories of their own.
pub(super) fn run() -> Result<(), String> {
    let program = shipline()?;
    let scratch = Scratch::new("gitops")?;
    let platform = scratch.path("tiny");
    tiny(&platform)?;
    let manifests = scratch.path("manifests");
    generate(&platform, &manifests)?;
    for name in ["ours.git", "naive.git"] {
        quiet(&mut git(
            &manifests,
            &["clone", "--quiet", "--bare", ".", &format!("../{name}")],
        ))?;
    }
    let repository = scratch.path("ours.git").display().to_string();
    let mut ours = Series::new("shipline gitops set (target: at most 1000 ms)");
    let mut naive = Series::new("git clone, edit, commit, push");
    for time in 0..TIMES {
        let image = format!("api=1.0.{time}");
        let arguments = [
            "gitops",
            "set",
            &image,
            "--environment",
            "staging",
            "--repository",
            &repository,
        ];
        ours.run(command(&program, &arguments).current_dir(&platform))?;
        if time < NAIVE_TIMES {
            let before = children_seconds();
            let took = clone_and_push(&scratch, time)?;
            naive.add(took, children_seconds() - before);
        }
    }
    let arguments = [
        "gitops",
        "set",
        "api=2.0.0",
        "--environment",
        "staging",
        "--repository",
        &repository,
    ];
    ours.look(command(&program, &arguments).current_dir(&platform))?;
    println!(
        "{MANIFESTS} manifests in a bare repository on this disk; {}",
        load()
    );
    println!("{}", ours.line());
    println!("{}", naive.line());
    Ok(())
}

/// A repository whose manifests are the tiny platform's and others that look like them.
fn generate(platform: &Path, manifests: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot generate manifests: {error}");
    let text = fs::read_to_string(platform.join("gitops").join(WRITTEN)).map_err(failed)?;
    let source = platform.join("gitops").display().to_string();
    quiet(&mut command(
        "cp",
        &["-R", &source, &manifests.display().to_string()],
    ))?;
    for number in 0..MANIFESTS {
        let name = format!("other-{number:05}");
        let directory = manifests.join("staging").join(&name);
        fs::create_dir_all(&directory).map_err(failed)?;
        fs::write(
            directory.join("deployment.yaml"),
            text.replace("/api:", &format!("/{name}:"))
                .replace(": api", &format!(": {name}")),
        )
        .map_err(failed)?;
    }
    commit_all(manifests)
}

/// The way of most pipelines; removing the clone is not counted.
fn clone_and_push(scratch: &Scratch, time: usize) -> Result<Duration, String> {
    let clone = scratch.path("clone");
    let mut took = quiet(&mut git(
        &scratch.0,
        &["clone", "--quiet", "naive.git", "clone"],
    ))?;
    let edit = format!("s|\\(image: [^ ]*api\\):[^ ]*|\\1:1.0.{time}|");
    took += quiet(command("sed", &["-i", &edit, WRITTEN]).current_dir(&clone))?;
    took += quiet(&mut git(
        &clone,
        &["commit", "--quiet", "--all", "--message=Set api"],
    ))?;
    took += quiet(&mut git(&clone, &["push", "--quiet", "origin", "HEAD"]))?;
    fs::remove_dir_all(&clone)
        .map_err(|error| format!("cannot remove {}: {error}", clone.display()))?;
    Ok(took)
}
