//! The images that a Dockerfile names, wherever it names them, and the same Dockerfile with other names for them.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::{self, LogicalLine};
use super::{Base, Dockerfile, DockerfileError, Globals, expand, words};

/// An image as it is written, args put in, and the line that mentions it.
pub(crate) type Mentioned = (String, usize);

/// Where `RUN --mount=…,from=…` of the stages `among` mounts from, with the lines.
fn mounts(
    text: &str,
    dockerfile: &Dockerfile,
    among: &BTreeSet<usize>,
) -> Result<Vec<(Base, usize)>, DockerfileError> {
    let mut found = Vec::new();
    for_each_line(text, |index, logical, escape| {
        if logical.keyword == "RUN" && among.contains(&index) {
            for from in mounted(logical, escape) {
                found.push((
                    dockerfile.copy_base(index, &from, logical.line)?,
                    logical.line,
                ));
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// What an engine needs for `target`: its stages, those that `RUN --mount` mounts included, and the images that only `RUN
/// --mount` names, with the lines.
///
/// # Errors
/// As [`Dockerfile::needed`].
pub(crate) fn needed_by_engine(
    text: &str,
    dockerfile: &Dockerfile,
    target: usize,
    globals: &Globals,
) -> Result<(Vec<usize>, Vec<Mentioned>), DockerfileError> {
    let mut needed: BTreeSet<usize> = dockerfile.needed(target, globals)?.into_iter().collect();
    loop {
        let mut images = Vec::new();
        let before = needed.len();
        for (base, line) in mounts(text, dockerfile, &needed)? {
            match base {
                Base::Stage(stage) => needed.extend(dockerfile.needed(stage, globals)?),
                Base::Image(reference) => images.push((reference, line)),
                Base::Scratch => {}
            }
        }
        if needed.len() == before {
            return Ok((needed.into_iter().collect(), images));
        }
    }
}

/// The images of the stages `among` whose FROM says for which platform they are wanted, with that platform, its args put in.
///
/// # Errors
/// Where one does not expand.
pub(crate) fn with_platform(
    dockerfile: &Dockerfile,
    among: &[usize],
    globals: &Globals,
) -> Result<Vec<(String, String)>, DockerfileError> {
    let mut found = Vec::new();
    for index in among {
        let stage = &dockerfile.stages[*index];
        if let Some(platform) = &stage.platform
            && let Base::Image(image) = dockerfile.base(*index, globals)?
        {
            let platform =
                expand::expand(platform, dockerfile.escape, &|name: &str| globals.get(name))
                    .map_err(|why| DockerfileError::new(stage.line, why))?;
            found.push((image, platform));
        }
    }
    Ok(found)
}

/// The Dockerfile with other names for its images: `names` leads from what is written, args put in, to what is to stand there.
/// Every other line keeps its text, and all of them their numbers.
///
/// # Errors
/// Where the Dockerfile is wrong.
pub(crate) fn renamed(
    text: &str,
    dockerfile: &Dockerfile,
    globals: &Globals,
    names: &BTreeMap<String, String>,
) -> Result<String, DockerfileError> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for_each_line(text, |index, logical, escape| {
        let new = match logical.keyword.as_str() {
            "FROM" => match dockerfile.base(index, globals) {
                Ok(Base::Image(image)) => names.get(&image).map(|name| from(logical, escape, name)),
                // A stage that is not needed may name nothing.
                Ok(Base::Scratch | Base::Stage(_)) | Err(_) => None,
            },
            "COPY" => copied(logical, escape).and_then(|image| {
                let name = is_image(dockerfile, index, &image).then(|| names.get(&image))??;
                Some(with_flag(&logical.source, "--from=", &image, name))
            }),
            "RUN" => {
                let mut source = logical.source.clone();
                for image in mounted(logical, escape) {
                    if let Some(name) = names.get(&image)
                        && is_image(dockerfile, index, &image)
                    {
                        source = with_flag(&source, "from=", &image, name);
                    }
                }
                (source != logical.source).then_some(source)
            }
            _ => None,
        };
        if let Some(new) = new {
            for (offset, line) in lines
                .iter_mut()
                .skip(logical.line - 1)
                .take(logical.lines)
                .enumerate()
            {
                let end = if line.ends_with('\n') { "\n" } else { "" };
                *line = if offset == 0 {
                    format!("{new}{end}")
                } else {
                    end.to_owned()
                };
            }
        }
        Ok(())
    })?;
    Ok(lines.concat())
}

/// Calls `each` with every instruction that belongs to a stage, FROM included, and the number of the stage.
fn for_each_line(
    text: &str,
    mut each: impl FnMut(usize, &LogicalLine, char) -> Result<(), DockerfileError>,
) -> Result<(), DockerfileError> {
    let (directives, logical) = lexer::lex(text)?;
    let mut next = 0;
    for line in &logical {
        if line.keyword == "FROM" {
            next += 1;
        }
        if next > 0 {
            each(next - 1, line, directives.escape)?;
        }
    }
    Ok(())
}

fn is_image(dockerfile: &Dockerfile, stage: usize, from: &str) -> bool {
    matches!(dockerfile.copy_base(stage, from, 1), Ok(Base::Image(_)))
}

/// `--from` of a COPY.
fn copied(logical: &LogicalLine, escape: char) -> Option<String> {
    let (flags, _) = words::flags(&logical.rest, escape);
    flags
        .into_iter()
        .find(|flag| flag.name == "from")
        .and_then(|flag| flag.value)
}

/// `from=` of each `--mount` of a RUN.
fn mounted(logical: &LogicalLine, escape: char) -> Vec<String> {
    let (flags, _) = words::flags(&logical.rest, escape);
    let mounts = flags.iter().filter(|flag| flag.name == "mount");
    mounts
        .filter_map(|flag| flag.value.as_deref())
        .filter_map(|value| value.split(',').find_map(|part| part.strip_prefix("from=")))
        .map(str::to_owned)
        .collect()
}

fn from(logical: &LogicalLine, escape: char, name: &str) -> String {
    let (flags, rest) = words::flags(&logical.rest, escape);
    let mut line = vec!["FROM".to_owned()];
    for flag in flags {
        line.push(match flag.value {
            Some(value) => format!("--{}={value}", flag.name),
            None => format!("--{}", flag.name),
        });
    }
    line.push(name.to_owned());
    line.extend(rest.split_whitespace().skip(1).map(str::to_owned));
    line.join(" ")
}

/// Flags stand before everything else: the first one of this key and value is the flag. Quotes around the value go.
fn with_flag(source: &str, key: &str, value: &str, name: &str) -> String {
    for written in [
        format!("{key}{value}"),
        format!("{key}\"{value}\""),
        format!("{key}'{value}'"),
    ] {
        if let Some(at) = source.find(&written) {
            let behind = &source[at + written.len()..];
            if behind.starts_with([',', ' ', '\t']) {
                return format!("{}{key}{name}{behind}", &source[..at]);
            }
        }
    }
    source.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_their_names_and_lines_their_numbers() {
        let text = "# syntax=docker/dockerfile:1\nARG V=1\nFROM --platform=$BUILDPLATFORM \\\n  # why\n  node:${V} AS Build\nRUN --mount=type=bind,from=tools:2,target=/t \\\n  --mount=type=cache,target=/c /t/x\nFROM other AS unused\nFROM scratch\nCOPY --chown=1 --from=busybox:1 \\\n  /bin/sh /\nCOPY --from=build /x /\nRUN echo --from=busybox:1 from=tools:2";
        let platform = crate::build::any_platform();
        let dockerfile = Dockerfile::parse(text).unwrap();
        let globals = Globals::new(&dockerfile, &BTreeMap::new(), &platform).unwrap();
        let names = [("node:1", "n@d"), ("busybox:1", "b@d"), ("tools:2", "t@d")]
            .map(|(from, to)| (from.to_owned(), to.to_owned()));
        let renamed = renamed(text, &dockerfile, &globals, &names.into()).unwrap();
        assert_eq!(
            renamed,
            "# syntax=docker/dockerfile:1\nARG V=1\nFROM --platform=$BUILDPLATFORM n@d AS Build\n\n\nRUN --mount=type=bind,from=t@d,target=/t   --mount=type=cache,target=/c /t/x\n\nFROM other AS unused\nFROM scratch\nCOPY --chown=1 --from=b@d   /bin/sh /\n\nCOPY --from=build /x /\nRUN echo --from=busybox:1 from=tools:2"
        );
        assert_eq!(renamed.lines().count(), text.lines().count());
    }

    #[test]
    fn mounts_need_stages_and_images() {
        let text = "FROM a AS one\nFROM b AS two\nRUN --mount=from=one x\nFROM c\nRUN --mount=type=bind,from=two,target=/t --mount=from=d y\n";
        let platform = crate::build::any_platform();
        let dockerfile = Dockerfile::parse(text).unwrap();
        let globals = Globals::new(&dockerfile, &BTreeMap::new(), &platform).unwrap();
        assert_eq!(
            needed_by_engine(text, &dockerfile, 2, &globals).unwrap(),
            (vec![0, 1, 2], vec![("d".to_owned(), 5)])
        );
        assert_eq!(
            needed_by_engine(text, &dockerfile, 0, &globals).unwrap(),
            (vec![0], vec![])
        );
    }
}
