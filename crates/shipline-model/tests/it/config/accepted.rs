//! Files that are right: what they mean, what is filled in, what is said of them all the same.

use std::time::Duration;

use shipline_model::config::{self, Config, Delivery, GitopsSpec, RegistrySpec, Variants};
use shipline_model::finding::{FindingKind, Severity};
use shipline_model::name::ComponentName;
use shipline_model::value::Variables;
use shipline_model::yaml::Route;

use super::{BASE, GOOD, load};

/// The least that is a configuration.
const LEAST: &str = "\
version: 1
project: p
environments: { staging: {} }
components: { user_service: { path: services/user_service, image: {} } }
pipelines: { p: { components: [user_service], stages: { build: { kind: build } } } }
";

const NONE: [&str; 0] = [];

/// The same without what differs between two texts of one meaning.
fn without_lines(mut config: Config) -> Config {
    for ignore in &mut config.scans.ignore {
        ignore.line = 0;
    }
    config
}

#[test]
fn line_ends_and_a_byte_order_mark_mean_nothing() {
    let config = load(BASE);
    for text in [
        BASE.replace('\n', "\r\n"),
        format!("\u{feff}{BASE}"),
        format!("\u{feff}{}", BASE.replace('\n', "\r\n")),
    ] {
        assert_eq!(without_lines(load(&text)), without_lines(config.clone()));
    }
}

#[test]
fn a_shown_configuration_loads_as_an_equal_one() {
    for text in [GOOD, BASE, LEAST] {
        let config = load(text);
        let shown = config::show(&config);
        assert_eq!(without_lines(load(&shown)), without_lines(config));
        assert_eq!(config::show(&load(&shown)), shown);
    }
    insta::assert_snapshot!("shown", config::show(&load(GOOD)));
}

#[test]
fn this_machine_may_be_spoken_to_without_encryption() {
    for url in [
        "http://localhost:4566",
        "http://127.8.9.1:5000/",
        "http://[::1]:5000",
        "http://aws.localhost",
        "https://aws.lab",
        "${env.AWS}",
    ] {
        let ecr = "region: us-east-1";
        let named = format!("{ecr}, endpoint: \"{url}\", registry_endpoint: \"{url}\"");
        load(&BASE.replace(ecr, &named));
        let git = "https://github.com/aurora-glam/gitops.git";
        load(&BASE.replace(git, &format!("\"{url}\"")));
    }
}

#[test]
fn everything_that_may_be_left_out_has_a_default() {
    let config = load(LEAST);
    assert_eq!(config.environments["staging"].delivery, Delivery::Automatic);
    assert_eq!(
        config.scans.policy(FindingKind::Leak).fail_on,
        Severity::High
    );

    let local = &config.profiles["local"];
    let RegistrySpec::Layout { path } = &local.registry else {
        panic!("no layout: {local:?}");
    };
    assert_eq!(path.as_str(), ".shipline/registry");
    let Some(GitopsSpec::Local { path, seed, branch }) = &local.gitops else {
        panic!("not local: {local:?}");
    };
    assert_eq!(
        (path.as_str(), seed, branch.as_str()),
        (".shipline/gitops.git", &None, "main")
    );

    let component = &config.components["user_service"];
    assert_eq!(component.repository.as_str(), "user_service");
    assert_eq!(component.folder, "user_service");
    assert_eq!(component.kubernetes, "user-service");
    assert_eq!(component.timeout, Duration::from_secs(1800));
    assert!(component.tools.is_empty());
    let image = component.image.as_ref().unwrap();
    assert_eq!(
        image.dockerfile.as_str(),
        "services/user_service/Dockerfile"
    );
    assert_eq!(image.context.as_str(), "services/user_service");
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(image.variants, Variants::One);
    assert_eq!(config.pipelines["p"].branch, "main");
}

