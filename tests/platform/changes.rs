//! What a change of the sample costs: what runs, and which layers are made anew.

use std::collections::BTreeMap;

use shipline_testkit::tiny;
use shipline_testkit::world::World;

use super::SERVICES;

/// What staging runs of each service.
fn deployed(world: &World) -> BTreeMap<&'static str, String> {
    let services = SERVICES.iter();
    services
        .map(|(service, _)| (*service, tiny::declared_tag(world, "staging", service)))
        .collect()
}

pub(super) fn a_change_in_one_service_runs_that_service_alone(world: &World) {
    let changed = "reports_analytics";
    let source = format!("examples/aurora-glam/services/{changed}/src/reports.rs");
    world.replace(&source, "\"day is missing\"", "\"the day is missing\"");
    let head = world.commit("Say which day");
    let before = deployed(world);
    let run = tiny::green(world, &["pipeline", "backend"]);
    for (service, tag) in deployed(world) {
        let other = service != changed;
        assert_eq!(tag == before[service], other, "{service}: {tag}");
        assert_eq!(tag.starts_with(&head[..8]), !other, "{service}: {tag}");
        let task = format!("build/{service}");
        assert_eq!(run.stderr.contains(&task), !other, "{}", run.stderr);
    }
}

pub(super) fn a_change_in_the_shared_crate_runs_all_six(world: &World) {
    let source = "examples/aurora-glam/services/common/src/lib.rs";
    let text = world.read(source);
    world.write(source, &format!("{text}\n// One more line.\n"));
    world.commit("Change what the services share");
    for (service, _) in SERVICES {
        let explained = tiny::green(world, &["explain", "backend", service]).stdout;
        for wanted in [source, "examples/aurora-glam/services/common"] {
            assert!(explained.contains(wanted), "{wanted}: {explained}");
        }
    }
    let plan = tiny::green(world, &["plan", "backend"]).stdout;
    for (service, _) in SERVICES {
        assert!(plan.contains(&format!("build/{service}")), "{plan}");
    }
    let frontend = tiny::green(world, &["plan", "frontend"]).stdout;
    assert!(!frontend.contains("build/frontend"), "{frontend}");
    world.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
}

pub(super) fn a_changed_page_reuses_every_other_layer(world: &World) {
    let before = frontend_layers(world);
    world.replace(
        "examples/aurora-glam/frontend/app/page.tsx",
        "Salon &amp; colour studio",
        "Salon and colour studio",
    );
    world.commit("Change the front page");
    tiny::green(world, &["pipeline", "frontend"]);
    let after = frontend_layers(world);
    for (variant, layers) in &after {
        let old = &before[variant];
        assert_eq!(layers.len(), old.len(), "{variant}");
        let changed = layers.iter().zip(old).filter(|(new, old)| new != old);
        assert_eq!(changed.count(), 1, "{variant}: {old:?} {layers:?}");
    }
}

/// The layers of the frontend that staging runs and of its twin, by the tag's prefix.
fn frontend_layers(world: &World) -> BTreeMap<&'static str, Vec<String>> {
    let tag = tiny::declared_tag(world, "staging", "frontend");
    let twin = tag.strip_prefix("staging-").unwrap();
    let tags: BTreeMap<String, String> = tiny::tags(world).into_iter().collect();
    let layers = |tag: &str| tiny::layers(world, &tags[&format!("frontend:{tag}")]);
    BTreeMap::from([("staging-", layers(&tag)), ("", layers(twin))])
}
