//! Appends what is published on bridged channels to the stream: on one instance, each message once and in order.
//!
//! Every instance hears all of it ([`Backlog`](crate::redis::bridge::backlog::Backlog)) and keeps what is not known to
//! be in the stream. The holder of the lease appends. An instance that takes the lease over reads up to where the
//! messages have been appended, finds that checkpoint in what it heard itself, and goes on there. An instance that
//! cannot find it waits until those who can had their chance, and then says in the stream that messages may be missing:
//! a gap is reported, never silent.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::health::Reporter;
use crate::redis::Timing;
use crate::redis::bridge::backlog::{BacklogBatch, BacklogCursor, Checkpoint, overlap};
use crate::redis::bridge::lease::{BridgeEntry, BridgeLease};
use crate::redis::bridge::tap::ChannelTap;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::supervise::{ConnectionStatus, Purpose, Supervised, supervise};
use crate::redis::lease::commands::{LeaseState, random};
use crate::redis::log::entry::gap_event;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_BRIDGE_EVENTS, REDIS_BRIDGE_GAPS, REDIS_BRIDGE_LEADER, REDIS_BRIDGE_WAITING};

const PURPOSE: Purpose = Purpose {
    label: "bridge",
    connected: "connected to Redis for the bridge",
    reconnected: "connected to Redis for the bridge again",
    failed: "the bridge cannot reach the stream in Redis; trying again until it answers",
    meanwhile: "what comes on bridged channels waits",
};
/// How many messages are appended at once, and about how many bytes.
const MAX_BATCH: usize = 256;
const MAX_WRITE: usize = 1 << 20;
/// The shortest time between two looks at a lease that somebody else has or nobody may take yet.
const LOOK: Duration = Duration::from_millis(20);

/// Bridges channels into the stream.
pub(in crate::redis) struct Bridge {
    config: BridgeConfig,
    health: Reporter,
    connection: Option<RedisConnection>,
    leading: Option<Leadership>,
    /// The checkpoint as Redis had it last; None before that is known.
    checkpoint: Option<String>,
    /// In which segment of what was heard messages were last known to be in the stream.
    told_in: Option<u64>,
    /// Since when nobody has the lease, as far as this instance saw.
    free_since: Option<Instant>,
    /// When a marker was set last, and in which segment.
    marked: Option<(u64, Instant)>,
    /// When to look at the lease again.
    due: Instant,
    began: Instant,
    metrics: BridgeMetrics,
}

/// The lease is ours.
struct Leadership {
    /// Everything before it is in the stream.
    cursor: BacklogCursor,
    /// Messages before `cursor` may be missing, which has not been said yet.
    gap: bool,
    /// Nobody else could go on without a gap.
    alone: bool,
}

struct BridgeMetrics {
    leader: Gauge,
    waiting: Gauge,
    appended: Counter,
    duplicates: Counter,
    gaps: Counter,
}

/// What the bridge is between, and how long what may take.
pub(in crate::redis) struct BridgeConfig {
    pub(in crate::redis) endpoint: Arc<Endpoint>,
    pub(in crate::redis) timing: Timing,
    pub(in crate::redis) lease: BridgeLease,
    /// How long the lease holds.
    pub(in crate::redis) length: Duration,
    /// The stream's key.
    pub(in crate::redis) stream: Box<[u8]>,
    /// Longest text that is kept of an answer.
    pub(in crate::redis) max_text: usize,
    pub(in crate::redis) tap: ChannelTap,
}

impl Bridge {
    pub(in crate::redis) fn new(config: BridgeConfig, health: Reporter) -> Self {
        let metrics = BridgeMetrics {
            leader: metrics::gauge!(REDIS_BRIDGE_LEADER),
            waiting: metrics::gauge!(REDIS_BRIDGE_WAITING),
            appended: metrics::counter!(REDIS_BRIDGE_EVENTS, "outcome" => "appended"),
            duplicates: metrics::counter!(REDIS_BRIDGE_EVENTS, "outcome" => "duplicate"),
            gaps: metrics::counter!(REDIS_BRIDGE_GAPS),
        };
        metrics.leader.set(0.0);
        Self {
            config,
            health,
            connection: None,
            leading: None,
            checkpoint: None,
            told_in: None,
            free_since: None,
            marked: None,
            due: Instant::now(),
            began: Instant::now(),
            metrics,
        }
    }

