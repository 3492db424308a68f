//! Paths as git has them, and lists of them in which a folder's part is found by bisection.

use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::RepoPath;

/// A path as git has it: bytes that need not be UTF-8, relative to the repository's root, with `/` between names. It is
/// compared, sorted and looked up as bytes, and becomes a text only where it is shown. Clones share the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitPath(Arc<[u8]>);

impl GitPath {
    /// The path with these bytes.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for GitPath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&RepoPath> for GitPath {
    fn from(path: &RepoPath) -> Self {
        Self::new(path.as_str())
    }
}

/// As it is shown: what is stored is for people and programs that read text.
impl Serialize for GitPath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GitPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

/// For people: bytes that are no UTF-8 are shown as `\x83`.
impl fmt::Display for GitPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GitPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(f, "{}", self.0.escape_ascii())?;
        f.write_char('"')
    }
}

/// Something that stands at a path.
pub trait AtPath {
    /// The path.
    fn path(&self) -> &GitPath;
}

impl AtPath for GitPath {
    fn path(&self) -> &GitPath {
        self
    }
}

/// Things in the order of their paths' bytes. One list serves everybody: clones share it, and what lies below a folder is
/// found by bisection.
#[derive(Clone, PartialEq, Eq)]
pub struct ByPath<T>(Arc<[T]>);

impl<T: AtPath> ByPath<T> {
    /// The things, brought into order.
    #[must_use]
    pub fn new(mut things: Vec<T>) -> Self {
        things.sort_by(|one, other| one.path().cmp(other.path()));
        Self(things.into())
    }

    /// What stands at exactly this path.
    #[must_use]
    pub fn at(&self, path: impl AsRef<[u8]>) -> Option<&T> {
        let path = path.as_ref();
        let found = self
            .0
            .binary_search_by(|thing| thing.path().as_bytes().cmp(path));
        found.ok().map(|at| &self.0[at])
    }

    /// Everything at or below `path`: two runs of the list (`a/b` itself, and `a/b/…`).
    pub fn below<'p>(&'p self, path: &'p RepoPath) -> impl Iterator<Item = &'p T> + use<'p, T> {
        let (exact, first) = if path.as_str() == "." {
            (None, 0)
        } else {
            let folder = format!("{path}/");
            let before = |thing: &T| thing.path().as_bytes() < folder.as_bytes();
            (self.at(path.as_str()), self.0.partition_point(before))
        };
        let rest = self.0[first..].iter();
        exact
            .into_iter()
            .chain(rest.take_while(|thing| path.contains(thing.path())))
    }
}

impl<T> Deref for ByPath<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> Default for ByPath<T> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<T: fmt::Debug> fmt::Debug for ByPath<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

impl<T: Serialize> Serialize for ByPath<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter())
    }
}

impl<'de, T: AtPath + Deserialize<'de>> Deserialize<'de> for ByPath<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self::new)
    }
}

impl<T: AtPath> FromIterator<T> for ByPath<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        Self::new(things.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list<P: AsRef<[u8]>>(paths: &[P]) -> ByPath<GitPath> {
        let mut paths: Vec<GitPath> = paths.iter().map(GitPath::new).collect();
        paths.sort();
        paths.dedup();
        paths.into_iter().collect()
    }

    fn below(list: &ByPath<GitPath>, path: &str) -> Vec<String> {
        let path = RepoPath::new(path).unwrap();
        list.below(&path).map(ToString::to_string).collect()
    }

    #[test]
    fn paths_below_a_folder_are_found_by_bisection() {
        let all = ["a", "a-b/x", "a.txt", "a/b", "a/c/d", "ab", "b"];
        let list = list(&all);
        assert_eq!(below(&list, "a"), ["a", "a/b", "a/c/d"]);
        assert_eq!(below(&list, "a/c"), ["a/c/d"]);
        assert_eq!(below(&list, "b"), ["b"]);
        assert!(below(&list, "c").is_empty());
        assert_eq!(below(&list, "."), all);
        assert!(list.at("a/b").is_some() && list.at("a/").is_none());
    }

    #[test]
    fn a_name_that_is_not_utf_8_hides_nothing_that_sorts_behind_it() {
        let list = list(&[&b"\x83e.txt"[..], "über/f".as_bytes(), b"\xc3/x", b"\xff"]);
        assert_eq!(below(&list, "über"), ["über/f"]);
        assert_eq!(
            below(&list, "."),
            ["\\x83e.txt", "\\xc3/x", "über/f", "\\xff"]
        );
        // What is shown alike is not the same.
        assert_ne!(GitPath::new(b"\xff"), GitPath::new("\\xff"));
        assert_ne!(GitPath::new(b"\xff"), GitPath::new(b"\xfe"));
    }

    proptest::proptest! {
        #[test]
        fn bisection_finds_what_a_scan_finds(
            paths in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(&b"ab./-\x83\xc3\xbc\xff"[..]), 1..6), 0..40),
            path in "[abü]{1,2}(/[abü]{1,2}){0,2}",
        ) {
            let list = list(&paths);
            let path = RepoPath::new(path).unwrap();
            let found: Vec<&GitPath> = list.below(&path).collect();
            let scanned: Vec<&GitPath> = list.iter().filter(|at| path.contains(at)).collect();
            proptest::prop_assert_eq!(found, scanned);
        }
    }
}
