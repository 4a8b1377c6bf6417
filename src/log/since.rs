//! Where a time is in the log.

use crate::log::entry::{Entry, Reset};
use crate::log::position::Cursor;
use crate::log::store::Store;

impl Store {
    /// The cursor behind which everything stands that was published at or after `ms`, or why that is not kept.
    pub(super) fn since(&self, ms: u64) -> Result<Cursor, Reset> {
        let before = self.entries.partition_point(|entry| entry.id.is_some_and(|id| id.ms < ms));
        match before.checked_sub(1).map(|last| &*self.entries[last]) {
            Some(Entry { position, id: Some(id), .. }) => Ok(Cursor { position: *position, id: *id }),
            _ if self.trimmed.id.ms < ms => Ok(self.trimmed),
            _ => Err(self.why_trimmed),
        }
    }
}