    /// Bridges until `drain` starts, and then lets another instance go on.
    pub(in crate::redis) async fn run(self, drain: Drain) {
        let BridgeConfig { endpoint, timing, .. } = &self.config;
        let status = ConnectionStatus::new(Arc::clone(endpoint), &PURPOSE, timing.max_backoff);
        let status = status.with_health(self.health.clone());
        supervise(self, status, drain).await;
    }

    /// Does what is to be done now.
    async fn tick(&mut self) -> Result<(), RedisError> {
        let notified = self.config.tap.was_notified();
        if notified || self.due <= Instant::now() {
            self.set_marker().await?;
            self.look().await?;
        }
        self.append().await
    }

    /// Sees that the checkpoint can be said in terms of this instance: sets a marker where none that it heard says it.
    async fn set_marker(&mut self) -> Result<(), RedisError> {
        let Some((segment, has_marker)) = self.config.tap.look(|backlog| backlog.listening()) else {
            return Ok(());
        };
        if has_marker && (self.leading.is_some() || self.could_go_on()) {
            return Ok(());
        }
        let now = Instant::now();
        let lately = |(marked, at): (u64, Instant)| marked == segment && now - at < self.config.length / 2;
        if self.marked.is_some_and(lately) {
            return Ok(());
        }
        self.marked = Some((segment, now));
        let text = self.config.tap.marker(random());
        let channel = self.config.tap.channel().to_vec();
        let (lease, connection) = self.connection()?;
        lease.tell(connection, &channel, &text).await
    }

    /// Whether this instance has everything from the checkpoint on.
    fn could_go_on(&self) -> bool {
        match self.checkpoint.as_deref() {
            None => false,
            // Nothing was ever appended: an instance that listens may begin.
            Some("") => true,
            Some(checkpoint) => checkpoint.parse().is_ok_and(|position| {
                self.config
                    .tap
                    .look(|backlog| backlog.locate(position).is_some_and(|at| backlog.is_whole_from(at)))
            }),
        }
    }

    /// Looks at the lease: renews it, takes it, or sees how far another instance is.
    async fn look(&mut self) -> Result<(), RedisError> {
        loop {
            let listens =
                self.config.tap.look(|backlog| backlog.listening()).is_some_and(|(_, marker)| marker);
            // An instance with everything from the checkpoint on goes first.
            let patience = self.config.length / 2;
            let alone = !self.could_go_on();
            let waited = self.free_since.is_some_and(|since| since.elapsed() >= patience);
            let wants = listens && (!alone || waited);
            let known = self.checkpoint.clone().filter(|_| wants);
            let (lease, connection) = self.connection()?;
            let (standing, checkpoint) = lease.take(connection, known.as_deref()).await?;
            let moved = self.checkpoint.as_ref() != Some(&checkpoint);
            self.note(checkpoint);
            let now = Instant::now();
            match standing {
                LeaseState::Ours => {
                    self.due = now + self.config.length / 3;
                    self.free_since = None;
                    if self.leading.is_none() {
                        return self.begin_lead(alone && waited).await;
                    }
                }
                LeaseState::Others(left) => {
                    self.lose("another instance has it");
                    self.forget();
                    self.free_since = None;
                    self.on_bridged();
                    // As soon as it can end, at different times on different instances.
                    let soon = left + LOOK.mul_f64(0.1 + f64::from(random() as u8) / 256.0);
                    // A marker of ours says the checkpoint in a moment: until then nothing could go on here.
                    let most = if self.could_go_on() { self.config.length / 3 } else { 5 * LOOK };
                    self.due = now + soon.clamp(LOOK, most);
                }
                LeaseState::Free => {
                    self.lose("it was not renewed in time");
                    self.forget();
                    let since = *self.free_since.get_or_insert(now);
                    if moved {
                        // What to do depends on the checkpoint.
                        continue;
                    }
                    if since.elapsed() > patience * 2 {
                        self.health.down("no instance appends what comes on bridged channels to the stream");
                    }
                    self.due = now + (self.config.length / 20).max(LOOK);
                }
            }
            return Ok(());
        }
    }

