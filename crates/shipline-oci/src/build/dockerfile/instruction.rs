//! What an instruction asks for, its words not yet expanded.

use super::error::DockerfileError;
use super::lexer::{self, Heredoc, LogicalLine, opening};
use super::words::{Flag, flags, json_list, pairs};

/// An instruction and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// 1-based line on which it begins.
    pub line: usize,
    /// As it is written, continuation lines joined.
    pub source: String,
    /// What it asks for.
    pub kind: InstructionKind,
}

/// What an instruction asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ARG name[=default] …`
    Arg(Vec<(String, Option<String>)>),
    /// `ENV name=value …`
    Env(Vec<(String, String)>),
    /// `LABEL name=value …`
    Label(Vec<(String, String)>),
    /// `COPY` and `ADD`.
    Copy(Copy),
    /// `WORKDIR`.
    Workdir(String),
    /// `USER`.
    User(String),
    /// `EXPOSE`.
    Expose(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `ENTRYPOINT`.
    Entrypoint(CommandForm),
    /// `CMD`.
    Cmd(CommandForm),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(HealthcheckForm),
    /// `ONBUILD`, with the instruction as it is written and as it is understood.
    OnBuild(String, Box<Instruction>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `RUN`: has to be executed.
    Run,
}

/// The two forms of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandForm {
    /// A line for the shell.
    Shell(String),
    /// A JSON list.
    Exec(Vec<String>),
}

/// `COPY` against `ADD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    /// `COPY`.
    Copy,
    /// `ADD`: unpacks archives.
    Add,
}

/// What becomes of the folders above a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// They stay behind.
    Dropped,
    /// They come along (`--parents`).
    Kept,
}

/// A `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Which.
    pub kind: CopyKind,
    /// What is copied.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub destination: String,
    /// A stage's name or number, or an image; the context where absent.
    pub from: Option<String>,
    /// `user[:group]`.
    pub chown: Option<String>,
    /// Octal or symbolic.
    pub chmod: Option<String>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// `--parents`.
    pub parents: Parents,
    /// A flag that only an engine knows, as it is written.
    pub engine_flag: Option<String>,
}

/// One source of a `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern.
    Path(String),
    /// A text that stands in the Dockerfile.
    Heredoc(Heredoc),
}

/// A `HEALTHCHECK`; times in nanoseconds, 0 where not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckForm {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [options] CMD …`.
    Command {
        /// What is run.
        command: CommandForm,
        /// `--interval`.
        interval: u64,
        /// `--timeout`.
        timeout: u64,
        /// `--start-period`.
        start_period: u64,
        /// `--start-interval`.
        start_interval: u64,
        /// `--retries`.
        retries: u64,
    },
}

