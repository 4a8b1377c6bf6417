//! Pauses between attempts: short at first, twice as long each time up to a bound, and never the same for two callers.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The pauses of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `min` to `max`; a `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The next series begins at `min` again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }

    /// The next pause: a random time between half of the step and the whole of it.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.max);
        random_between(step / 2, step)
    }
}

/// A time from `min` to `max`, each as likely. Not for secrets. Without randomness of the system: `max`.
pub fn random_between(min: Duration, max: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    min + max.saturating_sub(min).mul_f64(random)
}

/// How long an answer asks its client to wait: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_are_spread_over_half_of_it() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut backoff = Backoff::new(min, max);
        let mut step = min;
        for _ in 0..100 {
            let pause = backoff.pause();
            assert!((step / 2..=step).contains(&pause), "{pause:?} of {step:?}");
            step = (step * 2).min(max);
        }
        assert_eq!(step, max);
        backoff.reset();
        assert!(backoff.pause() <= min);
        assert!(Backoff::new(max, min).pause() <= max, "a bound below the first step is the first step");
    }

    #[test]
    fn two_series_differ() {
        let series = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            (0..8).map(|_| backoff.pause()).collect::<Vec<_>>()
        };
        assert_ne!(series(), series());
    }

    #[test]
    fn a_server_says_when_to_come_back_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, http::HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        for nothing in ["", "-1", "soon", "1.5", "99999999999999999999999", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }
}
