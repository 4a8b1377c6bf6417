//! The connection that keeps what users and sessions are given, behind the log's back: it holds nobody up.
//!
//! What is written is what the sets *are* at some id, never what was done to them: so it is no matter how often, by how
//! many instances, and after which failure it is written. What is not written yet stays noted in the log, within a
//! bound; beyond that all sets are written anew.

use crate::lock::Mutex;
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::event::EventId;
use crate::log::{Log, UnsavedTopics};
use crate::redis::Timing;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::topics::store::{Kept, KeptAt, MAX_SET, Step, size};
use crate::retry::random_between;
use crate::shutdown::Drain;
use crate::telemetry::{REDIS_CONNECTS, REDIS_FAILURES, TOPICS_KEPT, TOPICS_UNKEPT_SECONDS};

/// What this connection is for, in metrics.
const PURPOSE: &str = "keep";
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
pub(in crate::redis) struct Hash {
    pub(in crate::redis) name: String,
    /// None until the log is loaded; for ever where the log is no stream.
    at: Mutex<Option<KeptAt>>,
    changed: Notify,
    again: Notify,
}

impl Hash {
    pub(in crate::redis) fn new(name: String) -> Self {
        Self { name, at: Mutex::default(), changed: Notify::new(), again: Notify::new() }
    }

    /// The hash is there, up to `at.id`, and the log is of the same life.
    pub(in crate::redis) fn loaded(&self, at: KeptAt) {
        *self.lock() = Some(at);
        self.changed.notify_one();
    }

    /// A new life has begun, without a difference.
    pub(in crate::redis) fn lives(&self, life: EventId) {
        if let Some(at) = &mut *self.lock() {
            at.life = life;
        }
    }

