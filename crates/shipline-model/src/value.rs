//! Texts of `pipeline.yaml` that name the environment (`${env.X:-default}`, `${secret.X}`), and what they resolve to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret's text. Its `Debug` and `Display` show `***`; only [`Secret::expose`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret's text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that hands it to the outside.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A resolved [`Template`]: public unless a `${secret.*}` is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// May be printed and recorded.
    Public(String),
    /// Masked on every sink; a keyed fingerprint stands for it in keys and records.
    Secret(Secret),
}

/// A secret is stored as the fact that there is one.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Public(text) => StoredValue::Public(text.clone()),
            Self::Secret(_) => StoredValue::Secret,
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match StoredValue::deserialize(from)? {
            StoredValue::Public(text) => Self::Public(text),
            StoredValue::Secret => Self::Secret(Secret::new("***")),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredValue {
    Public(String),
    Secret,
}

impl Value {
    /// The text, secret or not, for the one place that hands it to a process or a server.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Public(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }

    /// Whether a secret is in it.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }
}

/// What a [`Template`] may name: the caller's environment, captured once by the CLI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// The variables of a captured environment.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// A variable's text, where it is set (an empty text is set).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Where a reference of a template looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `${env.X}`: printed and recorded as it is.
    Env,
    /// `${secret.X}`: masked.
    Secret,
}

/// A `${env.X}` or `${secret.X}`, with its `:-default` if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Whether it is masked.
    pub source: Source,
    /// The variable's name.
    pub name: String,
    /// Taken where the variable is not set or empty.
    pub default: Option<String>,
}

/// One piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Text(String),
    /// A reference to a variable.
    Reference(Reference),
    /// A reference to a variable that must not be read here: it resolves as if the variable were not set.
    Withheld(Reference),
}

/// A text of `pipeline.yaml` with `${env.X}`, `${env.X:-default}` and `${secret.X}` in it. `$$` is a dollar sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${…` without its `}`.
    #[error("`${{` at character {at} has no closing `}}`")]
    Unclosed {
        /// 0-based character.
        at: usize,
    },
    /// `${…}` that is neither `env.X` nor `secret.X`.
    #[error(
        "`${{{text}}}` is not known: write `${{env.NAME}}`, `${{env.NAME:-default}}` or `${{secret.NAME}}`, and `$$` for a dollar sign"
    )]
    Unknown {
        /// What stands between the braces.
        text: String,
    },
}

/// A variable that a template needs and that is not set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{} is not set", self.written())]
pub struct MissingVariable {
    /// Where it was looked for.
    pub from: Source,
    /// Its name.
    pub name: String,
}

