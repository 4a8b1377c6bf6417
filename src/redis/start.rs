//! What is started where Redis is configured: the connections, and who shares what.

use std::sync::Arc;
use std::time::Duration;

use crate::capture::{HolderInbox, RecordingStore};
use crate::config;
use crate::control::{Control, TakeBackBus, TopicBus, TopicBusError};
use crate::future::BoxFuture;
use crate::health::Health;
use crate::log::Log;
use crate::publish::Relay;
use crate::redis::bridge::leader::{Bridge, BridgeConfig};
use crate::redis::bridge::lease::BridgeLease;
use crate::redis::bridge::tap::ChannelTap;
use crate::redis::bus::RedisBus;
use crate::redis::captures::names::CaptureKeys;
use crate::redis::captures::store::CaptureStore;
use crate::redis::channels::ingest::{CommandHandler, Ingest};
use crate::redis::channels::publisher::RedisPublisher;
use crate::redis::channels::subscriber::ChannelSubscriber;
use crate::redis::channels::subscriptions::Channels;
use crate::redis::channels::update::ChannelUpdates;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::exchange::Undone;
use crate::redis::client::slot::sharded_channel;
use crate::redis::client::url::BadRedisUrl;
use crate::redis::dedup::RedisFirstUse;
use crate::redis::log::append::{AppendCommands, dedup_keys};
use crate::redis::log::position::ReaderConfig;
use crate::redis::log::reader::StreamReader;
use crate::redis::log::record::CommandReaders;
use crate::redis::log::writer::StreamWriter;
use crate::redis::rpc::codec::RpcKeys;
use crate::redis::rpc::server::{RequestHandler, RpcServer};
use crate::redis::topics::store::hash_name;
use crate::redis::topics::writer::{TopicStore, TopicWriter};
use crate::redis::upstreams::UpstreamLeases;
use crate::shutdown::Drain;
use crate::upstream::StreamLeases;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Bound of connecting and of every answer.
    pub(super) timeout: Duration,
    pub(super) ping_interval: Duration,
    /// Longest pause between two attempts.
    pub(super) max_backoff: Duration,
}

impl Timing {
    fn new(settings: &config::Redis) -> Self {
        Self {
            timeout: settings.timeout,
            ping_interval: settings.ping_interval,
            max_backoff: settings.max_backoff,
        }
    }
}

/// By how much a relayed envelope may be longer than the body it came in: the request's idempotency key is put in.
const RELAY_SLACK: usize = 1024;

/// How long the path, the headers and the rest of a request over Redis may be.
const REQUEST_SLACK: usize = 64 << 10;

/// By how much a bridged message, or an event of the application, may grow: a raw text becomes a JSON string, which
/// spells a control character in six.
const QUOTING: usize = 6;

/// What this room needs of the rest of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct RedisLimits {
    /// Longer messages and entries are passed over.
    pub max_message: usize,
    /// How long Redis remembers an idempotency key.
    pub idempotency_window: Duration,
    /// The largest event that is read of the application; 0 = none is.
    pub max_source_event: usize,
}

/// The ways out to Redis.
pub struct RedisHandles {
    /// For `POST /publish`.
    pub relay: Arc<dyn Relay>,
    /// For what instances tell each other in the order of the events.
    pub peers: Arc<dyn TopicBus>,
    /// For what is taken back.
    pub take_backs: Arc<dyn TakeBackBus>,
    /// For other channels than those of the beginning.
    pub channels: ChannelUpdates,
    /// Who reads which stream of the application, where the log is shared.
    pub leases: Option<Arc<dyn StreamLeases>>,
}

/// Tells every instance, this one too, what is asked of all, in a place among the events.
enum TopicChanges {
    Channel(RedisPublisher),
    Stream(StreamWriter),
}

impl TopicBus for TopicChanges {
    fn tell(&self, command: Vec<u8>) -> BoxFuture<'_, Result<(), TopicBusError>> {
        Box::pin(async move {
            let told = match self {
                Self::Channel(publisher) => publisher.tell(command).await,
                Self::Stream(writer) => writer.tell(command.into()).await,
            };
            told.map_err(TopicBusError::from)
        })
    }
}

