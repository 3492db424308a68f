//! The command line: every command, flag and example.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use shipline_engine::record::v1;
use shipline_model::name::{ComponentName, EnvironmentName, PipelineName, ProfileName, StageName};
use shipline_report::{FORMATS, Format};

use crate::session::Session;
use crate::settings::Settings;

/// The command line of the program that a person calls `program`.
pub(crate) fn command(program: &'static str) -> clap::Command {
    fn named(command: clap::Command, program: &str) -> clap::Command {
        let command = match command.get_after_help() {
            Some(help) => {
                let help = help.to_string().replace("{program}", program);
                command.after_help(help)
            }
            None => command,
        };
        command.mut_subcommands(|command| named(command, program))
    }
    named(Cli::command(), program)
        .name(program)
        .bin_name(program)
}

/// Which pipelines there are, where all that is wrong is that none was named.
pub(crate) fn known_pipelines(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let elsewhere = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        argument.starts_with("-C") || argument.starts_with("--directory")
    };
    let missing = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(|name| name == "<NAME>"),
        Some(_) | None => false,
    };
    if error.kind() != ErrorKind::MissingRequiredArgument
        || !missing
        || arguments.iter().any(elsewhere)
    {
        return None;
    }
    let session = Session::open(&Settings::from_environment().ok()?).ok()?;
    let names = session.config.pipelines.keys().map(AsRef::as_ref);
    let names: Vec<&str> = names.collect();
    Some(format!("the pipelines here: {}", names.join(", ")))
}

/// How several values are written, where one too many stands behind a flag that takes them.
pub(crate) fn several_values(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(unknown)) => !unknown.starts_with('-'),
        Some(_) | None => false,
    };
    let listed = ["--only", "--component", "-c"];
    let flag = listed
        .into_iter()
        .find(|flag| arguments.iter().any(|argument| argument == flag));
    let flag = flag.filter(|_| unknown && error.kind() == ErrorKind::UnknownArgument)?;
    Some(format!(
        "several values of `{flag}` are written with commas: `{flag} A,B`"
    ))
}

/// One pipeline.yaml, from commit to cluster.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:
  {program} pipeline frontend                     run a pipeline on this machine; nothing leaves it
  {program} plan backend                          what would run, and why
  {program} explain backend user_service          why this component is affected, or is not
  {program} lock update                           pin base images; shows what moves
  {program} store gc                              free the disk of what no run needs
  {program} scan sbom frontend@staging            which packages an image holds
  {program} pipeline frontend --profile ci        the same with the real registry and GitOps repository
  {program} gitops set user_service=abc12345-20251215123456 --environment staging")]
pub(crate) struct Cli {
    /// Works as if started in DIR.
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub(crate) directory: Option<PathBuf>,
    /// Keeps runs, caches, images and the workspace in DIR instead of .shipline
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plans a pipeline and runs it
    Pipeline(PipelineArgs),
    /// Says what a pipeline would run, and why; runs nothing
    Plan(PlanArgs),
    /// Says why a component is affected or not, and why its results are cached or not
    Explain(ExplainArgs),
    /// Works on the GitOps repository
    #[command(subcommand)]
    Gitops(GitopsCommand),
    /// Looks into images
    #[command(subcommand)]
    Scan(ScanCommand),
    /// Shows past runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Works on pipeline.lock, the digests of base images
    #[command(subcommand)]
    Lock(LockCommand),
    /// Looks at the image store of this clone, and cleans it up
    #[command(subcommand)]
    Store(StoreCommand),
    /// Works on pipeline.yaml
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints the JSON Schema of pipeline.yaml
    Schema,
    /// Prints a completion script for a shell
    #[command(after_help = "Examples:
  source <({program} completions bash)
  {program} completions fish > ~/.config/fish/completions/shipline.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `pipeline`, `plan` and `explain` have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selection {
    /// The pipeline, as named in pipeline.yaml
    #[arg(value_name = "NAME")]
    pub(crate) pipeline: PipelineName,
    /// Where images and commits go
    #[arg(long, value_name = "PROFILE", default_value = "local")]
    pub(crate) profile: ProfileName,
    /// Measures changes from this revision
    #[arg(long, value_name = "REV", conflicts_with = "all")]
    pub(crate) base: Option<String>,
    /// Takes every component for changed
    #[arg(long)]
    pub(crate) all: bool,
    /// Runs only these stages: --only A,B or --only A --only B
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) only: Vec<StageName>,
    /// Looks only at these components: -c A,B or -c A -c B
    #[arg(
        long = "component",
        short = 'c',
        value_name = "COMPONENT",
        value_delimiter = ','
    )]
    pub(crate) components: Vec<ComponentName>,
    /// Takes no result of an earlier run: tests and builds all that is selected, changed or not
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Delivers in a CI that does not say what started it, on a schedule or a tag; never in a pull request
    #[arg(long)]
    pub(crate) deliver: bool,
}

