//! The connection that follows the stream: made, caught up, watched, and made again, for ever.
//!
//! Reads block, but never longer than a bound, so the very connection that delivers is probed by each read. Before a
//! read Redis is asked whether the stream still has what was read last: what was trimmed or lost in between is said to
//! every stream, never passed over. This file must not know who listens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::event::EventId;
use crate::health::Reporter;
use crate::log::{CopyOutcome, Log, LogRecord, RecordKind, Reset};
use crate::redis::client::FIRST_PAUSE;
use crate::redis::client::connection::Connection;
use crate::redis::client::decode::Token;
use crate::redis::client::endpoint::Server;
use crate::redis::client::error::{Failure, Told};
use crate::redis::client::resp::write_command;
use crate::redis::log::entry::{BadEntry, Entry};
use crate::redis::log::loader::{Loaded, NoPlace, advance, begin, load, understood};
use crate::redis::log::preflight::Census;
use crate::redis::log::stream_info::{Info, Verdict, ask_info};
use crate::redis::topics::store::KeptAt;
use crate::redis::topics::writer::Hash;
use crate::redis::{Changes, Timing};
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry::{
    EVENTS, EVENTS_REFUSED, REDIS_CONNECTS, REDIS_FAILURES, REDIS_STREAM_DELAY, REDIS_STREAM_LOAD,
    REDIS_STREAM_RESETS, REDIS_STREAM_UP, Throttle,
};

/// What this connection is for, in metrics.
const PURPOSE: &str = "tail";
/// The source's name in metrics.
const SOURCE: &str = "stream";
/// What it was at, in failures.
const READING: &str = "reading the stream";
/// How long a read waits for entries: as often the connection is probed.
const BLOCK: Duration = Duration::from_millis(1000);
/// How often a load begins anew because what is kept of given topics has changed meanwhile.
const MAX_LOADS: usize = 8;
/// How many entries wait at most while a reply is being read.
const FLUSH: usize = 256;

/// Which part of the configuration the stream's reader needs.
#[derive(Clone, Debug)]
pub(in crate::redis) struct Reading {
    pub(in crate::redis) key: Box<[u8]>,
    /// Entries asked for at once.
    pub(in crate::redis) batch: usize,
    /// Longest text that is kept.
    pub(in crate::redis) max_text: usize,
    /// How long an answer may take.
    pub(in crate::redis) limit: Duration,
}

/// Keeps the log a copy of the stream's newest part.
pub(in crate::redis) struct Tail {
    pub(in crate::redis) server: Arc<Server>,
    pub(in crate::redis) reading: Reading,
    max_backoff: Duration,
    pub(in crate::redis) log: Arc<Log>,
    changes: Arc<dyn Changes>,
    /// Where what users and sessions are given is kept.
    pub(in crate::redis) hash: Arc<Hash>,
    health: Reporter,
    /// Up to where the log has everything; None before the first load.
    pub(in crate::redis) at: Option<At>,
    /// Entries asked for at once: fewer after a connection that broke under an answer, which may be too large for it.
    count: usize,
    /// Entries that were read and not appended yet.
    fresh: Vec<LogRecord>,
    /// A mark of a loss has come: what stands behind it is to be read anew.
    marked: bool,
    away: Option<Away>,
    told: Told,
    census: Census,
    foreign: Throttle,
    meters: Meters,
}

/// A place in the stream.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct At {
    pub(in crate::redis) id: EventId,
    /// How many entries the stream had ever taken by then, where that is known.
    pub(in crate::redis) added: Option<u64>,
    /// Where the newest mark of a loss stands: a loss from before it has been told.
    pub(in crate::redis) mark: Option<EventId>,
}

/// Where a stream begins that does not exist yet: no entry has this id.
pub(in crate::redis) const BEFORE_ALL: EventId = EventId { ms: 0, seq: 0, tag: None };

impl At {
    fn is_before_all(&self) -> bool {
        self.id == BEFORE_ALL
    }
}

