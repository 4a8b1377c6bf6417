//! The rows of the table, each a file: what is set up, what is done, what is measured.

mod channel;
mod collapsed;
mod compare;
mod crowd;
mod idle;
mod light;
mod patterns;
mod proxied;
mod redis_log;
mod saturated;
mod shards;
mod stalled;
mod steady;
mod storm;
mod topics;

pub(crate) use compare::{Bench, Context, Outcome};

/// A row by name.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Bench) -> Outcome,
}

/// In the order in which they run.
pub(crate) const ROWS: [Row; 17] = [
    Row {
        name: "steady",
        about: "one topic at a fixed rate: CPU a delivery, time to the last reader",
        run: steady::run,
    },
    Row {
        name: "light",
        about: "one topic at a rate that leaves every server most of its core: time to the last reader",
        run: light::run,
    },
    Row { name: "saturated", about: "one topic as fast as it goes", run: saturated::run },
    Row { name: "topics", about: "a topic a stream, published over HTTP", run: topics::run },
    Row { name: "patterns", about: "a pattern a stream, published over HTTP", run: patterns::run },
    Row { name: "channel", about: "a topic a stream, published over a Redis channel", run: channel::run },
    Row {
        name: "collapsed",
        about: "the backend's own stream, read once for all, beside a published one",
        run: collapsed::run,
    },
    Row { name: "idle", about: "silent streams: memory, heartbeats", run: idle::run },
    Row { name: "storm", about: "all streams reconnect at once, each some events behind", run: storm::run },
    Row { name: "stalled", about: "readers that never read", run: stalled::run },
    Row { name: "crowd", about: "very many streams at a low rate", run: crowd::run },
    Row { name: "shards", about: "two shards on two cores", run: shards::run },
    Row { name: "proxied", about: "ordinary requests to the backend", run: proxied::run },
    Row { name: "added", about: "a topic a stream, added to the Redis stream", run: redis_log::added },
    Row { name: "published", about: "a publish's way, by memory and by Redis", run: redis_log::published },
    Row { name: "loaded", about: "a start with a full Redis stream", run: redis_log::loaded },
    Row { name: "returned", about: "Redis was away and is back", run: redis_log::returned },
];
