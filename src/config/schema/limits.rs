//! `[limits]`

use std::time::Duration;

use crate::config::parsers::{memory_bound, quota, size, time, whole, word};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, GIB, KIB, MIB, MILLIS};
use crate::config::values::{ByteSize, MemoryBound};
use crate::pace::Quota;

/// What happens to a user's streams at their limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// No more are opened.
    Refuse,
    /// The oldest gives way.
    Replace,
}

/// The greatest number that a limit may be.
const MOST: usize = 100_000_000;

section! {
    /// Bounds on streams and rates; 0 = no limit. A rate such as "100/s" (or a count per "m" or "h") is a token bucket:
    /// so many come back in the time, and at most `burst` are there at once: "100/s burst=200". Without a burst it is
    /// as large as the count.
    pub struct Limits {
        /// Streams in all.
        streams: usize = value(100000, whole(0..=MOST));
        /// Streams of one client address.
        streams_per_address: usize = value(1000, whole(0..=MOST));
        /// Streams of one user.
        streams_per_user: usize = value(20, whole(0..=MOST));
        /// What happens when a user who has `streams_per_user` opens one more: "refuse" = it is refused, "replace" =
        /// the one that was opened first is closed, and told not to come back. The other limits always refuse: behind
        /// an address, and among all, are other people's streams.
        when_full: WhenFull = value("refuse", word([("refuse", WhenFull::Refuse), ("replace", WhenFull::Replace)]));
        /// Topics of one stream.
        topics_per_stream: usize = value(100, whole(0..=MOST));
        /// Topics that all users, sessions and clients together may be given while their streams are open
        /// (docs/control.md); one of them may be given as many as `topics_per_stream` says.
        given_topics: usize = value(1000000, whole(0..=MOST));
        /// How many topics that have ended are remembered, so that nobody gets them (docs/taking-back.md).
        ended_topics: usize = value(10000, whole(1..=MOST));
        /// For how long they are.
        ended_for: Duration = value("1d", time(MILLIS(100)..=30 * DAY));
        /// How often a page may change the topics of its own stream in a minute (`change_topics` of its `[[stream]]`);
        /// of streams on other instances, a caller may ask for ten times as much.
        topic_changes_per_minute: usize = value(60, whole(0..=1_000_000));
        /// How often one client address may send requests to the public listener that open no stream; beyond it they
        /// are answered with 429 and `Retry-After`.
        requests_per_address: Quota = value(0, quota);
        /// How often one client address may open a stream; beyond it streams are refused as `sse.refuse_with` says.
        openings_per_address: Quota = value(0, quota);
        /// How often one user may open a stream.
        openings_per_user: Quota = value(0, quota);
        /// How many events the holder of each publish key, and of each publisher's token, may publish over HTTP. An
        /// `[[internal.publisher]]` may have a rate of its own.
        publishes_per_key: Quota = value(0, quota);
        /// How often one user (or, without one, one session, token or address) may publish from pages
        /// (`page_publish` of a `[[stream]]`).
        page_publishes: Quota = value("120/m burst=30", quota);
        /// How many bytes the data of such an event may have.
        page_event: ByteSize = value("4KiB", size(0..=64 * KIB));
        /// How often they may ask who is on their topics (`page_presence`).
        page_presence: Quota = value("60/m burst=20", quota);
        /// How many addresses, users or keys each rate keeps count of, in 16 bytes each. Beyond it the ones that used
        /// least are forgotten.
        rate_keys: usize = value(65536, whole(8..=16_777_216));
        /// How much of an IPv6 address counts as one client address, in bits; in `streams_per_address`, too.
        ipv6_prefix: usize = value(64, whole(1..=128));
        /// How much memory may be used before `/readyz` turns to 503 and new streams are refused: a share of what there
        /// is (the control group's limit; without one, what the machine has), or a size for the process alone; 0 = no
        /// bound.
        memory: MemoryBound = value("90%", memory_bound);
        /// How many entries are noted of a connection where a `[[stream]]` has `meta`; here 0 = none. What is beyond it
        /// is left out.
        meta_entries: usize = value(16, whole(0..=64));
        /// How many bytes they may have together, names and texts.
        meta_bytes: usize = value(1024, whole(0..=16384));
        /// How many of its topics' last events a fresh stream may ask for (?history=20); here 0 = none.
        history: usize = value(100, whole(0..=100_000));
        /// Recorded answers at a time (`[[capture]]`). Beyond it those that ended first are forgotten; where none has
        /// ended, further answers are not recorded.
        captures: usize = value(1000, whole(1..=1_000_000));
        /// Memory for their bytes. Beyond it those that ended first are forgotten, then the oldest part of what grows.
        capture_bytes: ByteSize = value("256MiB", size(MIB..=1024 * GIB));
        /// Patterns of one stream (`patterns` of a `[[stream]]`), and of one user, session or client that is given
        /// some.
        patterns_per_stream: usize = value(10, whole(0..=MOST));
        /// Different patterns that all streams together may ask for; and how many patterns all users, sessions and
        /// clients together may be given.
        patterns: usize = value(10000, whole(0..=MOST));
        /// How much is remembered of which patterns match which topics, so that an event need not look for them: a
        /// topic counts for one, and for one more with each pattern that matches it. 0 = each event looks anew.
        remembered_topics: usize = value(100000, whole(0..=MOST));
    }
}
