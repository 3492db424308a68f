//! What a service knows, in memory, in the order in which it came.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Numbered entries, shared by all requests.
#[derive(Debug)]
pub struct Store<T> {
    entries: Arc<RwLock<Entries<T>>>,
}

#[derive(Debug)]
struct Entries<T> {
    by_id: BTreeMap<u64, T>,
    last: u64,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
        }
    }
}

impl<T: Clone> Store<T> {
    /// A store with these entries, numbered from 1; `make` gets the number.
    pub fn seeded<S>(seeds: impl IntoIterator<Item = S>, make: impl Fn(u64, S) -> T) -> Self {
        let by_id: BTreeMap<u64, T> = (1..)
            .zip(seeds)
            .map(|(id, seed)| (id, make(id, seed)))
            .collect();
        let last = by_id.last_key_value().map_or(0, |(id, _)| *id);
        Self {
            entries: Arc::new(RwLock::new(Entries { by_id, last })),
        }
    }

    /// The entries that `wanted` keeps.
    pub fn list(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .by_id
            .values()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect()
    }

    /// One entry.
    pub fn get(&self, id: u64) -> Option<T> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.by_id.get(&id).cloned()
    }

    /// Adds what `make` gives for the next number, unless `conflict` finds a reason among the entries. Both happen under one lock, so two
    /// requests cannot take the same place.
    ///
    /// # Errors
    /// What `conflict` found.
    pub fn add<E>(
        &self,
        conflict: impl Fn(&T) -> Option<E>,
        make: impl FnOnce(u64) -> T,
    ) -> Result<T, E> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = entries.by_id.values().find_map(conflict) {
            return Err(reason);
        }
        let id = entries.last + 1;
        let entry = make(id);
        entries.by_id.insert(id, entry.clone());
        entries.last = id;
        Ok(entry)
    }

    /// Changes one entry; `None` where there is none.
    pub fn change<R>(&self, id: u64, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.by_id.get_mut(&id).map(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_up_and_conflicts_take_none() {
        let store = Store::seeded(["a", "b"], |id, name| (id, name.to_owned()));
        let taken =
            |name: &'static str| move |entry: &(u64, String)| (entry.1 == name).then_some(entry.0);
        assert_eq!(store.add(taken("b"), |id| (id, "b".to_owned())), Err(2));
        assert_eq!(
            store.add(taken("c"), |id| (id, "c".to_owned())),
            Ok((3, "c".to_owned()))
        );
        assert_eq!(store.get(3), Some((3, "c".to_owned())));
        assert_eq!(store.get(4), None);
        assert_eq!(store.list(|entry| entry.0 > 1).len(), 2);
    }

    #[test]
    fn of_many_threads_that_want_one_place_one_gets_it() {
        let store = Store::seeded(Vec::<u64>::new(), |id, _| id);
        let won: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usize::from(store.add(|_| Some(()), |id| id).is_ok())))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(won, 1);
    }

    #[test]
    fn a_change_is_seen_by_all_clones() {
        let store = Store::seeded([1], |_, value| value);
        let other = store.clone();
        assert_eq!(
            store.change(1, |value| {
                *value = 7;
                *value
            }),
            Some(7)
        );
        assert_eq!(other.get(1), Some(7));
        assert_eq!(store.change(2, |_| ()), None);
    }
}
