//! The connection that delivers: made, subscribed, watched, and made again, for ever.
//!
//! The watchdog pings the very connection that delivers, so a Redis that hangs or a network that swallows is noticed
//! although the socket stays open. While the connection is away Redis keeps nothing for it: that gap is reported to
//! every stream, in the log, in a metric and in the daemon's health. This file must not know what a message means.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::Counter;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::health::Reporter;
use crate::redis::Timing;
use crate::redis::channels::ingest::{Ingest, IngestOutcome};
use crate::redis::channels::update::{ChannelUpdate, subscribe_to_added, unsubscribe_from_removed};
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::{
    ConnectionChange, ConnectionStatus, Purpose, Supervised, supervise, until_drain,
};
use crate::redis::topics::writer::TopicStore;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_GAPS, REDIS_UP};

const PURPOSE: Purpose = Purpose {
    label: "subscribe",
    connected: "listening to Redis",
    reconnected: "listening to Redis again; what was published on its channels meanwhile is lost here",
    failed: "not listening to Redis; trying again until it answers",
    meanwhile: "what is published on Redis channels meanwhile is lost here",
};

const WATCHDOG: &str = "the watchdog's ping";

/// Keeps a connection that delivers.
pub(in crate::redis) struct ChannelSubscriber {
    endpoint: Arc<Endpoint>,
    timing: Timing,
    /// Longest text that is kept.
    max_text: usize,
    ingest: Ingest,
    /// `SUBSCRIBE`, `PSUBSCRIBE` and the first `PING`.
    commands: Vec<u8>,
    /// When bytes came last.
    heard: Instant,
    /// Whether everything is subscribed and answers, for others to see.
    listening: Arc<AtomicBool>,
    /// Told when the connection stands.
    store: Option<Arc<TopicStore>>,
    /// Other channels to listen to.
    updates: mpsc::Receiver<ChannelUpdate>,
    /// The change of channels that is under way.
    changing: Option<ChannelChange>,
    gaps: Counter,
}

struct ChannelChange {
    done: oneshot::Sender<Result<(), String>>,
    /// What Redis said against it.
    refused: Option<String>,
}

impl ChannelSubscriber {
    pub(in crate::redis) fn new(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        max_text: usize,
        ingest: Ingest,
    ) -> Self {
        let commands = subscribe_to_all(&ingest);
        // Nobody changes the channels unless somebody is given a way to.
        let (_, updates) = mpsc::channel(1);
        Self {
            endpoint,
            timing,
            max_text,
            ingest,
            commands,
            heard: Instant::now(),
            listening: Arc::default(),
            store: None,
            updates,
            changing: None,
            gaps: metrics::counter!(REDIS_GAPS),
        }
    }

    /// The same, telling `store` whenever everything is subscribed: what was changed meanwhile may be found there.
    pub(in crate::redis) fn with_store(self, store: Arc<TopicStore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The same, with other channels whenever some come.
    pub(in crate::redis) fn with_updates(self, updates: mpsc::Receiver<ChannelUpdate>) -> Self {
        Self { updates, ..self }
    }

    /// Whether everything is subscribed and answers.
    pub(in crate::redis) fn listening(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.listening)
    }

    /// Delivers until `drain` starts.
    pub(in crate::redis) async fn run(self, health: Reporter, drain: Drain) {
        let status = ConnectionStatus::new(Arc::clone(&self.endpoint), &PURPOSE, self.timing.max_backoff);
        let status = status.with_health(health).with_gauge(metrics::gauge!(REDIS_UP));
        supervise(self, status, drain).await;
    }

    /// Connects, subscribes and delivers, until that fails.
    async fn listen(&mut self, status: &mut ConnectionStatus) -> Result<Infallible, RedisError> {
        let Timing { timeout: limit, .. } = self.timing;
        while let Ok(update) = self.updates.try_recv() {
            self.ingest.prepare(update.channels);
            self.ingest.decide(true);
            self.commands = subscribe_to_all(&self.ingest);
        }
        let mut connection = self.endpoint.open(limit, self.max_text).await?;
        if self.ingest.bridge_channel().is_some() {
            let server = connection.run_id(limit).await?;
            self.ingest.comes_from(server);
        }
        self.send(&mut connection, "subscribing", &self.commands).await?;
        self.deliver(&mut connection, status).await
    }

    async fn send(
        &self,
        connection: &mut RedisConnection,
        doing: &'static str,
        commands: &[u8],
    ) -> Result<(), RedisError> {
        let sent = timeout(self.timing.timeout, connection.send(commands)).await;
        sent.unwrap_or_else(|_| Err(self.timed_out(doing)))
    }

