use std::os::unix::fs::symlink;

use shipline_model::config;
use shipline_model::name::CommitId;
use shipline_model::path::{ByPath, GitPath};
use shipline_model::plan::{Head, PathChange};

use super::*;
use crate::backend::{Ancestry, Materialized, SourceSet, Standing};
use crate::folder::Place;

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn component(path: &str, tools: &[&str]) -> Component {
    let text = format!(
        "version: 1\nproject: x\nenvironments:\n  staging: {{ delivery: automatic }}\ncomponents:\n  one: {{ path: \"{path}\", uses: [lib], tools: {tools:?}, test: run }}\npipelines:\n  all: {{ components: [one], stages: {{ t: {{ kind: test }} }} }}\n"
    );
    let config = config::load("pipeline.yaml", &text).unwrap();
    config.components.into_values().next().unwrap()
}

/// Sources of which only `read` is asked.
struct Taken(&'static [&'static str]);

impl SourceRepo for Taken {
    fn read(&self, path: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.0.contains(&path.as_str()).then(Vec::new))
    }
    fn head(&self) -> Result<Head, BackendError> {
        unreachable!()
    }
    fn resolve(&self, _: &str) -> Result<CommitId, BackendError> {
        unreachable!()
    }
    fn ancestry(&self, _: &CommitId) -> Result<Ancestry, BackendError> {
        unreachable!()
    }
    fn merge_base(&self, _: &CommitId) -> Result<Option<CommitId>, BackendError> {
        unreachable!()
    }
    fn changes(&self, _: &CommitId) -> Result<ByPath<PathChange>, BackendError> {
        unreachable!()
    }
    fn key(&self, _: &[RepoPath]) -> Result<String, BackendError> {
        unreachable!()
    }
    fn standing(&self, _: &RepoPath) -> Result<Option<Standing>, BackendError> {
        unreachable!()
    }
    fn read_at(&self, _: &CommitId, _: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
        unreachable!()
    }
    fn materialize(&self, _: &SourceSet, _: &Place) -> Result<Materialized, BackendError> {
        unreachable!()
    }
    fn extras(&self, _: &SourceSet, _: &Place) -> Result<Vec<GitPath>, BackendError> {
        unreachable!()
    }
}

/// A machine with a folder `bin` on its `PATH`, and a repository.
struct Machine {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

type Found = (BTreeMap<String, String>, Vec<String>);

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "home", "repo/services/one"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut machine = Self {
            folder,
            environment: BTreeMap::new(),
        };
        // Scripts of the tests need programs of the system's.
        machine.set("PATH", &format!("{}:/usr/bin:/bin", machine.shown("bin")));
        machine.set("HOME", &machine.shown("home"));
        machine
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn shown(&self, relative: &str) -> String {
        self.path(relative).display().to_string()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    fn program(&self, relative: &str, text: &str) {
        program(&self.path(relative), text);
    }

    fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A program that leaves a trace where it is run.
    fn trap(&self, relative: &str) {
        let trace = self.shown("trace");
        self.program(
            relative,
            &format!("#!/bin/sh\necho run >>'{trace}'\necho 1.0\n"),
        );
    }

    fn asks(&self, tools: &[&str], taken: &'static [&'static str]) -> Result<Found, BackendError> {
        let cache = Cache::new(self.path("repo/.shipline"));
        let mut asked = Tools::new(&self.path("repo"), &self.environment, &cache);
        let found = asked.of(&component("services/one", tools), &Taken(taken));
        asked.finish().map(|notes| (found, notes))
    }

    /// The version of a tool, told without a note and without running anything of the repository's.
    fn version(&self, tool: &str, taken: &'static [&'static str]) -> String {
        let (found, notes) = self.asks(&[tool], taken).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        self.nothing_ran();
        found[&format!("tool {tool}")].clone()
    }

    fn nothing_ran(&self) {
        assert!(
            !self.path("trace").exists(),
            "the repository's code was run"
        );
    }
}

#[test]
fn versions_are_asked_for_and_what_is_absent_is_named_together() {
    let machine = Machine::new();
    machine.program("bin/one", "#!/bin/sh\necho one 1.2.3");
    assert_eq!(machine.version("one", &[]), "one 1.2.3");
    machine.program("bin/one", "#!/bin/sh\necho one 1.2.4");
    assert_eq!(machine.version("one", &[]), "one 1.2.4");
    let error = machine
        .asks(&["one", "absent", "gone-too"], &[])
        .unwrap_err();
    let error = error.message;
    assert!(error.contains("`absent` is not on the PATH"), "{error}");
    assert!(error.contains("`gone-too` is not on the PATH"), "{error}");
}

