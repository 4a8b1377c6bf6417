//! Who is told of the streams that come, change and go: presence and webhooks, each a watcher.
//!
//! Invariant: a stream is opened once and ended once for every watcher, whatever becomes of it in between. A watcher is
//! called on the shard's thread; this file must not know what it does with the word.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::event::{Key, Name};
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::shard::Shard;
use crate::fanout::wheel::Wheel;

/// Is told of every stream of this process, on the thread of the shard that owns it: it must not wait, and hold a lock
/// for no longer than a look into a table takes.
///
/// The calls for one stream come in their order. Those for two streams may come at the same time, from two shards.
pub trait Watcher: Send + Sync {
    /// The stream has joined. It may end at once: in a drain, or when its client has left already.
    fn opened(&self, stream: &Watched<'_>);

    /// The stream's topics have changed: `stream` holds what it has now.
    fn changed(&self, _stream: &Watched<'_>, _gained: &[Key], _lost: &[Key]) {}

    /// The stream has ended. `stream` holds what it had until then.
    fn ended(&self, stream: &Watched<'_>, how: StreamEnd);
}

/// An open stream, as a watcher sees it.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    pub client: &'a Name,
    /// How it is reached: its user and session, if it has them, its client and its topics.
    pub keys: &'a [Key],
    /// Where its client is.
    pub address: IpAddr,
    pub opened: SystemTime,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamEnd {
    pub why: CloseReason,
    /// To a twentieth of a second.
    pub open_for: Duration,
    /// Events that were begun.
    pub sent: u64,
}

impl Watched<'_> {
    /// Whose it is.
    pub fn user(&self) -> Option<&Name> {
        self.keys.iter().find_map(|key| if let Key::User(user) = key { Some(user) } else { None })
    }

    pub fn session(&self) -> Option<&Name> {
        self.keys.iter().find_map(|key| if let Key::Session(session) = key { Some(session) } else { None })
    }

    pub fn topics(&self) -> impl Iterator<Item = &Name> {
        self.keys.iter().filter_map(|key| if let Key::Topic(topic) = key { Some(topic) } else { None })
    }
}

impl Shard {
    /// From now on `watcher` is told, first of the streams that are open already.
    pub(super) fn watch(&mut self, watcher: Arc<dyn Watcher>) {
        for (slot, _) in &self.subscribers {
            self.show(slot as SubscriberSlot, |stream| watcher.opened(stream));
        }
        self.watchers.push(watcher);
    }

    /// Tells that the subscriber has joined.
    pub(super) fn tell_opened(&self, slot: SubscriberSlot) {
        if !self.watchers.is_empty() {
            self.show(slot, |stream| self.watchers.iter().for_each(|watcher| watcher.opened(stream)));
        }
    }

    /// What the subscriber holds before its topics change, where somebody watches.
    pub(super) fn held_before(&self, slot: SubscriberSlot) -> Option<Vec<Key>> {
        (!self.watchers.is_empty()).then(|| self.held(slot))
    }

    /// Tells what has become of what the subscriber held `before`.
    pub(super) fn tell_changed(&self, slot: SubscriberSlot, before: Option<Vec<Key>>) {
        let Some(before) = before else { return };
        self.show(slot, |stream| {
            let lacks = |keys: &[Key], key: &&Key| !keys.contains(key);
            let gained: Vec<Key> = stream.keys.iter().filter(|key| lacks(&before, key)).cloned().collect();
            let lost: Vec<Key> = before.iter().filter(|key| lacks(stream.keys, key)).cloned().collect();
            if !gained.is_empty() || !lost.is_empty() {
                self.watchers.iter().for_each(|watcher| watcher.changed(stream, &gained, &lost));
            }
        });
    }

    /// Tells that the subscriber is about to be removed.
    pub(super) fn tell_ended(&self, slot: SubscriberSlot, why: CloseReason) {
        let Some(subscriber) = self.subscribers.get(slot as usize).filter(|_| !self.watchers.is_empty())
        else {
            return;
        };
        let open_for = Wheel::time(self.now - subscriber.about.opened);
        let how = StreamEnd { why, open_for, sent: subscriber.sent };
        self.show(slot, |stream| self.watchers.iter().for_each(|watcher| watcher.ended(stream, how)));
    }

    fn show(&self, slot: SubscriberSlot, tell: impl FnOnce(&Watched<'_>)) {
        let Some(subscriber) = self.subscribers.get(slot as usize) else { return };
        // The lock is not held while others are told.
        let keys = self.held(slot);
        let about = &subscriber.about;
        let opened = SystemTime::now() - Wheel::time(self.now - about.opened);
        tell(&Watched { client: &about.client, keys: &keys, address: about.address, opened });
    }

    fn held(&self, slot: SubscriberSlot) -> Vec<Key> {
        self.mailbox.index.lock().keys_of(slot)
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
