//! Appends what is published on bridged channels to the stream: on one instance, each message once and in order.
//!
//! Every instance hears all of it ([`Heard`](crate::redis::bridge::backlog::Heard)) and keeps what is not known to be in the stream. The
//! holder of the lease appends. Whoever takes the lease over reads up to where the messages have been appended, finds
//! that place in what it heard itself, and goes on there. An instance that cannot find it waits until those who can had
//! their chance, and then says in the stream that messages may be missing: a gap is told, never silent.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::health::Reporter;
use crate::redis::Timing;
use crate::redis::bridge::backlog::{Batch, Cursor, Position, overlap};
use crate::redis::bridge::lease::{Entry, Lease, Standing, random};
use crate::redis::bridge::stream_end::gap_event;
use crate::redis::bridge::tap::Ear;
use crate::redis::client::FIRST_PAUSE;
use crate::redis::client::connection::Connection;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry::{
    REDIS_BRIDGE_EVENTS, REDIS_BRIDGE_GAPS, REDIS_BRIDGE_LEADER, REDIS_BRIDGE_WAITING, REDIS_CONNECTS,
    REDIS_FAILURES,
};

/// What this connection is for, in metrics.
const PURPOSE: &str = "bridge";
/// How many messages are appended at once, and about how many bytes.
const MAX_BATCH: usize = 256;
const MAX_WRITE: usize = 1 << 20;
/// The shortest time between two looks at a lease that somebody else has or nobody may take yet.
const LOOK: Duration = Duration::from_millis(20);

/// Bridges channels into the stream.
pub(in crate::redis) struct Bridge {
    banks: Banks,
    health: Reporter,
    connection: Option<Connection>,
    lead: Option<Lead>,
    /// The place as Redis told it last; None before it did.
    place: Option<String>,
    /// Since when nobody has the lease, as far as this instance saw.
    free: Option<Instant>,
    /// When a marker was set last, and in which stretch.
    marked: Option<(u64, Instant)>,
    /// When to look at the lease again.
    due: Instant,
    began: Instant,
    told: Told,
    meters: Meters,
}

/// The lease is ours.
struct Lead {
    /// Everything before it is in the stream.
    cursor: Cursor,
    /// Messages before `cursor` may be missing, which has not been said yet.
    gap: bool,
    /// Nobody else could go on without a gap.
    alone: bool,
}

struct Meters {
    leader: Gauge,
    waiting: Gauge,
    appended: Counter,
    duplicates: Counter,
    gaps: Counter,
}

/// What the bridge is between, and how long what may take.
pub(in crate::redis) struct Banks {
    pub(in crate::redis) server: Arc<Server>,
    pub(in crate::redis) timing: Timing,
    pub(in crate::redis) lease: Lease,
    /// How long the lease holds.
    pub(in crate::redis) length: Duration,
    /// The stream's key.
    pub(in crate::redis) stream: Box<[u8]>,
    /// Longest text that is kept of an answer.
    pub(in crate::redis) max_text: usize,
    pub(in crate::redis) ear: Ear,
}

impl Bridge {
    pub(in crate::redis) fn new(banks: Banks, health: Reporter) -> Self {
        let meters = Meters {
            leader: metrics::gauge!(REDIS_BRIDGE_LEADER),
            waiting: metrics::gauge!(REDIS_BRIDGE_WAITING),
            appended: metrics::counter!(REDIS_BRIDGE_EVENTS, "outcome" => "appended"),
            duplicates: metrics::counter!(REDIS_BRIDGE_EVENTS, "outcome" => "duplicate"),
            gaps: metrics::counter!(REDIS_BRIDGE_GAPS),
        };
        meters.leader.set(0.0);
        Self {
            banks,
            health,
            connection: None,
            lead: None,
            place: None,
            free: None,
            marked: None,
            due: Instant::now(),
            began: Instant::now(),
            told: Told::default(),
            meters,
        }
    }

