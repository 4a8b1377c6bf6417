//! Pauses between attempts: short at first, twice as long each time up to a bound, and never the same for two daemons.

use std::time::Duration;

pub(in crate::redis) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(in crate::redis) const FIRST: Duration = Duration::from_millis(50);

    pub(in crate::redis) fn new(max: Duration) -> Self {
        Self { next: Self::FIRST, max: max.max(Self::FIRST) }
    }

    pub(in crate::redis) fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// Between half and the whole of the next step.
    pub(in crate::redis) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        step.mul_f64(0.5 + 0.5 * random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_it_was_away_the_next_attempt_is_never_further_than_the_bound() {
        let max = Duration::from_secs(1);
        let mut backoff = Backoff::new(max);
        let pauses: Vec<Duration> = (0..100).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= Backoff::FIRST);
        assert!(pauses.iter().all(|pause| *pause <= max));
        assert!(pauses[10..].iter().all(|pause| *pause >= max / 2), "nor much nearer");
        backoff.reset();
        assert!(backoff.pause() <= Backoff::FIRST);
    }
}