impl MissingVariable {
    /// As it is written in `pipeline.yaml`.
    #[must_use]
    pub fn written(&self) -> String {
        match self.from {
            Source::Env => format!("${{env.{}}}", self.name),
            Source::Secret => format!("${{secret.{}}}", self.name),
        }
    }
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// `TemplateError` where a `${…}` is not closed or not known. A `$` that no `{` follows stands for itself.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            plain.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
            } else if let Some(body) = after.strip_prefix('{') {
                let at = text[..text.len() - rest.len() + dollar].chars().count();
                let end = body.find('}').ok_or(TemplateError::Unclosed { at })?;
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Reference(reference(&body[..end])?));
                rest = &body[end + 1..];
            } else {
                plain.push('$');
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The pieces, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The references in it, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) | Part::Withheld(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }

    /// Withholds the references for which `withheld` says yes, and gives them: they resolve from now on as if their variables
    /// were not set.
    pub fn withhold(&mut self, withheld: impl Fn(&Reference) -> bool) -> Vec<Reference> {
        let mut found = Vec::new();
        for part in &mut self.parts {
            if let Part::Reference(reference) = part
                && withheld(reference)
            {
                found.push(reference.clone());
                *part = Part::Withheld(reference.clone());
            }
        }
        found
    }

    /// Puts the variables in.
    ///
    /// # Errors
    /// All variables that are not set (or empty) and have no default.
    pub fn resolve(&self, variables: &Variables) -> Result<Value, BTreeSet<MissingVariable>> {
        let mut text = String::new();
        let mut secret = false;
        let mut missing = BTreeSet::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Reference(reference) | Part::Withheld(reference) => {
                    let set = match part {
                        Part::Reference(_) => variables.get(&reference.name),
                        Part::Withheld(_) | Part::Text(_) => None,
                    };
                    let set = set.filter(|text| !text.is_empty());
                    secret |= reference.source == Source::Secret;
                    match set.or(reference.default.as_deref()) {
                        Some(found) => text.push_str(found),
                        None => {
                            missing.insert(MissingVariable {
                                from: reference.source,
                                name: reference.name.clone(),
                            });
                        }
                    }
                }
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(if secret {
            Value::Secret(Secret::new(text))
        } else {
            Value::Public(text)
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('$', "$$"))?,
                Part::Reference(Reference {
                    source,
                    name,
                    default,
                })
                | Part::Withheld(Reference {
                    source,
                    name,
                    default,
                }) => {
                    let source = match source {
                        Source::Env => "env",
                        Source::Secret => "secret",
                    };
                    match default {
                        Some(default) => write!(f, "${{{source}.{name}:-{default}}}")?,
                        None => write!(f, "${{{source}.{name}}}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn reference(body: &str) -> Result<Reference, TemplateError> {
    let unknown = || TemplateError::Unknown {
        text: body.to_owned(),
    };
    let (path, default) = match body.split_once(":-") {
        Some((path, default)) => (path, Some(default.to_owned())),
        None => (body, None),
    };
    let (source, name) = path.split_once('.').ok_or_else(unknown)?;
    let source = match source {
        "env" => Source::Env,
        "secret" => Source::Secret,
        _ => return Err(unknown()),
    };
    let named = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if named {
        Ok(Reference {
            source,
            name: name.to_owned(),
            default,
        })
    } else {
        Err(unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Value, Vec<String>> {
        let variables = Variables::new([
            ("A".to_owned(), "1".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        Template::parse(text)
            .unwrap()
            .resolve(&variables)
            .map_err(|missing| missing.iter().map(MissingVariable::written).collect())
    }

    #[test]
    fn references_resolve_with_defaults_and_escapes() {
        assert_eq!(resolve("x${env.A}y"), Ok(Value::Public("x1y".into())));
        assert_eq!(
            resolve("${env.B:-https://a/b}"),
            Ok(Value::Public("https://a/b".into()))
        );
        assert_eq!(resolve("${env.EMPTY:-d}"), Ok(Value::Public("d".into())));
        assert_eq!(
            resolve("$$${env.A} $HOME"),
            Ok(Value::Public("$1 $HOME".into()))
        );
        assert_eq!(
            resolve("a${secret.A}"),
            Ok(Value::Secret(Secret::new("a1")))
        );
        assert_eq!(
            resolve("${env.X}${secret.Y}"),
            Err(vec!["${env.X}".into(), "${secret.Y}".into()])
        );
    }

    #[test]
    fn a_withheld_variable_counts_as_not_set() {
        let variables = Variables::new([("A".to_owned(), "1".to_owned())]);
        let text = "${env.A}-${secret.A:-none}-${secret.A}";
        let mut template = Template::parse(text).unwrap();
        let found = template.withhold(|reference| reference.source == Source::Secret);
        assert_eq!(found.len(), 2);
        let missing = template.resolve(&variables).unwrap_err();
        let missing: Vec<String> = missing.iter().map(MissingVariable::written).collect();
        assert_eq!(missing, ["${secret.A}"]);
        assert_eq!(template.to_string(), text);
        let mut template = Template::parse("${env.A}-${secret.A:-none}").unwrap();
        let _ = template.withhold(|reference| reference.source == Source::Secret);
        assert_eq!(
            template.resolve(&variables),
            Ok(Value::Secret(Secret::new("1-none")))
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert_eq!(
            Template::parse("é${env.A"),
            Err(TemplateError::Unclosed { at: 1 })
        );
        for text in ["${A}", "${env.}", "${env.1A}", "${vars.A}"] {
            assert!(
                matches!(Template::parse(text), Err(TemplateError::Unknown { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_template_prints_as_it_is_written() {
        for text in ["a${env.B:-c}d", "${secret.T}", "1$$2"] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = Value::Secret(Secret::new("hunter2"));
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
