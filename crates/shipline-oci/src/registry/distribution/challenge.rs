//! `WWW-Authenticate` (RFC 9110, 11.6.1): what a registry wants to see.

use shipline_http::header::{HeaderMap, WWW_AUTHENTICATE};

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's text, its name in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All challenges of a response, in order; what cannot be read ends its header.
    pub(super) fn all(headers: &HeaderMap) -> Vec<Self> {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse)
            .collect()
    }
}

fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word = take_token(&mut rest);
        if word.is_empty() {
            return challenges;
        }
        let after = rest.trim_start();
        match after.strip_prefix('=') {
            Some(value) if !challenges.is_empty() => {
                rest = value.trim_start();
                let value = if rest.starts_with('"') {
                    take_quoted(&mut rest)
                } else {
                    Some(take_bare(&mut rest).to_owned())
                };
                let (Some(value), Some(challenge)) = (value, challenges.last_mut()) else {
                    return challenges;
                };
                challenge
                    .parameters
                    .push((word.to_ascii_lowercase(), value));
            }
            Some(_) => return challenges,
            None => challenges.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            }),
        }
    }
}

fn take_token<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '"'))
        .unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

/// A value without quotes: some servers write whole addresses so.
fn take_bare<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest
        .find(|c: char| c.is_whitespace() || c == ',')
        .unwrap_or(rest.len());
    let (value, after) = rest.split_at(end);
    *rest = after;
    value
}

fn take_quoted(rest: &mut &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                *rest = &rest[at + 1..];
                return Some(text);
            }
            '\\' => text.push(characters.next()?.1),
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let check = |text: &str, expected: &[(&str, &[(&str, &str)])]| {
            let found = parse(text);
            let found: Vec<(&str, Vec<(&str, &str)>)> = found
                .iter()
                .map(|challenge| {
                    let parameters = challenge.parameters.iter();
                    (
                        challenge.scheme.as_str(),
                        parameters.map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                    )
                })
                .collect();
            let expected: Vec<(&str, Vec<(&str, &str)>)> =
                expected.iter().map(|(s, p)| (*s, p.to_vec())).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            r#"Bearer realm="https://a.io/t?x=1,2",service="r.io",scope="repository:a:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://a.io/t?x=1,2"),
                    ("service", "r.io"),
                    ("scope", "repository:a:pull,push"),
                ],
            )],
        );
        check(
            r#"Basic realm="a \"b\"", Bearer Realm=x , error="invalid_token""#,
            &[
                ("basic", &[("realm", r#"a "b""#)]),
                ("bearer", &[("realm", "x"), ("error", "invalid_token")]),
            ],
        );
        check("Basic", &[("basic", &[])]);
        check(
            "BEARER realm=https://a.io/t?x=1, service=r.io",
            &[(
                "bearer",
                &[("realm", "https://a.io/t?x=1"), ("service", "r.io")],
            )],
        );
        check(r#"Bearer realm="open"#, &[("bearer", &[])]);
        check("=x", &[]);
        check("", &[]);
    }

    proptest::proptest! {
        #[test]
        fn no_header_hangs_or_panics(text in ".{0,80}") {
            parse(&text);
        }
    }
}
