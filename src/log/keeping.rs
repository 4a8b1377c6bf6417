//! The sets of topics as they are kept elsewhere, so that they survive a restart of this process.
//!
//! What keeps them asks whose sets have changed, and gets what they are now with the id up to which that holds: both
//! of one moment. This file must not know where they are kept.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::event::{EventId, Key, TopicFilter};
use crate::log::follow::History;
use crate::log::memory::{Log, State};
use crate::log::sets::{Sets, UnsavedHolders};
use crate::log::topic_edit::{EditBy, TopicEdit};

/// The topics of each of some users and sessions.
pub type AssignedTopics = Vec<(Key, Vec<TopicFilter>)>;

/// Sets that have changed since they were kept.
#[derive(Debug)]
pub struct UnsavedTopics {
    /// The log's head, at which the sets are these.
    pub at: EventId,
    /// None when they are too many to be named: all are to be kept anew.
    pub sets: Option<AssignedTopics>,
    /// When the first of them changed.
    pub since: Option<Instant>,
}

impl Log {
    /// From now on notes whose sets change.
    pub fn keep(&self) {
        self.lock().store.members.unsaved.get_or_insert_default();
    }

    /// The sets that have changed since it was asked last.
    pub fn to_keep(&self) -> UnsavedTopics {
        let mut state = self.lock();
        let at = state.store.head().id;
        let since = state.store.members.unsaved.as_ref().and_then(UnsavedHolders::since);
        let named =
            state.store.members.unsaved.as_mut().map_or_else(|| Some(Vec::new()), UnsavedHolders::take);
        let sets = named.map(|named| state.assigned(named));
        UnsavedTopics { at, sets, since }
    }

    /// Notes that what [`Log::to_keep`] gave was not kept after all.
    pub fn not_kept(&self, to_keep: &UnsavedTopics) {
        let mut state = self.lock();
        let Some(unsaved) = &mut state.store.members.unsaved else { return };
        let since = to_keep.since.unwrap_or_else(Instant::now);
        match &to_keep.sets {
            None => unsaved.add_all(since),
            Some(sets) => sets.iter().for_each(|(of, _)| unsaved.add(of, since)),
        }
    }

    /// Notes that all sets are to be kept anew.
    pub fn nothing_kept(&self) {
        if let Some(unsaved) = &mut self.lock().store.members.unsaved {
            unsaved.add_all(Instant::now());
        }
    }

    /// All users and sessions that have been given topics; whose sets change from here on, [`Log::to_keep`] tells.
    pub fn holders(&self) -> Vec<Key> {
        let mut state = self.lock();
        if let Some(unsaved) = &mut state.store.members.unsaved {
            unsaved.take();
        }
        state.store.members.sets().holders().cloned().collect()
    }

    /// What the sets of `holders` are now.
    pub fn assigned(&self, holders: &[Key]) -> AssignedTopics {
        self.lock().assigned(holders.iter().cloned())
    }

    /// For how long a change has been waiting to be kept.
    pub fn unsaved_for(&self) -> Duration {
        let since = self.lock().store.members.unsaved.as_ref().and_then(UnsavedHolders::since);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Takes what is kept elsewhere for what users and sessions are given; streams follow. What has changed here and is
    /// not kept yet stays.
    pub fn adopt(&self, assigned: AssignedTopics) {
        let mut kept = Sets::default();
        for (of, topics) in assigned {
            kept.put(&of, topics.into_iter().collect());
        }
        let mut state = self.lock();
        let members = &state.store.members;
        let mut edits = members.sets().towards(&kept);
        edits.retain(|(of, _)| members.unsaved.as_ref().is_none_or(|unsaved| !unsaved.names(of)));
        state.give(edits);
    }
}

impl History {
    /// The sets are known as they were at `at`: nobody has any, but for what is said next.
    pub fn known_at(&mut self, at: EventId) {
        self.base = Some((at, Sets::default()));
    }

    /// At which id the sets are known.
    pub fn known(&self) -> Option<EventId> {
        self.base.as_ref().map(|(at, _)| *at)
    }

    /// What is held already is better: it goes on.
    pub fn forget_known(&mut self) {
        self.base = None;
    }

    /// What one user or session had been given there.
    pub fn give(&mut self, of: &Key, topics: Vec<TopicFilter>) {
        if let Some((_, sets)) = &mut self.base {
            sets.put(of, topics.into_iter().collect::<BTreeSet<_>>());
        }
    }

    /// Makes a change that stands at `id`, in front of all that the history has.
    pub fn advance(&mut self, id: EventId, of: &Key, edit: TopicEdit) {
        let bounds = self.members;
        if let Some((at, sets)) = &mut self.base {
            *at = id;
            if crate::log::sets::is_shared(of) {
                // Refused here, refused everywhere.
                let _ = sets.edit(of, edit, bounds);
                self.unsaved.add(of, Instant::now());
            }
        }
    }
}

impl State {
    fn assigned(&self, holders: impl IntoIterator<Item = Key>) -> AssignedTopics {
        let topics = |of: &Key| self.store.members.topics(of).cloned().collect();
        holders.into_iter().map(|of| (topics(&of), of)).map(|(topics, of)| (of, topics)).collect()
    }

    /// Makes changes that have been allowed elsewhere, each in a place of its own, and counts them as kept.
    pub(super) fn give(&mut self, edits: Vec<(Key, TopicEdit)>) {
        let now = Instant::now();
        let bounds = std::mem::take(&mut self.store.members.bounds);
        let unsaved = self.store.members.unsaved.take();
        for (of, edit) in edits {
            if let Ok(Some(change)) = self.store.edit(&of, edit, EditBy::Backend, now) {
                self.leave_change(&change);
            }
        }
        self.store.members.unsaved = unsaved;
        self.store.members.bounds = bounds;
    }
}

#[cfg(test)]
#[path = "keeping_tests.rs"]
mod tests;
