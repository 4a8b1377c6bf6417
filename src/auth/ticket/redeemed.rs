//! Which tickets have been redeemed: here, and on every other instance if there is somebody who tells.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tells what happens for the first time on any instance.
pub trait Once: Send + Sync {
    /// Whether `id` was never given before, on any instance, within `keep`. None when that cannot be told.
    fn first(&self, id: String, keep: Duration) -> Pin<Box<dyn Future<Output = Option<bool>> + Send + '_>>;
}

/// The ids of a time: a second time is noticed while the id is kept.
#[derive(Default)]
pub(in crate::auth) struct Used(Mutex<Ids>);

#[derive(Default)]
struct Ids {
    known: HashSet<Box<str>>,
    order: VecDeque<(Instant, Box<str>)>,
}

/// So many at once are kept. Only what we have made ourselves gets here.
const MOST: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::auth) enum Use {
    First,
    Again,
    /// More are kept than can be: it cannot be told.
    Unknown,
}

impl Used {
    /// Notes a use of `id`, which is kept until `until`; all are kept about as long.
    pub(in crate::auth) fn note(&self, id: &str, until: Instant, now: Instant) -> Use {
        let mut ids = self.lock();
        while ids.order.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, id)) = ids.order.pop_front() {
                ids.known.remove(&id);
            }
        }
        if ids.known.contains(id) {
            return Use::Again;
        }
        if ids.order.len() >= MOST {
            return Use::Unknown;
        }
        ids.known.insert(id.into());
        ids.order.push_back((until, id.into()));
        Use::First
    }

    /// Takes a note back.
    pub(in crate::auth) fn forget(&self, id: &str) {
        let mut ids = self.lock();
        if ids.known.remove(id) {
            ids.order.retain(|(_, other)| &**other != id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_use_is_noticed_while_the_first_is_kept() {
        let (used, now, second) = (Used::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(used.note("a", now + second, now), Use::First);
        assert_eq!(used.note("a", now + second, now), Use::Again);
        assert_eq!(used.note("b", now + second, now), Use::First);
        used.forget("b");
        assert_eq!(used.note("b", now + second, now), Use::First);
        assert_eq!(used.note("a", now + 2 * second, now + second), Use::First);
        assert_eq!(used.lock().order.len(), 1);
    }
}
