//! From text to logical lines: directives, comments, continuation lines, heredocs.

use super::error::DockerfileError;
use super::words::raw_words;

/// The parser directives at a Dockerfile's top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directives {
    /// The escape character: `\` or a backtick.
    pub(crate) escape: char,
    /// `# syntax=`, with its line.
    pub(crate) syntax: Option<(String, usize)>,
}

/// An instruction as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogicalLine {
    /// 1-based line on which it begins.
    pub(crate) line: usize,
    /// The lines of the file that it takes, its heredocs aside.
    pub(crate) lines: usize,
    /// The instruction in capitals.
    pub(crate) keyword: String,
    /// What follows, continuation lines joined, trimmed.
    pub(crate) rest: String,
    /// The whole, continuation lines joined.
    pub(crate) source: String,
    /// Its heredocs in order.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// A text that stands in the Dockerfile itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// Its delimiter, which is the file's name too.
    pub name: String,
    /// The text, with its line ends.
    pub content: String,
    /// Whether variables in it are expanded: the delimiter was not quoted.
    pub expands: bool,
}

/// The word that opens a heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) name: String,
    expands: bool,
    chomps: bool,
}

pub(crate) fn lex(text: &str) -> Result<(Directives, Vec<LogicalLine>), DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let directives = directives(&lines)?;
    let mut logical = Vec::new();
    let mut next = 0;
    while next < lines.len() {
        let line = next + 1;
        let first = content(lines[next]).trim_start();
        next += 1;
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let (mut joined, mut continues) = continuation(first, directives.escape);
        while continues && next < lines.len() {
            let more = content(lines[next]);
            next += 1;
            let trimmed = more.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (part, again) = continuation(more, directives.escape);
            joined.push_str(&part);
            continues = again;
        }
        let taken = next + 1 - line;
        let source = joined.trim().to_owned();
        if source.is_empty() {
            continue;
        }
        let (keyword, rest) = match source.split_once([' ', '\t', '\u{b}', '\u{c}', '\r']) {
            Some((keyword, rest)) => (keyword.to_ascii_uppercase(), rest.trim().to_owned()),
            None => (source.to_ascii_uppercase(), String::new()),
        };
        let mut heredocs = Vec::new();
        if matches!(keyword.as_str(), "COPY" | "ADD" | "RUN") {
            for opening in openings(&rest, directives.escape) {
                heredocs.push(heredoc(&opening, &lines, &mut next, line)?);
            }
        } else if keyword == "ONBUILD" && !openings(&rest, directives.escape).is_empty() {
            return Err(
                DockerfileError::new(line, "a heredoc in ONBUILD is not supported")
                    .remedy("Put the text into a file of the context and copy that."),
            );
        }
        logical.push(LogicalLine {
            line,
            lines: taken,
            keyword,
            rest,
            source,
            heredocs,
        });
    }
    Ok((directives, logical))
}

/// A line without its end.
fn content(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The line without its escape at the end, and whether it had one. An escaped escape is none.
fn continuation(line: &str, escape: char) -> (String, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

fn directives(lines: &[&str]) -> Result<Directives, DockerfileError> {
    let mut directives = Directives {
        escape: '\\',
        syntax: None,
    };
    let mut seen: Vec<String> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((name, value)) = directive(content(line)) else {
            break;
        };
        let line = index + 1;
        if !matches!(name.as_str(), "escape" | "syntax" | "check") {
            break;
        }
        if seen.contains(&name) {
            return Err(DockerfileError::new(
                line,
                format!("the parser directive `{name}` is there twice"),
            )
            .remedy("Remove one of them."));
        }
        match name.as_str() {
            "escape" => {
                directives.escape = match value.as_str() {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        return Err(DockerfileError::new(
                            line,
                            format!(
                                "the escape character `{value}` is neither `\\` nor a backtick"
                            ),
                        )
                        .remedy("Write `# escape=\\` or `# escape=` and a backtick."));
                    }
                };
            }
            "syntax" => directives.syntax = Some((value, line)),
            _ => {}
        }
        seen.push(name);
    }
    Ok(directives)
}

fn directive(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value.to_owned()))
}

/// The heredocs that a line opens.
fn openings(rest: &str, escape: char) -> Vec<Opening> {
    raw_words(rest, escape)
        .iter()
        .filter_map(|word| opening(word))
        .collect()
}

/// The heredoc that a word opens: `<<NAME`, `<<-NAME`, `3<<"NAME"`.
pub(crate) fn opening(word: &str) -> Option<Opening> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = word.strip_prefix("<<")?;
    let (chomps, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name: String = rest
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '\\'))
        .collect();
    if name.is_empty() {
        return None;
    }
    Some(Opening {
        expands: name == rest,
        name,
        chomps,
    })
}

