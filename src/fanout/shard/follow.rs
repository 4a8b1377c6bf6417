//! How the topics of an open stream change: every subscriber goes over every change in its place among the events.
//!
//! Invariant: a subscriber holds what its user, session and client were given at its cursor, and of what it asked for
//! itself whatever has not been removed since. A live one goes over a change as the inbox brings it, one that is behind
//! as the log does: a cursor at or after a change has it.

use crate::event::{Key, TopicFilter};
use crate::fanout::index::{Index, SubscriberSlot};
use crate::fanout::shard::state::Shard;
use crate::fanout::snapshot::SnapshotCursor;
use crate::fanout::subscriber::{Progress, State, SubscriberId};
use crate::log::{AppliedEdit, HeldBy, Membership, Position, Reset};

impl Shard {
    /// Enters the keys of a subscriber that comes with `cursor`, and what it is given there. Returns the cursor with
    /// which it goes on.
    pub(super) fn enter(&mut self, slot: SubscriberSlot, keys: &[Key], cursor: Position) -> Position {
        let new = self.index(|index| index.join(slot, keys));
        // Before the log is asked, for events as for changes: what is appended in between reaches the inbox as well,
        // and the cursor tells whether it has been replayed already.
        self.subscribe(&new);
        let (held, cursor) = self.log.enter(keys, cursor);
        if !held.is_empty() {
            let new = self.index(|index| {
                let held = held.iter().map(|(topic, via)| (topic.key(), via));
                held.filter(|(key, via)| index.give(slot, key, *via)).map(|(key, _)| key).collect::<Vec<_>>()
            });
            self.subscribe(&new);
        }
        cursor
    }

    /// Lets all live subscribers go over a change that the inbox brought. Those that are behind find it in the log.
    pub(super) fn follow(&mut self, change: &AppliedEdit) {
        for slot in self.index(|index| index.holders(&change.of)) {
            let Some(subscriber) = self.subscribers.get(slot as usize) else { continue };
            if subscriber.state != State::Live || change.position <= subscriber.cursor {
                continue;
            }
            let complete = self.change(slot, change);
            let subscriber = &mut self.subscribers[slot as usize];
            subscriber.cursor = change.position;
            if let Some(topic) = Self::ended_by(change) {
                self.tell_live_end(slot, topic, change.position);
            } else if !complete {
                // What has been appended since for its new topics did not come here: the log has it.
                subscriber.state = State::Queued;
                self.queue.push_back(SubscriberId { slot, generation: subscriber.generation });
            }
        }
    }

    /// Takes a subscriber that is behind, and has everything before `change`, over it.
    pub(super) fn apply_change(&mut self, slot: SubscriberSlot, change: &AppliedEdit) -> Progress {
        let ended = Self::ended_by(change);
        let applies = ended.is_none_or(|topic| self.ends_for(slot, topic, change.position));
        if applies {
            self.change(slot, change);
        }
        self.subscribers[slot as usize].cursor = change.position;
        match ended.filter(|_| applies) {
            Some(topic) => self.tell_end(slot, topic, change.position),
            None => Progress::More,
        }
    }

    /// Changes what a subscriber holds. Whether everything after the change that is for it reaches the inbox.
    fn change(&mut self, slot: SubscriberSlot, change: &AppliedEdit) -> bool {
        let decided = self.subscribers[slot as usize].about.decided;
        // A request that came after the removal was granted all the same.
        let taken = if change.position > decided { change.via | HeldBy::REQUEST } else { change.via };
        let before = self.held_before(slot);
        // Nobody is given what has ended. Looked at first: no lock is taken under another.
        let has_ended = |topic: &TopicFilter| match topic {
            TopicFilter::Topic(topic) => self.log.end_of(topic).is_some(),
            TopicFilter::Pattern(_) => false,
        };
        let added: Vec<_> = change.add.iter().filter(|topic| !has_ended(topic)).collect();
        let mut new = Vec::new();
        let mut gone = Vec::new();
        self.index(|index| {
            for (topic, _) in &change.remove {
                gone.extend(index.take(slot, &topic.key(), taken));
            }
            for topic in &added {
                let key = topic.key();
                if index.give(slot, &key, change.via) {
                    new.push(key);
                }
            }
        });
        // In this order: a topic that is in both is wanted.
        self.unsubscribe(&gone);
        self.subscribe(&new);
        self.tell_changed(slot, before);
        if matches!(change.of, Key::Client(_)) {
            self.log.passed(&change.of, change.position);
        }
        self.wanted <= change.position
    }

    /// Brings a subscriber whose place the log has let go of to the head: its topics, the `reset`, its cursor.
    /// None when nobody knows its topics.
    pub(super) fn recover(&mut self, slot: SubscriberSlot, keys: &[Key], why: Reset) -> Option<Progress> {
        let subscriber = &self.subscribers[slot as usize];
        let since = subscriber.cursor.max(subscriber.about.decided);
        let Membership { head, held, removed, added_by_page } = self.log.membership(keys, since);
        let removed = removed?;
        let before = self.held_before(slot);
        let mut new = Vec::new();
        let mut gone = Vec::new();
        self.index(|index| {
            for key in index.given_to(slot) {
                gone.extend(index.take(slot, &key, HeldBy::GIVEN));
            }
            for topic in removed {
                gone.extend(index.take(slot, &topic.key(), HeldBy::REQUEST));
            }
            for (topic, via) in held.iter() {
                let key = topic.key();
                let via = if added_by_page.contains(topic) { via | HeldBy::REQUEST } else { via };
                if index.give(slot, &key, via) {
                    new.push(key);
                }
            }
        });
        self.unsubscribe(&gone);
        self.subscribe(&new);
        self.tell_changed(slot, before);
        if let Some(client) = keys.iter().find(|key| matches!(key, Key::Client(_))) {
            self.log.passed(client, head.position);
        }
        let subscriber = &mut self.subscribers[slot as usize];
        // Nobody knows what it has missed: it gets the state anew.
        let wants_snapshots = subscriber.about.wants_snapshots;
        subscriber.about.snapshot = wants_snapshots.then(|| Box::new(SnapshotCursor::new(head.position)));
        let frame = why.frame(head.id, |block| subscriber.block(block, self.log.format()));
        Some(subscriber.reset(&frame, head.position, self.now, &mut self.counts))
    }

    pub(super) fn index<T>(&self, act: impl FnOnce(&mut Index) -> T) -> T {
        act(&mut self.mailbox.index.lock())
    }

    /// From here on the inbox gets what is for `keys`.
    fn subscribe(&mut self, keys: &[Key]) {
        if !keys.is_empty() {
            self.wanted = self.wanted.max(self.log.subscribe(&self.feed, keys));
        }
    }

    pub(super) fn unsubscribe(&self, keys: &[Key]) {
        if !keys.is_empty() {
            self.log.unsubscribe(&self.feed, keys);
        }
    }
}
