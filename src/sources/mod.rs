//! Where events come in.

mod publish;
mod redis;

pub use publish::{BadPublish, Publish, Published, Receipt, Relay, RelayError};
pub use redis::{
    BadRedisUrl, Commands, Hear, Link, RedisOnce, RedisPublisher, start_link, start_once, start_redis,
};
