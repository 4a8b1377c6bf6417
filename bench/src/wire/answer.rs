//! HTTP/1.1 answers, as much as a load needs: status, length, whether the body is chunked.

use memchr::memmem;

/// The first bytes of an answer, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes up to the body.
    pub(crate) head: usize,
    /// Bytes of the body; 0 where none is announced.
    pub(crate) body: usize,
    pub(crate) chunked: bool,
}

impl Answer {
    /// `None` until the whole head is there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = head_end(bytes)?;
        let text = &bytes[..head];
        let status = text.get(9..12).and_then(|digits| str::from_utf8(digits).ok());
        Some(Self {
            status: status.and_then(|digits| digits.parse().ok()).unwrap_or(0),
            head,
            body: length(text).unwrap_or(0),
            chunked: header(text, "transfer-encoding")
                .is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")),
        })
    }
}

/// How many bytes a head has, with its blank line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The length that a head announces.
pub(crate) fn length(head: &[u8]) -> Option<usize> {
    str::from_utf8(header(head, "content-length")?).ok()?.parse().ok()
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let at = memchr::memchr(b':', line)?;
        line[..at].eq_ignore_ascii_case(name.as_bytes()).then(|| line[at + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_once_its_head_is_whole() {
        let wire = b"HTTP/1.1 202 Accepted\r\nServer: x\r\ncontent-LENGTH:  12 \r\n\r\nhello";
        let head = wire.len() - 5;
        for cut in 0..head {
            assert_eq!(Answer::parse(&wire[..cut]), None);
        }
        assert_eq!(Answer::parse(wire), Some(Answer { status: 202, head, body: 12, chunked: false }));
        let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            Answer::parse(wire),
            Some(Answer { status: 200, head: wire.len(), body: 0, chunked: true })
        );
    }
}
