//! The connection that follows the stream: made, caught up, watched, and made again, for ever.
//!
//! Reads block, but never longer than a bound, so the very connection that delivers is probed by each read. With each
//! read Redis is asked whether the stream still has what was read last: what was trimmed or lost in between is reported
//! to every stream, never passed over. This file must not know who listens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::health::Reporter;
use crate::log::{Log, LogRecord, RecordKind, Reset};
use crate::redis::Timing;
use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::client::supervise::{ConnectionStatus, Purpose, Supervised, supervise, until_drain};
use crate::redis::log::clock::Clock;
use crate::redis::log::entry::{BadEntry, StreamEntry};
use crate::redis::log::position::{ReadPosition, ReaderConfig};
use crate::redis::log::preflight::Preflight;
use crate::redis::log::record::{CommandReaders, NoPlace, understood};
use crate::redis::log::stream_info::{QUESTIONS, Verdict, ask_info, ask_standing};
use crate::redis::topics::writer::TopicStore;
use crate::shutdown::Drain;
use crate::telemetry::{
    EVENTS, EVENTS_REFUSED, REDIS_STREAM_DELAY, REDIS_STREAM_LOAD, REDIS_STREAM_RESETS, REDIS_STREAM_UP,
    Throttle,
};

const PURPOSE: Purpose = Purpose {
    label: "tail",
    connected: "following the stream in Redis",
    reconnected: "following the stream in Redis again",
    failed: "not following the stream in Redis; trying again until it answers",
    meanwhile: "what is appended to the stream comes when it is back",
};
/// The source's name in metrics.
const SOURCE: &str = "stream";
/// What it was at, in failures.
const READING: &str = "reading the stream";
/// How long a read waits for entries: as often the connection is probed.
const BLOCK: Duration = Duration::from_millis(1000);
/// How many entries wait at most while a reply is being read.
const FLUSH: usize = 256;

/// Keeps the log a copy of the stream's newest part.
pub(in crate::redis) struct StreamReader {
    pub(in crate::redis) endpoint: Arc<Endpoint>,
    pub(in crate::redis) reading: ReaderConfig,
    max_backoff: Duration,
    pub(in crate::redis) log: Arc<Log>,
    pub(super) readers: CommandReaders,
    /// Where what users and sessions are given is kept.
    pub(in crate::redis) store: Arc<TopicStore>,
    /// Up to where the log has everything; None before the first load.
    pub(in crate::redis) at: Option<ReadPosition>,
    /// Entries asked for at once: fewer after a connection that broke under an answer, which may be too large for it.
    count: usize,
    /// Entries that were read and not appended yet.
    fresh: Vec<LogRecord>,
    /// Entries were deleted that may never have been read here: those that came cannot be counted.
    deleted: bool,
    /// A mark of a loss has come: what stands behind it is to be read anew.
    marked: bool,
    preflight: Preflight,
    foreign: Throttle,
    pub(super) metrics: ReaderMetrics,
}

pub(super) struct ReaderMetrics {
    events: Counter,
    delay: Histogram,
    pub(super) load: Histogram,
}

/// How a read is made.
#[derive(Clone, Copy)]
struct ReadMode {
    /// In the same step as the read it is judged from the stream as a whole whether anything is missing before it.
    /// The entry that was read last may be gone.
    judged: bool,
    /// The last read waited for nothing.
    idle: bool,
    /// Whether to wait for entries.
    block: bool,
}

/// What came of a read.
#[derive(Clone, Copy)]
enum ReadOutcome {
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

impl StreamReader {
    pub(in crate::redis) fn new(
        endpoint: Arc<Endpoint>,
        reading: ReaderConfig,
        timing: Timing,
        log: Arc<Log>,
        readers: CommandReaders,
        store: Arc<TopicStore>,
    ) -> Self {
        let metrics = ReaderMetrics {
            events: metrics::counter!(EVENTS, "source" => SOURCE),
            delay: metrics::histogram!(REDIS_STREAM_DELAY),
            load: metrics::histogram!(REDIS_STREAM_LOAD),
        };
        Self {
            endpoint,
            count: reading.batch,
            reading,
            max_backoff: timing.max_backoff,
            log,
            readers,
            store,
            at: None,
            fresh: Vec::new(),
            deleted: false,
            marked: false,
            preflight: Preflight::default(),
            foreign: Throttle::default(),
            metrics,
        }
    }

    /// Follows until `drain` starts.
    pub(in crate::redis) async fn run(self, health: Reporter, drain: Drain) {
        let status = ConnectionStatus::new(Arc::clone(&self.endpoint), &PURPOSE, self.max_backoff);
        let status = status.with_health(health).with_gauge(metrics::gauge!(REDIS_STREAM_UP));
        supervise(self, status, drain).await;
    }

