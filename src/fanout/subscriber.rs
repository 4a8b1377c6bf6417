//! One subscriber: its sink, its cursor, and how it is brought up to date.
//!
//! Invariant: whatever stands at or before the cursor has been written, or is begun and its remainder is in `rest`.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::event::{Block, ConnectionMeta, EventFormat, Frame, Key, Name};
use crate::fanout::about::SubscriberMeta;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::look::{Outgoing, OwnFrame, StreamLook};
use crate::fanout::meters::ShardCounts;
use crate::fanout::requests::{StreamStart, Times};
use crate::fanout::sink::{Framing, OwnedSink, Sink};
use crate::fanout::snapshot::SnapshotWish;
use crate::fanout::wheel::Tick;
use crate::log::{AppliedEdit, Entry, Log, Position, ReaderChoice, Reset, Wanted};
use crate::trace::TraceContext;

/// A subscriber on its way in.
pub struct Join {
    pub sink: Sink,
    /// Written before anything else, as it stands: the response head and the preamble.
    pub opening: Bytes,
    /// Everything after this position is delivered.
    pub cursor: Position,
    /// How it can be reached. What its user, session and client were given at the cursor comes to them.
    pub keys: Vec<Key>,
    /// The log's head when the keys were decided upon: what is removed later, it lets go of.
    pub decided: Position,
    /// It begins with the newest event of each key, and does so again when it has fallen out of the log.
    pub snapshot: SnapshotWish,
    /// For the log line.
    pub client: Name,
    /// Where the client is.
    pub address: IpAddr,
    /// The path of the route that it came by, as it is configured.
    pub route: Arc<str>,
    pub start: StreamStart,
    /// What is noted of it.
    pub meta: Option<Arc<ConnectionMeta>>,
    /// The id of the token that it was opened with.
    pub token: Option<Name>,
    pub times: Times,
    /// The place of its opening in a trace.
    pub trace: Option<TraceContext>,
    /// When the stream is closed for its age.
    pub max_age: Option<Instant>,
    /// For how long it may be sent nothing but heartbeats.
    pub idle: Option<Duration>,
    /// How it looks, if not as all do.
    pub look: Option<Box<StreamLook>>,
    /// What it wants, if not everything.
    pub choice: Option<Box<ReaderChoice>>,
    /// Dropped when the subscriber is gone: whatever must be undone then.
    pub seat: Box<dyn Send>,
}

/// Where a subscriber stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Has everything that its shard has applied.
    Live,
    /// Has more before it and waits for its turn.
    Queued,
    /// Waits for its sink to take more.
    Blocked,
}

pub(super) struct Subscriber {
    pub(super) sink: OwnedSink,
    pub(super) cursor: Position,
    pub(super) state: State,
    /// What is written to it is not all that the log has rendered for all: see [`SubscriberMeta::look`] and
    /// [`SubscriberMeta::choice`].
    pub(super) is_special: bool,
    /// Its place in the pass that is under way.
    pub(super) touched: u32,
    /// When the sink last took something.
    pub(super) last_write: Tick,
    /// The wheel's entry that counts.
    pub(super) due: Tick,
    pub(super) generation: u64,
    /// Events that were begun.
    pub(super) sent: u64,
    /// Bytes that the sink has taken.
    pub(super) bytes: u64,
    /// Bytes that its client has sent, to which nobody listens.
    pub(super) stray: u32,
    rest: Rest,
    pub(super) about: Box<SubscriberMeta>,
}

/// What of a begun write is left. Boxed: nearly always it is nothing, and there are many subscribers.
struct Rest(Option<Box<Bytes>>);

impl Rest {
    fn of(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn take(&mut self) -> Bytes {
        self.0.take().map_or_else(Bytes::new, |bytes| *bytes)
    }
}

/// What came of writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WriteOutcome {
    /// All of it.
    All,
    /// The sink takes no more for now.
    Blocked,
    /// The sink is broken.
    Gone,
}

/// What came of a turn.
#[derive(Debug)]
pub(super) enum Progress {
    /// It has everything that the log holds for it.
    Live,
    /// There is more; others come first.
    More,
    /// Everything before this change of its topics is written.
    Change(Arc<AppliedEdit>),
    /// The log has let go of what it had before it: why.
    Lost(Reset),
    /// It has lost its last topic, and is told.
    Ended,
    Blocked,
    Gone,
}

/// What one turn of a subscriber that is behind may write: enough to be worth the call, and not so much that
/// others wait.
pub(super) const TURN_EVENTS: usize = 256;
pub(super) const TURN_BYTES: usize = 64 << 10;

impl Subscriber {
    pub(super) fn new(sink: OwnedSink, generation: u64, now: Tick, join: NewSubscriber) -> Self {
        Self {
            sink,
            cursor: join.cursor,
            state: State::Queued,
            is_special: join.about.is_special(),
            touched: u32::MAX,
            last_write: now,
            due: Tick::MAX,
            generation,
            sent: 0,
            bytes: 0,
            stray: 0,
            rest: Rest::of(join.opening),
            about: Box::new(join.about),
        }
    }

