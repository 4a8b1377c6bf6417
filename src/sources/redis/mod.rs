//! Events over Redis channels: `<prefix>`, `<prefix>:topic:*`, and the operator's mapped ones.
//!
//! | file | is about |
//! |---|---|
//! | `channels` | what is subscribed to, and what a message of each subscription stands for |
//! | `delivery` | from what Redis delivers to events in the log |
//! | `subscription` | the connection that delivers: supervised, watched, made again for ever |
//! | `once` | the connection that tells what happens for the first time |
//! | `publisher` | the connection that publishes for `POST /publish` |
//! | `link` | what instances tell each other: one connection listens, another one tells |
//! | `connection` `resp` `address` `failure` | one connection, Redis's protocol, the URL, what goes wrong |
//!
//! A channel is at-most-once by Redis's own nature: what is published while we are away is lost, and said to be.

mod address;
mod channels;
mod connection;
mod delivery;
#[cfg(test)]
mod double;
mod failure;
mod link;
mod once;
mod publisher;
mod resp;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

pub use address::BadRedisUrl;
pub use delivery::Commands;
pub use link::{Hear, Link};
pub use once::RedisOnce;
pub use publisher::RedisPublisher;

use address::Address;
use channels::Channels;
use delivery::Delivery;
use subscription::Subscription;

use crate::config;
use crate::health::Reporter;
use crate::log::Log;
use crate::shutdown::Drain;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// Bound of connecting and of every answer.
    timeout: Duration,
    ping_interval: Duration,
    /// Longest pause between two attempts.
    max_backoff: Duration,
}

/// By how much a relayed envelope may be longer than the body it came in: the request's idempotency key is put in.
const RELAY_SLACK: usize = 1024;

/// Tells by the Redis of `settings` what happens for the first time on any instance, until `drain` starts.
pub fn start_once(settings: &config::Redis, drain: &Drain) -> Result<RedisOnce, BadRedisUrl> {
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    Ok(RedisOnce::start(Address::parse(&settings.url)?, timing, &settings.prefix, drain))
}

/// Appends what is published on the channels of `settings` to `log`, and publishes for `POST /publish`, until `drain`
/// starts: best one that starts after the streams are closed, so that these miss nothing while they wait for that.
/// Messages longer than `max_message` bytes are passed over. What instances tell each other goes to `commands`. Returns at
/// once; `health` tells when Redis is there.
pub fn start_redis(
    settings: &config::Redis,
    max_message: usize,
    log: Arc<Log>,
    commands: Commands,
    health: Reporter,
    drain: &Drain,
) -> Result<RedisPublisher, BadRedisUrl> {
    let address = Address::parse(&settings.url)?;
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    let delivery = Delivery::new(Channels::new(settings), log, commands);
    let max_text = max_message.saturating_add(RELAY_SLACK);
    let subscription = Subscription::new(address.clone(), timing, max_text, delivery, health);
    let listening = subscription.listening();
    drain.spawn(subscription.run(drain.clone()));
    Ok(RedisPublisher::start(address, timing, &settings.prefix, listening, drain))
}

/// Starts the link between the instances that share the Redis of `settings`, until `drain` starts; `hear` gets what
/// they tell, this one's own words too.
pub fn start_link(settings: &config::Redis, hear: Arc<dyn Hear>, drain: &Drain) -> Result<Link, BadRedisUrl> {
    let address = Address::parse(&settings.url)?;
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    Ok(Link::start(address, timing, &settings.prefix, hear, drain))
}