#[test]
fn paths_and_lines_are_those_of_the_repository() {
    let config = load(GOOD);
    let frontend = &config.components["frontend"];
    let image = frontend.image.as_ref().unwrap();
    assert_eq!(
        image.dockerfile.as_str(),
        "examples/aurora-glam/frontend/docker/Dockerfile"
    );
    assert_eq!(image.context.as_str(), "examples/aurora-glam");
    let caches: Vec<&str> = config.components["user_service"]
        .caches
        .iter()
        .map(|cache| cache.as_str())
        .collect();
    assert_eq!(caches, ["examples/aurora-glam/services/target"]);
    assert_eq!(config.components["user_service"].tools, ["cargo"]);

    let ignore = &config.scans.ignore[0];
    let line = GOOD.lines().nth(ignore.line - 1).unwrap();
    assert!(line.contains("rule: environment-leak"), "{line}");
}

#[test]
fn a_profile_local_that_says_less_than_all_keeps_the_rest() {
    let config = load(&format!(
        "{LEAST}profiles: {{ local: {{ gitops: {{ seed: seed }} }} }}\n"
    ));
    let Some(GitopsSpec::Local { path, seed, .. }) = &config.profiles["local"].gitops else {
        panic!("not local");
    };
    assert_eq!(path.as_str(), ".shipline/gitops.git");
    assert_eq!(seed.as_ref().unwrap().as_str(), "seed");
}

#[test]
fn aliases_stand_for_what_they_name() {
    let text = BASE
        .replace("setup: npm ci", "setup: &setup npm ci")
        .replace(
            "    test: cargo test",
            "    setup: *setup\n    test: cargo test",
        );
    assert_eq!(
        load(&text).components["user_service"].setup.as_deref(),
        Some("npm ci")
    );
}

#[test]
fn a_secret_in_an_arg_that_is_not_public_warns() {
    let check = |arg: &str, expected: &[&str]| {
        let config = load(&BASE.replace("NEXT_PUBLIC_API: \"${env.STAGING_API}\"", arg));
        let found: Vec<String> = config::warnings(&config)
            .iter()
            .map(ToString::to_string)
            .filter(|warning| warning.contains("secret"))
            .collect();
        assert_eq!(found, expected, "{arg}");
    };
    check("NPM_TOKEN: \"${env.NPM_TOKEN}\"", &[]);
    check("NEXT_PUBLIC_KEY: \"${secret.KEY}\"", &[]);
    check("VITE_KEY: \"${secret.KEY}\"", &[]);
    check(
        "NPM_TOKEN: \"${secret.NPM_TOKEN}\"",
        &[
            "components.frontend.image.variants.staging.args.NPM_TOKEN: the secret of the build arg \
           `NPM_TOKEN` stays readable in the image's history",
        ],
    );
}

#[test]
fn an_arg_that_only_a_sibling_has_warns() {
    let check = |shared: &str, staging: &str, production: &str, expected: &[&str]| {
        let config = load(&format!(
            "version: 1\nproject: p\nenvironments:\n  staging: {{ url: https://s.example, delivery: automatic }}\n  production: {{ url: https://p.example, delivery: manual, promotes: staging }}\ncomponents:\n  web:\n    path: web\n    image:\n      args: {{ {shared} }}\n      variants:\n        staging: {{ tag_prefix: s-, args: {{ {staging} }} }}\n        production: {{ args: {{ {production} }} }}\npipelines:\n  p: {{ components: [web], stages: {{ build: {{ kind: build }} }} }}\n"
        ));
        let found: Vec<String> = config::warnings(&config)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{shared} {staging} {production}");
    };
    let lacks = "components.web.image.variants.staging.args: `staging` has no arg `B`, and its sibling `production` has one";
    check("", "A: a, B: b", "A: c, B: d", &[]);
    check("", "A: a", "A: c, B: d", &[lacks]);
    check("B: x", "A: a", "A: c, B: d", &[]);
    check("", "", "", &[]);
}

