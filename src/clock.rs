//! Times of day as the outside writes them: milliseconds since 1970-01-01T00:00:00Z, and RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last millisecond of the year 9999, the last one that RFC 3339 can write.
const LATEST_MS: u64 = 253_402_300_799_999;

/// Now, in milliseconds since 1970; 0 on a clock that stands before it.
pub fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

/// `time` in milliseconds since 1970; 0 for times before it.
pub fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// The time `ms` milliseconds after 1970, at the latest the end of the year 9999. Never panics.
pub fn from_unix_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS))
}

/// As `2026-01-31T12:00:00.000Z`.
pub fn rfc3339(ms: u64) -> String {
    humantime::format_rfc3339_millis(from_unix_ms(ms)).to_string()
}

/// The milliseconds since 1970 of a time as RFC 3339 writes it, in any time zone.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let utc = |text: &str| humantime::parse_rfc3339(text).ok().map(unix_ms);
    if let Some(ms) = utc(text) {
        return Some(ms);
    }
    let (time, zone) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    // A `+` that was not encoded is a space in a query.
    let is_ahead = zone.starts_with(['+', ' ']);
    let (hours, minutes) = zone.get(1..).filter(|_| is_ahead || zone.starts_with('-'))?.split_once(':')?;
    let number = |text: &str, max: u64| -> Option<u64> {
        text.parse().ok().filter(|number| text.len() == 2 && *number <= max)
    };
    let ahead = (number(hours, 23)? * 60 + number(minutes, 59)?) * 60_000;
    let local = utc(&format!("{time}Z"))?;
    if is_ahead { local.checked_sub(ahead) } else { local.checked_add(ahead) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_way_to_milliseconds_and_back() {
        for ms in [0, 1, 1_750_000_000_123, LATEST_MS] {
            assert_eq!(unix_ms(from_unix_ms(ms)), ms);
        }
        assert_eq!(unix_ms(from_unix_ms(u64::MAX)), LATEST_MS);
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(1_750_000_000_123), "2025-06-15T15:06:40.123Z");
    }

    #[test]
    fn a_time_is_read_in_any_time_zone() {
        for text in [
            "2025-06-15T15:06:40.123Z",
            "2025-06-15T17:06:40.123+02:00",
            "2025-06-15T17:06:40.123 02:00",
            "2025-06-15T09:36:40.123-05:30",
        ] {
            assert_eq!(parse_rfc3339(text), Some(1_750_000_000_123), "{text}");
        }
        assert_eq!(parse_rfc3339("2025-06-15T15:06:40Z"), Some(1_750_000_000_000));
        for text in
            ["", "now", "2025-06-15", "2025-06-15T17:06:40*02:00", "2025-06-15T17:06:40+2:00", "é+02:00"]
        {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
