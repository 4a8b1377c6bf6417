//! Changes of what single clients are given, until their stream has gone over them.
//!
//! A client has one stream, and nobody else ever needs its changes: so they take no room among what all streams resume
//! from, and are let go of as soon as the stream is past them. Bounded for each client.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::{Key, Name};
use crate::log::held_by::HeldBy;
use crate::log::position::Position;
use crate::log::topic_edit::{AppliedEdit, cost};

/// What waits for one client: more is not taken of its page, and lets go of the oldest where it is the backend's.
const MAX_CHANGES: usize = 64;
const MAX_BYTES: usize = 64 << 10;

/// The changes of each client that its stream has not gone over yet.
#[derive(Default)]
pub(super) struct WaitingChanges(HashMap<Key, OfClient>);

#[derive(Default)]
struct OfClient {
    /// Oldest first.
    changes: VecDeque<Arc<AppliedEdit>>,
    bytes: usize,
    /// The newest one that was let go of before its time.
    lost: Position,
}

impl WaitingChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one more would let go of another.
    pub(super) fn is_full(&self, client: &Key) -> bool {
        self.0.get(client).is_some_and(OfClient::is_full)
    }

    pub(super) fn push(&mut self, change: &Arc<AppliedEdit>) {
        let of = self.0.entry_ref(&change.of).or_default();
        while of.is_full() {
            of.drop_oldest(true);
        }
        of.bytes += cost(change);
        of.changes.push_back(Arc::clone(change));
    }

    /// The client's stream has gone over everything up to `position`.
    pub(super) fn passed(&mut self, client: &Key, position: Position) {
        let Some(of) = self.0.get_mut(client) else { return };
        while of.changes.front().is_some_and(|change| change.position <= position) {
            of.drop_oldest(false);
        }
        if of.changes.is_empty() && of.lost <= position {
            self.0.remove(client);
        }
    }

    /// The client is gone.
    pub(super) fn forget(&mut self, client: &Key) {
        self.0.remove(client);
    }

    /// Those of `key` after `position`, in order.
    pub(super) fn of(
        &self,
        key: &Key,
        position: Position,
    ) -> impl DoubleEndedIterator<Item = &Arc<AppliedEdit>> {
        self.0.get(key).into_iter().flat_map(move |of| {
            let from = of.changes.partition_point(|change| change.position <= position);
            of.changes.range(from..)
        })
    }

    /// The newest change of `key` that was let go of before its stream had gone over it.
    pub(super) fn lost(&self, key: &Key) -> Position {
        self.0.get(key).map_or(Position(0), |of| of.lost)
    }

    /// The clients whose pages have added `topic`, or a pattern that matches it, and whose streams do not hold it yet
    /// for that.
    pub(super) fn about_to_hold(&self, topic: &Name) -> Vec<Key> {
        let adds = |change: &Arc<AppliedEdit>| {
            change.via.has(HeldBy::REQUEST) && change.add.iter().any(|added| added.hears(topic))
        };
        self.0
            .iter()
            .filter(|(_, of)| of.changes.iter().any(adds))
            .map(|(client, _)| client.clone())
            .collect()
    }
}

impl OfClient {
    fn is_full(&self) -> bool {
        !self.changes.is_empty() && (self.changes.len() >= MAX_CHANGES || self.bytes >= MAX_BYTES)
    }

    fn drop_oldest(&mut self, is_lost: bool) {
        let Some(change) = self.changes.pop_front() else { return };
        self.bytes -= cost(&change);
        if is_lost {
            self.lost = change.position;
        }
    }
}