fn heredoc(
    opening: &Opening,
    lines: &[&str],
    next: &mut usize,
    line: usize,
) -> Result<Heredoc, DockerfileError> {
    let mut text = String::new();
    while let Some(raw) = lines.get(*next) {
        *next += 1;
        let raw = if opening.chomps {
            raw.trim_start_matches('\t')
        } else {
            raw
        };
        if content(raw) == opening.name {
            return Ok(Heredoc {
                name: opening.name.clone(),
                content: text,
                expands: opening.expands,
            });
        }
        text.push_str(raw);
    }
    Err(
        DockerfileError::new(line, format!("the heredoc `{}` has no end", opening.name)).remedy(
            format!("Write `{}` alone on the line after its text.", opening.name),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, String, String)> {
        lex(text)
            .unwrap()
            .1
            .into_iter()
            .map(|line| (line.line, line.keyword, line.rest))
            .collect()
    }

    fn one(text: &str) -> (usize, String, String) {
        let mut lines = lines(text);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    #[test]
    fn continuation_lines() {
        for (text, line, rest) in [
            ("RUN a \\\n  b", 1, "a   b"),
            ("\n\n run a\\\nb", 3, "ab"),
            ("RUN a \\  \n# comment\n\n   # another\n b", 1, "a  b"),
            ("RUN a \\\r\n b\r\n", 1, "a  b"),
            ("RUN a \\", 1, "a"),
            ("RUN a \\\\\n", 1, "a \\\\"),
            ("# escape=`\nRUN a `\nb", 2, "a b"),
            ("# escape=`\nRUN dir c:\\\n", 2, "dir c:\\"),
            ("# comment\n# escape=`\nRUN a \\\nb", 3, "a b"),
            ("\n# escape=`\nRUN a \\\nb", 3, "a b"),
            (
                "#syntax = docker/dockerfile:1\n#  ESCAPE =  `\nRUN a `\nb",
                3,
                "a b",
            ),
            ("\u{feff}RUN a", 1, "a"),
            ("RUN\ta", 1, "a"),
        ] {
            assert_eq!(one(text), (line, "RUN".into(), rest.into()), "{text:?}");
        }
    }

    #[test]
    fn directives_are_read_at_the_top_only() {
        let syntax = |text: &str| lex(text).unwrap().0.syntax.map(|(name, _)| name);
        assert_eq!(syntax("# syntax=a/b:1\nFROM x"), Some("a/b:1".into()));
        assert_eq!(syntax("# comment\n# syntax=a/b:1\nFROM x"), None);
        assert_eq!(syntax("FROM x\n# syntax=a"), None);
        assert_eq!(lex("# escape=\\\n# escape=`\nFROM x").unwrap_err().line, 2);
        assert_eq!(lex("# escape=x\nFROM x").unwrap_err().line, 1);
    }

    #[test]
    fn heredocs() {
        let read = |text: &str| {
            let (_, mut lines) = lex(text).unwrap();
            assert_eq!(lines.pop().map(|line| line.keyword), Some("CMD".into()));
            lines.pop().unwrap().heredocs
        };
        let heredoc = |name: &str, content: &str, expands| Heredoc {
            name: name.into(),
            content: content.into(),
            expands,
        };
        for (text, expected) in [
            (
                "COPY <<EOF /a\nx $y\nEOF\n",
                vec![heredoc("EOF", "x $y\n", true)],
            ),
            (
                "COPY <<-EOF /a\n\t\tx\n\tEOF\n",
                vec![heredoc("EOF", "x\n", true)],
            ),
            ("COPY <<'E' /a\n$x\nE\n", vec![heredoc("E", "$x\n", false)]),
            ("COPY <<\"E\" /a\nE\n", vec![heredoc("E", "", false)]),
            (
                "COPY <<a.txt <<b.txt /d/\n# no comment\na.txt\n\nx \\\nb.txt\n",
                vec![
                    heredoc("a.txt", "# no comment\n", true),
                    heredoc("b.txt", "\nx \\\n", true),
                ],
            ),
            (
                "RUN cat <<EOF > x\n EOF\nEOF\n",
                vec![heredoc("EOF", " EOF\n", true)],
            ),
            ("RUN echo \"<<EOF\" '<<E' a<<E $((1<<2)) <<<x\n", vec![]),
            (
                "RUN python3 <<EOF \\\n  && b\nx\nEOF\n",
                vec![heredoc("EOF", "x\n", true)],
            ),
        ] {
            assert_eq!(read(&format!("{text}CMD x")), expected, "{text:?}");
        }
        assert_eq!(lex("FROM a\nCOPY <<E /\nx").unwrap_err().line, 2);
    }
}
