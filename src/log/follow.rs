//! The log as the copy of one that is elsewhere: ids come with the events, and it begins where the copy was begun.
//!
//! Ids only grow. What has no id (a message of a channel, an ephemeral event) is delivered live and never kept. A
//! cursor needs no entry of its own: it stands between its neighbours. This file must not know where the log is.

use std::time::{Duration, Instant, UNIX_EPOCH};

use super::memory::{Log, Retention, State};
use super::store::{Bounds, Cursor, Reset, Store, cost};
use crate::event::{Audience, Event, EventId, Frame, Shape};

/// The last millisecond of the year 9999, the latest that can be written.
const LATEST: u64 = 253_402_300_799_999;

/// How a log stands to the one that it follows.
#[derive(Default, Debug)]
pub(super) struct Following {
    loaded: bool,
    /// How often it was seen that nothing is left to be copied.
    looks: u64,
}

/// One place of the log that is followed.
#[derive(Debug)]
pub struct Placed {
    pub id: EventId,
    /// None where something stands that is no event.
    pub event: Option<Event>,
    /// How long ago it was appended.
    pub age: Duration,
}

/// The newest part of a log, gathered from its end backwards within the retention.
pub struct History {
    bounds: Bounds,
    shape: Shape,
    now: Instant,
    /// Newest first.
    entries: Vec<Ready>,
    bytes: usize,
    /// The oldest place that was looked at; nothing before it is known.
    oldest: Option<EventId>,
}

/// An event that only needs its position.
struct Ready {
    id: EventId,
    audience: Audience,
    frame: Frame,
    at: Instant,
    ttl: Option<Duration>,
    coalesce: Option<Box<str>>,
}

impl History {
    /// Takes the place before all that it has. False when it has enough: that one and whatever is older is not to be
    /// kept.
    pub fn add_older(&mut self, placed: Placed) -> bool {
        let Placed { id, event, age } = placed;
        // What is delivered live only is over.
        let event = event.filter(|event| !event.ephemeral);
        if age > self.bounds.age || self.entries.len() >= self.bounds.events {
            // A cursor at this very place has all that is kept before it.
            self.oldest = Some(id);
            return false;
        }
        if let Some(event) = event.filter(|event| event.ttl.is_none_or(|ttl| ttl > age)) {
            let ready = Ready::new(id, event, self.now.checked_sub(age).unwrap_or(self.now), self.shape);
            let bytes = cost(&ready.audience, &ready.frame);
            if self.bytes + bytes > self.bounds.bytes {
                self.oldest = Some(id);
                return false;
            }
            self.bytes += bytes;
            self.entries.push(ready);
        }
        self.oldest = Some(before(id));
        true
    }

