//! Recordings of all instances: found, joined and stopped through any of them.
//!
//! What this instance holds is looked for here; of the rest the store between the instances tells. A store that does
//! not answer keeps nobody waiting for longer than a bound, and then what is here counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::capture::copy::{CopyStart, RecordingCopy};
use crate::capture::mirror::{BELIEVED, Mirror};
use crate::capture::owner::{Owner, OwnerMark};
use crate::capture::recording::Recording;
use crate::capture::recordings::Recordings;
use crate::capture::route::CaptureRoute;
use crate::capture::shared::{
    ClaimResult, CopyName, FoundCopy, HolderInbox, HolderMessage, RecordingStore, StoreAway,
};
use crate::shutdown::Drain;

/// How long a reader who comes back waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a request waits for it that can go on without.
const BRIEFLY: Duration = Duration::from_millis(250);
/// How often a name is tried to be claimed that others claim at the same time.
const CLAIMS: usize = 3;
/// By how much a recording of another instance may be further ahead of its readers: it comes in larger pieces.
const AHEAD: usize = 1 << 20;

/// What came of a search.
pub(super) enum FoundRecording {
    Here(Arc<Recording>),
    Nothing,
    /// The store does not say.
    Unknown,
}

/// What came of a claim.
pub(super) enum Claimed {
    Ours,
    /// Another one of that name is under way.
    Joined(Arc<Recording>),
    /// There is no store, or it did not answer.
    Unasked,
}

/// What came of asking for an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopOutcome {
    Stopped,
    /// There is none.
    Nothing,
    /// The store does not say.
    Unknown,
}

impl Recordings {
    /// The one that has this name or id on a route, and is this owner's. One of another instance is read here from now
    /// on.
    pub(super) async fn locate(
        self: &Arc<Self>,
        route: &CaptureRoute,
        name: &str,
        owner: &Owner,
        drain: &Drain,
    ) -> FoundRecording {
        let here = self.find(&route.text, name, owner);
        let found_here = |here: Option<_>| here.map_or(FoundRecording::Nothing, FoundRecording::Here);
        let Some(copies) = self.copies() else { return found_here(here) };
        let store = copies.store();
        let name = CopyName { route: Arc::clone(&route.text), scope: owner.scope(), name: name.into() };
        match (self.look(&**store, here.as_ref(), name).await, here) {
            (Ok(Some(found)), _) => self.reach(store, route, found, owner, drain).await,
            (Err(StoreAway), None) => FoundRecording::Unknown,
            (Ok(None) | Err(StoreAway), here) => loaded(found_here(here)).await,
        }
    }

    /// What the store has of this name; nothing where what is here is surely it.
    async fn look(
        &self,
        store: &dyn RecordingStore,
        here: Option<&Arc<Recording>>,
        name: CopyName,
    ) -> Result<Option<FoundCopy>, StoreAway> {
        // A name may have become another one's on another instance since.
        let is_sure =
            |one: &Arc<Recording>| one.id == name.name || one.is_newly_named(&name.name) || !store.answers();
        if here.is_some_and(is_sure) {
            return Ok(None);
        }
        let can_wait = here.is_none() && store.answers();
        in_time(store, if can_wait { PATIENCE } else { BRIEFLY }, store.look(name)).await
    }

    /// Sees that a copy can be read here.
    async fn reach(
        self: &Arc<Self>,
        store: &Arc<dyn RecordingStore>,
        route: &CaptureRoute,
        found: FoundCopy,
        owner: &Owner,
        drain: &Drain,
    ) -> FoundRecording {
        let mark = OwnerMark::of_text(&found.owner).filter(|mark| mark.is(owner));
        let Some(mark) = mark.filter(|_| *found.route == *route.text) else { return FoundRecording::Nothing };
        if let Some(here) = self.by_id(&found.id) {
            return loaded(owned(here, owner)).await;
        }
        let FoundCopy { id, holder, .. } = found;
        let max = (route.max.0.saturating_add(AHEAD), route.max.1);
        let recording = Recording::new(id, Arc::clone(&route.text), mark, max).held_by(holder.clone());
        let recording = Arc::new(recording);
        let Some(listed) = self.add(Arc::clone(&recording)) else { return FoundRecording::Unknown };
        if !Arc::ptr_eq(&listed, &recording) {
            return loaded(owned(listed, owner)).await;
        }
        let mirror = Mirror { recording: Arc::clone(&recording), recordings: Arc::clone(self) };
        drain.spawn(Arc::new(mirror).run(Arc::clone(store), holder, drain.clone()));
        loaded(FoundRecording::Here(recording)).await
    }

    /// Makes `name` the recording's on all instances, unless one of this owner's is under way that has it.
    pub(super) async fn claim(
        self: &Arc<Self>,
        recording: &Arc<Recording>,
        route: &CaptureRoute,
        name: &str,
        owner: &Owner,
        drain: &Drain,
    ) -> Claimed {
        let Some(copies) = self.copies() else { return Claimed::Unasked };
        let store = copies.store();
        let scope = owner.scope();
        let named = |name: &str| CopyName {
            route: Arc::clone(&route.text),
            scope: Arc::clone(&scope),
            name: name.into(),
        };
        let mut before = None;
        for _ in 0..CLAIMS {
            if !store.answers() {
                break;
            }
            let new = RecordingCopy::new_copy(recording, route.keep);
            let claim = store.claim(new, named(name), before.take());
            let id = match in_time(&**store, BRIEFLY, claim).await {
                Ok(ClaimResult::Ours) => return Claimed::Ours,
                Ok(ClaimResult::Of(id)) => id,
                Err(StoreAway) => break,
            };
            let Ok(found) = in_time(&**store, BRIEFLY, store.look(named(&id))).await else { break };
            if let Some(found) = found.filter(|found| found.is_running)
                && let FoundRecording::Here(other) = self.reach(store, route, found, owner, drain).await
                && other.standing().ended.is_none()
            {
                return Claimed::Joined(other);
            }
            before = Some(id);
        }
        Claimed::Unasked
    }

