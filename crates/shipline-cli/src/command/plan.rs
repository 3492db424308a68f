//! `plan` and `explain`: what would run, and why. They change nothing.

use shipline_engine::cache::Cache;
use shipline_engine::error::ErrorClass;
use shipline_engine::lock;
use shipline_model::plan::Plan;

use crate::args::{ExplainArgs, PlanArgs, Selection};
use crate::error::CommandError;
use crate::fingerprint::Fingerprints;
use crate::locking;
use crate::planning::{self, Facts, Judging};
use crate::secrets;
use crate::session::Session;
use crate::settings::Settings;
use crate::shown::print_page;
use crate::wiring;

/// `plan NAME`.
pub(crate) fn plan(args: &PlanArgs, settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    let plan = make(&session, &args.selection, settings)?;
    print_page(&shipline_model::plan::render(&plan), settings.page)
}

/// `explain NAME COMPONENT`.
pub(crate) fn explain(args: &ExplainArgs, settings: &Settings) -> Result<u8, CommandError> {
    let session = Session::open(settings)?;
    // The others are not looked at: what they depend on may be much.
    let selection = Selection {
        components: vec![args.component.clone()],
        ..args.selection.clone()
    };
    let plan = make(&session, &selection, settings)?;
    print_page(
        &shipline_model::plan::explain(&plan, &args.component),
        settings.page,
    )
}

/// The plan of a selection, as it may be shown. Nothing is run, made or published; what is remembered of tools is all that may be written.
pub(super) fn make(
    session: &Session,
    selection: &Selection,
    settings: &Settings,
) -> Result<Plan, CommandError> {
    // Before anything is in it, so that git never sees it. A clone that cannot be written is planned all the same.
    match lock::prepare_state(session.state()) {
        // What stands in the way there would be in the way of a run as well.
        Err(error) if error.class == ErrorClass::Invalid => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let waiting = wiring::waiting();
    let selected = planning::select(session, selection)?;
    let source = wiring::source(session, settings, &waiting)?;
    let gitops = wiring::gitops_of(session, &selected, settings)?;
    let registry = wiring::registry_of(session, &selected, settings)?;
    let store = wiring::store_as_it_is(session, settings);
    let cache = Cache::new(session.state());
    let fingerprints = Fingerprints::without_writing(session.state())?;
    let pins = locking::pins(&selected.components, source.as_ref())?;
    let facts = Facts {
        source: source.as_ref(),
        gitops: gitops.as_ref(),
        store: &store,
        cache: &cache,
        fingerprints: &fingerprints,
        pins: &pins,
        registry: registry.as_ref(),
        waiting: &waiting,
        judging: Judging::IfItIsAtHand,
    };
    let plan = planning::plan(session, selection, &selected, settings, &facts)?;
    Ok(secrets::redactor().mask_plan(plan))
}