    /// Nothing before `id` is to be kept, and a cursor from before it not to be served.
    pub fn end_at(&mut self, id: EventId) {
        self.oldest = Some(id);
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Ready {
    fn new(id: EventId, event: Event, at: Instant, shape: Shape) -> Self {
        // By the id, so that every instance says the same. Whoever appends may choose ids of his own.
        let published = UNIX_EPOCH + Duration::from_millis(id.ms.min(LATEST));
        let frame = shape.draft(&event, published).seal((!event.ephemeral).then_some(id));
        Self { id, audience: event.audience, frame, at, ttl: event.ttl, coalesce: event.coalesce }
    }
}

impl Log {
    /// A log of which nothing is known until [`Log::restart`].
    pub fn following(retention: Retention) -> Self {
        let bounds = Bounds { events: retention.events, bytes: retention.bytes, age: retention.age };
        Self::with(&retention, Store::new(bounds, None, 0), bounds, Some(Following::default()))
    }

    /// Whether its ids come from elsewhere.
    pub fn is_following(&self) -> bool {
        self.lock().following.is_some()
    }

    /// Whether there is anything to answer from: false for a log that follows another until [`Log::restart`].
    pub fn is_loaded(&self) -> bool {
        self.lock().following.as_ref().is_none_or(|following| following.loaded)
    }

    /// A history to be filled for [`Log::restart`].
    pub fn history(&self) -> History {
        let bounds = self.lock().bounds;
        let now = Instant::now();
        History { bounds, shape: self.shape(), now, entries: Vec::new(), bytes: 0, oldest: None }
    }

    /// Lets go of everything and takes `history` instead, which ends with `end`, the last id that was given away
    /// there. Nothing of it is delivered; with `told`, every open stream is told that it may have missed something.
    pub fn restart(&self, history: History, end: EventId, told: Option<Reset>) {
        let origin = history.oldest.unwrap_or(end);
        {
            let mut state = self.lock();
            state.store.begin_anew(origin, told.unwrap_or(Reset::TooOld));
            for Ready { id, audience, frame, at, ttl, coalesce } in history.entries.into_iter().rev() {
                state.store.push(Some(id), audience, frame, at, ttl, coalesce);
            }
            state.store.pass(end);
            state.store.trim(Instant::now());
            if let Some(following) = &mut state.following {
                following.loaded = true;
            }
            if let Some(why) = told {
                state.tell(why, self.shape());
            }
        }
        self.grown.notify_waiters();
    }

    /// Appends what came, in order, and delivers it. Gives back how many were refused because their ids do not lie
    /// behind the log's end.
    pub fn append_at(&self, placed: Vec<Placed>) -> usize {
        let (now, shape) = (Instant::now(), self.shape());
        let ready: Vec<_> = placed
            .into_iter()
            .map(|Placed { id, event, age }| {
                let event = event.and_then(|mut event| match event.ttl {
                    // What is left of its time.
                    Some(ttl) => {
                        event.ttl = Some(ttl.checked_sub(age)?);
                        Some(event)
                    }
                    None => Some(event),
                });
                (id, event.map(|event| (event.ephemeral, Ready::new(id, event, now, shape))))
            })
            .collect();
        let mut refused = 0;
        {
            let mut state = self.lock();
            for (id, ready) in ready {
                if id.order() <= state.store.head().id.order() {
                    refused += 1;
                    continue;
                }
                if let Some((live_only, ready)) = ready {
                    let Ready { mut audience, frame, ttl, coalesce, .. } = ready;
                    let feeds = state.feeds_of(&mut audience);
                    let id = (!live_only).then_some(id);
                    let entry = state.store.push(id, audience, frame, now, ttl, coalesce);
                    state.each_feed(feeds, |feed| feed.leave(&entry));
                }
                state.store.pass(id);
            }
        }
        self.grown.notify_waiters();
        refused
    }

    /// Notes that it has just been seen that nothing was left to be copied.
    pub fn confirm(&self) {
        if let Some(following) = &mut self.lock().following {
            following.looks += 1;
        }
        self.grown.notify_waiters();
    }

    /// As [`Log::locate`], but a cursor that lies ahead is waited for: its client comes from an instance that was a
    /// moment faster. `TooNew` is only said when the log that is followed was seen not to have it either; None when
    /// that could not be seen within `limit`.
    pub async fn locate_soon(&self, last_event_id: &str, limit: Duration) -> Option<Result<Cursor, Reset>> {
        // The first look that ends may have begun before the question.
        const LOOKS: u64 = 2;
        let deadline = tokio::time::Instant::now() + limit;
        let looks = || self.lock().following.as_ref().map(|following| following.looks);
        let enough = looks().map(|looks| looks + LOOKS);
        loop {
            let mut grown = std::pin::pin!(self.grown.notified());
            // Before the look: what comes between the look and the wait would go unnoticed.
            grown.as_mut().enable();
            let enough_seen = looks() >= enough;
            let located = self.locate(last_event_id);
            if located != Err(Reset::TooNew) || enough_seen {
                return Some(located);
            }
            if tokio::time::timeout_at(deadline, grown).await.is_err() {
                return None;
            }
        }
    }
}

impl State {
    /// Tells every open stream that it may have missed something. Not kept: a cursor from before is answered by the
    /// log's own beginning.
    pub(super) fn tell(&mut self, why: Reset, shape: Shape) {
        let frame = why.frame(self.store.head().id, shape);
        let mut audience = Audience::everybody();
        let feeds = self.feeds_of(&mut audience);
        let entry = self.store.push(None, audience, frame, Instant::now(), None, None);
        self.each_feed(feeds, |feed| feed.leave(&entry));
    }
}

/// The id right before `id`.
fn before(id: EventId) -> EventId {
    match id.seq.checked_sub(1) {
        Some(seq) => EventId { seq, ..id },
        None => EventId { ms: id.ms.saturating_sub(1), seq: u64::MAX, ..id },
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