#[test]
fn who_cannot_tell_is_unknown_with_a_note() {
    let machine = Machine::new();
    machine.program("bin/broken", "#!/bin/sh\necho no such option >&2\nexit 4");
    machine.program("bin/mute", "#!/bin/sh\n");
    let (found, notes) = machine.asks(&["broken", "mute"], &[]).unwrap();
    assert!(
        found["tool broken"].starts_with("unknown, contents sha256:"),
        "{found:?}"
    );
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].contains("`broken`") && notes[0].contains("exit status: 4"),
        "{notes:?}"
    );
    assert!(notes[1].contains("`mute`"), "{notes:?}");
    // Another file may be another version.
    machine.program("bin/broken", "#!/bin/sh\necho no such option >&2\nexit 5");
    let (again, _) = machine.asks(&["broken", "mute"], &[]).unwrap();
    assert_ne!(found["tool broken"], again["tool broken"]);
    assert_eq!(found["tool mute"], again["tool mute"]);
}

#[test]
fn ordinary_programs_with_words_of_their_own_are_known() {
    let machine = Machine::new();
    machine.program(
        "bin/go",
        "#!/bin/sh\n[ \"$1\" = version ] && echo go version go1.25",
    );
    machine.program(
        "bin/java",
        "#!/bin/sh\n[ \"$1\" = -version ] && echo openjdk 21 >&2",
    );
    assert_eq!(machine.version("go", &[]), "go version go1.25");
    assert_eq!(machine.version("java", &[]), "openjdk 21");
    // Shells of the system cannot tell; their contents do.
    machine.trap("bin/dash");
    symlink("dash", machine.path("bin/sh")).unwrap();
    let shell = machine.version("sh", &[]);
    assert!(shell.starts_with("contents sha256:"), "{shell}");
    assert_eq!(machine.version("dash", &[]), shell);
}

#[test]
fn programs_are_asked_outside_of_the_repository() {
    let mut machine = Machine::new();
    machine.write("repo/services/one/.nvmrc", "22\n");
    machine.set("NVM_DIR", &machine.shown("repo/nvm"));
    machine.program(
        "bin/node",
        "#!/bin/sh\n[ -e .nvmrc ] && exit 1\necho \"in $PWD, nvm ${NVM_DIR:-none}, path $PATH\"",
    );
    let path = format!(
        "{}:{}:node_modules/.bin:{}:",
        machine.shown("repo/tools"),
        machine.shown("bin"),
        machine.shown("repo/services/one/node_modules/.bin")
    );
    machine.set("PATH", &path);
    assert_eq!(
        machine.version("node", &[]),
        format!("in /, nvm none, path {}", machine.shown("bin"))
    );
}

#[test]
fn contents_stand_for_programs_of_the_repository() {
    for (search, place) in [
        ("repo/tools", "repo/tools/tool"),
        ("", "repo/services/one/tool"),
        (
            "node_modules/.bin",
            "repo/services/one/node_modules/.bin/tool",
        ),
        ("./tools", "repo/services/one/tools/tool"),
    ] {
        let mut machine = Machine::new();
        let folder = if search.starts_with("repo") {
            machine.shown(search)
        } else {
            search.to_owned()
        };
        machine.set("PATH", &format!("{folder}:{}", machine.shown("bin")));
        machine.trap("bin/tool");
        machine.trap(place);
        let before = machine.version("tool", &[]);
        assert!(before.starts_with("contents sha256:"), "{place}: {before}");
        machine.program(place, "#!/bin/sh\nexit 1\n");
        assert_ne!(machine.version("tool", &[]), before, "{place}");
    }
}

