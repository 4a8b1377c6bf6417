//! What the log holds and what is read of it: positions, entries, cursors, and why a cursor cannot be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::event::{Audience, Block, EventId, Frame, Key, TopicFilter};
use crate::log::position::{Cursor, Position};
use crate::log::source::EventSource;
use crate::log::taken::Retraction;
use crate::log::topic_edit::{AppliedEdit, HeldTopics};
use crate::trace::TraceContext;

/// An event in its place.
#[derive(Debug)]
pub struct Entry {
    pub position: Position,
    /// None for an event that is delivered live only.
    pub id: Option<EventId>,
    pub audience: Audience,
    pub frame: Frame,
    /// When it was appended.
    pub at: Instant,
    /// When it stops being replayed, if before the log lets go of it.
    pub expires: Option<Instant>,
    /// With which later entries it may be coalesced.
    pub coalesce: Option<Box<str>>,
    /// The place of its publishing in a trace.
    pub trace: Option<Box<TraceContext>>,
    /// It tells that others are taken back.
    pub(super) retracts: Option<Retraction>,
    /// What it was made of, where streams have other layouts than the log.
    pub(super) source: Option<Box<EventSource>>,
    /// A later entry with the same key and audience stands for it in a replay.
    pub(super) superseded: AtomicBool,
    /// It says that something is missing, and is nothing that was missed itself.
    pub(super) is_reset: AtomicBool,
}

impl Entry {
    pub(super) fn counts(&self) -> bool {
        !self.is_reset.load(Ordering::Relaxed)
    }

    /// Whether it tells that others were taken back.
    pub fn is_retraction(&self) -> bool {
        self.retracts.is_some()
    }

    /// Whether a replay to a holder of `keys` gives it at `now`; it has one of the keys.
    pub(super) fn is_for(&self, keys: &[Key], now: Instant) -> bool {
        let over = self.expires.is_some_and(|at| at <= now) || self.superseded.load(Ordering::Relaxed);
        !over && !self.audience.except().iter().any(|except| keys.iter().any(|key| key.hears(except)))
    }
}

/// Where an id is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Located {
    At(Cursor),
    /// What came behind it cannot be served.
    Reset(Reset),
    /// That cannot be known now: it is ahead of all that has been copied so far.
    NotNow,
}

/// Why a cursor cannot be served: the `reason` of the `reset` event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reset {
    /// Not an id.
    Malformed,
    /// An id of another log: of another process, or of one before a restart.
    OtherLog,
    /// Older than what is kept.
    TooOld,
    /// Newer than anything appended.
    TooNew,
    /// An open stream's reader fell so far behind that the log let go of what it had before it.
    TooSlow,
    /// A source was away, and what was published there meanwhile never came.
    SourceGap,
    /// The stream in Redis that is the log lost its newest part, or all of it.
    LogLost,
    /// The stream in Redis that is the log was trimmed past what had been read of it.
    LogTrimmed,
}

impl Reset {
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::OtherLog,
        Self::TooOld,
        Self::TooNew,
        Self::TooSlow,
        Self::SourceGap,
        Self::LogLost,
        Self::LogTrimmed,
    ];

    /// The word on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OtherLog => "other_log",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::TooSlow => "too_slow",
            Self::SourceGap => "source_gap",
            Self::LogLost => "log_lost",
            Self::LogTrimmed => "log_trimmed",
        }
    }

    /// The `reset` event: what was before `head` is gone, and the stream goes on from there. `render` lays it out.
    pub fn frame(self, head: EventId, render: impl FnOnce(Block<'_>) -> Frame) -> Frame {
        render(Block { event: Some(Self::EVENT), data: &self.data(), id: Some(head), retry: None })
    }

    /// The name of the event.
    pub const EVENT: &str = "reset";

    /// The event's data.
    pub fn data(self) -> String {
        format!("{{\"reason\":\"{}\"}}", self.as_str())
    }
}

/// The next part of what a cursor has before it.
#[derive(Debug, Default)]
pub struct Replay {
    /// In order, each once.
    pub entries: Vec<Arc<Entry>>,
    /// Everything up to here is in `entries` or is not for these keys.
    pub through: Position,
    /// Whether `through` is the log's head.
    pub complete: bool,
    /// What changes the topics of the keys' holder right behind `through`.
    pub change: Option<Arc<AppliedEdit>>,
}

/// What a user, a session and a client give at the log's head.
#[derive(Debug)]
pub struct Membership {
    pub head: Cursor,
    pub held: HeldTopics,
    /// The topics that were taken from them of late; None when nobody knows any more.
    pub removed: Option<Vec<TopicFilter>>,
    /// Topics of `held` that the stream's own page has added of late.
    pub added_by_page: Vec<TopicFilter>,
}
