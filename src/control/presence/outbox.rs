//! What one instance tells the others of its people, and when: numbered messages of what changed, everything on
//! request.
//!
//! Invariant: an instance that has heard every message up to a number, or everything as of it, knows what this instance
//! had when that message was made. Knows no clock, no channel and no lock.

use std::collections::BTreeSet;

use crate::control::presence::counts::Moment;
use crate::control::presence::view::{Kind, NameCount, Transition, View};
use crate::event::Name;

pub(super) struct PresenceOutbox {
    pub(super) view: View,
    /// Whose numbers have to be sent.
    outbox: BTreeSet<(Kind, Name)>,
    /// The messages that were made.
    pub(super) seq: u64,
    /// Somebody wants everything.
    pub(super) wanted: bool,
}

impl PresenceOutbox {
    pub(super) fn new(view: View) -> Self {
        Self { view, outbox: BTreeSet::new(), seq: 0, wanted: false }
    }

    /// Takes over what has changed here. Returns what has to be spoken.
    pub(super) fn here(&mut self, changed: Vec<(Kind, Name, u32)>, now: Moment) -> Vec<Transition> {
        if self.has_others() {
            self.outbox.extend(changed.iter().map(|(kind, name, _)| (*kind, name.clone())));
        } else if !changed.is_empty() {
            // Nobody hears it; an instance that comes later sees by the number that there is something to ask for.
            self.outbox.clear();
            self.seq += 1;
        }
        self.view.here(changed, now)
    }

    pub(super) fn has_others(&self) -> bool {
        self.view.others().next().is_some()
    }

    /// The next message: its number, and at most `names` entries. None when all is sent, and while everything is
    /// wanted: that goes first.
    pub(super) fn next(&mut self, names: usize, now: Moment) -> Option<(u64, Vec<NameCount>)> {
        if self.wanted || self.outbox.is_empty() {
            return None;
        }
        let mut entries = Vec::new();
        while entries.len() < names
            && let Some((kind, name)) = self.outbox.pop_first()
        {
            entries.push(self.view.entry(kind, name, now));
        }
        self.seq += 1;
        Some((self.seq, entries))
    }

    /// Everything, with the number of the last message before, if somebody wants it.
    pub(super) fn everything(&mut self, now: Moment) -> Option<(u64, Vec<NameCount>)> {
        // What waits to be sent is in it and is sent again: a number that is said twice is the same.
        std::mem::take(&mut self.wanted).then(|| (self.seq, self.view.everything(now)))
    }
}
