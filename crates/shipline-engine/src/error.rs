//! The class of an error: what retries, exit codes and hints go by, never its text.

/// What kind of failure an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// May go through when tried again: time-outs, cut connections, throttling.
    Retryable,
    /// Who we are is not known or not allowed.
    Denied,
    /// The thing does not exist.
    NotFound,
    /// The thing is in another state than was expected.
    Conflict,
    /// What was asked for is wrong.
    Invalid,
    /// The service or tool is not there.
    Unavailable,
    /// A command, test or gate said no.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// The causes of an error, the nearest first. Some libraries repeat their cause in their own text: it is left out then.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !last.ends_with(&text) {
            causes.push(text.clone());
            last = text;
        }
        next = cause.source();
    }
    causes
}

/// An error and its causes in one line: `read x: open y: permission denied`.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    parts.extend(causes(error));
    parts.join(": ")
}

/// A boxed cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a backend could not do. `message` says what was attempted and fits after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    /// Its class.
    pub class: ErrorClass,
    /// What was attempted ("read manifest sha256:… of frontend").
    pub message: String,
    /// What a person can do, each lower case and without a period.
    pub hints: Vec<String>,
    /// How long the other side asks to wait (Retry-After).
    pub retry_after: Option<std::time::Duration>,
    /// The cause.
    #[source]
    pub cause: Option<Cause>,
}

impl BackendError {
    /// An error of this class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            hints: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// The same failure as what stopped something larger: it becomes the cause, and its class and remedies stand.
    #[must_use]
    pub fn within(mut self, message: impl Into<String>) -> Self {
        Self {
            class: self.class,
            message: message.into(),
            hints: std::mem::take(&mut self.hints),
            retry_after: self.retry_after,
            cause: Some(Box::new(self)),
        }
    }

    /// With its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With one more hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With what the other side asked to wait.
    #[must_use]
    pub fn after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_everything_once() {
        let disk = || BackendError::new(ErrorClass::Failed, "write x: the disk is full");
        let error = disk().because("the disk is full").within("push y");
        assert_eq!(causes(&error), ["write x: the disk is full"]);
        assert_eq!(chain(&error), "push y: write x: the disk is full");
        assert_eq!(chain(&disk()), "write x: the disk is full");
        let error = disk().because("no space left").within("push y");
        assert_eq!(
            chain(&error),
            "push y: write x: the disk is full: no space left"
        );
    }
}
