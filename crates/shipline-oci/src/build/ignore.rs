//! `.dockerignore`: which files of a context a build sees, with Docker's patterns and order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pattern::{BadPattern, Flavour, Pattern, clean};

/// The patterns of an ignore file (or of `COPY --exclude`), in order; the last one that matches a path decides.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// `!`: what matches is not ignored.
    keeps: bool,
    /// The pattern itself, where it has no wildcard.
    literal: Option<String>,
    pattern: Pattern,
    /// The pattern's parts up to its first `**`.
    parts: Vec<Pattern>,
    /// Whether a `**` follows the parts.
    deep: bool,
}

/// Which rules match a folder or one of those above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched(Arc<[bool]>);

/// A line of an ignore file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct IgnoreError {
    /// 1-based.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

impl Ignore {
    /// Reads an ignore file.
    ///
    /// # Errors
    /// The first line that is no pattern.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Self::default();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            ignore.push(line).map_err(|why| IgnoreError {
                line: index + 1,
                why,
            })?;
        }
        Ok(ignore)
    }

    /// The rules of `COPY --exclude`.
    pub(crate) fn of_patterns(patterns: &[String]) -> Result<Self, String> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.push(pattern)?;
        }
        Ok(ignore)
    }

    fn push(&mut self, line: &str) -> Result<(), String> {
        let (keeps, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return Err("`!` alone excludes nothing from being ignored".to_owned());
        }
        let text = clean(text);
        let text = match text.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => rest,
            _ => &text,
        };
        let compile = |text: &str| {
            Pattern::new(text, Flavour::Ignore).map_err(|error: BadPattern| error.to_string())
        };
        let mut parts = Vec::new();
        let mut deep = false;
        for part in text.split('/') {
            if part.contains("**") {
                deep = true;
                break;
            }
            // A class may hold a `/`: then the parts cannot be told, and nothing below is ruled out.
            let Ok(part) = Pattern::new(part, Flavour::Ignore) else {
                deep = true;
                break;
            };
            parts.push(part);
        }
        self.rules.push(Rule {
            keeps,
            literal: (!text.contains(['*', '?', '[', '\\'])).then(|| text.to_owned()),
            pattern: compile(text)?,
            parts,
            deep,
        });
        Ok(())
    }

    /// The state above everything.
    #[must_use]
    pub fn root(&self) -> Matched {
        Matched(vec![false; self.rules.len()].into())
    }

    /// Whether `path` (relative to the context) is ignored, given the state of its folder, and its own state.
    #[must_use]
    pub fn enter(&self, parent: &Matched, path: &str) -> (Matched, bool) {
        let mut ignored = false;
        let mut changed = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let inherited = parent.0.get(index).copied().unwrap_or(false);
            let matched = inherited
                || match &rule.literal {
                    Some(literal) => literal == path,
                    None => rule.pattern.matches(path),
                };
            if matched {
                ignored = !rule.keeps;
            }
            if matched != inherited {
                changed.get_or_insert_with(|| parent.0.to_vec())[index] = true;
            }
        }
        let state = changed.map_or_else(|| parent.clone(), |states| Matched(states.into()));
        (state, ignored)
    }

    /// Whether something below an ignored folder can be kept by a later `!` rule, so that one has to look.
    #[must_use]
    pub fn may_keep_below(&self, folder: &str) -> bool {
        self.rules.iter().filter(|rule| rule.keeps).any(|rule| {
            let mut parts = rule.parts.iter();
            for name in folder.split('/') {
                match parts.next() {
                    Some(part) if part.matches(name) => {}
                    Some(_) => return false,
                    // The rule ends, or goes deep, above this folder.
                    None => return true,
                }
            }
            rule.deep || parts.next().is_some() || rule.parts.len() == folder.split('/').count()
        })
    }

    /// Whether a single path is ignored, its folders considered.
    #[must_use]
    pub fn ignores(&self, path: &str) -> bool {
        let mut state = self.root();
        let mut ignored = false;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (state, ignored) = self.enter(&state, &path[..end]);
        }
        ignored
    }
}