impl Selection {
    /// The same for the record of a run.
    pub(crate) fn recorded(&self) -> v1::Selection {
        v1::Selection {
            base: self.base.clone(),
            all: self.all,
            only: self.only.clone(),
            components: self.components.clone(),
            no_cache: self.no_cache,
            deliver: self.deliver,
        }
    }
}

/// `pipeline NAME`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} pipeline frontend                     what changed since what staging runs
  {program} pipeline backend --all                every component
  {program} pipeline backend --component user_service --only unit-tests
  {program} pipeline frontend --json > events.jsonl")]
pub(crate) struct PipelineArgs {
    /// What to run.
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// After a failure, finishes the tests and scans of the other components (nothing is published)
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Prints the plan and stops
    #[arg(long, conflicts_with_all = ["json", "report"])]
    pub(crate) dry_run: bool,
    /// In which format events are written
    #[command(flatten)]
    pub(crate) events: EventArgs,
    /// Tasks of one kind that run at once; the default goes by the machine's cores
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// Fails at once where another run holds the state folder, instead of waiting for it
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Keeps this much of a task's output: its beginning and its end
    #[arg(long, value_name = "SIZE", default_value = "50MB", value_parser = crate::size::parse)]
    pub(crate) log_limit: u64,
}

/// In which format events are written for other programs, if at all.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct EventArgs {
    /// Prints events as JSON lines on standard output
    #[arg(long)]
    json: bool,
    /// Prints events on standard output in this format
    #[arg(long, value_name = "FORMAT", value_parser = formats(), conflicts_with = "json")]
    report: Option<&'static Format>,
}

impl EventArgs {
    /// The format.
    pub(crate) fn format(self) -> Option<&'static Format> {
        let json = || FORMATS.iter().find(|format| format.name == "json");
        self.report.or_else(|| self.json.then(json).flatten())
    }
}

fn formats() -> impl TypedValueParser<Value = &'static Format> {
    let names = FORMATS.iter().map(|format| format.name);
    PossibleValuesParser::new(names).try_map(|name| {
        let mut known = FORMATS.iter();
        let found = known.find(|format| format.name == name);
        found.ok_or("it is no format of events")
    })
}

/// `plan NAME`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} plan backend                 what changed since what staging runs
  {program} plan backend --base HEAD~3   what changed in the last three commits
  {program} plan frontend --profile ci   what CI would do with this commit")]
pub(crate) struct PlanArgs {
    /// What to plan.
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// `explain NAME COMPONENT`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} explain backend user_service
  {program} explain backend user_service --base main")]
pub(crate) struct ExplainArgs {
    /// What to plan.
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// The component to explain
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: ComponentName,
}

/// `gitops …`.
#[derive(Debug, Subcommand)]
pub(crate) enum GitopsCommand {
    /// Sets images in a GitOps repository: one commit, only the image values change
    Set(GitopsSetArgs),
}

/// `gitops set`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} gitops set user_service=abc12345-20251215123456 --environment staging
  {program} gitops set frontend=staging-abc12345-20251215123456 --environment staging --dry-run
  {program} gitops set frontend=1.4.2 --any-tag --environment staging --repository ../salon-gitops
  {program} gitops set frontend=abc12345-20251215123456 --environment production --confirm DEPLOY
  {program} gitops set web=registry.example.com/web:1.4.2@sha256:… --any-tag -e staging")]
pub(crate) struct GitopsSetArgs {
    /// The component and its new tag, with a digest (TAG@sha256:…) or the whole name (HOST/PATH:TAG)
    #[arg(value_name = "COMPONENT=TAG", required = true)]
    pub(crate) images: Vec<String>,
    /// The environment to write
    #[arg(long, short = 'e', value_name = "ENVIRONMENT")]
    pub(crate) environment: EnvironmentName,
    /// Where the repository comes from
    #[arg(long, value_name = "PROFILE", default_value = "local")]
    pub(crate) profile: ProfileName,
    /// A repository instead of the profile's: its URL, or a path (bare or a checkout)
    #[arg(long, value_name = "URL|PATH")]
    pub(crate) repository: Option<String>,
    /// The environment variable that holds a token for --repository
    #[arg(long, value_name = "VARIABLE", requires = "repository")]
    pub(crate) token_from: Option<String>,
    /// The branch of --repository
    #[arg(
        long,
        value_name = "BRANCH",
        default_value = "main",
        requires = "repository"
    )]
    pub(crate) branch: String,
    /// First line of the commit message
    #[arg(long, short = 'm', value_name = "MESSAGE")]
    pub(crate) message: Option<String>,
    /// The word that pipeline.yaml names for an environment with `delivery: manual`
    #[arg(long, value_name = "WORD")]
    pub(crate) confirm: Option<String>,
    /// Takes tags of other forms than Shipline makes
    #[arg(long)]
    pub(crate) any_tag: bool,
    /// Does not ask the profile's registry whether the images exist
    #[arg(long)]
    pub(crate) offline: bool,
    /// Shows what would change and writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `scan …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ScanCommand {
    /// Looks into images of this clone's store, as the stage `image-scan` does
    Image(ScanImageArgs),
    /// Lists the packages of an image
    Sbom(ScanSbomArgs),
}