/// The connection does not stand, since then; `tried` once an attempt has failed.
#[derive(Clone, Copy, Debug)]
struct Away {
    since: Instant,
    tried: bool,
}

struct Meters {
    up: Gauge,
    connects: Counter,
    events: Counter,
    delay: Histogram,
    load: Histogram,
}

/// How a read is made.
#[derive(Clone, Copy)]
struct Asked {
    /// It has just been seen that nothing is missing.
    doubtless: bool,
    /// The last read waited for nothing.
    idle: bool,
    /// Whether to wait for entries.
    block: bool,
}

/// What came of a read.
#[derive(Clone, Copy)]
enum Read {
    /// The stream has nothing more for now.
    Nothing,
    /// All that there was.
    Entries,
    /// As many entries as were asked for: there may be more.
    More,
    /// What was read last is no longer there: a look has to tell what that means. Nothing was read.
    Doubt,
    /// Another instance has marked a loss: the log begins anew. Nothing behind the mark was read.
    Marked,
}

impl Tail {
    pub(in crate::redis) fn new(
        server: Arc<Server>,
        reading: Reading,
        timing: Timing,
        log: Arc<Log>,
        changes: Arc<dyn Changes>,
        hash: Arc<Hash>,
        health: Reporter,
    ) -> Self {
        let meters = Meters {
            up: metrics::gauge!(REDIS_STREAM_UP),
            connects: metrics::counter!(REDIS_CONNECTS, "purpose" => PURPOSE),
            events: metrics::counter!(EVENTS, "source" => SOURCE),
            delay: metrics::histogram!(REDIS_STREAM_DELAY),
            load: metrics::histogram!(REDIS_STREAM_LOAD),
        };
        meters.up.set(0.0);
        Self {
            server,
            count: reading.batch,
            reading,
            max_backoff: timing.max_backoff,
            log,
            changes,
            hash,
            health,
            at: None,
            fresh: Vec::new(),
            marked: false,
            away: Some(Away { since: Instant::now(), tried: false }),
            told: Told::default(),
            census: Census::default(),
            foreign: Throttle::default(),
            meters,
        }
    }

