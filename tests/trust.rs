//! Who is trusted with what: looking runs nothing that the repository brought, nothing that is not merged yet is published, and
//! in a pull request secrets and logins go only where the base sends them too.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use shipline_testkit::tiny::{self, RemoteTiny};
use shipline_testkit::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_shipline");

/// A pull request into `main` in GitHub Actions.
const PULL_REQUEST: &[(&str, &str)] = &[
    ("CI", "true"),
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_EVENT_NAME", "pull_request"),
    ("GITHUB_BASE_REF", "main"),
];

/// A server that answers 401 to everything and keeps what it was sent.
struct Sink {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (kept, end) = (Arc::clone(&seen), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !head.ends_with("\r\n\r\n")
                    && reader.read_line(&mut head).is_ok_and(|read| read > 0)
                {}
                kept.lock().unwrap().push(head);
                let _ = stream.write_all(
                    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }
        });
        Self {
            port,
            seen,
            stopped,
        }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many requests came, and how many of them with credentials.
    fn requests(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap();
        let with = |head: &&String| head.to_ascii_lowercase().contains("\r\nauthorization:");
        (seen.len(), seen.iter().filter(with).count())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Says that `main` of the remote is here, and goes on to a branch.
fn branch_off(world: &World) {
    world.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    world.git(&["checkout", "--quiet", "-b", "change"]);
}

fn profile(world: &World, registry: &str, gitops: &str) {
    world.replace(
        "pipeline.yaml",
        "\ncomponents:\n",
        &format!("  ci:\n    registry: {registry}\n    gitops: {gitops}\n\ncomponents:\n"),
    );
}

const LAYOUT: &str = "{ layout: .shipline/registry }";
const LOCAL: &str = "{ path: .shipline/gitops.git, seed: gitops }";

#[test]
fn looking_runs_nothing_of_the_repository() {
    let world = tiny::world(PROGRAM);
    let trace = world.path("trace");
    let trap = format!("#!/bin/sh\necho \"$0\" >>'{}'\necho 1.0\n", trace.display());
    let repository = world.repository();
    for place in [
        "web/tc/bin/cargo",
        "web/node_modules/.bin/tsc",
        "web/gradlew",
        "web/evil.cjs",
        "bin/make",
        "hooks/post-index-change",
        "hooks/fsmonitor",
    ] {
        program(&repository.join(place), &trap);
    }
    let toolchain = repository.join("web/tc").display().to_string();
    world.write(
        "web/rust-toolchain.toml",
        &format!("[toolchain]\npath = \"{toolchain}\"\n"),
    );
    world.write("web/.yarnrc", "yarn-path \"./evil.cjs\"\n");
    world.write("web/.yarnrc.yml", "yarnPath: ./evil.cjs\n");
    world.write("web/.python-version", "../../../repo/web/tc\n");
    world.write("web/.gitattributes", "*.txt filter=evil\n");
    world.replace(
        "pipeline.yaml",
        "    tools: []\n    setup: sh setup.sh\n    test: sh test.sh",
        "    tools: [cargo, yarn, python, tsc, make]\n    setup: sh setup.sh\n    test: ./gradlew test && BASH_ENV=x sh test.sh",
    );
    world.commit("Bring programs");
    // Even a clone whose configuration names programs of the repository.
    for (key, value) in [
        ("core.hooksPath", "hooks"),
        ("core.fsmonitor", "hooks/fsmonitor"),
        ("core.sshCommand", "hooks/fsmonitor"),
        ("filter.evil.clean", "hooks/fsmonitor"),
        ("filter.evil.smudge", "hooks/fsmonitor"),
        ("credential.helper", "!hooks/fsmonitor"),
    ] {
        world.git(&["config", key, value]);
    }
    // Programs of the machine that go by files of the folder that they are started in, as rustup, yarn and pyenv do.
    let machine = world.path("machine");
    program(
        &machine.join("rustup"),
        "#!/bin/sh\nexec \"$(sed -n 's/^path = \"\\(.*\\)\"/\\1/p' rust-toolchain.toml)/bin/cargo\" \"$@\"\n",
    );
    fs::hard_link(machine.join("rustup"), machine.join("cargo")).unwrap();
    program(
        &machine.join("yarn"),
        "#!/bin/sh\n[ -e .yarnrc ] && exec sh ./evil.cjs\necho 1.22.22\n",
    );
    program(
        &machine.join("shims/python"),
        "#!/bin/sh\nexec \"$(cat .python-version)/bin/cargo\"\n",
    );
    let path = [
        repository.join("bin").display().to_string(),
        "node_modules/.bin".to_owned(),
        machine.display().to_string(),
        machine.join("shims").display().to_string(),
        std::env::var("PATH").unwrap(),
    ]
    .join(":");
    let looks: &[&[&str]] = &[
        &["plan", "web"],
        &["plan", "web", "--all", "--profile", "local"],
        &["explain", "web", "web"],
        &["pipeline", "web", "--dry-run"],
        &["config", "show"],
        &["store", "show"],
        &["runs", "list"],
        &["schema"],
        &["completions", "bash"],
    ];
    for look in looks {
        let run = world.run_with(look, &[("PATH", &path)]);
        assert_eq!(run.code, 0, "{look:?}: {}", run.stderr);
        let ran = fs::read_to_string(&trace).unwrap_or_default();
        assert_eq!(ran, "", "{look:?}");
    }
}

#[test]
fn default_tools_take_ordinary_commands() {
    let world = tiny::world(PROGRAM);
    world.replace(
        "pipeline.yaml",
        "    tools: []\n    test: sh test.sh\n    image: { prepare: sh build.sh }\n  worker:",
        "    test: . ./env.sh && A=b sh test.sh && cd .. && go vet && strange\n    image: { prepare: sh build.sh }\n  worker:",
    );
    world.commit("Default tools");
    let machine = world.path("machine");
    program(
        &machine.join("go"),
        "#!/bin/sh\n[ \"$1\" = version ] && echo go version go1.25 linux/amd64\n",
    );
    program(&machine.join("strange"), "#!/bin/sh\nexit 2\n");
    let path = format!("{}:{}", machine.display(), std::env::var("PATH").unwrap());
    let run = world
        .run_with(&["plan", "backend"], &[("PATH", &path)])
        .expect(0);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("`strange` is unknown"), "{all}");
    assert!(
        !all.contains("`go` is unknown") && !all.contains("`sh` is unknown"),
        "{all}"
    );
}

