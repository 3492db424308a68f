//! `pipeline NAME`: plan and run.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use shipline_engine::cache::Cache;
use shipline_engine::lock::Wait;
use shipline_engine::run::{self, Backends, Graces, RunOptions, ScanCache};
use shipline_model::name::RunId;
use shipline_model::plan::{Limits, OnFailure, Plan};
use shipline_model::tag::TagInstant;
use shipline_report::SarifWriter;
use shipline_scan::sbom::SbomWriter;

use crate::again::{Again, Program};
use crate::args::PipelineArgs;
use crate::command::plan;
use crate::error::{CommandError, ErrorKind};
use crate::exit;
use crate::fingerprint::Fingerprints;
use crate::locking;
use crate::output::{self, Data};
use crate::planning::{self, Asking, Facts, Judging, Selected};
use crate::secrets;
use crate::session::{self, Session};
use crate::settings::Settings;
use crate::shown::{print_error, print_page};
use crate::signals;
use crate::waiting;
use crate::wiring;

/// Runs the command.
pub(crate) fn run(
    args: &PipelineArgs,
    settings: &Settings,
    program: &Program,
) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let selected = planning::select(&session, &args.selection)?;
    if args.dry_run {
        let plan = plan::make(&session, &args.selection, settings)?;
        return print_page(&shipline_model::plan::render(&plan), settings.page);
    }
    let command = secrets::mask(program.typed());
    let wait = if args.no_wait {
        Wait::Never
    } else {
        Wait::ForIt
    };
    let _lock = session::lock(&session, &command, wait, settings)?;
    let prepared = prepare(&session, args, &selected, settings)?;
    let runtime = session.runtime()?;
    let options = options(&session, args, settings, program, &command)?;
    let again = Again::of(&prepared.plan, program);
    let signposts = again.signposts(session.state(), settings);
    let mut reporters = vec![output::live(settings, signposts)];
    let data = Data::default();
    if let Some(format) = args.events.format() {
        reporters.push(output::data(format, &data));
    }
    let end = runtime.block_on(async {
        let signals = signals::listen()?;
        Ok::<_, CommandError>(
            run::run(
                prepared.plan,
                &session.config,
                prepared.backends,
                options,
                reporters,
                signals,
            )
            .await?,
        )
    })?;
    for note in &end.notes {
        print_error(&format!("note: {note}\n"));
    }
    if let Some(bug) = &end.bug {
        print_error(&format!("error: this is a bug of Shipline: {bug}\n"));
        return Ok(exit::BUG);
    }
    match exit::of_verdict(end.summary.verdict) {
        // Nobody may take half of the events for all of them.
        exit::PASSED => data.check().map(|()| exit::PASSED),
        code => Ok(code),
    }
}

/// A plan, and what carries it out.
struct Prepared {
    plan: Plan,
    backends: Backends,
}

fn prepare(
    session: &Session,
    args: &PipelineArgs,
    selected: &Selected<'_>,
    settings: &Settings,
) -> Result<Prepared, CommandError> {
    let selection = &args.selection;
    let waiting = wiring::waiting();
    let source = wiring::source(session, settings, &waiting)?;
    let store = wiring::store(session, settings)?;
    let gitops = wiring::gitops_of(session, selected, settings)?;
    // In a pull request nothing is delivered there.
    if Asking::of(selected.pipeline) == Asking::AsItMust && !session.trust.is_pull_request() {
        for note in waiting::watch(gitops.as_ref(), || gitops.prepare())? {
            print_error(&format!("note: {note}\n"));
        }
    }
    let registry = wiring::registry_of(session, selected, settings)?;
    let cache = Cache::new(session.state());
    let fingerprints = Fingerprints::of_clone(session.state())?;
    let pins = locking::pins(&selected.components, source.as_ref())?;
    let facts = Facts {
        source: source.as_ref(),
        gitops: gitops.as_ref(),
        store: store.as_ref(),
        cache: &cache,
        fingerprints: &fingerprints,
        pins: &pins,
        registry: registry.as_ref(),
        waiting: &waiting,
        judging: Judging::Always,
    };
    let plan = planning::plan(session, selection, selected, settings, &facts)?;
    let backends = Backends {
        source,
        store,
        builder: wiring::builder(session, selected.profile, pins, settings)?,
        registry,
        reader: wiring::reader(session)?,
        scanners: shipline_scan::scanners(&session.config)?,
        scan_writer: Arc::new(SarifWriter),
        cataloguer: Arc::new(SbomWriter),
        gitops,
    };
    Ok(Prepared { plan, backends })
}

fn options(
    session: &Session,
    args: &PipelineArgs,
    settings: &Settings,
    program: &Program,
    command: &str,
) -> Result<RunOptions, CommandError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, usize::from);
    let mut trailers = Vec::new();
    trailers.extend(
        settings
            .run_url
            .iter()
            .map(|url| ("Run-Url".to_owned(), url.clone())),
    );
    Ok(RunOptions {
        run: run_id(settings)?,
        started_ms: settings.now.saturating_mul(1000),
        state: session.state().clone(),
        command: command.to_owned(),
        argv: program.words(),
        selection: args.selection.recorded(),
        limits: Limits {
            workspace: jobs,
            cpu: jobs,
            network: 4,
        },
        on_failure: if args.keep_going {
            OnFailure::KeepGoing
        } else {
            OnFailure::Stop
        },
        faults: settings.faults.clone(),
        redactor: secrets::redactor(),
        environment: settings.command_environment.clone(),
        variables: settings.variables.clone(),
        program: settings.program.clone(),
        graces: Graces::default(),
        log_limit: args.log_limit,
        author: settings
            .actor
            .as_ref()
            .map(|actor| format!("{actor} <{actor}@users.noreply.github.com>")),
        trailers,
        scan_cache: if args.selection.no_cache {
            ScanCache::Ignore
        } else {
            ScanCache::Use
        },
    })
}

/// Unique in this clone: the instant, its millisecond (so that runs of one second sort by time), and what no other process
/// shares.
fn run_id(settings: &Settings) -> Result<RunId, CommandError> {
    let bug = |error: String| {
        CommandError::new(ErrorKind::Bug, format!("no run ID can be made: {error}"))
    };
    let instant = TagInstant::from_unix(settings.now).map_err(|error| bug(error.to_string()))?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let hash = hex::encode(Sha256::digest(format!(
        "{} {}",
        now.as_nanos(),
        std::process::id()
    )));
    RunId::new(format!(
        "{}-{:03x}{}",
        instant.as_str(),
        settings.now_millis,
        &hash[..3]
    ))
    .map_err(|error| bug(error.to_string()))
}
