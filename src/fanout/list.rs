//! Which streams are open: a page of them, how many, one of them. Asked of every shard; nothing is changed.
//!
//! A page goes by client ids, which are random: a stream that is open while all pages are read is in exactly one of
//! them, whoever comes and goes meanwhile.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::index::{Index, Slot};
use super::shard::Shard;
use super::subscriber::State;
use super::wheel::Wheel;
use crate::event::{Audience, Key, Name};
use crate::log::Position;

/// Which streams are meant: all that is given has to be so of each.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Filter {
    /// Each is held.
    pub keys: Vec<Key>,
    /// Where the client is.
    pub address: Option<IpAddr>,
}

/// An open stream.
#[derive(Clone, Debug)]
pub struct Listed {
    pub client: Name,
    /// How it is reached.
    pub keys: Vec<Key>,
    pub address: IpAddr,
    /// The path of the route that it came by, as it is configured.
    pub route: Arc<str>,
    pub opened: SystemTime,
    pub open_for: Duration,
    /// Events that were begun.
    pub sent: u64,
    /// Everything for it up to here has been written, or is begun.
    pub cursor: Position,
    /// It has everything that there is.
    pub live: bool,
    /// Its client takes no more for now.
    pub blocked: bool,
}

/// A question for a page.
pub(super) struct ListThem {
    pub(super) filter: Filter,
    /// Only clients behind this one.
    pub(super) after: Option<Name>,
    pub(super) limit: usize,
    /// Gets them by their clients.
    pub(super) answer: oneshot::Sender<Vec<Listed>>,
}

/// A question for a number.
pub(super) struct CountThem {
    pub(super) filter: Filter,
    pub(super) answer: oneshot::Sender<usize>,
}

impl Shard {
    pub(super) fn list(&self, ask: ListThem) {
        let ListThem { filter, after, limit, answer } = ask;
        // The first of them by client id, without sorting all that match.
        let mut first: BTreeMap<&Name, Slot> = BTreeMap::new();
        let index = self.mailbox.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.each(&index, &filter, |slot| {
            let client = &self.subscribers[slot as usize].about.client;
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
        let listed = first.into_values().map(|slot| self.listed(&index, slot)).collect();
        drop(index);
        // Whoever asked may have gone.
        let _ = answer.send(listed);
    }

    pub(super) fn count(&self, ask: CountThem) {
        let mut count = 0;
        let index = self.mailbox.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.each(&index, &ask.filter, |_| count += 1);
        drop(index);
        let _ = ask.answer.send(count);
    }

    /// The streams that `filter` lets through.
    pub(super) fn chosen(&self, filter: &Filter) -> Vec<Slot> {
        let mut slots = Vec::new();
        let index = self.mailbox.index.lock().unwrap_or_else(PoisonError::into_inner);
        self.each(&index, filter, |slot| slots.push(slot));
        slots
    }

    fn each(&self, index: &Index, filter: &Filter, mut take: impl FnMut(Slot)) {
        let Filter { keys, address } = filter;
        let mut look = |slot: Slot| {
            let Some(subscriber) = self.subscribers.get(slot as usize) else { return };
            let there = address.is_none_or(|address| subscriber.about.address == address);
            if there && keys.iter().all(|key| index.holds(slot, key)) {
                take(slot);
            }
        };
        // The fewest hold a client's, the most a topic's.
        let rank = |key: &&Key| match key {
            Key::Client(_) => 0,
            Key::Session(_) => 1,
            Key::User(_) => 2,
            Key::Topic(_) => 3,
            Key::Broadcast => 4,
        };
        match keys.iter().min_by_key(rank) {
            Some(key) => index.for_each(&Audience::of(key.clone()), look),
            None => self.subscribers.iter().for_each(|(slot, _)| look(slot as Slot)),
        }
    }

    fn listed(&self, index: &Index, slot: Slot) -> Listed {
        let subscriber = &self.subscribers[slot as usize];
        let about = &subscriber.about;
        let live = subscriber.state == State::Live;
        let open_for = Wheel::time(self.now - about.opened);
        Listed {
            client: about.client.clone(),
            keys: index.keys_of(slot),
            address: about.address,
            route: Arc::clone(&about.route),
            opened: SystemTime::now() - open_for,
            open_for,
            sent: subscriber.sent,
            cursor: if live { subscriber.cursor.max(self.applied) } else { subscriber.cursor },
            live,
            blocked: subscriber.state == State::Blocked,
        }
    }
}
