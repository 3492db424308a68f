//! Checks of single texts: names, paths, templates, durations, URLs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::problem::{Problems, key, value};
use super::super::raw::Texts;
pub(super) use crate::name::is_authority;
use crate::name::{NameError, RepoPath};
use crate::value::{Source, Template, TemplateError};
use crate::yaml::Route;

/// The longest limit of a task: a week.
const LONGEST: u64 = 7 * 24 * 3600;

/// What a template may say about secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// They may be in it.
    Allowed,
    /// It is shown to people, so they may not.
    Refused,
    /// It is one, so it must not stand in the file.
    Required,
}

/// A name as a key of a mapping.
pub(super) fn key_name<T>(
    text: &str,
    route: &Route,
    new: impl Fn(String) -> Result<T, NameError>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    new(text.to_owned())
        .map_err(|error| {
            let draft = key(route, error.to_string()).label("this name");
            let near = snake(text);
            problems.push(match new(near.clone()) {
                Ok(_) => draft.help(format!("write `{near}`")),
                Err(_) => draft,
            });
        })
        .ok()
}

/// `UserService 2` as `user_service_2`.
fn snake(text: &str) -> String {
    let mut snake = String::new();
    for c in text.chars() {
        let border = c.is_ascii_uppercase() || !(c.is_ascii_alphanumeric() || c == '-');
        if border && !snake.is_empty() && !snake.ends_with(['_', '-']) {
            snake.push('_');
        }
        if c.is_ascii_alphanumeric() || c == '-' {
            snake.push(c.to_ascii_lowercase());
        }
    }
    snake.trim_end_matches(['_', '-']).to_owned()
}

/// A text that stands for itself: not empty, one line, no `${…}`.
pub(super) fn plain(text: &str, route: &Route, problems: &mut Problems<'_>) -> Option<String> {
    let draft = if text.trim().is_empty() {
        value(route, "is empty").help("write a text, or remove the line where it may be left out")
    } else if text.chars().any(char::is_control) {
        value(route, "holds a line break or another control character").help("write it in one line")
    } else if let Some(reference) = reference(text).filter(|text| text.starts_with("${secret")) {
        value(route, format!("`{reference}` would be public here"))
            .label("shown in plans and records")
            .help("write a value that is no secret")
    } else if let Some(reference) = reference(text) {
        value(route, format!("`{reference}` has no meaning here"))
            .help("this is the same for every run: write the value itself")
    } else {
        return Some(text.to_owned());
    };
    problems.push(draft);
    None
}

/// A shell command.
pub(super) fn command(text: &str, route: &Route, problems: &mut Problems<'_>) -> Option<String> {
    let draft = if text.trim().is_empty() {
        value(route, "is empty").help("write a command, or remove the line")
    } else if text.contains('\0') {
        value(route, "holds a NUL character").help("remove it")
    } else if let Some(reference) = reference(text) {
        value(route, format!("a command takes no `{reference}`")).help(
            "declare it under the component's `environment` and use it as the shell does: `$NAME`",
        )
    } else {
        return Some(text.to_owned());
    };
    problems.push(draft);
    None
}

/// The first `${env.…}` or `${secret.…}` of a text.
pub(super) fn reference(text: &str) -> Option<&str> {
    let start = [text.find("${env."), text.find("${secret.")]
        .into_iter()
        .flatten()
        .min()?;
    let rest = &text[start..];
    Some(rest.find('}').map_or(rest, |end| &rest[..=end]))
}

/// A text with variables.
pub(super) fn template(
    text: &str,
    route: &Route,
    secrets: Secrets,
    problems: &mut Problems<'_>,
) -> Option<Template> {
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            let help = match &error {
                TemplateError::Unclosed { .. } => {
                    "add the `}`, or write `$$` for a dollar sign".to_owned()
                }
                TemplateError::Unknown { text } => {
                    let name = text.rsplit(['.', ':']).next().unwrap_or_default();
                    format!(
                        "did you mean `${{env.{}}}`?",
                        if is_variable(name) { name } else { "NAME" }
                    )
                }
            };
            problems.push(
                value(route, error.to_string())
                    .label("this text")
                    .help(help),
            );
            return None;
        }
    };
    let secret = template
        .references()
        .any(|reference| reference.source == Source::Secret);
    let draft = match secrets {
        Secrets::Refused if secret => value(route, "a secret would be public here")
            .label("shown in logs and records")
            .help("use `${env.NAME}`, or write the value"),
        Secrets::Required if !secret => value(route, "a secret must not stand in the file")
            .label("no `${secret.…}`")
            .help("write `${secret.NAME}` and set NAME in the environment of the run"),
        Secrets::Refused | Secrets::Required | Secrets::Allowed => {
            if text.contains('\0') {
                value(route, "holds a NUL character").help("remove it")
            } else {
                return Some(template);
            }
        }
    };
    problems.push(draft);
    None
}

/// A template that must say something.
pub(super) fn filled_template(
    text: &str,
    route: &Route,
    secrets: Secrets,
    problems: &mut Problems<'_>,
) -> Option<Template> {
    if text.trim().is_empty() {
        problems.push(value(route, "is empty").help("write a value, or remove the line"));
        return None;
    }
    template(text, route, secrets, problems)
}

