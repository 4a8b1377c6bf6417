//! From where a reader who comes back goes on: what the request says, and which place of the answer that is.

use std::borrow::Cow;

use http::HeaderMap;

use crate::capture::blocks::{BlockEdges, WholeBlock, whole_blocks};
use crate::capture::identity::{field, query_value};
use crate::capture::recording::Kept;
use crate::event::sse::Parser;

/// What a request says of what its client has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ReturnPosition {
    /// Nothing.
    Start,
    /// So many bytes.
    Bytes(u64),
    /// Everything up to the event with this id.
    After(String),
    /// Everything up to the event with this `sequence_number`.
    Sequence(i64),
    /// So many events; below zero: all but so many of those that there are.
    Index(i64),
}

/// A place of an answer where a reader can begin.
pub(super) struct ReadingPlace {
    pub(super) at: u64,
    pub(super) edges: BlockEdges,
    /// The index of the newest event, below zero where there is none; for those alone who count events.
    pub(super) tail: Option<i64>,
}

impl ReadingPlace {
    fn new(at: u64, edges: BlockEdges) -> Self {
        Self { at, edges, tail: None }
    }
}

/// The data of a block that says that nothing follows. Clients that count events do not count it.
const DONE: &[u8] = b"[DONE]";

impl ReturnPosition {
    /// What the header says goes first: a browser that reconnects repeats the query as it was.
    pub(super) fn of(query: Option<&str>, headers: &HeaderMap) -> Self {
        if let Some(id) = last_event_id(headers) {
            return Self::After(id.to_owned());
        }
        let query = query.unwrap_or_default();
        let said = |names: &[&str]| names.iter().find_map(|name| query_value(query, name));
        let number = |text: Cow<'_, str>| text.parse::<i64>().ok();
        if let Some(id) = said(&["lastEventId", "last_event_id"]) {
            Self::After(id.into_owned())
        } else if let Some(offset) = said(&["offset"]).and_then(number) {
            u64::try_from(offset).map_or(Self::Start, Self::Bytes)
        } else if let Some(number) = said(&["starting_after"]).and_then(number) {
            Self::Sequence(number)
        } else if let Some(number) = said(&["startIndex"]).and_then(number) {
            Self::Index(number)
        } else {
            Self::Start
        }
    }

    /// The place in what is kept of the answer `id`; None when that is not kept any more, or was never there.
    pub(super) fn place(&self, id: &str, kept: &Kept) -> Option<ReadingPlace> {
        let start = || (kept.base == 0).then(|| ReadingPlace::new(0, BlockEdges::new()));
        let behind = |block: WholeBlock<'_>| {
            ReadingPlace::new(kept.base + block.end as u64, BlockEdges::behind(block.number))
        };
        let front = |block: WholeBlock<'_>| {
            ReadingPlace::new(kept.base + block.start as u64, BlockEdges::behind(block.number - 1))
        };
        // A block of which the beginning was let go of is none.
        let is_whole = |block: &WholeBlock<'_>| kept.base == 0 || block.number > kept.before.begun();
        let blocks = || whole_blocks(&kept.text, kept.before.clone());
        match self {
            Self::Start => start(),
            Self::Bytes(0) => start(),
            Self::Bytes(bytes) => {
                let there = kept.base..=kept.base + kept.text.len() as u64;
                there.contains(bytes).then(|| ReadingPlace::new(*bytes, BlockEdges::default()))
            }
            Self::After(wanted) => {
                // An id may stand several times: the last of them is the one that a client keeps.
                blocks().filter(|block| is_named(block, id, wanted)).last().map(behind).or_else(start)
            }
            Self::Sequence(wanted) => {
                let has = |block: &WholeBlock<'_>| sequence(block).is_some_and(|number| number <= *wanted);
                blocks().filter(has).last().map(behind).or_else(start)
            }
            Self::Index(index) => {
                let counts = |block: &WholeBlock<'_>| data_of(block.text).is_some_and(|data| data != DONE);
                let events: Vec<WholeBlock<'_>> = blocks().filter(is_whole).filter(counts).collect();
                let index = match usize::try_from(*index) {
                    Ok(index) if kept.base == 0 => index,
                    Ok(_) => return None,
                    Err(_) => {
                        let last = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
                        events.len().saturating_sub(last)
                    }
                };
                let place = match events.get(index) {
                    Some(block) => Some(front(*block)),
                    None => events.last().copied().map(behind).or_else(start),
                };
                // What was let go of is not counted any more.
                let tail = i64::try_from(events.len()).ok().filter(|_| kept.base == 0).map(|count| count - 1);
                place.map(|place| ReadingPlace { tail, ..place })
            }
        }
    }

    /// Whether its client may have more than `kept`, which goes on.
    pub(super) fn is_ahead(&self, id: &str, kept: &Kept) -> bool {
        let mut blocks = whole_blocks(&kept.text, kept.before.clone());
        kept.ended.is_none()
            && match self {
                Self::Start | Self::Index(..0) => false,
                Self::Bytes(bytes) => *bytes > kept.base + kept.text.len() as u64,
                Self::After(wanted) => !blocks.any(|block| is_named(&block, id, wanted)),
                Self::Sequence(wanted) => {
                    !blocks.any(|block| sequence(&block).is_some_and(|number| number >= *wanted))
                }
                Self::Index(index) => {
                    let events = blocks.filter(|block| data_of(block.text).is_some()).count();
                    usize::try_from(*index).is_ok_and(|index| index > events)
                }
            }
    }
}

/// Whether `wanted` is the block's id, its own or the one that was added in the answer `id`.
fn is_named(block: &WholeBlock<'_>, id: &str, wanted: &str) -> bool {
    match own_number(id, wanted) {
        Some(number) => block.number == number,
        None => id_of(block.text).as_deref() == Some(wanted),
    }
}

fn sequence(block: &WholeBlock<'_>) -> Option<i64> {
    field(&data_of(block.text)?, "sequence_number")?.parse().ok()
}

/// The id that a client has got last.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().map(str::trim).filter(|id| !id.is_empty())
}

/// The number of the block that an id names which was added to the answer `id`.
pub(super) fn own_number(id: &str, event: &str) -> Option<u64> {
    event.strip_prefix(id)?.strip_prefix('-')?.parse().ok()
}

/// The data of a block, if it is an event.
pub(super) fn data_of(block: &[u8]) -> Option<Vec<u8>> {
    message(block).map(|message| message.data.into_bytes())
}

fn id_of(block: &[u8]) -> Option<String> {
    let mut parser = Parser::new("", block.len() * 3 + 1);
    let mut rest = block;
    while parser.next(&mut rest).ok()?.is_some() {}
    Some(parser.last_event_id().to_owned()).filter(|id| !id.is_empty())
}

fn message(block: &[u8]) -> Option<crate::event::sse::Message> {
    // Characters that are replaced by others take up to three times their room.
    Parser::new("", block.len() * 3 + 1).next(&mut &*block).ok()?
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
