//! The presence of one instance among the others: its own counts, its view of all, and what it sends and hears.
//!
//! Invariant: no lock is held while something is sent or published. This file must not know how a message travels.

use crate::clock::{from_unix_ms, now_ms};
use crate::lock::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::config;
use crate::control::cluster::members::{InstanceId, Instances};
use crate::control::cluster::message::BusCommand;
use crate::control::cluster::survey::Surveys;
use crate::control::presence::counts::Moment;
use crate::control::presence::local::LocalPresence;
use crate::control::presence::outbox::PresenceOutbox;
use crate::control::presence::view::{Kind, NameCount, SnapshotPart, Summary, Transition, View};
use crate::control::presence::wire::{
    NAMES, PresenceDelta, PresenceSnapshot, PresenceSummary, SnapshotRequest,
};
use crate::event::Name;
use crate::fanout::{Fanout, Watcher};
use crate::shutdown::Drain;
use crate::telemetry::{PRESENCE_COMPLETE, PRESENCE_DROPPED, PRESENCE_RESYNCS, PRESENCE_USERS};

/// Somebody is there who was not, or is gone for longer than the grace: on all instances together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresenceChange {
    /// A user came online or went offline; a topic was occupied or is empty.
    pub kind: Kind,
    pub name: Name,
    pub here: bool,
    pub at: SystemTime,
}

/// Hears of edges, in their order, on the one instance that speaks of them. It must not wait.
///
/// At least once: when the instance that speaks dies, the next one repeats what it may not have said.
pub trait PresenceListener: Send + Sync {
    fn noticed(&self, noticed: &PresenceChange);
}

/// Who is where.
pub struct Presence {
    pub(super) instances: Arc<Instances>,
    pub(super) surveys: Arc<Surveys>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) local: Arc<LocalPresence>,
    state: Mutex<State>,
    start: Instant,
    grace: Duration,
    /// Something has to be sent to the others.
    pub(in crate::control) to_tell: Notify,
    /// Something has to be spoken.
    pub(super) to_announce: Notify,
    pub(super) heeds: OnceLock<Arc<dyn PresenceListener>>,
    pub(super) settings: config::Presence,
}

pub(super) struct State {
    pub(super) post: PresenceOutbox,
    announced: VecDeque<Transition>,
    resyncs: u64,
}

/// How long changes are gathered before they are sent.
const GATHER: Duration = Duration::from_millis(50);
/// How many edges may wait to be spoken.
const MAX_SPOKEN: usize = 200_000;
/// Before the first moment of a view: nothing it looks at is older.
const BEFORE: u64 = 3_600_000;

impl Presence {
    /// Counts the streams of `fanout` from now on. With `topics`, topics are watched as well; `alone` says that there
    /// are no other instances.
    pub fn new(
        settings: &config::Presence,
        instances: Arc<Instances>,
        surveys: Arc<Surveys>,
        fanout: Arc<Fanout>,
        topics: bool,
        alone: bool,
    ) -> Self {
        let local = Arc::new(LocalPresence::new(topics));
        fanout.watch(&(Arc::clone(&local) as Arc<dyn Watcher>));
        let grace = u64::try_from(settings.grace.as_millis()).unwrap_or(u64::MAX / 2);
        let view = View::new(instances.me().id.clone(), grace, alone);
        let state = State { post: PresenceOutbox::new(view), announced: VecDeque::new(), resyncs: 0 };
        Self {
            instances,
            surveys,
            fanout,
            local,
            state: Mutex::new(state),
            start: Instant::now(),
            grace: settings.grace,
            to_tell: Notify::new(),
            to_announce: Notify::new(),
            heeds: OnceLock::new(),
            settings: settings.clone(),
        }
    }

    /// From now on `heeds` hears of the edges that this instance publishes. Once.
    pub fn heed(&self, heeds: Arc<dyn PresenceListener>) {
        let _ = self.heeds.set(heeds);
    }

    /// For how long somebody may be away without being gone.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Gathers what changes here, until `drain` starts.
    pub(in crate::control) async fn gather_all(self: Arc<Self>, drain: Drain) {
        loop {
            tokio::select! {
                biased;
                () = drain.started() => return,
                () = self.local.changed.notified() => {}
            }
            // A crowd that comes at once takes few messages.
            tokio::time::sleep(GATHER).await;
            self.gather();
        }
    }

    /// Takes over what has changed here.
    pub(in crate::control) fn gather(&self) {
        let changed = self.local.take();
        if changed.is_empty() {
            return;
        }
        let now = self.now();
        let mut state = self.state();
        let others = state.post.has_others();
        let edges = state.post.here(changed, now);
        self.announce(state, edges);
        if others {
            self.to_tell.notify_one();
        }
    }

    /// What goes along with a sign of life.
    pub(in crate::control) fn summary(&self) -> PresenceSummary {
        let streams = self.local.streams();
        let state = self.state();
        PresenceSummary::new(Summary { seq: state.post.seq, settled: state.post.view.is_settled(), streams })
    }

