//! SSE text into blocks, in place. Only what the load looks at: the event's name, its first data line, its id.

use memchr::memchr;

/// One block; what it does not have is empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    pub(crate) event: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) id: &'a [u8],
    /// Comment lines and nothing else.
    pub(crate) comment: bool,
}

/// Calls `on` for every whole block, and gives back how many bytes these were. Lines end with LF or CRLF.
pub(crate) fn blocks<'a>(text: &'a [u8], mut on: impl FnMut(Block<'a>)) -> usize {
    let (mut at, mut whole) = (0, 0);
    let mut block = Block::default();
    let mut fields = 0;
    while let Some(len) = memchr(b'\n', &text[at..]) {
        let mut line = &text[at..at + len];
        at += len + 1;
        if let [rest @ .., b'\r'] = line {
            line = rest;
        }
        match line {
            [] => {
                block.comment &= fields == 0;
                if fields > 0 || block.comment {
                    on(block);
                }
                block = Block::default();
                fields = 0;
                whole = at;
                continue;
            }
            [b':', ..] => {
                block.comment = true;
                continue;
            }
            [b'd', b'a', b't', b'a', b':', value @ ..] if block.data.is_empty() => {
                block.data = value_of(value)
            }
            [b'i', b'd', b':', value @ ..] => block.id = value_of(value),
            [b'e', b'v', b'e', b'n', b't', b':', value @ ..] => block.event = value_of(value),
            _ => {}
        }
        fields += 1;
    }
    whole
}

fn value_of(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_and_the_rest_is_left() {
        let text = b": hi\n\nevent: a\ndata: 1\nid: 7\n\ndata:2\r\n\r\nretry: 5\n\ndata: 3\n";
        let mut found = Vec::new();
        let whole = blocks(text, |block| found.push(block));
        assert_eq!(&text[whole..], b"data: 3\n");
        let none = Block::default();
        assert_eq!(
            found,
            [
                Block { comment: true, ..none },
                Block { event: b"a", data: b"1", id: b"7", comment: false },
                Block { data: b"2", ..none },
                none,
            ]
        );
    }

    #[test]
    fn a_comment_line_in_front_of_fields_is_not_a_comment_block() {
        let mut found = Vec::new();
        blocks(b": hb\ndata: 1\n\n", |block| found.push(block));
        assert_eq!(found, [Block { data: b"1", ..Block::default() }]);
    }
}