#[test]
fn all_variables_that_are_missing_are_named_with_their_places() {
    let config = load(GOOD);
    let check = |profile: &str, components: &[&str], set: &[&str], expected: &[&str]| {
        let names: Vec<ComponentName> = components
            .iter()
            .map(|name| ComponentName::new(*name).unwrap())
            .collect();
        let variables = Variables::new(set.iter().map(|name| (name.to_string(), "x".into())));
        let missing: Vec<String> = config
            .missing_variables(
                &config.pipelines["frontend"],
                &config.profiles[profile],
                &names,
                &variables,
            )
            .into_iter()
            .map(|missing| {
                let routes: Vec<String> = missing.routes.iter().map(ToString::to_string).collect();
                format!("{}: {}", missing.variable.written(), routes.join(" "))
            })
            .collect();
        assert_eq!(missing, expected);
    };
    let token = "${secret.NPM_TOKEN}: components.frontend.environment.NPM_TOKEN \
                 components.frontend.image.secrets.npm";
    let base = "${env.PROD_USER_API_BASE}: \
                components.frontend.image.variants.production.args.NEXT_PUBLIC_USER_API_BASE";
    check("local", &["user_service"], &[], &[]);
    check("local", &["frontend"], &[], &[base, token]);
    check("local", &["frontend"], &["PROD_USER_API_BASE"], &[token]);
    check(
        "ci",
        &[],
        &[],
        &[
            "${env.ECR_CA}: profiles.ci.registry.ecr.ca",
            "${secret.GITOPS_TOKEN}: profiles.ci.gitops.token",
        ],
    );
}

#[test]
fn a_pipeline_needs_the_variables_of_what_it_works_with() {
    let missing = |stages: &str| -> Vec<String> {
        let pipeline = format!(
            "pipelines: {{ q: {{ components: [user_service], stages: {{ {stages} }} }}, p:"
        );
        let config = load(&format!(
            "{}profiles:\n  ci:\n    registry: {{ url: \"${{env.REGISTRY}}\" }}\n    gitops: {{ url: https://git.lab/x.git, token: \"${{secret.TOKEN}}\" }}\n",
            LEAST.replace("pipelines: { p:", &pipeline)
        ));
        let missing = config.missing_variables(
            &config.pipelines["q"],
            &config.profiles["ci"],
            &[],
            &Variables::new([]),
        );
        let written = missing.iter().map(|missing| missing.variable.written());
        written.collect()
    };
    assert_eq!(missing("t: { kind: test }"), NONE);
    let build = "b: { kind: build }";
    assert_eq!(missing(build), ["${env.REGISTRY}"]);
    let push = format!("{build}, p: {{ kind: push, needs: [b] }}");
    assert_eq!(missing(&push), ["${env.REGISTRY}"]);
    let all = format!("{push}, g: {{ kind: gitops, needs: [p], environment: staging }}");
    assert_eq!(missing(&all), ["${env.REGISTRY}", "${secret.TOKEN}"]);
}

#[test]
fn a_repository_that_only_deploys_has_no_pipelines() {
    let text = LEAST.lines().filter(|line| !line.starts_with("pipelines"));
    let text = text.collect::<Vec<_>>().join("\n") + "\n";
    let config = load(&text);
    assert!(config.pipelines.is_empty());
    let shown = config::show(&config);
    assert!(!shown.contains("pipelines"), "{shown}");
    assert_eq!(without_lines(load(&shown)), without_lines(config));
}

#[test]
fn a_profile_that_deploys_nothing_names_no_gitops_repository() {
    let config = load(&format!(
        "{LEAST}profiles: {{ ci: {{ registry: {{ layout: images }} }} }}\n"
    ));
    assert_eq!(config.profiles["ci"].gitops, None);
    assert_eq!(
        without_lines(load(&config::show(&config))),
        without_lines(config)
    );
}

