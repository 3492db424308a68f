//! Files that commands write for people: whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use shipline_engine::folder::Place;

/// Puts `text` into the file at `path` by rename: whoever reads it, also after a crash, sees the old one or the new one. What is
/// there and no file (a pipe, a terminal) is written into.
///
/// # Errors
/// Where it cannot be written; the old file is then as it was.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let target = fs::canonicalize(path);
    let path = target.as_deref().unwrap_or(path);
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return File::options()
            .write(true)
            .open(path)?
            .write_all(text.as_bytes());
    }
    // A folder that is not there was probably misspelt: none is made.
    let (folder, name) = Place::from(path).parent()?;
    folder.write_whole(name, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        replace(&path, "one").unwrap();
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink("out.json", &link).unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("folder");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, "text").is_err());
        assert!(replace(&folder.path().join("none/out.json"), "text").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&taken).unwrap().count(), 0);
        replace(Path::new("/dev/null"), "text").unwrap();
    }
}
