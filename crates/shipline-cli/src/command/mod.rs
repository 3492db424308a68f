//! One file for each command. Data goes to standard output, everything else to standard error.

pub(crate) mod config;
pub(crate) mod gitops_set;
pub(crate) mod lock;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod runs;
pub(crate) mod scan_sbom;
pub(crate) mod store;

use std::io::Write as _;

use crate::args;
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::secrets;

/// Prints data, without the secrets that are known. A reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<u8, CommandError> {
    let redactor = secrets::redactor();
    let text = redactor.mask_bytes(text.as_bytes());
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::new(
            ErrorKind::Failed,
            "standard output cannot be written",
        )
        .because(error)),
        Ok(()) | Err(_) => Ok(exit::PASSED),
    }
}

/// Prints what is no data, without the secrets that are known: what a server or a program answers may repeat them.
pub(crate) fn print_error(text: &str) {
    let redactor = secrets::redactor();
    let text = redactor.mask_bytes(text.as_bytes());
    // There is nowhere to tell that standard error is gone.
    let _ = std::io::stderr().lock().write_all(&text);
}

/// `completions SHELL`: for the installed program; nobody completes what stands behind `cargo xtask`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, CommandError> {
    let mut text = Vec::new();
    let name = "shipline";
    clap_complete::generate(shell, &mut args::command(name), name, &mut text);
    print(&String::from_utf8_lossy(&text))
}
