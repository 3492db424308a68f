//! `scans.ignore` for environment leaks: which findings do not count, and which exceptions are of no use any more.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::config::Ignore;
use shipline_model::finding::Suppression;

use super::RULE;

/// Exceptions from the rule, in the file's order.
#[derive(Debug, Clone)]
pub(super) struct Exceptions {
    all: Vec<Exception>,
    today: String,
}

#[derive(Debug, Clone)]
struct Exception {
    ignore: Ignore,
    file: Option<GlobMatcher>,
}

/// Which exceptions matched something in one image.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeSet<usize>);

impl Exceptions {
    /// Those of the rule; `today` is `YYYY-MM-DD`.
    pub(super) fn new(ignore: &[Ignore], today: &str) -> Result<Self, BackendError> {
        let all = ignore
            .iter()
            .filter(|ignore| ignore.rule == RULE)
            .map(|ignore| {
                let file = ignore
                    .file
                    .as_deref()
                    .map(|text| glob(text, ignore.line))
                    .transpose()?;
                Ok(Exception {
                    ignore: ignore.clone(),
                    file,
                })
            });
        Ok(Self {
            all: all.collect::<Result<_, BackendError>>()?,
            today: today.to_owned(),
        })
    }

    /// All that decides what is suppressed today.
    pub(super) fn key(&self) -> Vec<String> {
        let one =
            |exception: &Exception| format!("{:?} {}", exception.ignore, self.holds(exception));
        self.all.iter().map(one).collect()
    }

    /// What takes a finding out of the gate. `file` is its path in the image, `None` in the config.
    pub(super) fn of(
        &self,
        matched: &str,
        file: Option<&str>,
        used: &mut Used,
    ) -> Option<Suppression> {
        let mut suppression = None;
        for (index, exception) in self.all.iter().enumerate() {
            if !exception.covers(matched, file) {
                continue;
            }
            used.0.insert(index);
            if suppression.is_none() && self.holds(exception) {
                suppression = Some(Suppression {
                    reason: exception.ignore.reason.clone(),
                    until: exception.ignore.until.clone(),
                });
            }
        }
        suppression
    }

    /// What a person should know: exceptions that ended, and those that match nothing here although they speak of one of the
    /// `foreign` URLs.
    pub(super) fn notes(&self, used: &Used, foreign: &[&str]) -> Vec<String> {
        let notes = self
            .all
            .iter()
            .enumerate()
            .filter_map(|(index, exception)| {
                let Ignore { until, line, .. } = &exception.ignore;
                let which = format!("the exception from {RULE} in line {line} of pipeline.yaml");
                match (used.0.contains(&index), self.holds(exception)) {
                    (true, true) => None,
                    (true, false) => Some(format!(
                        "{which} ended on {until}: what it matches counts again"
                    )),
                    (false, _) => exception
                        .speaks_of(foreign)
                        .then(|| format!("{which} matches nothing in this image")),
                }
            });
        notes.collect()
    }

    /// ISO dates are in the order of their texts.
    fn holds(&self, exception: &Exception) -> bool {
        self.today.as_str() <= exception.ignore.until.as_str()
    }
}

impl Exception {
    fn covers(&self, matched: &str, file: Option<&str>) -> bool {
        let text = self.ignore.matched.as_deref();
        let text = text.is_none_or(|text| matched.starts_with(text));
        let path = match (&self.file, file) {
            (None, _) => true,
            (Some(glob), Some(path)) => glob.is_match(path.trim_start_matches('/')),
            (Some(_), None) => false,
        };
        text && path
    }

    fn speaks_of(&self, foreign: &[&str]) -> bool {
        self.ignore.matched.as_deref().is_none_or(|text| {
            let within = |url: &&str| url.starts_with(text) || text.starts_with(*url);
            foreign.iter().any(within)
        })
    }
}

/// As in a `.gitignore`: `*` stays in a folder, `**` does not, and a name alone is meant in every folder.
fn glob(text: &str, line: usize) -> Result<GlobMatcher, BackendError> {
    let path = text.trim_start_matches('/');
    let pattern = if text.contains('/') {
        path.to_owned()
    } else {
        format!("**/{path}")
    };
    let glob = GlobBuilder::new(&pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    Ok(glob
        .map_err(|error| {
            BackendError::new(
                ErrorClass::Invalid,
                format!("read the file pattern `{text}` of the exception in line {line} of pipeline.yaml"),
            )
            .because(error)
            .hint("write a pattern as in a .gitignore: `**/index.html`, `app/*.js`")
        })?
        .compile_matcher())
}
