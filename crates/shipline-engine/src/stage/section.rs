//! Sections that are not left before their end: what is half done there would be seen by others.

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::StageTask;
use crate::error::{BackendError, ErrorClass};
use crate::task::TaskContext;

/// Runs `work` to its end in spite of the task's cancellation. Over its deadline it is told to stop, and left behind where it
/// does not: then what it did is not known.
pub(super) async fn no_return<T, F>(
    task: &StageTask,
    what: &str,
    work: impl FnOnce(TaskContext) -> F,
) -> Result<T, BackendError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BackendError>> + Send + 'static,
{
    task.in_section.store(true, Ordering::SeqCst);
    if task.context.is_cancelled() {
        task.in_section.store(false, Ordering::SeqCst);
        return Err(task.cancelled());
    }
    let cancel = CancellationToken::new();
    let graces = task.shared.options.graces;
    let mut at_work = tokio::spawn(work(task.context.with_cancellation(cancel.clone())));
    let joined = tokio::select! {
        joined = &mut at_work => Some(joined),
        () = tokio::time::sleep(graces.section) => {
            cancel.cancel();
            tokio::time::timeout(graces.task, at_work).await.ok()
        }
    };
    task.in_section.store(false, Ordering::SeqCst);
    match joined {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(error)) => Err(BackendError::new(ErrorClass::Cancelled, what).because(error)),
        None => Err(BackendError::new(
            ErrorClass::Unavailable,
            format!(
                "{what}: no end after {} s, and what was done is not known",
                graces.section.as_secs()
            ),
        )
        .hint("run the same command again: it finds out and finishes")),
    }
}
