//! All streams that are held: who joins which, when one is begun, and when it is let go of.
//!
//! Invariant: of each name there is one at a time, whoever comes at once; nobody joins one that has ended.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::debug;

use crate::config::{SourceKind, StreamSource};
use crate::event::{Event, EventId, Key, Name};
use crate::expiring::ExpiringMap;
use crate::fanout::{CloseReason, Fanout, Selector};
use crate::lock::Mutex;
use crate::log::Log;
use crate::proxy::Proxy;
use crate::shutdown::Drain;
use crate::telemetry;
use crate::upstream::collapse;
use crate::upstream::held::{HeldStream, Phase, SourceEnd, SourceRequest, UpstreamReader};
use crate::upstream::identity::SharedRequest;
use crate::upstream::ids::UpstreamIds;
use crate::upstream::open::OpenGuard;
use crate::upstream::poll;
use crate::upstream::refresh;
use crate::upstream::refresh::{PolledTarget, Refreshes};
use crate::upstream::shared;
use crate::upstream::shared::destination::Destination;
use crate::upstream::shared::heard::HeardIds;
use crate::upstream::shared::hold::{SharedEnd, SharedParts};
use crate::upstream::shared::leases::StreamLeases;
use crate::upstream::sharing::Unshared;

/// The streams that are held. There is one of it in a daemon's life.
pub struct Upstreams {
    pub(super) log: Arc<Log>,
    fanout: Arc<Fanout>,
    drain: Drain,
    held: Mutex<HashMap<Name, Arc<HeldStream>>>,
    /// What was found not to be shared, so that it is not tried for each caller.
    unshared: Mutex<ExpiringMap<Name, Unshared>>,
    /// Streams that were let go of, and could go on where they were.
    left: Mutex<ExpiringMap<Name, LeftStream>>,
    refreshes: Refreshes,
    /// Where several instances share one log: who reads which stream for all of them.
    leases: OnceLock<Arc<dyn StreamLeases>>,
    heard: Arc<HeardIds>,
}

/// What is kept of a stream that nobody hears any more.
struct LeftStream {
    ids: UpstreamIds,
    /// The application's own id of the last event.
    last_event_id: String,
}

/// A caller that asks for a stream.
pub struct UpstreamCaller {
    pub request: SharedRequest,
    pub source: Arc<StreamSource>,
    /// The route's path as it is configured.
    pub route: Arc<str>,
    pub proxy: Proxy,
    /// The id that the client has last seen.
    pub last_event_id: Option<String>,
    /// The topics that make a polled answer be asked for at once when something is published to them.
    pub refresh_on: Vec<Key>,
}

/// What becomes of a caller.
pub enum UpstreamJoin {
    /// A reader of the stream that is held.
    UpstreamReader(UpstreamReader),
    /// The caller's own request goes to the application, and its answer is the caller's.
    Alone(Option<Unshared>),
    /// The application cannot be asked now.
    Away,
}

/// For how long it is remembered that an answer is not shared.
const UNSHARED_FOR: Duration = Duration::from_secs(10);
/// How many of those are remembered.
const MAX_UNSHARED: usize = 1000;
/// How many streams that were let go of are remembered.
const MAX_LEFT: usize = 200;
/// For how long a stream that was let go of can be gone on with.
pub const LEFT_FOR: Duration = Duration::from_secs(600);
/// How often those are told to end who joined while a stream ended.
const TELL_AGAIN: Duration = Duration::from_millis(200);

impl Upstreams {
    /// Ends with the drain: everything that it reads.
    pub fn new(log: Arc<Log>, fanout: Arc<Fanout>, drain: Drain) -> Self {
        Self {
            log,
            fanout,
            drain,
            held: Mutex::default(),
            unshared: Mutex::new(ExpiringMap::new(MAX_UNSHARED)),
            left: Mutex::new(ExpiringMap::new(MAX_LEFT)),
            refreshes: Refreshes::default(),
            leases: OnceLock::new(),
            heard: Arc::default(),
        }
    }

    /// From now on several instances share the log, and one of them reads each stream for all.
    pub fn share(&self, leases: Arc<dyn StreamLeases>) {
        // There is one Redis in a daemon's life.
        let _ = self.leases.set(leases);
    }

    /// The log that is shared has this event of the stream of this name, under the id `ours` or soon; `theirs` is the
    /// application's own.
    pub fn heard(&self, name: &Name, event: &Event, theirs: Option<&str>, ours: EventId) {
        if let Some(theirs) = theirs {
            self.heard.insert(name, theirs, ours);
        }
        let held = self.held.lock().get(name).cloned();
        if let Some(held) = held {
            held.heard(event, ours);
        }
    }

    /// Another instance may have changed how the stream of this name stands.
    pub fn marked(&self, name: &Name) {
        if let Some(held) = self.held.lock().get(name) {
            held.marked.notify_one();
        }
    }