    /// Brings the subscriber forward by one turn of what the log holds for `keys`.
    pub(super) fn advance(
        &mut self,
        log: &Log,
        keys: &[Key],
        now: Tick,
        counts: &mut ShardCounts,
    ) -> Progress {
        if let Some(snapshot) = self.about.snapshot.take() {
            return self.advance_snapshot(snapshot, log, keys, (now, counts));
        }
        let wanted = Wanted { keys, choice: self.about.choice.as_deref() };
        let replay = match log.replay(wanted, self.cursor, TURN_EVENTS, TURN_BYTES) {
            Ok(replay) => replay,
            // It was too slow, or the log began anew.
            Err(Reset::TooOld) => return Progress::Lost(Reset::TooSlow),
            Err(why) => return Progress::Lost(why),
        };
        match self.write_replayed(&replay.entries, log, keys, (now, counts)) {
            WriteOutcome::All => {
                self.cursor = self.cursor.max(replay.through);
                if self.is_special {
                    self.about.forget_history(self.cursor);
                    self.is_special = self.about.is_special();
                }
                match replay.change {
                    Some(change) => Progress::Change(change),
                    None if replay.complete => Progress::Live,
                    None => Progress::More,
                }
            }
            WriteOutcome::Blocked => Progress::Blocked,
            WriteOutcome::Gone => Progress::Gone,
        }
    }

    /// Writes the `reset` that `frame` is, after which it goes on from `head`.
    pub(super) fn reset(
        &mut self,
        frame: &Frame,
        head: Position,
        now: Tick,
        counts: &mut ShardCounts,
    ) -> Progress {
        counts.resets += 1;
        self.cursor = head;
        match self.write_frame(frame, now, counts) {
            WriteOutcome::All => Progress::More,
            WriteOutcome::Blocked => Progress::Blocked,
            WriteOutcome::Gone => Progress::Gone,
        }
    }

    /// Writes one entry to a sink that is at the boundary of a frame: the common case, in few steps.
    #[inline]
    pub(super) fn write_entry(
        &mut self,
        entry: Outgoing<'_>,
        now: Tick,
        counts: &mut ShardCounts,
    ) -> WriteOutcome {
        let framing = self.sink.framing();
        let bytes = framing.bytes(entry.frame);
        let written = match self.sink.write(&[bytes]) {
            Ok(0) => return WriteOutcome::Gone,
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return WriteOutcome::Blocked,
            Err(_) => return WriteOutcome::Gone,
        };
        self.cursor = entry.position;
        self.last_write = now;
        self.sent += 1;
        self.bytes += written as u64;
        counts.deliveries += 1;
        counts.bytes += written as u64;
        if written == bytes.len() {
            return WriteOutcome::All;
        }
        self.rest = Rest::of(framing.shared(entry.frame).slice(written..));
        // Until it says that it takes no more, it need not say when it does.
        self.write_entries(std::iter::empty(), None, now, counts)
    }

