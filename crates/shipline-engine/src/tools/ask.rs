//! Asking a program of this machine for its version, so that nothing of the repository can answer.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Cache;
use crate::error::ErrorClass;
use crate::process::quick;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(30);

/// Where programs are asked: no repository lies above it.
const NEUTRAL: &str = "/";

/// What programs see of the environment of commands, unless it names a place in the repository.
const SEEN: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "NVM_DIR",
];

/// What keeps programs from answering in the caller's language, and from fetching what is not there.
const SET: &[(&str, &str)] = &[
    ("LC_ALL", "C"),
    ("COREPACK_ENABLE_NETWORK", "0"),
    ("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0"),
    ("DOTNET_CLI_TELEMETRY_OPTOUT", "1"),
    ("DOTNET_NOLOGO", "1"),
    ("DOTNET_SKIP_FIRST_TIME_EXPERIENCE", "1"),
    ("GOTOOLCHAIN", "local"),
    ("MISE_AUTO_INSTALL", "0"),
    ("MISE_EXEC_AUTO_INSTALL", "0"),
    ("MISE_NOT_FOUND_AUTO_INSTALL", "0"),
    ("MISE_OFFLINE", "1"),
    ("PROTO_AUTO_INSTALL", "false"),
    ("PROTO_OFFLINE", "1"),
    ("RUSTUP_AUTO_INSTALL", "0"),
    ("TFENV_AUTO_INSTALL", "false"),
    ("UV_OFFLINE", "1"),
    ("UV_PYTHON_DOWNLOADS", "never"),
    ("YARN_IGNORE_PATH", "1"),
    ("npm_config_offline", "true"),
    ("npm_config_update_notifier", "false"),
];

/// How a program is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// With these arguments.
    With(&'static [&'static str]),
    /// Not at all: it has no such question, or would fetch or start something.
    Never,
}

/// Programs that are not asked with `--version`, by name.
const EXCEPTIONS: &[(&str, How)] = &[
    ("ant", How::With(&["-version"])),
    ("ash", How::Never),
    ("bazel", How::Never),
    ("bazelisk", How::Never),
    ("busybox", How::Never),
    ("dash", How::Never),
    ("erl", How::Never),
    ("ffmpeg", How::With(&["-version"])),
    ("flutter", How::Never),
    ("go", How::With(&["version"])),
    ("gofmt", How::Never),
    ("helm", How::With(&["version"])),
    ("java", How::With(&["-version"])),
    ("javac", How::With(&["-version"])),
    ("kotlin", How::With(&["-version"])),
    ("kotlinc", How::With(&["-version"])),
    ("kubectl", How::With(&["version", "--client"])),
    ("lua", How::With(&["-v"])),
    ("luac", How::With(&["-v"])),
    ("luajit", How::With(&["-v"])),
    ("nginx", How::With(&["-v"])),
    ("openssl", How::With(&["version"])),
    ("sbt", How::With(&["--script-version"])),
    ("scala", How::With(&["-version"])),
    ("scalac", How::With(&["-version"])),
    ("scp", How::Never),
    ("sh", How::Never),
    ("ssh", How::With(&["-V"])),
    ("tclsh", How::Never),
    ("toybox", How::Never),
    ("unzip", How::With(&["-v"])),
    ("which", How::Never),
    ("xcodebuild", How::With(&["-version"])),
    ("zig", How::With(&["version"])),
];

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// What it printed.
    Version(String),
    /// It is not asked.
    Untold,
    /// It cannot tell, or did not.
    Failed(String),
}

/// Asks programs of this machine.
pub(super) struct Asking<'a> {
    root: PathBuf,
    environment: BTreeMap<String, String>,
    cache: &'a Cache,
}

