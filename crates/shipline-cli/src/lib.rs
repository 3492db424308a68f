//! Shipline at the edge: arguments, settings, wiring, printing, exit codes.
//!
//! [`main`] is both binaries: `shipline`, and `cargo xtask`, which adds the repository's own chores.

mod age;
mod args;
mod command;
mod error;
mod exchange;
mod exit;
mod fingerprint;
mod helpers;
mod locking;
mod output;
mod planning;
mod secrets;
mod session;
mod settings;
mod signals;
mod wiring;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{
    Cli, Command, ConfigCommand, GitopsCommand, LockCommand, RunsCommand, StoreCommand,
};
use crate::error::CommandError;
use crate::settings::Settings;

/// How the program was called, for messages that name a command to repeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program(&'static str);

/// Runs the command line. `program` is what a person types: `shipline` or `cargo xtask`.
#[must_use]
pub fn main(program: &'static str) -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(code) = shipline_engine::process::supervise_if_asked(&arguments) {
        return ExitCode::from(code);
    }
    let command = Cli::command().name(program).bin_name(program);
    let cli = match command
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error; clap knows which is which.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::PASSED
            });
        }
    };
    match run(cli, Program(program)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            command::print_error(&error.render());
            ExitCode::from(error.code())
        }
    }
}

fn run(cli: Cli, program: Program) -> Result<u8, CommandError> {
    let mut settings = Settings::from_environment()?;
    if let Some(directory) = cli.directory {
        settings.directory = settings.directory.join(directory);
        if !settings.directory.is_dir() {
            return Err(CommandError::usage(format!(
                "{} is not a directory",
                settings.directory.display()
            )));
        }
    }
    match cli.command {
        Command::Pipeline(args) => command::pipeline::run(&args, &settings, program),
        Command::Plan(args) => command::plan::plan(&args, &settings),
        Command::Explain(args) => command::plan::explain(&args, &settings),
        Command::Gitops(GitopsCommand::Set(args)) => command::gitops_set::run(&args, &settings),
        Command::Runs(RunsCommand::List) => command::runs::list(&settings),
        Command::Runs(RunsCommand::Show { run, json }) => {
            command::runs::show(&run, json, &settings, program)
        }
        Command::Lock(LockCommand::Update(args)) => {
            command::lock::update(&args, &settings, program)
        }
        Command::Store(StoreCommand::Show) => command::store::show(&settings, program),
        Command::Store(StoreCommand::Gc(args)) => command::store::gc(&args, &settings, program),
        Command::Config(ConfigCommand::Show) => command::config::show(&settings),
        Command::Schema => command::config::schema(),
        Command::Completions { shell } => command::completions(shell, program),
    }
}
