//! The connection that keeps what users and sessions are given, behind the log's back: it holds nobody up.
//!
//! What is written is what the sets *are* at some id, never what was done to them: so it is no matter how often, by how
//! many instances, and after which error it is written. What is not written yet stays noted in the log, within a
//! bound; beyond that all sets are written anew.

use crate::lock::Mutex;
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::event::EventId;
use crate::log::{Log, UnsavedTopics};
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::supervise::{ConnectionStatus, Purpose, Supervised, supervise};
use crate::redis::topics::store::{MAX_SET, StoreOutcome, StoredAt, StoredTopics, size};
use crate::retry::random_between;
use crate::shutdown::Drain;
use crate::telemetry::{TOPICS_KEPT, TOPICS_UNKEPT_SECONDS};

const PURPOSE: Purpose = Purpose {
    label: "keep",
    connected: "connected to Redis for what users and sessions are given",
    reconnected: "connected to Redis for what users and sessions are given again",
    failed: "cannot keep in Redis what users and sessions are given; trying again",
    meanwhile: "changes of topics would not outlast a restart",
};
/// How often is looked when nobody says that something has changed.
const EVERY: Duration = Duration::from_secs(1);
/// For how long changes are gathered: from, and up to as much again.
const GATHER: Duration = Duration::from_millis(25);
/// How long the last write may take when the process stops.
const LAST: Duration = Duration::from_millis(500);
/// More is not written in one step.
const MAX_STEP: usize = 8 << 20;
/// Holders whose sets are copied at once.
const PIECE: usize = 1000;

/// What is known of the hash. Shared by who follows the stream and who keeps the sets.
#[derive(Debug)]
pub(in crate::redis) struct TopicStore {
    pub(in crate::redis) name: String,
    /// None until the log is loaded; for ever where the log is no stream.
    at: Mutex<Option<StoredAt>>,
    changed: Notify,
    again: Notify,
}

impl TopicStore {
    pub(in crate::redis) fn new(name: String) -> Self {
        Self { name, at: Mutex::default(), changed: Notify::new(), again: Notify::new() }
    }

    /// The hash is there, up to `at.id`, and the log is of the same life.
    pub(in crate::redis) fn loaded(&self, at: StoredAt) {
        *self.lock() = Some(at);
        self.changed.notify_one();
    }

    /// A new life has begun, without a difference.
    pub(in crate::redis) fn set_epoch(&self, epoch: EventId) {
        if let Some(at) = &mut *self.lock() {
            at.epoch = epoch;
        }
    }

    pub(in crate::redis) fn at(&self) -> Option<StoredAt> {
        *self.lock()
    }

    /// Some set has changed.
    pub(in crate::redis) fn changed(&self) {
        self.changed.notify_one();
    }

    /// What the hash has is to be read (again), where the log is no stream.
    pub(in crate::redis) fn read_again(&self) {
        self.again.notify_one();
    }

