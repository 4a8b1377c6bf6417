//! The newest event of each coalescing key: what a fresh stream begins with that asks for a snapshot.
//!
//! What the log lets go of for its age or its bounds stays here while it is the newest of its key, within bounds of its
//! own: an event that stands in both is held once. Kept only where a route gives snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;

use crate::event::{Audience, Key};
use crate::log::entry::Entry;
use crate::log::held_keys::{AT_ONCE, HeldKeys};
use crate::log::position::Position;

/// How much the state holds beyond what the log keeps.
#[derive(Clone, Copy, Debug)]
pub struct StateBounds {
    /// Keys of one topic, user, session or client.
    pub keys: usize,
    /// Bytes of events that the log has let go of.
    pub bytes: usize,
    /// Whether streams that hold patterns have snapshots, too.
    pub patterns: bool,
}

/// The newest event of each coalescing key and audience.
pub(super) struct KeyedState {
    bounds: StateBounds,
    /// By recipient, in the order of the log.
    by_key: HashMap<Key, BTreeMap<Position, Arc<Entry>>>,
    /// All of them, where patterns have snapshots; otherwise empty.
    all: BTreeMap<Position, Arc<Entry>>,
    /// What the log has let go of, and what each takes.
    outlived: BTreeMap<Position, (Arc<Entry>, usize)>,
    bytes: usize,
}

impl KeyedState {
    pub(super) fn new(bounds: StateBounds) -> Self {
        Self { bounds, by_key: HashMap::new(), all: BTreeMap::new(), outlived: BTreeMap::new(), bytes: 0 }
    }

    /// From now on streams that hold patterns have snapshots, too.
    pub(super) fn hear_patterns(&mut self) {
        if !std::mem::replace(&mut self.bounds.patterns, true) {
            let all = self.by_key.values().flatten();
            self.all = all.map(|(&at, entry)| (at, Arc::clone(entry))).collect();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bounds);
    }

