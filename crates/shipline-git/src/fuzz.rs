//! Entry points of the fuzz targets (`fuzz/`): each takes any bytes, reads them as the product would, and asserts what must hold
//! whatever they are.

use std::path::Path;

use git2::{Oid, Repository, Signature};
use shipline_engine::backend::SourceRepo as _;
use shipline_engine::fault::Faults;

use crate::index;
use crate::manifest;
use crate::{GitSource, WorkTree};

/// Reads an index and what it shares with another one, and a manifest of our own.
pub fn index(bytes: &[u8]) {
    if let Ok((index, link)) = index::parse(bytes) {
        assert!(
            index.entries.len() * 62 <= bytes.len(),
            "more entries than bytes"
        );
        for entry in index.entries.iter().take(20) {
            let found = index.get(&entry.path);
            assert!(found.iter().all(|found| found.path == entry.path));
        }
        if let Some(link) = link {
            let shared = index.entries.clone();
            if let Ok(merged) = link.merge(shared, index.entries) {
                assert!(merged.is_sorted_by(|one, other| one.path <= other.path));
            }
        }
    }
    let _ = manifest::parse::<Oid>(bytes);
}

/// Looks at a work tree in `folder` (made where it is empty) whose `.gitignore` has these bytes, up to an empty line, and whose
/// `.gitattributes` those behind it.
pub fn gitignore(folder: &Path, bytes: &[u8]) {
    let Ok(repository) = Repository::open(folder).or_else(|_| made(folder)) else {
        return;
    };
    drop(repository);
    let at = bytes.windows(2).position(|window| window == b"\n\n");
    let (ignore, attributes) = at.map_or((bytes, &b""[..]), |at| bytes.split_at(at));
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes);
    if write(".gitignore", ignore)
        .and(write(".gitattributes", attributes))
        .is_err()
    {
        return;
    }
    let Ok(source) = GitSource::open(folder, WorkTree::Scan, Faults::none()) else {
        return;
    };
    if let Ok(head) = source.head() {
        assert!(head.dirty.iter().count() <= 6, "more is new than there is");
    }
}

fn made(folder: &Path) -> Result<Repository, git2::Error> {
    let repository = Repository::init(folder)?;
    let who = Signature::new("a", "a@example.com", &git2::Time::new(0, 0))?;
    let tree = repository.treebuilder(None)?.write()?;
    {
        let tree = repository.find_tree(tree)?;
        repository.commit(Some("HEAD"), &who, &who, "first", &tree, &[])?;
    }
    for (path, text) in [
        ("a.txt", "a\r\nb\r\n"),
        ("src/deep/er/b.rs", "b"),
        ("node_modules/x/c.js", "c"),
        ("with blank/d", "d"),
    ] {
        let file = folder.join(path);
        let above = file.parent().unwrap_or(folder);
        std::fs::create_dir_all(above)
            .and_then(|()| std::fs::write(&file, text))
            .map_err(|error| git2::Error::from_str(&error.to_string()))?;
    }
    Ok(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: &[(&str, Target)] = &[
            ("index", index),
            ("gitignore", |bytes| {
                gitignore(tempfile::tempdir().unwrap().path(), bytes)
            }),
        ];
        for (name, target) in targets {
            for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
