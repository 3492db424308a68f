//! What is wrong with a Dockerfile, and where.

/// What is wrong with a Dockerfile: the line, what is wrong with it and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct DockerfileError {
    /// 1-based line on which the instruction begins.
    pub line: usize,
    /// What is wrong.
    pub why: String,
    /// What to do about it, a sentence.
    pub remedy: Option<String>,
}

impl DockerfileError {
    pub(crate) fn new(line: usize, why: impl Into<String>) -> Self {
        Self {
            line,
            why: why.into(),
            remedy: None,
        }
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