impl From<Undone> for TopicBusError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Unreachable => Self::Nothing,
            Undone::Refused(error) => Self::Refused(error.into()),
            Undone::Unknown => Self::Perhaps,
        }
    }
}

/// Tells by the Redis of `settings` which tickets are used for the first time on any instance, until `drain` starts.
pub fn start_first_use(settings: &config::Redis, drain: &Drain) -> Result<RedisFirstUse, BadRedisUrl> {
    let prefix = &settings.prefix;
    // In a Cluster all of them lie in one slot.
    let keys =
        if settings.nodes.is_empty() { format!("{prefix}:ticket:") } else { format!("{prefix}:{{ticket}}:") };
    let endpoint = Arc::new(Endpoint::new(settings, &keys)?);
    Ok(RedisFirstUse::start(endpoint, Timing::new(settings), keys, drain))
}

/// Appends what is published on the channels of `settings` to `log`, keeps `log` a copy of the stream where there is
/// one, and gives back the ways out; until `drain` starts: best one that starts after the streams are closed, so that
/// these miss nothing while they wait for that. What instances tell each other is read by `readers`.
/// Returns at once; `health` tells when Redis is there.
pub fn start_redis(
    settings: &config::Redis,
    limits: RedisLimits,
    log: &Arc<Log>,
    readers: &CommandReaders,
    health: &Health,
    drain: &Drain,
) -> Result<RedisHandles, BadRedisUrl> {
    let (key, timing) = (stream_key(settings), Timing::new(settings));
    let endpoint = Arc::new(Endpoint::new(settings, key)?);
    let mut channels = Channels::new(settings);
    let sharded = (!settings.nodes.is_empty()).then(|| sharded_channel(&settings.prefix, key));
    if let Some(sharded) = &sharded {
        channels.add_sharded(sharded);
    }
    let max_text = limits.max_message.saturating_add(RELAY_SLACK);
    let bridged = settings.stream.as_ref().filter(|_| channels.is_bridged());
    let tap = bridged.map(|stream| {
        let max_bytes = usize::try_from(stream.bridge_buffer.0).unwrap_or(usize::MAX);
        ChannelTap::new(&settings.prefix, channels.bridged(), max_text, max_bytes)
    });

    let store = Arc::new(TopicStore::new(hash_name(&settings.prefix, key)));
    let follows = settings.stream.is_some();
    let writer =
        TopicWriter::new(Arc::clone(&endpoint), timing, Arc::clone(log), Arc::clone(&store), follows);
    drain.spawn_essential("redis topics", writer.run(drain.clone()));

    let ingest = Ingest::new(channels, Arc::clone(log), on_command(readers, &store), tap.clone());
    let subscriber = ChannelSubscriber::new(Arc::clone(&endpoint), timing, max_text, ingest);
    let (channels, updates) = ChannelUpdates::new(settings, sharded.clone());
    let subscriber = subscriber.with_store(Arc::clone(&store)).with_updates(updates);
    let listening = subscriber.listening();
    drain.spawn_essential("redis channels", subscriber.run(health.depend_on("redis", true), drain.clone()));

    let Some(stream) = &settings.stream else {
        let health = health.depend_on("redis_publish", false);
        let publisher = RedisPublisher::start(endpoint, timing, &settings.prefix, listening, health, drain);
        let peers = Arc::new(TopicChanges::Channel(publisher.clone()));
        let take_backs = Arc::new(publisher.clone());
        return Ok(RedisHandles { relay: Arc::new(publisher), peers, take_backs, channels, leases: None });
    };
    let max_text = if tap.is_some() { max_text.saturating_mul(QUOTING) } else { max_text };
    let of_sources = limits.max_source_event.saturating_mul(QUOTING);
    let max_text = max_text.max(of_sources.saturating_add(RELAY_SLACK));
    let config = ReaderConfig {
        key: stream.key.as_bytes().into(),
        batch: stream.batch,
        max_text,
        limit: settings.timeout,
    };
    let reader =
        StreamReader::new(Arc::clone(&endpoint), config, timing, Arc::clone(log), readers.clone(), store);
    drain.spawn_essential("redis stream", reader.run(health.depend_on("redis_stream", true), drain.clone()));
    if let Some(tap) = tap {
        let keys = dedup_keys(stream, &settings.prefix);
        let config = BridgeConfig {
            endpoint: Arc::clone(&endpoint),
            timing,
            lease: BridgeLease::new(stream, &settings.prefix, keys, limits.idempotency_window),
            length: stream.bridge_lease,
            stream: stream.key.as_bytes().into(),
            max_text,
            tap,
        };
        let bridge = Bridge::new(config, health.depend_on("redis_bridge", true));
        drain.spawn_essential("redis bridge", bridge.run(drain.clone()));
    }
    let of_stream = (stream, settings.prefix.as_str());
    let leases = UpstreamLeases::start(Arc::clone(&endpoint), timing, of_stream, max_text, drain);
    let commands = AppendCommands::new(stream, &settings.prefix, sharded, limits.idempotency_window);
    let health = health.depend_on("redis_append", false);
    let writer = StreamWriter::start(endpoint, timing, stream.timeout, commands, health, drain);
    let peers = Arc::new(TopicChanges::Stream(writer.clone()));
    let take_backs = Arc::new(writer.clone());
    let leases: Option<Arc<dyn StreamLeases>> = Some(Arc::new(leases));
    Ok(RedisHandles { relay: Arc::new(writer), peers, take_backs, channels, leases })
}

