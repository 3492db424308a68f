//! How an instruction's arguments are split: words, `name=value` pairs, JSON lists, flags.

/// Splits at blanks outside quotes; quotes and escapes stay in the words.
pub(crate) fn raw_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut started = false;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        started = true;
        word.push(c);
        if c == escape
            && quote != Some('\'')
            && let Some(escaped) = chars.next()
        {
            word.push(escaped);
        }
    }
    if started {
        words.push(word);
    }
    words
}

/// `name=value …`, or the old form `name rest of the line`. Quotes and escapes stay in.
pub(crate) fn pairs(
    keyword: &str,
    rest: &str,
    escape: char,
) -> Result<Vec<(String, String)>, String> {
    let words = raw_words(rest, escape);
    if words.first().is_some_and(|first| !first.contains('=')) {
        let (name, value) = rest
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("{keyword} must have two arguments: `{keyword} name=value`"))?;
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(format!("{keyword} names must not be blank")),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("`{word}` must be of the form `name=value`")),
        })
        .collect()
}

/// The JSON form: `Some` where the text is a JSON list. A text that is none is the other form.
pub(crate) fn json_list(rest: &str) -> Result<Option<Vec<String>>, String> {
    if !rest.starts_with('[') {
        return Ok(None);
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(rest) {
        Ok(values) => values
            .into_iter()
            .map(|value| match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(format!(
                    "the JSON form takes strings only, and `{value}` is none"
                )),
            })
            .collect::<Result<_, _>>()
            .map(Some),
        Err(_) => Ok(None),
    }
}

/// One `--name` or `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// The flags at the start, and what follows them.
pub(crate) fn flags(rest: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    let mut rest = rest.trim_start();
    while rest.starts_with("--") {
        let mut quote = None;
        let mut end = rest.len();
        let mut word = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '"' || c == '\'' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if c == escape && quote != Some('\'') => {
                    if let Some((_, escaped)) = chars.next() {
                        word.push(escaped);
                    }
                }
                _ => word.push(c),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        let body = &word[2..];
        flags.push(match body.split_once('=') {
            Some((name, value)) => Flag {
                name: name.to_owned(),
                value: Some(value.to_owned()),
            },
            None => Flag {
                name: body.to_owned(),
                value: None,
            },
        });
    }
    (flags, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let check = |rest: &str, expected: &[(&str, &str)]| {
            let expected: Vec<(String, String)> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(pairs("ENV", rest, '\\'), Ok(expected), "{rest}");
        };
        check("a=1", &[("a", "1")]);
        check(
            "a=1 b=\"x y\" c=x\\ y",
            &[("a", "1"), ("b", "\"x y\""), ("c", "x\\ y")],
        );
        check("a b  c", &[("a", "b  c")]);
        check("a b=c", &[("a", "b=c")]);
        check("a=", &[("a", "")]);
        check("a='x \"' b=y", &[("a", "'x \"'"), ("b", "y")]);
        for bad in ["a", "a=1 b", "=1", "a=1 =2"] {
            assert!(pairs("ENV", bad, '\\').is_err(), "{bad}");
        }
    }

    #[test]
    fn json_or_not() {
        assert_eq!(
            json_list(r#"["a", "b c"]"#),
            Ok(Some(vec!["a".into(), "b c".into()]))
        );
        assert_eq!(json_list("[]"), Ok(Some(vec![])));
        assert_eq!(json_list("['a']"), Ok(None));
        assert_eq!(json_list("[ -f x ] && y"), Ok(None));
        assert_eq!(json_list("echo"), Ok(None));
        assert!(json_list("[1]").is_err());
    }

    #[test]
    fn flags_stop_where_the_arguments_begin() {
        let (found, rest) = flags("--from=a  --link --chown=\"b:c\" x --y", '\\');
        assert_eq!(rest, "x --y");
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].value.as_deref(), Some("a"));
        assert_eq!(
            found[1],
            Flag {
                name: "link".into(),
                value: None
            }
        );
        assert_eq!(found[2].value.as_deref(), Some("b:c"));
        let (found, rest) = flags("-- --x", '\\');
        assert_eq!((found.len(), rest), (0, "--x"));
    }
}
