//! Where events come in.

mod publish;
mod redis;

pub use publish::{BadPublish, Publish, Published, Receipt, Relay, RelayError};
pub use redis::{BadRedisUrl, RedisOnce, RedisPublisher, start_once, start_redis};