#[test]
fn what_is_not_merged_is_published_by_no_ci() {
    let requests: &[&[(&str, &str)]] = &[
        PULL_REQUEST,
        &[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", "pull_request_target"),
            ("GITHUB_BASE_REF", "main"),
        ],
        &[
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_PIPELINE_SOURCE", "merge_request_event"),
        ],
        &[("BUILDKITE", "true"), ("BUILDKITE_PULL_REQUEST", "7")],
        &[("CIRCLECI", "true"), ("CIRCLE_PULL_REQUEST", "https://x/7")],
        &[("JENKINS_URL", "https://x"), ("CHANGE_ID", "7")],
        &[("TF_BUILD", "True"), ("BUILD_REASON", "PullRequest")],
        &[("BITBUCKET_BUILD_NUMBER", "1"), ("BITBUCKET_PR_ID", "7")],
    ];
    let world = tiny::world(PROGRAM);
    branch_off(&world);
    for request in requests {
        for arguments in [
            &["pipeline", "backend", "--all"][..],
            &["pipeline", "backend", "--all", "--deliver"],
        ] {
            let run = world.run_with(arguments, request);
            assert_eq!(run.code, 0, "{request:?}: {}", run.stderr);
            assert!(run.stderr.contains("delivers nothing"), "{}", run.stderr);
            assert_eq!(tiny::tags(&world), Vec::new(), "{request:?} {arguments:?}");
            assert_eq!(
                tiny::commits_or_none(&world),
                None,
                "{request:?} {arguments:?}"
            );
        }
        let set = world.run_with(
            &["gitops", "set", "api=1.2.3", "--environment", "staging"],
            request,
        );
        assert_eq!(set.code, 2, "{request:?}: {}", set.stderr);
    }
}

