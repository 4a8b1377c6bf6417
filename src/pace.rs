//! How often something may be done, and how often it was done of late. Knows no clock.

use std::time::{Duration, Instant};

/// How often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// 0 = as often as one likes.
    pub per_minute: u32,
}

/// A token bucket: `count` in each `period`, and `burst` of them at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// 0 = as often as one likes.
    pub count: u32,
    pub period: Duration,
    pub burst: u32,
}

impl Quota {
    pub const UNLIMITED: Self = Self { count: 0, period: SECOND, burst: 0 };

    /// The time in which one token comes back; none where there is no limit.
    pub fn interval(self) -> Option<Duration> {
        self.period.checked_div(self.count)
    }
}

/// How often it was done of late.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pace {
    /// When all of it is forgotten.
    free: Option<Instant>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Pace {
    /// Counts once more, or says after what time that may be done.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.per_minute == 0 {
            return Ok(());
        }
        let free = self.free.map_or(now, |free| free.max(now)) + MINUTE / rate.per_minute;
        match (free - now).checked_sub(MINUTE) {
            Some(early) if !early.is_zero() => Err(early),
            _ => {
                self.free = Some(free);
                Ok(())
            }
        }
    }

    /// When it counts for nothing any more.
    pub fn free(&self) -> Option<Instant> {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_worth_may_be_done_at_once_and_then_as_it_is_earned() {
        let (now, rate) = (Instant::now(), Rate { per_minute: 6 });
        let mut pace = Pace::default();
        assert!((0..6).all(|_| pace.take(rate, now).is_ok()));
        assert_eq!(pace.take(rate, now), Err(Duration::from_secs(10)));
        assert_eq!(pace.take(rate, now + Duration::from_secs(4)), Err(Duration::from_secs(6)));
        assert_eq!(pace.take(rate, now + Duration::from_secs(10)), Ok(()));
        assert!(pace.take(rate, now + Duration::from_secs(10)).is_err());
        assert!((0..6).all(|_| pace.take(rate, now + Duration::from_secs(200)).is_ok()));
        assert!((0..1000).all(|_| pace.take(Rate { per_minute: 0 }, now).is_ok()));
    }
}
