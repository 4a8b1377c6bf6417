//! Sockets and cursors: shards that own the subscribers and write to each what the log holds for it.
//!
//! Live delivery, replay and a reader who is too slow are one operation: advance the cursor as far as the sink
//! takes it. No queue stands behind a subscriber. This room knows no HTTP but the chunk, no Redis and no JSON.

mod asked;
mod batch;
mod bind;
mod clock;
mod end;
mod follow;
mod holders;
mod index;
mod list;
mod mailbox;
mod meters;
mod pass;
mod random;
mod settings;
mod shard;
mod shards;
mod sink;
mod subscriber;
mod topics;
mod watch;
mod wheel;

pub use crate::fanout::asked::{
    Binding, MAX_TOKENS, Renewal, Renewed, Selector, StreamView, Times, TokenIds,
};
pub use crate::fanout::end::CloseReason;
pub use crate::fanout::list::{Filter, Listed};
pub use crate::fanout::settings::{Heartbeat, Settings};
pub use crate::fanout::shards::Fanout;
pub use crate::fanout::sink::{ChannelBody, Cut, Framing, Sink};
pub use crate::fanout::subscriber::Join;
pub use crate::fanout::watch::{StreamEnd, Watched, Watcher};

#[cfg(test)]
mod schedule_tests;
