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
    /// What a person can do, each a sentence.
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