    /// Follows until `drain` starts.
    pub(in crate::redis) async fn run(mut self, drain: Drain) {
        let mut backoff = Backoff::new(FIRST_PAUSE, self.max_backoff);
        loop {
            let began = Instant::now();
            let failure = tokio::select! {
                biased;
                () = drain.started() => return,
                followed = self.follow() => match followed {
                    Ok(never) => match never {},
                    Err(failure) => failure,
                },
            };
            // What came before the failure is not lost.
            self.flush();
            if began.elapsed() >= self.max_backoff && self.away.is_none() {
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

    /// Connects, catches up and follows, until that fails.
    async fn follow(&mut self) -> Result<Infallible, Failure> {
        let limit = self.reading.limit;
        let mut connection = self.server.open(limit, self.reading.max_text).await?;
        let clock = self.census.take(&mut connection, limit).await?;
        match self.at {
            None => self.load(&mut connection, None).await?,
            Some(at) => self.rejoin(&mut connection, at).await?,
        }
        // Seen by the look just now.
        let mut asked = Asked { doubtless: true, idle: false, block: false };
        loop {
            let read = self.read(&mut connection, asked, clock).await?;
            asked = match read {
                Read::More => Asked { doubtless: false, idle: false, block: false },
                Read::Entries => Asked { doubtless: false, idle: false, block: true },
                Read::Nothing => Asked { doubtless: false, idle: asked.block, block: true },
                Read::Doubt => {
                    let Some(at) = self.at else { return Err(Failure::Unexpected) };
                    self.rejoin(&mut connection, at).await?;
                    Asked { doubtless: true, idle: false, block: false }
                }
                Read::Marked => {
                    self.load(&mut connection, Some(Reset::LogLost)).await?;
                    Asked { doubtless: true, idle: false, block: false }
                }
            };
            if matches!(read, Read::Nothing | Read::Entries) {
                // Nothing was left behind: what comes now is new.
                self.stands();
                self.log.confirm();
            }
        }
    }

    /// Takes the newest part of the stream for the log; `told` goes to every open stream.
    async fn load(&mut self, connection: &mut Connection, told: Option<Reset>) -> Result<(), Failure> {
        let began = Instant::now();
        for _ in 0..MAX_LOADS {
            let mut history = self.log.history();
            // Before the stream, so that what is behind it is found there.
            let kept = self.given(&mut history).await?;
            let changes = &*self.changes;
            let Loaded { at, foreign } = load(connection, &self.reading, &mut history, changes).await?;
            let Some(mut kept) = self.claim(kept, at.mark, &history).await? else { continue };
            if let Some(KeptAt { id, .. }) = &mut kept
                && history.begins_behind().is_some_and(|first| first.order() > id.order())
            {
                let had = self.at.map_or(BEFORE_ALL, |at| at.id);
                if *id == BEFORE_ALL || self.look(connection, *id, None).await?.0 != Verdict::Trimmed {
                    advance(connection, &self.reading, &mut history, *id, changes).await?;
                } else if had.order() > id.order() {
                    // What this instance knows is newer than what was kept.
                    history.forget_known();
                    *id = had;
                } else {
                    warn!(redis = %self.server, kept = %id, "the stream was trimmed past what is kept of given topics: changes in between are lost");
                    advance(connection, &self.reading, &mut history, *id, changes).await?;
                }
            }
            let events = history.len();
            let made = self.log.restart(history, at.id, told);
            if let Some(kept) = kept {
                self.hash.loaded(kept);
            }
            self.changes.made(made);
            self.at = Some(at);
            for bad in foreign {
                self.complain(&bad);
            }
            let took = began.elapsed();
            self.meters.load.record(took);
            info!(redis = %self.server, events, ms = took.as_millis() as u64, "the log is loaded from its stream");
            return Ok(());
        }
        Err(Failure::Unexpected)
    }

    /// What the stream is to somebody who has all of it up to `read`.
    async fn look(
        &self,
        connection: &mut Connection,
        read: EventId,
        added: Option<u64>,
    ) -> Result<(Verdict, Option<Info>), Failure> {
        let Reading { key, limit, .. } = &self.reading;
        let (limit, id) = (*limit, read.to_string());
        let mut commands = Vec::new();
        ask_info(&mut commands, key);
        write_command(&mut commands, &[b"XRANGE", key, id.as_bytes(), id.as_bytes(), b"COUNT", b"1"]);
        write_command(&mut commands, &[b"XRANGE", key, b"-", b"+", b"COUNT", b"1"]);
        connection.send(&commands).await?;
        let info = connection.info(limit).await?;
        let there = connection.one_id(limit).await?.is_some();
        let first = connection.one_id(limit).await?;
        let verdict = match info {
            Some(info) => info.judge(read, added, there, first),
            None if read == BEFORE_ALL => Verdict::Whole,
            None => Verdict::Lost,
        };
        Ok((verdict, info))
    }

    /// Finds out what became of the stream meanwhile.
    async fn rejoin(&mut self, connection: &mut Connection, at: At) -> Result<(), Failure> {
        let (verdict, info) = self.look(connection, at.id, at.added).await?;
        match verdict {
            Verdict::Whole => {
                if let Some(info) = info.filter(|info| info.last.order() == at.id.order()) {
                    self.at = Some(At { added: info.added, ..at });
                }
                Ok(())
            }
            Verdict::Trimmed => {
                warn!(redis = %self.server, read_to = %at.id, "the stream was trimmed past what had been read; every open stream is told");
                self.count_reset(Reset::LogTrimmed);
                self.load(connection, Some(Reset::LogTrimmed)).await
            }
            Verdict::Lost => {
                warn!(redis = %self.server, read_to = %at.id, "Redis lost the newest part of the stream, or all of it; every open stream is told");
                self.count_reset(Reset::LogLost);
                self.begin_anew(connection, at, info.map(|info| info.last)).await
            }
        }
    }

    /// Marks the loss in the stream, for those who come later too, and starts behind the mark.
    async fn begin_anew(
        &mut self,
        connection: &mut Connection,
        at: At,
        last: Option<EventId>,
    ) -> Result<(), Failure> {
        if begin(connection, &self.reading, Some(at.id), last).await?.is_some() {
            // Nothing from before the mark is kept: what is missing there, nobody knows.
            return self.load(connection, Some(Reset::LogLost)).await;
        }
        warn!(redis = %self.server, "Redis does not let sidestream mark the loss in the stream: instances that start later will not know of it");
        let end = last.unwrap_or(BEFORE_ALL);
        self.log.restart(self.log.history(), end, Some(Reset::LogLost));
        self.at = Some(At { id: end, added: None, mark: Some(end) });
        Ok(())
    }

    /// One read: appends what comes.
    async fn read(
        &mut self,
        connection: &mut Connection,
        Asked { doubtless, idle, block }: Asked,
        clock: Clock,
    ) -> Result<Read, Failure> {
        let Some(at) = self.at else { return Err(Failure::Unexpected) };
        let Reading { key, limit, .. } = &self.reading;
        let (limit, id) = (*limit, at.id.to_string());
        let ask_role = self.server.may_move();
        let mut commands = Vec::new();
        if idle {
            ask_info(&mut commands, key);
        }
        if ask_role {
            write_command(&mut commands, &[b"ROLE"]);
        }
        let doubtless = doubtless || at.is_before_all();
        if !doubtless {
            write_command(&mut commands, &[b"XRANGE", key, id.as_bytes(), id.as_bytes(), b"COUNT", b"1"]);
        }
        let (count, wait) = (self.count.to_string(), BLOCK.as_millis().to_string());
        let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", count.as_bytes()];
        if block {
            words.extend([&b"BLOCK"[..], wait.as_bytes()]);
        }
        words.extend([&b"STREAMS"[..], key, id.as_bytes()]);
        write_command(&mut commands, &words);
        match timeout(limit, connection.send(&commands)).await {
            Ok(sent) => sent?,
            Err(_) => {
                let address = connection.to().to_owned();
                return Err(Failure::Timeout { address, limit, doing: READING });
            }
        }
        let mut doubt = false;
        if idle {
            match connection.info(limit).await? {
                Some(info) if info.last.order() == at.id.order() => {
                    self.at = Some(At { added: info.added, ..at });
                }
                Some(info) if info.last.order() > at.id.order() => {}
                None if at.is_before_all() => {}
                // Gone, or gone back: ids from before would never be passed.
                _ => doubt = true,
            }
        }
        if ask_role {
            connection.role(limit).await?;
        }
        if !doubtless && connection.one_id(limit).await?.is_none() {
            doubt = true;
        }
        let came = match connection.token(BLOCK + limit, READING).await? {
            Token::Nil => 0,
            Token::Array(1) => {
                let (Token::Array(2), Token::Bulk(_)) =
                    (connection.token(limit, READING).await?, connection.token(limit, READING).await?)
                else {
                    return Err(Failure::Unexpected);
                };
                let Token::Array(came) = connection.token(limit, READING).await? else {
                    return Err(Failure::Unexpected);
                };
                came
            }
            Token::Error(text) => {
                return Err(Failure::refused("to let the stream be read", &text, self.server.secret()));
            }
            _ => return Err(Failure::Unexpected),
        };
        for _ in 0..came {
            let entry = connection.entry(limit, READING).await?;
            // Where it is not sure that nothing is missing before them they are read again afterwards.
            if !doubt && !self.marked {
                self.take(entry, clock);
            }
        }
        let newest = self.fresh.last().map(|placed| placed.age);
        self.flush();
        if let Some(delay) = newest {
            self.meters.delay.record(delay);
        }
        let more = came >= self.count;
        if came > 0 {
            self.count = (self.count * 2).min(self.reading.batch);
        }
        Ok(match came {
            _ if doubt => Read::Doubt,
            _ if std::mem::take(&mut self.marked) => Read::Marked,
            0 => Read::Nothing,
            _ if more => Read::More,
            _ => Read::Entries,
        })
    }

    fn take(&mut self, Entry { id, what }: Entry, clock: Clock) {
        let what = match understood(what, &*self.changes) {
            Ok(place) => {
                if matches!(place, RecordKind::Event(_)) {
                    self.meters.events.increment(1);
                }
                place
            }
            Err(NoPlace::Foreign(bad)) => {
                self.complain(&bad);
                RecordKind::Nothing
            }
            Err(NoPlace::Lost { after }) => {
                let known = self.at.and_then(|at| at.mark).is_some_and(|mark| mark.order() > after.order());
                if !known {
                    self.flush();
                    warn!(redis = %self.server, read_to = %after, "another instance found that Redis lost a part of the stream; every open stream is told");
                    self.count_reset(Reset::LogLost);
                    self.marked = true;
                    return;
                }
                // It was told already, and is the beginning of the stream's newest life all the same.
                self.flush();
                self.hash.lives(id);
                RecordKind::Nothing
            }
        };
        self.fresh.push(LogRecord { id, what, age: clock.age(id) });
        if self.fresh.len() >= FLUSH {
            self.flush();
        }
    }

    /// Appends what was taken.
    fn flush(&mut self) {
        let (Some(at), Some(newest)) = (&mut self.at, self.fresh.last()) else { return };
        at.id = newest.id;
        at.added = at.added.map(|added| added + self.fresh.len() as u64);
        let CopyOutcome { refused, made } = self.log.append_at(std::mem::take(&mut self.fresh));
        if !made.is_empty() {
            self.hash.changed();
            self.changes.made(made);
        }
        if refused > 0 {
            warn!(refused, "Redis gave entries of its stream out of their order");
        }
    }

    /// Counts an entry that is no event, and says so now and then.
    fn complain(&self, bad: &BadEntry) {
        let reason = bad.word();
        metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => reason).increment(1);
        if let Some(untold) = self.foreign.pass() {
            warn!(reason, why = %bad, untold, "an entry of the stream is no event and was passed over");
        }
    }

    fn count_reset(&self, why: Reset) {
        metrics::counter!(REDIS_STREAM_RESETS, "reason" => why.as_str()).increment(1);
    }

    /// Notes that it has caught up and follows.
    fn stands(&mut self) {
        let Some(Away { since, tried }) = self.away.take() else { return };
        self.told.forget();
        self.meters.up.set(1.0);
        self.meters.connects.increment(1);
        if tried {
            let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            warn!(redis = %self.server, away_ms, "following the stream in Redis again");
        } else {
            info!(redis = %self.server, "following the stream in Redis");
        }
        self.health.up();
    }

    fn lost(&mut self, failure: &Failure) {
        let since = self.away.map_or_else(Instant::now, |away| away.since);
        self.away = Some(Away { since, tried: true });
        self.meters.up.set(0.0);
        if matches!(failure, Failure::Closed | Failure::Broken(_)) {
            // Perhaps because the answer was more than Redis holds back for a client.
            self.count = (self.count / 4).max(1);
        }
        let reason = failure.word();
        metrics::counter!(REDIS_FAILURES, "purpose" => PURPOSE, "reason" => reason).increment(1);
        self.health.down(format!("{failure}; what is appended to the stream comes when it is back"));
        if self.told.say(reason) {
            warn!(redis = %self.server, reason, %failure, "not following the stream in Redis; trying again until it answers");
        } else {
            debug!(redis = %self.server, reason, %failure, "still not following the stream in Redis");
        }
    }
}

/// The clock of a Redis, by which it makes ids.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct Clock {
    /// Its milliseconds since the Unix epoch at `at`.
    pub(in crate::redis) ms: u64,
    pub(in crate::redis) at: Instant,
}

impl Clock {
    /// How long ago an entry of this id was appended. A clock that stepped makes it wrong, never negative.
    pub(in crate::redis) fn age(&self, id: EventId) -> Duration {
        let now = Duration::from_millis(self.ms) + self.at.elapsed();
        now.saturating_sub(Duration::from_millis(id.ms))
    }
}
