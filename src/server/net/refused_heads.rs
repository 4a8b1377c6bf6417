//! Heads of requests that are too large for HTTP/2: h2 answers them with 431 itself and tells nobody.
//!
//! What it writes then is a head with nothing but the status, that ends its stream. hyper's own answers have a date.

use crate::server::net::frames::{FramePiece, Frames};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
/// Longer than a status, and changes of the table's size before it.
const MAX_HEAD: usize = 24;

/// Looks for them in what is written to a client.
pub(super) struct RefusedHeads {
    frames: Frames,
    /// Streams whose answer has begun and not ended: a further head of theirs is trailers.
    answering: Vec<u32>,
    /// An answer's head that is its end, as far as it is known, and how long it is.
    head: Option<(usize, Vec<u8>)>,
    note: Box<dyn Fn() + Send>,
}

impl RefusedHeads {
    /// `note` hears of each.
    pub(super) fn new(note: Box<dyn Fn() + Send>) -> Self {
        Self { frames: Frames::behind(0), answering: Vec::new(), head: None, note }
    }

    /// Looks at what was written next.
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        while let Some(piece) = self.frames.next(&mut bytes) {
            match piece {
                FramePiece::Payload(payload) => {
                    let Some((length, head)) = &mut self.head else { continue };
                    head.extend_from_slice(payload);
                    if head.len() == *length {
                        if is_status_alone(head) {
                            (self.note)();
                        }
                        self.head = None;
                    }
                }
                FramePiece::Head(frame) => {
                    let ends = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0;
                    match frame.kind {
                        HEADERS if !ends => self.remember(frame.stream),
                        HEADERS => {
                            let is_first = !self.forget(frame.stream);
                            if is_first && (1..=MAX_HEAD).contains(&frame.length) {
                                self.head = Some((frame.length, Vec::new()));
                            }
                        }
                        DATA | RST_STREAM if ends => drop(self.forget(frame.stream)),
                        _ => {}
                    }
                }
            }
        }
    }

    /// An answer may have several heads: those before the last one say that it is to come.
    fn remember(&mut self, stream: u32) {
        if !self.answering.contains(&stream) {
            self.answering.push(stream);
        }
    }

    /// Whether its answer had begun.
    fn forget(&mut self, stream: u32) -> bool {
        let at = self.answering.iter().position(|other| *other == stream);
        at.map(|at| self.answering.swap_remove(at)).is_some()
    }
}

/// Whether a block of fields (RFC 7541) has one alone: a status that is none of the static table, or one that was put
/// into the dynamic table before.
fn is_status_alone(mut block: &[u8]) -> bool {
    // Changes of the table's size come first.
    while let [first @ 0x20..=0x3f, rest @ ..] = block {
        block = if first & 0x1f == 0x1f { behind_number(rest) } else { rest };
    }
    match block {
        [0xff, rest @ ..] => behind_number(rest).is_empty(),
        // Static: 8 to 14 are the statuses that everybody has.
        [index @ 0x80..=0xfe, rest @ ..] => index & 0x7f > 61 && rest.is_empty(),
        [0x08 | 0x18 | 0x48, length, value @ ..] => value.len() == usize::from(length & 0x7f),
        _ => false,
    }
}

/// What is behind the rest of a number that did not fit into its first byte.
fn behind_number(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).map_or(bytes.len(), |last| last + 1);
    &bytes[end..]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    const LITERAL: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];

    fn found(written: &[Vec<u8>], piece: usize) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let noted = Arc::clone(&count);
        let mut heads = RefusedHeads::new(Box::new(move || {
            noted.fetch_add(1, Ordering::Relaxed);
        }));
        written.concat().chunks(piece).for_each(|piece| heads.look(piece));
        assert!(heads.answering.is_empty());
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn a_status_alone_that_ends_its_stream_is_found_however_it_is_cut() {
        for piece in [1, 3, 1000] {
            for block in [LITERAL, &[0x3f, 0xe1, 0x1f, 0x48, 0x03, b'4', b'3', b'1'], &[0xbe], &[0xff, 0x01]]
            {
                let written = [frame(4, 0, 0, &[0; 12]), frame(1, 5, 1, block), frame(3, 0, 1, &[0; 4])];
                assert_eq!(found(&written, piece), 1, "{block:x?}");
            }
        }
    }

    #[test]
    fn answers_of_others_are_not() {
        let answer = |block: &[u8]| frame(1, 5, 1, block);
        for written in [
            // A date beside the status; a status of the static table.
            vec![answer(&[0xbf, 0xbe])],
            vec![answer(&[LITERAL, &[0xbe]].concat())],
            vec![answer(&[0x88])],
            // Trailers of one field.
            vec![frame(1, 4, 1, &[0x88, 0xbe]), frame(0, 0, 1, b"body"), frame(1, 5, 1, &[0xbf])],
            // A body, and a reset.
            vec![frame(1, 4, 1, LITERAL), frame(0, 1, 1, b"body")],
            vec![frame(1, 4, 1, LITERAL), frame(3, 0, 1, &[0; 4])],
        ] {
            assert_eq!(found(&written, 1000), 0, "{written:x?}");
        }
    }
}
