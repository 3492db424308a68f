//! Entry points of the fuzz targets (`fuzz/`): each takes any bytes, reads them as the product would, and asserts what must hold
//! whatever they are.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use shipline_engine::archive::{
    BLOCK, Compression, Entry, EntryKind, Expected, LayerReader, TarReader, decompressed,
};

use crate::build::dockerfile::images::{needed_by_engine, renamed, with_platform};
use crate::build::dockerfile::{Dockerfile, DockerfileError, Globals, expand, trigger};
use crate::build::embedded::archive::put_layer;
use crate::build::embedded::tarball;
use crate::build::embedded::tree::{
    Archive, ImagePath, Node, NodeKind, Tree, join, parts, possible,
};
use crate::build::ignore::Ignore;
use crate::build::pattern::clean;
use crate::image::{self, ImageConfig, RawIndex};
use crate::pull::{ImageReference, PipelineLock};
use crate::store::listed;

pub use crate::registry::distribution::fuzz::challenge;

/// What is read of an archive's contents, in bytes: a few compressed bytes can be gigabytes.
const MOST: u64 = 8 << 20;

/// Reads a Dockerfile, expands its lines, and does with it what planning does.
pub fn dockerfile(bytes: &[u8]) {
    let Ok(text) = Dockerfile::decode(bytes) else {
        return;
    };
    let first = text.lines().next().unwrap_or_default().to_owned();
    let lookup = |name: &str| match name {
        "U" => None,
        "E" => Some(String::new()),
        _ => Some(first.clone()),
    };
    for line in text.lines().take(50) {
        for escape in ['\\', '`'] {
            let whole = expand::expand(line, escape, &lookup);
            let words = expand::expand_words(line, escape, &lookup);
            assert_eq!(whole.is_ok(), words.is_ok(), "{line}");
            if !line.contains(['$', '\\', '`', '\'', '"']) {
                assert_eq!(whole.as_deref(), Ok(line));
            }
        }
        let _ = expand::expand_text(line, &lookup);
        let _ = trigger(7, line, '\\');
    }
    let last = text.split_inclusive('\n').count().max(1);
    let stands = |error: &DockerfileError| assert!((1..=last).contains(&error.line), "{error:?}");
    let _ = Dockerfile::syntax(&text).inspect_err(&stands);
    let _ = crate::build::plan_builder(&text, None).inspect_err(&stands);
    let dockerfile = match Dockerfile::parse(&text) {
        Ok(dockerfile) => dockerfile,
        Err(error) => return stands(&error),
    };
    assert!(!dockerfile.stages.is_empty());
    let given = BTreeMap::from([("GIVEN".to_owned(), first)]);
    let Ok(globals) = Globals::new(&dockerfile, &given, &crate::build::any_platform()) else {
        return;
    };
    for target in 0..dockerfile.stages.len().min(8) {
        if let Ok((needed, _)) = needed_by_engine(&text, &dockerfile, target, &globals) {
            assert!(
                needed.contains(&target)
                    && needed.iter().all(|stage| *stage < dockerfile.stages.len())
            );
            let _ = with_platform(&dockerfile, &needed, &globals);
        }
    }
    let same = renamed(&text, &dockerfile, &globals, &BTreeMap::new());
    assert_eq!(
        same.as_deref(),
        Ok(text.as_str()),
        "nothing was to be renamed"
    );
}

/// Reads an ignore file (up to an empty line) and holds it against the paths behind that.
pub fn dockerignore(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (rules, paths) = text
        .split_once("\n\n")
        .unwrap_or((&text, "a/b\n.env\nsrc/x.rs"));
    let ignore = match Ignore::parse(rules) {
        Ok(ignore) => ignore,
        Err(error) => {
            let last = rules.lines().count().max(1);
            assert!((1..=last).contains(&error.line), "{error}");
            return;
        }
    };
    for path in paths.lines().take(20) {
        let path = clean(path);
        let path = path.trim_start_matches('/');
        if path.is_empty() || path == "." || path.starts_with("..") {
            continue;
        }
        let ignored = ignore.ignores(path);
        // What is kept below an ignored folder is found only where the folder is looked into.
        if let Some((folder, _)) = path.rsplit_once('/')
            && !ignored
            && ignore.ignores(folder)
        {
            assert!(ignore.may_keep_below(folder), "{path} in {rules}");
        }
    }
}

