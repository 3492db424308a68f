//! What runs a component's commands: the versions of its programs, and the files that pick them.
//!
//! Programs are asked in the component's own folder of the work tree, where they find the files by which they pick a version
//! (`rust-toolchain.toml`, `.nvmrc`, …) as they will in the workspace: its files are those of the folder, and above it programs
//! see the repository's root. A file that they would see here and not there (one that git ignores, or one between root and
//! component that the component does not use), and an override of rustup's for a folder, makes the answer of the root count as
//! well: one of both is what will run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use shipline_model::config::Component;
use shipline_model::name::RepoPath;
use shipline_model::plan::sources;

use crate::backend::SourceRepo;
use crate::cache::Cache;
use crate::error::{BackendError, ErrorClass};
use crate::process::quick;

/// How long a program may take to say its version: rustup first installs a toolchain that is not there yet.
const LIMIT: Duration = Duration::from_secs(120);

/// Files by which a program, or what stands before it on the `PATH`, picks a version.
const PICKING: &[&str] = &[
    ".go-version",
    ".java-version",
    ".mise.toml",
    ".node-version",
    ".nvmrc",
    ".prototools",
    ".python-version",
    ".ruby-version",
    ".sdkmanrc",
    ".tool-versions",
    "global.json",
    "mise.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// Files that say it among other things: who goes by them is asked anew, and their text stands in no key.
const ALSO_PICKING: &[&str] = &["package.json", ".yarnrc.yml"];

/// Asks the programs of a run's components for their versions.
pub struct Tools<'a> {
    root: &'a Path,
    environment: &'a BTreeMap<String, String>,
    cache: &'a Cache,
    /// Answers by program and by what picks it in a folder.
    answers: BTreeMap<(String, String), Result<String, String>>,
    /// What picks programs in a folder: components share those above them.
    picked: BTreeMap<PathBuf, String>,
    /// Whether rustup has an override for a folder of the repository: the workspace is another folder.
    overridden: bool,
    /// The files of a folder of the repository that pick versions, with their texts.
    files: BTreeMap<String, Vec<(RepoPath, Vec<u8>)>>,
    problems: Vec<String>,
}

impl<'a> Tools<'a> {
    /// For components of the repository at `root`, whose commands see `environment`.
    #[must_use]
    pub fn new(
        root: &'a Path,
        environment: &'a BTreeMap<String, String>,
        cache: &'a Cache,
    ) -> Self {
        Self {
            root,
            environment,
            cache,
            answers: BTreeMap::new(),
            picked: BTreeMap::new(),
            overridden: has_overrides(root, environment),
            files: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// What `NAME --version` prints for each of the component's tools, by name, and the SHA-256 of each file that picks versions
    /// between the root and the component, by path. A program is asked once and then known by its file (rustup's proxies also by
    /// all that they go by); a shell script or another switch that picks the program that runs is asked every time.
    /// Blocking. What a program has to complain of is told by [`Tools::finish`].
    #[must_use]
    pub fn of(
        &mut self,
        component: &Component,
        source: &dyn SourceRepo,
    ) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let Some(path) = &component.path else {
            return found;
        };
        let picking = self.picking(path);
        let own = sources(component);
        let mut hidden = self.overridden;
        for (file, text) in &picking {
            found.insert(format!("file {file}"), hex::encode(Sha256::digest(text)));
            // What stands in the root is seen from the workspace too.
            hidden |= file.as_str().contains('/') && !is_source(file, &own, source);
        }
        let mut places = vec![("", self.folder(path))];
        if hidden {
            places.push((" in the root", self.root.to_owned()));
        }
        for (place, folder) in places {
            let picked = self.picked(&folder);
            for name in &component.tools {
                if let Some(version) = self.version(name, &folder, &picked) {
                    found.insert(format!("tool {name}{place}"), version);
                }
            }
        }
        found
    }

    /// Ends the asking.
    ///
    /// # Errors
    /// `Unavailable` with all programs that are not there or did not answer.
    pub fn finish(self) -> Result<(), BackendError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut message = "find the versions of tools".to_owned();
        for problem in &self.problems {
            // Writing into a String cannot fail.
            let _ = write!(message, "; {problem}");
        }
        Err(BackendError::new(ErrorClass::Unavailable, message)
            .hint("install them, or take them out of the component's `tools`"))
    }

