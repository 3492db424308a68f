//! From text to logical lines: directives, comments, continuation lines, heredocs.

use super::error::DockerfileError;
use super::expand::{Quoting, literal_words, raw_line_words};
use super::text::MAX_BYTES;
use super::words::json_list;

/// How many bytes a line may have: BuildKit reads no longer one.
const MAX_LINE: usize = 65_535;

/// How many instructions a Dockerfile may have. Each is a step of the image's history.
const MAX_INSTRUCTIONS: usize = 5_000;

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
    /// The instruction as it is written.
    pub(crate) written: String,
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
    if let Some(index) = lines.iter().position(|line| line.len() > MAX_LINE) {
        return Err(DockerfileError::new(
            index + 1,
            format!("the line has more than {MAX_LINE} bytes"),
        )
        .remedy(
            "break it with the escape character, or move the text into a file of the context",
        ));
    }
    if text.len() > MAX_BYTES {
        return Err(DockerfileError::new(
            1,
            format!("there are more than {MAX_BYTES} bytes"),
        ));
    }
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
        let (written, rest) = match source.split_once([' ', '\t', '\u{b}', '\u{c}', '\r']) {
            Some((written, rest)) => (written.to_owned(), rest.trim().to_owned()),
            None => (source.clone(), String::new()),
        };
        let keyword = written.to_ascii_uppercase();
        let mut heredocs = Vec::new();
        if may_have_heredocs(&keyword, &rest) {
            for opening in openings(&source).map_err(|why| DockerfileError::new(line, why))? {
                heredocs.push(heredoc(&opening, &lines, &mut next, line)?);
            }
        }
        if logical.len() == MAX_INSTRUCTIONS {
            return Err(DockerfileError::new(
                line,
                format!("there are more than {MAX_INSTRUCTIONS} instructions"),
            ));
        }
        logical.push(LogicalLine {
            line,
            lines: taken,
            keyword,
            written,
            rest,
            source,
            heredocs,
        });
    }
    Ok((directives, logical))
}

/// `# syntax=` at the top of a text, with its line. A first line that says by what a file is run stands before it.
pub(crate) fn syntax(text: &str) -> Result<Option<(String, usize)>, DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = usize::from(text.starts_with("#!"));
    let found = directives(&lines[skipped..])?.syntax;
    Ok(found.map(|(name, line)| {
        let image = name.split(' ').next().unwrap_or_default().to_owned();
        (image, line + skipped)
    }))
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
            .remedy("remove one of them"));
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
                        .remedy("write `# escape=\\` or `# escape=` and a backtick"));
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

/// Whether an instruction reads heredocs: COPY, ADD and RUN do, also behind ONBUILD, where they are no JSON list.
fn may_have_heredocs(keyword: &str, rest: &str) -> bool {
    let (keyword, rest) = match rest.split_once(char::is_whitespace) {
        Some((trigger, rest)) if keyword == "ONBUILD" => (trigger, rest),
        _ => (keyword, rest),
    };
    ["COPY", "ADD", "RUN"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(keyword))
        && rest.contains("<<")
        && !matches!(json_list(rest), Ok(Some(_)) | Err(_))
}

