//! Which streams are open: a page of them, how many, one of them. Asked of every shard; nothing is changed.
//!
//! A page goes by client ids, which are random: a stream that is open while all pages are read is in exactly one of
//! them, whatever comes and goes meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::event::{Audience, Key, Name};
use crate::fanout::index::SubscriberSlot;
use crate::fanout::requests::{CountQuery, Filter, ListQuery, Listed};
use crate::fanout::shard::state::Shard;
use crate::fanout::subscriber::{State, Subscriber};
use crate::fanout::wheel::Wheel;

impl Shard {
    pub(super) fn list(&self, ask: ListQuery) {
        let ListQuery { filter, after, limit, answer } = ask;
        // The first of them by client id, without sorting all that match.
        let mut first: BTreeMap<&Name, SubscriberSlot> = BTreeMap::new();
        self.each(&filter, |slot, subscriber| {
            let client = &subscriber.about.client;
            let behind = after.as_ref().is_none_or(|after| client > after);
            let full = first.len() >= limit;
            if !behind || (full && first.last_key_value().is_some_and(|(last, _)| client > *last)) {
                return;
            }
            first.insert(client, slot);
            if first.len() > limit {
                first.pop_last();
            }
        });
        // The caller may have gone.
        let _ = answer.send(first.into_values().map(|slot| self.listed(slot)).collect());
    }

    pub(super) fn count(&self, ask: CountQuery) {
        let mut count = 0;
        self.each(&ask.filter, |_, _| count += 1);
        let _ = ask.answer.send(count);
    }

    /// The streams that `filter` lets through.
    pub(super) fn chosen(&self, filter: &Filter) -> Vec<SubscriberSlot> {
        let mut slots = Vec::new();
        self.each(filter, |slot, _| slots.push(slot));
        slots
    }

    fn each<'a>(&'a self, filter: &Filter, mut take: impl FnMut(SubscriberSlot, &'a Subscriber)) {
        let Filter { keys, address, route, meta } = filter;
        let is_there = |subscriber: &Subscriber| {
            let about = &subscriber.about;
            address.is_none_or(|address| about.address == address)
                && route.as_ref().is_none_or(|route| *about.route == **route)
                && (meta.is_empty() || about.meta.as_ref().is_some_and(|noted| noted.has_all(meta)))
        };
        // The fewest hold a client's, the most a topic's.
        let rank = |key: &&Key| match key {
            Key::Client(_) => 0,
            Key::Session(_) => 1,
            Key::User(_) => 2,
            Key::Pattern(_) => 3,
            Key::Topic(_) => 4,
            Key::Upstream(_) => 5,
            Key::Broadcast => 6,
        };
        let Some(key) = keys.iter().min_by_key(rank) else {
            let there = self.subscribers.iter().filter(|(_, subscriber)| is_there(subscriber));
            return there.for_each(|(slot, subscriber)| take(slot as SubscriberSlot, subscriber));
        };
        // Publishing waits for the index: it is held for each step, not for all of them.
        for slot in self.hearers(key) {
            let Some(subscriber) = self.subscribers.get(slot as usize) else { continue };
            let hears = |key: &Key| self.index(|index| index.hears(slot, key));
            if is_there(subscriber) && (keys.len() == 1 || keys.iter().all(hears)) {
                take(slot, subscriber);
            }
        }
    }

    /// The subscribers that hold `key`, or a pattern that matches it.
    fn hearers(&self, key: &Key) -> Vec<SubscriberSlot> {
        let patterns = self.log.patterns_of(&Audience::of(key.clone()));
        let mut slots = self.index(|index| index.holders(key));
        for pattern in patterns.iter().flat_map(|patterns| patterns.iter()) {
            slots.extend(self.index(|index| index.holders(pattern)));
        }
        if patterns.is_some() {
            slots.sort_unstable();
            slots.dedup();
        }
        slots
    }

    fn listed(&self, slot: SubscriberSlot) -> Listed {
        let subscriber = &self.subscribers[slot as usize];
        let about = &subscriber.about;
        let live = subscriber.state == State::Live;
        let open_for = Wheel::time(self.now - about.opened);
        Listed {
            client: about.client.clone(),
            keys: self.index(|index| index.keys_of(slot)),
            address: about.address,
            route: Arc::clone(&about.route),
            start: about.start,
            meta: about.meta.clone(),
            opened: SystemTime::now() - open_for,
            open_for,
            sent: subscriber.sent,
            cursor: if live { subscriber.cursor.max(self.applied) } else { subscriber.cursor },
            live,
            blocked: subscriber.state == State::Blocked,
        }
    }
}
