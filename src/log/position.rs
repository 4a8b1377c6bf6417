//! Places in the log.

use crate::event::EventId;

/// A place in the log. Dense: the next event's is one more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

impl Position {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before; there is none before the first event's but 0.
    pub fn prev(self) -> Self {
        Self(self.0 - 1)
    }
}

/// A position that a stream may start behind, and the id that says so on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub position: Position,
    pub id: EventId,
}
