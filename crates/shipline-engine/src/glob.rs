//! Globs over paths: `*` and `?` within a name, `**` over any number of names.

/// Whether `path` (with `/`, relative) matches `glob`.
pub(crate) fn matches(glob: &str, path: &str) -> bool {
    let glob: Vec<&str> = glob.split('/').filter(|name| *name != ".").collect();
    let path: Vec<&str> = path.split('/').collect();
    names(&glob, &path)
}

fn names(glob: &[&str], path: &[&str]) -> bool {
    // For each prefix of the glob: which prefixes of the path it matches.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for pattern in glob {
        let mut next = vec![false; path.len() + 1];
        if *pattern == "**" {
            let mut any = false;
            for (at, from) in reached.iter().enumerate() {
                any |= from;
                next[at] = any;
            }
        } else {
            for at in 0..path.len() {
                next[at + 1] = reached[at] && name(pattern, path[at]);
            }
        }
        reached = next;
    }
    reached[path.len()]
}

fn name(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for c in pattern.chars() {
        let mut next = vec![false; text.len() + 1];
        if c == '*' {
            let mut any = false;
            for (at, from) in reached.iter().enumerate() {
                any |= from;
                next[at] = any;
            }
        } else {
            for at in 0..text.len() {
                next[at + 1] = reached[at] && (c == '?' || c == text[at]);
            }
        }
        reached = next;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_paths() {
        let check = |glob: &str, path: &str, expected: bool| {
            assert_eq!(matches(glob, path), expected, "{glob} {path}");
        };
        check("junit.xml", "junit.xml", true);
        check("./junit.xml", "junit.xml", true);
        check("junit.xml", "a/junit.xml", false);
        check("*.xml", "a.xml", true);
        check("*.xml", "a/b.xml", false);
        check("**/*.xml", "b.xml", true);
        check("**/*.xml", "a/c/b.xml", true);
        check("a/**/b.xml", "a/b.xml", true);
        check("a/**", "a/b/c", true);
        check("t?st-*.xml", "test-1.xml", true);
        check("t?st-*.xml", "tst-1.xml", false);
        check("*a*a*", "banana", true);
        check("", "a", false);
    }
}
