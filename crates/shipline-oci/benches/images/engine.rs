//! What builds leave in a Docker engine: found by comparing before and after, and removed, whoever else builds there.

#![allow(clippy::disallowed_methods, reason = "a bench starts programs")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

use crate::peers::run;

/// Records of the build cache that hold less, in bytes, are left to the engine's own garbage collection: whose they are
/// cannot be told, and they cost nothing.
const LARGE: f64 = 100e6;

/// The build cache of an engine as it was before our builds.
pub(crate) struct BuildCache {
    client: String,
    before: BTreeSet<String>,
}

/// A record as the client prints it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    parent: String,
    size: String,
}

impl BuildCache {
    /// Looks at it now, with the client `client`.
    pub(crate) fn look(client: &str) -> Self {
        let before = records(client).into_iter().map(|record| record.id);
        Self {
            client: client.to_owned(),
            before: before.collect(),
        }
    }

    /// Removes what has come since and is large, and what is made of it.
    pub(crate) fn restore(&self) {
        let new: BTreeMap<String, Record> = records(&self.client)
            .into_iter()
            .filter(|record| !self.before.contains(&record.id))
            .map(|record| (record.id.clone(), record))
            .collect();
        let depth = |id: &str| {
            let (mut depth, mut at) = (0, new.get(id));
            while let Some(record) = at {
                depth += 1;
                at = new.get(&record.parent);
            }
            depth
        };
        let ours = |id: &str| {
            let mut at = new.get(id);
            while let Some(record) = at {
                if bytes(&record.size) >= LARGE {
                    return true;
                }
                at = new.get(&record.parent);
            }
            false
        };
        let mut ours: Vec<&String> = new.keys().filter(|id| ours(id)).collect();
        // What is made of another record goes first: it holds the other.
        ours.sort_by_key(|id| std::cmp::Reverse(depth(id)));
        for id in ours {
            // What somebody else uses by now stays.
            let _ = run(Command::new(&self.client).args([
                "builder",
                "prune",
                "--force",
                "--all",
                "--filter",
                &format!("id={id}"),
            ]));
        }
    }
}

/// The records; none where the client cannot say.
fn records(client: &str) -> Vec<Record> {
    Command::new(client)
        .args([
            "system",
            "df",
            "--verbose",
            "--format",
            "{{json .BuildCache}}",
        ])
        .output()
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok())
        .unwrap_or_default()
}

/// A size as the client prints it (`148MB`), in bytes.
fn bytes(size: &str) -> f64 {
    let unit = size
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(size.len());
    let (number, unit) = size.split_at(unit);
    let factor = match unit {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or(0.0) * factor
}