#[test]
fn a_ci_that_says_nothing_delivers_to_remotes_only_when_told() {
    let ci = &[("CI", "true")];
    // What stays on this machine runs as ever.
    let world = tiny::world(PROGRAM);
    let _ = world.run_with(&["pipeline", "backend"], ci).expect(0);
    assert!(!tiny::tags(&world).is_empty());

    let tiny = RemoteTiny::ecr(PROGRAM);
    let pipeline = ["pipeline", "backend", "--profile", "ci"];
    let run = tiny.world.run_with(&pipeline, ci).expect(0);
    assert!(run.stderr.contains("--deliver"), "{}", run.stderr);
    assert!(tiny.registry.tags().is_empty());
    assert_eq!(tiny.gitops.commits(&tiny.world), 1);
    let plan = ["plan", "backend", "--profile", "ci"];
    let plan = tiny.world.run_with(&plan, ci).expect(0).stdout;
    assert!(plan.contains("--deliver"), "{plan}");

    let told = [&pipeline[..], &["--deliver"]].concat();
    let _ = tiny.world.run_with(&told, ci).expect(0);
    assert_eq!(tiny.registry.tags().len(), 2);
    assert_eq!(tiny.gitops.commits(&tiny.world), 2);
}

#[test]
fn a_remote_that_a_pull_request_names_gets_no_token() {
    let sink = Sink::start();
    let world = tiny::world(PROGRAM).with("GITOPS_TOKEN", "ghp_tokentokentoken");
    branch_off(&world);
    let url = format!("http://{}/x.git", sink.host());
    profile(
        &world,
        LAYOUT,
        &format!("{{ url: \"{url}\", token: \"${{secret.GITOPS_TOKEN}}\" }}"),
    );
    world.commit("Name another GitOps repository");
    for arguments in [
        &["plan", "web", "--profile", "ci"][..],
        &["explain", "web", "web", "--profile", "ci"],
        &["pipeline", "web", "--profile", "ci", "--all"],
        &[
            "gitops",
            "set",
            "web=1.2",
            "-e",
            "staging",
            "--profile",
            "ci",
            "--dry-run",
        ],
    ] {
        let run = world.run_with(arguments, PULL_REQUEST);
        assert_eq!(sink.requests().1, 0, "{arguments:?}");
        assert!(
            run.stderr.contains("withheld"),
            "{arguments:?}: {}",
            run.stderr
        );
        if arguments[0] != "gitops" {
            assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
            assert_eq!(sink.requests(), (0, 0), "{arguments:?}");
        }
    }
    // Outside of a pull request it is asked, and here it refuses.
    let push = &[
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF_NAME", "main"),
    ];
    let _ = world.run_with(&["plan", "web", "--profile", "ci"], push);
    assert!(sink.requests().1 > 0);
}

