//! Whether a stream begins with the state of its topics, and how far that is.

use crate::log::Position;

/// Whether a stream is for the state of its topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotWish {
    None,
    /// It has the state, and gets it anew when it has missed something.
    AfterReset,
    /// It begins with it.
    Now,
}

/// How far a subscriber's snapshot is.
pub(super) struct SnapshotCursor {
    /// Everything up to here is written, or begun.
    pub(super) at: Position,
    /// Where it ends, and the stream goes on behind.
    pub(super) until: Position,
    /// Events that were begun.
    pub(super) sent: u64,
}

impl SnapshotCursor {
    pub(super) fn new(until: Position) -> Self {
        Self { at: Position::default(), until, sent: 0 }
    }
}
