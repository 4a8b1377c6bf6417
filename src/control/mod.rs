//! What operators and backends ask of the streams that are open.
//!
//! Whatever is asked here is a command: it is told to every instance where there are several, and each does its part.
//! This room knows no HTTP and no Redis; who tells the others is given to it.

mod topics;

pub use topics::{Answer, BadTopics, NotTold, Owner, Peers, Refused, Topics, parse_change, parse_set};
