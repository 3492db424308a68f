//! One file for each command. Data goes to standard output, everything else to standard error.

pub(crate) mod config;
pub(crate) mod gitops_set;
pub(crate) mod lock;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod runs;
pub(crate) mod scan_image;
pub(crate) mod scan_sbom;
pub(crate) mod store;

use crate::args;
use crate::error::CommandError;
use crate::shown::print_data;

/// `completions SHELL`: for the installed program; nobody completes what stands behind `cargo xtask`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, CommandError> {
    let mut text = Vec::new();
    let name = "shipline";
    clap_complete::generate(shell, &mut args::command(name), name, &mut text);
    print_data(&String::from_utf8_lossy(&text))
}
