//! Every secret that this process can come across, and the masking of what it prints beside the event stream.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::PanicHookInfo;
use std::sync::{Arc, PoisonError, RwLock};

use shipline_engine::redact::Redactor;

use crate::settings::Settings;
use crate::shown;

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

/// What is known. There is one for the process: a panic and an error before any configuration is read have no other way to it.
static KNOWN: RwLock<Option<Known>> = RwLock::new(None);

struct Known {
    values: BTreeSet<String>,
    redactor: Arc<Redactor>,
}

/// From here on the values of all `${secret.*}` in `text` are masked, and those of the well-known variables, as far as they are
/// set. `text` is that of a `pipeline.yaml`, which need not be right.
pub(crate) fn know(text: &str, settings: &Settings) {
    let mut values = values(text, settings);
    let before = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = &*before {
        values.extend(before.values.iter().cloned());
        if values == before.values {
            return;
        }
    }
    drop(before);
    let redactor = Arc::new(Redactor::new(&values));
    *KNOWN.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { values, redactor });
}

/// What masks all that is known by now.
pub(crate) fn redactor() -> Arc<Redactor> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known
        .as_ref()
        .map_or_else(Arc::default, |known| Arc::clone(&known.redactor))
}

/// A text without the secrets that are known by now.
pub(crate) fn mask(text: String) -> String {
    match redactor().mask(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(masked) => masked,
    }
}

/// Prints a panic as the standard library does, without secrets.
pub(crate) fn report_panic(panic: &PanicHookInfo<'_>) {
    shown::print_error(&panic_text(panic));
}

fn panic_text(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    let behind = if backtrace.status() == BacktraceStatus::Captured {
        format!("{backtrace}\n")
    } else {
        String::new()
    };
    format!("thread '{name}' {panic}\n{behind}")
}

/// The values of all `${secret.*}` of the text and of the well-known variables, as far as they are set.
fn values(text: &str, settings: &Settings) -> BTreeSet<String> {
    let named = text.split("${secret.").skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    });
    named
        .chain(ALWAYS.iter().copied())
        .filter_map(|name| settings.variables.get(name))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_panic_says_where_and_why() {
        static SEEN: Mutex<String> = Mutex::new(String::new());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic_text(panic);
            if text.contains("just so") {
                SEEN.lock().unwrap().push_str(&text);
            } else {
                before(panic);
            }
        }));
        let _ = std::thread::Builder::new()
            .name("some".to_owned())
            .spawn(|| panic!("just so"))
            .unwrap()
            .join();
        let seen = SEEN.lock().unwrap();
        assert!(seen.starts_with("thread 'some' panicked at "), "{seen}");
        assert!(seen.contains("secrets.rs"), "{seen}");
    }
}
