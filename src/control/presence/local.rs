//! How many streams each user, and each topic where somebody wants to know, has on this instance.
//!
//! Counted on the shards' threads, under a lock that is held for a look into a table; what has changed is taken out in
//! one go.

use crate::lock::Mutex;
use std::collections::HashSet;
use std::sync::MutexGuard;

use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::control::presence::view::Kind;
use crate::event::{Key, Name};
use crate::fanout::{StreamEnd, Watched, Watcher};

pub(super) struct LocalPresence {
    counts: Mutex<UserCounts>,
    /// Something has changed since it was last taken.
    pub(super) changed: Notify,
    topics: bool,
}

#[derive(Default)]
struct UserCounts {
    streams: u64,
    names: [HashMap<Name, u32>; 2],
    /// At most one entry for every name that came or went: no more than were open in the meantime.
    changed: HashSet<(Kind, Name)>,
}

impl LocalPresence {
    /// With `topics`, topics are counted as well.
    pub(super) fn new(topics: bool) -> Self {
        Self { counts: Mutex::default(), changed: Notify::new(), topics }
    }

    pub(super) fn streams(&self) -> u64 {
        self.counts().streams
    }

    /// What has changed since the last time, and how many streams it has now.
    pub(super) fn take(&self) -> Vec<(Kind, Name, u32)> {
        let mut counts = self.counts();
        let changed = std::mem::take(&mut counts.changed);
        let count = |kind: Kind, name: &Name| counts.names[kind as usize].get(name).copied().unwrap_or(0);
        changed
            .into_iter()
            .map(|(kind, name)| (kind, count(kind, &name), name))
            .map(|(k, c, n)| (k, n, c))
            .collect()
    }

    fn counts(&self) -> MutexGuard<'_, UserCounts> {
        self.counts.lock()
    }

    fn count(&self, keys: &[Key], more: bool, streams: bool) {
        let mut counts = self.counts();
        let idle = counts.changed.is_empty();
        match (streams, more) {
            (true, true) => counts.streams += 1,
            (true, false) => counts.streams -= 1,
            (false, _) => {}
        }
        for key in keys {
            let (kind, name) = match key {
                Key::User(name) => (Kind::User, name),
                Key::Topic(name) if self.topics => (Kind::Topic, name),
                _ => continue,
            };
            counts.count(kind, name, more);
        }
        let wake = idle && !counts.changed.is_empty();
        drop(counts);
        if wake {
            self.changed.notify_one();
        }
    }
}

impl UserCounts {
    fn count(&mut self, kind: Kind, name: &Name, more: bool) {
        let names = &mut self.names[kind as usize];
        if more {
            *names.entry_ref(name).or_insert(0) += 1;
        } else if let Some(count) = names.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                names.remove(name);
            }
        }
        if !self.changed.contains(&(kind, name.clone())) {
            self.changed.insert((kind, name.clone()));
        }
    }
}

impl Watcher for LocalPresence {
    fn opened(&self, stream: &Watched<'_>) {
        self.count(stream.keys, true, true);
    }

    fn changed(&self, _stream: &Watched<'_>, gained: &[Key], lost: &[Key]) {
        if self.topics {
            self.count(gained, true, false);
            self.count(lost, false, false);
        }
    }

    fn ended(&self, stream: &Watched<'_>, _how: StreamEnd) {
        self.count(stream.keys, false, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let (kind, name) = text.split_at(1);
        let name = Name::parse(name).unwrap();
        if kind == "u" { Key::User(name) } else { Key::Topic(name) }
    }

    fn taken(local: &LocalPresence) -> Vec<(Kind, String, u32)> {
        let mut taken: Vec<_> =
            local.take().into_iter().map(|(kind, name, count)| (kind, name.to_string(), count)).collect();
        taken.sort();
        taken
    }

    #[test]
    fn what_comes_and_goes_in_between_is_told_once() {
        let local = LocalPresence::new(true);
        local.count(&[key("ua"), key("tx"), key("ty")], true, true);
        local.count(&[key("ua"), key("tx")], true, true);
        local.count(&[key("ub")], true, true);
        local.count(&[key("ub")], false, true);
        let [user, topic] = [Kind::User, Kind::Topic];
        let all = [(user, "a", 2), (user, "b", 0), (topic, "x", 2), (topic, "y", 1)];
        assert_eq!(taken(&local), all.map(|(kind, name, count)| (kind, name.to_owned(), count)));
        assert_eq!((taken(&local), local.streams()), (vec![], 2));
        local.count(&[key("ty")], false, false);
        assert_eq!(taken(&local), [(topic, "y".to_owned(), 0)]);
        assert!(!local.counts().names[1].contains_key(&Name::parse("y").unwrap()), "nothing is left of it");
    }

    #[test]
    fn topics_are_counted_only_where_somebody_wants_to_know() {
        let local = LocalPresence::new(false);
        local.count(&[key("ua"), key("tx")], true, true);
        assert_eq!(taken(&local), [(Kind::User, "a".to_owned(), 1)]);
    }
}