/// Reads a tar as every reader of tars does, and puts it over a tree as a layer.
///
/// Every block that calls itself a header gets the right checksum: without it nothing would be read.
pub fn archive(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let bytes = bytes.as_slice();
    let streamed = all(TarReader::new(bytes));
    if let Ok(tar) = TarReader::seeking(Cursor::new(bytes)) {
        let sought = all(tar);
        if let (Ok(streamed), Ok(sought)) = (&streamed, &sought) {
            assert_eq!(streamed, sought, "two ways of reading see two archives");
        }
    }
    for choose in [Compression::of, Compression::of_layer] {
        if let Ok((_, reader)) = decompressed(bytes, choose) {
            let _ = all(TarReader::new(reader.take(MOST)));
        }
    }
    if let Ok(layer) = LayerReader::new(bytes, Expected::default()) {
        let _ = all(TarReader::new(layer.take(MOST)));
    }
    let mut tree = Tree::default();
    let archive = Archive::Layer(image::digest_of(b"layer"));
    for _ in 0..2 {
        let _ = put_layer(&mut tree, &archive, bytes);
    }
    let (mut nodes, mut again, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    walk(&tree, b"", &mut nodes);
    for (path, node) in nodes {
        assert!(possible(&path).is_ok());
        assert!(parts(&path).all(|part| part != b".."));
        again.extend(tarball::headers(&path, &node, 0));
        expected.push((path, node.mode, node.kind == NodeKind::Directory));
    }
    again.extend(tarball::END);
    let written = all(TarReader::new(again.as_slice())).map(|entries| {
        let entry = |entry: Entry| {
            let mut path = entry.path;
            if entry.kind == EntryKind::Directory {
                path.pop();
            }
            (path, entry.mode, entry.kind == EntryKind::Directory)
        };
        entries.into_iter().map(entry).collect::<Vec<_>>()
    });
    assert!(
        written.is_ok_and(|written| written == expected),
        "what is written is not what is read"
    );
}

/// Everything below a folder of a tree.
fn walk(tree: &Tree, folder: &[u8], found: &mut Vec<(ImagePath, Node)>) {
    assert!(tree.has_directory(folder), "a path lies below no folder");
    for name in tree.children(folder) {
        let path = join(folder, &name);
        let node = tree.get(&path);
        assert!(node.is_some(), "a path lies below nothing");
        found.extend(node.map(|node| (path.clone(), node)));
        if tree.children(&path).is_empty() {
            continue;
        }
        walk(tree, &path, found);
    }
}

/// All entries of a tar. What is read of each is as long as the entry says.
fn all(mut tar: TarReader<impl Read>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut read = 0;
    while let Some(entry) = tar.next_entry()? {
        if read < MOST && entry.size < MOST {
            let length = io::copy(&mut tar, &mut io::sink())?;
            assert_eq!(length, entry.size);
            read += length;
        }
        entries.push(entry);
    }
    assert!(tar.next_entry()?.is_none());
    Ok(entries)
}

/// Reads documents about images: manifests, indexes, configs, references, `pipeline.lock`.
pub fn image(bytes: &[u8]) {
    for media_type in [None, Some(image::OCI_MANIFEST), Some(image::OCI_INDEX)] {
        if let Ok(manifest) = image::parse_manifest(media_type, bytes) {
            assert_eq!(manifest.bytes, bytes);
            assert_eq!(manifest.descriptor.digest, image::digest_of(bytes));
        }
    }
    let _ = image::artifact_type(bytes);
    let _ = image::subject(bytes);
    if let Ok(index) = serde_json::from_slice::<RawIndex>(bytes) {
        let _ = listed(&index, &|_| Ok(Some(bytes.to_vec())));
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let written = image::to_json(&config).unwrap_or_default();
        let again = serde_json::from_slice::<ImageConfig>(&written);
        assert!(
            again.is_ok_and(|again| again == config),
            "a config changes when it is written"
        );
        for line in &config.config.on_build {
            let _ = trigger(1, line, '\\');
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(lock) = PipelineLock::parse(text) {
        let written = lock.to_text().unwrap_or_default();
        assert!(PipelineLock::parse(&written).is_ok_and(|again| again == lock));
    }
    if let Ok(reference) = text.parse::<ImageReference>() {
        assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    #[test]
    fn the_seeds_of_the_fuzz_targets_hold() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let targets: &[(&str, Target)] = &[
            ("archive", archive),
            ("challenge", challenge),
            ("dockerfile", dockerfile),
            ("dockerignore", dockerignore),
            ("image", image),
        ];
        for (name, target) in targets {
            for seed in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }
}
