//! One stream that is held for all who hear it: its readers, how far it has come, and where each of them begins.
//!
//! A stream ends in two steps, so that nobody is left who waits for nothing: once it has ended nobody joins it any
//! more, and it goes when its last reader has gone.

use std::sync::{Arc, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::config::{LateComers, StreamSource};
use crate::event::{Event, EventId, EventName, Key, Name};
use crate::lock::Mutex;
use crate::log::Log;
use crate::proxy::Proxy;
use crate::upstream::identity::SharedRequest;
use crate::upstream::ids::UpstreamIds;
use crate::upstream::shared::heard::HeardIds;
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// The id that its first client came with.
    pub(super) asked_behind: Option<Box<str>>,
    pub(super) phase: watch::Sender<Phase>,
    /// Told when the first reader comes and the last one goes.
    pub(super) readers_changed: Notify,
    /// Told when its answer is to be asked for before its time.
    pub(super) called_for: Notify,
    /// Told when another instance may have changed how it stands.
    pub(super) marked: Notify,
    log: Arc<Log>,
    /// The application's ids in a log that several instances share.
    heard: Option<Arc<HeardIds>>,
    state: Mutex<HeldState>,
}

pub(super) struct HeldState {
    pub(super) readers: usize,
    /// Of the reader who came last: the one before may have no rights any more.
    pub(super) asks: SourceRequest,
    /// Of a log that this instance has for itself.
    pub(super) ids: UpstreamIds,
    /// The application's own id that it was begun behind; empty = none.
    pub(super) began_behind: String,
    /// The application's own id of the last event; empty = none.
    pub(super) last_event_id: String,
    /// Where it began, or began anew after a gap.
    pub(super) began: Option<EventId>,
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
    pub(super) at: EventId,
}

impl HeldStream {
    /// A stream that begins behind the application's own id `began_behind`. With `heard`, where it begins is not known
    /// yet, and the application's ids are found there.
    pub(super) fn new(
        route: Arc<str>,
        asks: SourceRequest,
        (began_behind, ids): (String, UpstreamIds),
        log: Arc<Log>,
        heard: Option<(Arc<HeardIds>, Option<&str>)>,
    ) -> Arc<Self> {
        let name = asks.request.name.clone();
        let (heard, asked_behind) = heard.unzip();
        Arc::new(Self {
            key: Key::Upstream(name.clone()),
            name,
            route,
            asked_behind: asked_behind.flatten().map(Box::from),
            phase: watch::Sender::new(Phase::Starting),
            readers_changed: Notify::new(),
            called_for: Notify::new(),
            marked: Notify::new(),
            log,
            heard,
            state: Mutex::new(HeldState {
                readers: 0,
                asks,
                ids,
                last_event_id: began_behind.clone(),
                began_behind,
                began: None,
                current: None,
                stale: None,
            }),
        })
    }

    /// Its events reach its readers from now on.
    pub(super) fn live(&self) {
        self.phase.send_if_modified(|phase| {
            let starts = *phase == Phase::Starting;
            if starts {
                *phase = Phase::Live;
            }
            starts
        });
    }

    /// What holds from `at` on, unless something newer is known.
    pub(super) fn set_current(&self, text: &str, stale: Option<String>, at: EventId) {
        let mut state = self.state();
        if state.current.as_ref().is_none_or(|current| current.at.order() <= at.order()) {
            state.current = Some(CurrentAnswer { text: text.into(), at });
            state.stale = stale;
        }
    }

    /// An event of it stands in the log, which another instance may have put there.
    pub(super) fn heard(&self, event: &Event, at: EventId) {
        let Some(current) = self.state().current.clone() else { return };
        if current.at.order() >= at.order() {
            return;
        }
        match event.name.as_ref().map(EventName::as_str) {
            None => self.set_current(&event.data, None, at),
            Some("stale") => self.set_current(&current.text, Some(event.data.to_string()), at),
            // What it is now stands in what is kept.
            Some(_) => self.marked.notify_one(),
        }
    }

    /// Our id of the event that the application calls this.
    fn find(&self, state: &HeldState, theirs: &str) -> Option<EventId> {
        match &self.heard {
            Some(heard) => heard.find(&self.name, theirs),
            None => state.ids.find(theirs),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, HeldState> {
        self.state.lock()
    }

    /// Completes when nobody has read the stream for as long as it is kept then.
    pub(super) async fn lingered(&self) {
        loop {
            let linger = {
                let state = self.state();
                (state.readers == 0).then(|| state.asks.source.linger)
            };
            let Some(linger) = linger else {
                self.readers_changed.notified().await;
                continue;
            };
            let came = tokio::time::timeout(linger, self.readers_changed.notified()).await.is_ok();
            if !came && self.state().readers == 0 {
                return;
            }
        }
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
    /// Behind this place, or with the first that is kept behind it.
    Since(EventId),
    /// Behind the event that has this id of ours, if it is one.
    After(String),
    /// Nobody knows where that is.
    Lost,
    /// Behind this place, after these events: their names and data.
    Current(EventId, Vec<(Option<&'static str>, String)>),
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
        if let Some(ours) = self.held.find(&state, id) {
            return ReaderStart::After(ours.to_string());
        }
        if state.began_behind == *id {
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
        let known = last_event_id.and_then(|id| Some((id, self.held.log.locate(id).ok()?.id)));
        if let (Some((id, known)), Some(began)) = (known, state.began)
            && known.order() >= began.order()
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
