//! How a topic ends, and begins anew: its readers lose it in one place among the events, and later ones do not get it.
//!
//! This file must not know what becomes of a stream that has lost its topics.

use std::time::Instant;

use crate::event::Name;
use crate::log::ended::EndBounds;
use crate::log::memory::{Log, State};
use crate::log::position::Position;

/// A topic ends, or begins anew, as it is asked for at a place of a log that is followed.
#[derive(Debug)]
pub struct EndRequest {
    /// By which the instance that asked knows it again.
    pub number: Option<Box<str>>,
    pub topic: Name,
    /// It begins anew.
    pub opens: bool,
}

impl EndRequest {
    /// Roughly the bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        256 + 2 * self.topic.as_str().len()
    }
}

/// What became of it.
#[derive(Debug)]
pub struct EndOutcome {
    pub number: Option<Box<str>>,
    pub topic: Name,
    pub opens: bool,
    /// It had not ended, or had, before.
    pub changed: bool,
}

impl Log {
    /// From now on these are the bounds for ended topics.
    pub fn remember_ends(&self, bounds: EndBounds) {
        self.lock().store.members.ended.bounds = Some(bounds);
    }

    /// Ends `topic` in a place of its own. False when it has ended already.
    pub fn end(&self, topic: &Name) -> bool {
        self.lock().end(topic, Instant::now())
    }

    /// `topic` begins anew: streams that open from now on get it. False when it has not ended.
    pub fn open(&self, topic: &Name) -> bool {
        self.lock().store.members.ended.remove(topic)
    }

    /// Where `topic` has ended; None while it has not.
    pub fn end_of(&self, topic: &Name) -> Option<Position> {
        self.lock().store.members.ended.end_of(topic)
    }

    /// Those of `topics` that have ended, and where.
    pub fn ended<'t>(&self, topics: impl IntoIterator<Item = &'t Name>) -> Vec<(Name, Position)> {
        let state = self.lock();
        let ended = &state.store.members.ended;
        topics.into_iter().filter_map(|topic| Some((topic.clone(), ended.end_of(topic)?))).collect()
    }

    /// How many ended topics are remembered.
    pub fn ends(&self) -> usize {
        self.lock().store.members.ended.len()
    }

    /// Forgets ends that are too old; to be called now and then.
    pub fn trim_ends(&self) {
        self.lock().store.members.ended.trim(Instant::now());
    }
}

impl State {
    fn end(&mut self, topic: &Name, at: Instant) -> bool {
        if self.store.members.ended.end_of(topic).is_some() {
            return false;
        }
        let position = self.store.take_place();
        let change = self.store.members.end(topic, position, at);
        self.leave_change(&change);
        true
    }

    /// Does what is asked for at `id`.
    pub(super) fn end_at(&mut self, asked: EndRequest, at: Instant) -> EndOutcome {
        let EndRequest { number, topic, opens } = asked;
        let changed = if opens { self.store.members.ended.remove(&topic) } else { self.end(&topic, at) };
        EndOutcome { number, topic, opens, changed }
    }
}
