//! What a cold build costs, held by counting: which dependencies there are, and that the gate's commands build each once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::tidy::root;

/// The most crates, ours aside, that the shipped binary may be made of. Each costs every clean clone a share of a second at least.
const MOST_CRATES: usize = 285;

/// Crates with more Rust source than this, in bytes, are heavy.
const HEAVY: u64 = 1_000_000;

/// The heavy crates that the shipped binary may have. Another one needs a better reason than convenience: it costs every clean
/// clone seconds.
const ALLOWED: &[&str] = &[
    "aws-sdk-ecr",
    "aws-sdk-sts",
    "cyclonedx-bom",
    "jiff",
    "libc",
    "linux-raw-sys",
    "nix",
    "portable-atomic",
    "regex-automata",
    "regex-syntax",
    "rustix",
    "rustls",
    "syn",
    "time",
    "tokio",
    "unicode-width",
];

/// A package of `Cargo.lock`.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: Option<String>,
    /// Whether it is a member of this workspace.
    pub(super) ours: bool,
    /// The packages that it names as dependencies, those for development aside.
    pub(super) uses: Vec<String>,
    folder: PathBuf,
}

/// All packages of `Cargo.lock`, as cargo describes them.
pub(super) fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let text = cargo(&["metadata", "--locked", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&text).unwrap();
        let members = metadata["workspace_members"].as_array().unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        packages
            .iter()
            .map(|package| Package {
                name: word(&package["name"]),
                version: word(&package["version"]),
                licence: package["license"].as_str().map(str::to_owned),
                ours: members.contains(&package["id"]),
                uses: package["dependencies"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|dependency| dependency["kind"] != "dev")
                    .map(|dependency| word(&dependency["name"]))
                    .collect(),
                folder: Path::new(&word(&package["manifest_path"]))
                    .parent()
                    .unwrap()
                    .to_path_buf(),
            })
            .collect()
    })
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What cargo prints, without the variables that the cargo which runs this test gave it.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO") && text != "CARGO_HOME" {
            command.env_remove(&name);
        }
    }
    let output = command
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The packages (name and version) that a selection is built from, each with the sets of features that it is built with.
fn features(selection: &[&str], edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut arguments = vec!["tree", "--locked", "--prefix=none", "--format={p}\t{f}"];
    arguments.extend(["--edges", edges]);
    arguments.extend(selection);
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for line in cargo(&arguments).lines().filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(" (*)").unwrap_or(line);
        let (package, features) = line.split_once('\t').unwrap();
        let package = package.split(' ').take(2).collect::<Vec<_>>().join(" ");
        all.entry(package).or_default().insert(features.to_owned());
    }
    all
}

#[test]
fn each_dependency_is_built_once() {
    let everything = features(&["--workspace"], "normal,build,dev");
    for package in ["xtask", "shipline-cli"] {
        let wrong: Vec<String> = features(&["--package", package], "normal,build")
            .into_iter()
            .filter(|(name, features)| everything.get(name) != Some(features))
            .map(|(name, features)| format!("{name}: {features:?}, not {:?}", everything[&name]))
            .collect();
        assert!(
            wrong.is_empty(),
            "`cargo build -p {package}` and `cargo test --workspace` choose different features, so these and all that \
             use them are compiled twice: {wrong:#?}"
        );
    }
}

#[test]
fn the_shipped_binary_is_made_of_few_crates_and_known_heavy_ones() {
    let shipped = features(&["--package", "shipline-cli"], "normal,build");
    let theirs: Vec<&Package> = packages()
        .iter()
        .filter(|package| !package.ours)
        .filter(|package| shipped.contains_key(&format!("{} v{}", package.name, package.version)))
        .collect();
    assert!(
        theirs.len() <= MOST_CRATES,
        "{} crates, and the budget is {MOST_CRATES}",
        theirs.len()
    );
    let heavy: BTreeMap<&str, u64> = theirs
        .iter()
        .map(|package| (package.name.as_str(), sources(&package.folder.join("src"))))
        .filter(|(_, bytes)| *bytes > HEAVY)
        .collect();
    let unknown: Vec<_> = heavy
        .iter()
        .filter(|(name, _)| !ALLOWED.contains(name))
        .collect();
    assert!(
        unknown.is_empty(),
        "heavy crates that the table does not allow, with the bytes of their sources: {unknown:?}"
    );
    let gone: Vec<_> = ALLOWED
        .iter()
        .filter(|name| !heavy.contains_key(**name))
        .collect();
    assert!(
        gone.is_empty(),
        "in the table, but no longer there or no longer heavy: {gone:?}"
    );
}

/// The bytes of the Rust files in a folder.
fn sources(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        if metadata.is_dir() {
            bytes += sources(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            bytes += metadata.len();
        }
    }
    bytes
}
