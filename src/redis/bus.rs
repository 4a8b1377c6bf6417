//! What instances tell each other, on `<prefix>:control`: one connection listens, another one tells.
//!
//! What has to reach instances that are away is kept in the sorted set `<prefix>:revocations` until its time is over, and
//! read whenever listening begins: after the subscription stands, so that nothing falls between. This file must not
//! know what a message means.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use crate::clock::unix_ms;
use crate::future::BoxFuture;
use crate::publish::RelayError;
use crate::redis::Timing;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::Failure;
use crate::redis::client::resp::{Reply, write_command};
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES};

/// What these connections are for, in metrics.
const PURPOSE: &str = "control";
/// How many tellings may wait.
const MAX_WAITING: usize = 256;
/// Longest message.
const MAX_TEXT: usize = 1 << 20;
/// The pause between two attempts: what is told meanwhile should not be late.
const PAUSE: Duration = Duration::from_millis(250);
/// How many kept messages one answer holds.
const PAGE: usize = 4;

/// Takes what instances tell.
pub trait Hear: Send + Sync {
    fn hear<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, ()>;
}

/// Tells all instances, this one too. Cloning shares.
#[derive(Clone)]
pub struct Link {
    tellings: mpsc::Sender<Telling>,
}

struct Telling {
    message: Bytes,
    /// Milliseconds since the Unix epoch.
    kept_until: Option<u64>,
    answer: oneshot::Sender<Result<(), RelayError>>,
}

/// The names of what the link uses in Redis.
struct Names {
    channel: Box<[u8]>,
    kept: Box<[u8]>,
}

impl Link {
    /// The key of what is kept; in a Cluster it decides on the node.
    pub(super) fn kept(prefix: &str) -> String {
        format!("{prefix}:revocations")
    }

    /// Starts both connections' tasks; they end when `drain` starts.
    pub(super) fn start(
        server: Arc<Server>,
        timing: Timing,
        prefix: &str,
        hear: Arc<dyn Hear>,
        drain: &Drain,
    ) -> Self {
        let (tellings, waiting) = mpsc::channel(MAX_WAITING);
        let names = Arc::new(Names {
            channel: format!("{prefix}:control").into_bytes().into(),
            kept: Self::kept(prefix).into_bytes().into(),
        });
        let ear = Ear { server: Arc::clone(&server), timing, names: Arc::clone(&names), hear };
        drain.spawn_essential("redis bus reader", ear.run(drain.clone()));
        let mouth = Mouth { server, timing, names, connection: None };
        drain.spawn_essential("redis bus writer", mouth.run(waiting, drain.clone()));
        Self { tellings }
    }

    /// Sends `message` to all, and keeps it until `kept`. Told twice at the worst, never half.
    pub async fn tell(&self, message: Bytes, kept: Option<SystemTime>) -> Result<(), RelayError> {
        let (answer, answered) = oneshot::channel();
        let telling = Telling { message, kept_until: kept.map(unix_ms), answer };
        self.tellings.send(telling).await.map_err(|_| RelayError::Down)?;
        answered.await.unwrap_or(Err(RelayError::Down))
    }
}

/// The connection that tells: made when it is needed, and kept.
struct Mouth {
    server: Arc<Server>,
    timing: Timing,
    names: Arc<Names>,
    connection: Option<Connection>,
}

impl Mouth {
    async fn run(mut self, mut waiting: mpsc::Receiver<Telling>, drain: Drain) {
        loop {
            let telling = tokio::select! {
                biased;
                () = drain.started() => return,
                telling = waiting.recv() => telling,
            };
            let Some(Telling { message, kept_until, answer }) = telling else { return };
            // A kept connection may have died in silence; doing it twice changes nothing.
            let fresh = self.connection.is_none();
            let mut told = self.tell(&message, kept_until).await;
            if told.is_err() && !fresh {
                told = self.tell(&message, kept_until).await;
            }
            let told = told.map_err(|failure| {
                metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => failure.word())
                    .increment(1);
                debug!(redis = %self.server, %failure, "other instances could not be told");
                RelayError::Unknown
            });
            // Whoever asked may have gone.
            let _ = answer.send(told);
        }
    }

    async fn tell(&mut self, message: &[u8], kept_until: Option<u64>) -> Result<(), Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(&self.server, self.timing).await?,
        };
        let mut commands = Vec::new();
        let mut replies = 1;
        if let Some(until) = kept_until {
            // Before the channel's word: an instance that begins to listen in between finds it.
            let (until, now) = (until.to_string(), unix_ms(SystemTime::now()).to_string());
            write_command(&mut commands, &[b"ZADD", &self.names.kept, until.as_bytes(), message]);
            write_command(&mut commands, &[b"ZREMRANGEBYSCORE", &self.names.kept, b"-inf", now.as_bytes()]);
            replies += 2;
        }
        write_command(&mut commands, &[b"PUBLISH", &self.names.channel, message]);
        let exchange = async {
            connection.send(&commands).await?;
            while replies > 0 {
                match connection.next()? {
                    Some(Reply::Integer(_)) => replies -= 1,
                    Some(Reply::Error(text)) => {
                        return Err(Failure::refused("a command", text, self.server.secret()));
                    }
                    Some(_) => return Err(Failure::Unexpected),
                    None => connection.receive().await?,
                }
            }
            Ok(())
        };
        within(&self.server, self.timing.timeout, "telling other instances", exchange).await?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// The connection that listens: made again for ever.
