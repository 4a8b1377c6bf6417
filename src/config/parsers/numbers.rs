//! Numbers, times and sizes within bounds, and `true` or `false`.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use crate::config::parsers::Parse;
use crate::config::raw::{RawValue, Rejection, kind};
use crate::config::values::{ByteSize, MemoryBound};

/// A whole number within bounds.
pub(in crate::config) struct Whole(RangeInclusive<usize>);

pub(in crate::config) fn whole(bounds: RangeInclusive<usize>) -> Whole {
    Whole(bounds)
}

impl Parse<usize> for Whole {
    fn parse(&self, raw: &RawValue<'_>) -> Result<usize, Rejection> {
        let number = match (raw.number(), raw) {
            (Some(number), _) => usize::try_from(number).ok().filter(|number| self.0.contains(number)),
            (None, RawValue::Toml(other)) => {
                return Err(format!("must be a whole number, not {}", kind(other)).into());
            }
            (None, RawValue::Text(_)) => None,
        };
        number.ok_or_else(|| format!("must be a whole number from {}", self.accepts()).into())
    }

    fn accepts(&self) -> String {
        format!("{} to {}", self.0.start(), self.0.end())
    }
}

/// The rights of a file, as chmod(1) takes them.
pub(in crate::config) fn socket_mode(raw: &RawValue<'_>) -> Result<u32, Rejection> {
    const WANTED: &str = "the rights of a file in octal, as a string such as \"0660\"";
    let text = raw.text(WANTED)?;
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    mode.ok_or_else(|| format!("must be {WANTED}").into())
}

/// A time within bounds, and perhaps 0.
pub(in crate::config) struct Time {
    bounds: RangeInclusive<Duration>,
    zero: bool,
}

/// A time within `bounds`.
pub(in crate::config) fn time(bounds: RangeInclusive<Duration>) -> Time {
    Time { bounds, zero: false }
}

/// A time within `bounds`, or 0.
pub(in crate::config) fn time_or_zero(bounds: RangeInclusive<Duration>) -> Time {
    Time { bounds, zero: true }
}

impl Parse<Duration> for Time {
    fn parse(&self, raw: &RawValue<'_>) -> Result<Duration, Rejection> {
        let time = any_time(raw)?;
        if self.bounds.contains(&time) || (self.zero && time.is_zero()) {
            return Ok(time);
        }
        let from = if self.zero { "0 or from" } else { "from" };
        let (min, max) = (shown(*self.bounds.start()), shown(*self.bounds.end()));
        Err(format!("must be {from} {min} to {max}").into())
    }

    fn accepts(&self) -> String {
        let zero = if self.zero { "0, or " } else { "" };
        format!("{zero}{} to {}", shown(*self.bounds.start()), shown(*self.bounds.end()))
    }
}

fn any_time(raw: &RawValue<'_>) -> Result<Duration, Rejection> {
    const WANTED: &str = "a time such as \"10s\", \"250ms\" or \"1h30m\"";
    match raw.number() {
        Some(0) => return Ok(Duration::ZERO),
        Some(number) => {
            let units = format!("give it a unit: \"{number}s\" or \"{number}ms\"");
            return Err(Rejection::with(format!("must be {WANTED}"), units));
        }
        None => {}
    }
    let text = raw.text(WANTED)?;
    // Upper case is refused because `M` would be months.
    let plain = !text.contains(|c: char| c.is_uppercase() || c.is_whitespace());
    let time = if plain { humantime::parse_duration(text).ok() } else { None };
    time.ok_or_else(|| format!("must be {WANTED}").into())
}

/// A time as it is written in the file.
pub(in crate::config) fn shown(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

/// A size within bounds.
pub(in crate::config) struct Size(RangeInclusive<ByteSize>);

pub(in crate::config) fn size(bounds: RangeInclusive<u64>) -> Size {
    Size(ByteSize(*bounds.start())..=ByteSize(*bounds.end()))
}

impl Parse<ByteSize> for Size {
    fn parse(&self, raw: &RawValue<'_>) -> Result<ByteSize, Rejection> {
        let size = match raw.number() {
            Some(number) => u64::try_from(number).ok().map(ByteSize),
            None => {
                let wanted = "a size such as \"64KiB\", \"1MB\" or a number of bytes";
                Some(raw.text(wanted)?.parse().map_err(|error| Rejection::from(format!("{error}")))?)
            }
        };
        size.filter(|size| self.0.contains(size))
            .ok_or_else(|| format!("must be from {}", self.accepts()).into())
    }

    fn accepts(&self) -> String {
        format!("{} to {}", self.0.start(), self.0.end())
    }
}

/// A share of the memory, a size, or 0 for no bound.
pub(in crate::config) fn memory_bound(raw: &RawValue<'_>) -> Result<MemoryBound, Rejection> {
    const WANTED: &str = "0, a share such as \"90%\" or a size from 16MiB on such as \"2GiB\"";
    let must = || Rejection::from(format!("must be {WANTED}"));
    if raw.number() == Some(0) {
        return Ok(MemoryBound::Off);
    }
    let text = raw.text(WANTED)?;
    if text == "0" {
        return Ok(MemoryBound::Off);
    }
    if let Some(share) = text.strip_suffix('%') {
        let percent = share.parse().ok().filter(|percent| (1..=100).contains(percent));
        return percent.map(MemoryBound::Percent).ok_or_else(must);
    }
    let size = text.parse::<ByteSize>().ok().filter(|size| size.0 >= 16 << 20);
    size.map(MemoryBound::Bytes).ok_or_else(must)
}

/// `true` or `false`.
pub(in crate::config) fn yes_or_no(raw: &RawValue<'_>) -> Result<bool, Rejection> {
    match raw {
        RawValue::Toml(DeValue::Boolean(value)) => Ok(*value),
        RawValue::Text(text) if text == "true" => Ok(true),
        RawValue::Text(text) if text == "false" => Ok(false),
        RawValue::Text(_) => Err("must be true or false".into()),
        RawValue::Toml(other) => Err(format!("must be true or false, not {}", kind(other)).into()),
    }
}
