//! What a commit holds for a target: its folder's files, and what elsewhere may say otherwise.

/// A file of the GitOps repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its path in the repository.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Something of a folder whose bytes are not read, or that the folder itself is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its path in the repository.
    pub path: String,
    /// Why not.
    pub kind: UnreadKind,
}

/// Why something of a folder is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnreadKind {
    /// A symbolic link to this.
    Link(String),
    /// Another repository.
    Submodule,
    /// A file where a folder should be.
    File,
    /// A file of a name that ArgoCD does not read.
    Name,
    /// More bytes than a manifest has.
    Large,
}

/// A target's folder at one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// The files directly in it that ArgoCD or kustomize may read.
    pub files: Vec<Manifest>,
    /// What else is in it, or stands in its place.
    pub unread: Vec<Unread>,
}

impl From<Vec<Manifest>> for Folder {
    fn from(files: Vec<Manifest>) -> Self {
        Self {
            files,
            unread: Vec::new(),
        }
    }
}

/// The last part of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The folder of a path; the root's is empty.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `text` from the folder `base`, without `.` and `..`; `None` where it leaves the repository.
pub(crate) fn resolve(base: &str, text: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether `path` is `folder` or lies below it.
pub(crate) fn is_within(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the bytes hold the word.
pub(crate) fn contains(bytes: &[u8], word: &str) -> bool {
    let word = word.as_bytes();
    let Some((first, rest)) = word.split_first() else {
        return false;
    };
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| byte == first) {
        at += found + 1;
        if bytes[at..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_resolve_and_hold_one_another() {
        let check = |base: &str, text: &str, expected: Option<&str>| {
            assert_eq!(resolve(base, text).as_deref(), expected, "{base} {text}");
        };
        check("staging/web", "../../base/web", Some("base/web"));
        check("staging/web", "./a.yaml", Some("staging/web/a.yaml"));
        check("staging", "../..", None);
        check("", "web", Some("web"));
        assert!(is_within("a/b", "a") && is_within("a", "a") && is_within("a", ""));
        assert!(!is_within("ab", "a") && !is_within("a", "a/b"));
        assert_eq!((parent("a/b/c"), parent("a")), ("a/b", ""));
        assert_eq!((base_name("a/b/c"), base_name("a")), ("c", "a"));
    }

    #[test]
    fn words_are_found_in_bytes() {
        assert!(contains(b"aab", "ab") && contains(b"ab", "ab") && contains(b"\xFFweb", "web"));
        assert!(!contains(b"we", "web") && !contains(b"", "a") && !contains(b"a", ""));
    }
}
