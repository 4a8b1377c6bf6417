//! Where the blocks of event-stream text begin, in bytes that are cut anywhere.
//!
//! Follows WHATWG HTML § 9.2.5: lines end with CR, LF or both, and an empty line ends a block. Holds no text.

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How far a stream of text has been followed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct BlockEdges {
    /// Blocks that have begun.
    begun: u64,
    /// Bytes of a mark that the text begins with, as long as nothing else came.
    mark: Option<usize>,
    in_block: bool,
    in_line: bool,
    after_cr: bool,
}

impl BlockEdges {
    /// From the beginning of a text.
    pub(super) fn new() -> Self {
        Self { mark: Some(0), ..Self::default() }
    }

    /// From a place between two blocks, of which so many stand in front.
    pub(super) fn behind(blocks: u64) -> Self {
        Self { begun: blocks, ..Self::default() }
    }

    /// What another instance goes on from.
    pub(super) fn text(&self) -> String {
        let mark = self.mark.map(|seen| seen.to_string()).unwrap_or_default();
        let flag = u8::from;
        let (block, line, cr) = (flag(self.in_block), flag(self.in_line), flag(self.after_cr));
        format!("{} {block}{line}{cr} {mark}", self.begun)
    }

    /// None when it is no such text.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let begun = words.next()?.parse().ok()?;
        let [block, line, cr] = *words.next()?.as_bytes() else { return None };
        let mark = words.next().filter(|mark| !mark.is_empty());
        let mark = mark.map(str::parse).transpose().ok()?;
        let (in_block, in_line, after_cr) = (block == b'1', line == b'1', cr == b'1');
        Some(Self { begun, mark, in_block, in_line, after_cr })
    }

    /// How many blocks have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Follows `bytes` over the next edge, and says how many of them that were. None when all were without one.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        let (step, edge) = self.next(bytes)?;
        // The byte that a block begins with has been taken.
        Some(step + usize::from(edge == Edge::Begins))
    }

    /// Follows `bytes` up to where the next block begins or ends, and says how far that is. None when all of `bytes` is
    /// within what it was in before.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Option<(usize, Edge)> {
        for (at, &byte) in bytes.iter().enumerate() {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                continue;
            }
            if let Some(seen) = self.mark {
                let is_mark = BOM.get(seen) == Some(&byte);
                self.mark = is_mark.then_some(seen + 1);
                if is_mark {
                    continue;
                }
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.in_line = true;
                if !std::mem::replace(&mut self.in_block, true) {
                    self.begun += 1;
                    return Some((at, Edge::Begins));
                }
                continue;
            }
            self.after_cr = byte == b'\r';
            if !std::mem::take(&mut self.in_line) && std::mem::take(&mut self.in_block) {
                return Some((at + 1, Edge::Ends));
            }
        }
        None
    }
}

/// What is found in a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    Begins,
    Ends,
}

/// A block that is there in whole, and where it ends in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WholeBlock<'t> {
    /// The first is 1.
    pub(super) number: u64,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: &'t [u8],
}

/// Every block of `text` that has ended, in its order; `edges` is the state at its first byte.
pub(super) fn whole_blocks(text: &[u8], mut edges: BlockEdges) -> impl Iterator<Item = WholeBlock<'_>> {
    let (mut at, mut start) = (0, 0);
    std::iter::from_fn(move || {
        loop {
            let (step, edge) = edges.next(&text[at..])?;
            // The byte that a block begins with has been taken.
            at += step + usize::from(edge == Edge::Begins);
            match edge {
                Edge::Begins => start = at - 1,
                Edge::Ends => {
                    return Some(WholeBlock {
                        number: edges.begun(),
                        start,
                        end: at,
                        text: &text[start..at],
                    });
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &[u8]) -> Vec<(u64, String)> {
        let blocks = whole_blocks(text, BlockEdges::new());
        blocks.map(|block| (block.number, String::from_utf8_lossy(block.text).into_owned())).collect()
    }

    #[test]
    fn blocks_end_with_an_empty_line_of_any_kind() {
        let found = texts(b"\n\xef: x\n\ndata: 1\r\n\r\n\r\nid: 2\rdata\r\rrest\n");
        let expected = [(1, "\u{fffd}: x\n\n"), (2, "data: 1\r\n\r"), (3, "id: 2\rdata\r\r")];
        assert_eq!(found, expected.map(|(number, text)| (number, text.to_owned())));
    }

    #[test]
    fn a_byte_order_mark_belongs_to_no_block() {
        assert_eq!(texts("\u{feff}data: 1\n\n".as_bytes()), [(1, "data: 1\n\n".to_owned())]);
        assert_eq!(texts("\u{feff}\n\u{feff}a\n\n".as_bytes()).len(), 1);
    }

    #[test]
    fn wherever_a_text_is_cut_its_blocks_begin_in_the_same_places() {
        let text = "\u{feff}data: ä\r\n\r\n\n: c\n\nid: 1\r\rx".as_bytes();
        let begins = |pieces: &[&[u8]]| {
            let (mut edges, mut offset, mut found) = (BlockEdges::new(), 0, Vec::new());
            for piece in pieces {
                let mut at = 0;
                while let Some((step, edge)) = edges.next(&piece[at..]) {
                    if edge == Edge::Begins {
                        found.push(offset + at + step);
                    }
                    at += step + usize::from(edge == Edge::Begins);
                }
                offset += piece.len();
            }
            found
        };
        let mut edges = BlockEdges::new();
        for &byte in text {
            assert_eq!(BlockEdges::of_text(&edges.text()).as_ref(), Some(&edges));
            edges.next(&[byte]);
        }
        let whole = begins(&[text]);
        assert_eq!(whole.len(), 4);
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(begins(&pieces), whole, "{first}, {second}");
            }
        }
    }
}