    /// Bridges until `drain` starts, and then lets another instance go on.
    pub(in crate::redis) async fn run(mut self, drain: Drain) {
        let mut backoff = Backoff::new(FIRST_PAUSE, self.banks.timing.max_backoff);
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return self.retire().await,
                () = sleep_until(self.due) => {}
                () = self.banks.ear.news() => {}
            }
            self.meters.waiting.set(self.banks.ear.look(|heard| heard.len()) as f64);
            match self.turn().await {
                Ok(()) => backoff.reset(),
                Err(failure) => {
                    self.failed(&failure);
                    tokio::select! {
                        biased;
                        () = drain.started() => return self.retire().await,
                        () = tokio::time::sleep(backoff.pause()) => {}
                    }
                    self.due = Instant::now();
                }
            }
        }
    }

    /// Does what is to be done now.
    async fn turn(&mut self) -> Result<(), Failure> {
        let poked = self.banks.ear.was_poked();
        if poked || self.due <= Instant::now() {
            self.set_marker().await?;
            self.look().await?;
        }
        self.append().await
    }

    /// Sees that this instance can be told the place: sets a marker where none that it heard says it.
    async fn set_marker(&mut self) -> Result<(), Failure> {
        let Some((stretch, has_marker)) = self.banks.ear.look(|heard| heard.listening()) else {
            return Ok(());
        };
        if has_marker && (self.lead.is_some() || self.could_go_on()) {
            return Ok(());
        }
        let now = Instant::now();
        let lately = |(marked, at): (u64, Instant)| marked == stretch && now - at < self.banks.length / 2;
        if self.marked.is_some_and(lately) {
            return Ok(());
        }
        self.marked = Some((stretch, now));
        let text = self.banks.ear.marker(random());
        let channel = self.banks.ear.channel().to_vec();
        let (lease, connection) = self.connected().await?;
        lease.tell(connection, &channel, &text).await
    }

    /// Whether this instance has everything from the place on.
    fn could_go_on(&self) -> bool {
        match self.place.as_deref() {
            None => false,
            // Nothing was ever appended: whoever listens may begin.
            Some("") => true,
            Some(place) => place.parse().is_ok_and(|position| {
                self.banks.ear.look(|heard| heard.place(position).is_some_and(|at| heard.is_whole_from(at)))
            }),
        }
    }

    /// Looks at the lease: renews it, takes it, or sees how far another instance is.
    async fn look(&mut self) -> Result<(), Failure> {
        loop {
            let listens = self.banks.ear.look(|heard| heard.listening()).is_some_and(|(_, marker)| marker);
            // Whoever has everything from the place on goes first.
            let patience = self.banks.length / 2;
            let alone = !self.could_go_on();
            let waited = self.free.is_some_and(|since| since.elapsed() >= patience);
            let wants = listens && (!alone || waited);
            let known = self.place.clone().filter(|_| wants);
            let (lease, connection) = self.connected().await?;
            let (standing, place) = lease.take(connection, known.as_deref()).await?;
            let moved = self.place.as_ref() != Some(&place);
            self.place = Some(place);
            let now = Instant::now();
            match standing {
                Standing::Ours => {
                    self.due = now + self.banks.length / 3;
                    self.free = None;
                    if self.lead.is_none() {
                        return self.begin_lead(alone && waited).await;
                    }
                }
                Standing::Others(left) => {
                    self.lose("another instance has it");
                    self.forget();
                    self.free = None;
                    self.stands();
                    // As soon as it can end, at different times on different instances.
                    let soon = left + LOOK.mul_f64(0.1 + f64::from(random() as u8) / 256.0);
                    // The place is told by a marker of ours in a moment: until then nothing could go on here.
                    let most = if self.could_go_on() { self.banks.length / 3 } else { 5 * LOOK };
                    self.due = now + soon.clamp(LOOK, most);
                }
                Standing::Free => {
                    self.lose("it was not renewed in time");
                    self.forget();
                    let since = *self.free.get_or_insert(now);
                    if moved {
                        // What to do depends on the place.
                        continue;
                    }
                    if since.elapsed() > patience * 2 {
                        self.health.down("no instance appends what comes on bridged channels to the stream");
                    }
                    self.due = now + (self.banks.length / 20).max(LOOK);
                }
            }
            return Ok(());
        }
    }

    /// Finds where to go on.
    async fn begin_lead(&mut self, alone: bool) -> Result<(), Failure> {
        let place = self.place.clone().unwrap_or_default();
        let position = place.parse::<Position>().ok();
        let found = position.and_then(|position| self.banks.ear.look(|heard| heard.place(position)));
        let (cursor, gap) = match found {
            Some(cursor) => (Some(cursor), false),
            None if !place.is_empty() && !alone => {
                // It was ours, and what was heard since has a break: another instance may have none.
                return self.leave("it cannot be told where to go on").await;
            }
            None => {
                let (limit, stream) = (self.banks.timing.timeout, self.banks.stream.clone());
                let (_, connection) = self.connected().await?;
                let (tail, is_cut) = connection.bridged_end(&stream, limit).await?;
                self.banks.ear.look(|heard| {
                    let lost = heard.keep_last_stretch();
                    let all: Vec<&[u8]> = heard.all().map(|message| &*message.json).collect();
                    let tail: Vec<&[u8]> = tail.iter().map(|json| &**json).collect();
                    let known = overlap(&tail, is_cut, &all);
                    let gap = lost || !place.is_empty() || (!tail.is_empty() && known == 0);
                    // Of what was heard before a break it cannot be told.
                    (heard.behind(known).filter(|_| heard.is_listening()), gap)
                })
            }
        };
        let Some(cursor) = cursor else { return self.leave("nothing is heard").await };
        self.meters.leader.set(1.0);
        info!(redis = %self.banks.server, gap, "this instance appends what comes on bridged channels to the stream");
        self.lead = Some(Lead { cursor, gap, alone });
        Ok(())
    }

    /// Appends what is there, while the lease is ours.
    async fn append(&mut self) -> Result<(), Failure> {
        while let Some(Lead { cursor, gap, alone }) = self.lead {
            let (at_break, listening) =
                self.banks.ear.look(|heard| (heard.is_at_break(cursor), heard.listening()));
            if at_break && !alone {
                // Another instance may have heard what this one missed.
                return self.leave("its connection that listens was away").await;
            }
            let batch = self.banks.ear.look(|heard| heard.batch(cursor, MAX_BATCH, MAX_WRITE));
            let Some(Batch { gap: missing, messages, to, position }) = batch else {
                return if listening.is_none() { self.leave("nothing is heard").await } else { Ok(()) };
            };
            let gap = gap || missing;
            let from = self.place.clone().unwrap_or_default();
            let place = position.to_string();
            let says = |marker: &str| from.split(':').next() == Some(marker);
            let is_news = gap || !messages.is_empty() || !says(&format!("{:016x}", position.marker));
            // Messages that are nothing only move the place, which can wait for the lease's renewal.
            if !is_news && (from == place || self.due > Instant::now() + self.banks.length / 6) {
                return Ok(());
            }
            let reset = gap_event();
            let mut entries = Vec::with_capacity(messages.len() + 1);
            if gap {
                entries.push(Entry {
                    json: reset.as_bytes(),
                    position,
                    is_quoted: false,
                    idempotency_key: None,
                });
            }
            entries.extend(messages.iter().map(|(message, position)| Entry {
                json: &message.json,
                position: *position,
                is_quoted: message.is_quoted,
                idempotency_key: message.idempotency_key.as_deref(),
            }));
            let all = entries.len() as u64;
            let (lease, connection) = self.connected().await?;
            let Some(appended) = lease.append(connection, &from, &place, &entries).await? else {
                self.lose("another instance has gone on");
                self.due = Instant::now();
                return Ok(());
            };
            self.place = Some(place);
            self.stands();
            self.banks.ear.look(|heard| heard.forget(to));
            let open = listening.is_some_and(|(stretch, _)| to.is_in(stretch));
            self.lead = Some(Lead { cursor: to, gap: false, alone: alone && !open });
            self.meters.appended.increment(appended - u64::from(gap));
            self.meters.duplicates.increment(all - appended);
            if gap {
                self.meters.gaps.increment(1);
                warn!(redis = %self.banks.server, "messages of bridged channels may be missing, because nobody heard all of them; every stream is told");
            }
        }
        Ok(())
    }

    /// Sees that there is a connection.
    async fn connected(&mut self) -> Result<(&Lease, &mut Connection), Failure> {
        let Banks { server, timing, lease, max_text, .. } = &self.banks;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let made = server.open(timing.timeout, *max_text).await?;
                self.told.forget();
                metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE).increment(1);
                info!(redis = %server, "connected to Redis for the bridge");
                none.insert(made)
            }
        };
        Ok((lease, connection))
    }

    /// Notes that channels are bridged, by whichever instance, and that this one could go on.
    fn stands(&self) {
        let is_placed = self.place.as_deref().is_some_and(|place| !place.is_empty());
        // At another server of a Cluster it may never be able to.
        let has_tried = self.began.elapsed() > self.banks.length * 2;
        if is_placed && (has_tried || self.could_go_on()) {
            self.health.up();
            // Later on the daemon serves what is in the stream all the same.
            self.health.no_longer_required();
        } else {
            self.health.down("it is not known yet up to where other instances have bridged");
        }
    }

    /// What is in the stream need not be kept.
    fn forget(&self) {
        let position = self.place.as_deref().and_then(|place| place.parse().ok());
        self.banks.ear.look(|heard| {
            if let Some(cursor) = position.and_then(|position| heard.place(position)) {
                heard.forget(cursor);
            }
        });
    }

    /// Notes that the lease is not ours.
    fn lose(&mut self, why: &'static str) {
        if self.lead.take().is_some() {
            self.meters.leader.set(0.0);
            info!(redis = %self.banks.server, why, "this instance no longer appends what comes on bridged channels");
        }
    }

    /// Gives the lease up and lets everybody know.
    async fn leave(&mut self, why: &'static str) -> Result<(), Failure> {
        self.lose(why);
        let now = Instant::now();
        self.free = Some(now);
        self.due = now + (self.banks.length / 20).max(LOOK);
        let channel = self.banks.ear.channel().to_vec();
        let (lease, connection) = self.connected().await?;
        lease.leave(connection).await?;
        lease.tell(connection, &channel, Ear::free()).await
    }

    /// Appends what is left and gives the lease up.
    async fn retire(mut self) {
        if self.lead.is_none() {
            return;
        }
        let done = match self.append().await {
            Ok(()) => self.leave("it stops").await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = done {
            debug!(redis = %self.banks.server, %failure, "the bridge's lease could not be given up, and ends by itself");
        }
    }

    /// Whatever was under way may have been done or not: the place will tell.
    fn failed(&mut self, failure: &Failure) {
        self.connection = None;
        self.lose("Redis does not answer");
        self.free = None;
        let reason = failure.word();
        metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
        self.health.down(format!("{failure}; what comes on bridged channels waits"));
        if self.told.say(reason) {
            warn!(redis = %self.banks.server, reason, %failure, "the bridge cannot reach the stream in Redis; trying again until it answers");
        }
    }
}
