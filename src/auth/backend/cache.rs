//! Positive answers of the application, kept for a moment. Bounded; what is longest there goes first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::backend::request::Digest;
use crate::auth::backend::response::Granted;
use crate::expiring::ExpiringMap;

/// An answer with a larger body is not kept, so that a full cache stays small.
const MAX_SIZE: usize = 4 << 10;

pub(in crate::auth) struct Cache {
    keep: Duration,
    answers: ExpiringMap<Digest, Arc<Granted>>,
}

impl Cache {
    /// Keeps nothing when `keep` is zero.
    pub(in crate::auth) fn new(keep: Duration, max: usize) -> Self {
        Self { keep, answers: ExpiringMap::new(max) }
    }

    pub(in crate::auth) fn get(&self, digest: &Digest, now: Instant) -> Option<Arc<Granted>> {
        self.answers.get(digest, now).map(Arc::clone)
    }

    /// Keeps an answer; `left` is how long what it grants still lasts.
    pub(in crate::auth) fn put(
        &mut self,
        digest: Digest,
        granted: Arc<Granted>,
        left: Option<Duration>,
        now: Instant,
    ) {
        if self.keep.is_zero() || granted.size > MAX_SIZE {
            return;
        }
        let keep = left.map_or(self.keep, |left| left.min(self.keep));
        self.answers.insert(digest, granted, now + keep, now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::auth::Grant;

    fn granted(size: usize) -> Arc<Granted> {
        Arc::new(Granted { grant: Grant::open(None, None), claims: Map::new(), size })
    }

    #[test]
    fn an_answer_is_kept_for_a_moment_and_no_longer_than_its_grant() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut cache = Cache::new(5 * second, 10);
        cache.put([1; 32], granted(1), None, start);
        cache.put([2; 32], granted(1), Some(second), start);
        assert!(cache.get(&[1; 32], start + 4 * second).is_some());
        assert!(cache.get(&[1; 32], start + 5 * second).is_none());
        assert!(cache.get(&[2; 32], start).is_some());
        assert!(cache.get(&[2; 32], start + second).is_none());
        assert!(cache.get(&[3; 32], start).is_none());
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let start = Instant::now();
        let mut cache = Cache::new(Duration::from_secs(5), 3);
        for n in 0..10 {
            cache.put([n; 32], granted(1), None, start);
            assert!(cache.answers.len() <= 3);
        }
        assert!(cache.get(&[9; 32], start).is_some());
        assert!(cache.get(&[0; 32], start).is_none());
        cache.put([99; 32], granted(MAX_SIZE + 1), None, start);
        assert!(cache.get(&[99; 32], start).is_none());
        // The same again and again is one.
        for n in 1..=10 {
            cache.put([7; 32], granted(1), None, start + Duration::from_secs(n));
            assert!(cache.answers.len() <= 3);
        }
        assert!(cache.get(&[7; 32], start + Duration::from_secs(11)).is_some());
    }

    #[test]
    fn without_a_time_nothing_is_kept() {
        let now = Instant::now();
        let mut cache = Cache::new(Duration::ZERO, 3);
        cache.put([1; 32], granted(1), None, now);
        assert!(cache.get(&[1; 32], now).is_none());
    }
}
