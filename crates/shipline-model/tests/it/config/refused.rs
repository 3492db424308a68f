//! Files that are wrong, and what is said of them.

use shipline_model::config;

use super::{BASE, drawn};

/// Replaces parts of the base file (each is there once) and snapshots what is said of the result.
fn check(name: &str, changes: &[(&str, &str)]) {
    let mut text = BASE.to_owned();
    for (from, to) in changes {
        assert_eq!(
            text.matches(from).count(),
            1,
            "{name}: {from:?} in the base"
        );
        text = text.replace(from, to);
    }
    check_text(name, &text);
}

fn check_text(name: &str, text: &str) {
    let errors = config::load("pipeline.yaml", text)
        .err()
        .unwrap_or_else(|| panic!("{name} was accepted"));
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!(name, drawn(&errors));
    });
}

#[test]
fn the_base_itself_is_right() {
    super::load(BASE);
}

#[test]
fn texts_that_are_no_yaml() {
    check(
        "syntax",
        &[(
            "  staging:\n    api_urls: [https",
            "  staging:\n    api_urls: [[https",
        )],
    );
    check("tab", &[("    path: web", "\tpath: web")]);
    check(
        "foreign_character",
        &[("setup: npm ci", "setup: npm\u{0} ci")],
    );
    check_text("empty", "# nothing yet\n");
    check_text("two_documents", "version: 1\n---\nproject: x\n");
    check_text("a_list", "- version: 1\n");
}

#[test]
fn keys_that_are_wrong() {
    check(
        "unknown_keys",
        &[
            ("    image:\n      prepare", "    imgae:\n      prepare"),
            ("needs: [test]", "depends_on: [test]"),
            ("    path: web", "    path: web\n    flavour: vanilla"),
        ],
    );
    // What is meant is clear: that it is missing, and all that follows from that, is not worth saying.
    check(
        "misspelt_keys",
        &[
            ("project: aurora-glam\n", "projekt: aurora-glam\n"),
            ("promotes: staging", "promote: stagign"),
            ("{ ecr: {", "{ erc: {"),
            ("    path: web", "    pth: web"),
            ("tag_prefix: staging-", "tagprefix: 7"),
            ("{ kind: push, needs", "{ type: push, needs"),
        ],
    );
    check(
        "misspelt_beside_the_right_one",
        &[("    path: web", "    path: web\n    pth: api")],
    );
    check(
        "duplicate_keys",
        &[
            (
                "    setup: npm ci",
                "    setup: npm ci\n    test: npm run lint",
            ),
            ("scans:", "environments: {}\nscans:"),
        ],
    );
    check(
        "missing_keys",
        &[
            ("project: aurora-glam\n", ""),
            (", region: us-east-1", ""),
            ("prefix: /, port: 3000", "prefix: /"),
            ("{ kind: push, needs", "{ needs"),
        ],
    );
    check(
        "no_value",
        &[
            ("    setup: npm ci", "    setup:"),
            ("uses: [services/common]", "uses: ~"),
        ],
    );
    check(
        "not_supported_yet",
        &[
            (
                "  ignore:",
                "  sast: { fail_on: high }\n  image: { ignore_unfixed: true }\n  ignore:",
            ),
            (
                "    gitops: { url",
                "    argocd: { server: https://argocd.aurora-glam.com }\n    gitops: { url",
            ),
            (
                "test: { kind: test, needs",
                "sast: { kind: sast, needs: [detect] }\n      test: { kind: test, needs",
            ),
        ],
    );
    check(
        "merge_key",
        &[("    image: {}", "    image: &i {}\n    <<: *i")],
    );
}

#[test]
fn aliases_and_tags() {
    check(
        "aliases_and_tags",
        &[(
            "    image: {}",
            "    image: &image { engin: docker }\n  other:\n    path: other\n    test: !!str make\n    image: *image",
        )],
    );
    check(
        "unknown_alias",
        &[("    setup: npm ci", "    setup: *nothing")],
    );
    check(
        "aliases_of_wrong_things",
        &[
            (
                "uses: [services/common]",
                "uses: &uses [services/common, 1]",
            ),
            (
                "    caches: [node_modules]",
                "    caches: [node_modules]\n    junit: [a]",
            ),
            (
                "    image: {}",
                "    image: {}\n  other: { path: other, uses: *uses }",
            ),
        ],
    );
}

