//! A build's Dockerfile and ignore file, as they are read from the workspace, and how people are told what is wrong with them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use shipline_engine::backend::BuildRequest;
use shipline_engine::error::{BackendError, ErrorClass};

use super::dockerfile::{Dockerfile, DockerfileError, is_utf16};
use super::ignore::{Ignore, candidates};
use crate::layout::disk_error;

/// How many bytes an ignore file may have.
const MAX_RULES: u64 = 1 << 20;

/// Characters of a line in an excerpt.
const WIDTH: usize = 160;

/// The Dockerfile's name in the repository, for people.
pub(super) fn shown(request: &BuildRequest) -> String {
    shown_path(request, &request.dockerfile)
}

fn shown_path(request: &BuildRequest, path: &Path) -> String {
    path.strip_prefix(&request.root)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The Dockerfile's bytes.
pub(super) fn read_bytes(request: &BuildRequest) -> Result<Vec<u8>, BackendError> {
    let path = &request.dockerfile;
    // One byte more than is allowed tells that there are too many.
    let read = read_inside(request, path, Dockerfile::MAX_BYTES as u64 + 1)?;
    read.ok_or_else(|| {
        disk_error("read", path, io::Error::from(io::ErrorKind::NotFound)).hint(format!(
            "there is no {}: set `dockerfile` of the image, relative to the component's path",
            shown(request)
        ))
    })
}

/// The Dockerfile's text.
pub(super) fn read_text(request: &BuildRequest) -> Result<String, BackendError> {
    Dockerfile::decode(&read_bytes(request)?).map_err(|error| wrong(request, error))
}

/// The Dockerfile.
pub(super) fn read(request: &BuildRequest) -> Result<Dockerfile, BackendError> {
    Dockerfile::parse(&read_text(request)?).map_err(|error| wrong(request, error))
}

/// The rules of the ignore file that applies; none where there is none.
pub(super) fn read_ignore(request: &BuildRequest) -> Result<Ignore, BackendError> {
    for path in candidates(&request.context, &request.dockerfile) {
        let Some(bytes) = read_inside(request, &path, MAX_RULES + 1)? else {
            continue;
        };
        let name = shown_path(request, &path);
        let wrong = |why: String| {
            BackendError::new(ErrorClass::Invalid, format!("read {name}"))
                .because(why)
                .hint("patterns are those of .dockerignore, not of .gitignore")
        };
        if bytes.len() as u64 > MAX_RULES {
            return Err(wrong(format!("it has more than {MAX_RULES} bytes")));
        }
        if is_utf16(&bytes) {
            return Err(wrong(
                "it is written in UTF-16: save it as UTF-8".to_owned(),
            ));
        }
        return Ignore::parse(&String::from_utf8_lossy(&bytes))
            .map(|ignore| ignore.named(name.clone()))
            .map_err(|error| wrong(error.to_string()));
    }
    Ok(Ignore::default())
}

/// What a file of the workspace begins with; `None` where there is none. A link is followed inside the workspace only: what it
/// leads to elsewhere is no part of the repository, and an error about it could show what stands there.
fn read_inside(
    request: &BuildRequest,
    path: &Path,
    limit: u64,
) -> Result<Option<Vec<u8>>, BackendError> {
    let none = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    };
    let failed = |error| disk_error("read", path, error);
    let root = fs::canonicalize(&request.root).map_err(failed)?;
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if none(&error) && fs::symlink_metadata(path).is_err() => return Ok(None),
        Err(error) if none(&error) => {
            return Err(refused(request, path, "it is a link that leads nowhere"));
        }
        Err(error) => return Err(failed(error)),
    };
    if !real.starts_with(&root) {
        return Err(refused(
            request,
            path,
            "it is a link that leads out of the repository",
        ));
    }
    // Opening a pipe would wait for ever.
    if !fs::symlink_metadata(&real).map_err(failed)?.is_file() {
        return Err(refused(request, path, "it is no file"));
    }
    let file = File::open(&real).map_err(failed)?;
    Ok(Some(up_to(&file, limit).map_err(failed)?))
}

fn up_to(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refused(request: &BuildRequest, path: &Path, why: &str) -> BackendError {
    BackendError::new(
        ErrorClass::Invalid,
        format!("read {} of {}", shown_path(request, path), request.id),
    )
    .because(why.to_owned())
    .hint(
        "only files of the repository say how an image is built: commit a copy instead of the link",
    )
}

/// What is wrong with a Dockerfile, as the stage's error, with the lines around it where they may be shown.
pub(super) fn wrong(request: &BuildRequest, error: DockerfileError) -> BackendError {
    let name = shown(request);
    let message = format!("build {} from {name}", request.id);
    let class = ErrorClass::Invalid;
    let text = request
        .recipe
        .as_ref()
        .filter(|source| read_bytes(request).is_ok_and(|there| there == **source))
        .and_then(|source| Dockerfile::decode(source).ok());
    let remedy = error.remedy.clone();
    let failed = BackendError::new(class, message);
    let failed = match text {
        Some(text) => failed.because(super::describe(&name, &text, &error)),
        None => failed.because(error),
    };
    match remedy {
        Some(remedy) => failed.hint(remedy),
        None => failed,
    }
}

/// A line of a file with those around it, drawn as the problems of pipeline.yaml are.
pub(super) fn excerpt(name: &str, text: &str, line: usize) -> String {
    let first = line.saturating_sub(1).max(1);
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(index, text)| (index + 1, text))
        .skip(first - 1)
        .take(line + 2 - first)
        .collect();
    let width = lines
        .last()
        .map_or(1, |(number, _)| number.to_string().len());
    let mut drawn = format!(" {:width$} ╭─[{name}:{line}]\n", "");
    for (number, text) in lines {
        let mut shown: String = text
            .chars()
            .take(WIDTH)
            .map(|c| {
                if c.is_control() && c != '\t' {
                    '\u{fffd}'
                } else {
                    c
                }
            })
            .collect();
        if text.chars().nth(WIDTH).is_some() {
            shown.push('…');
        }
        drawn.push_str(format!(" {number:width$} │ {shown}").trim_end());
        drawn.push('\n');
        if number == line {
            let blank = shown.len() - shown.trim_start().len();
            let marked = shown.trim().chars().count().clamp(1, 40);
            let indent: String = shown.chars().take(blank).collect();
            drawn.push_str(&format!(
                " {:width$} · {indent}{}\n",
                "",
                "─".repeat(marked)
            ));
        }
    }
    drawn.push_str(&format!(" {:width$} ╰────", ""));
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_drawn_with_those_around_it() {
        assert_eq!(
            excerpt(
                "app/Dockerfile",
                "FROM a\n\n  COPPY \u{1b}[1mx y\nRUN z\n",
                3
            ),
            "   ╭─[app/Dockerfile:3]\n 2 │\n 3 │   COPPY \u{fffd}[1mx y\n   ·   ─────────────\n 4 │ RUN z\n   ╰────"
        );
        assert_eq!(
            excerpt("Dockerfile", "FROM", 1),
            "   ╭─[Dockerfile:1]\n 1 │ FROM\n   · ────\n   ╰────"
        );
        let long = "x".repeat(100_000);
        assert!(excerpt("Dockerfile", &long, 1).len() < 1000);
        assert!(excerpt("Dockerfile", "", 1).contains("Dockerfile:1"));
    }
}
