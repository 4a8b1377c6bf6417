//! What an entry of the stream stands for in the log.

use crate::control::TopicAssignments;
use crate::event::EventId;
use crate::log::RecordKind;
use crate::redis::log::entry::{BadEntry, EntryKind, StreamMark};

/// Why an entry is no place of the log.
pub(in crate::redis) enum NoPlace {
    Foreign(BadEntry),
    /// It is a mark: what stood up to `after` may be missing.
    Lost {
        after: EventId,
    },
}

/// What an entry stands for in the log.
pub(in crate::redis) fn understood(
    what: EntryKind,
    topics: &TopicAssignments,
) -> Result<RecordKind, NoPlace> {
    match what {
        EntryKind::Event(event) => Ok(RecordKind::Event(event)),
        EntryKind::Change(text) => topics.read(&text).map_err(|_| NoPlace::Foreign(BadEntry::Topics)),
        EntryKind::StreamMark(StreamMark::Begin) => Ok(RecordKind::Nothing),
        EntryKind::StreamMark(StreamMark::Lost { after }) => Err(NoPlace::Lost { after }),
        EntryKind::Foreign(bad) => Err(NoPlace::Foreign(bad)),
    }
}
