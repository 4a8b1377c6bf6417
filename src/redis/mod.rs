//! All that goes through Redis: channels, the stream that is the log, what bridges the one into the other, what
//! instances tell each other, topics that are given, recorded answers, requests of a backend, and what happens once.
//!
//! A channel is at-most-once by Redis's own nature: what is published while we are away is lost, and every stream gets
//! a `reset`.

mod bridge;
mod bus;
mod captures;
mod channels;
mod client;
mod dedup;
#[cfg(test)]
mod double;
mod lease;
mod log;
mod rpc;
mod start;
mod topics;
mod upstreams;

pub use crate::redis::bus::RedisBus;
pub use crate::redis::channels::update::ChannelUpdates;
pub use crate::redis::client::url::BadRedisUrl;
pub use crate::redis::dedup::RedisFirstUse;
pub use crate::redis::log::record::CommandReaders;
pub use crate::redis::rpc::server::{Handling, RequestHandler};
pub use crate::redis::start::{
    RedisHandles, RedisLimits, start_bus, start_captures, start_first_use, start_redis, start_requests,
};

use crate::redis::start::Timing;
