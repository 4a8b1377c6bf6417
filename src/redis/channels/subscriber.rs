//! The connection that delivers: made, subscribed, watched, and made again, for ever.
//!
//! The watchdog pings the very connection that delivers, so a Redis that hangs or a network that swallows is noticed
//! although the socket stays open. While the connection is away Redis keeps nothing for it: that gap is said to every
//! stream, in the log, in a metric and in the daemon's health. This file must not know what a message means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Counter, Gauge};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::health::Reporter;
use crate::redis::Timing;
use crate::redis::channels::ingest::{Delivery, Took};
use crate::redis::client::FIRST_PAUSE;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::write_command;
use crate::redis::topics::writer::Hash;
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES, REDIS_GAPS, REDIS_UP};

/// What this connection is for, in metrics.
const PURPOSE: &str = "subscribe";

/// Keeps a connection that delivers.
pub(in crate::redis) struct Subscription {
    server: Arc<Server>,
    timing: Timing,
    /// Longest text that is kept.
    max_text: usize,
    delivery: Delivery,
    /// `SUBSCRIBE`, `PSUBSCRIBE` and the first `PING`.
    commands: Vec<u8>,
    health: Reporter,
    state: State,
    /// When bytes came last.
    heard: Instant,
    /// Whether everything is subscribed and answers, for others to see.
    listening: Arc<AtomicBool>,
    /// Told when the connection stands.
    hash: Option<Arc<Hash>>,
    told: Told,
    up: Gauge,
    connects: Counter,
    gaps: Counter,
}

/// How the connection stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing is delivered, since then; `tried` once an attempt has failed.
    Away { since: Instant, tried: bool },
    /// Subscribed and answering, since then.
    Up { since: Instant },
}

