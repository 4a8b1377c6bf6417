//! Where events come in.

mod publish;
mod redis;

pub use publish::{BadPublish, Publish, Published, Receipt, Relay, RelayError};
pub use redis::{BadRedisUrl, Commands, RedisPublisher, start_redis};
