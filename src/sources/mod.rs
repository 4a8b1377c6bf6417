//! Where events come in.

mod publish;
mod redis;

pub use publish::{BadPublish, Outgoing, Publish, Published, Receipt, Relay, RelayError, Relayed, Relaying};
pub use redis::{
    BadRedisUrl, Hear, Heard, Link, RedisDuty, RedisOnce, RedisPublisher, RedisWays, start_link, start_once,
    start_redis,
};
