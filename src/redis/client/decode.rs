//! Replies of any shape, token by token: an array is its length, then its elements.
//!
//! So a reply of a thousand entries is never held as a whole: what is kept of what has come and was not taken is one
//! text at most. This file knows no command.

use bytes::{Buf as _, Bytes};

use crate::redis::client::resp::{NotResp, Received, RespParser, Stop, number};

/// One step of a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) enum RespToken {
    Status(Bytes),
    Error(Bytes),
    Integer(i64),
    Bulk(Bytes),
    /// A text that is longer than the bound; it was passed over.
    TooLarge,
    Nil,
    /// So many elements follow, each of one or more tokens.
    Array(usize),
}

impl RespToken {
    /// How many elements follow it.
    pub(super) fn elements(&self) -> usize {
        match self {
            Self::Array(len) => *len,
            _ => 0,
        }
    }
}

impl Received {
    /// The next token; None when more has to come first.
    pub(in crate::redis) fn token(&mut self) -> Result<Option<RespToken>, NotResp> {
        if !self.pass_over()? {
            return Ok(None);
        }
        self.bytes.advance(self.at);
        self.at = 0;
        let mut parser = RespParser { bytes: &self.bytes, at: 0, max_text: self.max_text };
        match parse(&mut parser) {
            Ok((token, from, to)) => {
                let end = parser.at;
                let text = (from < to).then(|| {
                    self.bytes.advance(from);
                    let text = self.bytes.split_to(to - from).freeze();
                    self.bytes.advance(end - to);
                    text
                });
                if text.is_none() {
                    self.bytes.advance(end);
                }
                let text = text.unwrap_or_default();
                Ok(Some(match token {
                    RespToken::Status(_) => RespToken::Status(text),
                    RespToken::Error(_) => RespToken::Error(text),
                    RespToken::Bulk(_) => RespToken::Bulk(text),
                    other => other,
                }))
            }
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::TooLarge(skip)) => {
                self.at = parser.at;
                self.skip = Some(skip);
                Ok(Some(RespToken::TooLarge))
            }
            Err(Stop::Broken) => Err(NotResp),
        }
    }
}

/// A token without its text, and where that stands.
fn parse(parser: &mut RespParser<'_>) -> Result<(RespToken, usize, usize), Stop> {
    let (kind, line) = parser.line()?;
    // The line ends with CR and LF.
    let (from, to) = (parser.at - 2 - line.len(), parser.at - 2);
    Ok(match kind {
        b'+' => (RespToken::Status(Bytes::new()), from, to),
        b'-' => (RespToken::Error(Bytes::new()), from, to),
        b':' => (RespToken::Integer(number(line)?), 0, 0),
        b'$' | b'*' if line == b"-1" => (RespToken::Nil, 0, 0),
        b'$' => {
            let text = parser.text(line, 0)?;
            let from = parser.at - 2 - text.len();
            (RespToken::Bulk(Bytes::new()), from, from + text.len())
        }
        b'*' => {
            let len = usize::try_from(number(line)?).map_err(|_| Stop::Broken)?;
            (RespToken::Array(len), 0, 0)
        }
        _ => return Err(Stop::Broken),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_reply_is_read_token_by_token_wherever_the_bytes_are_cut() {
        let bytes = b"*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$5\r\nevent\r\n$0\r\n\r\n*-1\r\n+OK\r\n-ERR no\r\n:7\r\n$-1\r\n*0\r\n$9\r\n123456789\r\n:8\r\n";
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let expected = [
            RespToken::Array(2),
            RespToken::Array(2),
            RespToken::Bulk(text("1-0")),
            RespToken::Array(2),
            RespToken::Bulk(text("event")),
            RespToken::Bulk(text("")),
            RespToken::Nil,
            RespToken::Status(text("OK")),
            RespToken::Error(text("ERR no")),
            RespToken::Integer(7),
            RespToken::Nil,
            RespToken::Array(0),
            RespToken::TooLarge,
            RespToken::Integer(8),
        ];
        for size in 1..=bytes.len() {
            let mut received = Received::new(8);
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                received.space().extend_from_slice(piece);
                while let Some(token) = received.token().unwrap() {
                    seen.push(token);
                }
            }
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [&b"hello\r\n"[..], b"*-2\r\n", b"$-2\r\n", b"*x\r\n", b"+a\n", b"$1\r\nabc"] {
            let mut received = Received::new(100);
            received.space().extend_from_slice(bytes);
            assert!(received.token().is_err(), "{bytes:?}");
        }
    }
}