    /// Joins the stream that is asked for, which begins with its first reader. Waits until it is known what the
    /// application answers. Whether the caller may hear it has to be known by then.
    pub async fn join(self: &Arc<Self>, asked: UpstreamCaller) -> UpstreamJoin {
        let reader = match self.find_or_begin(asked) {
            Ok(reader) => reader,
            Err(instead) => return instead,
        };
        let mut phase = reader.held.phase.subscribe();
        let known = phase.wait_for(|phase| *phase != Phase::Starting).await.map(|phase| *phase);
        match known {
            Ok(Phase::Live) => UpstreamJoin::UpstreamReader(reader),
            Ok(Phase::Ended(SourceEnd::Unshared(why))) => UpstreamJoin::Alone(Some(why)),
            Ok(Phase::Ended(SourceEnd::Answered(_))) => UpstreamJoin::Alone(Some(Unshared::Answer)),
            Ok(Phase::Ended(SourceEnd::Away) | Phase::Starting) | Err(_) => UpstreamJoin::Away,
        }
    }

    fn find_or_begin(self: &Arc<Self>, asked: UpstreamCaller) -> Result<UpstreamReader, UpstreamJoin> {
        let UpstreamCaller { request, source, route, proxy, last_event_id, refresh_on } = asked;
        let (name, max) = (request.name.clone(), source.max_upstreams);
        let asks = SourceRequest { request, proxy, source, refresh_on };
        let mut all = self.held.lock();
        if let Some(held) = all.get(&name) {
            let early = match *held.phase.borrow() {
                Phase::Starting => true,
                Phase::Live => false,
                Phase::Ended(SourceEnd::Unshared(why)) => return Err(UpstreamJoin::Alone(Some(why))),
                // Its own request would be answered by no stream, and nobody knows that it would be refused.
                Phase::Ended(_) if asks.source.kind == SourceKind::Poll => return Err(UpstreamJoin::Away),
                Phase::Ended(SourceEnd::Answered(_) | SourceEnd::Away) => {
                    return Err(UpstreamJoin::Alone(Some(Unshared::Answer)));
                }
            };
            self.ask_as(held, asks);
            return Ok(held.reader(early));
        }
        if let Some(why) = self.unshared.lock().get(&name, Instant::now()) {
            return Err(UpstreamJoin::Alone(Some(*why)));
        }
        if all.values().filter(|held| held.route == route).count() >= max {
            return Err(UpstreamJoin::Alone(Some(Unshared::Limit)));
        }
        let last_event_id = last_event_id.as_deref();
        let (begins, heard) = match self.leases.get() {
            None => (self.continued(&name, last_event_id), None),
            Some(_) => (<_>::default(), Some((Arc::clone(&self.heard), last_event_id))),
        };
        let held = HeldStream::new(route, asks, begins, Arc::clone(&self.log), heard);
        let reader = held.reader(true);
        all.insert(name, Arc::clone(&held));
        self.refresh(&held);
        drop(all);
        let upstreams = Arc::clone(self);
        self.drain.spawn(async move { upstreams.hold(&held).await });
        Ok(reader)
    }

    /// From now on `held` is asked for as its newest reader says.
    fn ask_as(self: &Arc<Self>, held: &Arc<HeldStream>, asks: SourceRequest) {
        if held.state().asks.refresh_on == asks.refresh_on {
            held.state().asks = asks;
            return;
        }
        self.refreshes.remove(&self.log, held);
        held.state().asks = asks;
        self.refresh(held);
    }

    /// Asks for it when something is published to its topics.
    fn refresh(self: &Arc<Self>, held: &Arc<HeldStream>) {
        if self.refreshes.add(&self.log, held) {
            let upstreams = Arc::clone(self);
            self.drain
                .spawn(async move { upstreams.refreshes.listen(&upstreams.log, &upstreams.drain).await });
        }
    }

    /// Asks at once for the answers that are meant, of those that somebody hears; for how many.
    pub fn call_for(&self, target: &PolledTarget) -> usize {
        let called = self.called_for(target);
        let count = called.len();
        refresh::count("request", count);
        let at_once = move || called.iter().for_each(|held| held.called_for.notify_one());
        let Some(leases) = self.leases.get().cloned() else {
            at_once();
            return count;
        };
        // Another instance may be the one that asks. What it is told, this one hears as well.
        let (path, query) = target.said.clone();
        self.drain.spawn(async move {
            if leases.call(&path, query.as_deref()).await.is_err() {
                at_once();
            }
        });
        count
    }

    /// An instance says that answers are called for.
    pub fn called(&self, target: &PolledTarget) {
        self.called_for(target).iter().for_each(|held| held.called_for.notify_one());
    }