#[test]
fn links_into_the_repository_are_not_run() {
    let mut machine = Machine::new();
    // `npm link`, and a folder of the path that leads there.
    machine.trap("repo/cli.sh");
    symlink(machine.path("repo/cli.sh"), machine.path("bin/linked")).unwrap();
    assert!(machine.version("linked", &[]).starts_with("contents"));
    machine.trap("repo/tools/other");
    symlink(machine.path("repo/tools"), machine.path("link")).unwrap();
    machine.set("PATH", &machine.shown("link"));
    assert!(machine.version("other", &[]).starts_with("contents"));
    // A virtual environment in the repository: what it links to is the machine's, and reads files beside the link.
    machine.trap("bin/python3");
    fs::create_dir_all(machine.path("repo/.venv/bin")).unwrap();
    symlink(
        machine.path("bin/python3"),
        machine.path("repo/.venv/bin/python"),
    )
    .unwrap();
    machine.set("PATH", &machine.shown("repo/.venv/bin"));
    assert!(machine.version("python", &[]).starts_with("contents"));
}

/// A machine with rustup, whose proxies must not be run, and a toolchain.
fn rustup() -> Machine {
    let machine = Machine::new();
    machine.trap("bin/rustup");
    fs::hard_link(machine.path("bin/rustup"), machine.path("bin/cargo")).unwrap();
    let stable = format!("stable-{}-unknown-linux-gnu", std::env::consts::ARCH);
    machine.program(
        &format!("home/.rustup/toolchains/{stable}/bin/cargo"),
        "#!/bin/sh\necho cargo 1.90.0",
    );
    machine.program(
        "home/.rustup/toolchains/mine/bin/cargo",
        "#!/bin/sh\necho cargo mine",
    );
    machine.write(
        "home/.rustup/settings.toml",
        &format!("default_toolchain = \"{stable}\"\nprofile = \"minimal\"\n\n[overrides]\n"),
    );
    machine
}

#[test]
fn what_rustup_would_choose_is_found_without_it() {
    let mut machine = rustup();
    assert_eq!(machine.version("cargo", &[]), "cargo 1.90.0");
    machine.write(
        "repo/rust-toolchain.toml",
        "[toolchain]\nchannel = \"mine\"\n",
    );
    assert_eq!(machine.version("cargo", &[]), "cargo mine");
    // The nearest file that the workspace holds.
    machine.write("repo/services/one/rust-toolchain", "1.89.0\n");
    assert_eq!(machine.version("cargo", &[]), "cargo mine");
    let own = &["services/one/rust-toolchain"];
    assert_eq!(machine.version("cargo", own), "toolchain 1.89.0");
    machine.set("RUSTUP_TOOLCHAIN", "stable");
    assert_eq!(machine.version("cargo", own), "cargo 1.90.0");
}

#[test]
fn an_override_of_rustups_counts_where_the_workspace_sees_it() {
    let machine = rustup();
    let repository = machine.path("repo").canonicalize().unwrap();
    let with = |folder: &Path| {
        machine.write(
            "home/.rustup/settings.toml",
            &format!(
                "default_toolchain = \"stable\"\n[overrides]\n\"{}\" = \"mine\"\n",
                folder.display()
            ),
        );
    };
    with(&repository);
    assert_eq!(machine.version("cargo", &[]), "cargo mine");
    with(&repository.join("services/one"));
    assert_eq!(machine.version("cargo", &[]), "cargo 1.90.0");
}

#[test]
fn a_toolchain_of_the_repository_is_never_run() {
    let machine = rustup();
    let file = "repo/services/one/rust-toolchain.toml";
    let own = &["services/one/rust-toolchain.toml"];
    machine.trap("repo/tc/bin/cargo");
    for path in [machine.shown("repo/tc"), "../../tc".to_owned()] {
        machine.write(file, &format!("[toolchain]\npath = \"{path}\"\n"));
        let before = machine.version("cargo", own);
        assert!(before.starts_with("contents sha256:"), "{before}");
    }
    // `rustup toolchain link` into the repository.
    symlink(
        machine.path("repo/tc"),
        machine.path("home/.rustup/toolchains/linked"),
    )
    .unwrap();
    machine.write(file, "[toolchain]\nchannel = \"linked\"\n");
    assert!(machine.version("cargo", own).starts_with("contents"));
    for channel in ["../../../repo/tc", "/etc", "a/b", ".."] {
        machine.write(file, &format!("[toolchain]\nchannel = \"{channel}\"\n"));
        assert_eq!(machine.version("cargo", own), BY_FILES, "{channel}");
    }
}

