//! What instances tell each other, on `<prefix>:control`: one connection listens, another one tells.
//!
//! What has to reach instances that are away is kept in the sorted set `<prefix>:revocations` until its time is over by
//! the clock of Redis, and read whenever listening begins: after the subscription stands, so that nothing falls
//! between. This file must not know what a message means.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use crate::control::{Bus, BusError, Control, Sending};
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::exchange::{Exchange, Repeat, Verdict};
use crate::redis::client::outbox::Outbox;
use crate::redis::client::outbox_config::OutboxConfig;
use crate::redis::client::resp::{RespReply, write_command};
use crate::redis::client::supervise::{ConnectionStatus, Purpose, Supervised, supervise, until_drain};
use crate::shutdown::Drain;

const TELLING: Purpose = Purpose {
    label: "control",
    connected: "connected to Redis for telling other instances",
    reconnected: "connected to Redis for telling other instances again",
    failed: "other instances cannot be reached",
    meanwhile: "other instances are not told",
};
const LISTENING: Purpose = Purpose {
    label: "control",
    connected: "listening to other instances",
    reconnected: "listening to other instances again",
    failed: "not listening to other instances",
    meanwhile: "other instances are not heard",
};
/// Longest message.
const MAX_TEXT: usize = 1 << 20;
/// The longest pause between two attempts: commands should not be late.
const MAX_PAUSE: Duration = Duration::from_millis(250);
const CATCHING_UP: &str = "reading earlier commands";
/// How many kept messages one answer holds.
const PAGE: usize = 2;

/// Tells all instances, this one too. Cloning shares.
#[derive(Clone)]
pub struct RedisBus(Outbox<Broadcasting>);

struct KeptMessage {
    text: Bytes,
    /// For how long it is kept, in milliseconds.
    kept_for: Option<u64>,
}

/// The names of what the bus uses in Redis.
struct BusNames {
    channel: Box<[u8]>,
    kept: Box<[u8]>,
}

/// Keeps a message until a time by the clock of Redis, which is the same for all instances, and publishes it. It is
/// kept first: an instance that begins to listen in between finds it.
const KEEP: &[u8] = b"\
local time = redis.call('TIME') \
local now = time[1] * 1000 + math.floor(time[2] / 1000) \
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3]) \
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) \
return redis.call('PUBLISH', ARGV[1], ARGV[3])";

/// `PUBLISH`, and what keeps a message.
struct Broadcasting(Arc<BusNames>);

impl RedisBus {
    /// The key of what is kept; in a Cluster it decides on the node.
    pub(super) fn kept(prefix: &str) -> String {
        format!("{prefix}:revocations")
    }

    /// Starts both connections' tasks; they end when `drain` starts. `control` gets every command, this instance's own
    /// too.
    pub(super) fn start(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        prefix: &str,
        control: Arc<Control>,
        drain: &Drain,
    ) -> Self {
        let names = Arc::new(BusNames {
            channel: format!("{prefix}:control").into_bytes().into(),
            kept: Self::kept(prefix).into_bytes().into(),
        });
        let timing = Timing { max_backoff: timing.max_backoff.min(MAX_PAUSE), ..timing };
        let status = ConnectionStatus::new(Arc::clone(&endpoint), &LISTENING, timing.max_backoff);
        let listener =
            BusListener { endpoint: Arc::clone(&endpoint), timing, names: Arc::clone(&names), control };
        drain.spawn_essential("redis bus listener", supervise(listener, status, drain.clone()));
        let config = OutboxConfig::new(endpoint, timing, &TELLING);
        Self(Outbox::start(config, Broadcasting(names), drain, Some(drain.clone())))
    }
}

impl Bus for RedisBus {
    /// Told twice at the worst, never half.
    fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Sending<'_> {
        let left = |until: SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default();
        let ms = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let message = KeptMessage { text: message, kept_for: kept.map(|until| ms(left(until))) };
        Box::pin(async move { self.0.ask(message).await.map_err(|_| BusError) })
    }
}

impl Exchange for Broadcasting {
    type Request = KeptMessage;
    type Answer = ();

    const DOING: &'static str = "telling other instances";

    fn size(request: &KeptMessage) -> usize {
        const AROUND: usize = 256;
        // Twice where it is kept.
        2 * request.text.len() + AROUND
    }

    fn write(&mut self, commands: &mut Vec<u8>, KeptMessage { text, kept_for }: &KeptMessage) {
        let BusNames { channel, kept } = &*self.0;
        match kept_for {
            None => write_command(commands, &[b"PUBLISH", channel, text]),
            Some(ms) => {
                let ms = ms.to_string();
                write_command(commands, &[b"EVAL", KEEP, b"1", kept, channel, ms.as_bytes(), text]);
            }
        }
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        _request: &KeptMessage,
    ) -> Result<Verdict<()>, RedisError> {
        Ok(match connection.token(limit, Self::DOING).await? {
            RespToken::Integer(_) => Verdict::Done(()),
            RespToken::Error(text) => Verdict::Refused(RedisError::refused("a command", &text, None)),
            _ => return Err(RedisError::Unexpected),
        })
    }