    pub(in crate::redis) fn at(&self) -> Option<KeptAt> {
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

    fn kept(&self, life: EventId, id: EventId) {
        if let Some(at) = &mut *self.lock()
            && at.life == life
        {
            at.id = id;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<KeptAt>> {
        self.at.lock()
    }
}

/// Keeps the sets in the hash.
pub(in crate::redis) struct Keeper {
    server: Arc<Server>,
    timing: Timing,
    log: Arc<Log>,
    hash: Arc<Hash>,
    /// Whether the log is a stream, whose ids say what is newer.
    follows: bool,
    connection: Option<Connection>,
    told: Told,
    unkept: Gauge,
}

impl Keeper {
    pub(in crate::redis) fn new(
        server: Arc<Server>,
        timing: Timing,
        log: Arc<Log>,
        hash: Arc<Hash>,
        follows: bool,
    ) -> Self {
        log.keep();
        let unkept = metrics::gauge!(TOPICS_UNKEPT_SECONDS);
        Self { server, timing, log, hash, follows, connection: None, told: Told::default(), unkept }
    }

    /// Keeps until `drain` starts, and once more then.
    pub(in crate::redis) async fn run(mut self, drain: Drain) {
        let mut to_read = false;
        let mut pause = EVERY;
        loop {
            let hash = Arc::clone(&self.hash);
            let last = tokio::select! {
                biased;
                () = drain.started() => true,
                () = hash.again.notified() => {
                    to_read = true;
                    false
                }
                // After a failure it is time that counts.
                () = hash.changed.notified(), if pause == EVERY => false,
                () = sleep(pause) => false,
            };
            if !last {
                sleep(random_between(GATHER, 2 * GATHER)).await;
            }
            let turn = self.turn(&mut to_read);
            let done = if last { timeout(LAST, turn).await.unwrap_or(Ok(())) } else { turn.await };
            match done {
                Ok(()) => pause = EVERY,
                Err(failure) => {
                    self.connection = None;
                    pause = (pause * 2).min(self.timing.max_backoff.max(EVERY));
                    self.note(&failure);
                }
            }
            self.unkept.set(self.log.unkept_for().as_secs_f64());
            if last {
                return;
            }
        }
    }

    async fn turn(&mut self, to_read: &mut bool) -> Result<(), Failure> {
        if !self.follows && *to_read {
            self.read().await?;
            *to_read = false;
        }
        // In this order: a life that is older than the sets is refused.
        let at = self.hash.at();
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

    /// Whether it is kept now; if not, that will be told to us.
    async fn keep(&mut self, at: Option<KeptAt>, to_keep: &UnsavedTopics) -> Result<bool, Failure> {
        let Some(given) = to_keep.sets.as_ref().filter(|given| size(given) <= MAX_STEP) else {
            return self.keep_all(at).await;
        };
        let limit = self.timing.timeout;
        let Some(KeptAt { id: from, life }) = at else {
            if !given.is_empty() {
                let hash = Arc::clone(&self.hash);
                let step = self.connect().await?.put_given(&hash.name, given, limit).await?;
                count(step);
                if step == Step::Absent {
                    return self.keep_all(at).await;
                }
            }
            return Ok(true);
        };
        if to_keep.at.order() <= from.order() {
            // The hash holds up to here: what changed is in it.
            return Ok(true);
        }
        let hash = Arc::clone(&self.hash);
        let now = KeptAt { id: to_keep.at, life };
        let step = self.connect().await?.fold_given(&hash.name, now, from, given, limit).await?;
        count(step);
        match step {
            Step::Made | Step::Known => {
                hash.kept(life, to_keep.at);
                Ok(true)
            }
            Step::OtherLife => {
                let connection = self.connect().await?;
                if let Some(there) = connection.given_at(&hash.name, limit).await?
                    && there.life.order() < life.order()
                {
                    // Whoever was to begin this life has not, and there is no difference between the two.
                    connection.claim_given(&hash.name, there, KeptAt { life, ..there }, limit).await?;
                }
                Ok(false)
            }
            Step::Absent | Step::Behind => self.keep_all(at).await,
        }
    }

    /// Writes all sets anew, in pieces, and puts them in place in one step.
    async fn keep_all(&mut self, at: Option<KeptAt>) -> Result<bool, Failure> {
        let (log, hash, limit) = (Arc::clone(&self.log), Arc::clone(&self.hash), self.timing.timeout);
        let connection = self.connect().await?;
        let life = at.map(|at| at.life);
        let seeded = seed(connection, &hash.name, &log, life, limit).await;
        if let Ok((id, Step::Made | Step::Known)) = seeded {
            if let Some(life) = life {
                hash.kept(life, id);
            }
            return Ok(true);
        }
        // What had been noted is no longer.
        log.nothing_kept();
        seeded.map(|_| false)
    }

    /// Takes over what the hash has, where the log is no stream.
    async fn read(&mut self) -> Result<(), Failure> {
        let (hash, limit) = (Arc::clone(&self.hash), self.timing.timeout);
        match self.connect().await?.given(&hash.name, limit).await? {
            Kept::Sets(_, given) => {
                let holders = given.len();
                self.log.adopt(given);
                info!(redis = %self.server, holders, "what users and sessions are given is read from Redis");
            }
            // Perhaps Redis came back empty: what is known here is known.
            Kept::Nothing => {
                if !self.log.holders().is_empty() {
                    self.log.nothing_kept();
                }
            }
            Kept::Unreadable => {
                warn!(redis = %self.server, "Redis does not let sidestream read what users and sessions are given: it will not outlast a restart");
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<&mut Connection, Failure> {
        // One on which something was said that nobody asked for, or that has ended, is of no use.
        if let Some(connection) = &mut self.connection
            && timeout(Duration::ZERO, connection.receive()).await.is_ok()
        {
            self.connection = None;
        }
        if self.connection.is_none() {
            let connection = self.server.open(self.timing.timeout, MAX_SET).await?;
            self.connection = Some(connection);
            metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE).increment(1);
            self.told.forget();
        }
        self.connection.as_mut().ok_or(Failure::Closed)
    }

    fn note(&mut self, failure: &Failure) {
        let reason = failure.word();
        metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
        metrics::counter!(TOPICS_KEPT, "result" => "failed").increment(1);
        if self.told.say(reason) {
            warn!(redis = %self.server, reason, %failure, "cannot keep in Redis what users and sessions are given; trying again");
        } else {
            debug!(redis = %self.server, reason, %failure, "still cannot keep what users and sessions are given");
        }
    }
}

/// Writes all sets of `log` anew and puts them in the place of the hash, unless that is there and as new; with the id
/// at which they are these. `life` is None where the log is no stream.
pub(in crate::redis) async fn seed(
    connection: &mut Connection,
    hash: &str,
    log: &Log,
    life: Option<EventId>,
    limit: Duration,
) -> Result<(EventId, Step), Failure> {
    let copy = format!("{hash}:new:{:016x}", getrandom::u64().unwrap_or_default());
    let holders = log.holders();
    let mut copied = 0;
    for holders in holders.chunks(PIECE) {
        copied += connection.copy_given(&copy, &log.given(holders), limit).await?;
    }
    // What has changed while that went on.
    let UnsavedTopics { at, sets, .. } = log.to_keep();
    let Some(changed) = sets else { return Ok((at, Step::Behind)) };
    let step = match life {
        Some(life) => {
            connection.seed_given(hash, (&copy, copied), KeptAt { id: at, life }, &changed, limit).await?
        }
        None => match connection.replace_given(hash, (&copy, copied), limit).await? {
            Step::Made => connection.put_given(hash, &changed, limit).await?,
            step => step,
        },
    };
    metrics::counter!(TOPICS_KEPT, "result" => "whole").increment(1);
    info!(holders = holders.len(), at = %at, ?step, "what users and sessions are given is written to Redis anew");
    Ok((at, step))
}

fn count(step: Step) {
    let result = match step {
        Step::Made => "made",
        Step::Known => "known",
        Step::Absent | Step::OtherLife | Step::Behind => "refused",
    };
    metrics::counter!(TOPICS_KEPT, "result" => result).increment(1);
}