/// All instructions but FROM, which begins a stage.
const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads one instruction that is no FROM.
pub(crate) fn parse(logical: &LogicalLine, escape: char) -> Result<Instruction, DockerfileError> {
    let line = logical.line;
    let (keyword, written) = (logical.keyword.as_str(), logical.written.as_str());
    let wrong = |why: String| DockerfileError::new(line, why);
    if !KEYWORDS.contains(&keyword) {
        return Err(unknown(line, keyword, written));
    }
    if logical.rest.is_empty() {
        return Err(wrong(format!("{written} has no argument")));
    }
    let (flags, rest) = flags(&logical.rest, escape);
    let takes_flags = matches!(keyword, "COPY" | "ADD" | "RUN" | "HEALTHCHECK");
    if !takes_flags && let Some(flag) = flags.first() {
        return Err(wrong(format!("{written} has no flag `--{}`", flag.name)).newer());
    }
    let word = || rest.to_owned();
    let kind = match keyword {
        "ARG" => InstructionKind::Arg(args(rest, escape).map_err(wrong)?),
        "ENV" => InstructionKind::Env(pairs(written, rest, escape).map_err(wrong)?),
        "LABEL" => InstructionKind::Label(pairs(written, rest, escape).map_err(wrong)?),
        "COPY" | "ADD" => InstructionKind::Copy(copy(logical, &flags, rest)?),
        "WORKDIR" => InstructionKind::Workdir(word()),
        "USER" => InstructionKind::User(word()),
        "EXPOSE" => InstructionKind::Expose(word()),
        "STOPSIGNAL" => InstructionKind::StopSignal(word()),
        "MAINTAINER" => InstructionKind::Maintainer(word()),
        "VOLUME" => InstructionKind::Volume(match json_list(rest).map_err(wrong)? {
            Some(list) => list,
            None => rest.split_whitespace().map(str::to_owned).collect(),
        }),
        "ENTRYPOINT" => InstructionKind::Entrypoint(command(rest).map_err(wrong)?),
        "CMD" => InstructionKind::Cmd(command(rest).map_err(wrong)?),
        "SHELL" => match json_list(rest).map_err(wrong)? {
            Some(list) if !list.is_empty() => InstructionKind::Shell(list),
            _ => {
                return Err(wrong("SHELL takes a JSON list only".to_owned())
                    .remedy("write it like `SHELL [\"/bin/sh\", \"-c\"]`"));
            }
        },
        "HEALTHCHECK" => InstructionKind::Healthcheck(healthcheck(&flags, rest).map_err(wrong)?),
        "ONBUILD" => {
            let inner = behind_onbuild(logical, escape)?;
            let mut text = logical.rest.clone();
            for heredoc in &logical.heredocs {
                text = format!("{text}\n{}{}", heredoc.content, heredoc.name);
            }
            InstructionKind::OnBuild(text, Box::new(inner))
        }
        "RUN" => InstructionKind::Run,
        _ => {
            return Err(wrong(format!("{written} cannot stand here")));
        }
    };
    Ok(Instruction {
        line,
        source: logical.source.clone(),
        kind,
    })
}

/// The instruction behind an `ONBUILD`.
fn behind_onbuild(logical: &LogicalLine, escape: char) -> Result<Instruction, DockerfileError> {
    let text = logical.rest.as_str();
    let (written, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let keyword = written.to_ascii_uppercase();
    may_be_trigger(logical.line, &keyword)?;
    let inner = LogicalLine {
        keyword,
        written: written.to_owned(),
        rest: rest.trim().to_owned(),
        source: text.to_owned(),
        ..logical.clone()
    };
    parse(&inner, escape)
}

fn may_be_trigger(line: usize, keyword: &str) -> Result<(), DockerfileError> {
    if matches!(keyword, "ONBUILD" | "FROM" | "MAINTAINER") {
        return Err(DockerfileError::new(
            line,
            format!("{keyword} is not allowed as an ONBUILD trigger"),
        ));
    }
    Ok(())
}

/// A trigger of a base image, as its config holds it: one instruction, with its heredocs. `line` is that of the FROM.
pub(crate) fn trigger(
    line: usize,
    text: &str,
    escape: char,
) -> Result<Instruction, DockerfileError> {
    let wrong =
        |why: String| DockerfileError::new(line, format!("the base's ONBUILD `{text}`: {why}"));
    let (_, mut lines) = lexer::lex(text).map_err(|error| wrong(error.why))?;
    let (Some(logical), true) = (lines.pop(), lines.is_empty()) else {
        return Err(wrong("it is not one instruction".to_owned()));
    };
    may_be_trigger(line, &logical.keyword)?;
    parse(&LogicalLine { line, ..logical }, escape).map_err(|error| DockerfileError {
        why: wrong(error.why).why,
        ..error
    })
}

fn unknown(line: usize, keyword: &str, written: &str) -> DockerfileError {
    let error = DockerfileError::new(line, format!("`{written}` is no instruction"));
    match nearest(keyword, KEYWORDS) {
        Some(known) => error.remedy(format!("did you mean `{known}`?")),
        None => error
            .remedy(
                "where it continues the line before, that line must end with the escape character",
            )
            .newer(),
    }
}

/// What was probably meant.
pub(super) fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, written), *known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
        .min()
        .map(|(_, known)| known)
}