impl<'a> Asking<'a> {
    /// Outside of the repository at `root`; `environment` is what commands see.
    pub(super) fn new(
        root: &Path,
        environment: &BTreeMap<String, String>,
        cache: &'a Cache,
    ) -> Self {
        let mut seen: BTreeMap<String, String> = environment
            .iter()
            .filter(|(name, value)| {
                SEEN.contains(&name.as_str()) && is_outside_of(root, Path::new(value))
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if let Some(path) = environment.get("PATH") {
            seen.insert("PATH".to_owned(), path_outside_of(root, path));
        }
        seen.extend(
            SET.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Self {
            root: root.to_owned(),
            environment: seen,
            cache,
        }
    }

    /// Whether the program is one of this machine and not of the repository.
    pub(super) fn may_run(&self, program: &Path) -> bool {
        is_outside_of(&self.root, program)
    }

    /// The answer of a program that may run.
    pub(super) fn ask(&self, name: &str, program: &Path) -> Answer {
        let arguments = match how(name, program) {
            How::With(arguments) => arguments,
            How::Never => return Answer::Untold,
        };
        let identity = identity(program);
        if let Some(version) = identity
            .as_ref()
            .and_then(|identity| self.cache.tool(name, identity))
        {
            return Answer::Version(version);
        }
        match quick(
            program,
            arguments,
            Path::new(NEUTRAL),
            &self.environment,
            LIMIT,
        ) {
            Ok(version) if version.is_empty() => {
                Answer::Failed(format!("{} printed nothing", program.display()))
            }
            Ok(version) => {
                if let Some(identity) = identity {
                    self.cache.record_tool(name, &identity, &version);
                }
                Answer::Version(version)
            }
            Err(error) => Answer::Failed(match std::error::Error::source(&error) {
                Some(cause) if error.class == ErrorClass::Unavailable => {
                    format!("{error}: {cause}")
                }
                Some(_) | None => error.to_string(),
            }),
        }
    }
}

/// A `PATH` without folders that are relative or lie in the repository at `root`: what is found by it is of this machine.
#[must_use]
pub fn path_outside_of(root: &Path, path: &str) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let kept: Vec<&str> = path
        .split(':')
        .filter(|folder| is_outside_of(&root, Path::new(folder)))
        .collect();
    kept.join(":")
}

/// Whether a path is absolute, and neither it nor what it leads to lies below `root`, which is canonical.
fn is_outside_of(root: &Path, path: &Path) -> bool {
    let inside = |path: &Path| {
        // A folder above may be written in another way than the root is.
        path.starts_with(root)
            || path.ancestors().any(|above| {
                above
                    .canonicalize()
                    .is_ok_and(|above| above.starts_with(root))
            })
    };
    path.is_absolute() && !inside(path)
}

fn how(name: &str, program: &Path) -> How {
    let find = |name: &str| EXCEPTIONS.iter().find(|(known, _)| *known == name);
    let real = program.canonicalize().ok();
    let real = real
        .as_ref()
        .and_then(|real| real.file_name()?.to_str())
        .unwrap_or(name);
    match find(name).or_else(|| find(real)) {
        // `sh` may be a shell that can tell.
        Some((known, How::Never)) if *known == "sh" && real == "bash" => How::With(&["--version"]),
        Some((_, how)) => *how,
        None => How::With(&["--version"]),
    }
}

/// Whether the program is a switch of a version manager that starts another one by what files say.
pub(super) fn is_switch(program: &Path) -> bool {
    let real = program
        .canonicalize()
        .unwrap_or_else(|_| program.to_owned());
    let named = |word: &str| {
        [&real, program as &Path]
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .any(|name| name.contains(word))
    };
    let in_shims = program
        .parent()
        .is_some_and(|folder| folder.ends_with("shims"));
    in_shims
        || ["shim", "mise", "asdf", "corepack", "bazelisk"]
            .into_iter()
            .any(named)
}

/// What tells a program's file from any other; `None` for one that may pick another program by rules that we do not know.
pub(super) fn identity(program: &Path) -> Option<String> {
    let real = program.canonicalize().ok()?;
    let meta = fs::metadata(&real).ok()?;
    if is_switch(program) || is_shell_script(&real, &meta) {
        return None;
    }
    Some(format!(
        "{}: {} {} {} {} {}\n",
        real.display(),
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    ))
}

fn is_shell_script(path: &Path, meta: &fs::Metadata) -> bool {
    if meta.len() > 64 * 1024 {
        return false;
    }
    let text = fs::read(path).unwrap_or_default();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"#!") && first.trim_ascii_end().ends_with(b"sh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_found_by_name() {
        for pair in EXCEPTIONS.windows(2) {
            assert!(
                pair[0].0 < pair[1].0,
                "{} comes after {}",
                pair[0].0,
                pair[1].0
            );
        }
        let nowhere = Path::new("/nowhere");
        assert_eq!(how("go", &nowhere.join("go")), How::With(&["version"]));
        assert_eq!(how("dash", &nowhere.join("dash")), How::Never);
        assert_eq!(how("npm", &nowhere.join("npm")), How::With(&["--version"]));
    }

    #[test]
    fn folders_of_the_repository_are_taken_out_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repo");
        let other = folder.path().join("repository");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(&other).unwrap();
        std::os::unix::fs::symlink(root.join("bin"), other.join("link")).unwrap();
        let shown = |path: &Path| path.display().to_string();
        let path = [
            "node_modules/.bin".to_owned(),
            String::new(),
            ".".to_owned(),
            shown(&root.join("bin")),
            shown(&root.join("not/there")),
            shown(&other.join("link")),
            shown(&other.join("../repo/bin")),
            shown(&other),
        ]
        .join(":");
        assert_eq!(path_outside_of(&root, &path), shown(&other));
    }
}
