//! What the documentation says holds: links lead somewhere, commands and options exist, and configurations are read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_shipline");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A page and its text.
struct Page {
    path: PathBuf,
    text: String,
}

/// The pages of `docs/`, and those at the root.
fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).unwrap(),
        path,
    };
    paths.into_iter().map(read).collect()
}

/// Fenced blocks with their language and first line number.
fn blocks(text: &str) -> Vec<(String, usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), index + 2, String::new())),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some((_, _, inside)), _) => {
                inside.push_str(line);
                inside.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is left open");
    blocks
}

/// The text outside of fences.
fn prose(text: &str) -> String {
    let mut fenced = false;
    text.lines()
        .filter(|line| {
            let fence = line.starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Targets of links and pictures.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let rest = &text[at + 2..];
        if let Some(end) = rest.find(')') {
            found.push(rest[..end].to_owned());
        }
    }
    found
}

/// What a heading is called in an address.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for link in links(&prose(&page.text)) {
            if link.contains("://") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                page.path.clone()
            } else {
                page.path.parent().unwrap().join(file)
            };
            let there = target.exists();
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            let placed = place.is_empty()
                || text
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == place);
            if !there || !placed {
                wrong.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_page_is_in_the_summary() {
    let docs = root().join("docs");
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let listed: BTreeSet<PathBuf> = links(&summary).iter().map(|link| docs.join(link)).collect();
    let pages: BTreeSet<PathBuf> = pages()
        .into_iter()
        .map(|page| page.path)
        .filter(|path| path.starts_with(&docs) && !path.ends_with("SUMMARY.md"))
        .collect();
    assert_eq!(listed, pages);
}

/// The commands of a page: what stands behind `$` in a console, and every whole command in the text.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = blocks(text)
        .into_iter()
        .filter(|(language, _, _)| language == "console")
        .flat_map(|(_, _, inside)| {
            let lines = inside.lines().filter_map(|line| line.strip_prefix("$ "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let prose = prose(text);
    let spans = prose.split('`').skip(1).step_by(2);
    found.extend(
        spans
            .filter(|span| !span.contains('…') && !span.ends_with(" …"))
            .map(|span| span.replace('\n', " ")),
    );
    found
}

/// What the help of a command says; `None` where there is no such command.
fn help(words: &[&str]) -> Option<String> {
    let shown = Command::new(PROGRAM)
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    shown.status.success().then_some(text)
}

/// Chores of the repository: they are no commands of Shipline.
const CHORES: &[&str] = &["test", "docs", "soak", "clones", "bench", "fuzz"];

/// What is wrong with a command, if it is one of ours.
fn objection(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let words = match words.as_slice() {
        ["shipline", rest @ ..] | ["cargo", "xtask", rest @ ..] => rest,
        _ => return None,
    };
    let end = words
        .iter()
        .position(|word| matches!(*word, ">" | "|" | "&&"));
    let words = &words[..end.unwrap_or(words.len())];
    let (first, rest) = words.split_first()?;
    if first.starts_with('-') || CHORES.contains(first) {
        return None;
    }
    let below = ["gitops", "scan", "store", "runs", "lock", "config"];
    let path: Vec<&str> = match rest.first() {
        Some(second) if below.contains(first) => vec![*first, *second],
        Some(_) | None => vec![*first],
    };
    let Some(help) = help(&path) else {
        return Some(format!("`{command}`: there is no such command"));
    };
    let unknown = words
        .iter()
        .filter(|word| word.starts_with('-'))
        .map(|word| word.split('=').next().unwrap_or(word))
        .find(|option| !help.split([' ', ',', '\n']).any(|known| known == *option));
    unknown.map(|option| format!("`{command}`: {} has no {option}", path.join(" ")))
}

#[test]
fn commands_and_their_options_exist() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for page in pages() {
        for command in commands(&page.text) {
            if !seen.insert(command.clone()) {
                continue;
            }
            let objection = objection(&command);
            wrong.extend(objection.map(|why| format!("{}: {why}", page.path.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen.len() > 30, "commands are not found any more");
    assert!(objection("shipline pipline web").is_some());
    assert!(objection("cargo xtask plan backend --bse x").is_some());
}

/// A whole file that a part of one is laid over.
const BASE: &str =
    "version: 1\nproject: docs\nenvironments:\n  staging: {}\ncomponents:\n  web: { path: web }\n";

/// Lays one configuration over another.
fn laid(over: serde_json::Value, base: serde_json::Value) -> serde_json::Value {
    use serde_json::Value::Object;
    match (over, base) {
        (Object(over), Object(mut base)) => {
            for (key, value) in over {
                let below = base.remove(&key).unwrap_or(serde_json::Value::Null);
                base.insert(key, laid(value, below));
            }
            Object(base)
        }
        (over, _) => over,
    }
}

#[test]
fn configurations_are_read() {
    let world = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        std::fs::write(world.path().join("pipeline.yaml"), text).unwrap();
        let shown = Command::new(PROGRAM)
            .args(["config", "show"])
            .current_dir(world.path())
            .env("HOME", world.path())
            .output()
            .unwrap();
        (
            shown.status.success(),
            String::from_utf8_lossy(&shown.stderr).into_owned(),
        )
    };
    git2::Repository::init(world.path()).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages() {
        for (language, line, inside) in blocks(&page.text) {
            if language != "yaml" {
                continue;
            }
            count += 1;
            let text = if inside.contains("version: 1") {
                inside
            } else {
                let parse = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
                // JSON is YAML.
                laid(parse(&inside), parse(BASE)).to_string()
            };
            let (good, said) = check(&text);
            if !good {
                wrong.push(format!("{}:{line}: {said}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 10, "configurations are not found any more");
    let (good, said) = check(&BASE.replace("path", "pth"));
    assert!(!good && said.contains("unknown key"), "{said}");
}

#[test]
fn keys_in_the_text_exist() {
    let schema = std::fs::read_to_string(root().join("pipeline.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let mut keys = BTreeSet::new();
    let mut open = vec![&schema];
    while let Some(value) = open.pop() {
        if let Some(properties) = value["properties"].as_object() {
            keys.extend(properties.keys().cloned());
        }
        match value {
            serde_json::Value::Object(fields) => open.extend(fields.values()),
            serde_json::Value::Array(values) => open.extend(values),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
    let mut wrong = Vec::new();
    for page in pages() {
        // Events have keys of their own, and the reference is made of the schema.
        let other = ["json.md", "pipeline-yaml.md"];
        if !page.path.starts_with(root().join("docs"))
            || other.iter().any(|name| page.path.ends_with(name))
        {
            continue;
        }
        for span in prose(&page.text).split('`').skip(1).step_by(2) {
            // `lock: true`, `image.lock`: a key, or a path of keys.
            let path = match span.split_once(": ") {
                Some((key, _)) => key,
                None if span.contains('.') => span,
                None => continue,
            };
            let words: Vec<&str> = path.split('.').collect();
            let plain = words.iter().all(|word| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            let first = words.first().copied().unwrap_or_default();
            if !plain || !(keys.contains(first) || span.contains(": ")) {
                continue;
            }
            let unknown = words.iter().find(|word| !keys.contains(**word));
            let elsewhere = ["contents", "id-token", "permissions"].contains(&first);
            if let Some(unknown) = unknown.filter(|_| !elsewhere) {
                wrong.push(format!(
                    "{}: `{span}`: no key `{unknown}`",
                    page.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn workflows_pin_their_actions_and_ask_for_little() {
    let mut wrong = Vec::new();
    for name in ["ci", "frontend", "backend"] {
        let path = root().join(format!(".github/workflows/{name}.yml"));
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.contains("\npermissions: {}\n") {
            wrong.push(format!("{name}: permissions are not closed at the top"));
        }
        for line in text.lines() {
            let Some((_, used)) = line.split_once("uses: ") else {
                continue;
            };
            let (_, pin) = used.split_once('@').unwrap_or_default();
            let (commit, version) = pin.split_once(" # v").unwrap_or_default();
            let pinned = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
            if !pinned || version.is_empty() {
                wrong.push(format!("{name}: {used}"));
            }
        }
        for line in text.lines().filter_map(|line| line.split_once("run: ")) {
            wrong.extend(objection(line.1).map(|why| format!("{name}: {why}")));
        }
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let ci = std::fs::read_to_string(root().join(".github/workflows/ci.yml")).unwrap();
    for (text, command) in [
        (&readme, "$ cargo xtask test --provision"),
        (&ci, "run: cargo xtask test --provision"),
    ] {
        if !text.contains(command) {
            wrong.push(format!("`{command}` is not there any more"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
