//! Every secret that a run can come across, for masking.

use shipline_engine::redact::Redactor;
use shipline_model::config::{self, Config};

use crate::settings::Settings;

/// Variables whose values are masked although no `pipeline.yaml` names them: tools around us put them there.
const ALWAYS: &[&str] = &[
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "NPM_TOKEN",
];

/// What masks all of them.
pub(crate) fn redactor(config: &Config, settings: &Settings) -> Redactor {
    Redactor::new(values(config, settings))
}

/// The values of all `${secret.*}` of the configuration and of the well-known variables, as far as they are set.
fn values(config: &Config, settings: &Settings) -> Vec<String> {
    let text = config::show(config);
    let named = text.split("${secret.").skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    });
    let mut values: Vec<String> = named
        .chain(ALWAYS.iter().copied())
        .filter_map(|name| settings.variables.get(name))
        .map(str::to_owned)
        .collect();
    values.sort();
    values.dedup();
    values.retain(|value| !value.is_empty());
    values
}
