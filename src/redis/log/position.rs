//! Where a reader stands in the stream, and what it is to read.

use std::time::Duration;

use crate::event::EventId;

/// Which part of the configuration the stream's reader needs.
#[derive(Clone, Debug)]
pub(in crate::redis) struct ReaderConfig {
    pub(in crate::redis) key: Box<[u8]>,
    /// Entries asked for at once.
    pub(in crate::redis) batch: usize,
    /// Longest text that is kept.
    pub(in crate::redis) max_text: usize,
    /// How long an answer may take.
    pub(in crate::redis) limit: Duration,
}

/// A place in the stream.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct ReadPosition {
    pub(in crate::redis) id: EventId,
    /// How many entries the stream had ever taken by then, where that is known.
    pub(in crate::redis) added: Option<u64>,
    /// Where the newest mark of a loss stands: a loss from before it has been reported.
    pub(in crate::redis) mark: Option<EventId>,
    /// The entry itself was taken back since, and deleted: an entry behind it says so.
    pub(in crate::redis) deleted: bool,
}

/// Where a stream begins that does not exist yet: no entry has this id.
pub(in crate::redis) const BEFORE_ALL: EventId = EventId { ms: 0, seq: 0, tag: None };

impl ReadPosition {
    /// One of which no more is known.
    pub(in crate::redis) fn at(id: EventId) -> Self {
        Self { id, added: None, mark: None, deleted: false }
    }

    pub(super) fn is_before_all(&self) -> bool {
        self.id == BEFORE_ALL
    }

    /// Whether the entry itself is asked for with a read.
    pub(super) fn is_asked_for(&self, judged: bool) -> bool {
        !judged && !self.is_before_all() && !self.deleted
    }
}
