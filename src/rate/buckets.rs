//! The buckets of one limit: governor's arithmetic over a table of our own, whose size is fixed.
//!
//! Invariant: the table never grows. When a key finds no free place, it takes that of the fullest bucket among the few
//! that it could stand in: who is forgotten gets a full bucket, and lost almost nothing. So a crowd of addresses makes
//! nobody wait, and who empties its bucket is remembered longest.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota as GovernorQuota, RateLimiter};

use crate::lock::Mutex;
use crate::pace::Quota;

/// So many places a key can stand in.
const WAYS: usize = 8;

/// Token buckets by key, all with one quota.
pub(super) struct Buckets {
    limiter: RateLimiter<u64, Table, MonotonicClock, NoOpMiddleware<Instant>>,
    clock: MonotonicClock,
    hasher: RandomState,
}

/// Why nothing was taken from a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// There will be enough after this time.
    For(Duration),
    /// A full bucket has fewer.
    Ever,
}

impl Buckets {
    /// Full buckets for `keys` keys or some more. None where the quota is no limit.
    pub(super) fn new(quota: Quota, keys: usize) -> Option<Self> {
        let burst = NonZeroU32::new(quota.burst.max(1))?;
        let interval = quota.interval()?.max(Duration::from_nanos(1));
        let quota = GovernorQuota::with_period(interval)?.allow_burst(burst);
        Some(Self {
            limiter: RateLimiter::new(quota, Table::new(keys), MonotonicClock),
            clock: MonotonicClock,
            hasher: RandomState::new(),
        })
    }

    /// Takes `count` tokens, or none. A count of 0 takes nothing.
    pub(super) fn take(&self, key: &(impl Hash + ?Sized), count: u32) -> Result<(), Refused> {
        let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
        // Seeded for this process: nobody can choose with whom they share places.
        let key = self.hasher.hash_one(key).max(1);
        match self.limiter.check_key_n(&key, count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(Refused::For(not_until.wait_time_from(self.clock.now()))),
            Err(_) => Err(Refused::Ever),
        }
    }
}

/// Places of buckets, by the hash of their key.
struct Table {
    rows: Box<[Mutex<Row>]>,
}

type Row = [Place; WAYS];

/// 0 stands for a place where nobody was.
#[derive(Clone, Copy, Default)]
struct Place {
    key: u64,
    /// When the bucket will be full again.
    full: u64,
}

impl Table {
    fn new(keys: usize) -> Self {
        let rows = keys.div_ceil(WAYS).max(1);
        Self { rows: (0..rows).map(|_| Mutex::new(Row::default())).collect() }
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let rows = self.rows.len() as u64;
        let row = &self.rows[usize::try_from(key % rows).expect("a number of rows is a usize")];
        let mut row = row.lock();
        let found = row.iter().position(|place| place.key == *key);
        let place = match found {
            Some(at) => &mut row[at],
            None => row.iter_mut().min_by_key(|place| place.full).expect("a row has places"),
        };
        let (verdict, full) = decide(found.map(|_| Nanos::from(place.full)))?;
        *place = Place { key: *key, full: full.as_u64() };
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing comes back while a test runs.
    const fn quota(burst: u32) -> Quota {
        Quota { count: 1, period: Duration::from_secs(1000), burst }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_says_when_there_is_more() {
        let buckets = Buckets::new(quota(3), 1).unwrap();
        assert_eq!(buckets.take("a", 2), Ok(()));
        assert_eq!(buckets.take("a", 0), Ok(()));
        let Err(Refused::For(wait)) = buckets.take("a", 2) else { panic!("there is one left") };
        assert!(wait <= Duration::from_secs(1000) && wait > Duration::from_secs(990), "{wait:?}");
        assert_eq!(buckets.take("a", 1), Ok(()), "what was refused took nothing");
        assert_eq!(buckets.take("b", 3), Ok(()));
        assert_eq!(buckets.take("b", 4), Err(Refused::Ever));
        assert!(Buckets::new(Quota::UNLIMITED, 8).is_none());
    }

    #[test]
    fn tokens_come_back_with_time() {
        let quota = Quota { count: 1000, period: Duration::from_secs(1), burst: 1 };
        let buckets = Buckets::new(quota, 1).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        for _ in 0..10 {
            while buckets.take("a", 1).is_err() {
                assert!(Instant::now() < deadline, "nothing comes back");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_crowd_of_keys_neither_grows_the_table_nor_frees_whom_it_holds_back() {
        let buckets = Buckets::new(quota(100), 64).unwrap();
        // They have emptied their buckets.
        for flood in 0..4 {
            buckets.take(&("flood", flood), 100).unwrap();
        }
        for stranger in 0..100_000 {
            assert_eq!(buckets.take(&("stranger", stranger), 1), Ok(()), "nobody waits for the crowd");
        }
        let held = (0..4).filter(|flood| buckets.take(&("flood", *flood), 1).is_err()).count();
        assert_eq!(held, 4);
    }
}
