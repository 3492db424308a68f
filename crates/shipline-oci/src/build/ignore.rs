//! `.dockerignore`: which files of a context a build sees, with Docker's patterns and order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pattern::{BadPattern, Flavour, Pattern, clean};

/// The patterns of an ignore file (or of `COPY --exclude`), in order; the last one that matches a path decides.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    /// The file's name, for people.
    name: String,
}

/// How many rules an ignore file may have: each is held against each path of a context.
const MAX_RULES: usize = 10_000;

/// How many bytes a rule may have: no path has more.
const MAX_RULE: usize = 4_096;

#[derive(Debug, Clone)]
struct Rule {
    /// `!`: what matches is not ignored.
    keeps: bool,
    /// 1-based line of the file.
    line: usize,
    /// As it is written.
    written: String,
    matcher: Matcher,
    /// The pattern's parts up to its first `**`.
    parts: Vec<Pattern>,
    /// Whether a `**` follows the parts.
    deep: bool,
}

/// How a rule matches, in patternmatcher's four ways.
#[derive(Debug, Clone)]
enum Matcher {
    /// No wildcard: the path itself.
    Exact(String),
    /// `x**`, without another wildcard: whatever begins so.
    Prefix(String),
    /// `**x`, without another wildcard: whatever ends so, also in the middle of a name; with `**/x` the path `x` too.
    Suffix(String),
    Pattern(Pattern),
}

impl Matcher {
    fn new(text: &str) -> Result<Self, BadPattern> {
        let plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
        // The text is checked in any case.
        let pattern = Pattern::new(text, Flavour::Ignore)?;
        Ok(if plain(text) {
            Self::Exact(text.to_owned())
        } else if let Some(suffix) = text.strip_prefix("**").filter(|rest| plain(rest)) {
            Self::Suffix(suffix.to_owned())
        } else if let Some(prefix) = text.strip_suffix("**").filter(|rest| plain(rest)) {
            Self::Prefix(prefix.to_owned())
        } else {
            Self::Pattern(pattern)
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => text == path,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Self::Pattern(pattern) => pattern.matches(path),
        }
    }
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
            ignore.push(index + 1, line).map_err(|why| IgnoreError {
                line: index + 1,
                why,
            })?;
        }
        Ok(ignore)
    }

    /// With the file's name, for people.
    pub(crate) fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// The rules of `COPY --exclude`.
    pub(crate) fn of_patterns(patterns: &[String]) -> Result<Self, String> {
        let mut ignore = Self::default();
        for (index, pattern) in patterns.iter().enumerate() {
            ignore.push(index + 1, pattern)?;
        }
        Ok(ignore)
    }

    fn push(&mut self, number: usize, line: &str) -> Result<(), String> {
        if self.rules.len() == MAX_RULES {
            return Err(format!("there are more than {MAX_RULES} rules"));
        }
        if line.len() > MAX_RULE {
            return Err(format!("the rule has more than {MAX_RULE} bytes"));
        }
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
            line: number,
            written: line.to_owned(),
            matcher: Matcher::new(text).map_err(|error: BadPattern| error.to_string())?,
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
    ///
    /// As in patternmatcher's `MatchesUsingParentResults`, a rule that cannot change anything at a path is not held against it:
    /// `!logs` behind `**/*.log` keeps no `logs/a.log`, because at `logs` there was nothing to keep.
    #[must_use]
    pub fn enter(&self, parent: &Matched, path: &str) -> (Matched, bool) {
        let (state, decided) = self.decide(parent, path);
        let ignored = decided.is_some_and(|index| !self.rules[index].keeps);
        (state, ignored)
    }

    /// The state of a path, and which rule decided about it.
    fn decide(&self, parent: &Matched, path: &str) -> (Matched, Option<usize>) {
        let mut decided: Option<usize> = None;
        let mut changed = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let ignored = decided.is_some_and(|index| !self.rules[index].keeps);
            let inherited = parent.0.get(index).copied().unwrap_or(false);
            let matched = inherited || (rule.keeps == ignored && rule.matcher.matches(path));
            if matched {
                decided = Some(index);
            }
            if matched != inherited {
                changed.get_or_insert_with(|| parent.0.to_vec())[index] = true;
            }
        }
        let state = changed.map_or_else(|| parent.clone(), |states| Matched(states.into()));
        (state, decided)
    }

    /// What leaves a path out, for people; `None` where nothing does.
    pub(crate) fn reason(&self, path: &str) -> Option<String> {
        let mut state = self.root();
        let mut decided = None;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (state, decided) = self.decide(&state, &path[..end]);
        }
        let rule = &self.rules[decided?];
        (!rule.keeps).then(|| format!("{} line {} (`{}`)", self.name, rule.line, rule.written))
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
            // `**` with letters behind it is a suffix of the path, not of a name.
            ("**.env", ".env", true),
            ("**.env", "prod.env", true),
            ("**.env", "a/b/prod.env", true),
            ("**.env", "prod.env/key", true),
            ("**.env", "prod.envs", false),
            ("**.pyc", "a.pyc", true),
            ("**file", "profile", true),
            ("**/file", "profile", false),
            ("**/file", "a/profile", false),
            ("**/file", "file", true),
            ("**a/b", "xa/b", true),
            ("/**.env", "prod.env", true),
            // With another wildcard it is folders again.
            ("**.en?", "prod.env", false),
            ("**.en?", "a/.env", true),
            ("**.*", "prod.env", false),
            // And in front of it a prefix.
            ("conf**", "config/a", true),
            ("conf**", "conf", true),
            ("conf/**", "conf", false),
            ("a/conf**", "a/config", true),
            ("c?nf**", "config", true),
            ("**/**", "a", true),
            ("***", "a/b", true),
            ("a]", "a]", true),
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
            ("**\n!a/b/c", "a/b/c/d", false),
            ("**\n!a/b/c\na/b/c/d", "a/b/c/d", true),
            ("**\n!dist/*.whl", "dist/a-1.0+b.whl", false),
            // At `logs` there was nothing to keep.
            ("**/*.log\n!logs", "logs/a.log", true),
            ("**/.env\n!config", "config/.env", true),
            ("**/*.log\n!logs/*.log", "logs/a.log", false),
            ("**\n!logs\n**/*.log", "logs/a.log", true),
            ("!!a\n*", "!a", true),
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
        assert_eq!(Ignore::parse("[Local-Only]/").unwrap_err().line, 1);
        assert_eq!(
            Ignore::parse(&"a\n".repeat(10_001)).unwrap_err().line,
            10_001
        );
        assert!(Ignore::parse(&"a".repeat(5_000)).is_err());
    }

    #[test]
    fn what_leaves_a_path_out_is_told() {
        let ignore = Ignore::parse("# x\n*.log\n!keep.log\ndist/")
            .unwrap()
            .named("app/.dockerignore".to_owned());
        let reason = |path: &str| ignore.reason(path);
        assert_eq!(
            reason("dist/a/b").as_deref(),
            Some("app/.dockerignore line 4 (`dist/`)")
        );
        assert_eq!(
            reason("a.log").as_deref(),
            Some("app/.dockerignore line 2 (`*.log`)")
        );
        assert_eq!(reason("keep.log"), None);
        assert_eq!(reason("x"), None);
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
