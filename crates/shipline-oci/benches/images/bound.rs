//! The bound: what cannot be saved when a tree becomes a layer for the first time.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use libdeflater::{CompressionLvl, Compressor};
use sha2::{Digest as _, Sha256};

use crate::Failure;

/// Bytes of one compressed member, and the level: those of layers.
const MEMBER: usize = 1 << 20;
const LEVEL: i32 = 4;

/// Walks `root`, reads every file, hashes and compresses all of it on all processors, and writes nothing.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let mut members: Vec<Vec<PathBuf>> = vec![Vec::new()];
    let mut filled = 0;
    walk(root, &mut |path, size| {
        if filled + size > MEMBER && filled > 0 {
            members.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(member) = members.last_mut() {
            member.push(path);
        }
    })?;
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism()?.get();
    let compressed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&members, &next)))
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .map_err(|_| Failure::from("a thread of the bound panicked"))?
            })
            .sum::<Result<usize, Failure>>()
    })?;
    if compressed == 0 {
        Err("nothing was compressed".into())
    } else {
        Ok(())
    }
}

fn walk(directory: &Path, found: &mut dyn FnMut(PathBuf, usize)) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found(
                entry.path(),
                usize::try_from(metadata.len()).unwrap_or(usize::MAX),
            );
        }
    }
    Ok(())
}

/// Takes members until none is left; gives the bytes that they were compressed to.
fn work(members: &[Vec<PathBuf>], next: &AtomicUsize) -> Result<usize, Failure> {
    let mut compressor =
        Compressor::new(CompressionLvl::new(LEVEL).map_err(|error| format!("{error:?}"))?);
    let (mut raw, mut packed, mut total) = (Vec::new(), Vec::new(), 0);
    while let Some(member) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
        raw.clear();
        for path in member {
            fs::File::open(path)?.read_to_end(&mut raw)?;
        }
        std::hint::black_box(Sha256::digest(&raw));
        packed.resize(compressor.gzip_compress_bound(raw.len()), 0);
        total += compressor.gzip_compress(&raw, &mut packed)?;
    }
    Ok(total)
}
