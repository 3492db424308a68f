//! What a call waits for at this moment, for whoever looks from another thread.

use std::sync::{Mutex, PoisonError};

/// What is waited for.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Vec<String>>);

/// A wait; it ends when this is dropped.
pub(crate) struct Wait<'w>(&'w Waiting);

impl Waiting {
    /// From now on `what` is waited for.
    pub(crate) fn on(&self, what: String) -> Wait<'_> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
        Wait(self)
    }

    /// What is waited for now: of waits within another, the inner one.
    pub(crate) fn now(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
            .cloned()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_wait_is_told() {
        let waiting = Waiting::default();
        assert_eq!(waiting.now(), None);
        let outer = waiting.on("a".to_owned());
        let inner = waiting.on("b".to_owned());
        assert_eq!(waiting.now().as_deref(), Some("b"));
        drop(inner);
        assert_eq!(waiting.now().as_deref(), Some("a"));
        drop(outer);
        assert_eq!(waiting.now(), None);
    }
}