#[test]
fn a_push_without_a_scan_before_it_warns() {
    let warnings = |stages: &str| -> Vec<String> {
        let config = load(&LEAST.replace("build: { kind: build }", stages));
        let warnings = config::warnings(&config);
        warnings.iter().map(ToString::to_string).collect()
    };
    let push = "b: { kind: build }, p: { kind: push, needs: [b] }";
    assert_eq!(
        warnings(push),
        [
            "pipelines.p.stages.p: its images are published unscanned: a URL of another environment in them is found by nobody"
        ]
    );
    assert_eq!(warnings("b: { kind: build }"), NONE);
    assert_eq!(
        warnings(
            "b: { kind: build }, s: { kind: image-scan, needs: [b] }, p: { kind: push, needs: [s] }"
        ),
        NONE
    );
}

#[test]
fn an_objection_stands_at_its_place() {
    let objection = config::Objection {
        route: Route::root()
            .key("components")
            .key("user_service")
            .key("path"),
        message: "is not there".to_owned(),
        label: "gone",
        help: "write another".to_owned(),
    };
    let errors = config::objections("pipeline.yaml", LEAST, vec![objection]);
    let [problem] = errors.problems() else {
        panic!("{errors}");
    };
    assert_eq!(&LEAST[problem.span.clone()], "services/user_service");
    assert_eq!(
        problem.to_string(),
        "components.user_service.path: is not there"
    );
}

#[test]
fn the_committed_schema_is_in_step() {
    let committed = include_str!("../../../../../pipeline.schema.json");
    assert!(
        committed == config::schema(),
        "pipeline.schema.json is not that of this version: `cargo xtask schema > pipeline.schema.json`"
    );
}

#[test]
fn the_sample_platform_is_right() {
    let config = load(include_str!("../../../../../pipeline.yaml"));
    assert_eq!(config::warnings(&config), []);
    assert_eq!(
        without_lines(load(&config::show(&config))),
        without_lines(config)
    );
}

#[test]
fn components_may_share_all_but_their_place() {
    let text = |components: &str| {
        format!(
            "version: 1\nproject: x\nenvironments: {{ staging: {{}} }}\ncomponents:\n{components}pipelines: {{ d: {{ components: [web], stages: {{ detect: {{ kind: detect }} }} }} }}\n"
        )
    };
    let load = |components: &str| config::load("pipeline.yaml", &text(components));
    for good in [
        "  web: {}\n  worker: { folder: web, repository: web }\n",
        "  web: { kubernetes: app }\n  api: { kubernetes: app }\n",
        "  web: { folder: . }\n  api: { folder: . }\n",
        "  web: { path: a }\n  worker: { folder: web, repository: web }\n",
        "  web: { containers: all }\n",
    ] {
        assert!(load(good).is_ok(), "{good}");
    }
    for bad in [
        "  web: {}\n  worker: { folder: web, kubernetes: web }\n",
        "  web: { path: a }\n  worker: { path: b, repository: web }\n",
        "  web: { containers: all }\n  worker: { folder: web, repository: web }\n",
    ] {
        assert!(load(bad).is_err(), "{bad}");
    }
}

#[test]
fn git_is_spoken_over_https_and_ssh() {
    let with = |url: &str, more: &str| {
        let written = format!("{url:?}{more}");
        GOOD.replace("\"file:///srv/git/salon-gitops.git\"", &written)
    };
    for (url, more) in [
        ("./a:b.git", ""),
        ("ssh://git@h:22/a.git", ""),
        (
            "git@h:a.git",
            ", key: \"${secret.KEY}\", known_hosts: h ssh-ed25519 AAAA",
        ),
    ] {
        let checked = config::load("pipeline.yaml", &with(url, more));
        assert!(checked.is_ok(), "{url}: {checked:?}");
    }
    for (url, more, part) in [
        ("git+ssh://h/a.git", "", "no scheme"),
        ("ssh://git:x@h/a.git", "", "login"),
        ("git@h:a.git", ", token: \"${secret.T}\"", "SSH"),
        ("https://h/a.git", ", key: \"${secret.K}\"", "HTTPS"),
        ("ssh://h/a.git", ", key: plain", "key"),
    ] {
        let errors = config::load("pipeline.yaml", &with(url, more)).unwrap_err();
        assert!(format!("{errors:?}").contains(part), "{url}: {errors:?}");
    }
}

