//! `scans.ignore` for environment leaks: which findings do not count, and which exceptions are of no use any more.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_model::config::Ignore;
use shipline_model::finding::Suppression;
use shipline_model::plan::ImageId;

use super::RULE;
use super::url::ApiUrl;

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

/// A URL that was found, as exceptions look at it.
pub(super) struct Leak<'a> {
    /// The image.
    pub(super) image: &'a ImageId,
    /// Whose URL it is.
    pub(super) url: &'a ApiUrl,
    /// The whole text that stands there.
    pub(super) shown: &'a str,
    /// The path of the file in the image; `None` in the config.
    pub(super) file: Option<&'a str>,
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

    /// What takes a finding out of the gate.
    pub(super) fn of(&self, leak: &Leak<'_>, used: &mut Used) -> Option<Suppression> {
        let mut suppression = None;
        for (index, exception) in self.all.iter().enumerate() {
            if !exception.covers(leak) {
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

    /// What a person should know: exceptions that ended and would have mattered.
    pub(super) fn notes(&self, used: &Used) -> Vec<String> {
        let ended = used.0.iter().filter_map(|index| self.all.get(*index));
        ended
            .filter(|exception| !self.holds(exception))
            .map(|exception| {
                let Ignore { until, line, .. } = &exception.ignore;
                format!(
                    "the exception from {RULE} in line {line} of pipeline.yaml ended on {until}: what it matches counts again"
                )
            })
            .collect()
    }

    /// The lines of the exceptions that matched something.
    pub(super) fn lines(&self, used: &Used) -> Vec<usize> {
        let used = used.0.iter().filter_map(|index| self.all.get(*index));
        used.map(|exception| exception.ignore.line).collect()
    }

    /// ISO dates are in the order of their texts.
    fn holds(&self, exception: &Exception) -> bool {
        self.today.as_str() <= exception.ignore.until.as_str()
    }
}

impl Exception {
    fn covers(&self, leak: &Leak<'_>) -> bool {
        let Ignore {
            matched,
            component,
            variant,
            ..
        } = &self.ignore;
        let Some(matched) = matched else {
            return false;
        };
        let text = match matched.strip_suffix('*') {
            Some(start) => leak.shown.starts_with(start),
            None => leak.shown == matched,
        };
        // Whatever hides an environment's API says so by its name: `https://example.com*` is no such name.
        let named = leak.url.is_named_by(matched.trim_end_matches('*'));
        let image = component
            .as_ref()
            .is_none_or(|component| *component == leak.image.component)
            && variant
                .as_ref()
                .is_none_or(|variant| Some(variant) == leak.image.variant.as_ref());
        let path = match (&self.file, leak.file) {
            (None, _) => true,
            (Some(glob), Some(path)) => glob.is_match(path.trim_start_matches('/')),
            (Some(_), None) => false,
        };
        text && named && image && path
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
