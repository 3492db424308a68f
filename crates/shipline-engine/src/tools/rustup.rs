//! What rustup's proxies (`cargo`, `rustc` …) would run, found out without them: they install what is not there, and a
//! `rust-toolchain.toml` can make them run any program.
//!
//! The order is rustup's: `RUSTUP_TOOLCHAIN`, then from the component's folder upwards an override or a toolchain file, then the
//! default toolchain (<https://rust-lang.github.io/rustup/overrides.html>).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::picking::Picking;

/// What a proxy would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// A toolchain whose name is its version.
    Told(String),
    /// This program of an installed toolchain.
    Program(PathBuf),
    /// A toolchain that is not installed.
    Missing(String),
    /// That cannot be told: what picks it stands in the key.
    Unknown,
}

/// Whether the program is a soft or hard link to rustup.
pub(super) fn is_proxy(program: &Path) -> bool {
    let is_rustup = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        matches!(name, Some("rustup" | "rustup-init"))
    };
    if is_rustup(program) {
        return false;
    }
    let Ok(meta) = fs::metadata(program) else {
        return false;
    };
    let beside = fs::metadata(program.with_file_name("rustup"));
    beside.is_ok_and(|rustup| rustup.ino() == meta.ino() && rustup.dev() == meta.dev())
        || program.canonicalize().is_ok_and(|real| is_rustup(&real))
}

/// What the proxy `name` runs for a component that sees these files (the root's first) in the repository at `root`.
pub(super) fn choose(
    name: &str,
    environment: &BTreeMap<String, String>,
    root: &Path,
    seen: &[&Picking],
) -> Choice {
    let Some(home) = home(environment) else {
        return Choice::Unknown;
    };
    let settings = fs::read_to_string(home.join("settings.toml")).unwrap_or_default();
    let picked = match environment.get("RUSTUP_TOOLCHAIN") {
        Some(toolchain) if !toolchain.is_empty() => Some(Picked::Channel(toolchain.clone())),
        Some(_) | None => in_repository(root, seen, &settings)
            .or_else(|| above(root, &settings))
            .or_else(|| value(&settings, None, "default_toolchain").map(Picked::Channel)),
    };
    match picked {
        Some(Picked::Channel(toolchain)) => installed(name, &home, &toolchain),
        Some(Picked::Folder(folder)) => Choice::Program(folder.join("bin").join(name)),
        Some(Picked::Unclear) | None => Choice::Unknown,
    }
}

fn home(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    match environment.get("RUSTUP_HOME") {
        Some(home) => Some(PathBuf::from(home)),
        None => Some(Path::new(environment.get("HOME")?).join(".rustup")),
    }
}

/// What picks a toolchain.
enum Picked {
    Channel(String),
    /// A toolchain's folder (`path`).
    Folder(PathBuf),
    /// A file that we do not understand.
    Unclear,
}

/// By the nearest file of the repository; in the root an override comes first.
fn in_repository(root: &Path, seen: &[&Picking], settings: &str) -> Option<Picked> {
    let mut nearest: Option<(&str, &Picking)> = None;
    for file in seen {
        let path = file.path.as_str();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        // Of two in one folder, the older name wins.
        let is_nearer = match nearest {
            Some((other, _)) => folder != other,
            None => true,
        };
        if matches!(name, "rust-toolchain" | "rust-toolchain.toml") && is_nearer {
            nearest = Some((folder, file));
        }
    }
    if let Some((folder, file)) = nearest
        && !folder.is_empty()
    {
        return Some(read(&root.join(folder), &file.text));
    }
    override_of(root, settings).or_else(|| nearest.map(|(_, file)| read(root, &file.text)))
}

/// By an override or a file of a folder above the repository.
fn above(root: &Path, settings: &str) -> Option<Picked> {
    root.ancestors().skip(1).find_map(|folder| {
        override_of(folder, settings).or_else(|| {
            let name = ["rust-toolchain", "rust-toolchain.toml"];
            let name = name.iter().find(|name| folder.join(name).is_file())?;
            let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
            Some(read(folder, &text))
        })
    })
}

fn override_of(folder: &Path, settings: &str) -> Option<Picked> {
    value(settings, Some("overrides"), &folder.display().to_string()).map(Picked::Channel)
}

