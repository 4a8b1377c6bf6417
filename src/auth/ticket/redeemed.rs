//! Which tickets have been redeemed: here, and on every other instance if there is somebody who tells.

use crate::expiring::ExpiringMap;
use crate::future::BoxFuture;
use crate::lock::Mutex;
use std::time::{Duration, Instant};

/// Tells what happens for the first time on any instance.
pub trait FirstUse: Send + Sync {
    /// Whether `id` was never given before, on any instance, within `keep`. None when that is not known.
    fn first(&self, id: String, keep: Duration) -> BoxFuture<'_, Option<bool>>;
}

/// The tickets that were redeemed here. A second time is noticed while the first is kept.
pub(in crate::auth) struct Redeemed(Mutex<ExpiringMap<Box<str>, ()>>);

/// So many at once are kept. Only tickets that we have made ourselves get here.
const MAX: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::auth) enum Redemption {
    First,
    Again,
    /// More are kept than can be: nobody knows.
    Unknown,
}

impl Default for Redeemed {
    fn default() -> Self {
        Self(Mutex::new(ExpiringMap::new(MAX)))
    }
}

impl Redeemed {
    /// Notes a use of `id`, which is kept until `until`; all are kept about as long.
    pub(in crate::auth) fn note(&self, id: &str, until: Instant, now: Instant) -> Redemption {
        let mut ids = self.0.lock();
        if ids.get(id, now).is_some() {
            return Redemption::Again;
        }
        if ids.is_full(now) {
            return Redemption::Unknown;
        }
        ids.insert(id.into(), (), until, now);
        Redemption::First
    }

    /// Takes a note back.
    pub(in crate::auth) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_use_is_noticed_while_the_first_is_kept() {
        let (used, now, second) = (Redeemed::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(used.note("a", now + second, now), Redemption::First);
        assert_eq!(used.note("a", now + second, now), Redemption::Again);
        assert_eq!(used.note("b", now + second, now), Redemption::First);
        used.forget("b");
        assert_eq!(used.note("b", now + second, now), Redemption::First);
        assert_eq!(used.note("a", now + 2 * second, now + second), Redemption::First);
        assert_eq!(used.0.lock().len(), 1);
    }
}