/// `scan image`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} scan image                                    all images of pipeline.yaml's components
  {program} scan image frontend@staging                   one, as `store show` names it
  {program} scan image --format sarif > images.sarif      for other tools
  {program} scan image --write-baseline scans/known.json  takes what is there as known; then write
      `scans: { image: { baseline: scans/known.json } }` into pipeline.yaml")]
pub(crate) struct ScanImageArgs {
    /// Images of the store; the default is all of them
    #[arg(value_name = "IMAGE")]
    pub(crate) targets: Vec<String>,
    /// The profile whose rules hold where nothing can be told
    #[arg(long, value_name = "PROFILE", default_value = "local")]
    pub(crate) profile: ProfileName,
    /// What is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ScanFormat,
    /// Writes all that no exception covers into this file, instead of showing it
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub(crate) write_baseline: Option<PathBuf>,
}

/// How findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ScanFormat {
    /// SARIF 2.1.0 in JSON
    Sarif,
    /// For people
    Table,
}

/// `scan sbom`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} scan sbom frontend@staging             an image as `store show` names it
  {program} scan sbom sha256:…                     one of the local registry, by its whole digest
  {program} scan sbom frontend:staging-1a2b3c4d-20251215123456
      the same by its name and tag
  {program} scan sbom ./layout:NAME                one of an OCI image layout
  {program} scan sbom ./image.tar                  what `docker save` or skopeo wrote
  {program} scan sbom api --output api.cdx.json    the document as the registry gets it")]
pub(crate) struct ScanSbomArgs {
    /// An image of the store or of the local registry, or the path of a layout or an archive
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// What is written; the default is a table on a terminal and CycloneDX elsewhere
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<SbomFormat>,
    /// Writes to this file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// How packages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SbomFormat {
    /// CycloneDX 1.5 in JSON
    Cyclonedx,
    /// For people
    Table,
}

/// `runs …`.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Lists past runs, the newest first
    List,
    /// Shows a past run again
    #[command(after_help = "Examples:
  {program} runs show                          the last one
  {program} runs show 20251215123456-1a2b3c    one of `runs list`
  {program} runs show --json                   its events, one JSON object a line")]
    Show {
        /// The run, its number in `runs list`, or `last`
        #[arg(default_value = "last")]
        run: String,
        /// In which format its events are written
        #[command(flatten)]
        events: EventArgs,
    },
}

/// `lock …`.
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Locks the base images of components with `image.lock: true` as their registries have them now
    Update(LockUpdateArgs),
}

/// `lock update`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} lock update                           all of them; shows what moves
  {program} lock update user_service              one component's; the others stay
  {program} lock update --check                   for CI: fails where the lock would change
  {program} lock update --profile ci --dry-run    by the mirrors of a profile; writes nothing")]
pub(crate) struct LockUpdateArgs {
    /// The components whose base images are resolved anew; the default is all that lock them
    #[arg(value_name = "COMPONENT")]
    pub(crate) components: Vec<ComponentName>,
    /// Whose mirrors are used
    #[arg(long, value_name = "PROFILE", default_value = "local")]
    pub(crate) profile: ProfileName,
    /// Shows what would change and writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Writes nothing, and exits with 1 where something would change
    #[arg(long)]
    pub(crate) check: bool,
}

/// `store …`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Shows what the store holds, and what of it nothing needs any more
    Show,
    /// Removes images, layers and records that no run needs any more
    Gc(StoreGcArgs),
}

/// `store gc`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  {program} store gc                              what nothing needs and nobody used for 14 days
  {program} store gc --older-than 0s --dry-run    what would go if age did not count
  {program} store gc --keep-runs 10               all but the last ten run records too")]
pub(crate) struct StoreGcArgs {
    /// What was used more recently than this stays, needed or not: 12h, 14d
    #[arg(long, value_name = "AGE", default_value = "14d", value_parser = crate::age::parse)]
    pub(crate) older_than: std::time::Duration,
    /// Keeps the records of the last N runs and removes older ones; without it none are removed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) keep_runs: Option<u16>,
    /// Shows what would go and removes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fails at once where a run holds the state folder, instead of waiting for it
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints pipeline.yaml with every default filled in
    Show,
}