/// What a toolchain file in `folder` says: TOML, or a channel alone.
fn read(folder: &Path, text: &str) -> Picked {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    if let [channel] = lines.as_slice()
        && !channel.contains(['=', '[', '#'])
    {
        return Picked::Channel((*channel).to_owned());
    }
    match (
        value(text, Some("toolchain"), "path"),
        value(text, Some("toolchain"), "channel"),
    ) {
        (Some(path), _) => Picked::Folder(folder.join(path)),
        (None, Some(channel)) => Picked::Channel(channel),
        (None, None) => Picked::Unclear,
    }
}

/// The string behind `key =` in a table of a TOML text (the topmost where none is named), as rustup and people write it.
fn value(text: &str, table: Option<&str>, key: &str) -> Option<String> {
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            current = Some(
                header
                    .split(']')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            );
            continue;
        }
        if current.as_deref() != table {
            continue;
        }
        let rest = line
            .strip_prefix(&format!("\"{key}\""))
            .or_else(|| line.strip_prefix(key));
        let Some(rest) = rest.and_then(|rest| rest.trim_start().strip_prefix('=')) else {
            continue;
        };
        let rest = rest.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        return rest[1..].split(quote).next().map(str::to_owned);
    }
    None
}

/// The program of a toolchain by its name.
fn installed(name: &str, home: &Path, toolchain: &str) -> Choice {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if toolchain.is_empty() || !toolchain.chars().all(plain) || toolchain.starts_with('.') {
        return Choice::Unknown;
    }
    if is_exact(toolchain) {
        // Installed or not, it is this one.
        return Choice::Told(format!("toolchain {toolchain}"));
    }
    let folder = home.join("toolchains");
    let own = format!("{toolchain}-{}-", std::env::consts::ARCH);
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let entry = entry.file_name();
            let entry = entry.to_string_lossy();
            entry == toolchain || entry.starts_with(&own)
        })
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|program| program.is_file())
        .collect();
    found.sort();
    match found.as_slice() {
        [program] => Choice::Program(program.clone()),
        [] => Choice::Missing(toolchain.to_owned()),
        [..] => Choice::Unknown,
    }
}

/// Whether a channel names one release for ever: `1.90.0`, `nightly-2025-11-01`, either with a target behind it.
fn is_exact(channel: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = channel.split('-').collect();
    match parts.as_slice() {
        ["nightly" | "beta" | "stable", year, month, day, ..] => {
            digits(year) && digits(month) && digits(day)
        }
        [version, ..] => {
            let numbers: Vec<&str> = version.split('.').collect();
            numbers.len() == 3 && numbers.into_iter().all(digits)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_name_one_release_are_known() {
        for exact in [
            "1.90.0",
            "nightly-2025-11-01",
            "1.90.0-x86_64-unknown-linux-gnu",
        ] {
            assert!(is_exact(exact), "{exact}");
        }
        for moving in [
            "stable",
            "1.90",
            "nightly",
            "beta-x86_64-unknown-linux-gnu",
            "mine",
        ] {
            assert!(!is_exact(moving), "{moving}");
        }
    }

    #[test]
    fn toolchain_files_are_read_as_rustup_does() {
        let check = |text: &str, expected: &str| {
            let picked = match read(Path::new("/r"), text) {
                Picked::Channel(channel) => format!("channel {channel}"),
                Picked::Folder(folder) => format!("folder {}", folder.display()),
                Picked::Unclear => "unclear".to_owned(),
            };
            assert_eq!(picked, expected, "{text}");
        };
        check("1.90\n", "channel 1.90");
        check(
            "[toolchain]\nchannel = \"nightly\" # new\n",
            "channel nightly",
        );
        check("# x\n[ toolchain ]\nchannel='1.90.0'\n", "channel 1.90.0");
        check("[toolchain]\npath = \"tc\"\n", "folder /r/tc");
        check(
            "[toolchain]\npath = \"/opt/tc\"\nchannel = \"1.90\"\n",
            "folder /opt/tc",
        );
        check("[other]\nchannel = \"1.90\"\n", "unclear");
        check("", "unclear");
    }
}
