//! Where events come in.

mod publish;
mod redis;

pub use publish::{
    BadPublish, Heading, Manner, Outgoing, Publish, Published, Receipt, Relay, RelayError, Relayed, Relaying,
};
pub use redis::{
    Answering, BadRedisUrl, Changes, Hear, Link, RedisCommands, RedisDuty, RedisOnce, RedisWays, Serving,
    start_link, start_once, start_redis, start_requests,
};
