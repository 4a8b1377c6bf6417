//! `[limits]`

use crate::config::parsers::whole;
use crate::config::schema::table::section;

/// The greatest number that a limit may be.
const MOST: usize = 100_000_000;

section! {
    /// Bounds on streams; 0 = no limit.
    pub struct Limits {
        /// Streams in all.
        streams: usize = value(100000, whole(0..=MOST));
        /// Streams of one client address.
        streams_per_address: usize = value(1000, whole(0..=MOST));
        /// Streams of one user.
        streams_per_user: usize = value(20, whole(0..=MOST));
        /// Topics of one stream.
        topics_per_stream: usize = value(100, whole(0..=MOST));
        /// Topics that all users, sessions and clients together may be given while their streams are open
        /// (docs/control.md); one of them may be given as many as `topics_per_stream` says.
        given_topics: usize = value(1000000, whole(0..=MOST));
        /// How often a page may change the topics of its own stream in a minute (`change_topics` of its `[[stream]]`); of
        /// streams on other instances, a caller may ask for ten times as much.
        topic_changes_per_minute: usize = value(60, whole(0..=1_000_000));
        /// How many of its topics' last events a fresh stream may ask for (?history=20); here 0 = none.
        history: usize = value(100, whole(0..=100_000));
    }
}