#[test]
fn places_in_the_gitops_repository_are_declared() {
    let load = |lines: &str, gitops: &str, environment: &str| {
        let text = format!(
            "version: 1\nproject: x\nenvironments:\n  staging: {{ {environment} }}\n  production: {{ delivery: manual, promotes: staging }}\nprofiles:\n  ci:\n    registry: {{ url: r.example }}\n    gitops: {{ url: \"https://h/a.git\"{gitops} }}\ncomponents:\n{lines}"
        );
        config::load("pipeline.yaml", &text)
    };
    let places = |config: &config::Config, environment: &str| {
        let profile = config.profiles.values().find(|it| it.name.as_str() == "ci");
        let component = config.components.values().next().unwrap();
        let environment = shipline_model::name::EnvironmentName::new(environment).unwrap();
        config.manifests(profile, &environment, component)
    };
    let plain = load("  web: {}\n", "", "").unwrap();
    assert_eq!(places(&plain, "staging"), ["staging/web"]);
    let pattern = ", manifests: \"apps/{component}/overlays/{environment}\"";
    let of_profile = load("  web: { folder: shop/web }\n", pattern, "").unwrap();
    assert_eq!(
        places(&of_profile, "staging"),
        ["apps/shop/web/overlays/staging"]
    );
    let of_environment = load(
        "  web: {}\n",
        pattern,
        "manifests: [k8s, \"jobs/{component}\"]",
    )
    .unwrap();
    assert_eq!(places(&of_environment, "staging"), ["k8s", "jobs/web"]);
    assert_eq!(
        places(&of_environment, "production"),
        ["apps/web/overlays/production"]
    );
    let own = load("  web: { manifests: \"charts/web/values-{environment}.yaml\", value: image.tag, pin: both, kustomize_images: create, containers: [web, migrate], workload: w, container: c }\n", pattern, "").unwrap();
    assert_eq!(places(&own, "staging"), ["charts/web/values-staging.yaml"]);
    let flat = load("  web: { folder: . }\n", "", "").unwrap();
    assert_eq!(places(&flat, "staging"), ["staging"]);
    for text in [own, of_environment] {
        let shown = config::show(&text);
        assert_eq!(
            config::load("pipeline.yaml", &shown).unwrap(),
            text,
            "{shown}"
        );
    }
    let variants = "image: { variants: { staging: { tag_prefix: staging- }, production: {} } }";
    let named = load(
        &format!(
            "  web: {{ path: a, {variants}, repositories: {{ production: web-production }} }}\n"
        ),
        "",
        "",
    )
    .unwrap();
    let web = named.components.values().next().unwrap();
    let production = shipline_model::name::EnvironmentName::new("production").unwrap();
    assert_eq!(web.repository_in(&production).as_str(), "web-production");
    for (lines, part) in [
        (
            "  web: { manifests: \"{tag}/web\" }\n",
            "holds something else",
        ),
        ("  web: { manifests: /web }\n", "absolute"),
        ("  web: { manifests: [] }\n", "names no folder"),
        ("  web: { containers: [] }\n", "names no container"),
        ("  web: { containers: Web }\n", "no name of a container"),
        ("  web: { value: \"image..tag\" }\n", "key without a name"),
        ("  web: { pin: hash }\n", "unknown"),
        ("  web: { repositories: { test: x } }\n", "no environment"),
        ("  web: { repositories: { staging: X } }\n", "repositories"),
        (
            "  web: { path: a, image: {}, repositories: { staging: x } }\n",
            "one image for all",
        ),
    ] {
        let errors = load(lines, "", "").unwrap_err();
        assert!(format!("{errors:?}").contains(part), "{lines}: {errors:?}");
    }
}
