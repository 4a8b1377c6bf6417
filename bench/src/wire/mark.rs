//! The mark that every event of the load carries in its data: which lane, which place in it, which event of all, and
//! when it was sent. All of fixed width, so that a request is rendered once and only its digits change.
//!
//! The data is a JSON object, because that is what most servers take.

use crate::clock::Nanos;

/// What a reader learns from an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Events of one lane are published one after the other, so their order is defined.
    pub(crate) lane: u32,
    /// The event's place in its lane, without gaps.
    pub(crate) seq: u32,
    /// The event's number among all.
    pub(crate) event: u32,
    pub(crate) at: Nanos,
}

const HEAD: &[u8] = b"{\"mark\":\"";
const TAIL: &[u8] = b"\",\"text\":\"";
/// lane, seq, event, at: 8 + 8 + 8 + 16 digits.
const DIGITS: usize = 40;
/// How far into an event's data the load's own may begin.
const WRAPPED: usize = 64;
/// The smallest data that can carry a mark.
const LEAST: usize = HEAD.len() + DIGITS + TAIL.len() + 2;

impl Mark {
    /// Data of `size` bytes with an empty mark.
    pub(crate) fn blank(size: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(size.max(LEAST));
        data.extend_from_slice(HEAD);
        data.extend_from_slice(&[b'0'; DIGITS]);
        data.extend_from_slice(TAIL);
        data.resize(size.max(LEAST) - 2, b'x');
        data.extend_from_slice(b"\"}");
        data
    }

    /// `None` for an event that is not the load's. Some servers put what was published into a value of their own.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let marked = match data.strip_prefix(HEAD) {
            Some(marked) => marked,
            None => {
                let front = &data[..data.len().min(WRAPPED + HEAD.len())];
                &data[memchr::memmem::find(front, HEAD)? + HEAD.len()..]
            }
        };
        let digits = marked.get(..DIGITS)?;
        Some(Self {
            lane: u32::try_from(number(&digits[..8])?).ok()?,
            seq: u32::try_from(number(&digits[8..16])?).ok()?,
            event: u32::try_from(number(&digits[16..24])?).ok()?,
            at: number(&digits[24..])?,
        })
    }

    fn write(&self, digits: &mut [u8]) {
        write_number(&mut digits[..8], self.lane.into());
        write_number(&mut digits[8..16], self.seq.into());
        write_number(&mut digits[16..24], self.event.into());
        write_number(&mut digits[24..DIGITS], self.at);
    }
}

/// A request as bytes in which the mark, and perhaps the topic, is put in place.
pub(crate) struct Stamp {
    bytes: Vec<u8>,
    mark_at: usize,
    topic_at: Option<usize>,
}

/// A topic's name; all are of one width.
pub(crate) fn topic(number: u32) -> String {
    format!("t{number:04x}")
}

impl Stamp {
    /// `bytes` hold the data of [`Mark::blank`] once, and topic 0 at most once.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let mark_at = memchr::memmem::find(&bytes, HEAD).expect("a request that holds the data") + HEAD.len();
        let topic_at = memchr::memmem::find(&bytes, topic(0).as_bytes()).map(|at| at + 1);
        Self { bytes, mark_at, topic_at }
    }

    /// The request for this event.
    pub(crate) fn with(&mut self, topic: u32, mark: &Mark) -> &[u8] {
        mark.write(&mut self.bytes[self.mark_at..]);
        if let Some(at) = self.topic_at {
            write_number(&mut self.bytes[at..at + 4], topic.into());
        }
        &self.bytes
    }
}

fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let mut number = 0;
    for &digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u64::from(value);
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let data = Mark::blank(200);
        assert_eq!(data.len(), 200);
        let mut request = b"POST /pub?topic=t0000\r\n\r\n".to_vec();
        request.extend_from_slice(&data);
        let mut stamp = Stamp::new(request);
        let mark = Mark { lane: 17, seq: u32::MAX, event: 0xabc, at: u64::MAX - 1 };
        let bytes = stamp.with(0x1388, &mark);
        let (head, data) = bytes.split_at(bytes.len() - 200);
        assert_eq!(head, b"POST /pub?topic=t1388\r\n\r\n");
        assert_eq!(Mark::read(data), Some(mark));
        assert!(serde_json::from_slice::<serde_json::Value>(data).is_ok());
        let wrapped = [b"{\"channel\":\"t0000\",\"pub\":{\"data\":", data, b"}}"].concat();
        assert_eq!(Mark::read(&wrapped), Some(mark));
    }

    #[test]
    fn other_data_has_no_mark() {
        assert_eq!(Mark::read(b"{\"client\":\"x\"}"), None);
        assert_eq!(Mark::read(b""), None);
    }
}
