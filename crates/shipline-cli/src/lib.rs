//! Shipline at the edge: arguments, settings, wiring, printing, exit codes.
//!
//! [`main`] is both binaries: `shipline`, and `cargo xtask`, which adds the repository's own chores.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

mod again;
mod age;
mod args;
mod ci;
mod command;
mod delivery;
mod drawing;
mod error;
mod exit;
mod file;
mod fingerprint;
mod helpers;
mod locking;
mod logins;
mod looking;
mod nogitops;
mod output;
mod parts;
mod planning;
mod recipes;
mod secrets;
mod session;
mod settings;
mod shown;
mod signals;
mod signing;
mod size;
mod ssh;
mod trust;
mod waiting;
mod wiring;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use shipline_report::Palette;

use crate::again::Program;
use crate::args::{
    Cli, Command, ConfigCommand, GitopsCommand, LockCommand, RunsCommand, ScanCommand, StoreCommand,
};
use crate::error::{CommandError, ErrorKind};
use crate::settings::{Screen, Settings};

/// Runs the command line. `program` is what a person types: `shipline` or `cargo xtask`.
#[must_use]
pub fn main(program: &'static str) -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(code) = shipline_engine::process::supervise_if_asked(&arguments) {
        return ExitCode::from(code);
    }
    shipline_engine::process::refuse_inspection();
    std::panic::set_hook(Box::new(secrets::report_panic));
    shown::begin(settings::runner());
    let code = answer(program, &arguments);
    shown::end();
    code
}

fn answer(program: &'static str, arguments: &[std::ffi::OsString]) -> ExitCode {
    let command = args::command(program);
    let cli = match command
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => return refused(&error, arguments),
    };
    let program = Program {
        name: program,
        directory: cli.directory.clone(),
        state: cli.state.clone(),
        arguments: arguments
            .iter()
            .skip(1)
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
    };
    let mut screen = Screen::Plain;
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let settings = Settings::from_environment()?;
        secrets::know("", &settings);
        screen = settings.screen;
        run(cli, settings, &program)
    }));
    // The panic itself was printed when it happened.
    let done = done.unwrap_or_else(|_| {
        Err(
            CommandError::new(ErrorKind::Bug, "this is a bug of Shipline")
                .hint("please report it with what stands above"),
        )
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            shown::print_painted(&error.render(screen));
            ExitCode::from(error.code())
        }
    }
}

/// Says what clap has to say of a command line: help and versions go to standard output and are no error.
fn refused(error: &clap::Error, arguments: &[std::ffi::OsString]) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::from(exit::PASSED);
    }
    let settings = Settings::from_environment().ok();
    if let Some(settings) = &settings {
        secrets::know("", settings);
        // Only for the secrets that it names: what is wrong with it is not what was asked.
        let _ = session::state(settings);
    }
    let palette = settings.map_or(Palette::Plain, |settings| settings.screen.palette());
    let text = error.render();
    match palette {
        Palette::Colour => shown::print_painted(&text.ansi().to_string()),
        Palette::Plain => shown::print_error(&text.to_string()),
    }
    let hints = [
        args::known_pipelines(error, arguments),
        args::several_values(error, arguments),
    ];
    for hint in hints.into_iter().flatten() {
        shown::print_error(&format!("\n  hint: {hint}\n"));
    }
    ExitCode::from(exit::USAGE)
}

fn run(cli: Cli, mut settings: Settings, program: &Program) -> Result<u8, CommandError> {
    if let Some(directory) = cli.directory {
        settings.directory = settings.directory.join(directory);
        if !settings.directory.is_dir() {
            return Err(CommandError::usage(format!(
                "{} is not a directory",
                settings.directory.display()
            )));
        }
    }
    settings.state = cli.state.map(|state| settings.directory.join(state));
    match cli.command {
        Command::Pipeline(args) => command::pipeline::run(&args, &settings, program),
        Command::Plan(args) => command::plan::plan(&args, &settings),
        Command::Explain(args) => command::plan::explain(&args, &settings),
        Command::Gitops(GitopsCommand::Set(args)) => command::gitops_set::run(&args, &settings),
        Command::Scan(ScanCommand::Image(args)) => command::scan_image::run(&args, &settings),
        Command::Scan(ScanCommand::Sbom(args)) => command::scan_sbom::run(&args, &settings),
        Command::Runs(RunsCommand::List) => command::runs::list(&settings),
        Command::Runs(RunsCommand::Show { run, events }) => {
            command::runs::show(&run, events.format(), &settings, program)
        }
        Command::Lock(LockCommand::Update(args)) => {
            command::lock::update(&args, &settings, program)
        }
        Command::Store(StoreCommand::Show) => command::store::show(&settings, program),
        Command::Store(StoreCommand::Gc(args)) => command::store::gc(&args, &settings, program),
        Command::Config(ConfigCommand::Show) => command::config::show(&settings),
        Command::Schema => command::config::schema(),
        Command::Completions { shell } => command::completions(shell),
    }
}
