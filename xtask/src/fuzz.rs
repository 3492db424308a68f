//! `cargo xtask fuzz [TARGET] [--minutes N]`: the fuzz targets of `fuzz/`, outside the gate.

use std::fs;

use crate::steps::{command, root, step, succeeds};

/// The targets, and how many bytes an input of each may have.
const TARGETS: &[(&str, u32)] = &[
    ("archive", 32_768),
    ("binaries", 32_768),
    ("challenge", 4096),
    ("dockerfile", 8192),
    ("dockerignore", 4096),
    ("gitignore", 4096),
    ("image", 8192),
    ("index", 16_384),
    ("manifest", 8192),
    ("packages", 16_384),
    ("packets", 16_384),
    ("pipeline", 16_384),
    ("record", 16_384),
    ("redact", 4096),
];

/// How long each target runs without a number on the command line.
const MINUTES: u32 = 10;

/// An input that takes longer than this is a failure, in seconds.
const SECONDS: u32 = 10;

/// An input that needs more memory than this is a failure, in MiB.
const MEMORY: u32 = 1024;

const USAGE: &str = "usage: cargo xtask fuzz [TARGET] [--minutes N]";

/// Runs one target, or one after the other.
pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let (target, minutes) = match options {
        [] => (None, None),
        ["--minutes", minutes] => (None, Some(*minutes)),
        [target] => (Some(*target), None),
        [target, "--minutes", minutes] => (Some(*target), Some(*minutes)),
        other => return Err(format!("unknown options {other:?}; {USAGE}")),
    };
    let minutes = match minutes {
        None => MINUTES,
        Some(text) => match text.parse() {
            Ok(minutes @ 1..=1440) => minutes,
            Ok(_) | Err(_) => {
                return Err(format!("not a number from 1 to 1440: `{text}`; {USAGE}"));
            }
        },
    };
    let chosen: Vec<(&str, u32)> = TARGETS
        .iter()
        .copied()
        .filter(|(name, _)| target.is_none_or(|target| target == *name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "there is no fuzz target `{}`; there are {}",
            target.unwrap_or_default(),
            names.join(", ")
        ));
    }
    look_for_tools()?;
    for (name, longest) in chosen {
        fuzz(name, longest, minutes)?;
    }
    Ok(())
}

fn look_for_tools() -> Result<(), String> {
    if !succeeds("rustup", &["run", "nightly", "cargo", "--version"]) {
        return Err(
            "fuzzing needs Rust's nightly toolchain: `rustup toolchain install nightly`".to_owned(),
        );
    }
    if !succeeds("rustup", &["run", "nightly", "cargo", "fuzz", "--version"]) {
        return Err(
            "fuzzing needs cargo-fuzz and a C++ compiler: `cargo install cargo-fuzz`".to_owned(),
        );
    }
    Ok(())
}

fn fuzz(name: &str, longest: u32, minutes: u32) -> Result<(), String> {
    // What is found goes to a folder that is not committed; the seeds stay few.
    let found = root().join("fuzz/target/corpus").join(name);
    fs::create_dir_all(&found)
        .map_err(|error| format!("cannot create {}: {error}", found.display()))?;
    let seeds = root().join("fuzz/corpus").join(name);
    let (found, seeds) = (found.display().to_string(), seeds.display().to_string());
    let limits = [
        format!("-max_total_time={}", 60 * minutes),
        format!("-max_len={longest}"),
        format!("-rss_limit_mb={MEMORY}"),
        format!("-timeout={SECONDS}"),
        "-print_final_stats=1".to_owned(),
    ];
    // The product has no unsafe code of its own, so that an address sanitizer would only take time.
    let mut arguments = vec![
        "run",
        "nightly",
        "cargo",
        "fuzz",
        "run",
        "--sanitizer",
        "none",
        name,
        &found,
        &seeds,
        "--",
    ];
    arguments.extend(limits.iter().map(String::as_str));
    step(&format!("fuzz {name}"), &mut command("rustup", &arguments))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_is_listed_and_has_seeds() {
        let names = |folder: &str| -> BTreeSet<String> {
            fs::read_dir(root().join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .map(|name| name.trim_end_matches(".rs").to_owned())
                .collect()
        };
        let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("fuzz/fuzz_targets"), listed);
        assert_eq!(names("fuzz/corpus"), listed);
        for (name, longest) in TARGETS {
            let folder = root().join("fuzz/corpus").join(name);
            let sizes = fs::read_dir(folder)
                .unwrap()
                .map(|seed| seed.unwrap().metadata().unwrap().len());
            let sizes: Vec<u64> = sizes.collect();
            assert!(!sizes.is_empty(), "{name}");
            assert!(
                sizes.iter().all(|size| *size <= u64::from(*longest)),
                "{name}"
            );
            assert!(sizes.iter().sum::<u64>() <= 96 * 1024, "{name}");
        }
    }
}
