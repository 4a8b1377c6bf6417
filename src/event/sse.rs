//! Event-stream text → messages, as WHATWG HTML § 9.2.6 says, from chunks cut anywhere.
//!
//! Invariant: what is held is never more than the bound. This file knows no socket and no clock.

use std::time::Duration;

/// One message, as a browser would dispatch it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// `message` where the block names none.
    pub event: String,
    pub data: String,
    /// The block's own id; None where it has none and the one before stays in force.
    pub id: Option<String>,
}

/// A line or an event is longer than the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLarge;

/// The parser of one stream, from its first byte.
#[derive(Debug)]
pub struct Parser {
    max: usize,
    line: Vec<u8>,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    at_first_line: bool,
    event: String,
    data: String,
    own_id: Option<String>,
    /// The spec's "last event ID buffer".
    id_buffer: String,
    last_event_id: String,
    retry: Option<Duration>,
    /// The rest of the block is passed over.
    skipping: bool,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    /// `last_event_id` is the one that the stream was asked to go on from; empty = none. No line and no event may be
    /// longer than `max` bytes.
    pub fn new(last_event_id: impl Into<String>, max: usize) -> Self {
        let last_event_id = last_event_id.into();
        Self {
            max,
            line: Vec::new(),
            after_cr: false,
            at_first_line: true,
            event: String::new(),
            data: String::new(),
            own_id: None,
            id_buffer: last_event_id.clone(),
            last_event_id,
            retry: None,
            skipping: false,
        }
    }

    /// The next message of `bytes`, which is cut by what was read; None when all of it was. What is left unfinished
    /// is kept for the next bytes, and is nothing when the stream ends there.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, TooLarge> {
        while let Some((&first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                *bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
                if self.skipping {
                    // Of a line that is passed over it matters only that there is one.
                    self.line.resize(1, b':');
                } else {
                    self.hold(bytes)?;
                }
                *bytes = &[];
                return Ok(None);
            };
            if !self.skipping {
                self.hold(&bytes[..end])?;
            } else if end > 0 {
                self.line.resize(1, b':');
            }
            self.after_cr = bytes[end] == b'\r';
            *bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            let message = if self.skipping { Ok(None) } else { self.take_line(&line) };
            self.skipping &= !line.is_empty();
            self.line = line;
            self.line.clear();
            if let Some(message) = message? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// After [`TooLarge`]: passes over the rest of the block that is too large, and goes on with the next one. Its id
    /// is nobody's last.
    pub fn skip_block(&mut self) {
        self.skipping = true;
        // Whether something stands in the line that is being read is all that still matters of it.
        self.line.truncate(1);
        self.at_first_line = false;
        self.event.clear();
        self.data.clear();
        self.own_id = None;
        self.id_buffer.clone_from(&self.last_event_id);
    }

    /// The id to go on from after this stream: that of the last whole block that had one. Empty = none.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The pause before a reconnect that the server asked for last.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + part.len() > self.max {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Message>, TooLarge> {
        let first = std::mem::take(&mut self.at_first_line);
        let line = if first { line.strip_prefix(BOM).unwrap_or(line) } else { line };
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        // A line never begins or ends within a character, so line by line is as good as the stream as a whole.
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                // Replaced characters can be longer than the line that held them.
                if self.data.len() + value.len() + 1 > self.max {
                    return Err(TooLarge);
                }
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => {
                value.clone_into(&mut self.id_buffer);
                self.own_id = Some(value.to_owned());
            }
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                // A number that is too large for us is as good as for ever.
                self.retry = Some(Duration::from_millis(value.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The end of a block.
    fn dispatch(&mut self) -> Option<Message> {
        self.last_event_id.clone_from(&self.id_buffer);
        let id = self.own_id.take();
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        // Without the last line's end; and a block without data is no message.
        data.pop()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Message { event, data, id })
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
