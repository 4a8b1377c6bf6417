//! `[log]`

use std::time::Duration;

use crate::config::parsers::{size, time, whole};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, GIB, KIB, MILLIS};
use crate::config::values::ByteSize;

section! {
    /// What is kept in memory for clients that come back. Whichever bound is met first lets go of the oldest.
    pub struct Log {
        /// Events kept.
        max_events: usize = value(100000, whole(1..=100_000_000));
        /// Memory for them.
        max_bytes: ByteSize = value("256MiB", size(4 * KIB..=1024 * GIB));
        /// How long they are kept.
        max_age: Duration = value("10m", time(MILLIS(100)..=30 * DAY));
        /// Where a `[[stream]]` has `snapshot`: how many `coalesce` keys of one topic its state may have.
        snapshot_keys: usize = value(1000, whole(1..=1_000_000));
        /// Memory for the newest events of keys that the log has let go of.
        snapshot_bytes: ByteSize = value("16MiB", size(4 * KIB..=1024 * GIB));
        /// How long an idempotency key is remembered, so that a repeated publish counts once.
        idempotency_window: Duration = value("10m", time(MILLIS(100)..=DAY));
    }
}
