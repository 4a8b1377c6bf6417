//! The id of an event as the outside sees it: `<milliseconds>-<sequence>`, the form of Redis stream ids, with
//! `-<tag>` behind it when the log lives in one process's memory.
//!
//! Only digits, lower-case letters and `-`, and under 64 bytes: safe in a cross-origin `Last-Event-ID` header.

use data_encoding::BASE32_NOPAD;
use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an event id: <milliseconds>-<sequence>, with -<tag> behind it where the log lives in memory")]
pub struct BadId;

/// Names the one log that an id belongs to: drawn when a memory log starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; Tag::LEN]);

impl Tag {
    pub const LEN: usize = 6;

    /// A tag from random bits: 30 of them count.
    pub fn from_bits(bits: u64) -> Self {
        let letters = BASE32_NOPAD.encode(&((bits as u32) << 2).to_be_bytes()).to_ascii_lowercase();
        Self(std::array::from_fn(|n| letters.as_bytes()[n]))
    }

    fn parse(text: &str) -> Result<Self, BadId> {
        let bytes: [u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| BadId)?;
        bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')).then_some(Self(bytes)).ok_or(BadId)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An event's id. Ids of one log are ordered as its events are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EventId {
    /// Milliseconds since the Unix epoch; never smaller than the id before.
    pub ms: u64,
    /// Counts the events of one millisecond from 0.
    pub seq: u64,
    pub tag: Option<Tag>,
}

impl EventId {
    /// What orders ids within one log.
    pub fn order(&self) -> (u64, u64) {
        (self.ms, self.seq)
    }
}

impl EventId {
    /// Puts the id's text behind `text`. Every event needs its own twice: formatted, it would take longer than all the
    /// rest of a frame.
    pub(super) fn append_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.spell(&mut [0; MAX_LEN]));
    }

    /// From its last byte to the first.
    fn spell<'b>(&self, buffer: &'b mut [u8; MAX_LEN]) -> &'b [u8] {
        let mut at = MAX_LEN;
        if let Some(Tag(letters)) = self.tag {
            at -= letters.len();
            buffer[at..].copy_from_slice(&letters);
            at -= 1;
            buffer[at] = b'-';
        }
        at = digits(self.seq, buffer, at) - 1;
        buffer[at] = b'-';
        at = digits(self.ms, buffer, at);
        &buffer[at..]
    }
}

/// Two numbers, a tag, and what stands between them.
const MAX_LEN: usize = 2 * 20 + Tag::LEN + 2;

/// Writes the number so that it ends before `at`, and says where it begins.
fn digits(mut number: u64, buffer: &mut [u8], mut at: usize) -> usize {
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return at;
        }
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.spell(&mut [0; MAX_LEN])).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for EventId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut parts = text.split('-');
        let ms = number(parts.next().ok_or(BadId)?)?;
        let seq = number(parts.next().ok_or(BadId)?)?;
        let tag = parts.next().map(Tag::parse).transpose()?;
        if parts.next().is_some() {
            return Err(BadId);
        }
        Ok(Self { ms, seq, tag })
    }
}

/// Only the spelling that we write ourselves: digits alone, and no leading zero, so that equal ids are equal texts.
fn number(text: &str) -> Result<u64, BadId> {
    if !text.bytes().all(|b| b.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return Err(BadId);
    }
    text.parse().map_err(|_| BadId)
}

/// Whether a query parameter of this name holds the id of the last event that was seen: `lastEventId` and
/// `last_event_id`, as well as the spellings of other servers' clients (`lastEventID`, `Last-Event-ID`,
/// `evs_last_event_id`).
pub fn is_cursor_parameter(name: &str) -> bool {
    let letters = name.bytes().filter(|b| !matches!(b, b'-' | b'_')).map(|b| b.to_ascii_lowercase());
    letters.clone().eq(*b"lasteventid") || letters.eq(*b"evslasteventid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for tag in
            [None, Some(Tag::from_bits(0)), Some(Tag::from_bits(u64::MAX)), Some(Tag::from_bits(0x1234_5678))]
        {
            for (ms, seq) in [(0, 0), (1_763_715_600_000, 3), (u64::MAX, u64::MAX)] {
                let id = EventId { ms, seq, tag };
                let text = id.to_string();
                assert_eq!(text.parse(), Ok(id));
                assert!(text.len() < 64);
                assert!(text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-'));
            }
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for bad in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-",
            "1-2-abc",
            "1-2-abcdefg",
            "1-2-abcde1",
            "1-2-ABCDEF",
            "1-2-abcdef-3",
            "01-2",
            "1-02",
            "+1-2",
            "1-2 ",
            " 1-2",
            "18446744073709551616-0",
            "1-2-abc\ndef",
            "a-b",
            "1-2-äbcde",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(BadId), "{bad:?}");
        }
    }
}