    /// Connects, catches up and follows, until that fails.
    async fn follow(&mut self, status: &mut ConnectionStatus) -> Result<Infallible, RedisError> {
        let limit = self.reading.limit;
        let mut connection = self.endpoint.open(limit, self.reading.max_text).await?;
        let clock = self.preflight.take(&mut connection, limit).await?;
        match self.at {
            None => self.load(&mut connection, None).await?,
            Some(at) => self.rejoin(&mut connection, at).await?,
        }
        let mut asked = ReadMode { judged: true, idle: false, block: false };
        loop {
            let read = self.read(&mut connection, asked, clock).await?;
            asked = match read {
                ReadOutcome::More => ReadMode { judged: false, idle: false, block: false },
                ReadOutcome::Entries => ReadMode { judged: false, idle: false, block: true },
                ReadOutcome::Nothing => ReadMode { judged: false, idle: asked.block, block: true },
                ReadOutcome::Doubt => {
                    let Some(at) = self.at else { return Err(RedisError::Unexpected) };
                    self.rejoin(&mut connection, at).await?;
                    ReadMode { judged: true, idle: false, block: false }
                }
                ReadOutcome::Marked => {
                    self.load(&mut connection, Some(Reset::LogLost)).await?;
                    ReadMode { judged: true, idle: false, block: false }
                }
            };
            if matches!(read, ReadOutcome::Nothing | ReadOutcome::Entries) {
                // Nothing was left behind: what comes now is new.
                status.on_connected();
                status.healthy();
                self.log.confirm();
            }
        }
    }

    /// The commands of one read.
    fn commands(&self, at: ReadPosition, ReadMode { judged, idle, block }: ReadMode) -> Vec<u8> {
        let (key, id) = (&self.reading.key, at.id.to_string());
        let mut commands = Vec::new();
        if self.endpoint.may_move() {
            write_command(&mut commands, &[b"ROLE"]);
        }
        if judged {
            write_command(&mut commands, &[b"MULTI"]);
            ask_standing(&mut commands, key, at.id);
        } else if idle {
            ask_info(&mut commands, key);
        }
        if at.is_asked_for(judged) {
            write_command(&mut commands, &[b"XRANGE", key, id.as_bytes(), id.as_bytes(), b"COUNT", b"1"]);
        }
        let (count, wait) = (self.count.to_string(), BLOCK.as_millis().to_string());
        let mut words: Vec<&[u8]> = vec![b"XREAD", b"COUNT", count.as_bytes()];
        if block {
            words.extend([&b"BLOCK"[..], wait.as_bytes()]);
        }
        words.extend([&b"STREAMS"[..], key, id.as_bytes()]);
        write_command(&mut commands, &words);
        if judged {
            write_command(&mut commands, &[b"EXEC"]);
        }
        commands
    }

    /// One read: appends what comes.
    async fn read(
        &mut self,
        connection: &mut RedisConnection,
        mode: ReadMode,
        clock: Clock,
    ) -> Result<ReadOutcome, RedisError> {
        let Some(at) = self.at else { return Err(RedisError::Unexpected) };
        let ReadMode { judged, idle, .. } = mode;
        let (limit, ask_role) = (self.reading.limit, self.endpoint.may_move());
        match timeout(limit, connection.send(&self.commands(at, mode))).await {
            Ok(sent) => sent?,
            Err(_) => {
                let address = connection.to().to_owned();
                return Err(RedisError::Timeout { address, limit, doing: READING });
            }
        }
        if ask_role {
            connection.role(limit).await?;
        }
        let (mut doubt, mut stood, mut is_refused) = (false, None, false);
        if judged {
            // Without the right to it, it is one step all the same unless the server is interrupted between two
            // commands.
            is_refused = !connection.transaction(QUESTIONS + 1, limit).await?;
            let (verdict, info) = connection.standing(at, limit).await?;
            doubt = verdict != Verdict::Whole;
            stood = info;
        } else if idle {
            match connection.info(limit).await? {
                Some(info) if info.last.order() == at.id.order() => {
                    // Something was added and taken away again while nobody looked.
                    doubt = at.added.zip(info.added).is_some_and(|(then, now)| then != now);
                    if !doubt {
                        self.at = Some(ReadPosition { added: info.added, ..at });
                    }
                }
                Some(info) if info.last.order() > at.id.order() => {}
                None if at.is_before_all() => {}
                // Gone, or gone back: ids from before would never be passed.
                _ => doubt = true,
            }
        }
        if at.is_asked_for(judged) && connection.one_id(limit).await?.is_none() {
            doubt = true;
        }
        let came = self.entries_to_come(connection).await?;
        for _ in 0..came {
            let entry = connection.entry(limit, READING).await?;
            // Where it is not sure that nothing is missing before them they are read again afterwards.
            if !doubt && !self.marked {
                self.take(entry, clock);
            }
        }
        if is_refused {
            let _exec = connection.token(limit, READING).await?;
        }
        let newest = self.fresh.last().map(|placed| placed.age);
        self.flush();
        // All that there was in that step is read: from here on entries are counted.
        if let (Some(at), Some(info)) = (&mut self.at, stood)
            && at.id.order() == info.last.order()
        {
            at.added = info.added;
        }
        if let Some(delay) = newest {
            self.metrics.delay.record(delay);
        }
        let more = came >= self.count;
        if came > 0 {
            self.count = (self.count * 2).min(self.reading.batch);
        }
        Ok(match came {
            _ if doubt => ReadOutcome::Doubt,
            _ if std::mem::take(&mut self.marked) => ReadOutcome::Marked,
            0 => ReadOutcome::Nothing,
            _ if more => ReadOutcome::More,
            _ => ReadOutcome::Entries,
        })
    }