    /// What the log has let go of, oldest first.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.outlived.values().map(|(entry, _)| entry)
    }

    /// Events that are here and no longer in the log, and their bytes.
    pub(super) fn outlived(&self) -> (usize, usize) {
        (self.outlived.len(), self.bytes)
    }

    /// Takes an event that is the newest of its key from now on. Gives back those for which there is no room any more.
    pub(super) fn add(&mut self, entry: &Arc<Entry>) -> Vec<Arc<Entry>> {
        let mut gone = Vec::new();
        if self.bounds.patterns {
            self.all.insert(entry.position, Arc::clone(entry));
        }
        for key in entry.audience.keys() {
            let of_key = self.by_key.entry_ref(key).or_default();
            of_key.insert(entry.position, Arc::clone(entry));
            if of_key.len() > self.bounds.keys {
                gone.extend(of_key.first_key_value().map(|(_, oldest)| Arc::clone(oldest)));
            }
        }
        for entry in &gone {
            self.remove(entry);
        }
        gone
    }

    /// It is not the newest of its key any more, or was taken back.
    pub(super) fn remove(&mut self, entry: &Entry) {
        for key in entry.audience.keys() {
            self.remove_of(key, entry.position);
        }
        self.all.remove(&entry.position);
        if let Some((_, bytes)) = self.outlived.remove(&entry.position) {
            self.bytes -= bytes;
        }
    }

    /// The same for one of its recipients.
    fn remove_of(&mut self, key: &Key, position: Position) {
        if let Some(of_key) = self.by_key.get_mut(key) {
            of_key.remove(&position);
            if of_key.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    /// Everything of one recipient is taken back. Gives back what is nobody's any more.
    pub(super) fn remove_all(&mut self, key: &Key) -> Vec<Arc<Entry>> {
        let Some(of_key) = self.by_key.remove(key) else { return Vec::new() };
        let is_others = |entry: &Arc<Entry>| {
            let holds = |key: &Key| self.by_key.get(key).is_some_and(|all| all.contains_key(&entry.position));
            entry.audience.keys().iter().any(holds)
        };
        let gone: Vec<Arc<Entry>> = of_key.into_values().filter(|entry| !is_others(entry)).collect();
        for entry in &gone {
            self.remove(entry);
        }
        gone
    }

    /// The log lets go of an event that takes `bytes` and is the newest of its key. Gives back those for which there is
    /// no room any more; it may be among them.
    pub(super) fn outlive(&mut self, entry: &Arc<Entry>, bytes: usize) -> Vec<Arc<Entry>> {
        let is_here = |key: &Key| self.by_key.get(key).is_some_and(|all| all.contains_key(&entry.position));
        if !entry.audience.keys().iter().any(is_here) {
            return vec![Arc::clone(entry)];
        }
        self.outlived.insert(entry.position, (Arc::clone(entry), bytes));
        self.bytes += bytes;
        let mut gone = Vec::new();
        while self.bytes > self.bounds.bytes {
            let Some((_, (oldest, _))) = self.outlived.first_key_value() else { break };
            let oldest = Arc::clone(oldest);
            self.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }

    /// The part behind `after` and up to `until` of a holder of `keys`, in the order of the log: at most `max_events`,
    /// and no more than one beyond `max_bytes`.
    pub(super) fn part(
        &self,
        keys: &[Key],
        (after, until): (Position, Position),
        (max_events, max_bytes): (usize, usize),
        now: Instant,
    ) -> StatePart {
        if let Some(held) = HeldKeys::with_patterns(keys).filter(|_| self.bounds.patterns) {
            return self.part_by_patterns((keys, &held), (after, until), (max_events, max_bytes), now);
        }
        let mut part = StatePart { entries: Vec::new(), through: until, complete: true };
        let mut lists: Vec<_> = keys
            .iter()
            .filter_map(|key| Some(self.by_key.get(key)?.range(after.next()..=until).peekable()))
            .collect();
        let mut bytes = 0;
        while let Some(next) = lists.iter_mut().filter_map(|list| list.peek().map(|(at, _)| **at)).min() {
            if part.entries.len() >= max_events || bytes >= max_bytes {
                (part.through, part.complete) = (next.prev(), false);
                break;
            }
            let mut taken = None;
            for list in &mut lists {
                taken = list.next_if(|(at, _)| **at == next).map(|(_, entry)| entry).or(taken);
            }
            if let Some(entry) = taken.filter(|entry| entry.is_for(keys, now)) {
                bytes += entry.frame.chunk().len();
                part.entries.push(Arc::clone(entry));
            }
        }
        part
    }

    /// The same for a holder of patterns: a look through all, some at a time.
    fn part_by_patterns(
        &self,
        (keys, held): (&[Key], &HeldKeys<'_>),
        (after, until): (Position, Position),
        (max_events, max_bytes): (usize, usize),
        now: Instant,
    ) -> StatePart {
        let mut part = StatePart { entries: Vec::new(), through: until, complete: true };
        let mut bytes = 0;
        for (looked, (&at, entry)) in self.all.range(after.next()..=until).enumerate() {
            if looked >= AT_ONCE || part.entries.len() >= max_events || bytes >= max_bytes {
                (part.through, part.complete) = (at.prev(), false);
                break;
            }
            let lists = |key: &Key| self.by_key.get(key).is_some_and(|all| all.contains_key(&at));
            if held.hear(entry, lists) && entry.is_for(keys, now) {
                bytes += entry.frame.chunk().len();
                part.entries.push(Arc::clone(entry));
            }
        }
        part
    }
}

/// The next part of a snapshot.
#[derive(Debug)]
pub struct StatePart {
    /// In order, each once.
    pub entries: Vec<Arc<Entry>>,
    /// Everything up to here is in `entries` or is not for these keys.
    pub through: Position,
    /// Whether that was all.
    pub complete: bool,
}

/// The identity by which a later event takes the place of an earlier one.
pub(super) fn coalescing(entry: &Entry) -> Option<(Box<str>, Audience)> {
    entry.coalesce.as_ref().map(|key| (key.clone(), entry.audience.clone()))
}
