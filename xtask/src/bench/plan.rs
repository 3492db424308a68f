//! From process start to end: plans, and runs that have nothing to do.

use super::{Scratch, command, git, line, load, quiet, shipline, tiny};

/// How often each is measured.
const TIMES: usize = 20;

/// Measures on the tiny platform of the tests, with git's own look at the work tree beside it.
pub(super) fn run() -> Result<(), String> {
    let program = shipline()?;
    let scratch = Scratch::new("plan")?;
    let platform = scratch.path("tiny");
    tiny(&platform)?;
    // The first run does the work, the following ones find it done.
    let first = quiet(command(&program, &["pipeline", "backend"]).current_dir(&platform))?;
    println!("{}", load());
    println!(
        "{}",
        line("shipline pipeline backend, the first", vec![first])
    );
    let (mut plans, mut runs, mut looks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        plans.push(quiet(
            command(&program, &["plan", "backend"]).current_dir(&platform),
        )?);
        runs.push(quiet(
            command(&program, &["pipeline", "backend"]).current_dir(&platform),
        )?);
        looks.push(quiet(&mut git(&platform, &["status", "--porcelain"]))?);
    }
    println!("{}", line("shipline plan backend, nothing changed", plans));
    println!(
        "{}",
        line("shipline pipeline backend, nothing changed", runs)
    );
    println!("{}", line("git status", looks));
    Ok(())
}
