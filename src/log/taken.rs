//! Which events were taken back: each as long as the event that tells of it is kept.

use hashbrown::HashSet;

use crate::event::EventId;

/// The ids of events that were taken back.
#[derive(Default)]
pub(super) struct TakenIds(HashSet<(u64, u64)>);

impl TakenIds {
    pub(super) fn add(&mut self, id: EventId) {
        self.0.insert(id.order());
    }

    pub(super) fn remove(&mut self, id: EventId) {
        self.0.remove(&id.order());
    }

    pub(super) fn has(&self, id: EventId) -> bool {
        self.0.contains(&id.order())
    }
}