/// The heredocs that a line opens: none where its quotes or variables do not close, as BuildKit has it.
fn openings(line: &str) -> Result<Vec<Opening>, String> {
    let words = raw_line_words(line).unwrap_or_default();
    let found = words.iter().map(|word| opening(word));
    Ok(found
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// The heredoc that a word opens: `<<NAME`, `<< NAME`, `<<-NAME`, `3<<"NAME"`.
pub(crate) fn opening(word: &str) -> Result<Option<Opening>, String> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = word.strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomps, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let mut words = literal_words(rest, Quoting::Removed)?;
    let (Some(name), true) = (words.pop(), words.is_empty()) else {
        return Ok(None);
    };
    // Where a quote is gone, a part of the delimiter was quoted.
    let written = literal_words(rest, Quoting::Kept)?.concat();
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Opening {
        expands: quotes(&name) == quotes(&written),
        name,
        chomps,
    }))
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
        if raw.trim_end_matches(['\r', '\n']) == opening.name {
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
            format!("write `{}` alone on the line after its text", opening.name),
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
        let syntax = |text: &str| syntax(text).unwrap().map(|(name, _)| name);
        assert_eq!(syntax("# syntax=a/b:1\nFROM x"), Some("a/b:1".into()));
        assert_eq!(syntax("# comment\n# syntax=a/b:1\nFROM x"), None);
        assert_eq!(syntax("FROM x\n# syntax=a"), None);
        assert_eq!(
            syntax("#!/usr/bin/env x\n# syntax=a/b:1 more\nFROM x"),
            Some("a/b:1".into())
        );
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
            ("RUN echo \"<<EOF\" '<<E' a<<E $((1<<2)) <<<x <<\n", vec![]),
            // The lines of what opens no heredoc are instructions again.
            ("RUN [\"cat\", \"<<E\"]\n", vec![]),
            ("RUN echo 'it <<E\n", vec![]),
            ("RUN <<- E\n", vec![]),
            ("USER <<E\n", vec![]),
            (
                "RUN cat << 'E' > /x\ntext\nE\n",
                vec![heredoc("E", "text\n", false)],
            ),
            ("RUN << \t E\n$x\nE\n", vec![heredoc("E", "$x\n", true)]),
            ("RUN << -E\n-E\n", vec![heredoc("-E", "", true)]),
            ("RUN <<-'E'\n\tx\n\tE\n", vec![heredoc("E", "x\n", false)]),
            ("RUN 3<<E\nE\n", vec![heredoc("E", "", true)]),
            ("RUN <<fi'n'\nfin\n", vec![heredoc("fin", "", false)]),
            ("RUN <<fi\\'n\nfi'n\n", vec![heredoc("fi'n", "", true)]),
            ("RUN <<'f'i\\'n\nfi'n\n", vec![heredoc("fi'n", "", false)]),
            ("RUN <<\\E\nE\n", vec![heredoc("E", "", true)]),
            (
                "RUN <<'two words'\nx\ntwo words\n",
                vec![heredoc("two words", "x\n", false)],
            ),
            ("RUN <<$E\n$E\n", vec![heredoc("$E", "", true)]),
            (
                "RUN <<${E:-x}\n${E:-x}\n",
                vec![heredoc("${E:-x}", "", true)],
            ),
            (
                "COPY <<X <<Y /d/\nY\nX\nX\nY\n",
                vec![heredoc("X", "Y\n", true), heredoc("Y", "X\n", true)],
            ),
            ("RUN <<E\r\nx\r\nE\r\n", vec![heredoc("E", "x\r\n", true)]),
            (
                "ONBUILD COPY <<E /x\nFROM\nE\n",
                vec![heredoc("E", "FROM\n", true)],
            ),
            ("ONBUILD USER <<E\n", vec![]),
            (
                "RUN python3 <<EOF \\\n  && b\nx\nEOF\n",
                vec![heredoc("EOF", "x\n", true)],
            ),
        ] {
            assert_eq!(read(&format!("{text}CMD x")), expected, "{text:?}");
        }
        assert_eq!(lex("FROM a\nCOPY <<E /\nx").unwrap_err().line, 2);
    }

    #[test]
    fn nothing_is_without_a_limit() {
        let line = |text: &str| lex(text).unwrap_err().line;
        assert_eq!(line(&format!("FROM a\nRUN {}", "x".repeat(70_000))), 2);
        assert!(lex(&format!("RUN {}", "x \\\n".repeat(10_000))).is_ok());
        assert_eq!(line(&"RUN x\n".repeat(6_000)), 5_001);
        assert_eq!(line(&"# x\n".repeat(300_000)), 1);
    }
}
