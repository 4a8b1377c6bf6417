//! How long to wait before a request is sent again: full jitter below a bound that doubles, and the sink's own word.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The bounds of one webhook's pauses.
#[derive(Clone, Copy)]
pub(super) struct BackOff {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl BackOff {
    /// The pause after the `attempt`th failure, counted from 1. `random` is any number.
    pub(super) fn pause(self, attempt: u32, random: u32) -> Duration {
        let doubled =
            self.min.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// How long an answer asks us to wait.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
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
    fn pauses_grow_to_their_bound_and_are_spread_below_it() {
        let back_off = BackOff { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        let bounds = [1, 2, 3, 6, 7, 8, 32, 33, u32::MAX].map(|attempt| back_off.pause(attempt, u32::MAX));
        assert_eq!(bounds.map(|bound| bound.as_secs()), [1, 2, 4, 32, 60, 60, 60, 60, 60]);
        assert_eq!(back_off.pause(5, 0), Duration::ZERO);
        let half = back_off.pause(2, u32::MAX / 2);
        assert!((990..=1010).contains(&half.as_millis()), "{half:?}");
    }

    #[test]
    fn a_sink_says_when_to_come_back_in_seconds_or_as_a_date() {
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