    fn note(&mut self, checkpoint: String) {
        if !checkpoint.is_empty() {
            let segment = self.config.tap.look(|backlog| backlog.listening()).map_or(0, |(nth, _)| nth);
            self.told_in = Some(segment);
        }
        self.checkpoint = Some(checkpoint);
    }

    /// Finds where to go on.
    async fn begin_lead(&mut self, alone: bool) -> Result<(), RedisError> {
        let checkpoint = self.checkpoint.clone().unwrap_or_default();
        let position = checkpoint.parse::<Checkpoint>().ok();
        let found = position.and_then(|position| self.config.tap.look(|backlog| backlog.locate(position)));
        let (cursor, gap) = match found {
            Some(cursor) => (Some(cursor), false),
            None if !checkpoint.is_empty() && !alone => {
                // It was ours, and what was heard since has a break: another instance may have none.
                return self.step_down("it is not known where to go on").await;
            }
            None => {
                let (limit, stream) = (self.config.timing.timeout, self.config.stream.clone());
                let (_, connection) = self.connection()?;
                let (tail, is_cut) = connection.bridged_end(&stream, limit).await?;
                let told_in = self.told_in;
                self.config.tap.look(|backlog| {
                    let segment = backlog.listening().map(|(nth, _)| nth);
                    // Redis was emptied: an instance that had heard a checkpoint, or has had a break, knows that there
                    // was more.
                    let is_emptied =
                        checkpoint.is_empty() && (told_in.is_some() || segment.is_some_and(|nth| nth > 1));
                    let lost = backlog.keep_last_segment();
                    let all: Vec<&[u8]> = backlog.all().map(|message| &*message.json).collect();
                    let tail: Vec<&[u8]> = tail.iter().map(|json| &**json).collect();
                    let known = overlap(&tail, is_cut, &all);
                    let gap =
                        lost || is_emptied || !checkpoint.is_empty() || (!tail.is_empty() && known == 0);
                    // What was heard since then may have been appended before that: the gap stands for it.
                    let known = if is_emptied && told_in == segment { all.len() } else { known };
                    // Of what was heard before a break it cannot be known.
                    (backlog.behind(known).filter(|_| backlog.is_listening()), gap)
                })
            }
        };
        let Some(cursor) = cursor else { return self.step_down("nothing is heard").await };
        self.metrics.leader.set(1.0);
        info!(redis = %self.config.endpoint, gap, "this instance appends what comes on bridged channels to the stream");
        self.leading = Some(Leadership { cursor, gap, alone });
        Ok(())
    }

    /// Appends what is there, while the lease is ours.
    async fn append(&mut self) -> Result<(), RedisError> {
        while let Some(Leadership { cursor, gap, alone }) = self.leading {
            let (at_break, listening) =
                self.config.tap.look(|backlog| (backlog.is_at_break(cursor), backlog.listening()));
            if at_break && !alone {
                // Another instance may have heard what this one missed.
                return self.step_down("its connection that listens was away").await;
            }
            let batch = self.config.tap.look(|backlog| backlog.batch(cursor, MAX_BATCH, MAX_WRITE));
            let Some(BacklogBatch { gap: missing, messages, to, position }) = batch else {
                return if listening.is_none() { self.step_down("nothing is heard").await } else { Ok(()) };
            };
            let gap = gap || missing;
            let from = self.checkpoint.clone().unwrap_or_default();
            let checkpoint = position.to_string();
            let says = |marker: &str| from.split(':').next() == Some(marker);
            let is_news = gap || !messages.is_empty() || !says(&format!("{:016x}", position.marker));
            // Messages that are nothing only move the checkpoint, which can wait for the lease's renewal.
            if !is_news && (from == checkpoint || self.due > Instant::now() + self.config.length / 6) {
                return Ok(());
            }
            let reset = gap_event();
            let mut entries = Vec::with_capacity(messages.len() + 1);
            if gap {
                entries.push(BridgeEntry {
                    json: reset.as_bytes(),
                    position,
                    is_quoted: false,
                    idempotency_key: None,
                });
            }
            entries.extend(messages.iter().map(|(message, position)| BridgeEntry {
                json: &message.json,
                position: *position,
                is_quoted: message.is_quoted,
                idempotency_key: message.idempotency_key.as_deref(),
            }));
            let all = entries.len() as u64;
            let (lease, connection) = self.connection()?;
            let Some(appended) = lease.append(connection, &from, &checkpoint, &entries).await? else {
                self.lose("another instance has gone on");
                self.due = Instant::now();
                return Ok(());
            };
            self.note(checkpoint);
            self.on_bridged();
            self.config.tap.look(|backlog| backlog.forget(to));
            let open = listening.is_some_and(|(segment, _)| to.is_in(segment));
            self.leading = Some(Leadership { cursor: to, gap: false, alone: alone && !open });
            self.metrics.appended.increment(appended - u64::from(gap));
            self.metrics.duplicates.increment(all - appended);
            if gap {
                self.metrics.gaps.increment(1);
                warn!(redis = %self.config.endpoint, "messages of bridged channels may be missing, because nobody heard all of them; every stream gets a reset");
            }
        }
        Ok(())
    }

