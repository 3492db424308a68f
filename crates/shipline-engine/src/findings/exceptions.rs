//! `scans.ignore`: which findings do not count, and which exceptions are of no use any more.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use shipline_model::config::Ignore;
use shipline_model::finding::{Finding, Suppression};

use super::TargetName;
use crate::error::{BackendError, ErrorClass};

/// All exceptions, in the file's order.
#[derive(Debug)]
pub(super) struct Exceptions {
    all: Vec<Exception>,
    today: String,
}

#[derive(Debug)]
struct Exception {
    ignore: Ignore,
    file: Option<GlobMatcher>,
}

/// Which exceptions matched something in one target.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeSet<usize>);

impl Exceptions {
    /// Those of the configuration; `today` is `YYYY-MM-DD`.
    pub(super) fn new(ignore: &[Ignore], today: &str) -> Result<Self, BackendError> {
        let all = ignore.iter().map(|ignore| {
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

    /// What takes a finding out of the gate.
    pub(super) fn of(
        &self,
        finding: &Finding,
        target: &TargetName,
        used: &mut Used,
    ) -> Option<Suppression> {
        let mut suppression = None;
        for (index, exception) in self.all.iter().enumerate() {
            if !exception.covers(finding, target) {
                continue;
            }
            used.0.insert(index);
            if suppression.is_none() && self.holds(exception) {
                suppression = Some(Suppression::Exception {
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
                let Ignore {
                    rule, until, line, ..
                } = &exception.ignore;
                format!(
                    "the exception from {rule} in line {line} of pipeline.yaml ended on {until}: what it matches counts again"
                )
            })
            .collect()
    }

    /// The lines of the exceptions that matched something.
    pub(super) fn lines(&self, used: &Used) -> Vec<usize> {
        let used = used.0.iter().filter_map(|index| self.all.get(*index));
        used.map(|exception| exception.ignore.line).collect()
    }

    /// Whether an exception has not ended. ISO dates are in the order of their texts.
    fn holds(&self, exception: &Exception) -> bool {
        self.today.as_str() <= exception.ignore.until.as_str()
    }
}

impl Exception {
    fn covers(&self, finding: &Finding, target: &TargetName) -> bool {
        let Ignore {
            rule,
            component,
            variant,
            ..
        } = &self.ignore;
        let owned = component
            .as_ref()
            .is_none_or(|component| Some(component) == target.component.as_ref())
            && variant
                .as_ref()
                .is_none_or(|variant| Some(variant) == target.variant.as_ref());
        let path = match (&self.file, finding.location.path()) {
            (None, _) => true,
            (Some(glob), Some(path)) => glob.is_match(path.trim_start_matches('/')),
            (Some(_), None) => false,
        };
        *rule == finding.rule.id && owned && path && self.names(finding)
    }

    /// Whether it spells out what it has to.
    fn names(&self, finding: &Finding) -> bool {
        let Some(matched) = &self.ignore.matched else {
            return finding.stem.is_none();
        };
        match matched.strip_suffix('*') {
            Some(start) => {
                let least = finding.stem.as_deref().unwrap_or_default();
                finding.matched.starts_with(start) && start.len() >= least.len()
            }
            None => finding.matched == *matched,
        }
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
