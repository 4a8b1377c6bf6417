//! Chunked coding (RFC 9112 § 7.1), taken off in place: the payload moves to the front of the bytes it came in.
//!
//! Keeps its place between reads, wherever a read ended. Trailers are not expected on an event stream.

/// What is taken off so far.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Before the first digit of a size.
    #[default]
    Start,
    Size(usize),
    /// In an extension or at the CR; the size is known.
    SizeEnd(usize),
    Data(usize),
    DataCr,
    DataLf,
    /// The last chunk was seen.
    Ended,
}

/// The bytes are not chunked coding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Chunked {
    /// Moves the payload within `bytes` to their front and gives back its length.
    pub(crate) fn take_off(&mut self, bytes: &mut [u8]) -> Result<usize, Malformed> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            let byte = bytes[from];
            match self.state {
                State::Start => {
                    self.state = State::Size(digit(byte)?);
                    from += 1;
                }
                State::Size(size) => {
                    from += 1;
                    self.state = match byte {
                        b'\r' | b';' => State::SizeEnd(size),
                        _ if size > 1 << 40 => return Err(Malformed),
                        _ => State::Size(size * 16 + digit(byte)?),
                    };
                }
                State::SizeEnd(size) => {
                    from += 1;
                    if byte == b'\n' {
                        self.state = if size == 0 { State::Ended } else { State::Data(size) };
                    }
                }
                State::Data(left) => {
                    let here = left.min(bytes.len() - from);
                    bytes.copy_within(from..from + here, to);
                    from += here;
                    to += here;
                    self.state = if here == left { State::DataCr } else { State::Data(left - here) };
                }
                State::DataCr if byte == b'\r' => {
                    from += 1;
                    self.state = State::DataLf;
                }
                State::DataLf if byte == b'\n' => {
                    from += 1;
                    self.state = State::Start;
                }
                State::DataCr | State::DataLf => return Err(Malformed),
                State::Ended => break,
            }
        }
        Ok(to)
    }
}

fn digit(byte: u8) -> Result<usize, Malformed> {
    char::from(byte).to_digit(16).map(|digit| digit as usize).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"5\r\nhello\r\n1;x=y\r\n \r\n0a\r\n0123456789\r\n0\r\n\r\n";

    #[test]
    fn the_payload_is_the_same_wherever_the_reads_end() {
        for first in 0..=WIRE.len() {
            for second in first..=WIRE.len() {
                let mut chunked = Chunked::default();
                let mut text = Vec::new();
                for part in [&WIRE[..first], &WIRE[first..second], &WIRE[second..]] {
                    let mut part = part.to_vec();
                    let len = chunked.take_off(&mut part).unwrap();
                    text.extend_from_slice(&part[..len]);
                }
                assert_eq!(text, b"hello 0123456789", "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_not_a_chunk_is_refused() {
        for wire in [&b"x\r\n"[..], b"1\r\nab\r\n", b"\r\n", b"1\r\na\rb"] {
            assert_eq!(Chunked::default().take_off(&mut wire.to_vec()), Err(Malformed), "{wire:?}");
        }
    }
}
