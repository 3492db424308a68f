//! What a Dockerfile asks for that an older engine does not have: an engine says no more of it than that it does not understand.

use shipline_model::plan::ImageId;

use super::Flavour;
use crate::build::dockerfile::lexer::{LogicalLine, lex};
use crate::build::dockerfile::words::flags;
use crate::build::{PlannedBuilder, plan_builder};

/// A feature of Dockerfiles, the first version of the syntax that has it, and the first engine that has this built in
/// (Dockerfile reference and release notes of Docker Engine).
struct Feature {
    keyword: &'static str,
    /// A flag, or a heredoc where there is none.
    flag: Option<&'static str>,
    syntax: &'static str,
    engine: (u32, u32),
}

const fn flag(
    keyword: &'static str,
    flag: &'static str,
    syntax: &'static str,
    engine: (u32, u32),
) -> Feature {
    Feature {
        keyword,
        flag: Some(flag),
        syntax,
        engine,
    }
}

const fn heredoc(keyword: &'static str) -> Feature {
    Feature {
        keyword,
        flag: None,
        syntax: "1.4",
        engine: (23, 0),
    }
}

const FEATURES: [Feature; 19] = [
    heredoc("RUN"),
    heredoc("COPY"),
    heredoc("ADD"),
    flag("RUN", "mount", "1.2", (20, 10)),
    flag("RUN", "network", "1.3", (23, 0)),
    flag("RUN", "security", "1.20", (29, 1)),
    flag("COPY", "chmod", "1.2", (20, 10)),
    flag("COPY", "link", "1.4", (23, 0)),
    flag("COPY", "exclude", "1.19", (28, 5)),
    flag("COPY", "parents", "1.20", (29, 1)),
    flag("ADD", "chmod", "1.2", (20, 10)),
    flag("ADD", "link", "1.4", (23, 0)),
    flag("ADD", "checksum", "1.6", (25, 0)),
    flag("ADD", "keep-git-dir", "1.6", (25, 0)),
    flag("ADD", "unpack", "1.17", (28, 3)),
    flag("ADD", "exclude", "1.19", (28, 5)),
    flag("HEALTHCHECK", "start-interval", "1.6", (25, 0)),
    flag("FROM", "platform", "1.2", (20, 10)),
    flag("RUN", "device", "1.14-labs", (28, 3)),
];

/// What an engine of this version does not have of what the Dockerfile asks for, each as a hint. Nothing where a `# syntax=` line
/// says which frontend reads it, unless the classic builder does, which heeds none.
pub(super) fn hints(
    image: &ImageId,
    dockerfile: &str,
    target: Option<&str>,
    flavour: Flavour,
    version: &str,
) -> Vec<String> {
    let Ok((directives, lines)) = lex(dockerfile) else {
        return Vec::new();
    };
    if flavour == Flavour::BuildKit && directives.syntax.is_some() {
        return Vec::new();
    }
    let has = |feature: &Feature| match flavour {
        // It never got what BuildKit did.
        Flavour::Classic => feature.keyword == "FROM",
        Flavour::BuildKit => number(version).is_none_or(|version| version >= feature.engine),
    };
    let embedded = matches!(
        plan_builder(dockerfile, target),
        Ok(PlannedBuilder::Embedded)
    );
    let mut hints = Vec::new();
    for feature in FEATURES.iter().filter(|feature| !has(feature)) {
        let Some(line) = lines
            .iter()
            .find(|line| asks(line, feature, directives.escape))
        else {
            continue;
        };
        let what = match feature.flag {
            Some(flag) => format!("`{} --{flag}`", feature.keyword),
            None => format!("a heredoc of {}", feature.keyword),
        };
        let (major, minor) = feature.engine;
        let newer = format!(
            "{what} (line {}) comes with Docker Engine {major}.{minor}, and this is {version}",
            line.line
        );
        hints.push(match flavour {
            Flavour::Classic => format!(
                "{what} (line {}) needs BuildKit of Docker Engine {major}.{minor} or newer, and this is the classic builder",
                line.line
            ),
            Flavour::BuildKit => format!(
                "{newer}: `# syntax=docker/dockerfile:{}` as the first line brings it to older engines",
                feature.syntax
            ),
        });
    }
    if !hints.is_empty() && embedded {
        hints.push(format!(
            "the embedded builder can build {image}: it needs no engine (`engine: auto`)"
        ));
    }
    hints
}

fn asks(line: &LogicalLine, feature: &Feature, escape: char) -> bool {
    if line.keyword != feature.keyword {
        return false;
    }
    match feature.flag {
        None => !line.heredocs.is_empty(),
        Some(wanted) => {
            let (flags, _) = flags(&line.rest, escape);
            flags.iter().any(|flag| flag.name == wanted)
        }
    }
}

/// `20.10.24+dfsg1` as its first two numbers.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    Some((major, minor[..digits.unwrap_or(minor.len())].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dockerfile: &str, flavour: Flavour, version: &str, expected: &[&str]) {
        let image = ImageId {
            component: "web".parse().unwrap(),
            variant: None,
        };
        let hints = hints(&image, dockerfile, None, flavour, version);
        assert_eq!(hints.len(), expected.len(), "{hints:#?}");
        for (hint, wanted) in hints.iter().zip(expected) {
            assert!(hint.contains(wanted), "{hint}: {wanted}");
        }
    }

    #[test]
    fn what_an_engine_is_too_old_for_is_named_with_the_version_that_has_it() {
        let old = "20.10.24+dfsg1";
        let kit = Flavour::BuildKit;
        check(
            "FROM a\nRUN x\nADD --checksum=sha256:1 https://x/y /",
            kit,
            old,
            &[
                "`ADD --checksum` (line 3) comes with Docker Engine 25.0, and this is 20.10.24+dfsg1: `# syntax=docker/dockerfile:1.6`",
            ],
        );
        check(
            "FROM a\nRUN <<EOF\nx\nEOF\n",
            kit,
            old,
            &["a heredoc of RUN (line 2) comes with Docker Engine 23.0"],
        );
        check("FROM a\nRUN <<EOF\nx\nEOF\n", kit, "23.0.1", &[]);
        check(
            "FROM a\nCOPY --link a /",
            kit,
            old,
            &["`COPY --link`", "the embedded builder can build web"],
        );
        check(
            "FROM a\nRUN --mount=type=cache,target=/x x\nCOPY --parents a /",
            kit,
            "28.5.1",
            &["`COPY --parents` (line 3) comes with Docker Engine 29.1"],
        );
        // The frontend of such a line is another version.
        check(
            "# syntax=docker/dockerfile:1\nFROM a\nRUN <<EOF\nx\nEOF\n",
            kit,
            old,
            &[],
        );
        check("FROM a\nRUN x --link", kit, old, &[]);
    }

    #[test]
    fn the_classic_builder_has_nothing_of_buildkit() {
        check(
            "# syntax=docker/dockerfile:1\nFROM --platform=linux/amd64 a\nRUN --mount=type=secret,id=x x",
            Flavour::Classic,
            "27.0.1",
            &["`RUN --mount` (line 3) needs BuildKit of Docker Engine 20.10 or newer"],
        );
    }
}