#[test]
fn caches_that_are_included_are_caches() {
    check(
        "include_caches",
        &[(
            "    caches: [node_modules]",
            "    caches: [node_modules]\n    include_caches: [node_modules, dist]",
        )],
    );
}

#[test]
fn values_of_wrong_types() {
    check(
        "types",
        &[
            ("\"123456789012\"", "123456789012"),
            ("port: 3000", "port: \"3000\""),
            ("uses: [services/common]", "uses: services/common"),
            ("    image: {}", "    image: Dockerfile"),
            (
                "prepare: npm run build",
                "prepare: [npm, run build]\n      lock: sometimes",
            ),
            (
                "NEXT_PUBLIC_API: https://aurora-glam.com/api",
                "NEXT_PUBLIC_TRACE: true",
            ),
        ],
    );
    check(
        "out_of_range",
        &[("port: 3000", "port: 0"), ("version: 1", "version: 2")],
    );
    check(
        "not_whole",
        &[("port: 3000", "port: 30.5"), ("version: 1", "version: 1.0")],
    );
    check(
        "words",
        &[
            ("    delivery: manual", "    delivery: manually"),
            ("kind: push", "kind: pusch"),
            ("  ignore:", "  image: { fail_on: severe }\n  ignore:"),
            ("prepare: npm", "engine: buildah\n      prepare: npm"),
        ],
    );
}

#[test]
fn names_and_references() {
    check(
        "names",
        &[
            ("  user_service:", "  UserService:"),
            ("      detect: {", "      Detect!: {"),
            ("[detect]", "[]"),
        ],
    );
    check("default_names", &[("  user_service:", "  user_service_:")]);
    check(
        "references",
        &[
            (
                "components: [frontend]",
                "components: [frontent, frontend, frontend]",
            ),
            ("promotes: staging", "promotes: stagign"),
            ("needs: [image-scan]", "needs: [scan-image, image_scan]"),
            ("environment: staging", "environment: live"),
        ],
    );
    check(
        "variants_without_environment",
        &[(
            "        production:\n          args",
            "        prod:\n          args",
        )],
    );
    check(
        "same_names",
        &[(
            "    uses: [services/common]",
            "    uses: [services/common]\n    repository: frontend\n    folder: frontend\n    kubernetes: frontend\n    route: { prefix: /, port: 80 }",
        )],
    );
}

#[test]
fn one_place_for_each_component() {
    check(
        "same_place",
        &[(
            "    uses: [services/common]",
            "    uses: [services/common]\n    folder: frontend\n    kubernetes: frontend\n    containers: some",
        )],
    );
}

#[test]
fn exceptions_name_what_there_is() {
    check(
        "exceptions_of_nobody",
        &[(
            "{ rule: environment-leak, reason: canonical link,",
            "{ rule: environment-leak, component: fronted, variant: stagin, reason: canonical link,",
        )],
    );
}

#[test]
fn stages_in_an_order_that_cannot_be() {
    check("cycle", &[("needs: [detect]", "needs: [image-scan]")]);
    check(
        "needs_itself",
        &[("needs: [detect]", "needs: [detect, test]")],
    );
    check(
        "gitops_into_a_manual_environment",
        &[("environment: staging", "environment: production")],
    );
    check(
        "publishing_too_early",
        &[
            ("needs: [image-scan]", "needs: [build]"),
            ("needs: [test]", "needs: [detect]"),
            ("gitops, needs: [push],", "gitops,"),
        ],
    );
    check(
        "nothing_to_push",
        &[
            ("      build: { kind: build, needs: [test] }\n", ""),
            (
                "      image-scan: { kind: image-scan, needs: [build] }\n",
                "",
            ),
            ("needs: [image-scan]", "needs: [test]"),
        ],
    );
    check(
        "stages_with_foreign_keys",
        &[
            ("kind: push,", "kind: push, environment: staging,"),
            (", environment: staging }", " }"),
            ("needs: [test]", "command: make, needs: []"),
            ("{ kind: detect }", "{ kind: detect, needs: [test] }"),
        ],
    );
    check(
        "stages_twice",
        &[(
            "      gitops: {",
            "      push2: { kind: push, needs: [push] }\n      lint: { kind: run }\n      gitops: {",
        )],
    );
    check(
        "empty_pipelines",
        &[("components: [frontend]", "components: []")],
    );
}

