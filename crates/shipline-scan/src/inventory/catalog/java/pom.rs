//! As much of a Maven project's description (`pom.xml`) as names it. No entity is resolved and nothing is fetched.

/// Deeper elements are counted and not named.
const DEEPEST: usize = 64;
/// Licences that are kept of one project.
const MOST_LICENCES: usize = 20;

/// What a project says of itself, before anything is inherited or filled in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) group: Option<String>,
    pub(super) artifact: Option<String>,
    pub(super) version: Option<String>,
    pub(super) parent_group: Option<String>,
    pub(super) parent_version: Option<String>,
    pub(super) licences: Vec<String>,
}

/// Reads a description as far as it is well-formed.
pub(super) fn read(text: &str) -> Project {
    let mut project = Project::default();
    let mut path: Vec<&str> = Vec::new();
    let mut deeper = 0_usize;
    let mut rest = text;
    while let Some((content, markup)) = rest.split_once('<') {
        let content = content.trim();
        if !content.is_empty() && deeper == 0 {
            project.take(&path, content);
        }
        if let Some(comment) = markup.strip_prefix("!--") {
            rest = after(comment, "-->");
        } else if let Some(text) = markup.strip_prefix("![CDATA[") {
            rest = after(text, "]]>");
        } else {
            let (tag, next) = markup.split_once('>').unwrap_or((markup, ""));
            rest = next;
            if tag.starts_with(['!', '?']) || tag.ends_with('/') {
                continue;
            }
            match tag.strip_prefix('/') {
                Some(_) if deeper > 0 => deeper -= 1,
                Some(_) => {
                    path.pop();
                }
                None if path.len() == DEEPEST => deeper += 1,
                None => path.push(tag.split_ascii_whitespace().next().unwrap_or_default()),
            }
        }
    }
    project
}

fn after<'t>(text: &'t str, end: &str) -> &'t str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

impl Project {
    fn take(&mut self, path: &[&str], content: &str) {
        let place = match path {
            ["project", "groupId"] => &mut self.group,
            ["project", "artifactId"] => &mut self.artifact,
            ["project", "version"] => &mut self.version,
            ["project", "parent", "groupId"] => &mut self.parent_group,
            ["project", "parent", "version"] => &mut self.parent_version,
            ["project", "licenses", "license", "name"] if self.licences.len() < MOST_LICENCES => {
                self.licences.push(content.to_owned());
                return;
            }
            _ => return,
        };
        place.get_or_insert_with(|| content.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_read_and_its_dependencies_are_not() {
        let project = read(
            "<?xml version=\"1.0\"?><!DOCTYPE x><project xmlns=\"x\">\n<!-- <artifactId>no</artifactId> -->\n<parent><groupId>g</groupId><version>2</version></parent>\n<artifactId> a </artifactId><dependencies><dependency><artifactId>b</artifactId><version>9</version></dependency></dependencies><licenses><license><name>MIT</name></license></licenses><empty/></project>",
        );
        assert_eq!(
            project,
            Project {
                artifact: Some("a".to_owned()),
                parent_group: Some("g".to_owned()),
                parent_version: Some("2".to_owned()),
                licences: vec!["MIT".to_owned()],
                ..Project::default()
            }
        );
    }

    #[test]
    fn what_is_broken_or_deep_ends() {
        for text in [
            "<",
            "<project",
            "<project><artifactId>a",
            "</a></b>",
            "<!-- ",
            "<![CDATA[",
        ] {
            let _ = read(text);
        }
        let deep = format!(
            "<project>{}<x>{}<artifactId>a</artifactId></project>",
            "<a>".repeat(100_000),
            "</a>".repeat(100_000)
        );
        assert_eq!(read(&deep).artifact, None);
    }
}