    /// Writes what is left of a begun write, then `entries`, and moves the cursor over each that was begun.
    /// `joined`, where given, is the entries' bytes in one piece.
    pub(super) fn write_entries<'a>(
        &mut self,
        entries: impl Iterator<Item = Outgoing<'a>> + Clone,
        joined: Option<&[u8]>,
        now: Tick,
        counts: &mut ShardCounts,
    ) -> WriteOutcome {
        let framing = self.sink.framing();
        if !self.rest.is_empty() {
            let rest = self.rest.take();
            let wrote = {
                let parts: WriteSlices<'_> = std::iter::once(&rest[..])
                    .chain(entries.clone().take(MAX_PARTS - 1).map(|entry| framing.bytes(entry.frame)))
                    .collect();
                self.write_parts(parts, now, counts)
            };
            let written = match wrote {
                Ok(written) if written >= rest.len() => written - rest.len(),
                Ok(written) => {
                    self.rest = Rest::of(rest.slice(written..));
                    return WriteOutcome::Blocked;
                }
                Err(wrote) => {
                    self.rest = Rest::of(rest);
                    return wrote;
                }
            };
            let mut entries = entries;
            self.account(&mut entries, written, framing, counts);
            if !self.rest.is_empty() {
                return WriteOutcome::Blocked;
            }
            // Everything that was offered is written; what was not offered yet goes the plain way.
            return self.write_begun(entries, None, framing, now, counts);
        }
        self.write_begun(entries, joined, framing, now, counts)
    }

    fn write_begun<'a>(
        &mut self,
        mut entries: impl Iterator<Item = Outgoing<'a>> + Clone,
        joined: Option<&[u8]>,
        framing: Framing,
        now: Tick,
        counts: &mut ShardCounts,
    ) -> WriteOutcome {
        if let Some(joined) = joined {
            return match self.write_parts(SmallVec::from_slice(&[joined]), now, counts) {
                Ok(written) => {
                    self.account(&mut entries, written, framing, counts);
                    if written == joined.len() { WriteOutcome::All } else { WriteOutcome::Blocked }
                }
                Err(wrote) => wrote,
            };
        }
        loop {
            let parts: WriteSlices<'_> =
                entries.clone().take(MAX_PARTS).map(|entry| framing.bytes(entry.frame)).collect();
            if parts.is_empty() {
                return WriteOutcome::All;
            }
            let offered: usize = parts.iter().map(|part| part.len()).sum();
            match self.write_parts(parts, now, counts) {
                Ok(written) => {
                    self.account(&mut entries, written, framing, counts);
                    if written < offered {
                        return WriteOutcome::Blocked;
                    }
                }
                Err(wrote) => return wrote,
            }
        }
    }

    /// Steps over the entries that `written` bytes cover; keeps the remainder of the last.
    fn account<'a>(
        &mut self,
        entries: &mut (impl Iterator<Item = Outgoing<'a>> + Clone),
        mut written: usize,
        framing: Framing,
        counts: &mut ShardCounts,
    ) {
        while written > 0 {
            let Some(entry) = entries.next() else { return };
            self.cursor = entry.position;
            self.sent += 1;
            counts.deliveries += 1;
            let len = framing.bytes(entry.frame).len();
            if written < len {
                self.rest = Rest::of(framing.shared(entry.frame).slice(written..));
                return;
            }
            written -= len;
        }
    }

    /// Writes a frame that is no event, behind whatever is begun. What the sink does not take is kept.
    pub(super) fn write_frame(&mut self, frame: &Frame, now: Tick, counts: &mut ShardCounts) -> WriteOutcome {
        let framing = self.sink.framing();
        let begun = self.rest.take();
        let behind = (!begun.is_empty()).then(|| Bytes::from([&begun[..], framing.bytes(frame)].concat()));
        let bytes = behind.as_deref().unwrap_or(framing.bytes(frame));
        let written = match self.write_parts(SmallVec::from_slice(&[bytes]), now, counts) {
            Ok(written) if written == bytes.len() => return WriteOutcome::All,
            Ok(written) => written,
            Err(WriteOutcome::Blocked) => 0,
            Err(wrote) => return wrote,
        };
        let bytes = behind.unwrap_or_else(|| framing.shared(frame));
        self.rest = Rest::of(bytes.slice(written..));
        WriteOutcome::Blocked
    }

    /// Writes until all is out or the sink blocks; `Err` when not one byte went out.
    fn write_parts(
        &mut self,
        mut parts: WriteSlices<'_>,
        now: Tick,
        counts: &mut ShardCounts,
    ) -> Result<usize, WriteOutcome> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut written = 0;
        let mut first = 0;
        while written < total {
            match self.sink.write(&parts[first..]) {
                Ok(0) => return Err(WriteOutcome::Gone),
                Ok(mut more) => {
                    written += more;
                    self.bytes += more as u64;
                    counts.bytes += more as u64;
                    self.last_write = now;
                    while first < parts.len() && more >= parts[first].len() {
                        more -= parts[first].len();
                        first += 1;
                    }
                    if more > 0 {
                        parts[first] = &parts[first][more..];
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if written == 0 { Err(WriteOutcome::Blocked) } else { Ok(written) };
                }
                Err(_) => return Err(WriteOutcome::Gone),
            }
        }
        Ok(written)
    }

    /// An event as the subscriber gets it, who holds `held`.
    pub(super) fn own_frame(
        &self,
        entry: &Entry,
        log: EventFormat,
        held: impl FnOnce() -> Vec<Key>,
    ) -> OwnFrame {
        let frame = match &self.about.look {
            Some(look) => look.event(entry, log, held),
            None => entry.frame.clone(),
        };
        OwnFrame::new(entry, frame)
    }

    /// A block of the stream's own, in its layout.
    pub(super) fn block(&self, block: Block<'_>, log: EventFormat) -> Frame {
        match &self.about.look {
            Some(look) => look.block(block, log),
            None => log.block(block, SystemTime::now()),
        }
    }

    /// Whether the last frame went out whole.
    pub(super) fn at_boundary(&self) -> bool {
        self.rest.is_empty()
    }
}

/// What is written in one call.
type WriteSlices<'a> = SmallVec<[&'a [u8]; 16]>;

/// Parts of one gathered write.
const MAX_PARTS: usize = 256;

/// What is left of a [`Join`] once its sink and keys have found their places.
pub(super) struct NewSubscriber {
    pub(super) opening: Bytes,
    pub(super) cursor: Position,
    pub(super) about: SubscriberMeta,
}

/// A subscriber by slot and generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SubscriberId {
    pub(super) slot: SubscriberSlot,
    pub(super) generation: u64,
}