    /// A kept connection may have died in silence; doing it twice changes nothing.
    fn repeat(_request: &KeptMessage) -> Repeat {
        Repeat::OnFreshConnection
    }
}

/// The connection that listens.
struct BusListener {
    endpoint: Arc<Endpoint>,
    timing: Timing,
    names: Arc<BusNames>,
    control: Arc<Control>,
}

impl Supervised for BusListener {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        until_drain(drain, self.listen(status)).await
    }
}

impl BusListener {
    async fn listen(&self, status: &mut ConnectionStatus) -> Result<Infallible, RedisError> {
        let limit = self.timing.timeout;
        let mut connection = open(&self.endpoint, self.timing).await?;
        let mut subscribe = Vec::new();
        write_command(&mut subscribe, &[b"SUBSCRIBE", &self.names.channel]);
        let subscribing = async {
            connection.send(&subscribe).await?;
            loop {
                match connection.next()? {
                    Some(RespReply::Array(_)) => return Ok(()),
                    Some(RespReply::Error(text)) => {
                        let (secret, name) = (self.endpoint.secret(), &*self.names.channel);
                        let names = std::iter::once(name);
                        return Err(RedisError::refused_subscription(text, secret.as_ref(), names));
                    }
                    Some(_) => return Err(RedisError::Unexpected),
                    None => connection.receive().await?,
                }
            }
        };
        within(&self.endpoint, limit, "subscribing", subscribing).await?;
        within(&self.endpoint, limit * 10, CATCHING_UP, self.catch_up()).await?;
        status.on_connected();
        let mut pinged = Instant::now();
        let mut waiting = false;
        loop {
            while let Some(reply) = connection.next()? {
                match reply {
                    RespReply::Array(parts) => match *parts.as_slice() {
                        [b"message", _, message] => self.control.receive(message, None).await,
                        [b"pong", _] => waiting = false,
                        _ => return Err(RedisError::Unexpected),
                    },
                    RespReply::Status(b"PONG") => waiting = false,
                    // A message longer than any of ours.
                    RespReply::TooLarge => {}
                    _ => return Err(RedisError::Unexpected),
                }
            }
            let due = pinged + if waiting { limit } else { self.timing.ping_interval };
            tokio::select! {
                biased;
                received = connection.receive() => received?,
                () = sleep_until(due) => {
                    if waiting {
                        return Err(timed_out(&self.endpoint, limit, "the watchdog's ping"));
                    }
                    (pinged, waiting) = (Instant::now(), true);
                    let mut ping = Vec::new();
                    write_command(&mut ping, &[b"PING"]);
                    within(&self.endpoint, limit, "the watchdog's ping", connection.send(&ping)).await?;
                }
            }
        }
    }

    /// Reads the commands that came while nobody listened here, on a connection of its own: a subscribed one takes no
    /// such command.
    async fn catch_up(&self) -> Result<(), RedisError> {
        let mut connection = open(&self.endpoint, self.timing).await?;
        // Each is kept until a time by the clock of Redis: ours may be another.
        let limit = self.timing.timeout;
        let clock = connection.clock(limit).await?;
        let now = format!("({}", clock.ms);
        for page in 0.. {
            let mut command = Vec::new();
            let (offset, count) = ((page * PAGE).to_string(), PAGE.to_string());
            let range: [&[u8]; 4] = [b"ZRANGEBYSCORE", &self.names.kept, now.as_bytes(), b"+inf"];
            let part: [&[u8]; 4] = [b"WITHSCORES", b"LIMIT", offset.as_bytes(), count.as_bytes()];
            write_command(&mut command, &[&range[..], &part[..]].concat());
            connection.send(&command).await?;
            let elements = match connection.token(limit, CATCHING_UP).await? {
                RespToken::Array(elements) => elements,
                RespToken::Error(text) => {
                    return Err(RedisError::refused("a command", &text, self.endpoint.secret().as_ref()));
                }
                _ => return Err(RedisError::Unexpected),
            };
            for _ in 0..elements / 2 {
                let message = connection.token(limit, CATCHING_UP).await?;
                let RespToken::Bulk(until) = connection.token(limit, CATCHING_UP).await? else {
                    return Err(RedisError::Unexpected);
                };
                let until = str::from_utf8(&until).ok().and_then(|until| until.parse::<f64>().ok());
                let left = until.ok_or(RedisError::Unexpected)? - clock.ms as f64;
                if let RespToken::Bulk(message) = message {
                    let left = Duration::try_from_secs_f64(left / 1000.0).unwrap_or(Duration::MAX);
                    self.control.receive(&message, Some(left)).await;
                }
            }
            if elements / 2 < PAGE {
                break;
            }
        }
        Ok(())
    }
}

async fn open(endpoint: &Endpoint, timing: Timing) -> Result<RedisConnection, RedisError> {
    endpoint.open(timing.timeout, MAX_TEXT).await
}

async fn within<T>(
    endpoint: &Endpoint,
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out(endpoint, limit, doing)))
}

fn timed_out(endpoint: &Endpoint, limit: Duration, doing: &'static str) -> RedisError {
    RedisError::Timeout { address: endpoint.to_string(), limit, doing }
}
