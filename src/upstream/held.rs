//! One stream that is held for all who hear it: its readers, how far it has come, and where each of them begins.
//!
//! A stream ends in two steps, so that nobody is left who waits for nothing: once it has ended nobody joins it any
//! more, and it goes when its last reader has gone.

use std::sync::{Arc, MutexGuard};

use tokio::sync::{Notify, watch};

use crate::config::{LateComers, StreamSource};
use crate::event::{EventId, Key, Name};
use crate::lock::Mutex;
use crate::log::{Cursor, Log};
use crate::proxy::Proxy;
use crate::upstream::identity::SharedRequest;
use crate::upstream::ids::UpstreamIds;
use crate::upstream::sharing::Unshared;

/// How far a stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nobody knows yet what the application answers.
    Starting,
    /// Its events reach its readers, now or in a while.
    Live,
    Ended(SourceEnd),
}

/// Why a stream ended, but for its having no readers any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SourceEnd {
    /// What the application answers is for each caller by itself.
    Unshared(Unshared),
    /// The application had another answer than a stream.
    Answered(u16),
    /// The application could not be asked, and nobody had been told that it can.
    Away,
}

/// How the application is asked.
#[derive(Clone)]
pub(super) struct SourceRequest {
    pub(super) request: SharedRequest,
    pub(super) proxy: Proxy,
    pub(super) source: Arc<StreamSource>,
    /// The topics that make it ask at once when something is published to them.
    pub(super) refresh_on: Vec<Key>,
}

/// A stream that is held.
pub(super) struct HeldStream {
    pub(super) name: Name,
    pub(super) key: Key,
    /// The path of its route as it is configured.
    pub(super) route: Arc<str>,
    /// The id of the application's own that it was begun behind; empty = none.
    pub(super) began_behind: Box<str>,
    pub(super) phase: watch::Sender<Phase>,
    /// Told when the first reader comes and the last one goes.
    pub(super) readers_changed: Notify,
    /// Told when its answer is to be asked for before its time.
    pub(super) called_for: Notify,
    log: Arc<Log>,
    state: Mutex<HeldState>,
}

pub(super) struct HeldState {
    pub(super) readers: usize,
    /// Of the reader who came last: the one before may have no rights any more.
    pub(super) asks: SourceRequest,
    pub(super) ids: UpstreamIds,
    /// The application's own id of the last event; empty = none.
    pub(super) last_event_id: String,
    /// Where it began, or began anew after a gap.
    pub(super) began: Option<Cursor>,
    /// Of a stream that is made of answers.
    pub(super) current: Option<CurrentAnswer>,
    /// What readers were told when it turned stale.
    pub(super) stale: Option<String>,
}

/// The answer that holds now.
#[derive(Clone)]
pub(super) struct CurrentAnswer {
    pub(super) text: Box<str>,
    /// Where it stands in the log: what comes behind it is newer.
    pub(super) at: Cursor,
}

impl HeldStream {
    pub(super) fn new(
        route: Arc<str>,
        asks: SourceRequest,
        began_behind: &str,
        ids: UpstreamIds,
        log: Arc<Log>,
    ) -> Arc<Self> {
        let name = asks.request.name.clone();
        Arc::new(Self {
            key: Key::Upstream(name.clone()),
            name,
            route,
            began_behind: began_behind.into(),
            phase: watch::Sender::new(Phase::Starting),
            readers_changed: Notify::new(),
            called_for: Notify::new(),
            log,
            state: Mutex::new(HeldState {
                readers: 0,
                asks,
                ids,
                last_event_id: began_behind.to_owned(),
                began: None,
                current: None,
                stale: None,
            }),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, HeldState> {
        self.state.lock()
    }

    /// A reader more. `early`: it came before anything of the stream was heard.
    pub(super) fn reader(self: &Arc<Self>, early: bool) -> UpstreamReader {
        let before = {
            let mut state = self.state();
            state.readers += 1;
            state.readers - 1
        };
        if before == 0 {
            self.readers_changed.notify_one();
        }
        metrics::gauge!(crate::telemetry::UPSTREAM_READERS).increment(1.0);
        UpstreamReader { held: Arc::clone(self), early }
    }
}

/// A reader's part in a stream: it is held for as long as there is one.
pub struct UpstreamReader {
    pub(super) held: Arc<HeldStream>,
    early: bool,
}

/// Where a reader begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReaderStart {
    /// With what comes from now on.
    Live,
    /// Behind this place.
    Since(Cursor),
    /// Behind the event that has this id of ours, if it is one.
    After(String),
    /// Nobody knows where that is.
    Lost,
    /// Behind this place, after these events: their names and data.
    Current(Cursor, Vec<(Option<&'static str>, String)>),
}

impl UpstreamReader {
    /// What the stream's events are for.
    pub fn key(&self) -> &Key {
        &self.held.key
    }

    /// Where it begins that has last seen the event of this id, ours or the application's.
    pub fn start(&self, last_event_id: Option<&str>) -> ReaderStart {
        let state = self.held.state();
        if let Some(current) = &state.current {
            return self.at_current(&state, current, last_event_id);
        }
        let began = || state.began.map_or(ReaderStart::Live, ReaderStart::Since);
        let Some(id) = last_event_id else {
            let all = state.asks.source.late_comers == LateComers::All;
            return if self.early || all { began() } else { ReaderStart::Live };
        };
        if let Some(ours) = state.ids.find(id) {
            return ReaderStart::After(ours.to_string());
        }
        if *self.held.began_behind == *id {
            return began();
        }
        // Of another log, of one that was let go of, or not an id at all: the log says which.
        if id.parse::<EventId>().is_ok() { ReaderStart::After(id.to_owned()) } else { ReaderStart::Lost }
    }
}

impl UpstreamReader {
    /// Where a reader of answers begins: with the current one, unless it has heard all of it already.
    fn at_current(
        &self,
        state: &HeldState,
        current: &CurrentAnswer,
        last_event_id: Option<&str>,
    ) -> ReaderStart {
        let known = last_event_id.and_then(|id| Some((id, self.held.log.locate(id).ok()?)));
        if let (Some((id, cursor)), Some(began)) = (known, state.began)
            && cursor.position >= began.position
        {
            return ReaderStart::After(id.to_owned());
        }
        let mut events = vec![(None, current.text.to_string())];
        events.extend(state.stale.clone().map(|stale| (Some("stale"), stale)));
        ReaderStart::Current(current.at, events)
    }
}

impl Drop for UpstreamReader {
    fn drop(&mut self) {
        let left = {
            let mut state = self.held.state();
            state.readers -= 1;
            state.readers
        };
        metrics::gauge!(crate::telemetry::UPSTREAM_READERS).decrement(1.0);
        if left == 0 {
            self.held.readers_changed.notify_one();
        }
    }
}