    /// The next message to the others; None when all is sent. What is wanted as a whole comes by `everybody`.
    pub(in crate::control) fn next_message(&self) -> Option<BusCommand> {
        let now = self.now();
        let (seq, entries) = self.state().post.next(NAMES, now)?;
        let changed = PresenceDelta::new(self.instances.me().id.clone(), seq, entries);
        Some(BusCommand::Changed(changed))
    }

    /// Everything that is here, in pieces, if somebody wants it.
    pub(in crate::control) fn everybody(&self) -> Option<impl Iterator<Item = BusCommand> + use<>> {
        let now = self.now();
        let (seq, entries) = self.state().post.everything(now)?;
        debug!(names = entries.len(), "another instance gets everybody who is here");
        let from = self.instances.me().id.clone();
        let count = entries.len().div_ceil(NAMES).max(1);
        let mut entries = entries.into_iter();
        Some((0..count).map(move |nth| {
            let entries: Vec<NameCount> = entries.by_ref().take(NAMES).collect();
            let piece = SnapshotPart { seq, nth, last: nth + 1 == count, entries };
            BusCommand::Everybody(PresenceSnapshot::new(from.clone(), piece))
        }))
    }

    /// Which instances to ask for everything now.
    pub(in crate::control) fn to_ask(&self) -> Vec<BusCommand> {
        let now = self.now();
        let mut state = self.state();
        let ask = state.post.view.ask_for(now);
        let resyncs = state.post.view.resyncs;
        metrics::counter!(PRESENCE_RESYNCS)
            .increment(resyncs - std::mem::replace(&mut state.resyncs, resyncs));
        ask.into_iter().map(|of| BusCommand::Want(SnapshotRequest { of })).collect()
    }

    pub(in crate::control) fn on_alive(&self, from: &InstanceId, people: PresenceSummary) {
        let now = self.now();
        self.state().post.view.alive(from, people.read(), now);
        self.to_tell.notify_one();
    }

    pub(in crate::control) fn on_changed(&self, changed: PresenceDelta) {
        let (from, seq, now) = (changed.from.clone(), changed.seq, self.now());
        let entries = changed.read();
        let mut state = self.state();
        let edges = state.post.view.told(&from, seq, &entries, now);
        self.announce(state, edges);
    }

    pub(in crate::control) fn on_snapshot(&self, everybody: PresenceSnapshot) {
        let (from, now) = (everybody.from.clone(), self.now());
        let piece = everybody.read();
        let mut state = self.state();
        let edges = state.post.view.piece(&from, piece, now);
        self.announce(state, edges);
    }

    pub(in crate::control) fn on_snapshot_request(&self, want: &SnapshotRequest) {
        if want.of == self.instances.me().id {
            self.state().post.wanted = true;
            self.to_tell.notify_one();
        }
    }

    /// Another instance is gone, and was last heard of then.
    pub(in crate::control) fn left(&self, id: &InstanceId, heard: Instant) {
        let now = self.now();
        let mono = BEFORE + millis(heard.saturating_duration_since(self.start));
        let heard = Moment { mono, wall: now.wall.saturating_sub(now.mono.saturating_sub(mono)) };
        let mut state = self.state();
        let edges = state.post.view.left(id, heard, now);
        self.announce(state, edges);
    }

    /// Time passes; `hearing` says whether the others are heard. Returns whether this instance has come to know enough
    /// to speak, or does so no longer: the others want to know at once.
    pub(in crate::control) fn turn(&self, hearing: bool) -> bool {
        let now = self.now();
        let mut state = self.state();
        let before = state.post.view.is_settled();
        let edges = state.post.view.turn(hearing, now);
        metrics::gauge!(PRESENCE_USERS).set(state.post.view.len(Kind::User) as f64);
        metrics::gauge!(PRESENCE_COMPLETE).set(f64::from(u8::from(state.post.view.is_complete())));
        let after = state.post.view.is_settled();
        self.announce(state, edges);
        self.to_tell.notify_one();
        before != after
    }

    /// Leaves the edges to the herald, in their order.
    fn announce(&self, mut state: MutexGuard<'_, State>, edges: Vec<Transition>) {
        if edges.is_empty() {
            return;
        }
        state.announced.extend(edges);
        let over = state.announced.len().saturating_sub(MAX_SPOKEN);
        state.announced.drain(..over);
        drop(state);
        if over > 0 {
            metrics::counter!(PRESENCE_DROPPED).increment(over as u64);
            warn!(over, "more users come and go than can be announced; some are left out");
        }
        self.to_announce.notify_one();
    }

    /// What has to be spoken, oldest first, `limit` at most.
    pub(super) fn announced(&self, limit: usize) -> Vec<PresenceChange> {
        let mut state = self.state();
        let limit = limit.min(state.announced.len());
        let noticed = |Transition { kind, change }: Transition| PresenceChange {
            kind,
            name: change.name,
            here: change.here,
            at: from_unix_ms(change.at),
        };
        state.announced.drain(..limit).map(noticed).collect()
    }

    /// Whether everything is known that the others have.
    pub(super) fn hears_all(&self) -> bool {
        self.state().post.view.is_complete()
    }

    fn now(&self) -> Moment {
        Moment { mono: BEFORE + millis(self.start.elapsed()), wall: now_ms() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
