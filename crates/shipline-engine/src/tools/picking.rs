//! Files by which a program, or what stands before it on the `PATH`, picks a version: read as data, never obeyed.

use std::fs::{self, File};
use std::io::{Read as _, Take};
use std::path::{Component as Part, Path, PathBuf};

use sha2::{Digest as _, Sha256};
use shipline_model::name::RepoPath;

/// Most that such a file may hold, in bytes.
const LONGEST: u64 = 1024 * 1024;
/// Most that is read of a program, in bytes.
const LARGEST: u64 = 256 * 1024 * 1024;

/// What of a file picks a version.
#[derive(Debug, Clone, Copy)]
enum Says {
    /// All of it.
    Whole,
    /// These keys of a JSON object.
    Keys(&'static [&'static str]),
    /// Lines that begin with one of these words.
    Lines(&'static [&'static str]),
    /// All of it, and the program that this key names.
    Program(&'static str),
}

const FILES: &[(&str, Says)] = &[
    (".bazelversion", Says::Whole),
    (".go-version", Says::Whole),
    (".java-version", Says::Whole),
    (".mise.toml", Says::Whole),
    (".node-version", Says::Whole),
    (".nvmrc", Says::Whole),
    (".prototools", Says::Whole),
    (".python-version", Says::Whole),
    (".ruby-version", Says::Whole),
    (".sdkmanrc", Says::Whole),
    (".terraform-version", Says::Whole),
    (".tool-versions", Says::Whole),
    (".yarnrc", Says::Program("yarn-path")),
    (".yarnrc.yml", Says::Program("yarnPath")),
    ("global.json", Says::Whole),
    ("go.mod", Says::Lines(&["go", "toolchain"])),
    ("go.work", Says::Lines(&["go", "toolchain"])),
    ("mise.toml", Says::Whole),
    (
        "package.json",
        Says::Keys(&["packageManager", "volta", "devEngines"]),
    ),
    ("rust-toolchain", Says::Whole),
    ("rust-toolchain.toml", Says::Whole),
];

/// A file that picks a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picking {
    /// The file.
    pub(super) path: RepoPath,
    /// A hex SHA-256 of what it says.
    pub(super) digest: String,
    /// Its text, as far as it is one.
    pub(super) text: String,
}

/// Those of a folder of the repository at `root`.
pub(super) fn files(root: &Path, folder: &str) -> Vec<Picking> {
    let named = FILES.iter().filter_map(|(name, says)| {
        let path = match folder {
            "" => (*name).to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let path = RepoPath::new(path).ok()?;
        let bytes = read(&root.join(path.as_str()))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let digest = match says {
            Says::Whole => hex::encode(Sha256::digest(&bytes)),
            Says::Keys(keys) => {
                let object: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
                let said: Vec<String> = keys
                    .iter()
                    .filter_map(|key| Some(format!("{key}: {}", object.get(key)?)))
                    .collect();
                if said.is_empty() {
                    return None;
                }
                hex::encode(Sha256::digest(said.join("\n")))
            }
            Says::Lines(words) => {
                let said: Vec<&str> = text
                    .lines()
                    .map(str::trim)
                    .filter(|line| {
                        let word = line.split_whitespace().next();
                        word.is_some_and(|word| words.contains(&word))
                    })
                    .collect();
                if said.is_empty() {
                    return None;
                }
                hex::encode(Sha256::digest(said.join("\n")))
            }
            Says::Program(key) => {
                let mut digest = Sha256::new_with_prefix(&bytes);
                if let Some(program) = program(root, folder, &text, key) {
                    digest.update(contents(&program).unwrap_or_else(|why| why));
                }
                hex::encode(digest.finalize())
            }
        };
        Some(Picking { path, digest, text })
    });
    named.collect()
}

/// The file of the repository that a line `key: "path"` or `key "path"` names.
fn program(root: &Path, folder: &str, text: &str, key: &str) -> Option<PathBuf> {
    let named = text.lines().find_map(|line| {
        let rest = line.trim().trim_matches('"').strip_prefix(key)?;
        let rest = rest.trim_start_matches(['"', ':', ' ', '\t']);
        Some(rest.trim().trim_matches(['"', '\'']).to_owned())
    })?;
    let named = Path::new(&named);
    let inside = named
        .components()
        .all(|part| matches!(part, Part::Normal(_) | Part::CurDir));
    inside.then(|| root.join(folder).join(named))
}

/// What stands for a program that is not asked: a digest of its bytes.
pub(super) fn contents(program: &Path) -> Result<String, String> {
    let failed = |why: String| format!("{} {why}", program.display());
    let mut file = open(program, LARGEST).ok_or_else(|| {
        failed(format!(
            "is no file that can be read, or larger than {} MiB",
            LARGEST / 1024 / 1024
        ))
    })?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => digest.update(&buffer[..length]),
            Err(error) => return Err(failed(format!("cannot be read: {error}"))),
        }
    }
    Ok(format!(
        "contents sha256:{}",
        hex::encode(digest.finalize())
    ))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, LONGEST)?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Opens a regular file of at most `most` bytes: what a link leads to may be anything.
fn open(path: &Path, most: u64) -> Option<Take<File>> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > most {
        return None;
    }
    Some(File::open(path).ok()?.take(most))
}
