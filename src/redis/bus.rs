//! What instances tell each other, on `<prefix>:control`: one connection listens, another one tells.
//!
//! What has to reach instances that are away is kept in the sorted set `<prefix>:revocations` until its time is over, and
//! read whenever listening begins: after the subscription stands, so that nothing falls between. This file must not
//! know what a message means.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::{now_ms, unix_ms};
use crate::control::{Bus, BusError, Control, Sending};
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::outbox::{Exchange, Outbox, OutboxConfig, Repeat, Verdict};
use crate::redis::client::resp::{RespReply, write_command};
use crate::redis::client::supervise::{Purpose, Status, Supervised, supervise, until_drain};
use crate::shutdown::Drain;

const TELLING: Purpose = Purpose {
    label: "control",
    connected: "connected to Redis for telling other instances",
    reconnected: "connected to Redis for telling other instances again",
    failed: "other instances cannot be told",
    meanwhile: "other instances are not told",
};
const LISTENING: Purpose = Purpose {
    label: "control",
    connected: "listening to other instances",
    reconnected: "listening to other instances again",
    failed: "not listening to other instances",
    meanwhile: "other instances are not heard",
};
/// How many messages may wait.
const MAX_WAITING: usize = 256;
/// Longest message.
const MAX_TEXT: usize = 1 << 20;
/// The longest pause between two attempts: what is told meanwhile should not be late.
const MAX_PAUSE: Duration = Duration::from_millis(250);
/// How many kept messages one answer holds.
const PAGE: usize = 4;

/// Tells all instances, this one too. Cloning shares.
#[derive(Clone)]
pub struct RedisBus(Outbox<Broadcasting>);

struct BusMessage {
    text: Bytes,
    /// Milliseconds since the Unix epoch.
    kept_until: Option<u64>,
}

/// The names of what the bus uses in Redis.
struct BusNames {
    channel: Box<[u8]>,
    kept: Box<[u8]>,
}

/// `PUBLISH`, and what keeps a message.
struct Broadcasting(Arc<BusNames>);

impl RedisBus {
    /// The key of what is kept; in a Cluster it decides on the node.
    pub(super) fn kept(prefix: &str) -> String {
        format!("{prefix}:revocations")
    }

    /// Starts both connections' tasks; they end when `drain` starts. `control` gets what is told, by this one too.
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
        let status = Status::new(Arc::clone(&endpoint), &LISTENING, timing.max_backoff);
        let listener =
            BusListener { endpoint: Arc::clone(&endpoint), timing, names: Arc::clone(&names), control };
        drain.spawn_essential("redis bus listener", supervise(listener, status, drain.clone()));
        let config = OutboxConfig {
            endpoint,
            timing,
            purpose: &TELLING,
            limit: timing.timeout,
            max_waiting: MAX_WAITING,
        };
        Self(Outbox::start(config, Broadcasting(names), drain, Some(drain.clone())))
    }
}

impl Bus for RedisBus {
    /// Told twice at the worst, never half.
    fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Sending<'_> {
        let message = BusMessage { text: message, kept_until: kept.map(unix_ms) };
        Box::pin(async move { self.0.ask(message).await.map_err(|_| BusError) })
    }
}

impl Exchange for Broadcasting {
    type Request = BusMessage;
    type Answer = ();

    const DOING: &'static str = "telling other instances";

    fn size(request: &BusMessage) -> usize {
        const AROUND: usize = 256;
        // Twice where it is kept.
        2 * request.text.len() + AROUND
    }

    fn write(&mut self, commands: &mut Vec<u8>, BusMessage { text, kept_until }: &BusMessage) {
        let BusNames { channel, kept } = &*self.0;
        if let Some(until) = kept_until {
            // Before the channel's word: an instance that begins to listen in between finds it.
            let (until, now) = (until.to_string(), now_ms().to_string());
            write_command(commands, &[b"ZADD", kept, until.as_bytes(), text]);
            write_command(commands, &[b"ZREMRANGEBYSCORE", kept, b"-inf", now.as_bytes()]);
        }
        write_command(commands, &[b"PUBLISH", channel, text]);
    }

    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        limit: Duration,
        request: &BusMessage,
    ) -> Result<Verdict<()>, RedisError> {
        let mut refused = None;
        for _ in 0..if request.kept_until.is_some() { 3 } else { 1 } {
            match connection.token(limit, Self::DOING).await? {
                RespToken::Integer(_) => {}
                RespToken::Error(text) => refused = Some(RedisError::refused("a command", &text, None)),
                _ => return Err(RedisError::Unexpected),
            }
        }
        Ok(refused.map_or(Verdict::Done(()), Verdict::Refused))
    }

    /// A kept connection may have died in silence; doing it twice changes nothing.
    fn repeat(_request: &BusMessage) -> Repeat {
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
    async fn run(&mut self, status: &mut Status, drain: &Drain) -> Result<(), RedisError> {
        until_drain(drain, self.listen(status)).await
    }
}

impl BusListener {
    async fn listen(&self, status: &mut Status) -> Result<Infallible, RedisError> {
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
                        return Err(RedisError::refused("the subscription", text, self.endpoint.secret()));
                    }
                    Some(_) => return Err(RedisError::Unexpected),
                    None => connection.receive().await?,
                }
            }
        };
        within(&self.endpoint, limit, "subscribing", subscribing).await?;
        within(&self.endpoint, limit * 10, "reading what was told before", self.catch_up()).await?;
        status.on_connected();
        let mut pinged = Instant::now();
        let mut waiting = false;
        loop {
            while let Some(reply) = connection.next()? {
                match reply {
                    RespReply::Array(parts) => match *parts.as_slice() {
                        [b"message", _, message] => self.control.hear(message).await,
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

    /// Hears what was told while nobody listened here, on a connection of its own: a subscribed one takes no such
    /// command.
    async fn catch_up(&self) -> Result<(), RedisError> {
        let mut connection = open(&self.endpoint, self.timing).await?;
        let now = format!("({}", now_ms());
        for page in 0.. {
            let mut command = Vec::new();
            let (offset, count) = ((page * PAGE).to_string(), PAGE.to_string());
            let range: [&[u8]; 4] = [b"ZRANGEBYSCORE", &self.names.kept, now.as_bytes(), b"+inf"];
            let limit: [&[u8]; 3] = [b"LIMIT", offset.as_bytes(), count.as_bytes()];
            write_command(&mut command, &[&range[..], &limit[..]].concat());
            connection.send(&command).await?;
            let heard = loop {
                match connection.next()? {
                    Some(RespReply::Array(parts)) => {
                        let messages: Vec<Vec<u8>> =
                            parts.as_slice().iter().map(|message| message.to_vec()).collect();
                        break messages;
                    }
                    Some(RespReply::Nil) => break Vec::new(),
                    Some(RespReply::Error(text)) => {
                        return Err(RedisError::refused("a command", text, self.endpoint.secret()));
                    }
                    Some(_) => return Err(RedisError::Unexpected),
                    None => connection.receive().await?,
                }
            };
            for message in &heard {
                self.control.hear(message).await;
            }
            if heard.len() < PAGE {
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
