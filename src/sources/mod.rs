//! Where events come in.

mod publish;
mod redis;

pub use publish::{
    BadPublish, Heading, Manner, Outgoing, Publish, Published, Receipt, Relay, RelayError, Relayed, Relaying,
};
pub use redis::{
    BadRedisUrl, Changes, Hear, Link, RedisCommands, RedisDuty, RedisOnce, RedisWays, start_link, start_once,
    start_redis,
};