/// The docker config of a person who is logged in at a host.
fn logged_in(world: &World, host: &str) {
    fs::create_dir_all(world.path("home/.docker")).unwrap();
    let config = format!(r#"{{"auths": {{"{host}": {{"auth": "dXNlcjpwYXNz"}}}}}}"#);
    fs::write(world.path("home/.docker/config.json"), config).unwrap();
}

#[test]
fn logins_go_to_registries_that_the_base_names() {
    let build = &[
        "pipeline", "backend", "-c", "api", "--only", "build", "--all",
    ];
    let sink = Sink::start();
    let from = format!("FROM {}/team/base:1\n", sink.host());
    // A base image that the pull request brings.
    let world = tiny::world(PROGRAM);
    logged_in(&world, &sink.host());
    branch_off(&world);
    world.write("api/Dockerfile", &from);
    world.commit("Take another base");
    let run = world.run_with(build, PULL_REQUEST).expect(3);
    let (all, with) = sink.requests();
    assert!(all > 0 && with == 0, "{all} {with}: {}", run.stderr);
    assert!(run.stderr.contains("asked as nobody"), "{}", run.stderr);

    // One that the base has too.
    let sink = Sink::start();
    let world = tiny::world(PROGRAM);
    logged_in(&world, &sink.host());
    world.write(
        "api/Dockerfile",
        &format!("FROM {}/team/base:1\n", sink.host()),
    );
    world.commit("Take a base");
    branch_off(&world);
    world.write("api/name.txt", "api, second edition\n");
    world.commit("Change api");
    let _ = world.run_with(build, PULL_REQUEST).expect(3);
    assert!(sink.requests().1 > 0);
}

#[test]
fn mirrors_and_logins_of_a_pull_request_get_no_password() {
    let (sink, other) = (Sink::start(), Sink::start());
    let (host, named) = (sink.host(), other.host());
    let world = tiny::world(PROGRAM).with("PASSWORD", "hunter2hunter2");
    logged_in(&world, &host);
    world.write("api/Dockerfile", &format!("FROM {named}/base:1\n"));
    let registry =
        format!("{{ url: \"{named}/team\", username: u, password: \"${{secret.PASSWORD}}\" }}");
    profile(&world, &registry, LOCAL);
    world.commit("A registry");
    branch_off(&world);
    world.replace(
        "pipeline.yaml",
        &format!("{named}/team"),
        &format!("{host}/team"),
    );
    world.replace(
        "pipeline.yaml",
        &format!("gitops: {LOCAL}\n\ncomponents"),
        &format!("gitops: {LOCAL}\n    mirrors: {{ \"{named}\": \"{host}/hub\" }}\n\ncomponents"),
    );
    world.write("worker/Dockerfile", &format!("FROM {host}/team/x:1\n"));
    world.commit("Another registry, and a mirror");
    let run = world.run_with(
        &[
            "pipeline",
            "backend",
            "--profile",
            "ci",
            "--all",
            "--only",
            "build",
            "--keep-going",
        ],
        PULL_REQUEST,
    );
    let (all, with) = sink.requests();
    assert!(all > 0 && with == 0, "{all} {with}: {}", run.stderr);
    assert!(
        run.stderr.contains("the login for the registry"),
        "{}",
        run.stderr
    );
}

/// What `web`'s test was given as `T`.
fn given(world: &World) -> String {
    fs::read_to_string(world.path("home/given")).unwrap_or_default()
}

#[test]
fn secrets_reach_places_where_the_base_gives_them() {
    let push = &[
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF_NAME", "main"),
    ];
    let world = tiny::world(PROGRAM).with("TOKEN", "s3cret-s3cret");
    let test = &[
        "pipeline",
        "web",
        "--only",
        "unit-tests",
        "--all",
        "--no-cache",
    ];
    let take = |reference: &str| {
        let text = world.read("pipeline.yaml");
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("environment: { T:"))
            .collect();
        let text = kept.join("\n") + "\n";
        world.write("pipeline.yaml", &text);
        world.replace(
            "pipeline.yaml",
            "    caches: [cache]\n",
            &format!("    caches: [cache]\n    environment: {{ T: \"{reference}\" }}\n"),
        );
    };
    world.write("web/test.sh", "printf %s \"$T\" >\"$HOME/given\"\n");
    take("x");
    world.commit("Show what is given");
    branch_off(&world);
    for reference in ["${secret.TOKEN:-none}", "${env.TOKEN:-none}"] {
        take(reference);
        world.commit("Take a secret");
        let run = world.run_with(test, PULL_REQUEST).expect(0);
        assert_eq!(given(&world), "none", "{reference}");
        assert!(
            run.stderr.contains("components.web.environment.T"),
            "{}",
            run.stderr
        );
        let _ = world.run_with(test, push).expect(0);
        assert_eq!(given(&world), "s3cret-s3cret", "{reference}");
    }
    // Without a default it is missing.
    take("${secret.TOKEN}");
    world.commit("Need a secret");
    let run = world.run_with(test, PULL_REQUEST).expect(2);
    assert!(run.stderr.contains("withheld"), "{}", run.stderr);

    // Once it is merged the next pull request has it.
    world.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    world.write("web/style.css", "p {}\n");
    world.commit("Change the style");
    let _ = world.run_with(test, PULL_REQUEST).expect(0);
    assert_eq!(given(&world), "s3cret-s3cret");
}

