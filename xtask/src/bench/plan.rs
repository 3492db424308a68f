//! From process start to end: plans and runs that have nothing to do, of the sample platform and of a large repository.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Scratch, Series, command, commit_all, git, load, quiet, root, shipline, tiny};

/// How often each is measured.
const TIMES: usize = 20;
/// How often it is in the large repository.
const LARGE_TIMES: usize = 7;
/// Components of the large repository, and files of each.
const COMPONENTS: usize = 1_000;
const FILES: usize = 102;
/// Files of each component in the repository whose last commit changes all of them.
const CHANGED: usize = 20;

/// Measures on the platforms, with git's own look at the work tree beside it.
pub(super) fn run() -> Result<(), String> {
    let program = shipline()?;
    seven(&program)?;
    nothing_changed(&program)?;
    large(&program)?;
    all_changed(&program)
}

/// Plans the sample platform's seven components.
fn seven(program: &str) -> Result<(), String> {
    let scratch = Scratch::new("seven")?;
    let platform = scratch.path("platform");
    let target = platform.display().to_string();
    // What git has of this repository, without what was built in it.
    quiet(&mut command(
        "git",
        &["clone", "--quiet", &root().display().to_string(), &target],
    ))?;
    println!(
        "the sample platform, in this repository's last commit; {}",
        load()
    );
    let mut all = [
        (
            Series::new("shipline plan frontend (target: at most 15 ms)"),
            command(program, &["plan", "frontend"]),
        ),
        (
            Series::new("shipline plan backend (target: at most 15 ms)"),
            command(program, &["plan", "backend"]),
        ),
    ];
    in_turn(&platform, TIMES, &mut all)
}

/// Plans and runs of the tiny platform of the tests once everything is done.
fn nothing_changed(program: &str) -> Result<(), String> {
    let scratch = Scratch::new("plan")?;
    let platform = scratch.path("tiny");
    tiny(&platform)?;
    // The first run does the work, the following ones find it done.
    let mut first = Series::new("shipline pipeline backend, the first");
    first.run(command(program, &["pipeline", "backend"]).current_dir(&platform))?;
    println!(
        "\nthe tiny platform of the tests, nothing changed; {}",
        load()
    );
    println!("{}", first.line());
    let mut all = [
        (
            Series::new("shipline plan backend"),
            command(program, &["plan", "backend"]),
        ),
        (
            Series::new("shipline pipeline backend (target: at most 20)"),
            command(program, &["pipeline", "backend"]),
        ),
        (
            Series::new("shipline pipeline backend --all"),
            command(program, &["pipeline", "backend", "--all"]),
        ),
        (
            Series::new("git status"),
            git(&platform, &["status", "--porcelain"]),
        ),
    ];
    in_turn(&platform, TIMES, &mut all)
}

/// What a commit that changes one file affects, where there is much that it does not.
fn large(program: &str) -> Result<(), String> {
    let scratch = Scratch::new("large")?;
    let repository = scratch.path("repository");
    generate(&repository, FILES, "")
        .map_err(|error| format!("cannot generate a repository: {error}"))?;
    commit_all(&repository)?;
    fs::write(repository.join("component-0500/file-050"), "changed\n")
        .map_err(|error| format!("cannot change a file: {error}"))?;
    quiet(&mut git(
        &repository,
        &["commit", "--quiet", "--all", "--message=Change"],
    ))?;
    println!(
        "\n{COMPONENTS} components with {FILES} files each, one of them changed by the last commit; {}",
        load()
    );
    let mut all = [
        (
            Series::new("shipline plan all --base HEAD~1 (target: 250 ms)"),
            command(program, &["plan", "all", "--base", "HEAD~1"]),
        ),
        (
            Series::new("git status"),
            git(&repository, &["status", "--porcelain"]),
        ),
        (
            Series::new("git diff HEAD~1 HEAD"),
            git(&repository, &["diff", "--name-only", "HEAD~1", "HEAD"]),
        ),
    ];
    in_turn(&repository, LARGE_TIMES, &mut all)
}

/// What a commit costs that changes every file of every component (a licence header).
fn all_changed(program: &str) -> Result<(), String> {
    let scratch = Scratch::new("header")?;
    let repository = scratch.path("repository");
    let failed = |error| format!("cannot generate a repository: {error}");
    generate(&repository, CHANGED, "").map_err(failed)?;
    commit_all(&repository)?;
    generate(&repository, CHANGED, "licence\n").map_err(failed)?;
    quiet(&mut git(
        &repository,
        &["commit", "--quiet", "--all", "--message=Header"],
    ))?;
    println!(
        "\n{COMPONENTS} components with {CHANGED} files each, all changed by the last commit (target: at most twice git diff and 60 ms, 60 MB); {}",
        load()
    );
    let mut all = [
        (
            Series::new("git diff --name-only HEAD~1"),
            git(&repository, &["diff", "--name-only", "HEAD~1"]),
        ),
        (
            Series::new("shipline plan all --base HEAD~1"),
            command(program, &["plan", "all", "--base", "HEAD~1"]),
        ),
        (
            Series::new("shipline explain all component-0500 --base HEAD~1"),
            command(
                program,
                &["explain", "all", "component-0500", "--base", "HEAD~1"],
            ),
        ),
    ];
    in_turn(&repository, LARGE_TIMES, &mut all)?;
    let [(git, _), (plan, _), (explain, _)] = &all;
    println!(
        "plan takes {:.2} times git diff, explain {:.2} times",
        plan.median() / git.median(),
        explain.median() / git.median()
    );
    Ok(())
}

/// Runs all commands in a directory, one after the other and again, so that what else goes on hits all alike.
fn in_turn(directory: &Path, times: usize, all: &mut [(Series, Command)]) -> Result<(), String> {
    for (series, command) in &mut *all {
        series.look(command.current_dir(directory))?;
    }
    for _ in 0..times {
        for (series, command) in &mut *all {
            series.run(command)?;
        }
    }
    for (series, _) in all {
        println!("{}", series.line());
    }
    Ok(())
}

/// A repository of [`COMPONENTS`] components with that many files each, which begin with `head`.
fn generate(repository: &Path, files: usize, head: &str) -> std::io::Result<()> {
    let mut components = String::new();
    let mut names = Vec::new();
    for component in 0..COMPONENTS {
        let name = format!("component-{component:04}");
        let directory = repository.join(&name);
        fs::create_dir_all(&directory)?;
        for file in 0..files {
            fs::write(
                directory.join(format!("file-{file:03}")),
                format!("{head}{component} {file}\n"),
            )?;
        }
        let _ = writeln!(
            components,
            "  {name}: {{ path: {name}, test: \"true\", tools: [], image: {{}} }}"
        );
        names.push(name);
    }
    fs::write(
        repository.join("pipeline.yaml"),
        format!(
            "version: 1\nproject: large\nenvironments:\n  staging: {{ url: \"https://staging.example.com\", delivery: automatic }}\nprofiles:\n  local:\n    registry: {{ layout: .shipline/registry }}\n    gitops: {{ path: .shipline/gitops.git }}\ncomponents:\n{components}pipelines:\n  all:\n    components: [{}]\n    stages:\n      detect: {{ kind: detect }}\n      unit-tests: {{ kind: test, needs: [detect] }}\n",
            names.join(", ")
        ),
    )
}