/// Variables by name.
pub(super) fn variables(
    texts: Option<&Texts>,
    route: &Route,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Template> {
    let mut variables = BTreeMap::new();
    for (name, text) in texts.into_iter().flatten() {
        let here = route.key(name);
        if !is_variable(name) {
            problems.push(
                key(&here, format!("`{name}` is no variable name"))
                    .label("this name")
                    .help("letters, digits and `_`, not starting with a digit"),
            );
        }
        if let Some(template) = template(text, &here, Secrets::Allowed, problems) {
            variables.insert(name.clone(), template);
        }
    }
    variables
}

fn is_variable(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A path, from `base`, that stays in the repository.
pub(super) fn path(
    base: &RepoPath,
    text: &str,
    route: &Route,
    problems: &mut Problems<'_>,
) -> Option<RepoPath> {
    let text = plain(text, route, problems)?;
    let path = RepoPath::resolve(base, &text);
    if path.is_none() {
        let from = if *base == RepoPath::root() {
            "the repository's root".to_owned()
        } else {
            format!("`{base}`")
        };
        let draft = if text.starts_with('/') {
            value(route, format!("`{text}` is an absolute path"))
                .help(format!("write it from {from}"))
        } else {
            value(route, format!("`{text}` leaves the repository")).help(format!(
                "paths here start at {from} and must stay in the repository"
            ))
        };
        problems.push(draft);
    }
    path
}

/// `90s`, `30m`, `1h30m`.
pub(super) fn duration(text: &str, route: &Route, problems: &mut Problems<'_>) -> Option<Duration> {
    let seconds = seconds(text).filter(|seconds| (1..=LONGEST).contains(seconds));
    if seconds.is_none() {
        problems.push(
            value(route, format!("`{text}` is no time limit"))
                .help("write hours, minutes and seconds: `90s`, `30m`, `1h30m`; at most `168h`"),
        );
    }
    seconds.map(Duration::from_secs)
}

fn seconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    let mut units = [('h', 3600), ('m', 60), ('s', 1)].into_iter();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[end + 1..];
    }
    Some(total)
}

/// How [`duration`] reads it.
pub(in super::super) fn write_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect()
}

/// A URL of one of these schemes, with a host and nothing that a URL cannot hold.
pub(super) fn url(
    text: &str,
    schemes: &[&str],
    route: &Route,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let text = plain(text, route, problems)?;
    if is_url(&text, schemes) {
        return Some(text);
    }
    let example = format!("write a whole URL: `{}://HOST/PATH`", schemes.first()?);
    problems.push(value(route, format!("`{text}` is no URL")).help(example));
    None
}

pub(super) fn is_url(text: &str, schemes: &[&str]) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    schemes.contains(&scheme)
        && is_authority(&rest[..end])
        && !text.contains(|c: char| c.is_whitespace() || "\"<>\\^`{|}".contains(c))
}

/// A name that Kubernetes takes for a Service (RFC 1035 label).
pub(super) fn is_service_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether git takes it as a branch (`git check-ref-format --branch`).
pub(super) fn branch(text: &str, route: &Route, problems: &mut Problems<'_>) -> Option<String> {
    let text = plain(text, route, problems)?;
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let good = !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && !text.starts_with("refs/")
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(|c: char| c == ' ' || "~^:?*[\\".contains(c))
        && text.split('/').all(part);
    if good {
        return Some(text);
    }
    let help = match text.strip_prefix("refs/heads/") {
        Some(short) => format!("write `{short}`"),
        None => "write a branch such as `main`".to_owned(),
    };
    problems.push(value(route, format!("`{text}` is no branch name")).help(help));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(seconds(text), expected, "{text}");
        check("90s", Some(90));
        check("30m", Some(1800));
        check("1h30m", Some(5400));
        check("1h1m1s", Some(3661));
        check("30", None);
        check("m", None);
        check("30m1h", None);
        check("1m1m", None);
        check("1.5h", None);
        check("-1s", None);
        check("99999999999999999999s", None);
        check("9999999999999999999h", None);
        for text in ["90s", "30m", "1h30m", "1h1m1s", "168h"] {
            let duration = Duration::from_secs(seconds(text).unwrap());
            assert_eq!(seconds(&write_duration(duration)), seconds(text), "{text}");
        }
    }

    #[test]
    fn urls_have_a_scheme_and_a_host() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_url(text, &["https", "http"]), expected, "{text}");
        };
        check("https://a.example.com", true);
        check("http://localhost:8080/a?b=c", true);
        check("https://[::1]:80/", true);
        check("a.example.com", false);
        check("ftp://a", false);
        check("https://", false);
        check("https:///a", false);
        check("https://a b", false);
        check("https://a:0/", false);
        check("https://a:99999/", false);
        check("https://-a/", false);
        check("https://a..b/", false);
    }

    #[test]
    fn references_are_found() {
        assert_eq!(reference("a ${HOME} ${secret.X} b"), Some("${secret.X}"));
        assert_eq!(reference("${env.X"), Some("${env.X"));
        assert_eq!(reference("$X ${Y}"), None);
    }
}