    /// The files that pick versions in the root, in the component's folder and between them, with their texts.
    fn picking(&mut self, path: &RepoPath) -> Vec<(RepoPath, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![""];
        if path.as_str() != "." {
            let ends = path.as_str().match_indices('/').map(|(end, _)| end);
            folders.extend(ends.map(|end| &path.as_str()[..end]));
            folders.push(path.as_str());
        }
        for folder in folders {
            let root = self.root;
            let files = self
                .files
                .entry(folder.to_owned())
                .or_insert_with(|| files(root, folder));
            found.extend(files.iter().cloned());
        }
        found
    }

    /// What tells all that may pick a program in this folder: its own files and those above it.
    fn picked(&mut self, folder: &Path) -> String {
        if let Some(known) = self.picked.get(folder) {
            return known.clone();
        }
        let own = looks(folder, PICKING) + &looks(folder, ALSO_PICKING);
        let above = folder.parent().map(|above| self.picked(above));
        let all = own + above.as_deref().unwrap_or_default();
        self.picked.insert(folder.to_owned(), all.clone());
        all
    }

    /// The component's folder, or in a sparse checkout the nearest one above it.
    fn folder(&self, path: &RepoPath) -> PathBuf {
        let folder = self.root.join(path.as_str());
        let there = folder.ancestors().find(|folder| folder.is_dir());
        there.unwrap_or(self.root).to_owned()
    }

    /// A program's version in a folder where all of `picked` may pick it.
    fn version(&mut self, name: &str, folder: &Path, picked: &str) -> Option<String> {
        let (environment, cache) = (self.environment, self.cache);
        let answer = self
            .answers
            .entry((name.to_owned(), picked.to_owned()))
            .or_insert_with(|| version(name, environment, folder, cache));
        match answer {
            Ok(version) => Some(version.clone()),
            Err(problem) => {
                if !self.problems.contains(problem) {
                    self.problems.push(problem.clone());
                }
                None
            }
        }
    }
}

/// The files of a folder of the repository at `root` that pick versions, with their texts.
fn files(root: &Path, folder: &str) -> Vec<(RepoPath, Vec<u8>)> {
    let named = PICKING.iter().filter_map(|name| {
        let file = match folder {
            "" => (*name).to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let text = fs::read(root.join(&file)).ok()?;
        Some((RepoPath::new(file).ok()?, text))
    });
    named.collect()
}

/// Whether the workspace holds the file: it belongs to the component, and git would take it.
fn is_source(file: &RepoPath, own: &[RepoPath], source: &dyn SourceRepo) -> bool {
    own.iter().any(|own| own.contains(file.as_str())) && matches!(source.read(file), Ok(Some(_)))
}

fn version(
    name: &str,
    environment: &BTreeMap<String, String>,
    directory: &Path,
    cache: &Cache,
) -> Result<String, String> {
    let path = environment.get("PATH").map_or("", String::as_str);
    let program =
        find(name, path, directory).ok_or_else(|| format!("`{name}` is not on the PATH"))?;
    let identity = identity(&program, environment, directory);
    if let Some(version) = identity
        .as_ref()
        .and_then(|identity| cache.tool(name, identity))
    {
        return Ok(version);
    }
    let version =
        quick(&program, &["--version"], directory, environment, LIMIT).map_err(|error| {
            match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }
        })?;
    if let Some(identity) = identity {
        cache.record_tool(name, &identity, &version);
    }
    Ok(version)
}

fn find(name: &str, path: &str, directory: &Path) -> Option<PathBuf> {
    path.split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| directory.join(folder).join(name))
        .find(|program| {
            fs::metadata(program)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// What tells a program's file from any other, and for rustup's proxies what they go by; `None` for a program that picks
/// another one by rules that we do not know.
fn identity(
    program: &Path,
    environment: &BTreeMap<String, String>,
    directory: &Path,
) -> Option<String> {
    let real = program.canonicalize().ok()?;
    let meta = fs::metadata(&real).ok()?;
    let named = |word: &str| {
        real.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.contains(word))
    };
    let in_shims = program
        .parent()
        .is_some_and(|folder| folder.ends_with("shims"));
    if in_shims || named("shim") || named("mise") || named("asdf") || is_shell_script(&real, &meta)
    {
        return None;
    }
    let mut identity = look(&real, &meta);
    // rustup's proxies are soft or hard links to it.
    let rustup = program.with_file_name("rustup");
    let is_proxy = fs::metadata(&rustup)
        .is_ok_and(|rustup| rustup.ino() == meta.ino() && rustup.dev() == meta.dev());
    if is_proxy || named("rustup") {
        identity.push_str(&rustup_state(environment, directory)?);
    }
    // Corepack's programs, and yarn itself, run what the package says.
    if ["corepack", "yarn", "pnpm"].into_iter().any(named) {
        identity.push_str(&state(directory, ALSO_PICKING));
    }
    Some(identity)
}

fn look(path: &Path, meta: &fs::Metadata) -> String {
    format!(
        "{}: {} {} {} {} {}\n",
        path.display(),
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    )
}

fn is_shell_script(path: &Path, meta: &fs::Metadata) -> bool {
    if meta.len() > 64 * 1024 {
        return false;
    }
    let text = fs::read(path).unwrap_or_default();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"#!") && first.trim_ascii_end().ends_with(b"sh")
}