    async fn deliver(
        &mut self,
        connection: &mut RedisConnection,
        status: &mut ConnectionStatus,
    ) -> Result<Infallible, RedisError> {
        let Timing { timeout: limit, ping_interval, .. } = self.timing;
        let mut pinged = Instant::now();
        self.heard = pinged;
        let mut waiting = true;
        loop {
            if self.take_all(connection)? {
                waiting = false;
                self.on_subscribed(status);
                if let Some(change) = self.changing.take() {
                    let commands = self.conclude(change);
                    self.send(connection, "unsubscribing", &commands).await?;
                    (pinged, waiting) = (Instant::now(), true);
                }
            }
            // A connection that is busy delivering is alive, however late its pong.
            let due = if waiting { pinged.max(self.heard) + limit } else { pinged + ping_interval };
            tokio::select! {
                biased;
                received = connection.receive() => {
                    received?;
                    self.heard = Instant::now();
                }
                // The next pong has to be the one behind the subscriptions.
                Some(update) = self.updates.recv(), if !waiting => {
                    let commands = self.begin(update);
                    self.send(connection, "subscribing", &commands).await?;
                    (pinged, waiting) = (Instant::now(), true);
                }
                () = sleep_until(due) => {
                    if waiting {
                        let doing = if status.is_connected() { WATCHDOG } else { "subscribing" };
                        return Err(self.timed_out(doing));
                    }
                    (pinged, waiting) = (Instant::now(), true);
                    let mut ping = Vec::new();
                    write_command(&mut ping, &[b"PING"]);
                    self.send(connection, WATCHDOG, &ping).await?;
                }
            }
        }
    }

    /// Delivers all that has come; whether a pong was among it.
    fn take_all(&mut self, connection: &mut RedisConnection) -> Result<bool, RedisError> {
        let mut pong = false;
        while let Some(reply) = connection.next()? {
            match self.ingest.take(reply) {
                IngestOutcome::Message | IngestOutcome::Subscribed => {}
                IngestOutcome::Pong => pong = true,
                IngestOutcome::Refused(text) if let Some(change) = &mut self.changing => {
                    change.refused.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
                }
                IngestOutcome::Refused(text) => {
                    let channels = self.ingest.channels();
                    let names = channels.exact().chain(self.ingest.bridge_channel());
                    let names = names.chain(channels.patterns()).chain(channels.sharded());
                    let secret = self.endpoint.secret();
                    return Err(RedisError::refused_subscription(text, secret.as_ref(), names));
                }
                IngestOutcome::Unexpected => return Err(RedisError::Unexpected),
            }
        }
        self.ingest.flush();
        Ok(pong)
    }

    /// Begins to listen to other channels; gives back the commands for it. Those that go are let go of when the others
    /// stand.
    fn begin(&mut self, ChannelUpdate { channels, done }: ChannelUpdate) -> Vec<u8> {
        let commands = subscribe_to_added(self.ingest.channels(), &channels);
        self.ingest.prepare(channels);
        self.changing = Some(ChannelChange { done, refused: None });
        commands
    }

    /// Redis has answered to that: gives back the commands that end what is not listened to any more.
    fn conclude(&mut self, ChannelChange { done, refused }: ChannelChange) -> Vec<u8> {
        let others = self.ingest.decide(refused.is_none());
        self.commands = subscribe_to_all(&self.ingest);
        // Who asked may have gone.
        let _ = done.send(refused.map_or(Ok(()), Err));
        let channels = self.ingest.channels();
        others.map(|others| unsubscribe_from_removed(&others, channels)).unwrap_or_default()
    }

    fn timed_out(&self, doing: &'static str) -> RedisError {
        RedisError::Timeout { address: self.endpoint.to_string(), limit: self.timing.timeout, doing }
    }

    /// Everything is subscribed and answers.
    fn on_subscribed(&mut self, status: &mut ConnectionStatus) {
        let transition = status.on_connected();
        if transition == ConnectionChange::None {
            return;
        }
        self.listening.store(true, Ordering::Release);
        if let Some(store) = &self.store {
            store.read_again();
        }
        if transition == ConnectionChange::Again {
            self.gaps.increment(1);
            self.ingest.gap();
        }
        status.healthy();
    }
}

/// The commands with which a connection begins.
fn subscribe_to_all(ingest: &Ingest) -> Vec<u8> {
    let mut commands = Vec::new();
    let exact: Vec<_> = [&b"SUBSCRIBE"[..]]
        .into_iter()
        .chain(ingest.channels().exact())
        .chain(ingest.bridge_channel())
        .collect();
    write_command(&mut commands, &exact);
    let patterns: Vec<_> = [&b"PSUBSCRIBE"[..]].into_iter().chain(ingest.channels().patterns()).collect();
    write_command(&mut commands, &patterns);
    if let Some(sharded) = ingest.channels().sharded() {
        write_command(&mut commands, &[b"SSUBSCRIBE", sharded]);
    }
    // Redis answers in order: a pong says that all subscriptions stand.
    write_command(&mut commands, &[b"PING"]);
    commands
}

impl Supervised for ChannelSubscriber {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        self.heard = Instant::now();
        let ended = until_drain(drain, self.listen(status)).await;
        // What came before a error is not lost.
        self.ingest.flush();
        ended
    }

    fn on_disconnected(&mut self, error: &RedisError) -> Instant {
        self.ingest.silence();
        // The next connection begins with the other channels.
        if let Some(change) = self.changing.take() {
            self.ingest.decide(change.refused.is_none());
            self.commands = subscribe_to_all(&self.ingest);
        }
        self.listening.store(false, Ordering::Release);
        // What was published in the silence before may be lost too.
        if matches!(error, RedisError::Timeout { .. }) { self.heard } else { Instant::now() }
    }
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
