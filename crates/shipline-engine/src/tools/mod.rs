//! What runs a component's commands: the versions of its programs, and the files that pick them.
//!
//! Looking runs nothing that the repository brought. Programs of this machine are asked in a folder outside of it, with an
//! environment that names nothing in it (`ask`). The files by which a version is picked are read as data (`picking`), and
//! what rustup makes of them is found out without it (`rustup`). Of a program that lies in the repository, the contents stand
//! for its version.

mod ask;
mod picking;
mod rustup;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use shipline_model::config::Component;
use shipline_model::name::RepoPath;
use shipline_model::plan::sources;

use self::ask::{Answer, Asking};
use self::picking::Picking;
use crate::backend::SourceRepo;
use crate::cache::Cache;
use crate::error::{BackendError, ErrorClass};

pub use ask::path_outside_of;

/// What stands for the version of a program that goes by files which are in the key themselves.
const BY_FILES: &str = "by the files that pick it";

/// Asks the programs of a run's components for their versions.
pub struct Tools<'a> {
    root: PathBuf,
    /// What commands see: by its `PATH` programs are found.
    environment: &'a BTreeMap<String, String>,
    asking: Asking<'a>,
    /// Answers by program.
    answers: BTreeMap<PathBuf, Answer>,
    /// The files of a folder of the repository that pick versions.
    files: BTreeMap<String, Vec<Picking>>,
    problems: BTreeSet<String>,
    notes: BTreeSet<String>,
}

impl<'a> Tools<'a> {
    /// For components of the repository at `root`, whose commands see `environment`.
    #[must_use]
    pub fn new(root: &Path, environment: &'a BTreeMap<String, String>, cache: &'a Cache) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        Self {
            asking: Asking::new(&root, environment, cache),
            root,
            environment,
            answers: BTreeMap::new(),
            files: BTreeMap::new(),
            problems: BTreeSet::new(),
            notes: BTreeSet::new(),
        }
    }

    /// The version of each of the component's tools, by name, and a digest of what picks versions between the root and the
    /// component, by path. A program is asked once and then known by its file; a script, or another switch that picks the
    /// program that runs, is asked every time. Blocking. What there is to complain of is told by [`Tools::finish`].
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
        for file in &picking {
            found.insert(format!("file {}", file.path), file.digest.clone());
        }
        let own = sources(component);
        // What stands in the root is seen from the workspace too; of the rest, what the workspace holds.
        let seen: Vec<&Picking> = picking
            .iter()
            .filter(|file| !file.path.as_str().contains('/') || is_source(&file.path, &own, source))
            .collect();
        for name in &component.tools {
            if let Some(version) = self.version(name, path, &seen) {
                found.insert(format!("tool {name}"), version);
            }
        }
        found
    }

    /// Ends the asking, with notes on programs that could not tell their versions.
    ///
    /// # Errors
    /// `Unavailable` with all programs that are not there.
    pub fn finish(self) -> Result<Vec<String>, BackendError> {
        if self.problems.is_empty() {
            return Ok(self.notes.into_iter().collect());
        }
        let mut message = "find the versions of tools".to_owned();
        for problem in &self.problems {
            // Writing into a String cannot fail.
            let _ = write!(message, "; {problem}");
        }
        Err(BackendError::new(ErrorClass::Unavailable, message)
            .hint("install them, or take them out of the component's `tools`"))
    }

    /// The files that pick versions in the root, in the component's folder and between them, the root's first.
    fn picking(&mut self, path: &RepoPath) -> Vec<Picking> {
        let mut found = Vec::new();
        let mut folders = vec![""];
        if path.as_str() != "." {
            let ends = path.as_str().match_indices('/').map(|(end, _)| end);
            folders.extend(ends.map(|end| &path.as_str()[..end]));
            folders.push(path.as_str());
        }
        for folder in folders {
            let root = &self.root;
            let files = self
                .files
                .entry(folder.to_owned())
                .or_insert_with(|| picking::files(root, folder));
            found.extend(files.iter().cloned());
        }
        found
    }

    /// A program's version for a component at `path` that sees these files.
    fn version(&mut self, name: &str, path: &RepoPath, seen: &[&Picking]) -> Option<String> {
        let search = self.environment.get("PATH").map_or("", String::as_str);
        let Some(program) = find(name, search, &self.root.join(path.as_str())) else {
            self.problems.insert(format!("`{name}` is not on the PATH"));
            return None;
        };
        if !self.asking.may_run(&program) {
            return Some(self.contents(name, &program));
        }
        let (program, name) = if rustup::is_proxy(&program) {
            match rustup::choose(name, self.environment, &self.root, seen) {
                rustup::Choice::Told(version) => return Some(version),
                rustup::Choice::Missing(toolchain) => {
                    self.notes.insert(format!(
                        "the toolchain `{toolchain}`, which picks `{name}`, is not installed: only its name stands for its version"
                    ));
                    return Some(format!("toolchain {toolchain}, not installed"));
                }
                rustup::Choice::Program(program) if self.asking.may_run(&program) => {
                    (program, name)
                }
                rustup::Choice::Program(program) => return Some(self.contents(name, &program)),
                rustup::Choice::Unknown => return Some(BY_FILES.to_owned()),
            }
        } else {
            (program, name)
        };
        if !seen.is_empty() && ask::is_switch(&program) {
            return Some(BY_FILES.to_owned());
        }
        let asking = &self.asking;
        let answer = self
            .answers
            .entry(program.clone())
            .or_insert_with(|| asking.ask(name, &program));
        match answer {
            Answer::Version(version) => Some(version.clone()),
            Answer::Untold => Some(self.contents(name, &program)),
            Answer::Failed(why) => {
                self.notes.insert(format!(
                    "the version of `{name}` is unknown: {why}; list the component's `tools` to leave it out"
                ));
                Some(format!("unknown, {}", self.contents(name, &program)))
            }
        }
    }

    /// What stands for the version of a program that cannot be asked.
    fn contents(&mut self, name: &str, program: &Path) -> String {
        picking::contents(program).unwrap_or_else(|why| {
            self.notes
                .insert(format!("the version of `{name}` is unknown: {why}"));
            "unknown".to_owned()
        })
    }
}

/// Whether the workspace holds the file: it belongs to the component, and git would take it.
fn is_source(file: &RepoPath, own: &[RepoPath], source: &dyn SourceRepo) -> bool {
    own.iter().any(|own| own.contains(file.as_str())) && matches!(source.read(file), Ok(Some(_)))
}

/// The program that a command in `directory` would start: a folder that is not absolute is one below it, and an empty one is it.
fn find(name: &str, path: &str, directory: &Path) -> Option<PathBuf> {
    path.split(':')
        .map(|folder| directory.join(folder).join(name))
        .find(|program| {
            fs::metadata(program)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests;
