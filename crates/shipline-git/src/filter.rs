//! Git's filters (`filter=` in `.gitattributes`): programs that make what is checked out from what is committed, and back.
//! They are not run here, so that a file which goes through one is known only as it is committed.

use std::collections::BTreeSet;

use git2::Repository;
use shipline_engine::error::BackendError;

use crate::error;

/// The filter that is known by what it does (see [`crate::lfs`]).
pub(crate) const LFS: &[u8] = b"lfs";

/// The names of the filters, but for LFS, by which this clone's git makes other bytes of a file when it checks it out.
pub(crate) fn smudging(repo: &Repository) -> Result<BTreeSet<Vec<u8>>, BackendError> {
    let failed = |cause| error::git("read git's configuration", cause);
    let config = repo
        .config()
        .and_then(|mut config| config.snapshot())
        .map_err(failed)?;
    let mut names = BTreeSet::new();
    let mut entries = config
        .entries(Some(r"^filter\..*\.(smudge|process)$"))
        .map_err(failed)?;
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        let name = entry.name_bytes();
        let name = name.strip_prefix(b"filter.").and_then(|name| {
            name.strip_suffix(b".smudge")
                .or(name.strip_suffix(b".process"))
        });
        let program = entry.value_bytes().trim_ascii();
        if let Some(name) = name
            && name != LFS
            && !matches!(program, b"" | b"cat")
        {
            names.insert(name.to_vec());
        }
    }
    Ok(names)
}
