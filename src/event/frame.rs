//! An event's bytes: SSE text (WHATWG HTML § 9.2.6), rendered once and shared by all.
//!
//! A frame is one chunk of HTTP/1.1's chunked coding (RFC 9112 § 7.1), so that a plain socket needs nothing more;
//! its payload without the chunk's frame serves everything else. `id:` is the last field of a block: a cut
//! before it makes the client ask for the event again, never skip it.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr2;

use crate::event::EventId;

/// One block of SSE text as shared bytes. Cloning shares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// One allocation of exactly the chunk's size: a log holds many of these for long.
    chunk: Arc<[u8]>,
    /// Where the payload starts within the chunk; it ends two bytes before the chunk does.
    start: usize,
}

impl Frame {
    /// The whole chunk: size line, payload, CRLF.
    pub fn chunk(&self) -> &[u8] {
        &self.chunk
    }

    /// The SSE text alone.
    pub fn payload(&self) -> &[u8] {
        &self.chunk[self.start..self.chunk.len() - 2]
    }

    /// The whole chunk, shared.
    pub fn chunk_bytes(&self) -> Bytes {
        Bytes::from_owner(Arc::clone(&self.chunk))
    }

    /// The SSE text alone, shared.
    pub fn payload_bytes(&self) -> Bytes {
        self.chunk_bytes().slice(self.start..self.chunk.len() - 2)
    }
}

/// The fields of one block, in the order in which they are written.
#[derive(Clone, Copy, Default, Debug)]
pub struct Block<'a> {
    /// Milliseconds.
    pub retry: Option<u32>,
    pub event: Option<&'a str>,
    pub data: &'a str,
    pub id: Option<EventId>,
}

impl Block<'_> {
    pub fn render(&self) -> Frame {
        Draft::of(self.event, self.retry, self.data).seal(self.id)
    }
}

/// A block rendered but for its id, so that the work is done before the event's place is known.
pub struct Draft {
    /// With [`SIZE_LINE`] free bytes in front.
    text: Vec<u8>,
}

/// Room for `<16 hex digits>CRLF` in front of the payload.
const SIZE_LINE: usize = 18;
/// Room behind the data: `id: `, an id, the blank line, CRLF.
const TAIL: usize = 64;

impl Draft {
    pub(super) fn of(event: Option<&str>, retry: Option<u32>, data: &str) -> Self {
        let room = event.map_or(0, str::len) + data.len() + data.len() / 16 + 64;
        let mut text = Vec::with_capacity(SIZE_LINE + room + TAIL);
        text.resize(SIZE_LINE, b' ');
        if let Some(retry) = retry {
            writeln!(text, "retry: {retry}").expect("a Vec takes every byte");
        }
        if let Some(event) = event {
            text.extend_from_slice(b"event: ");
            text.extend_from_slice(event.as_bytes());
            text.push(b'\n');
        }
        for line in lines(data) {
            text.extend_from_slice(b"data: ");
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        Self { text }
    }

    /// The same with a comment's line before it; `text` is one line.
    pub(super) fn behind_comment(mut self, text: &str) -> Self {
        let line = [b":", text.as_bytes(), b"\n"].concat();
        self.text.splice(SIZE_LINE..SIZE_LINE, line);
        self
    }

    /// Ends the block with `id`, if the event has one.
    pub fn seal(self, id: Option<EventId>) -> Frame {
        let mut text = self.text;
        if let Some(id) = id {
            text.extend_from_slice(b"id: ");
            id.append_to(&mut text);
            text.push(b'\n');
        }
        text.push(b'\n');
        chunk(text)
    }
}

impl Frame {
    /// A frame of text that is not a block with data: a heartbeat's comment.
    pub fn comment(text: &str) -> Self {
        let mut reserved = vec![b' '; SIZE_LINE];
        reserved.extend_from_slice(text.as_bytes());
        chunk(reserved)
    }
}

impl Frame {
    /// Several frames as one.
    pub fn joined(frames: &[Self]) -> Self {
        let mut reserved = vec![b' '; SIZE_LINE];
        for frame in frames {
            reserved.extend_from_slice(frame.payload());
        }
        chunk(reserved)
    }
}

/// Makes a chunk of `text`, whose first [`SIZE_LINE`] bytes are free for the size line.
fn chunk(mut text: Vec<u8>) -> Frame {
    let mut size = text.len() - SIZE_LINE;
    text.extend_from_slice(b"\r\n");
    let mut from = SIZE_LINE - 2;
    text[from..SIZE_LINE].copy_from_slice(b"\r\n");
    loop {
        from -= 1;
        text[from] = b"0123456789abcdef"[size % 16];
        size /= 16;
        if size == 0 {
            break;
        }
    }
    Frame { chunk: Arc::from(&text[from..]), start: SIZE_LINE - from }
}

/// The lines of `data`, split on CRLF, CR and LF; at least one.
fn lines(data: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = memchr2(b'\n', b'\r', text.as_bytes()) else {
            rest = None;
            return Some(text);
        };
        let end = if text[at..].starts_with("\r\n") { at + 2 } else { at + 1 };
        rest = Some(&text[end..]);
        Some(&text[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Frame) -> &str {
        str::from_utf8(frame.payload()).unwrap()
    }

    #[test]
    fn fields_stand_in_order_with_the_id_last() {
        let id = "5-0".parse().unwrap();
        let frame =
            Block { retry: Some(1500), event: Some("message:new"), data: "{\"a\":1}", id: Some(id) }.render();
        assert_eq!(text(&frame), "retry: 1500\nevent: message:new\ndata: {\"a\":1}\nid: 5-0\n\n");
    }

    #[test]
    fn every_kind_of_line_end_splits_data() {
        for (data, wire) in [
            ("", "data: \n\n"),
            ("a\nb\rc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n\n"),
            ("\n", "data: \ndata: \n\n"),
            ("a\r\n", "data: a\ndata: \n\n"),
            ("\r\r\n\n", "data: \ndata: \ndata: \ndata: \n\n"),
            (" leading", "data:  leading\n\n"),
        ] {
            assert_eq!(text(&Block { data, ..Block::default() }.render()), wire, "{data:?}");
        }
    }

    #[test]
    fn the_chunk_announces_exactly_its_payload() {
        for size in [0, 1, 9, 10, 200, 255, 4096, 70_000] {
            let frame = Block { data: &"x".repeat(size), ..Block::default() }.render();
            let chunk = frame.chunk();
            let at = chunk.iter().position(|&b| b == b'\r').unwrap();
            let announced = usize::from_str_radix(str::from_utf8(&chunk[..at]).unwrap(), 16).unwrap();
            assert_eq!(announced, frame.payload().len());
            assert_eq!(&chunk[at..at + 2], b"\r\n");
            assert_eq!(&chunk[at + 2..chunk.len() - 2], frame.payload());
            assert_eq!(&chunk[chunk.len() - 2..], b"\r\n");
            assert_eq!(frame.payload_bytes(), frame.payload());
        }
    }

    #[test]
    fn a_comment_is_sent_as_it_stands() {
        assert_eq!(Frame::comment(": hb\n\n").chunk(), b"6\r\n: hb\n\n\r\n");
    }
}
