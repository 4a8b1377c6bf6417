//! One limit: off, or buckets; what it refuses is counted and, now and then, logged. Can be changed while it is used.

use std::fmt;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::Counter;
use tracing::info;

use crate::lock::RwLock;
use crate::pace::Quota;
use crate::rate::buckets::{Buckets, Refused};
use crate::telemetry::{RATE_LIMITED, Throttle};

/// How often each key may do one kind of thing.
pub struct RateLimit {
    what: &'static str,
    by: &'static str,
    /// Looked at first: a limit that is off costs no more.
    on: AtomicBool,
    buckets: RwLock<Settled>,
    refused: Counter,
    lines: Throttle,
}

/// What is in force.
struct Settled {
    quota: Quota,
    keys: usize,
    buckets: Option<Arc<Buckets>>,
}

/// A key has used up its tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFast {
    /// When there will be enough; none when a full bucket holds fewer than were asked for.
    pub wait: Option<Duration>,
    pub quota: Quota,
}

impl RateLimit {
    /// `what` and `by` are words of the metric. Full buckets for some `keys` keys.
    pub fn new(what: &'static str, by: &'static str, quota: Quota, keys: usize) -> Self {
        let refused = metrics::counter!(RATE_LIMITED, "what" => what, "by" => by);
        let settled = Settled { quota: Quota::UNLIMITED, keys: 0, buckets: None };
        let limit = Self {
            what,
            by,
            on: AtomicBool::new(false),
            buckets: RwLock::new(settled),
            refused,
            lines: Throttle::default(),
        };
        limit.set(quota, keys);
        limit
    }

    /// From now on this holds. Buckets begin full, unless nothing has changed.
    pub fn set(&self, quota: Quota, keys: usize) {
        let mut settled = self.buckets.write();
        if (settled.quota, settled.keys) != (quota, keys) {
            *settled = Settled { quota, keys, buckets: Buckets::new(quota, keys).map(Arc::new) };
            self.on.store(settled.buckets.is_some(), Ordering::Relaxed);
        }
    }

    /// Whether there is a limit at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes `count` tokens of `key`, or none. `of` names the caller in the log.
    #[inline]
    pub fn take(&self, key: &(impl Hash + ?Sized), count: u32, of: &dyn Display) -> Result<(), TooFast> {
        if self.is_on() { self.take_from_bucket(key, count, of) } else { Ok(()) }
    }

    fn take_from_bucket(
        &self,
        key: &(impl Hash + ?Sized),
        count: u32,
        of: &dyn Display,
    ) -> Result<(), TooFast> {
        let (quota, buckets) = {
            let settled = self.buckets.read();
            (settled.quota, settled.buckets.clone())
        };
        let Some(buckets) = buckets else { return Ok(()) };
        let wait = match buckets.take(key, count) {
            Ok(()) => return Ok(()),
            Err(Refused::For(wait)) => Some(wait),
            Err(Refused::Ever) => None,
        };
        self.refused.increment(1);
        if let Some(suppressed) = self.lines.pass() {
            info!(what = self.what, by = self.by, %of, suppressed, "over its rate, and refused");
        }
        Err(TooFast { wait, quota })
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, by, .. } = self;
        write!(f, "RateLimit({what} by {by}: {:?})", self.buckets.read().quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_can_be_set_changed_and_taken_away() {
        let limit = RateLimit::new("requests", "address", Quota::UNLIMITED, 8);
        let take = || limit.take("a", 1, &"a").map_err(|fast| fast.quota.burst);
        assert!(!limit.is_on() && (0..100).all(|_| take().is_ok()));
        let quota = |burst| Quota { count: 1, period: Duration::from_secs(1000), burst };
        limit.set(quota(1), 8);
        assert_eq!((take(), take()), (Ok(()), Err(1)));
        limit.set(quota(1), 8);
        assert_eq!(take(), Err(1), "nothing has changed");
        limit.set(quota(2), 8);
        assert_eq!((take(), take(), take()), (Ok(()), Ok(()), Err(2)));
        limit.set(Quota::UNLIMITED, 8);
        assert!((0..100).all(|_| take().is_ok()));
    }
}
