//! A stream that this instance reads for all: what it appends, and until when it may.
//!
//! Invariant: nothing is appended twice, and nothing once another instance may have gone on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::event::{EventId, Name};
use crate::lock::Mutex;
use crate::upstream::shared::leases::{
    LeaseStanding, LeasesAway, SharedAppend, SharedEntry, SharedOutcome, StreamLeases,
};
use crate::upstream::shared::state::{SharedPhase, SharedState};

/// The right to read the stream is gone: another instance may have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::upstream) struct LeaseLost;

/// The lease of one stream, while it is ours.
pub(in crate::upstream) struct Holding {
    leases: Arc<dyn StreamLeases>,
    name: Name,
    held: Mutex<HeldPlace>,
}

struct HeldPlace {
    version: String,
    state: SharedState,
    /// Nobody else has the lease before.
    until: Instant,
}

/// How often a lease that cannot be renewed is asked for again, in parts of its length.
const TRIES: u32 = 20;

impl Holding {
    /// The lease was asked for at `since`, and is ours, behind the place of this version.
    pub(in crate::upstream) fn new(
        leases: &Arc<dyn StreamLeases>,
        name: &Name,
        (version, state): (String, SharedState),
        since: Instant,
    ) -> Self {
        let until = since + leases.length();
        let held = Mutex::new(HeldPlace { version, state, until });
        Self { leases: Arc::clone(leases), name: name.clone(), held }
    }

    pub(in crate::upstream) fn state(&self) -> SharedState {
        self.held.lock().state.clone()
    }

    /// How long the text of one event may be.
    pub(super) fn max_entry(&self) -> usize {
        self.leases.max_entry()
    }

    /// Appends `entries`, behind which the state is as `change` makes it. The id of the newest entry of the stream, if
    /// there is any.
    pub(super) async fn append(
        &self,
        entries: Vec<SharedEntry>,
        change: impl FnOnce(&mut SharedState),
    ) -> Result<Option<EventId>, LeaseLost> {
        self.move_on(entries, change, false).await
    }

    /// Tells the other instances that the stream is live, where they do not know.
    pub(super) async fn live(&self) -> Result<(), LeaseLost> {
        if self.state().phase != SharedPhase::Live {
            self.append(vec![SharedEntry::Mark], |state| state.phase = SharedPhase::Live).await?;
        }
        Ok(())
    }

    /// Gives the lease up in this phase, which the other instances are told. Without one the state stays as it is, so
    /// that they go on.
    pub(super) async fn give_up(&self, phase: Option<SharedPhase>) {
        let change = |state: &mut SharedState| state.phase = phase.unwrap_or(state.phase);
        if self.move_on(vec![SharedEntry::Mark], change, true).await.is_ok() {
            return;
        }
        // Something was on its way that nobody waits for any more: it is known now whether it was done.
        let Ok(look) = self.leases.take(&self.name, None).await else { return };
        if look.standing != LeaseStanding::Ours {
            return;
        }
        {
            let mut held = self.held.lock();
            held.version = look.version;
            if let Some(state) = look.kept.as_ref().and_then(SharedState::read) {
                held.state = state;
            }
        }
        // If not, it ends by itself.
        let _ = self.move_on(vec![SharedEntry::Mark], change, true).await;
    }

    async fn move_on(
        &self,
        entries: Vec<SharedEntry>,
        change: impl FnOnce(&mut SharedState),
        leaves: bool,
    ) -> Result<Option<EventId>, LeaseLost> {
        let (from, mut state, until) = {
            let held = self.held.lock();
            (held.version.clone(), held.state.clone(), held.until)
        };
        change(&mut state);
        let to = Name::random().as_str().to_owned();
        let append = SharedAppend {
            name: self.name.clone(),
            from,
            to: to.clone(),
            state: state.write(),
            leaves,
            entries,
            until,
        };
        match self.leases.append(append).await {
            Ok(SharedOutcome::Done(last)) => {
                state.settle(last);
                let mut held = self.held.lock();
                (held.version, held.state) = (to, state);
                Ok(last)
            }
            Ok(SharedOutcome::Lost) | Err(LeasesAway) => Err(LeaseLost),
        }
    }

    /// Renews the lease; completes when it is lost.
    pub(super) async fn keep(&self) {
        let length = self.leases.length();
        let mut pause = length / 3;
        loop {
            sleep(pause).await;
            let asked = Instant::now();
            // Where nobody has gone on meanwhile it is as if it had never ended.
            let version = self.held.lock().version.clone();
            match self.leases.take(&self.name, Some(&version)).await {
                Ok(look) if look.standing == LeaseStanding::Ours => {
                    self.held.lock().until = asked + length;
                    pause = length / 3;
                }
                Ok(_) => return,
                Err(LeasesAway) if Instant::now() >= self.held.lock().until => return,
                Err(LeasesAway) => pause = (length / TRIES).max(Duration::from_millis(10)),
            }
        }
    }
}
