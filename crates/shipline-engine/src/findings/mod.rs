//! From what scanners found to what the gate says, in one pass for findings of every kind: suppress, take out what is in the
//! baseline, judge. Scanners do none of this.

mod baseline;
mod exceptions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use shipline_model::config::{NotAssessed, Scans};
use shipline_model::finding::{Finding, FindingKind, Severity, Suppression};
use shipline_model::name::{ComponentName, EnvironmentName, ProfileName, RepoPath};
use shipline_model::plan::ImageId;

pub use baseline::Baseline;

use crate::backend::ScanReport;
use crate::error::{BackendError, ErrorClass};
use exceptions::{Exceptions, Used};

/// Whose target a scanner looked into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TargetName {
    /// The component; none where the target is the whole repository's.
    pub component: Option<ComponentName>,
    /// The variant of its image.
    pub variant: Option<EnvironmentName>,
}

impl From<&ImageId> for TargetName {
    fn from(id: &ImageId) -> Self {
        Self {
            component: Some(id.component.clone()),
            variant: id.variant.clone(),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            Some(component) => write!(f, "{component}")?,
            None => f.write_str("repository")?,
        }
        match &self.variant {
            Some(variant) => write!(f, "@{variant}"),
            None => Ok(()),
        }
    }
}

/// Gives the bytes of a file of the repository, `None` where there is none.
pub type ReadFile<'r> = dyn Fn(&RepoPath) -> Result<Option<Vec<u8>>, BackendError> + 'r;

/// Judges what scanners found, by the policies, exceptions and baselines of one configuration.
#[derive(Debug)]
pub struct Judge {
    scans: Scans,
    profile: ProfileName,
    exceptions: Exceptions,
    baselines: BTreeMap<RepoPath, Baseline>,
}

/// What was found in one target, judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    /// Everything found, in its order; what does not count is marked.
    pub findings: Vec<Finding>,
    /// Positions in `findings` of what the gate does not let pass.
    pub stopped: Vec<usize>,
    /// Things that a person should know (an exception that ended).
    pub notes: Vec<String>,
    /// The lines in pipeline.yaml of the exceptions that matched something.
    pub exceptions: Vec<usize>,
    /// Why nothing could be told, where that fails the run.
    pub not_assessed: Option<String>,
}

impl Judge {
    /// Reads what is needed to judge: `read` gives a file of the repository, `today` is `YYYY-MM-DD`.
    ///
    /// # Errors
    /// `Invalid` where an exception's file pattern or a baseline cannot be read, or is not there.
    pub fn new(
        scans: &Scans,
        profile: &ProfileName,
        today: &str,
        read: &ReadFile<'_>,
    ) -> Result<Self, BackendError> {
        let mut baselines = BTreeMap::new();
        let named = [&scans.image.baseline, &scans.leaks.baseline];
        for path in named.into_iter().flatten() {
            if !baselines.contains_key(path) {
                baselines.insert(path.clone(), read_baseline(path, read)?);
            }
        }
        Ok(Self {
            exceptions: Exceptions::new(&scans.ignore, today)?,
            scans: scans.clone(),
            profile: profile.clone(),
            baselines,
        })
    }

    /// Judges what a scanner of `kind` found in a target of `target`.
    #[must_use]
    pub fn judge(&self, target: &TargetName, kind: FindingKind, report: ScanReport) -> Judged {
        let mut judged = Judged {
            notes: report.notes,
            ..Judged::default()
        };
        if let Some(why) = report.not_assessed {
            match self.scans.policy(kind).not_assessed(&self.profile) {
                NotAssessed::Warn => judged.notes.push(format!("not assessed: {why}")),
                NotAssessed::Fail => judged.not_assessed = Some(why),
            }
        }
        let name = target.to_string();
        let mut used = Used::default();
        let mut equal: BTreeMap<String, usize> = BTreeMap::new();
        for mut finding in report.findings {
            let nth = equal
                .entry(finding.fingerprint.to_string())
                .and_modify(|count| *count += 1)
                .or_default();
            finding.fingerprint = finding.fingerprint.within(&name, *nth);
            finding.suppression = self
                .exceptions
                .of(&finding, target, &mut used)
                .or_else(|| self.known(&finding));
            if self.stops(&finding) {
                judged.stopped.push(judged.findings.len());
            }
            judged.findings.push(finding);
        }
        judged.notes.extend(self.exceptions.notes(&used));
        judged.exceptions = self.exceptions.lines(&used);
        judged
    }

    /// The severity from which findings of a kind fail the run.
    #[must_use]
    pub fn fail_on(&self, kind: FindingKind) -> Severity {
        self.scans.policy(kind).fail_on
    }

    fn stops(&self, finding: &Finding) -> bool {
        finding.suppression.is_none() && finding.severity >= self.fail_on(finding.kind)
    }

    /// What takes a finding out because it was there before.
    fn known(&self, finding: &Finding) -> Option<Suppression> {
        let file = self.scans.policy(finding.kind).baseline.as_ref()?;
        let known = self.baselines.get(file)?.has(finding);
        known.then(|| Suppression::Baseline {
            file: file.to_string(),
        })
    }
}

fn read_baseline(path: &RepoPath, read: &ReadFile<'_>) -> Result<Baseline, BackendError> {
    let bytes = read(path)?.ok_or_else(|| {
        BackendError::new(ErrorClass::Invalid, format!("read the baseline {path}"))
            .because("it is not in the repository")
            .hint("write it with `scan image --write-baseline FILE`, or remove `baseline` from `scans` in pipeline.yaml")
    })?;
    Baseline::read(path.as_str(), &bytes)
}

/// The day (`YYYY-MM-DD` in UTC) of an instant in milliseconds since 1970, for [`Judge::new`].
///
/// # Errors
/// `Invalid` where it is out of range.
pub fn day(at_ms: i64) -> Result<String, BackendError> {
    let at = jiff::Timestamp::from_millisecond(at_ms).map_err(|cause| {
        BackendError::new(ErrorClass::Invalid, "tell the day of a scan").because(cause)
    })?;
    Ok(at.strftime("%Y-%m-%d").to_string())
}