    fn called_for(&self, target: &PolledTarget) -> Vec<Arc<HeldStream>> {
        self.held.lock().values().filter(|held| target.means(held)).cloned().collect()
    }

    /// Nobody joins it from now on.
    fn forget(&self, all: &mut HashMap<Name, Arc<HeldStream>>, held: &HeldStream) {
        all.remove(&held.name);
        self.refreshes.remove(&self.log, held);
    }

    /// Behind which of the application's own events a stream begins that is asked for behind `last_event_id`, and what
    /// is known of the events before. Empty = nothing came before.
    fn continued(&self, name: &Name, last_event_id: Option<&str>) -> (String, UpstreamIds) {
        let left = self.left.lock().remove(name);
        let Some(id) = last_event_id else { return <_>::default() };
        let is_ours = self.log.locate(id).is_ok();
        if let Some(left) = left.filter(|left| is_ours || left.ids.find(id).is_some()) {
            return (left.last_event_id, left.ids);
        }
        // One of ours is nothing that the application knows.
        let foreign = id.parse::<EventId>().is_ok_and(|id| id.tag.is_some());
        if is_ours || foreign { <_>::default() } else { (id.to_owned(), UpstreamIds::default()) }
    }

    /// Holds a stream until it has no readers any more, or the application has ended it.
    async fn hold(&self, held: &Arc<HeldStream>) {
        let mut counted = OpenGuard::of(telemetry::UPSTREAMS_OPEN);
        let end = match self.leases.get() {
            None => self.hold_alone(held).await,
            Some(leases) => self.hold_shared(leases, held, &mut counted).await,
        };
        let Some(end) = end else { return };
        let route = &*held.route;
        debug!(route, ?end, "a stream of the application ended");
        if let SourceEnd::Unshared(why) = end {
            let now = Instant::now();
            self.unshared.lock().insert(held.name.clone(), why, now + UNSHARED_FOR, now);
        }
        self.end(held, end).await;
    }

    /// Reads the stream here, for the readers of this instance; None when nobody waits for an end of it.
    async fn hold_alone(&self, held: &Arc<HeldStream>) -> Option<SourceEnd> {
        let left = async {
            loop {
                held.lingered().await;
                if self.forgets(held) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.drain.started() => {
                // Whoever waits for its answer still.
                held.phase.send_replace(Phase::Ended(SourceEnd::Away));
                None
            }
            () = left => None,
            end = self.read(held) => Some(end),
        }
    }

    /// The same where one of several instances reads it.
    async fn hold_shared(
        &self,
        leases: &Arc<dyn StreamLeases>,
        held: &Arc<HeldStream>,
        counted: &mut OpenGuard,
    ) -> Option<SourceEnd> {
        let parts = SharedParts { leases, heard: &self.heard, log: &self.log, drain: &self.drain };
        loop {
            match shared::hold::hold(&parts, held, counted).await {
                SharedEnd::Source(end) => return Some(end),
                SharedEnd::Drained => {
                    held.phase.send_replace(Phase::Ended(SourceEnd::Away));
                    return None;
                }
                SharedEnd::Deserted if self.forgets(held) => return None,
                // Somebody came at the last moment.
                SharedEnd::Deserted => {}
            }
        }
    }

    async fn read(&self, held: &HeldStream) -> SourceEnd {
        let (own, kind) = (Destination::Own(&self.log), held.state().asks.source.kind);
        let end = match kind {
            SourceKind::Topics | SourceKind::Backend => collapse::hold(own, held).await,
            SourceKind::Poll => poll::hold(own, held).await,
        };
        // Nobody else can take what is this instance's own.
        end.unwrap_or(SourceEnd::Away)
    }

    /// Ends the streams of all readers, and forgets the stream when they are gone.
    async fn end(&self, held: &HeldStream, end: SourceEnd) {
        held.phase.send_replace(Phase::Ended(end));
        let which = Selector { keys: [held.key.clone()].into(), token: None };
        loop {
            {
                let mut all = self.held.lock();
                if held.state().readers == 0 || self.drain.has_started() {
                    self.forget(&mut all, held);
                    return;
                }
            }
            self.fanout.end_soon(&which, CloseReason::SourceEnded);
            sleep(TELL_AGAIN).await;
        }
    }

    /// Forgets a stream without readers; false when it has one again.
    fn forgets(&self, held: &HeldStream) -> bool {
        let mut all = self.held.lock();
        if held.state().readers > 0 {
            return false;
        }
        self.forget(&mut all, held);
        let mut state = held.state();
        let left = LeftStream {
            ids: std::mem::take(&mut state.ids),
            last_event_id: std::mem::take(&mut state.last_event_id),
        };
        if !left.last_event_id.is_empty() && self.leases.get().is_none() {
            let now = Instant::now();
            self.left.lock().insert(held.name.clone(), left, now + LEFT_FOR, now);
        }
        true
    }
}
