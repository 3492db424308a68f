//! What architecture.md promises about the tree, held by a test instead of by memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::budget::{Package, packages};

/// Which of our crates each of our crates may use (development dependencies aside).
const LAYERS: &[(&str, &[&str])] = &[
    ("shipline-model", &[]),
    ("shipline-engine", &["shipline-model"]),
    ("shipline-git", &["shipline-engine", "shipline-model"]),
    ("shipline-oci", &["shipline-engine", "shipline-model"]),
    ("shipline-scan", &["shipline-engine", "shipline-model"]),
    (
        "shipline-gitops",
        &["shipline-engine", "shipline-git", "shipline-model"],
    ),
    ("shipline-report", &["shipline-engine", "shipline-model"]),
    (
        "shipline-cli",
        &[
            "shipline-engine",
            "shipline-git",
            "shipline-gitops",
            "shipline-model",
            "shipline-oci",
            "shipline-report",
            "shipline-scan",
        ],
    ),
    ("xtask", &["shipline-cli"]),
];

/// Heavy libraries and the only crates that may name them.
const HEAVY: &[(&str, &[&str])] = &[
    ("bollard", &["shipline-oci"]),
    ("aws-config", &["shipline-oci"]),
    ("aws-sdk-ecr", &["shipline-oci"]),
    ("reqwest", &["shipline-oci"]),
    ("git2", &["shipline-git", "shipline-gitops"]),
    ("clap", &["shipline-cli"]),
    ("cyclonedx-bom", &["shipline-scan"]),
    ("packageurl", &["shipline-scan"]),
    ("indicatif", &["shipline-report"]),
    ("saphyr-parser", &["shipline-model"]),
    ("serde_norway", &["shipline-model"]),
];

/// Licences that a dependency may have: at least one of its alternatives must be here.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
    // A BSD licence in all but name.
    "bzip2-1.0.6",
];

/// Lines (without tests) that a file may have before it must be split.
const LONGEST_FILE: usize = 900;

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

#[test]
fn crates_depend_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for Package { name, uses, .. } in packages().iter().filter(|package| package.ours) {
        if name == "shipline-testkit" {
            continue;
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the table of layers"));
            continue;
        };
        for used in uses {
            if (used.starts_with("shipline-") || used == "xtask")
                && !allowed.contains(&used.as_str())
            {
                wrong.push(format!("{name} must not use {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn heavy_libraries_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for Package { name, uses, .. } in packages().iter().filter(|package| package.ours) {
        for used in uses {
            if let Some((heavy, homes)) = HEAVY.iter().find(|(heavy, _)| heavy == used)
                && !homes.contains(&name.as_str())
                && name != "shipline-testkit"
            {
                wrong.push(format!(
                    "{name} must not use {heavy}: it belongs to {homes:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_comes_from_the_workspace_table() {
    let mut wrong = Vec::new();
    for manifest in tracked(".toml")
        .into_iter()
        .filter(|path| path.starts_with("crates/") || path.starts_with("xtask/"))
    {
        let text = std::fs::read_to_string(root().join(&manifest)).unwrap();
        let mut section = String::new();
        for line in text.lines() {
            if line.starts_with('[') {
                section = line.to_owned();
            } else if section.contains("dependencies]")
                && line.contains('=')
                && !line.contains("workspace = true")
            {
                wrong.push(format!("{manifest}: {line}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "versions and features stand in the root Cargo.toml only: {wrong:#?}"
    );
}

#[test]
fn licences_are_compatible() {
    let acceptable = |expression: &str| {
        expression
            .replace(['(', ')'], "")
            .replace('/', " OR ")
            .split(" OR ")
            .any(|alternative| {
                alternative
                    .split(" AND ")
                    .all(|licence| LICENCES.contains(&licence.trim()))
            })
    };
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !package.ours)
        .filter(|package| !package.licence.as_deref().is_some_and(acceptable))
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.licence
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_readable() {
    let mut wrong = Vec::new();
    for path in tracked(".rs") {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let code = text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .count();
        if code > LONGEST_FILE {
            wrong.push(format!("{path}: {code} lines without tests"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn libraries_stay_away_from_the_process_around_them() {
    let mut wrong = Vec::new();
    for path in tracked(".rs") {
        let library = path.starts_with("crates/")
            && !path.starts_with("crates/shipline-cli/")
            && !path.starts_with("crates/shipline-testkit/");
        if !library || !path.contains("/src/") {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        for (number, line) in text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .enumerate()
        {
            let code = line.trim_start();
            let owner = path.starts_with("crates/shipline-engine/src/process");
            let banned = [
                "std::env::var",
                "std::env::current",
                "process::exit(",
                "println!(",
                "eprintln!(",
            ]
            .iter()
            .find(|banned| code.contains(**banned));
            if let Some(banned) = banned
                && !owner
                && !code.starts_with("//")
            {
                wrong.push(format!("{path}:{}: {banned}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_model_does_no_io_and_the_reporters_are_not_async() {
    let mut wrong = Vec::new();
    for path in tracked(".rs") {
        let banned: &[&str] = if path.starts_with("crates/shipline-model/src/") {
            &[
                "std::fs",
                "std::net::Tcp",
                "std::process",
                "async fn",
                "SystemTime::now",
                "Instant::now",
                "Timestamp::now",
                "Zoned::now",
            ]
        } else if path.starts_with("crates/shipline-report/src/") {
            &[
                "std::fs",
                "std::net::Tcp",
                "std::process",
                "async fn",
                "tokio",
                "SystemTime::now",
                "Timestamp::now",
                "stdout()",
                "stderr()",
            ]
        } else {
            continue;
        };
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        for (number, line) in text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .enumerate()
        {
            if let Some(banned) = banned.iter().find(|banned| line.contains(**banned))
                && !line.trim_start().starts_with("//")
            {
                wrong.push(format!("{path}:{}: {banned}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_example_in_a_comment_goes_untested() {
    let mut wrong = Vec::new();
    for path in tracked(".rs") {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let mut open = false;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            let comment = line.strip_prefix("///").or(line.strip_prefix("//!"));
            let fence = comment.and_then(|comment| comment.trim().strip_prefix("```"));
            let Some(language) = fence.filter(|rest| !rest.contains('`')) else {
                continue;
            };
            open = !open;
            if open && !["text", "console", "yaml", "json"].contains(&language) {
                wrong.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "`doctest = false` saves rustdoc reading each crate twice, so examples are tests of their own: {wrong:#?}"
    );
}

/// Files that git tracks below the root, with this ending.
fn tracked(ending: &str) -> Vec<String> {
    let repository = git2::Repository::open(root()).unwrap();
    let index = repository.index().unwrap();
    let paths = index
        .iter()
        .map(|entry| String::from_utf8(entry.path).unwrap());
    paths
        .filter(|path| path.ends_with(ending) && root().join(path).exists())
        .collect()
}