    /// How many entries the answer to a read has; they come next.
    async fn entries_to_come(&self, connection: &mut RedisConnection) -> Result<usize, RedisError> {
        let limit = self.reading.limit;
        match connection.token(BLOCK + limit, READING).await? {
            RespToken::Nil => Ok(0),
            RespToken::Array(1) => {
                let (stream, _key) =
                    (connection.token(limit, READING).await?, connection.token(limit, READING).await?);
                match (stream, connection.token(limit, READING).await?) {
                    (RespToken::Array(2), RespToken::Array(came)) => Ok(came),
                    _ => Err(RedisError::Unexpected),
                }
            }
            RespToken::Error(text) => {
                Err(RedisError::refused("to let the stream be read", &text, self.endpoint.secret().as_ref()))
            }
            _ => Err(RedisError::Unexpected),
        }
    }

    fn take(&mut self, StreamEntry { id, what, deleted }: StreamEntry, clock: Clock) {
        self.deleted |= !deleted.is_empty();
        let what = match understood(id, what, &self.readers) {
            Ok(place) => {
                if matches!(place, RecordKind::Event(_)) {
                    self.metrics.events.increment(1);
                }
                place
            }
            Err(NoPlace::Foreign(bad)) => {
                self.log_bad_entry(&bad);
                RecordKind::Nothing
            }
            Err(NoPlace::Lost { after }) => {
                let known = self.at.and_then(|at| at.mark).is_some_and(|mark| mark.order() > after.order());
                if !known {
                    self.flush();
                    warn!(redis = %self.endpoint, read_to = %after, "another instance found that Redis lost a part of the stream; every open stream gets a reset");
                    self.count_reset(Reset::LogLost);
                    self.marked = true;
                    return;
                }
                // It was reported already, and is the beginning of the stream's newest life all the same.
                self.flush();
                self.store.set_epoch(id);
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
        (at.id, at.deleted) = (newest.id, false);
        let added = at.added.filter(|_| !std::mem::take(&mut self.deleted));
        at.added = added.map(|added| added + self.fresh.len() as u64);
        let copied = self.log.append_at(std::mem::take(&mut self.fresh));
        let refused = copied.refused;
        if !copied.made.is_empty() {
            self.store.changed();
        }
        self.readers.made(copied);
        if refused > 0 {
            warn!(refused, "Redis gave entries of its stream out of their order");
        }
    }

    /// Counts an entry that is no event, and says so now and then.
    pub(super) fn log_bad_entry(&self, bad: &BadEntry) {
        let reason = bad.label();
        metrics::counter!(EVENTS_REFUSED, "source" => SOURCE, "reason" => reason).increment(1);
        if let Some(suppressed) = self.foreign.pass() {
            warn!(reason, error = %bad, suppressed, "an entry of the stream is no event and was passed over");
        }
    }

    pub(super) fn count_reset(&self, why: Reset) {
        metrics::counter!(REDIS_STREAM_RESETS, "reason" => why.as_str()).increment(1);
    }
}

impl Supervised for StreamReader {
    async fn run(&mut self, status: &mut ConnectionStatus, drain: &Drain) -> Result<(), RedisError> {
        let ended = until_drain(drain, self.follow(status)).await;
        // What came before a error is not lost.
        self.flush();
        ended
    }

    fn on_disconnected(&mut self, error: &RedisError) -> Instant {
        if matches!(error, RedisError::Closed | RedisError::Broken(_)) {
            // Perhaps because the answer was more than Redis holds back for a client.
            self.count = (self.count / 4).max(1);
        }
        Instant::now()
    }
}