    fn connection(&mut self) -> Result<(&BridgeLease, &mut RedisConnection), RedisError> {
        Ok((&self.config.lease, self.connection.as_mut().ok_or(RedisError::Closed)?))
    }

    /// Notes that channels are bridged, by whichever instance, and that this one could go on.
    fn on_bridged(&self) {
        let is_placed = self.checkpoint.as_deref().is_some_and(|checkpoint| !checkpoint.is_empty());
        // At another server of a Cluster it may never be able to.
        let has_tried = self.began.elapsed() > self.config.length * 2;
        if is_placed && (has_tried || self.could_go_on()) {
            self.health.up();
            // Later on the daemon serves what is in the stream all the same.
            self.health.set_required(false);
        } else {
            self.health.down("it is not known yet up to where other instances have bridged");
        }
    }

    /// What is in the stream need not be kept.
    fn forget(&self) {
        let position = self.checkpoint.as_deref().and_then(|checkpoint| checkpoint.parse().ok());
        self.config.tap.look(|backlog| {
            if let Some(cursor) = position.and_then(|position| backlog.locate(position)) {
                backlog.forget(cursor);
            }
        });
    }

    /// Notes that the lease is not ours.
    fn lose(&mut self, reason: &'static str) {
        if self.leading.take().is_some() {
            self.metrics.leader.set(0.0);
            info!(redis = %self.config.endpoint, reason, "this instance no longer appends what comes on bridged channels");
        }
    }

    /// Gives the lease up and lets everybody know.
    async fn step_down(&mut self, reason: &'static str) -> Result<(), RedisError> {
        self.lose(reason);
        let now = Instant::now();
        self.free_since = Some(now);
        self.due = now + (self.config.length / 20).max(LOOK);
        let channel = self.config.tap.channel().to_vec();
        let (lease, connection) = self.connection()?;
        lease.step_down(connection).await?;
        lease.tell(connection, &channel, ChannelTap::free()).await
    }
}

impl Supervised for Bridge {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        let BridgeConfig { endpoint, timing, max_text, .. } = &self.config;
        self.connection = Some(endpoint.open(timing.timeout, *max_text).await?);
        status.on_connected();
        self.due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return Ok(()),
                () = sleep_until(self.due) => {}
                () = self.config.tap.news() => {}
            }
            self.metrics.waiting.set(self.config.tap.look(|backlog| backlog.len()) as f64);
            self.tick().await?;
        }
    }

    /// Whatever was under way may have been done or not: the checkpoint will tell.
    fn on_disconnected(&mut self, _error: &RedisError) -> Instant {
        self.connection = None;
        self.lose("Redis does not answer");
        self.free_since = None;
        Instant::now()
    }

    /// Appends what is left and gives the lease up.
    async fn stop(&mut self) {
        if self.leading.is_none() {
            return;
        }
        let done = match self.append().await {
            Ok(()) => self.step_down("it stops").await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            debug!(redis = %self.config.endpoint, %error, "the bridge's lease could not be given up, and ends by itself");
        }
    }
}
