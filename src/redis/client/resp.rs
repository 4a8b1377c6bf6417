//! RESP2, Redis's protocol: commands to bytes, bytes to replies that borrow from the receive buffer.
//!
//! Only what our commands are answered with: flat replies, and arrays of at most four of them. Nothing is copied, so a
//! message costs no allocation here; and nothing beyond a bound is kept: a longer text is passed over as it comes
//! in. This file knows no socket.

use bytes::{Buf as _, BytesMut};

/// What Redis said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) enum RespReply<'a> {
    /// `+OK`
    Status(&'a [u8]),
    /// `-ERR …`
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Nil,
    Array(ArrayParts<'a>),
    /// An array with a text that is longer than the bound.
    TooLarge,
}

/// The elements of an array, each as its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::redis) struct ArrayParts<'a> {
    parts: [&'a [u8]; MAX_PARTS],
    len: usize,
}

impl<'a> ArrayParts<'a> {
    pub(in crate::redis) fn as_slice(&self) -> &[&'a [u8]] {
        &self.parts[..self.len]
    }
}

/// What came is not RESP2, or nothing that any command of ours is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer is not in Redis's protocol")]
pub(in crate::redis) struct NotResp;

/// A `pmessage` has four.
const MAX_PARTS: usize = 4;
/// Longest line of a status, an error or a length.
const MAX_LINE: usize = 16 << 10;
/// How much is read at once, if it is there.
const READ: usize = 64 << 10;

/// Bytes that came and are not replies yet.
pub(in crate::redis) struct Received {
    pub(in crate::redis) bytes: BytesMut,
    /// What stands before it has been handed out.
    pub(in crate::redis) at: usize,
    /// Longest text that is kept.
    pub(in crate::redis) max_text: usize,
    pub(in crate::redis) skip: Option<Skip>,
}

impl Received {
    pub(in crate::redis) fn new(max_text: usize) -> Self {
        Self { bytes: BytesMut::new(), at: 0, max_text, skip: None }
    }

    /// Where to put what comes next. Replies that were handed out are gone.
    pub(in crate::redis) fn space(&mut self) -> &mut BytesMut {
        self.bytes.advance(self.at);
        self.at = 0;
        self.bytes.reserve(READ);
        &mut self.bytes
    }

    /// The next whole reply; None when more has to come first.
    pub(in crate::redis) fn next(&mut self) -> Result<Option<RespReply<'_>>, NotResp> {
        if !self.pass_over()? {
            return Ok(None);
        }
        let mut parser = RespParser { bytes: &self.bytes, at: self.at, max_text: self.max_text };
        match parser.reply() {
            Ok(reply) => {
                self.at = parser.at;
                Ok(Some(reply))
            }
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::TooLarge(skip)) => {
                self.at = parser.at;
                self.skip = Some(skip);
                Ok(Some(RespReply::TooLarge))
            }
            Err(Stop::Broken) => Err(NotResp),
        }
    }

    /// Passes over what is too large; false while there is more of it to come.
    pub(in crate::redis) fn pass_over(&mut self) -> Result<bool, NotResp> {
        let Some(skip) = &mut self.skip else { return Ok(true) };
        self.at += skip.pass(&self.bytes[self.at..])?;
        let done = skip.is_done();
        if done {
            self.skip = None;
        }
        Ok(done)
    }
}

/// Why there is no reply.
pub(in crate::redis) enum Stop {
    Incomplete,
    TooLarge(Skip),
    Broken,
}

pub(in crate::redis) struct RespParser<'a> {
    pub(in crate::redis) bytes: &'a [u8],
    pub(in crate::redis) at: usize,
    pub(in crate::redis) max_text: usize,
}