fn args(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>, String> {
    super::words::raw_words(rest, escape)
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err("ARG names must not be blank".to_owned()),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((word, None)),
        })
        .collect()
}

fn command(rest: &str) -> Result<CommandForm, String> {
    Ok(match json_list(rest)? {
        Some(list) => CommandForm::Exec(list),
        None => CommandForm::Shell(rest.to_owned()),
    })
}

fn copy(logical: &LogicalLine, flags: &[Flag], rest: &str) -> Result<Copy, DockerfileError> {
    let keyword = &logical.written;
    let wrong = |why: String| DockerfileError::new(logical.line, why);
    let kind = if logical.keyword == "COPY" {
        CopyKind::Copy
    } else {
        CopyKind::Add
    };
    let mut words: Vec<String> = match json_list(rest).map_err(wrong)? {
        Some(list) => list,
        None => rest.split_whitespace().map(str::to_owned).collect(),
    };
    let destination = words.pop().unwrap_or_default();
    if words.is_empty() {
        return Err(wrong(format!(
            "{keyword} needs at least one source and a destination"
        )));
    }
    let opens = |word: &str| {
        opening(word)
            .map(|opening| opening.is_some())
            .map_err(wrong)
    };
    if opens(&destination)? {
        return Err(
            wrong(format!("{keyword} cannot copy to `{destination}`")).remedy(format!(
                "write the destination last: `{keyword} {destination} /path`"
            )),
        );
    }
    let mut heredocs = logical.heredocs.iter();
    let mut sources = Vec::new();
    for word in words {
        let heredoc = if opens(&word)? { heredocs.next() } else { None };
        sources.push(match heredoc {
            Some(heredoc) => CopySource::Heredoc(heredoc.clone()),
            None if kind == CopyKind::Copy && is_remote(&word) => {
                return Err(wrong(format!("COPY does not fetch `{word}`"))
                    .remedy("use ADD, or fetch it in `prepare` on the host"));
            }
            None => CopySource::Path(word),
        });
    }
    if let Some(unused) = heredocs.next() {
        return Err(wrong(format!(
            "{keyword} does not take the heredoc `{}` so",
            unused.name
        ))
        .remedy("write it as one word, without blanks: `<<NAME`"));
    }
    let mut copy = Copy {
        kind,
        sources,
        destination,
        from: None,
        chown: None,
        chmod: None,
        exclude: Vec::new(),
        parents: Parents::Dropped,
        engine_flag: None,
    };
    let mut seen: Vec<&str> = Vec::new();
    for flag in flags {
        let name = flag.name.as_str();
        if name != "exclude" && seen.contains(&name) {
            return Err(wrong(format!("`--{name}` is there twice")));
        }
        seen.push(name);
        let value = || {
            flag.value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| wrong(format!("`--{}` has no value", flag.name)))
        };
        match (name, kind) {
            ("from", CopyKind::Copy) => copy.from = Some(value()?),
            ("chown", _) => copy.chown = Some(value()?),
            ("chmod", _) => copy.chmod = Some(value()?),
            ("exclude", _) => copy.exclude.push(value()?),
            // Layers do not depend on those below them here, so that a link is what every COPY is.
            ("link", _) => {
                is_on(flag).map_err(wrong)?;
            }
            ("parents", CopyKind::Copy) => {
                copy.parents = if is_on(flag).map_err(wrong)? {
                    Parents::Kept
                } else {
                    Parents::Dropped
                };
            }
            ("checksum", CopyKind::Add) => {
                copy.engine_flag = Some(format!("--checksum={}", value()?));
            }
            ("keep-git-dir" | "unpack", CopyKind::Add) => {
                is_on(flag).map_err(wrong)?;
                copy.engine_flag = Some(format!("--{name}"));
            }
            (name, _) => {
                let known: &[&str] = match kind {
                    CopyKind::Copy => &["from", "parents", "chown", "chmod", "link", "exclude"],
                    CopyKind::Add => &[
                        "chown",
                        "chmod",
                        "link",
                        "exclude",
                        "checksum",
                        "keep-git-dir",
                        "unpack",
                    ],
                };
                let error = wrong(format!("{keyword} has no flag `--{name}`"));
                return Err(match nearest(name, known) {
                    Some(near) => error.remedy(format!("did you mean `--{near}`?")),
                    None => error
                        .remedy(format!("known are `--{}`", known.join("`, `--")))
                        .newer(),
                });
            }
        }
    }
    Ok(copy)
}

