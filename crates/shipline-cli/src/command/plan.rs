//! `plan` and `explain`: what would run, and why. They change nothing.

use shipline_engine::cache::Cache;
use shipline_model::plan::Plan;

use crate::args::{ExplainArgs, PlanArgs, Selection};
use crate::command::print;
use crate::error::CommandError;
use crate::fingerprint::Fingerprints;
use crate::locking;
use crate::planning::{self, Facts};
use crate::session::Session;
use crate::settings::Settings;
use crate::wiring;

/// `plan NAME`.
pub(crate) fn plan(args: &PlanArgs, settings: &Settings) -> Result<u8, CommandError> {
    print(&shipline_model::plan::render(&make(
        &args.selection,
        settings,
    )?))
}

/// `explain NAME COMPONENT`.
pub(crate) fn explain(args: &ExplainArgs, settings: &Settings) -> Result<u8, CommandError> {
    let plan = make(&args.selection, settings)?;
    if !plan
        .components
        .iter()
        .any(|component| component.name == args.component)
    {
        let known: Vec<&str> = plan
            .components
            .iter()
            .map(|component| component.name.as_str())
            .collect();
        return Err(CommandError::usage(format!(
            "pipeline `{}` has no component `{}`",
            plan.pipeline, args.component
        ))
        .hint(format!("known: {}", known.join(", "))));
    }
    print(&shipline_model::plan::explain(&plan, &args.component))
}

fn make(selection: &Selection, settings: &Settings) -> Result<Plan, CommandError> {
    let session = Session::open(settings)?;
    let source = wiring::source(&session, settings)?;
    let gitops = wiring::gitops(&session, &selection.profile, settings)?;
    let store = wiring::store(&session, settings)?;
    let cache = Cache::new(&session.state());
    let fingerprints = Fingerprints::without_writing(&session.state())?;
    let selected = planning::select(&session, selection)?;
    let pins = locking::pins(&selected.components, source.as_ref())?;
    let facts = Facts {
        source: source.as_ref(),
        gitops: gitops.as_ref(),
        store: store.as_ref(),
        cache: &cache,
        fingerprints: &fingerprints,
        pins: &pins,
    };
    planning::plan(&session, selection, settings, &facts)
}
