//! Rates: `100/s`, `600/m burst=50`.

use std::time::Duration;

use crate::config::raw::{RawValue, Rejection};
use crate::pace::Quota;

/// Counts and bursts are at most this.
const MOST: u32 = 1_000_000_000;

/// A rate with its burst, or 0 for none.
pub(in crate::config) fn quota(raw: &RawValue<'_>) -> Result<Quota, Rejection> {
    const WANTED: &str = "0 or a rate such as \"100/s\", \"600/m\" or \"100/s burst=200\"";
    let must = || format!("must be {WANTED}");
    match raw.number() {
        Some(0) => return Ok(Quota::UNLIMITED),
        Some(number) => {
            return Err(Rejection::with(
                must(),
                format!("say in what time: \"{number}/s\" or \"{number}/m\""),
            ));
        }
        None => {}
    }
    let text = raw.text(WANTED)?;
    if text == "0" {
        return Ok(Quota::UNLIMITED);
    }
    let mut words = text.split_ascii_whitespace();
    let quota = words.next().and_then(rate).and_then(|(count, period)| match (words.next(), words.next()) {
        (None, _) => Some(Quota { count, period, burst: count }),
        (Some(burst), None) => Some(Quota { count, period, burst: whole(burst.strip_prefix("burst=")?)? }),
        _ => None,
    });
    quota.ok_or_else(|| must().into())
}

fn rate(text: &str) -> Option<(u32, Duration)> {
    let (count, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some((whole(count)?, Duration::from_secs(seconds)))
}

/// A number from 1 on.
fn whole(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (1..=MOST).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_a_time_and_a_burst() {
        let parse = |text: &str| quota(&RawValue::Text(text.to_owned())).ok();
        let quota =
            |count, seconds, burst| Some(Quota { count, period: Duration::from_secs(seconds), burst });
        assert_eq!(parse("100/s"), quota(100, 1, 100));
        assert_eq!(parse("600/m burst=50"), quota(600, 60, 50));
        assert_eq!(parse(" 5/h  burst=1 "), quota(5, 3600, 1));
        assert_eq!(parse("0"), Some(Quota::UNLIMITED));
        for bad in [
            "",
            "100",
            "-1/s",
            "+1/s",
            "0/s",
            "1/d",
            "1 /s",
            "1/s 2",
            "1/s burst",
            "1/s burst=0",
            "1/s burst=1 x",
            "9999999999/s",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