impl Subscription {
    pub(in crate::redis) fn new(
        server: Arc<Server>,
        timing: Timing,
        max_text: usize,
        delivery: Delivery,
        health: Reporter,
    ) -> Self {
        let mut commands = Vec::new();
        let exact: Vec<_> = [&b"SUBSCRIBE"[..]]
            .into_iter()
            .chain(delivery.channels().exact())
            .chain(delivery.bridge_channel())
            .collect();
        write_command(&mut commands, &exact);
        let patterns: Vec<_> =
            [&b"PSUBSCRIBE"[..]].into_iter().chain(delivery.channels().patterns()).collect();
        write_command(&mut commands, &patterns);
        if let Some(sharded) = delivery.channels().sharded() {
            write_command(&mut commands, &[b"SSUBSCRIBE", sharded]);
        }
        // Redis answers in order: a pong says that all subscriptions stand.
        write_command(&mut commands, &[b"PING"]);
        let up = metrics::gauge!(REDIS_UP);
        up.set(0.0);
        Self {
            server,
            timing,
            max_text,
            delivery,
            commands,
            health,
            state: State::Away { since: Instant::now(), tried: false },
            heard: Instant::now(),
            listening: Arc::default(),
            hash: None,
            told: Told::default(),
            up,
            connects: metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE),
            gaps: metrics::counter!(REDIS_GAPS),
        }
    }

    /// The same, telling `hash` whenever it stands: what was said meanwhile may be found there.
    pub(in crate::redis) fn telling(self, hash: Arc<Hash>) -> Self {
        Self { hash: Some(hash), ..self }
    }

    /// Whether everything is subscribed and answers.
    pub(in crate::redis) fn listening(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.listening)
    }

    /// Delivers until `drain` starts.
    pub(in crate::redis) async fn run(mut self, drain: Drain) {
        let mut backoff = Backoff::new(FIRST_PAUSE, self.timing.max_backoff);
        loop {
            let failure = tokio::select! {
                biased;
                () = drain.started() => return,
                failure = self.listen() => failure,
            };
            if matches!(self.state, State::Up { since } if since.elapsed() >= self.timing.max_backoff) {
                backoff.reset();
            }
            self.lost(&failure);
            tokio::select! {
                biased;
                () = drain.started() => return,
                () = sleep(backoff.pause()) => {}
            }
        }
    }

    /// Connects, subscribes and delivers, until that fails.
    async fn listen(&mut self) -> Failure {
        let Timing { timeout: limit, .. } = self.timing;
        let mut connection = match self.server.open(limit, self.max_text).await {
            Ok(connection) => connection,
            Err(failure) => return failure,
        };
        if self.delivery.bridge_channel().is_some() {
            match connection.run_id(limit).await {
                Ok(server) => self.delivery.comes_from(server),
                Err(failure) => return failure,
            }
        }
        match timeout(limit, connection.send(&self.commands)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return failure,
            Err(_) => return self.timed_out("subscribing"),
        }
        let failure = self.deliver(&mut connection).await;
        // What came before the failure is not lost.
        self.delivery.flush();
        failure
    }

    async fn deliver(&mut self, connection: &mut Connection) -> Failure {
        let Timing { timeout: limit, ping_interval, .. } = self.timing;
        let mut pinged = Instant::now();
        self.heard = pinged;
        let mut waiting = true;
        loop {
            match self.take_all(connection) {
                Ok(false) => {}
                Ok(true) => {
                    waiting = false;
                    self.stands();
                }
                Err(failure) => return failure,
            }
            // A connection that is busy delivering is alive, however late its pong.
            let due = if waiting { pinged.max(self.heard) + limit } else { pinged + ping_interval };
            tokio::select! {
                biased;
                received = connection.receive() => match received {
                    Ok(()) => self.heard = Instant::now(),
                    Err(failure) => return failure,
                },
                () = sleep_until(due) => {
                    if waiting {
                        let up = matches!(self.state, State::Up { .. });
                        return self.timed_out(if up { "the watchdog's ping" } else { "subscribing" });
                    }
                    pinged = Instant::now();
                    waiting = true;
                    let mut ping = Vec::new();
                    write_command(&mut ping, &[b"PING"]);
                    match timeout(limit, connection.send(&ping)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(failure)) => return failure,
                        Err(_) => return self.timed_out("the watchdog's ping"),
                    }
                }
            }
        }
    }

    /// Delivers all that has come; whether a pong was among it.
    fn take_all(&mut self, connection: &mut Connection) -> Result<bool, Failure> {
        let mut pong = false;
        while let Some(reply) = connection.next()? {
            match self.delivery.take(reply) {
                Took::Message | Took::Subscribed => {}
                Took::Pong => pong = true,
                Took::Refused(text) => {
                    let secret = self.server.secret();
                    return Err(Failure::refused("the subscriptions", text, secret));
                }
                Took::Unexpected => return Err(Failure::Unexpected),
            }
        }
        self.delivery.flush();
        Ok(pong)
    }

    fn timed_out(&self, doing: &'static str) -> Failure {
        Failure::Timeout { address: self.server.to_string(), limit: self.timing.timeout, doing }
    }

    /// Notes that everything is subscribed and answers.
    fn stands(&mut self) {
        let State::Away { since, tried } = self.state else { return };
        self.state = State::Up { since: Instant::now() };
        self.told.forget();
        self.listening.store(true, Ordering::Release);
        self.up.set(1.0);
        self.connects.increment(1);
        if let Some(hash) = &self.hash {
            hash.read_again();
        }
        if tried {
            let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.gaps.increment(1);
            self.delivery.gap();
            warn!(redis = %self.server, away_ms, "listening to Redis again; what was published on its channels meanwhile is lost here");
        } else {
            info!(redis = %self.server, "listening to Redis");
        }
        self.health.up();
    }

    fn lost(&mut self, failure: &Failure) {
        let since = match self.state {
            State::Away { since, .. } => since,
            // What was published in the silence before may be lost too.
            State::Up { .. } if matches!(failure, Failure::Timeout { .. }) => self.heard,
            State::Up { .. } => Instant::now(),
        };
        self.state = State::Away { since, tried: true };
        self.delivery.silence();
        self.listening.store(false, Ordering::Release);
        self.up.set(0.0);
        let reason = failure.word();
        metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
        self.health.down(format!("{failure}; what is published on Redis channels meanwhile is lost here"));
        if self.told.say(reason) {
            warn!(redis = %self.server, reason, %failure, "not listening to Redis; trying again until it answers");
        } else {
            debug!(redis = %self.server, reason, %failure, "still not listening to Redis");
        }
    }
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
