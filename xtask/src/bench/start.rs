//! What the release binary weighs, and how long it takes to start.

use std::fs;

use super::{Series, command, load, shipline};

/// How often it is started.
const TIMES: usize = 50;

/// Measures the binary that a release would ship.
pub(super) fn run() -> Result<(), String> {
    let program = shipline()?;
    let metadata = fs::metadata(&program).map_err(|error| format!("{program}: {error}"))?;
    println!("the release binary; {}", load());
    println!(
        "{:<48} {:.1} MB",
        "size of shipline",
        metadata.len() as f64 / 1e6
    );
    let mut series = Series::new("shipline --version (target: at most 5 ms)");
    for _ in 0..TIMES {
        series.run(&mut command(&program, &["--version"]))?;
    }
    series.look(&mut command(&program, &["--version"]))?;
    println!("{}", series.line());
    Ok(())
}
