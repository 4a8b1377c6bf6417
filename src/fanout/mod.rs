//! Sockets and cursors: shards that own the subscribers and write to each what the log holds for it.
//!
//! Live delivery, replay and a reader who is too slow are one operation: advance the cursor as far as the sink
//! takes it. No queue stands behind a subscriber. This room knows no HTTP but the chunk, no Redis, and of
//! JSON only the data of the events that are a stream's own.

mod about;
mod deadlines;
mod end;
mod holders;
mod index;
mod look;
mod mailbox;
mod meters;
mod quiet;
mod random;
mod requests;
mod scheduling;
mod settings;
mod shard;
mod shards;
mod sink;
mod snapshot;
mod snapshotting;
mod subscriber;
mod topics;
mod watcher;
mod wheel;

pub use crate::fanout::end::CloseReason;
pub use crate::fanout::look::{RouteLook, StreamLook};
pub use crate::fanout::requests::{
    Binding, Filter, Listed, MAX_TOKENS, Renewal, Renewed, Selector, StreamStart, StreamView, Times, TokenIds,
};
pub use crate::fanout::settings::{Heartbeat, Settings};
pub use crate::fanout::shards::Fanout;
pub use crate::fanout::sink::{ChannelReader, Cut, Framing, Sink};
pub use crate::fanout::snapshot::SnapshotWish;
pub use crate::fanout::subscriber::Join;
pub use crate::fanout::watcher::{StreamEnd, Watched, Watcher};

#[cfg(test)]
mod schedule_tests;