#[test]
fn a_toolchain_that_is_not_there_is_not_fetched() {
    let machine = rustup();
    machine.write("repo/rust-toolchain", "beta\n");
    let (found, notes) = machine.asks(&["cargo"], &[]).unwrap();
    machine.nothing_ran();
    assert_eq!(found["tool cargo"], "toolchain beta, not installed");
    assert!(notes[0].contains("`beta`"), "{notes:?}");
}

#[test]
fn a_version_managers_switch_goes_by_the_files_that_are_in_the_key() {
    let mut machine = Machine::new();
    machine.program("shims/node", "#!/bin/sh\necho v18");
    machine.set("PATH", &machine.shown("shims"));
    assert_eq!(machine.version("node", &[]), "v18");
    machine.write("repo/.tool-versions", "node 22\n");
    assert_eq!(machine.version("node", &[]), BY_FILES);
    let (before, _) = machine.asks(&["node"], &[]).unwrap();
    machine.write("repo/.tool-versions", "node 24\n");
    let (after, _) = machine.asks(&["node"], &[]).unwrap();
    assert_ne!(before["file .tool-versions"], after["file .tool-versions"]);
}

#[test]
fn files_that_pick_versions_count_whoever_reads_them() {
    let machine = Machine::new();
    let files = || machine.asks(&[], &[]).unwrap().0;
    assert_eq!(files(), BTreeMap::new());
    machine.write(
        "repo/rust-toolchain.toml",
        "[toolchain]\nchannel = \"1.90\"\n",
    );
    let first = files();
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        ["file rust-toolchain.toml"]
    );
    machine.write(
        "repo/rust-toolchain.toml",
        "[toolchain]\nchannel = \"1.91\"\n",
    );
    assert_ne!(files(), first);
    machine.write("repo/services/one/.python-version", "3.13\n");
    assert!(files().contains_key("file services/one/.python-version"));
    // Of files that say other things too, what picks a version counts.
    machine.write("repo/package.json", "{\"name\": \"x\"}");
    assert!(!files().contains_key("file package.json"));
    let package = |name: &str, manager: &str| {
        machine.write(
            "repo/package.json",
            &format!("{{\"name\": \"{name}\", \"packageManager\": \"{manager}\"}}"),
        );
        files()["file package.json"].clone()
    };
    assert_eq!(package("x", "yarn@4.1.0"), package("y", "yarn@4.1.0"));
    assert_ne!(package("x", "yarn@4.1.0"), package("x", "yarn@4.2.0"));
}

#[test]
fn a_yarn_of_the_repository_is_read_and_not_run() {
    let machine = Machine::new();
    machine.program(
        "bin/yarn",
        "#!/bin/sh\n[ -e .yarnrc ] && sh ./evil\necho 1.22.22",
    );
    for (rc, text) in [
        (".yarnrc", "yarn-path \"tools/yarn.cjs\"\n"),
        (
            ".yarnrc.yml",
            "nodeLinker: node-modules\nyarnPath: tools/yarn.cjs\n",
        ),
    ] {
        let file = format!("repo/services/one/{rc}");
        machine.write(&file, text);
        let digest = |contents: &str| {
            machine.program("repo/services/one/tools/yarn.cjs", contents);
            let (found, _) = machine.asks(&["yarn"], &[]).unwrap();
            assert_eq!(found["tool yarn"], "1.22.22");
            found[&format!("file services/one/{rc}")].clone()
        };
        assert_ne!(digest("one"), digest("two"), "{rc}");
        fs::remove_file(machine.path(&file)).unwrap();
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let machine = Machine::new();
    symlink("/dev/zero", machine.path("repo/.nvmrc")).unwrap();
    nix::unistd::mkfifo(
        &machine.path("repo/.ruby-version"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    fs::create_dir(machine.path("repo/go.mod")).unwrap();
    assert_eq!(machine.asks(&[], &[]).unwrap().0, BTreeMap::new());
}

#[test]
fn a_binary_is_asked_once() {
    let machine = Machine::new();
    let cache = Cache::new(machine.path("repo/.shipline"));
    machine.program("bin/tool", "\u{7f}ELF: cannot run");
    let known = ask::identity(&machine.path("bin/tool")).unwrap();
    cache.record_tool("tool", &known, "tool 9");
    cache.record_tool("tool", "elsewhere", "tool 8");
    assert_eq!(machine.version("tool", &[]), "tool 9");
}
