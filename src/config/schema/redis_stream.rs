//! `[redis.stream]`

use std::time::Duration;

use crate::config::parsers::{size, stream_key, time, time_or_zero, whole, word, yes_or_no};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, GIB, KIB, MILLIS, MINUTE};
use crate::config::section_reader::SectionReader;
use crate::config::values::ByteSize;

/// How exactly the stream is held to its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trim {
    /// As Redis finds it cheap: some hundred entries more may stay.
    Approximate,
    Exact,
}

section! {
    /// The log in a Redis stream: the same ids on every instance, and it outlives a restart of any of them. Without
    /// this section the log is in memory. What each instance holds of the stream for clients that come back is bounded
    /// by `[log]`.
    pub struct RedisStream without default {
        /// The stream's key; by default the prefix with ":log" behind it.
        key: String = value("sidestream:log", stream_key);
        /// Events that the stream holds; older ones are trimmed.
        // Fewer, and what is read could be trimmed before it is.
        max_events: usize = value(1000000, whole(1000..=1_000_000_000));
        /// About how much memory of Redis it may take, as `MEMORY USAGE` tells it every ten seconds (a right of its own
        /// in an ACL); older events are trimmed, 100 stay in any case. 0 = as much as `max_events` take.
        max_bytes: ByteSize = value(0, size(0..=65_536 * GIB));
        /// How old its events may get; 0 = as old as `max_events` lets them.
        max_age: Duration = value(0, time_or_zero(MINUTE..=30 * DAY));
        /// "approximate" (cheap: some hundred more may stay) or "exact".
        trim: Trim = value("approximate", word([("approximate", Trim::Approximate), ("exact", Trim::Exact)]));
        /// How long Redis may take to answer an append.
        timeout: Duration = value("2s", time(MILLIS(10)..=MINUTE));
        /// How many entries are read at once.
        batch: usize = value(1000, whole(1..=10_000));
        /// Whether what is published on the channels "sidestream" and "sidestream:topic:name-of-the-topic" goes into
        /// the stream as well, by one of the instances: it gains ids, and clients that come back get it. For other
        /// channels it is said at each of them.
        bridge: bool = value(false, yes_or_no);
        /// How long the right to do that lasts unless its holder renews it: another instance goes on that much after a
        /// crash.
        bridge_lease: Duration = value("5s", time(MILLIS(500)..=MINUTE));
        /// How much each instance keeps of such messages until it knows them to be in the stream; the oldest give way.
        bridge_buffer: ByteSize = value("64MiB", size(64 * KIB..=16 * GIB));
        /// How long the right to read a stream of the application for all instances, or to ask it for an answer
        /// (`source` in `[[stream]]`), lasts unless its holder renews it: another instance goes on that much after a
        /// crash.
        source_lease: Duration = value("5s", time(MILLIS(500)..=MINUTE));
    }
}

impl RedisStream {
    /// The defaults for a stream at `key`.
    pub fn at(key: String) -> Self {
        Self { key, ..Self::defaults() }
    }

    /// The section below `[redis]`, whose prefix begins the default of `key`.
    pub(super) fn read_below(s: &mut SectionReader<'_, '_>, prefix: &str) -> Option<Self> {
        let stream = s.optional_section("redis.stream", "stream", Self::read)?;
        let given = s.given("stream.key");
        Some(if given { stream } else { Self { key: format!("{prefix}:log"), ..stream } })
    }
}