fn rustup_home(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    match environment.get("RUSTUP_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => Some(Path::new(environment.get("HOME")?).join(".rustup")),
    }
}

/// Whether rustup's settings name a folder below `root` (`rustup override set`).
fn has_overrides(root: &Path, environment: &BTreeMap<String, String>) -> bool {
    rustup_home(environment)
        .and_then(|home| fs::read_to_string(home.join("settings.toml")).ok())
        .is_some_and(|settings| settings.contains(&format!("\"{}/", root.display())))
}

/// Everything by which rustup picks a toolchain: its settings, what is installed, the variable, and the files of the folder and
/// of those above it.
fn rustup_state(environment: &BTreeMap<String, String>, directory: &Path) -> Option<String> {
    let home = rustup_home(environment)?;
    let mut text = format!("{:?}\n", environment.get("RUSTUP_TOOLCHAIN"));
    let mut paths = vec![home.join("settings.toml")];
    for folder in ["toolchains", "update-hashes"] {
        paths.extend(
            fs::read_dir(home.join(folder))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
    }
    paths.sort();
    for path in paths {
        if let Ok(meta) = fs::metadata(&path) {
            text.push_str(&look(&path, &meta));
        }
    }
    text.push_str(&state(
        directory,
        &["rust-toolchain", "rust-toolchain.toml"],
    ));
    Some(text)
}

/// What tells the files of these names in a folder and above it from any others.
fn state(folder: &Path, names: &[&str]) -> String {
    let folders = folder.ancestors();
    folders.map(|folder| looks(folder, names)).collect()
}

/// The same for the folder alone.
fn looks(folder: &Path, names: &[&str]) -> String {
    let mut text = String::new();
    for name in names {
        let path = folder.join(name);
        if let Ok(meta) = fs::metadata(&path) {
            text.push_str(&look(&path, &meta));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use shipline_model::config;
    use shipline_model::name::CommitId;
    use shipline_model::plan::{Head, PathChange};

    use super::*;
    use crate::backend::{Ancestry, Materialized, SourceSet};
    use crate::folder::Place;

    fn program(path: &Path, text: &str) {
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
        fn changes(&self, _: &CommitId) -> Result<Vec<PathChange>, BackendError> {
            unreachable!()
        }
        fn key(&self, _: &[RepoPath]) -> Result<String, BackendError> {
            unreachable!()
        }
        fn read_at(&self, _: &CommitId, _: &RepoPath) -> Result<Option<Vec<u8>>, BackendError> {
            unreachable!()
        }
        fn materialize(&self, _: &SourceSet, _: &Place) -> Result<Materialized, BackendError> {
            unreachable!()
        }
        fn extras(&self, _: &SourceSet, _: &Place) -> Result<Vec<RepoPath>, BackendError> {
            unreachable!()
        }
    }

    /// A root with `bin` on the `PATH`.
    struct Root {
        folder: tempfile::TempDir,
        environment: BTreeMap<String, String>,
    }

    impl Root {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["bin", "services/one"] {
                fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            let bin = folder.path().join("bin").display().to_string();
            Self {
                folder,
                environment: BTreeMap::from([("PATH".to_owned(), bin)]),
            }
        }

        fn program(&self, name: &str, text: &str) {
            program(&self.folder.path().join("bin").join(name), text);
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.folder.path().join(path), text).unwrap();
        }

        fn ask(
            &self,
            tools: &[&str],
            taken: &'static [&'static str],
        ) -> Result<BTreeMap<String, String>, BackendError> {
            let cache = Cache::new(self.folder.path().join(".shipline"));
            let mut asked = Tools::new(self.folder.path(), &self.environment, &cache);
            let found = asked.of(&component("services/one", tools), &Taken(taken));
            asked.finish().map(|()| found)
        }
    }

    #[test]
    fn versions_are_asked_for_and_problems_named_together() {
        let root = Root::new();
        root.program("one", "#!/bin/sh\necho one 1.2.3");
        root.program("broken", "#!/bin/sh\necho no such option >&2\nexit 4");
        let one = || root.ask(&["one"], &[]).unwrap()["tool one"].clone();
        assert_eq!(one(), "one 1.2.3");
        root.program("one", "#!/bin/sh\necho one 1.2.4");
        assert_eq!(one(), "one 1.2.4");
        let error = root.ask(&["one", "broken", "absent"], &[]).unwrap_err();
        let error = error.message;
        assert!(error.contains("`absent` is not on the PATH"), "{error}");
        assert!(error.contains("exit status: 4"), "{error}");
    }

    #[test]
    fn a_program_is_asked_where_the_components_commands_run() {
        let root = Root::new();
        // As version managers do it: the nearest file counts.
        root.program(
            "node",
            "#!/bin/sh\nwhile [ ! -e .nvmrc ] && [ \"$PWD\" != / ]; do cd ..; done\nread v <.nvmrc\necho \"v$v\"",
        );
        root.write(".nvmrc", "20\n");
        let before = root.ask(&["node"], &[]).unwrap();
        assert_eq!(before["tool node"], "v20");
        root.write("services/one/.nvmrc", "22\n");
        let own = root.ask(&["node"], &["services/one/.nvmrc"]).unwrap();
        assert_eq!(own["tool node"], "v22");
        assert!(!own.contains_key("tool node in the root"), "{own:?}");

        // What the workspace does not hold decides nothing there: then it is the root's.
        let ignored = root.ask(&["node"], &[]).unwrap();
        assert_eq!(ignored["tool node in the root"], "v20");
        fs::remove_file(root.folder.path().join("services/one/.nvmrc")).unwrap();
        root.write("services/.nvmrc", "18\n");
        let above = root.ask(&["node"], &["services/.nvmrc"]).unwrap();
        assert_eq!(above["tool node in the root"], "v20");
    }

    #[test]
    fn an_override_of_rustups_is_for_the_folder_and_not_for_the_workspace() {
        let mut root = Root::new();
        root.program("cargo", "#!/bin/sh\necho cargo in \"${PWD##*/}\"");
        let home = root.folder.path().join("rustup");
        fs::create_dir(&home).unwrap();
        let of = |folder: &Path| format!("[overrides]\n\"{}\" = \"beta\"\n", folder.display());
        root.write("rustup/settings.toml", &of(Path::new("/elsewhere/one")));
        let home = home.display().to_string();
        root.environment.insert("RUSTUP_HOME".to_owned(), home);
        assert_eq!(root.ask(&["cargo"], &[]).unwrap().len(), 1);
        let below = root.folder.path().join("services/one");
        root.write("rustup/settings.toml", &of(&below));
        let both = root.ask(&["cargo"], &[]).unwrap();
        assert_eq!(both["tool cargo"], "cargo in one");
        assert!(both.contains_key("tool cargo in the root"), "{both:?}");
    }

    #[test]
    fn files_that_pick_versions_count_whoever_reads_them() {
        let root = Root::new();
        assert_eq!(root.ask(&[], &[]).unwrap(), BTreeMap::new());
        root.write("rust-toolchain.toml", "[toolchain]\nchannel = \"1.90\"\n");
        let first = root.ask(&[], &[]).unwrap();
        assert_eq!(
            first.keys().collect::<Vec<_>>(),
            ["file rust-toolchain.toml"]
        );
        root.write("rust-toolchain.toml", "[toolchain]\nchannel = \"1.91\"\n");
        assert_ne!(root.ask(&[], &[]).unwrap(), first);
        root.write("services/one/.python-version", "3.13\n");
        let both = root.ask(&[], &["services/one/.python-version"]).unwrap();
        assert!(both.contains_key("file services/one/.python-version"));
    }

    #[test]
    fn a_binary_is_asked_once_in_each_of_two_places() {
        let root = Root::new();
        let cache = Cache::new(root.folder.path().join(".shipline"));
        root.program("tool", "\u{7f}ELF: cannot run");
        let fake = root.folder.path().join("bin/tool");
        let here = root.folder.path().join("services/one");
        let known = identity(&fake, &root.environment, &here).unwrap();
        cache.record_tool("tool", &known, "tool 9");
        cache.record_tool("tool", "elsewhere", "tool 8");
        assert_eq!(root.ask(&["tool"], &[]).unwrap()["tool tool"], "tool 9");
    }
}
