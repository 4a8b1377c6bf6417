//! A map that forgets: what was put in is there for a time, or until it is full. Knows no clock.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

/// Keys with values, each until a time of its own. Entries are dropped in the order in which they came, so times that
/// grow are dropped when they are over; one that is over earlier is not found any more, but takes its place until then.
#[derive(Debug)]
pub struct ExpiringMap<K, V> {
    known: HashMap<K, (Instant, V)>,
    order: VecDeque<(Instant, K)>,
    max: usize,
}

impl<K: Clone + Eq + Hash, V> ExpiringMap<K, V> {
    /// Room for `max` entries.
    pub fn new(max: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), max }
    }

    pub fn get<Q: ?Sized + Eq + Hash>(&self, key: &Q, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.known.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value)
    }

    /// Puts `value` in until `until`, in the place of what the key stood for. A full map drops its oldest.
    pub fn insert(&mut self, key: K, value: V, until: Instant, now: Instant) {
        self.drop_expired(now);
        while self.order.len() >= self.max.max(1) {
            self.drop_oldest();
        }
        self.known.insert(key.clone(), (until, value));
        self.order.push_back((until, key));
    }

    pub fn remove<Q: ?Sized + Eq + Hash>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (_, value) = self.known.remove(key)?;
        self.order.retain(|(_, other)| other.borrow() != key);
        Some(value)
    }

    /// Whether the next [`insert`](Self::insert) drops something that is not over yet.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.drop_expired(now);
        self.order.len() >= self.max
    }

    /// Entries that take a place.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Frees the places of entries that are over. [`insert`](Self::insert) does so too.
    pub fn drop_expired(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((until, key)) = self.order.pop_front() else { return };
        // It may have been put in again since.
        if self.known.get(&key).is_some_and(|(newer, _)| *newer == until) {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_entry_is_there_until_its_time_and_its_place_is_free_then() {
        let now = Instant::now();
        let mut map = ExpiringMap::new(10);
        map.insert("a", 1, now + SECOND, now);
        assert_eq!(map.get("a", now), Some(&1));
        assert_eq!(map.get("a", now + SECOND), None);
        map.insert("b", 2, now + 3 * SECOND, now + SECOND);
        assert_eq!(map.len(), 1);
        assert_eq!(map.remove("b"), Some(2));
        assert!(map.is_empty());
    }

    #[test]
    fn what_is_put_in_again_outlives_its_first_time() {
        let now = Instant::now();
        let mut map = ExpiringMap::new(10);
        map.insert("a", 1, now + SECOND, now);
        map.insert("a", 2, now + 3 * SECOND, now);
        map.insert("b", 0, now + 9 * SECOND, now + 2 * SECOND);
        assert_eq!(map.get("a", now + 2 * SECOND), Some(&2));
    }

    #[test]
    fn a_full_map_drops_its_oldest() {
        let now = Instant::now();
        let mut map = ExpiringMap::new(2);
        for key in 0..5 {
            assert_eq!(map.is_full(now), key >= 2);
            map.insert(key, (), now + SECOND, now);
        }
        assert_eq!(map.len(), 2);
        assert_eq!((0..5).filter(|key| map.get(key, now).is_some()).collect::<Vec<_>>(), [3, 4]);
        assert!(!map.is_full(now + SECOND));
    }
}
