//! Events over Redis: the channels `<prefix>`, `<prefix>:topic:*` and the operator's mapped ones; and the stream that is
//! the log, where one is configured.
//!
//! | file | is about |
//! |---|---|
//! | `channels` | what is subscribed to, and what a message of each subscription stands for |
//! | `delivery` | from what Redis delivers to events in the log |
//! | `subscription` | the connection that delivers: supervised, watched, made again for ever |
//! | `once` | the connection that tells what happens for the first time |
//! | `publisher` | the connection that publishes for `POST /publish` |
//! | `tail` | the connection that follows the stream: supervised, probed, made again for ever |
//! | `load` `entry` `stream_state` `census` | its start, one entry, what became of the stream, what Redis lacks |
//! | `given` `claim` `keeper` | what users and sessions are given: the hash that keeps it; who reads it, and who writes it |
//! | `append` | the connection that appends to the stream for `POST /publish` |
//! | `bridge` `ear` `heard` `lease` `stream_end` | from channels to the stream, on one instance: the task, what it hears, in which order, whose turn it is, what it wrote last |
//! | `link` | what instances tell each other: one connection listens, another one tells |
//! | `once` | what happens once on all instances |
//! | `requests` `question` `answers` | what a backend asks over Redis: taking, the text of request and answer, the connection that answers |
//! | `server` `slot` | which Redis: one, the master of Sentinels, a node of a Cluster |
//! | `connection` `resp` `token` `address` `backoff` `failure` | one connection, Redis's protocol, the URL, what goes wrong |
//!
//! A channel is at-most-once by Redis's own nature: what is published while we are away is lost, and said to be.

mod bridge;
mod bus;
mod channels;
mod client;
mod dedup;
#[cfg(test)]
mod double;
mod log;
mod rpc;
mod topics;

use std::sync::Arc;
use std::time::Duration;

pub use crate::redis::bus::{Hear, Link};
pub use crate::redis::client::url::BadRedisUrl;
pub use crate::redis::dedup::RedisOnce;
pub use crate::redis::rpc::server::{Answering, Serving};

use crate::redis::bridge::leader::{Banks, Bridge};
use crate::redis::bridge::lease::Lease;
use crate::redis::bridge::tap::Ear;
use crate::redis::channels::ingest::{Delivery, Heard};
use crate::redis::channels::mapping::Channels;
use crate::redis::channels::publisher::RedisPublisher;
use crate::redis::channels::subscriber::Subscription;
use crate::redis::client::endpoint::Server;
use crate::redis::log::reader::{Reading, Tail};
use crate::redis::log::writer::{Appender, Commands, once_keys};
use crate::redis::rpc::codec::Keys;
use crate::redis::rpc::server::Requests;
use crate::redis::topics::store::hash_name;
use crate::redis::topics::writer::{Hash, Keeper};

use crate::config;
use crate::health::Health;
use crate::log::{EditOutcome, Log, RecordKind};
use crate::publish::{Relay, RelayError};
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

/// How long the path, the headers and the rest of a request over Redis may be.
const REQUEST_SLACK: usize = 64 << 10;

/// By how much a bridged message may grow: a raw text becomes a JSON string, which spells a control character in six.
const QUOTING: usize = 6;

/// Tells by the Redis of `settings` what happens for the first time on any instance, until `drain` starts.
pub fn start_once(settings: &config::Redis, drain: &Drain) -> Result<RedisOnce, BadRedisUrl> {
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    let prefix = &settings.prefix;
    // In a Cluster all of them lie in one slot.
    let keys =
        if settings.nodes.is_empty() { format!("{prefix}:ticket:") } else { format!("{prefix}:{{ticket}}:") };
    let server = Arc::new(Server::new(settings, &keys)?);
    Ok(RedisOnce::start(server, timing, keys, drain))
}

/// What Redis is to do, beside what its section says.
#[derive(Clone, Copy, Debug)]
pub struct RedisDuty {
    /// Longer messages and entries are passed over.
    pub max_message: usize,
    /// How long Redis remembers an idempotency key.
    pub idempotency_window: Duration,
}

/// The ways out to Redis.
pub struct RedisWays {
    /// For `POST /publish`.
    pub relay: Arc<dyn Relay>,
    /// For what instances tell each other in the order of the events.
    pub commands: RedisCommands,
}

/// Tells every instance, this one too, what is asked of all, in a place among the events.
pub struct RedisCommands(Way);

enum Way {
    Channel(RedisPublisher),
    Stream(Appender),
}

impl RedisCommands {
    pub async fn tell(&self, command: Vec<u8>) -> Result<(), RelayError> {
        match &self.0 {
            Way::Channel(publisher) => publisher.tell(command).await,
            Way::Stream(appender) => appender.tell(command.into()).await,
        }
    }
}

/// Understands what instances, or the backend itself, tell each other of given topics.
pub trait Changes: Send + Sync {
    /// Makes the change that a text asks for; false when it asks for none that is known.
    fn hear(&self, text: &[u8]) -> bool;

    /// What a text asks for, where the log makes the change in its place; None when it asks for none that is known.
    fn read(&self, text: &[u8]) -> Option<RecordKind>;

    /// Takes note of what the log has made of them.
    fn made(&self, made: Vec<EditOutcome>);
}

