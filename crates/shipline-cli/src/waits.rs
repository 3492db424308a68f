//! Saying what a call waits for that is silent for longer than a second.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use shipline_engine::backend::GitopsRepo;

use crate::shown::print_error;

/// After this long a wait is told of, and then each other one.
const SILENCE: Duration = Duration::from_secs(1);

/// Does `work` on the GitOps repository, and tells on standard error what it waits for.
pub(crate) fn watch<T>(gitops: &dyn GitopsRepo, work: impl FnOnce() -> T) -> T {
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut told = None;
            while ended.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                let waits = gitops.waits_for();
                if waits != told
                    && let Some(waits) = &waits
                {
                    print_error(&format!("note: waiting for {waits}\n"));
                }
                told = waits;
            }
        });
        let result = work();
        drop(done);
        result
    })
}