#[test]
fn paths_and_single_values() {
    check(
        "paths",
        &[
            ("path: web", "path: /srv/web"),
            ("uses: [services/common]", "uses: [../common, a, ./a/]"),
            ("caches: [node_modules]", "caches: [node_modules, .]"),
            (
                "    image: {}",
                "    image: { dockerfile: ../../../Dockerfile }",
            ),
        ],
    );
    check(
        "times_and_dates",
        &[
            (
                "    test: cargo test",
                "    test: cargo test\n    timeout: 30",
            ),
            ("kind: push,", "kind: push, timeout: 2 hours,"),
            ("until: 2027-12-31", "until: 2027-02-30"),
        ],
    );
    check(
        "limits_in_quotes",
        &[
            (
                "    test: cargo test",
                "    test: cargo test\n    timeout: \"30\"",
            ),
            ("kind: push,", "kind: push, timeout: 0s,"),
        ],
    );
    check(
        "exceptions",
        &[(
            "{ rule: environment-leak, reason: canonical link, until: 2027-12-31 }",
            "{ rule: environment-leek, reason: \"\", until: 31.12.2027 }\n    - { rule: environment-leak }\n    - { rule: CVE-2025-0001, reason: not reachable, until: 2027-12-31 }",
        )],
    );
    check(
        "policies_of_scans",
        &[(
            "scans:",
            "scans:\n  image: { fail_on: severe, baseline: ../known.json, not_assessed: { loca: warn, local: pass } }\n  leaks: { fail_at: high }",
        )],
    );
    check(
        "urls",
        &[
            (
                "[https://staging.aurora-glam.com/api]",
                "[staging.aurora-glam.com/api]\n    url: ftp://x",
            ),
            (
                "[https://aurora-glam.com/api]",
                "[\"https://a b/\", https://a/, HTTPS://b/]",
            ),
        ],
    );
    check(
        "shared_urls",
        &[(
            "[https://aurora-glam.com/api]",
            "[https://aurora-glam.com/api, https://Staging.aurora-glam.com/api/, https://staging.aurora-glam.com]",
        )],
    );
    check(
        "platform_and_hosts",
        &[(
            "    image: {}",
            "    image: { platform: linux/x86_64, extra_hosts: [db], network: \"${env.NET}\", engine: embedded }",
        )],
    );
}

#[test]
fn tags() {
    check(
        "equal_prefixes",
        &[("          tag_prefix: staging-\n", "")],
    );
    check(
        "nested_prefixes",
        &[(
            "        production:\n          args",
            "        production:\n          tag_prefix: staging-eu-\n          args",
        )],
    );
    check(
        "prefix_no_tag_can_have",
        &[("tag_prefix: staging-", "tag_prefix: staging/")],
    );
}

#[test]
fn secrets_and_templates() {
    check(
        "secrets_in_public",
        &[
            ("tag_prefix: staging-", "tag_prefix: \"${secret.PREFIX}-\""),
            (
                "  production:\n    api_urls",
                "  production:\n    url: https://${secret.HOST}\n    api_urls",
            ),
            (
                "prepare: npm run build",
                "prepare: TOKEN=${secret.NPM} npm run build\n      network: \"${secret.NET}\"",
            ),
            ("\"${secret.TOKEN}\"", "ghp_0123456789"),
        ],
    );
    check(
        "templates",
        &[
            ("${env.STAGING_API}", "${STAGING_API}"),
            (
                "https://aurora-glam.com/api }",
                "\"https://${env.HOST/api\" }",
            ),
        ],
    );
}