/// Appends what is published on the channels of `settings` to `log`, keeps `log` a copy of the stream where there is
/// one, and gives back the ways out; until `drain` starts: best one that starts after the streams are closed, so that
/// these miss nothing while they wait for that. What instances tell each other is understood by `changes`. Returns at
/// once; `health` tells when Redis is there.
pub fn start_redis(
    settings: &config::Redis,
    duty: RedisDuty,
    log: &Arc<Log>,
    changes: Arc<dyn Changes>,
    health: &Health,
    drain: &Drain,
) -> Result<RedisWays, BadRedisUrl> {
    let key = settings.stream.as_ref().map_or(&settings.prefix, |stream| &stream.key);
    let server = Arc::new(Server::new(settings, key)?);
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    let mut channels = Channels::new(settings);
    let sharded = (!settings.nodes.is_empty()).then(|| client::slot::sharded_channel(&settings.prefix, key));
    if let Some(sharded) = &sharded {
        channels.add_sharded(sharded);
    }
    let hash = Arc::new(Hash::new(hash_name(&settings.prefix, key)));
    let keeper = Keeper::new(
        Arc::clone(&server),
        timing,
        Arc::clone(log),
        Arc::clone(&hash),
        settings.stream.is_some(),
    );
    let (heard, changed) = (Arc::clone(&changes), Arc::clone(&hash));
    let commands: Heard = Arc::new(move |text| {
        let known = heard.hear(text);
        changed.changed();
        known
    });
    let max_text = duty.max_message.saturating_add(RELAY_SLACK);
    let bridged = settings.stream.as_ref().filter(|_| channels.is_bridged());
    let ear = bridged.map(|stream| {
        let max_bytes = usize::try_from(stream.bridge_buffer.0).unwrap_or(usize::MAX);
        Ear::new(&settings.prefix, channels.bridged(), max_text, max_bytes)
    });
    let delivery = Delivery::new(channels, Arc::clone(log), commands, ear.clone());
    let reporter = health.depend_on("redis", true);
    let subscription = Subscription::new(Arc::clone(&server), timing, max_text, delivery, reporter);
    let subscription = subscription.telling(Arc::clone(&hash));
    let listening = subscription.listening();
    drain.spawn_essential("redis channels", subscription.run(drain.clone()));
    drain.spawn_essential("redis topics", keeper.run(drain.clone()));
    let Some(stream) = &settings.stream else {
        let publisher = RedisPublisher::start(server, timing, &settings.prefix, listening, drain);
        let commands = RedisCommands(Way::Channel(publisher.clone()));
        return Ok(RedisWays { relay: Arc::new(publisher), commands });
    };
    let max_text = if ear.is_some() { max_text.saturating_mul(QUOTING) } else { max_text };
    let reading =
        Reading { key: stream.key.as_bytes().into(), batch: stream.batch, max_text, limit: settings.timeout };
    let reporter = health.depend_on("redis_stream", true);
    let tail = Tail::new(Arc::clone(&server), reading, timing, Arc::clone(log), changes, hash, reporter);
    drain.spawn_essential("redis stream", tail.run(drain.clone()));
    if let Some(ear) = ear {
        let once = once_keys(stream, &settings.prefix);
        let lease = Lease::new(stream, &settings.prefix, once, duty.idempotency_window);
        let (server, length) = (Arc::clone(&server), stream.bridge_lease);
        let stream = stream.key.as_bytes().into();
        let banks = Banks { server, timing, lease, length, stream, max_text, ear };
        let bridge = Bridge::new(banks, health.depend_on("redis_bridge", true));
        drain.spawn_essential("redis bridge", bridge.run(drain.clone()));
    }
    let commands = Commands::new(stream, &settings.prefix, sharded, duty.idempotency_window);
    let appender = Appender::start(server, timing, stream.timeout, commands, drain);
    let commands = RedisCommands(Way::Stream(appender.clone()));
    Ok(RedisWays { relay: Arc::new(appender), commands })
}

/// Starts the link between the instances that share the Redis of `settings`, until `drain` starts; `hear` gets what
/// they tell, this one's own words too.
pub fn start_link(settings: &config::Redis, hear: Arc<dyn Hear>, drain: &Drain) -> Result<Link, BadRedisUrl> {
    let server = Arc::new(Server::new(settings, &Link::kept(&settings.prefix))?);
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    Ok(Link::start(server, timing, &settings.prefix, hear, drain))
}

/// Starts to take requests from the list in the Redis of `settings`, until `drain` starts; `clerk` answers them. A body may
/// have `max_body` bytes.
pub fn start_requests(
    settings: &config::Redis,
    max_body: usize,
    clerk: Arc<dyn Answering>,
    drain: &Drain,
) -> Result<(), BadRedisUrl> {
    let prefix = &settings.prefix;
    let server = Arc::new(Server::new(settings, &Keys::list(prefix))?);
    let timing = Timing {
        timeout: settings.timeout,
        ping_interval: settings.ping_interval,
        max_backoff: settings.max_backoff,
    };
    // A body that is text spells each quote in two.
    let max_text = max_body.saturating_mul(2).saturating_add(REQUEST_SLACK);
    Requests::start(server, timing, prefix, max_text, clerk, drain);
    Ok(())
}
