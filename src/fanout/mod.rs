//! Sockets and cursors: shards that own the subscribers and write to each what the log holds for it.
//!
//! Live delivery, replay and a reader who is too slow are one operation: advance the cursor as far as the sink
//! takes it. No queue stands behind a subscriber. This room knows no HTTP but the chunk, no Redis and no JSON.

mod asked;
mod batch;
mod end;
mod follow;
mod index;
mod mailbox;
mod meters;
mod pass;
mod random;
mod settings;
mod shard;
mod shards;
mod sink;
mod subscriber;
mod wheel;

pub use asked::{Renewal, Renewed, Selector, Times};
pub use end::End;
pub use settings::{Heartbeat, Settings};
pub use shards::Fanout;
pub use sink::{ChannelBody, Cut, Framing, Sink};
pub use subscriber::Join;

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod schedule_tests;
