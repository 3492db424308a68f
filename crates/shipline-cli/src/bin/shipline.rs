//! `shipline`: the installed binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    shipline_cli::main("shipline")
}
