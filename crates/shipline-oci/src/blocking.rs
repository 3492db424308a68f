//! Work that blocks, on threads on which it may.

use shipline_engine::error::{BackendError, ErrorClass};

/// Runs store and disk work on a thread on which it may block; `attempted` is for the case that it does not come back.
pub(crate) async fn blocking<T: Send + 'static>(
    attempted: &str,
    work: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Result<T, BackendError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BackendError::new(ErrorClass::Failed, attempted).because(error)),
    }
}