/// The ignore files that may apply, first that exists wins: `<Dockerfile>.dockerignore`, then the context's.
#[must_use]
pub fn candidates(context: &Path, dockerfile: &Path) -> [PathBuf; 2] {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    [PathBuf::from(own), context.join(".dockerignore")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, path: &str, expected: bool) {
        let ignore = Ignore::parse(rules).unwrap();
        assert_eq!(ignore.ignores(path), expected, "{rules:?} on {path}");
    }

    #[test]
    fn single_patterns() {
        for (pattern, path, expected) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/", "file/", true),
            ("**", "/", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2", false),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt", "dir/dir/filetxt", false),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("a**z", "a/b/z", true),
            ("a**/z", "ab/z", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a/**/*.txt", "a/dir/file.txt", true),
            ("a/**/*.txt", "a/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abczdef", false),
            ("abc?def", "abcZdef", true),
            ("a\\\\", "a\\", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar/x", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "web/node_modules", false),
            ("/node_modules/", "node_modules/a", true),
            ("./a/../b", "b", true),
            ("*/b", "a/b/c", true),
            (".", "a", false),
            ("/", "a", false),
            ("../a", "a", false),
            ("*", "a/b", true),
            ("?", "é", true),
        ] {
            check(pattern, path, expected);
        }
    }

    #[test]
    fn the_last_match_decides() {
        for (rules, path, expected) in [
            ("*\n!a", "a", false),
            ("*\n!a", "a/b", false),
            ("*\n!a\na/b", "a/b", true),
            ("!a\n*", "a", true),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/x", true),
            (
                "*.md\n!README*.md\nREADME-secret.md",
                "README-secret.md",
                true,
            ),
            ("*.md\n!README*.md\nREADME-secret.md", "README-a.md", false),
            ("**\n!**/keep", "x/y/keep/z", false),
            ("# a\na ", "a", true),
            (" # a", "# a", true),
            ("\u{feff}a\r\nb\r\n", "a", true),
            ("! a\n", "a", false),
            ("*\n! a", "a", false),
        ] {
            check(rules, path, expected);
        }
    }

    #[test]
    fn looking_below_an_ignored_folder() {
        for (rules, folder, expected) in [
            ("*\n!src", "src", true),
            ("*\n!src", "target", false),
            ("*\n!src/main.rs", "src", true),
            ("*\n!src/main.rs", "src/other", false),
            ("*\n!**/keep", "any/where", true),
            ("*\n!a/**/keep", "a/b/c", true),
            ("*\n!a/**/keep", "b", false),
            ("*\n!dist-*/x", "dist-1", true),
            ("*", "a", false),
        ] {
            let ignore = Ignore::parse(rules).unwrap();
            assert_eq!(
                ignore.may_keep_below(folder),
                expected,
                "{rules:?} {folder}"
            );
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(Ignore::parse("a\n\n!").unwrap_err().line, 3);
        assert_eq!(Ignore::parse("a\n[").unwrap_err().line, 2);
    }

    #[test]
    fn the_dockerfiles_own_file_comes_first() {
        let [own, shared] = candidates(Path::new("/c"), Path::new("/c/docker/Web.Dockerfile"));
        assert_eq!(own, Path::new("/c/docker/Web.Dockerfile.dockerignore"));
        assert_eq!(shared, Path::new("/c/.dockerignore"));
    }

    proptest::proptest! {
        /// Pruning never hides a file that would have been kept.
        #[test]
        fn pruning_is_safe(
            rules in proptest::collection::vec("!?(\\*\\*/)?[ab*](/[ab*]){0,2}(/\\*\\*)?", 1..6),
            path in "[ab](/[ab]){0,3}",
        ) {
            let ignore = Ignore::parse(&rules.join("\n")).unwrap();
            if !ignore.ignores(&path) {
                for (end, _) in path.match_indices('/') {
                    let folder = &path[..end];
                    proptest::prop_assert!(
                        !ignore.ignores(folder) || ignore.may_keep_below(folder),
                        "{rules:?} prunes {folder} of {path}"
                    );
                }
            }
        }
    }
}
