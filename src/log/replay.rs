//! What the store holds for a subscriber: read forwards for a replay, counted, or read backwards for a history.
//!
//! A holder of topics finds its entries by the index, and so does a holder of patterns that match few of the topics
//! that are kept. Where they match many, the entries are looked through one by one: a part of them at a time, as the
//! lock is held meanwhile.

use std::sync::Arc;
use std::time::Instant;

use crate::event::Key;
use crate::log::choice::Wanted;
use crate::log::entry::{Entry, Replay, Reset};
use crate::log::held_keys::{AT_ONCE, HeldKeys};
use crate::log::position::{Cursor, Position};
use crate::log::store::Store;
use crate::log::topic_order::merged;

/// A part of what is counted, or looked for.
pub(super) struct Part<T> {
    pub(super) found: T,
    /// Where to go on; None when all is looked through.
    pub(super) rest: Option<Position>,
}

/// How the entries for a holder of keys are found.
enum Search<'a> {
    /// In the lists of its keys.
    Listed(&'a [Key]),
    /// In those of its keys and of the topics that its patterns match: these are few.
    Matched(&'a [Key], Vec<Key>),
    /// By a look at each entry.
    LookedThrough(HeldKeys<'a>),
}

impl Store {
    /// What is kept after `after` for somebody who holds `keys`: at most `max_events`, and no more than one entry
    /// beyond `max_bytes` of frames. It ends before the first change of the holder's topics. `Err` when entries or
    /// such changes after `after` have been let go of.
    pub(super) fn replay<'w>(
        &self,
        wanted: impl Into<Wanted<'w>>,
        after: Position,
        max_events: usize,
        max_bytes: usize,
        now: Instant,
    ) -> Result<Replay, Reset> {
        let wanted = wanted.into();
        let keys = wanted.keys;
        if !self.holds(after) {
            return Err(self.why_trimmed);
        }
        if self.members.has_lost(keys, after) {
            return Err(Reset::TooOld);
        }
        let change = self.members.next(keys, after).cloned();
        let through = change.as_ref().map_or(self.head, |change| change.position.prev());
        let mut replay = Replay { entries: Vec::new(), through, complete: change.is_none(), change };
        let search = self.search(keys);
        if let Some(part) = self.part(&search, after).filter(|part| *part < through) {
            replay.stop_at(part);
        }
        let through = replay.through;
        let mut bytes = 0;
        for entry in self.after(&search, wanted, after, now).take_while(|entry| entry.position <= through) {
            if replay.entries.len() >= max_events || bytes >= max_bytes {
                replay.stop_at(entry.position.prev());
                break;
            }
            bytes += entry.frame.chunk().len();
            replay.entries.push(Arc::clone(entry));
        }
        Ok(replay)
    }

    /// How many entries that are no `reset` are kept after `after` for a holder of `keys`, whose topics change on the
    /// way; counting stops at `max`.
    pub(super) fn count<'w>(
        &self,
        wanted: impl Into<Wanted<'w>>,
        mut after: Position,
        max: usize,
        now: Instant,
    ) -> Part<usize> {
        let wanted = wanted.into();
        let keys = wanted.keys;
        let mut held = (!self.members.is_idle()).then(|| self.members.at(keys, after));
        let mut found = 0;
        loop {
            let given = held.iter().flat_map(|held| held.iter()).map(|(topic, _)| topic.key());
            let own = keys.iter().filter(|key| !self.has_ended(key, after)).cloned();
            let all: Vec<Key> = own.chain(given).collect();
            let change = self.members.next(keys, after);
            let through = change.map_or(self.head, |change| change.position);
            let search = self.search(&all);
            let part = self.part(&search, after).filter(|part| *part < through);
            let last = part.unwrap_or(through);
            let all = Wanted { keys: &all, ..wanted };
            let entries = self.after(&search, all, after, now).take_while(|entry| entry.position <= last);
            found += entries.filter(|entry| entry.counts()).take(max - found).count();
            match (change, &mut held) {
                _ if part.is_some() || found >= max => {
                    return Part { found, rest: part.filter(|_| found < max) };
                }
                (Some(change), Some(held)) => {
                    // A topic that ended there and began anew stays with a stream that opens now.
                    if !matches!(change.of, Key::Topic(_)) || self.has_ended(&change.of, change.position) {
                        held.follow(change);
                    }
                    after = change.position;
                }
                _ => return Part { found, rest: None },
            }
        }
    }

    /// Whether `key` is a topic that has ended at `position` or before.
    fn has_ended(&self, key: &Key, position: Position) -> bool {
        let Key::Topic(topic) = key else { return false };
        self.members.ended.end_of(topic).is_some_and(|end| end <= position)
    }

    fn search<'a>(&self, keys: &'a [Key]) -> Search<'a> {
        let Some(held) = HeldKeys::with_patterns(keys) else { return Search::Listed(keys) };
        match self.topics.matching(&held.patterns) {
            Some(topics) => Search::Matched(keys, topics),
            None => Search::LookedThrough(held),
        }
    }

    /// Where a look from `after` on ends; None where it need not end before the head.
    fn part(&self, search: &Search<'_>, after: Position) -> Option<Position> {
        let Search::LookedThrough(_) = search else { return None };
        let from = self.entries.partition_point(|entry| entry.position <= after);
        self.entries.get(from + AT_ONCE).map(|entry| entry.position.prev())
    }

    /// The entries after `after` for a holder of keys.
    fn after<'a>(
        &'a self,
        search: &'a Search<'a>,
        wanted: Wanted<'a>,
        after: Position,
        now: Instant,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let keys = wanted.keys;
        let (mut listed, mut matched, mut looked_through) = (None, None, None);
        match search {
            Search::Listed(keys) => listed = Some(self.indexed(keys, after)),
            Search::Matched(keys, topics) => {
                let lists = keys.iter().chain(topics).filter_map(|key| self.index.get(key));
                matched = Some(merged(lists, after).map(|place| self.get(place)));
            }
            Search::LookedThrough(held) => {
                let from = self.entries.partition_point(|entry| entry.position <= after);
                let hears = |entry: &&Arc<Entry>| held.hear(entry, |key| self.lists(key, entry.position));
                looked_through = Some(self.entries.range(from..).filter(hears));
            }
        }
        let all = listed.into_iter().flatten().chain(matched.into_iter().flatten());
        let all = all.chain(looked_through.into_iter().flatten());
        all.filter(move |entry| entry.is_for(keys, now) && wanted.takes(entry))
    }

    /// Whether the entry at `position` is in the list of `key`.
    fn lists(&self, key: &Key, position: Position) -> bool {
        self.index.get(key).is_some_and(|places| places.binary_search(&position).is_ok())
    }

    /// A merge of the keys' lists, in which a position that stands in several is taken once.
    fn indexed<'a>(&'a self, keys: &'a [Key], after: Position) -> impl Iterator<Item = &'a Arc<Entry>> {
        let mut lists: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                let places = self.index.get(key)?;
                let from = places.partition_point(|&place| place <= after);
                (from < places.len()).then(|| places.range(from..).copied().peekable())
            })
            .collect();
        std::iter::from_fn(move || {
            let next = lists.iter_mut().filter_map(|list| list.peek().copied()).min()?;
            for list in &mut lists {
                list.next_if_eq(&next);
            }
            Some(self.get(next))
        })
    }

    /// The cursor behind which a holder of `keys` finds the last entries up to `until` that are kept for them, `count`
    /// of them at most; and how many these are.
    pub(super) fn back<'w>(
        &self,
        wanted: impl Into<Wanted<'w>>,
        count: usize,
        until: Position,
        now: Instant,
    ) -> Part<(Cursor, usize)> {
        let wanted = wanted.into();
        let keys = wanted.keys;
        let (mut position, mut found, mut rest) = (until, 0, None);
        let mut take = |entry: &Entry| {
            if entry.is_for(keys, now) && wanted.takes(entry) {
                position = entry.position.prev();
                found += 1;
            }
            found < count
        };
        let search = self.search(keys);
        if let Search::LookedThrough(held) = &search {
            let from = self.entries.partition_point(|entry| entry.position <= until);
            let down_to = from.saturating_sub(AT_ONCE);
            let looked = self.entries.range(down_to..from).rev();
            let enough = !looked
                .filter(|entry| held.hear(entry, |key| self.lists(key, entry.position)))
                .all(|entry| take(entry));
            rest = down_to.checked_sub(1).filter(|_| !enough).map(|next| self.entries[next].position);
        } else {
            let matched = if let Search::Matched(_, topics) = &search { &topics[..] } else { &[] };
            let mut lists: Vec<_> = keys
                .iter()
                .chain(matched)
                .filter_map(|key| self.index.get(key))
                .map(|places| places.iter().rev().copied().peekable())
                .collect();
            while let Some(last) = lists.iter_mut().filter_map(|list| list.peek().copied()).max() {
                for list in &mut lists {
                    list.next_if_eq(&last);
                }
                if !take(self.get(last)) {
                    break;
                }
            }
        }
        Part { found: (Cursor { position, id: self.id_at(position) }, found), rest }
    }
}

impl Replay {
    /// It gives what stands up to `position`, and there is more.
    fn stop_at(&mut self, position: Position) {
        self.through = position;
        self.complete = false;
        self.change = None;
    }
}
