//! Says what a command waits for, where the wait is long: nobody should wonder whether it hangs. [`Waiting`] is told what is being
//! done; a GitOps repository knows for itself what a call waits for, and [`watch`] asks it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shipline_engine::backend::GitopsRepo;

use crate::shown::print_error;

/// How long a wait goes without a word, and then each other one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Watches what a command is at. Whatever lasts longer than its patience is told once.
pub(crate) struct Waiting {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

struct Watched {
    at: Mutex<At>,
    changed: Condvar,
}

#[derive(Default)]
struct At {
    /// What is being done, and since when; `None`: nothing that takes long, or it is told already.
    doing: Option<(String, Instant)>,
    over: bool,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, doing: Option<String>) {
        self.lock().doing = doing.map(|doing| (doing, Instant::now()));
        self.changed.notify_all();
    }
}

impl Waiting {
    /// Tells `tell` of everything that lasts longer than `patience`.
    pub(crate) fn new(patience: Duration, tell: impl Fn(&str) + Send + 'static) -> Self {
        let watched = Arc::new(Watched {
            at: Mutex::default(),
            changed: Condvar::new(),
        });
        let shared = Arc::clone(&watched);
        let watch = move || keep_watch(&shared, patience, &tell);
        // Without a thread nothing is told, and everything is done all the same.
        let thread = std::thread::Builder::new().spawn(watch).ok();
        Self { watched, thread }
    }

    /// Does something that may last: `what` is said of it (`looking at the work tree`).
    pub(crate) fn during<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        self.watched.set(Some(what.to_owned()));
        let done = work();
        self.watched.set(None);
        done
    }

    /// Something that says more closely what is being done.
    pub(crate) fn telling(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let watched = Arc::clone(&self.watched);
        Arc::new(move |what| watched.set(Some(what.to_owned())))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.watched.lock().over = true;
        self.watched.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has told its own story.
            let _ = thread.join();
        }
    }
}

fn keep_watch(watched: &Watched, patience: Duration, tell: &dyn Fn(&str)) {
    let mut at = watched.lock();
    while !at.over {
        let left = match &at.doing {
            None => {
                at = watched
                    .changed
                    .wait(at)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            Some((_, since)) => patience.saturating_sub(since.elapsed()),
        };
        if left.is_zero() {
            if let Some((what, _)) = at.doing.take() {
                drop(at);
                tell(&what);
                at = watched.lock();
            }
            continue;
        }
        let (next, _) = watched
            .changed
            .wait_timeout(at, left)
            .unwrap_or_else(PoisonError::into_inner);
        at = next;
    }
}

/// Does `work` on the GitOps repository, and tells on standard error what it waits for.
pub(crate) fn watch<T>(gitops: &dyn GitopsRepo, work: impl FnOnce() -> T) -> T {
    let (done, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut told = None;
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_lasts_is_told_and_said_more_closely() {
        let (told, heard) = mpsc::channel();
        let waiting = Waiting::new(Duration::ZERO, move |what| {
            told.send(what.to_owned()).unwrap();
        });
        let telling = waiting.telling();
        let done = waiting.during("looking", || {
            let first = heard.recv().unwrap();
            telling("reading a file");
            (first, heard.recv().unwrap())
        });
        assert_eq!(done, ("looking".to_owned(), "reading a file".to_owned()));
    }

    #[test]
    fn what_is_soon_done_is_not_told() {
        let (told, heard) = mpsc::channel();
        let waiting = Waiting::new(Duration::from_secs(3600), move |what| {
            told.send(what.to_owned()).unwrap();
        });
        assert_eq!(waiting.during("looking", || 1), 1);
        drop(waiting);
        assert!(heard.recv().is_err());
    }
}
