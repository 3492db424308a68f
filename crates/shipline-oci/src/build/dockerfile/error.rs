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
    /// What kind of wrong.
    pub kind: ErrorKind,
}

/// What kind of wrong something in a Dockerfile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No builder could carry it out.
    Wrong,
    /// It is nothing that we know; a newer BuildKit may.
    Newer,
    /// Only an engine can carry it out.
    NeedsEngine,
}

impl DockerfileError {
    pub(crate) fn new(line: usize, why: impl Into<String>) -> Self {
        Self {
            line,
            why: why.into(),
            remedy: None,
            kind: ErrorKind::Wrong,
        }
    }

    /// Something that only an engine can carry out.
    pub(crate) fn needs_engine(line: usize, why: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::NeedsEngine,
            ..Self::new(line, why)
        }
    }

    /// What a newer BuildKit may know.
    #[must_use]
    pub(crate) fn newer(mut self) -> Self {
        self.kind = ErrorKind::Newer;
        self
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
