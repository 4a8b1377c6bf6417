//! Snapshots of the log: for a fresh stream the newest event of each coalescing key, then what follows, without a seam.
//!
//! A snapshot is read as far as the position that its stream goes on behind. What is superseded meanwhile stands behind
//! that position, and is not missed.

use std::sync::Arc;
use std::time::Instant;

use crate::event::Key;
use crate::log::entry::Entry;
use crate::log::memory::Log;
use crate::log::position::Position;
use crate::log::state::{KeyedState, StateBounds, StatePart, coalescing};
use crate::log::store::Store;

impl Log {
    /// From now on keeps the newest event of each coalescing key, if it does not do so already.
    pub fn keep_state(&self, bounds: StateBounds) {
        let mut state = self.lock();
        if state.store.state.is_none() {
            let mut kept = KeyedState::new(bounds);
            let mut newest: Vec<_> = state.store.newest.values().cloned().collect();
            newest.sort_unstable_by_key(|entry| entry.position);
            for entry in newest {
                kept.add(&entry);
            }
            state.store.state = Some(Box::new(kept));
        }
        if let Some(kept) = state.store.state.as_mut().filter(|_| bounds.patterns) {
            kept.hear_patterns();
        }
    }

    /// The part of a snapshot for a holder of `keys` that stands behind `after`, and at or before `until`.
    pub fn snapshot(
        &self,
        keys: &[Key],
        (after, until): (Position, Position),
        max_events: usize,
        max_bytes: usize,
    ) -> StatePart {
        let state = self.lock();
        match &state.store.state {
            Some(kept) => kept.part(keys, (after, until), (max_events, max_bytes), Instant::now()),
            None => StatePart { entries: Vec::new(), through: until, complete: true },
        }
    }

    /// Events, and their bytes, that only snapshots need any more.
    pub fn state_size(&self) -> (usize, usize) {
        self.lock().store.state.as_ref().map_or((0, 0), |state| state.outlived())
    }
}

impl Store {
    /// `entry` is the newest of its key, in the place of `earlier`.
    pub(super) fn renew_state(&mut self, entry: &Arc<Entry>, earlier: Option<&Entry>) {
        let Some(state) = &mut self.state else { return };
        if let Some(earlier) = earlier {
            state.remove(earlier);
        }
        for gone in state.add(entry) {
            // What the log has still coalesces.
            if gone.position <= self.origin().position {
                self.forget_newest(&gone);
            }
        }
    }

    /// No later event takes the place of this one any more.
    pub(super) fn forget_newest(&mut self, entry: &Entry) {
        let Some(key) = coalescing(entry) else { return };
        if self.newest.get(&key).is_some_and(|newest| newest.position == entry.position) {
            self.newest.remove(&key);
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
