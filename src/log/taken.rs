//! Which events were taken back: each as long as the event that tells of it is kept.

use hashbrown::HashSet;

use crate::event::EventId;

/// What an event tells to be taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Retraction {
    /// The event with this id.
    Event(EventId),
    /// All of a topic up to here.
    Topic,
}

/// The ids of events that were taken back.
#[derive(Default)]
pub(super) struct TakenIds(HashSet<(u64, u64)>);

impl TakenIds {
    pub(super) fn add(&mut self, told: Retraction) {
        if let Retraction::Event(id) = told {
            self.0.insert(id.order());
        }
    }

    pub(super) fn remove(&mut self, told: Retraction) {
        if let Retraction::Event(id) = told {
            self.0.remove(&id.order());
        }
    }

    pub(super) fn has(&self, id: EventId) -> bool {
        self.0.contains(&id.order())
    }
}