/// A flag that is on where it has no value.
fn is_on(flag: &Flag) -> Result<bool, String> {
    match flag
        .value
        .as_deref()
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(format!(
            "`--{}={other}` is neither true nor false",
            flag.name
        )),
    }
}

/// Whether an ADD's source is fetched from elsewhere.
pub(crate) fn is_remote(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    let scheme = ["http://", "https://", "git://", "ssh://"]
        .iter()
        .any(|scheme| lower.starts_with(scheme));
    // `git@example.com:team/repository`, whatever the user is called.
    let scp = source.split_once('@').is_some_and(|(user, rest)| {
        !user.is_empty()
            && user
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && rest.split_once(':').is_some_and(|(host, path)| {
                host.contains('.') && !host.contains('/') && !path.is_empty()
            })
    });
    scheme || scp
}

fn healthcheck(flags: &[Flag], rest: &str) -> Result<HealthcheckForm, String> {
    let (form, command_text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if form.eq_ignore_ascii_case("NONE") {
        if !command_text.trim().is_empty() {
            return Err("HEALTHCHECK NONE takes no arguments".to_owned());
        }
        return Ok(HealthcheckForm::None);
    }
    if !form.eq_ignore_ascii_case("CMD") {
        return Err(format!(
            "HEALTHCHECK knows `NONE` and `CMD …`, and not `{form}`"
        ));
    }
    if command_text.trim().is_empty() {
        return Err("HEALTHCHECK CMD has no command".to_owned());
    }
    let (mut interval, mut timeout, mut start_period, mut start_interval, mut retries) =
        (0, 0, 0, 0, 0);
    for flag in flags {
        let value = flag
            .value
            .as_deref()
            .ok_or_else(|| format!("`--{}` has no value", flag.name))?;
        if value.is_empty() {
            continue;
        }
        let time = || {
            duration(value).ok_or_else(|| {
                format!(
                    "`--{}={value}` is no duration of at least 1ms, like `30s` or `1m30s`",
                    flag.name
                )
            })
        };
        match flag.name.as_str() {
            "interval" => interval = time()?,
            "timeout" => timeout = time()?,
            "start-period" => start_period = time()?,
            "start-interval" => start_interval = time()?,
            "retries" => {
                retries = value
                    .parse::<u32>()
                    .map_err(|_| format!("`--retries={value}` is no number from 0"))?
                    .into();
            }
            name => return Err(format!("HEALTHCHECK has no flag `--{name}`")),
        }
    }
    Ok(HealthcheckForm::Command {
        command: command(command_text.trim())?,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    })
}

/// Go's `time.ParseDuration`, in nanoseconds; 0 stands for the default, else at least 1 ms.
fn duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    // Whole nanoseconds far below 2^53: the conversion is exact enough for a health check.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let nanoseconds = total.round() as u64;
    (!text.is_empty() && (nanoseconds == 0 || nanoseconds >= 1_000_000) && total < 9.2e18)
        .then_some(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::dockerfile::lexer::lex;

    fn read(text: &str) -> Result<InstructionKind, DockerfileError> {
        let (directives, lines) = lex(text).unwrap();
        parse(&lines[0], directives.escape).map(|instruction| instruction.kind)
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1us", None),
            ("30", None),
            ("", None),
            ("s", None),
            ("1d", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn commands_have_two_forms() {
        assert_eq!(
            read("CMD [\"a\", \"b\"]"),
            Ok(InstructionKind::Cmd(CommandForm::Exec(vec![
                "a".into(),
                "b".into()
            ])))
        );
        assert_eq!(
            read("entrypoint exec  a $B"),
            Ok(InstructionKind::Entrypoint(CommandForm::Shell(
                "exec  a $B".into()
            )))
        );
        assert_eq!(
            read("HEALTHCHECK --interval=5s --retries=3 CMD curl x"),
            Ok(InstructionKind::Healthcheck(HealthcheckForm::Command {
                command: CommandForm::Shell("curl x".into()),
                interval: 5_000_000_000,
                timeout: 0,
                start_period: 0,
                start_interval: 0,
                retries: 3,
            }))
        );
    }

    #[test]
    fn copies() {
        let Ok(InstructionKind::Copy(copy)) = read(
            "COPY --from=a --chown=1:2 --chmod=0755 --exclude=*.md --link [\"a b\", \"c\", \"/d/\"]",
        ) else {
            panic!();
        };
        assert_eq!(
            copy.sources,
            [CopySource::Path("a b".into()), CopySource::Path("c".into())]
        );
        assert_eq!(copy.destination, "/d/");
        assert_eq!(copy.from.as_deref(), Some("a"));
        assert_eq!(copy.exclude, ["*.md"]);
        let Ok(InstructionKind::Copy(copy)) = read("ADD x <<E /d/\ntext\nE\n") else {
            panic!();
        };
        assert_eq!(copy.kind, CopyKind::Add);
        assert!(
            matches!(&copy.sources[1], CopySource::Heredoc(heredoc) if heredoc.content == "text\n")
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_remedy() {
        for (text, why, remedy) in [
            (
                "COPPY a b",
                "`COPPY` is no instruction",
                "did you mean `COPY`?",
            ),
            (
                "WrokDir /a",
                "`WrokDir` is no instruction",
                "did you mean `WORKDIR`?",
            ),
            ("copy a", "copy needs", ""),
            ("&& npm ci", "`&&` is no instruction", "escape character"),
            ("COPY a", "at least one source", ""),
            ("COPY --parents=no a b", "neither true nor false", ""),
            ("ADD --parents a b", "no flag `--parents`", ""),
            (
                "COPY --chmdo=1 a b",
                "no flag `--chmdo`",
                "did you mean `--chmod`?",
            ),
            ("COPY --future a b", "no flag `--future`", "known are"),
            ("COPY --from=a --from=b c d", "there twice", ""),
            ("COPY a <<E\nE\n", "cannot copy to", "last"),
            (
                "COPY << E /a\nE\n",
                "does not take the heredoc `E`",
                "<<NAME",
            ),
            ("COPY https://x/y /a", "does not fetch", "ADD"),
            ("ADD --from=x a b", "no flag `--from`", ""),
            ("COPY --from= a b", "has no value", ""),
            ("ENV", "has no argument", ""),
            ("ENV a", "two arguments", ""),
            ("ENV --x a=b", "no flag", ""),
            ("SHELL sh -c", "JSON list", "SHELL ["),
            ("SHELL []", "JSON list", ""),
            ("CMD [1]", "strings only", ""),
            ("HEALTHCHECK", "no argument", ""),
            ("HEALTHCHECK curl x", "knows `NONE` and `CMD …`", ""),
            ("HEALTHCHECK --interval=5 CMD x", "no duration", ""),
            ("HEALTHCHECK --retries=-1 CMD x", "from 0", ""),
            ("HEALTHCHECK NONE x", "takes no arguments", ""),
            ("HEALTHCHECK CMD", "no command", ""),
            ("ONBUILD ONBUILD COPY a b", "not allowed", ""),
            ("ONBUILD FROM x", "not allowed", ""),
            ("ONBUILD COPY a", "at least one source", ""),
            ("ONBUILD COPY << E /a\nE\n", "does not take the heredoc", ""),
            ("ARG =x", "blank", ""),
            ("RUN", "no argument", ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.why.contains(why), "{text}: {}", error.why);
            assert!(error.remedy.unwrap_or_default().contains(remedy), "{text}");
        }
    }
}