    fn kept(&self, epoch: EventId, id: EventId) {
        if let Some(at) = &mut *self.lock()
            && at.epoch == epoch
        {
            at.id = id;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<StoredAt>> {
        self.at.lock()
    }
}

/// Keeps the sets in the hash.
pub(in crate::redis) struct TopicWriter {
    endpoint: Arc<Endpoint>,
    timing: Timing,
    log: Arc<Log>,
    store: Arc<TopicStore>,
    /// Whether the log is a stream, whose ids say what is newer.
    follows: bool,
    /// What the hash has is to be read, where the log is no stream.
    to_read: bool,
    connection: Option<RedisConnection>,
    unsaved: Gauge,
}

impl TopicWriter {
    pub(in crate::redis) fn new(
        endpoint: Arc<Endpoint>,
        timing: Timing,
        log: Arc<Log>,
        store: Arc<TopicStore>,
        follows: bool,
    ) -> Self {
        log.keep();
        let unsaved = metrics::gauge!(TOPICS_UNKEPT_SECONDS);
        Self { endpoint, timing, log, store, follows, to_read: false, connection: None, unsaved }
    }

    /// Writes until `drain` starts, and once more then.
    pub(in crate::redis) async fn run(self, drain: Drain) {
        let max_backoff = self.timing.max_backoff.max(EVERY);
        let status = ConnectionStatus::new(Arc::clone(&self.endpoint), &PURPOSE, max_backoff);
        supervise(self, status, drain).await;
    }

    /// Writes what has changed.
    async fn tick(&mut self) -> Result<(), RedisError> {
        let done = self.write().await;
        self.unsaved.set(self.log.unsaved_for().as_secs_f64());
        done
    }

    async fn write(&mut self) -> Result<(), RedisError> {
        if !self.follows && self.to_read {
            self.read().await?;
            self.to_read = false;
        }
        // In this order: a life that is older than the sets is refused.
        let at = self.store.at();
        if self.follows && at.is_none() {
            return Ok(());
        }
        let to_keep = self.log.to_keep();
        let kept = self.keep(at, &to_keep).await;
        if !matches!(kept, Ok(true)) {
            self.log.not_kept(&to_keep);
        }
        kept.map(drop)
    }

    /// Whether it is kept now; if not, we will be woken.
    async fn keep(&mut self, at: Option<StoredAt>, to_keep: &UnsavedTopics) -> Result<bool, RedisError> {
        let Some(assigned) = to_keep.sets.as_ref().filter(|assigned| size(assigned) <= MAX_STEP) else {
            return self.keep_all(at).await;
        };
        let limit = self.timing.timeout;
        let Some(StoredAt { id: from, epoch }) = at else {
            if !assigned.is_empty() {
                let store = Arc::clone(&self.store);
                let step = self.connect().await?.put_assigned(&store.name, assigned, limit).await?;
                count(step);
                if step == StoreOutcome::Absent {
                    return self.keep_all(at).await;
                }
            }
            return Ok(true);
        };
        if to_keep.at.order() <= from.order() {
            // The hash holds up to here: what changed is in it.
            return Ok(true);
        }
        let store = Arc::clone(&self.store);
        let now = StoredAt { id: to_keep.at, epoch };
        let step = self.connect().await?.fold_assigned(&store.name, now, from, assigned, limit).await?;
        count(step);
        match step {
            StoreOutcome::Made | StoreOutcome::Known => {
                store.kept(epoch, to_keep.at);
                Ok(true)
            }
            StoreOutcome::OtherLife => {
                let connection = self.connect().await?;
                if let Some(there) = connection.given_at(&store.name, limit).await?
                    && there.epoch.order() < epoch.order()
                {
                    // The instance that was to begin this epoch has not, and there is no difference between the two.
                    connection.claim_assigned(&store.name, there, StoredAt { epoch, ..there }, limit).await?;
                }
                Ok(false)
            }
            StoreOutcome::Absent | StoreOutcome::Behind => self.keep_all(at).await,
        }
    }

    /// Writes all sets anew, in pieces, and puts them in place in one step.
    async fn keep_all(&mut self, at: Option<StoredAt>) -> Result<bool, RedisError> {
        let (log, store, limit) = (Arc::clone(&self.log), Arc::clone(&self.store), self.timing.timeout);
        let connection = self.connect().await?;
        let epoch = at.map(|at| at.epoch);
        let seeded = seed(connection, &store.name, &log, epoch, limit).await;
        if let Ok((id, StoreOutcome::Made | StoreOutcome::Known)) = seeded {
            if let Some(epoch) = epoch {
                store.kept(epoch, id);
            }
            return Ok(true);
        }
        // What had been noted is no longer.
        log.nothing_kept();
        seeded.map(|_| false)
    }

    /// Takes over what the hash has, where the log is no stream.
    async fn read(&mut self) -> Result<(), RedisError> {
        let (store, limit) = (Arc::clone(&self.store), self.timing.timeout);
        match self.connect().await?.assigned(&store.name, limit).await? {
            StoredTopics::Sets(_, assigned) => {
                let holders = assigned.len();
                self.log.adopt(assigned);
                info!(redis = %self.endpoint, holders, "what users and sessions are given is read from Redis");
            }
            // Perhaps Redis came back empty: what is known here is known.
            StoredTopics::Nothing => {
                if !self.log.holders().is_empty() {
                    self.log.nothing_kept();
                }
            }
            StoredTopics::Unreadable => {
                warn!(redis = %self.endpoint, "Redis does not let sidestream read what users and sessions are given: it will not outlast a restart");
            }
        }
        Ok(())
    }

    /// The connection, made when it is needed.
    async fn connect(&mut self) -> Result<&mut RedisConnection, RedisError> {
        // One on which something was said that nobody asked for, or that has ended, is of no use.
        if let Some(connection) = &mut self.connection
            && timeout(Duration::ZERO, connection.receive()).await.is_ok()
        {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = Some(self.endpoint.open(self.timing.timeout, MAX_SET).await?);
        }
        self.connection.as_mut().ok_or(RedisError::Closed)
    }
}

impl Supervised for TopicWriter {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        loop {
            let store = Arc::clone(&self.store);
            tokio::select! {
                biased;
                () = drain.started() => return Ok(()),
                () = store.again.notified() => self.to_read = true,
                () = store.changed.notified() => {}
                () = sleep(EVERY) => {}
            }
            // Changes come in groups, and to all instances at once.
            sleep(random_between(GATHER, 2 * GATHER)).await;
            self.tick().await?;
            if self.connection.is_some() {
                status.on_connected();
            }
        }
    }

    fn on_disconnected(&mut self, _error: &RedisError) -> Instant {
        self.connection = None;
        metrics::counter!(TOPICS_KEPT, "result" => "failed").increment(1);
        Instant::now()
    }

    async fn stop(&mut self) {
        let _ = timeout(LAST, self.tick()).await;
    }
}

/// Writes all sets of `log` anew and puts them in the place of the hash, unless that is there and as new; with the id
/// at which they are these. `epoch` is None where the log is no stream.
pub(in crate::redis) async fn seed(
    connection: &mut RedisConnection,
    hash: &str,
    log: &Log,
    epoch: Option<EventId>,
    limit: Duration,
) -> Result<(EventId, StoreOutcome), RedisError> {
    let copy = format!("{hash}:new:{:016x}", getrandom::u64().unwrap_or_default());
    let holders = log.holders();
    let mut copied = 0;
    for holders in holders.chunks(PIECE) {
        copied += connection.copy_assigned(&copy, &log.assigned(holders), limit).await?;
    }
    // What has changed while that went on.
    let UnsavedTopics { at, sets, .. } = log.to_keep();
    let Some(changed) = sets else { return Ok((at, StoreOutcome::Behind)) };
    let step = match epoch {
        Some(epoch) => {
            connection
                .seed_assigned(hash, (&copy, copied), StoredAt { id: at, epoch }, &changed, limit)
                .await?
        }
        None => match connection.replace_assigned(hash, (&copy, copied), limit).await? {
            StoreOutcome::Made => connection.put_assigned(hash, &changed, limit).await?,
            step => step,
        },
    };
    metrics::counter!(TOPICS_KEPT, "result" => "whole").increment(1);
    info!(holders = holders.len(), at = %at, ?step, "what users and sessions are given is written to Redis anew");
    Ok((at, step))
}

fn count(step: StoreOutcome) {
    let result = match step {
        StoreOutcome::Made => "made",
        StoreOutcome::Known => "known",
        StoreOutcome::Absent | StoreOutcome::OtherLife | StoreOutcome::Behind => "refused",
    };
    metrics::counter!(TOPICS_KEPT, "result" => result).increment(1);
}