impl<'a> RespParser<'a> {
    fn reply(&mut self) -> Result<RespReply<'a>, Stop> {
        let (kind, line) = self.line()?;
        Ok(match kind {
            b'+' => RespReply::Status(line),
            b'-' => RespReply::Error(line),
            b':' => RespReply::Integer(number(line)?),
            b'$' if line == b"-1" => RespReply::Nil,
            b'$' => RespReply::Bulk(self.text(line, 0)?),
            b'*' => {
                let len = usize::try_from(number(line)?).ok().filter(|len| (0..=MAX_PARTS).contains(len));
                let len = len.ok_or(Stop::Broken)?;
                let mut parts = [&b""[..]; MAX_PARTS];
                for (n, part) in parts[..len].iter_mut().enumerate() {
                    let (kind, line) = self.line()?;
                    *part = match kind {
                        b'$' if line == b"-1" => b"",
                        b'$' => self.text(line, len - n - 1)?,
                        b':' | b'+' => line,
                        _ => return Err(Stop::Broken),
                    };
                }
                RespReply::Array(ArrayParts { parts, len })
            }
            _ => return Err(Stop::Broken),
        })
    }

    /// A line's first byte and the rest of it.
    pub(in crate::redis) fn line(&mut self) -> Result<(u8, &'a [u8]), Stop> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            return Err(if rest.len() < MAX_LINE { Stop::Incomplete } else { Stop::Broken });
        };
        let Some([kind, line @ ..]) = rest[..end].strip_suffix(b"\r") else { return Err(Stop::Broken) };
        self.at += end + 1;
        Ok((*kind, line))
    }

    /// The text behind its length's line; `items` follow it in its array.
    pub(in crate::redis) fn text(&mut self, length: &[u8], items: usize) -> Result<&'a [u8], Stop> {
        let length = usize::try_from(number(length)?).map_err(|_| Stop::Broken)?;
        if length > self.max_text {
            return Err(Stop::TooLarge(Skip { bytes: length.saturating_add(2), items }));
        }
        let rest = &self.bytes[self.at..];
        if rest.len() < length + 2 {
            return Err(Stop::Incomplete);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(Stop::Broken);
        }
        self.at += length + 2;
        Ok(&rest[..length])
    }
}

pub(in crate::redis) fn number(text: &[u8]) -> Result<i64, Stop> {
    // Lengths, of which every message has five, are at most these many digits.
    if (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        return Ok(text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')));
    }
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Broken)
}

/// The rest of an array that is passed over.
pub(in crate::redis) struct Skip {
    /// Of the text that is being passed over, with its line end.
    bytes: usize,
    /// How many elements follow it.
    items: usize,
}

impl Skip {
    fn is_done(&self) -> bool {
        self.bytes == 0 && self.items == 0
    }

    /// Passes over as much of `bytes` as it can, and says how much that was.
    fn pass(&mut self, bytes: &[u8]) -> Result<usize, NotResp> {
        let mut parser = RespParser { bytes, at: 0, max_text: usize::MAX };
        loop {
            let passed = self.bytes.min(bytes.len() - parser.at);
            self.bytes -= passed;
            parser.at += passed;
            if self.bytes > 0 || self.items == 0 {
                return Ok(parser.at);
            }
            let (kind, line) = match parser.line() {
                Ok(line) => line,
                Err(Stop::Incomplete) => return Ok(parser.at),
                Err(_) => return Err(NotResp),
            };
            self.items -= 1;
            if kind == b'$' && line != b"-1" {
                let length = number(line).ok().and_then(|length| usize::try_from(length).ok());
                self.bytes = length.ok_or(NotResp)?.saturating_add(2);
            }
        }
    }
}

/// Appends a command as Redis reads it.
pub(in crate::redis) fn write_command(to: &mut Vec<u8>, words: &[&[u8]]) {
    write_length(to, b'*', words.len());
    for word in words {
        write_length(to, b'$', word.len());
        to.extend_from_slice(word);
        to.extend_from_slice(b"\r\n");
    }
}

fn write_length(to: &mut Vec<u8>, kind: u8, length: usize) {
    use std::io::Write as _;
    to.push(kind);
    write!(to, "{length}\r\n").expect("a Vec takes every byte");
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
