//! `cargo xtask clones`: the sample platform in two clones, outside the gate.

use crate::soak::{binary, build};
use crate::steps::{command, root, step};

/// Builds the binary and lets it build this repository's last commit twice.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    if !options.is_empty() {
        return Err(format!(
            "unknown options `{}`; usage: cargo xtask clones",
            options.join(" ")
        ));
    }
    build()?;
    let repository = root().display().to_string();
    step(
        "clones",
        &mut command(&binary("clones"), &[&binary("shipline"), &repository]),
    )
}
