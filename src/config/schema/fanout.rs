//! `[fanout]`

use crate::config::parsers::whole;
use crate::config::schema::table::section;

section! {
    /// The threads that write to the streams.
    pub struct Fanout {
        /// How many (up to 64); 0 = one a core.
        shards: usize = value(0, whole(0..=64));
    }
}
