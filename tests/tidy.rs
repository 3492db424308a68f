//! What architecture.md promises about the tree, held by a test instead of by memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::budget::{Package, packages};

/// Which of our crates each of our crates may use (development dependencies aside).
const LAYERS: &[(&str, &[&str])] = &[
    ("shipline-model", &[]),
    ("shipline-engine", &["shipline-model"]),
    ("shipline-http", &["shipline-engine"]),
    ("shipline-git", &["shipline-engine", "shipline-model"]),
    (
        "shipline-oci",
        &["shipline-engine", "shipline-http", "shipline-model"],
    ),
    ("shipline-scan", &["shipline-engine", "shipline-model"]),
    (
        "shipline-gitops",
        &[
            "shipline-engine",
            "shipline-git",
            "shipline-http",
            "shipline-model",
        ],
    ),
    ("shipline-report", &["shipline-engine", "shipline-model"]),
    (
        "shipline-cli",
        &[
            "shipline-engine",
            "shipline-git",
            "shipline-gitops",
            "shipline-http",
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
    ("git2", &["shipline-git", "shipline-gitops"]),
    ("clap", &["shipline-cli"]),
    ("cyclonedx-bom", &["shipline-scan"]),
    ("packageurl", &["shipline-scan"]),
    ("indicatif", &["shipline-report"]),
    ("saphyr-parser", &["shipline-model"]),
    ("serde_norway", &["shipline-model"]),
];

/// Libraries that open connections for HTTP or TLS, and the crates that may name them. Everybody else asks `shipline-http`.
const CONNECTING: &[(&str, &[&str])] = &[
    ("reqwest", &["shipline-http"]),
    ("rustls", &["shipline-http"]),
    ("rustls-native-certs", &["shipline-http"]),
    ("rustls-webpki", &["shipline-http"]),
    ("attohttpc", &[]),
    ("awc", &[]),
    ("aws-smithy-http-client", &[]),
    ("aws-smithy-runtime", &[]),
    ("curl", &[]),
    ("hyper", &[]),
    ("hyper-rustls", &[]),
    ("hyper-util", &[]),
    ("isahc", &[]),
    ("minreq", &[]),
    ("native-tls", &[]),
    ("octocrab", &[]),
    ("openssl", &[]),
    ("surf", &[]),
    ("tokio-native-tls", &[]),
    ("tokio-rustls", &[]),
    ("ureq", &[]),
];

/// Features by which libraries would bring an HTTP client of their own.
const CLIENT_FEATURES: &[(&str, &[&str])] = &[
    (
        "aws-config",
        &["default", "default-https-client", "rustls", "client-hyper"],
    ),
    (
        "aws-sdk-ecr",
        &["default", "default-https-client", "rustls"],
    ),
    (
        "aws-sdk-sts",
        &["default", "default-https-client", "rustls"],
    ),
    (
        "bollard",
        &["default", "http", "ssl", "ssl_providerless", "ssh"],
    ),
    ("git2", &["default", "https", "ssh"]),
];

/// Places that open a connection by themselves, each with its reason.
const DIALLING: &[(&str, &str)] = &[(
    "crates/shipline-oci/src/build/docker/session.rs",
    "a Docker engine's session is HTTP/2 in the other direction, over a connection of its own",
)];

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

/// What is wrong with a crate's dependency that opens connections beside `shipline-http`.
fn own_client(package: &str, used: &str) -> Option<String> {
    let (name, homes) = CONNECTING.iter().find(|(name, _)| *name == used)?;
    let wrong = !homes.contains(&package);
    wrong.then(|| format!("{package} must not use {name}: shipline-http is the one client"))
}

/// Features of the workspace table, which is the only one, by which a library would bring a client of its own.
fn client_features(manifest: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, banned) in CLIENT_FEATURES {
        let begin = format!("{name} = ");
        let Some(line) = manifest.lines().find(|line| line.starts_with(&begin)) else {
            continue;
        };
        let features = line.split_once("features = [").map_or("", |(_, on)| on);
        let mut on: Vec<&str> = features.split('"').skip(1).step_by(2).collect();
        if !line.contains("default-features = false") {
            on.push("default");
        }
        let found = on.into_iter().filter(|feature| banned.contains(feature));
        wrong.extend(found.map(|feature| format!("{name}: the feature `{feature}`")));
    }
    wrong
}

#[test]
fn there_is_one_http_client() {
    let mut wrong = Vec::new();
    for Package { name, uses, .. } in packages().iter().filter(|package| package.ours) {
        // The testkit plays servers.
        if name != "shipline-testkit" {
            wrong.extend(uses.iter().filter_map(|used| own_client(name, used)));
        }
    }
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    wrong.extend(client_features(&manifest));
    for path in tracked(".rs") {
        let ours = path.starts_with("crates/shipline-http/")
            || path.starts_with("crates/shipline-testkit/")
            || !path.contains("/src/")
            || !(path.starts_with("crates/") || path.starts_with("xtask/"))
            || DIALLING.iter().any(|(place, _)| *place == path);
        if ours {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
        for (number, line) in code.enumerate() {
            let dials = line.contains("TcpStream::connect") || line.contains("TcpSocket::new");
            if dials && !line.trim_start().starts_with("//") {
                wrong.push(format!("{path}:{}: opens a connection", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_second_http_client_is_found() {
    for (package, used, expected) in [
        ("shipline-oci", "reqwest", true),
        ("shipline-gitops", "ureq", true),
        ("shipline-scan", "rustls", true),
        ("shipline-http", "reqwest", false),
        ("shipline-oci", "serde", false),
    ] {
        assert_eq!(
            own_client(package, used).is_some(),
            expected,
            "{package} {used}"
        );
    }
    let table = "git2 = \"0.21\"\naws-config = { version = \"1\", default-features = false, features = [\"sso\", \"rustls\"] }\n";
    let found = client_features(table);
    assert_eq!(
        found,
        [
            "aws-config: the feature `rustls`",
            "git2: the feature `default`"
        ]
    );
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
pub(crate) fn tracked(ending: &str) -> Vec<String> {
    let repository = git2::Repository::open(root()).unwrap();
    let index = repository.index().unwrap();
    let paths = index
        .iter()
        .map(|entry| String::from_utf8(entry.path).unwrap());
    paths
        .filter(|path| path.ends_with(ending) && root().join(path).exists())
        .collect()
}