struct Ear {
    server: Arc<Server>,
    timing: Timing,
    names: Arc<Names>,
    hear: Arc<dyn Hear>,
}

impl Ear {
    async fn run(self, drain: Drain) {
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return,
                failure = self.listen() => {
                    metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => failure.word()).increment(1);
                    debug!(redis = %self.server, %failure, "not listening to other instances");
                }
            }
            tokio::select! {
                biased;
                () = drain.started() => return,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Listens until that fails.
    async fn listen(&self) -> Failure {
        match self.try_listen().await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn try_listen(&self) -> Result<std::convert::Infallible, Failure> {
        let limit = self.timing.timeout;
        let mut connection = open(&self.server, self.timing).await?;
        let mut subscribe = Vec::new();
        write_command(&mut subscribe, &[b"SUBSCRIBE", &self.names.channel]);
        let subscribing = async {
            connection.send(&subscribe).await?;
            loop {
                match connection.next()? {
                    Some(Reply::Array(_)) => return Ok(()),
                    Some(Reply::Error(text)) => {
                        return Err(Failure::refused("the subscription", text, self.server.secret()));
                    }
                    Some(_) => return Err(Failure::Unexpected),
                    None => connection.receive().await?,
                }
            }
        };
        within(&self.server, limit, "subscribing", subscribing).await?;
        within(&self.server, limit * 10, "reading what was told before", self.catch_up()).await?;
        metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE).increment(1);
        debug!(redis = %self.server, "listening to other instances");
        let mut pinged = Instant::now();
        let mut waiting = false;
        loop {
            while let Some(reply) = connection.next()? {
                match reply {
                    Reply::Array(parts) => match *parts.as_slice() {
                        [b"message", _, message] => self.hear.hear(message).await,
                        [b"pong", _] => waiting = false,
                        _ => return Err(Failure::Unexpected),
                    },
                    Reply::Status(b"PONG") => waiting = false,
                    // A message longer than any of ours.
                    Reply::TooLarge => {}
                    _ => return Err(Failure::Unexpected),
                }
            }
            let due = pinged + if waiting { limit } else { self.timing.ping_interval };
            tokio::select! {
                biased;
                received = connection.receive() => received?,
                () = sleep_until(due) => {
                    if waiting {
                        return Err(timed_out(&self.server, limit, "the watchdog's ping"));
                    }
                    (pinged, waiting) = (Instant::now(), true);
                    let mut ping = Vec::new();
                    write_command(&mut ping, &[b"PING"]);
                    within(&self.server, limit, "the watchdog's ping", connection.send(&ping)).await?;
                }
            }
        }
    }

    /// Hears what was told while nobody listened here, on a connection of its own: a subscribed one takes no such
    /// command.
    async fn catch_up(&self) -> Result<(), Failure> {
        let mut connection = open(&self.server, self.timing).await?;
        let now = format!("({}", unix_ms(SystemTime::now()));
        for page in 0.. {
            let mut command = Vec::new();
            let (offset, count) = ((page * PAGE).to_string(), PAGE.to_string());
            let range: [&[u8]; 4] = [b"ZRANGEBYSCORE", &self.names.kept, now.as_bytes(), b"+inf"];
            let limit: [&[u8]; 3] = [b"LIMIT", offset.as_bytes(), count.as_bytes()];
            write_command(&mut command, &[&range[..], &limit[..]].concat());
            connection.send(&command).await?;
            let heard = loop {
                match connection.next()? {
                    Some(Reply::Array(parts)) => {
                        let messages: Vec<Vec<u8>> =
                            parts.as_slice().iter().map(|message| message.to_vec()).collect();
                        break messages;
                    }
                    Some(Reply::Nil) => break Vec::new(),
                    Some(Reply::Error(text)) => {
                        return Err(Failure::refused("a command", text, self.server.secret()));
                    }
                    Some(_) => return Err(Failure::Unexpected),
                    None => connection.receive().await?,
                }
            };
            for message in &heard {
                self.hear.hear(message).await;
            }
            if heard.len() < PAGE {
                break;
            }
        }
        Ok(())
    }
}

async fn open(server: &Server, timing: Timing) -> Result<Connection, Failure> {
    server.open(timing.timeout, MAX_TEXT).await
}

async fn within<T>(
    server: &Server,
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out(server, limit, doing)))
}

fn timed_out(server: &Server, limit: Duration, doing: &'static str) -> Failure {
    Failure::Timeout { address: server.to_string(), limit, doing }
}