#[test]
fn where_nobody_can_tell_the_base_nothing_is_trusted() {
    let world = tiny::world(PROGRAM).with("TOKEN", "s3cret-s3cret");
    world.write("web/test.sh", "printf %s \"$T\" >\"$HOME/given\"\n");
    world.replace(
        "pipeline.yaml",
        "    caches: [cache]\n",
        "    caches: [cache]\n    environment: { T: \"${secret.TOKEN:-none}\" }\n",
    );
    let evil = world.commit("Take a secret");
    world.git(&["rm", "--quiet", "--cached", "pipeline.yaml"]);
    world.git(&["commit", "--quiet", "--message", "Without pipeline.yaml"]);
    let without = world.git(&["rev-parse", "HEAD"]);
    world.git(&["reset", "--quiet", "--hard", &evil]);
    world.git(&["checkout", "--quiet", "-b", "change"]);
    let test = &[
        "pipeline",
        "web",
        "--only",
        "unit-tests",
        "--all",
        "--no-cache",
    ];
    let untrusted = |base: &str, why: &str| {
        let run = world.run_with(
            test,
            &[
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_EVENT_NAME", "pull_request"),
                ("GITHUB_BASE_REF", base),
            ],
        );
        assert_eq!(given(&world), "none", "{base}: {}", run.stderr);
        assert!(run.stderr.contains(why), "{base}: {}", run.stderr);
    };
    // `main` of this clone, tags and branches that are called like it may all be the pull request's.
    untrusted("main", "is not in this clone");
    world.git(&["tag", "origin/main", &evil]);
    world.git(&["branch", "origin/main", &evil]);
    untrusted("main", "is not in this clone");
    for odd in ["main^{/Take}", "HEAD@{0}", "../heads/main", "-x"] {
        untrusted(odd, "no branch");
    }
    world.git(&["update-ref", "refs/remotes/origin/main", &without]);
    untrusted("main", "has no pipeline.yaml");
    world.git(&["update-ref", "refs/remotes/origin/main", &evil]);
    let _ = world.run_with(test, PULL_REQUEST).expect(0);
    assert_eq!(given(&world), "s3cret-s3cret");
}

#[test]
fn a_head_that_is_its_base_is_not_nothing_to_do_in_silence() {
    let world = tiny::world(PROGRAM);
    world.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    let run = world.run_with(&["plan", "backend"], PULL_REQUEST).expect(0);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(all.contains("warning: nothing was compared"), "{all}");
    branch_off(&world);
    world.write("api/name.txt", "api, second edition\n");
    world.commit("Change api");
    let run = world.run_with(&["plan", "backend"], PULL_REQUEST).expect(0);
    let all = format!("{}{}", run.stdout, run.stderr);
    assert!(!all.contains("nothing was compared"), "{all}");
}

#[test]
fn the_base_commit_of_the_event_is_enough() {
    let world = tiny::world(PROGRAM);
    let base = world.git(&["rev-parse", "HEAD"]);
    world.git(&["checkout", "--quiet", "-b", "change"]);
    world.git(&["branch", "--quiet", "--delete", "--force", "main"]);
    world.write("api/name.txt", "api, second edition\n");
    world.commit("Change api");
    let event = world.path("event.json");
    let payload = format!(r#"{{"pull_request": {{"base": {{"sha": "{base}"}}}}}}"#);
    fs::write(&event, payload).unwrap();
    let event = event.display().to_string();
    let variables = [PULL_REQUEST, &[("GITHUB_EVENT_PATH", event.as_str())]].concat();
    let plan = world.run_with(&["plan", "backend"], &variables).expect(0);
    assert!(plan.stdout.contains("unit-tests/api"), "{}", plan.stdout);
    assert!(
        !plan.stdout.contains("unit-tests/worker"),
        "{}",
        plan.stdout
    );
}

#[test]
fn credential_helpers_are_programs_of_the_machine() {
    let sink = Sink::start();
    let world = tiny::world(PROGRAM);
    let trace = world.path("trace");
    program(
        &world.repository().join("bin/docker-credential-mine"),
        &format!("#!/bin/sh\necho run >'{}'\nexit 1\n", trace.display()),
    );
    fs::create_dir_all(world.path("home/.docker")).unwrap();
    fs::write(
        world.path("home/.docker/config.json"),
        r#"{"credsStore": "mine"}"#,
    )
    .unwrap();
    world.write("api/Dockerfile", &format!("FROM {}/base:1\n", sink.host()));
    world.commit("Bring a helper");
    let path = format!(
        "{}:bin:{}",
        world.repository().join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let build = &[
        "pipeline", "backend", "-c", "api", "--only", "build", "--all",
    ];
    let run = world.run_with(build, &[("PATH", &path)]).expect(3);
    assert!(!trace.exists(), "{}", run.stderr);
    assert!(
        run.stderr.contains("docker-credential-mine"),
        "{}",
        run.stderr
    );
}
