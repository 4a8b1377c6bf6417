//! An event's bytes: SSE text (WHATWG HTML § 9.2.6), rendered once and shared by all.
//!
//! A frame is one chunk of HTTP/1.1's chunked coding (RFC 9112 § 7.1), so that a plain socket needs nothing more;
//! its payload without the chunk's frame serves everything else. `id:` is the last field of a block: a cut
//! before it makes the client ask for the event again, never skip it.

use std::fmt::Write as _;

use bytes::Bytes;

use super::EventId;

/// One block of SSE text as shared bytes. Cloning shares.
#[derive(Clone, Debug)]
pub struct Frame {
    chunk: Bytes,
    /// Where the payload starts within the chunk; it ends two bytes before the chunk does.
    start: usize,
}

impl Frame {
    /// The whole chunk: size line, payload, CRLF.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// The SSE text alone.
    pub fn payload(&self) -> &[u8] {
        &self.chunk[self.start..self.chunk.len() - 2]
    }

    /// The SSE text alone, shared.
    pub fn payload_bytes(&self) -> Bytes {
        self.chunk.slice(self.start..self.chunk.len() - 2)
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
    text: String,
}

/// Room for `<16 hex digits>CRLF` in front of the payload.
const SIZE_LINE: usize = 18;
/// Room behind the data: `id: `, an id, the blank line, CRLF.
const TAIL: usize = 64;

impl Draft {
    pub(super) fn of(event: Option<&str>, retry: Option<u32>, data: &str) -> Self {
        let mut text = String::with_capacity(
            SIZE_LINE + event.map_or(0, str::len) + data.len() + data.len() / 16 + TAIL + 64,
        );
        text.push_str("                  ");
        if let Some(retry) = retry {
            let _ = writeln!(text, "retry: {retry}");
        }
        if let Some(event) = event {
            text.push_str("event: ");
            text.push_str(event);
            text.push('\n');
        }
        for line in lines(data) {
            text.push_str("data: ");
            text.push_str(line);
            text.push('\n');
        }
        Self { text }
    }

    /// Ends the block with `id`, if the event has one.
    pub fn seal(self, id: Option<EventId>) -> Frame {
        let mut text = self.text;
        if let Some(id) = id {
            let _ = writeln!(text, "id: {id}");
        }
        text.push('\n');
        chunk(text)
    }
}

impl Frame {
    /// A frame of text that is not a block with data: a heartbeat's comment.
    pub fn comment(text: &str) -> Self {
        let mut reserved = " ".repeat(SIZE_LINE);
        reserved.push_str(text);
        chunk(reserved)
    }
}

impl Frame {
    /// Several frames as one.
    pub fn joined(frames: &[Self]) -> Self {
        let mut reserved = " ".repeat(SIZE_LINE);
        for frame in frames {
            reserved.push_str(str::from_utf8(frame.payload()).expect("frames are made of text"));
        }
        chunk(reserved)
    }
}

/// Makes a chunk of `text`, whose first [`SIZE_LINE`] bytes are free for the size line.
fn chunk(mut text: String) -> Frame {
    let size_line = format!("{:x}\r\n", text.len() - SIZE_LINE);
    let from = SIZE_LINE - size_line.len();
    text.push_str("\r\n");
    text.replace_range(from..SIZE_LINE, &size_line);
    // A log holds many of these for long: give back what the estimate was too large by.
    text.shrink_to_fit();
    Frame { chunk: Bytes::from(text.into_bytes()).slice(from..), start: size_line.len() }
}

/// The lines of `data`, split on CRLF, CR and LF; at least one.
fn lines(data: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.bytes().position(|b| b == b'\n' || b == b'\r') else {
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
        assert_eq!(Frame::comment(": hb\n\n").chunk().as_ref(), b"6\r\n: hb\n\n\r\n");
    }
}