    /// Copies a recording for the other instances, if there are any, once it may begin.
    pub(super) fn copy(&self, recording: &Arc<Recording>, keep: Duration, drain: &Drain) -> CopyStart {
        let (start, claimed) = CopyStart::new();
        match self.copies() {
            None => recording.copied.cancel(),
            Some(copies) => {
                let (copies, recording) = (Arc::clone(copies), Arc::clone(recording));
                drain.spawn(RecordingCopy { copies, recording, keep, claimed }.run());
            }
        }
        start
    }

    /// Asks that the one of this name on a route is not read any more, if it is this owner's.
    pub(super) async fn stop_named(&self, route: &Arc<str>, name: &str, owner: &Owner) -> StopOutcome {
        let here = self.find(route, name, owner);
        let Some(copies) = self.copies() else { return self.stop_here(here.as_deref()).await };
        let named = CopyName { route: Arc::clone(route), scope: owner.scope(), name: name.into() };
        match self.look(&**copies.store(), here.as_ref(), named).await {
            Ok(Some(found)) => {
                let is_owners = OwnerMark::of_text(&found.owner).is_some_and(|mark| mark.is(owner));
                if !is_owners || *found.route != **route {
                    return StopOutcome::Nothing;
                }
                self.stop_found(&**copies.store(), found).await
            }
            Err(StoreAway) if here.is_none() => StopOutcome::Unknown,
            Ok(None) | Err(StoreAway) => self.stop_here(here.as_deref()).await,
        }
    }

    /// The same with the one that has this id, whosever it is.
    pub async fn stop(&self, id: &str) -> StopOutcome {
        match (self.by_id(id), self.copies()) {
            (Some(here), _) => self.stop_here(Some(&here)).await,
            (None, None) => StopOutcome::Nothing,
            (None, Some(copies)) => {
                let name = CopyName { route: "".into(), scope: Arc::default(), name: id.into() };
                match self.look(&**copies.store(), None, name).await {
                    Ok(Some(found)) => self.stop_found(&**copies.store(), found).await,
                    Ok(None) => StopOutcome::Nothing,
                    Err(StoreAway) => StopOutcome::Unknown,
                }
            }
        }
    }

    async fn stop_found(&self, store: &dyn RecordingStore, found: FoundCopy) -> StopOutcome {
        match self.by_id(&found.id) {
            Some(here) if here.holder.is_none() => {
                here.stop();
                StopOutcome::Stopped
            }
            _ => tell_stop(store, found.holder, found.id).await,
        }
    }

    async fn stop_here(&self, one: Option<&Recording>) -> StopOutcome {
        let Some(one) = one else { return StopOutcome::Nothing };
        match (&one.holder, self.copies()) {
            (Some(holder), Some(copies)) => {
                tell_stop(&**copies.store(), holder.clone(), one.id.clone()).await
            }
            _ => {
                one.stop();
                StopOutcome::Stopped
            }
        }
    }
}

impl HolderInbox for Recordings {
    fn told(&self, message: HolderMessage) {
        let own = |id: &str| self.by_id(id).filter(|one| one.holder.is_none());
        match message {
            HolderMessage::Stop(id) => {
                if let Some(recording) = own(&id) {
                    recording.stop();
                }
            }
            HolderMessage::Readers { id, from, readers } => {
                if let Some(recording) = own(&id) {
                    recording.attendance.elsewhere(&from, readers, Instant::now() + BELIEVED);
                }
            }
        }
    }
}

fn owned(one: Arc<Recording>, owner: &Owner) -> FoundRecording {
    if one.owner.is(owner) { FoundRecording::Here(one) } else { FoundRecording::Nothing }
}

/// Waits until what is there of one that another instance holds is here.
async fn loaded(located: FoundRecording) -> FoundRecording {
    if let FoundRecording::Here(one) = &located
        && one.holder.is_some()
        && timeout(PATIENCE, one.loaded.cancelled()).await.is_err()
    {
        return FoundRecording::Unknown;
    }
    located
}

async fn tell_stop(store: &dyn RecordingStore, holder: Box<str>, id: Box<str>) -> StopOutcome {
    match in_time(store, PATIENCE, store.tell(holder, HolderMessage::Stop(id))).await {
        Ok(()) => StopOutcome::Stopped,
        Err(StoreAway) => StopOutcome::Unknown,
    }
}

async fn in_time<T>(
    store: &dyn RecordingStore,
    limit: Duration,
    asked: impl Future<Output = Result<T, StoreAway>>,
) -> Result<T, StoreAway> {
    match timeout(limit, asked).await {
        Ok(answered) => answered,
        Err(_) => {
            store.doubt();
            Err(StoreAway)
        }
    }
}