#[test]
fn environments_and_profiles() {
    check(
        "delivery",
        &[
            ("    promotes: staging\n", "    confirm: \"\"\n"),
            (
                "  staging:\n    api_urls",
                "  staging:\n    confirm: DEPLOY\n    api_urls",
            ),
        ],
    );
    check(
        "promotions_in_a_circle",
        &[(
            "  staging:\n    api_urls",
            "  staging:\n    delivery: manual\n    promotes: production\n    api_urls",
        )],
    );
    check(
        "registries",
        &[(
            "  ci:\n",
            "  a: { registry: { layout: x, url: y }, gitops: { path: g, url: u, token: t } }\n  b: { registry: { url: https://registry.lab/, username: ci }, gitops: {} }\n  c: { registry: { layout: x, insecure: true } }\n  d: {}\n  local: { registry: { layout: .shipline }, gitops: { seed: seed } }\n  ci:\n",
        )],
    );
    check(
        "mirrors",
        &[(
            "  ci:\n",
            "  a: { registry: { layout: x }, gitops: {}, mirrors: { docker.io: http://mirror.lab/, nginx:1.27/x: mirror.lab, quay.io: \"${secret.MIRROR}\", ghcr.io: mirror.lab/UPPER } }\n  ci:\n",
        )],
    );
    check(
        "ecr",
        &[(
            "account: \"123456789012\", region: us-east-1",
            "account: \"1234\", region: Frankfurt, role: ci, endpoint: localhost",
        )],
    );
    check(
        "credentials_without_encryption",
        &[
            (
                "account: \"123456789012\", region: us-east-1",
                "account: \"123456789012\", region: us-east-1, endpoint: http://ecr.lab, registry_endpoint: \"http://[2001:db8::1]:5000/\"",
            ),
            (
                "  ci:\n",
                "  a: { registry: { layout: x }, gitops: { url: http://git.lab/deploy.git, token: \"${secret.T}\" } }\n  b: { registry: { url: registry.lab/Team/Web }, gitops: { url: https://token@git.lab/deploy.git } }\n  ci:\n",
            ),
        ],
    );
    check("without_path", &[("    path: web\n", "")]);
}

#[test]
fn texts_that_nest_far_too_deep_do_no_harm() {
    for piece in ["[", "- ", "{a: ", "? ", "a:\n "] {
        for depth in [200, 5_000, 100_000] {
            let text = piece.repeat(depth);
            assert!(
                config::load("pipeline.yaml", &text).is_err(),
                "{piece:?} {depth} times"
            );
        }
    }
}

#[test]
fn aliases_that_multiply_do_no_harm() {
    let uses: Vec<String> = (0..300).map(|n| format!("a{n}")).collect();
    let mut text = BASE.replace(
        "uses: [services/common]",
        &format!("uses: &uses [{}]", uses.join(", ")),
    );
    let more: String = (0..1000)
        .map(|n| format!("  c{n}: {{ path: c, uses: *uses }}\n"))
        .collect();
    text = text.replace("scans:", &format!("{more}scans:"));
    let errors = config::load("pipeline.yaml", &text).unwrap_err();
    let expand = "the file's aliases expand to far too much";
    let messages: Vec<&str> = errors
        .problems()
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    assert_eq!(
        messages
            .iter()
            .filter(|message| **message == expand)
            .count(),
        1,
        "{messages:?}"
    );
}

#[test]
fn of_very_many_problems_not_all_are_looked_for() {
    let found = |text: &str| {
        let errors = config::load("pipeline.yaml", text).unwrap_err();
        (errors.problems().len(), errors.may_be_more())
    };
    let keys = |count: usize| -> String { (0..count).map(|n| format!("k{n}: 1\n")).collect() };
    assert_eq!(found(&(BASE.to_owned() + &keys(150))), (150, false));
    let text = BASE.to_owned() + &keys(40_000);
    assert_eq!(found(&text), (200, true));
    let errors = config::load("pipeline.yaml", &text).unwrap_err();
    assert_eq!(errors.to_string(), "pipeline.yaml has 200 or more problems");
    // Names that are long, and lists of them, make no long messages.
    let components: String = (0..5000)
        .map(|n| format!("  c{n}: {{ path: c{n} }}\n"))
        .collect();
    let names: String = (0..5000).map(|n| format!("d{n}, ")).collect();
    let text = BASE
        .replacen("components:\n", &format!("components:\n{components}"), 1)
        .replacen("components: [", &format!("components: [{names}"), 1);
    let errors = config::load("pipeline.yaml", &text).unwrap_err();
    let told: usize = errors
        .problems()
        .iter()
        .map(|problem| problem.to_string().len())
        .sum();
    assert!(errors.may_be_more() && told < 200 * 1000, "{told}");
    let long = format!("{BASE}{}: 1\n", "imag".repeat(50_000));
    assert_eq!(found(&long), (1, false));
}
