//! Versions of the programs that a component's results depend on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::Cache;
use crate::error::{BackendError, ErrorClass};
use crate::process::quick;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(20);

/// What `NAME --version` prints for each name, found on the `PATH` of `environment` and run in `directory`. A program is asked
/// once and then known by its file (rustup's proxies also by all that they go by); a shell script or another switch that picks
/// the program that runs is asked every time.
/// Blocking.
///
/// # Errors
/// `Unavailable` with all programs that are not there or do not answer.
pub fn versions(
    names: &[String],
    environment: &BTreeMap<String, String>,
    directory: &Path,
    cache: &Cache,
) -> Result<BTreeMap<String, String>, BackendError> {
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    for name in names {
        match version(name, environment, directory, cache) {
            Ok(version) => {
                found.insert(name.clone(), version);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        return Ok(found);
    }
    let mut message = "find the versions of tools".to_owned();
    for problem in &problems {
        let _ = write!(message, "; {problem}");
    }
    Err(BackendError::new(ErrorClass::Unavailable, message)
        .hint("install them, or take them out of the component's `tools`"))
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

/// Everything by which rustup picks a toolchain: its settings, what is installed, the variable and the files of the folders.
fn rustup_state(environment: &BTreeMap<String, String>, directory: &Path) -> Option<String> {
    let home = match environment.get("RUSTUP_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(environment.get("HOME")?).join(".rustup"),
    };
    let mut state = format!("{:?}\n", environment.get("RUSTUP_TOOLCHAIN"));
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
    for folder in directory.ancestors() {
        paths.push(folder.join("rust-toolchain"));
        paths.push(folder.join("rust-toolchain.toml"));
    }
    paths.sort();
    for path in paths {
        if let Ok(meta) = fs::metadata(&path) {
            state.push_str(&look(&path, &meta));
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn versions_are_asked_for_and_problems_named_together() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        program(&bin.join("one"), "#!/bin/sh\necho one 1.2.3");
        program(
            &bin.join("broken"),
            "#!/bin/sh\necho no such option >&2\nexit 4",
        );
        let environment = BTreeMap::from([("PATH".to_owned(), bin.display().to_string())]);
        let cache = Cache::new(&folder.path().join(".shipline"));
        let ask = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            versions(&names, &environment, folder.path(), &cache)
        };
        assert_eq!(ask(&["one"]).unwrap()["one"], "one 1.2.3");
        program(&bin.join("one"), "#!/bin/sh\necho one 1.2.4");
        assert_eq!(ask(&["one"]).unwrap()["one"], "one 1.2.4");
        let error = ask(&["one", "broken", "absent"]).unwrap_err().message;
        assert!(error.contains("`absent` is not on the PATH"), "{error}");
        assert!(error.contains("exit status: 4"), "{error}");
    }

    #[test]
    fn a_binary_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let cache = Cache::new(&folder.path().join(".shipline"));
        let fake = bin.join("tool");
        program(&fake, "\u{7f}ELF: cannot run");
        let environment = BTreeMap::from([("PATH".to_owned(), bin.display().to_string())]);
        let known = identity(&fake, &environment, folder.path()).unwrap();
        cache.record_tool("tool", &known, "tool 9");
        let names = ["tool".to_owned()];
        assert_eq!(
            versions(&names, &environment, folder.path(), &cache).unwrap()["tool"],
            "tool 9"
        );
    }
}