/// The key that decides on the node of a Cluster.
fn stream_key(settings: &config::Redis) -> &str {
    settings.stream.as_ref().map_or(&settings.prefix, |stream| &stream.key)
}

/// Does what is asked of all over a channel: changes of topics, their ends, and what is taken back.
fn on_command(readers: &CommandReaders, store: &Arc<TopicStore>) -> CommandHandler {
    let (readers, store) = (readers.clone(), Arc::clone(store));
    Arc::new(move |text| {
        if readers.take_backs.heard(text) || readers.ends.heard(text) {
            return true;
        }
        let is_known = readers.topics.heard(text).is_ok();
        store.changed();
        is_known
    })
}

/// Starts the bus between the instances that share the Redis of `settings`, until `drain` starts; `control` gets what
/// they tell, this one's own words too.
pub fn start_bus(
    settings: &config::Redis,
    control: Arc<Control>,
    drain: &Drain,
) -> Result<RedisBus, BadRedisUrl> {
    let endpoint = Arc::new(Endpoint::new(settings, &RedisBus::kept(&settings.prefix))?);
    Ok(RedisBus::start(endpoint, Timing::new(settings), &settings.prefix, control, drain))
}

/// Starts what instances share recorded answers by in the Redis of `settings`, until `drain` starts. The others know
/// this one as `me`; `inbox` hears what they tell it.
pub fn start_captures(
    settings: &config::Redis,
    me: &str,
    inbox: Arc<dyn HolderInbox>,
    drain: &Drain,
) -> Result<Arc<dyn RecordingStore>, BadRedisUrl> {
    let (key, timing) = (stream_key(settings), Timing::new(settings));
    let endpoint = Arc::new(Endpoint::new(settings, key)?);
    let keys = CaptureKeys::new(&settings.prefix, key);
    Ok(Arc::new(CaptureStore::start(endpoint, timing, keys, me.into(), inbox, drain)))
}

/// Starts to take requests from the list in the Redis of `settings`, until `drain` starts; `handler` answers them. A
/// body may have `max_body` bytes.
pub fn start_requests(
    settings: &config::Redis,
    max_body: usize,
    handler: Arc<dyn RequestHandler>,
    drain: &Drain,
) -> Result<(), BadRedisUrl> {
    let prefix = &settings.prefix;
    let endpoint = Arc::new(Endpoint::new(settings, &RpcKeys::list(prefix))?);
    // A body that is text spells each quote in two.
    let max_text = max_body.saturating_mul(2).saturating_add(REQUEST_SLACK);
    RpcServer::start(endpoint, Timing::new(settings), prefix, max_text, handler, drain);
    Ok(())
}
