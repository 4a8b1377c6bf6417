//! The log as the copy of one that is elsewhere: ids come with the events, and it begins where the copy was begun.
//!
//! Ids only grow. What has no id (a message of a channel, an ephemeral event) is delivered live and never kept. A
//! cursor needs no entry of its own: it stands between its neighbours. This file must not know where the log is.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::clock::from_unix_ms;
use crate::event::{Audience, Event, EventFormat, EventId, Frame, Key};
use crate::log::cost::cost;
use crate::log::ending::{EndOutcome, EndRequest};
use crate::log::entry::{Located, Reset};
use crate::log::memory::{Edited, Following, Log, Retention, State};
use crate::log::sets::{Sets, UnsavedHolders, is_shared};
use crate::log::source::EventSource;
use crate::log::store::{Extras, Store, StoreBounds};
use crate::log::take_back::{TakeBackOutcome, TakeBackRequest};
use crate::log::topic_edit::{BadEdit, EditBy, MemberBounds, TopicEdit};

/// One place of the log that is followed.
#[derive(Debug)]
pub struct LogRecord {
    pub id: EventId,
    pub what: RecordKind,
    /// How long ago it was appended.
    pub age: Duration,
}

/// What stands at a place.
#[derive(Debug)]
pub enum RecordKind {
    Event(Event),
    /// A change of the topics that somebody is given.
    Change(EditRequest),
    /// Events are taken back.
    TakeBack(TakeBackRequest),
    /// A topic ends, or begins anew.
    End(EndRequest),
    /// Nothing of ours.
    Nothing,
}

/// A change that is asked for.
#[derive(Debug)]
pub struct EditRequest {
    /// By which the instance that asked knows it again.
    pub number: Option<Box<str>>,
    pub of: Key,
    pub edit: TopicEdit,
}

/// What became of a change that was asked for.
#[derive(Debug)]
pub struct EditOutcome {
    pub number: Option<Box<str>>,
    pub of: Key,
    /// Without the topics where nobody has numbered it.
    pub result: Result<Edited, BadEdit>,
}

/// What became of what was appended.
#[derive(Default, Debug)]
pub struct CopyOutcome {
    /// Places that were refused because their ids do not lie behind the log's end.
    pub refused: usize,
    /// The changes, in order.
    pub made: Vec<EditOutcome>,
    /// What was taken back, in order.
    pub taken: Vec<TakeBackOutcome>,
    /// What ended or began anew, in order.
    pub ended: Vec<EndOutcome>,
}

/// The newest part of a log, gathered from its end backwards within the retention.
pub struct History {
    bounds: StoreBounds,
    format: EventFormat,
    keeps_sources: bool,
    now: Instant,
    /// Newest first.
    places: Vec<HistoryRecord>,
    /// How many of them are events.
    events: usize,
    bytes: usize,
    /// The oldest place that was looked at; nothing before it is known.
    oldest: Option<EventId>,
    /// What stood before it is lost.
    begins_with_loss: bool,
    /// What users and sessions had been given at some id, where that is known.
    pub(super) base: Option<(EventId, Sets)>,
    /// Whose sets differ there from what is kept.
    pub(super) unsaved: UnsavedHolders,
    pub(super) members: MemberBounds,
}

/// A place that is kept.
enum HistoryRecord {
    Event(PreparedEvent),
    Change { id: EventId, asked: EditRequest, at: Instant },
    TakeBack { id: EventId, asked: TakeBackRequest, at: Instant },
    End { id: EventId, asked: EndRequest, at: Instant },
}

/// An event that only needs its position.
struct PreparedEvent {
    id: EventId,
    audience: Audience,
    frame: Frame,
    at: Instant,
    extras: Extras,
    is_reset: bool,
}

impl History {
    /// Takes the place before all that it has. False when it has enough: that one and whatever is older is not to be
    /// kept.
    pub fn add_older(&mut self, placed: LogRecord) -> bool {
        let LogRecord { id, what, age } = placed;
        if age > self.bounds.age || self.places.len() >= self.bounds.events {
            // A cursor at this very place has all that is kept before it.
            self.oldest = Some(id);
            return false;
        }
        let at = self.now.checked_sub(age).unwrap_or(self.now);
        let (bytes, kept) = match what {
            // What is delivered live only, or was to be for a time, may be over.
            RecordKind::Event(event) if !event.ephemeral && event.ttl.is_none_or(|ttl| ttl > age) => {
                let ready = PreparedEvent::new(id, event, at, self.format, self.keeps_sources);
                let source = ready.extras.source.as_deref();
                (cost(&ready.audience, &ready.frame, source), Some(HistoryRecord::Event(ready)))
            }
            RecordKind::Change(asked) => (asked.cost(), Some(HistoryRecord::Change { id, asked, at })),
            RecordKind::TakeBack(asked) => (asked.cost(), Some(HistoryRecord::TakeBack { id, asked, at })),
            RecordKind::End(asked) => (asked.cost(), Some(HistoryRecord::End { id, asked, at })),
            RecordKind::Event(_) | RecordKind::Nothing => (0, None),
        };
        if let Some(kept) = kept {
            if self.bytes + bytes > self.bounds.bytes {
                self.oldest = Some(id);
                return false;
            }
            self.bytes += bytes;
            self.events += usize::from(matches!(kept, HistoryRecord::Event(_)));
            self.places.push(kept);
        }
        self.oldest = Some(before(id));
        true
    }

    /// A loss was marked at `id`: nothing before it is to be kept, and a cursor from before it not to be served.
    pub fn begin_with_loss(&mut self, id: EventId) {
        self.oldest = Some(id);
        self.begins_with_loss = true;
    }

    /// Nothing at or before it is in the history. None while nothing was looked at.
    pub fn begins_behind(&self) -> Option<EventId> {
        self.oldest
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }
}

impl EditRequest {
    /// Roughly the bytes that it takes.
    fn cost(&self) -> usize {
        const AROUND: usize = 256;
        const NAME: usize = 40;
        let (some, more) = match &self.edit {
            TopicEdit::Replace(topics) => (topics.as_slice(), &[][..]),
            TopicEdit::Change { add, remove } => (add.as_slice(), remove.as_slice()),
        };
        let names: usize = some.iter().chain(more).map(|topic| topic.as_str().len() + NAME).sum();
        AROUND + self.of.name().len() + names
    }
}

impl PreparedEvent {
    fn new(id: EventId, mut event: Event, at: Instant, format: EventFormat, keeps_source: bool) -> Self {
        // By the id, so that every instance says the same. A publisher may choose ids of its own.
        let published = from_unix_ms(id.ms);
        let frame = format.draft(&event, published).seal((!event.ephemeral).then_some(id));
        let source = keeps_source.then(|| EventSource::take(&mut event, published));
        let is_reset = event.name.is_some_and(|name| name.as_str() == Reset::EVENT);
        let Event { audience, ttl, coalesce, trace, .. } = event;
        let extras = Extras { ttl, coalesce, trace, retracts: None, source };
        Self { id, audience, frame, at, extras, is_reset }
    }
}

impl Log {
    /// A log of which nothing is known until [`Log::restart`].
    pub fn following(retention: Retention) -> Self {
        let bounds = StoreBounds { events: retention.events, bytes: retention.bytes, age: retention.age };
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
        let state = self.lock();
        History {
            bounds: state.bounds,
            format: self.format(),
            keeps_sources: self.keeps_sources(),
            now: Instant::now(),
            places: Vec::new(),
            events: 0,
            bytes: 0,
            oldest: None,
            begins_with_loss: false,
            base: None,
            unsaved: UnsavedHolders::default(),
            members: state.store.members.bounds,
        }
    }

    /// Lets go of everything and takes `history` instead, which ends with `end`, the last id that was given away
    /// there. No event of it is delivered; with `told`, every open stream gets a `reset`.
    ///
    /// Sets that the history knows replace those that are held: what differs is changed in the history's first place,
    /// so that open streams follow. Changes up to the id at which they are known are in them; what they were is not
    /// known any more. Without known sets, what is held goes on.
    pub fn restart(&self, history: History, end: EventId, told: Option<Reset>) -> CopyOutcome {
        let History { places, oldest, begins_with_loss, base, unsaved: differ, .. } = history;
        let origin = oldest.unwrap_or(end);
        let mut copied = CopyOutcome::default();
        {
            let mut state = self.lock();
            let had = state.store.head().id;
            let before = if begins_with_loss { Reset::LogLost } else { Reset::TooOld };
            state.store.begin_anew(origin, told.unwrap_or(before));
            let known = match base {
                Some((at, sets)) => {
                    if state.following.as_ref().is_some_and(|following| following.loaded) {
                        let edits = state.store.members.sets().towards(&sets);
                        state.give(edits);
                    } else {
                        state.store.members.replace(sets);
                    }
                    if let Some(unsaved) = &mut state.store.members.unsaved {
                        *unsaved = differ;
                    }
                    at
                }
                None => had,
            };
            for place in places.into_iter().rev() {
                match place {
                    HistoryRecord::Event(event) => {
                        let PreparedEvent { id, audience, frame, at, extras, is_reset } = event;
                        let entry = state.store.push(Some(id), audience, frame, at, extras);
                        entry.is_reset.store(is_reset, Ordering::Relaxed);
                    }
                    HistoryRecord::Change { id, asked, at } => {
                        // What a client is given, no other instance keeps.
                        let since = if is_shared(&asked.of) { known } else { had };
                        if id.order() > since.order() {
                            copied.made.push(state.make(id, asked, at));
                        } else if is_shared(&asked.of) {
                            state.store.lose(&asked.of);
                        }
                    }
                    // What is known already is known by its place there.
                    HistoryRecord::End { id, asked, at } => {
                        if id.order() > had.order() {
                            copied.ended.push(state.end_at(asked, at));
                        }
                    }
                    HistoryRecord::TakeBack { id, asked, at } => {
                        // Who follows was told, or is told that the log begins anew.
                        copied.taken.push(self.take_back_at(&mut state, id, asked, at, false));
                    }
                }
            }
            state.store.pass(end);
            state.store.trim(Instant::now());
            if let Some(following) = &mut state.following {
                following.loaded = true;
            }
            if let Some(why) = told {
                state.tell(why, self.format());
            }
        }
        self.grown.notify_waiters();
        copied
    }

    /// Appends what came, in order, and delivers it; changes of topics are made in their places.
    pub fn append_at(&self, placed: Vec<LogRecord>) -> CopyOutcome {
        enum Next {
            Event(bool, PreparedEvent),
            Change(EditRequest),
            TakeBack(TakeBackRequest),
            End(EndRequest),
            Nothing,
        }
        let (now, format, keeps_sources) = (Instant::now(), self.format(), self.keeps_sources());
        let ready: Vec<_> = placed
            .into_iter()
            .map(|LogRecord { id, what, age }| {
                let next = match what {
                    RecordKind::Event(mut event) => {
                        // What is left of its time.
                        let left = event.ttl.map(|ttl| ttl.checked_sub(age));
                        event.ttl = left.flatten();
                        match left {
                            Some(None) => Next::Nothing,
                            _ => {
                                let live_only = event.ephemeral;
                                let ready = PreparedEvent::new(id, event, now, format, keeps_sources);
                                Next::Event(live_only, ready)
                            }
                        }
                    }
                    RecordKind::Change(asked) => Next::Change(asked),
                    RecordKind::TakeBack(asked) => Next::TakeBack(asked),
                    RecordKind::End(asked) => Next::End(asked),
                    RecordKind::Nothing => Next::Nothing,
                };
                (id, next)
            })
            .collect();
        let mut copied = CopyOutcome::default();
        {
            let mut state = self.lock();
            for (id, next) in ready {
                if id.order() <= state.store.head().id.order() {
                    copied.refused += 1;
                    continue;
                }
                match next {
                    Next::Event(live_only, ready) => {
                        let PreparedEvent { mut audience, frame, extras, is_reset, .. } = ready;
                        let reach = state.reach(&mut audience);
                        let id = (!live_only).then_some(id);
                        let entry = state.store.push(id, audience, frame, now, extras);
                        entry.is_reset.store(is_reset, Ordering::Relaxed);
                        state.deliver(&entry, reach);
                    }
                    Next::Change(asked) => copied.made.push(state.make(id, asked, now)),
                    Next::End(asked) => copied.ended.push(state.end_at(asked, now)),
                    Next::TakeBack(asked) => {
                        copied.taken.push(self.take_back_at(&mut state, id, asked, now, true));
                    }
                    Next::Nothing => {}
                }
                state.store.pass(id);
            }
        }
        self.grown.notify_waiters();
        copied
    }

    /// Notes that it has just been seen that nothing was left to be copied.
    pub fn confirm(&self) {
        if let Some(following) = &mut self.lock().following {
            following.looks += 1;
        }
        self.grown.notify_waiters();
    }

    /// As [`Log::locate`], but a cursor that lies ahead is waited for: its client comes from an instance that was a
    /// moment faster. `TooNew` is only said when the log that is followed was seen not to have it either, within
    /// `limit`.
    pub async fn locate_soon(&self, last_event_id: &str, limit: Duration) -> Located {
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
            match self.locate(last_event_id) {
                Ok(cursor) => return Located::At(cursor),
                Err(why) if why != Reset::TooNew || enough_seen => return Located::Reset(why),
                Err(_) => {}
            }
            if tokio::time::timeout_at(deadline, grown).await.is_err() {
                return Located::NotNow;
            }
        }
    }
}

impl State {
    /// Makes the change that stands at `id`.
    fn make(
        &mut self,
        id: EventId,
        EditRequest { number, of, edit }: EditRequest,
        at: Instant,
    ) -> EditOutcome {
        let changed = self.edit(&of, edit, EditBy::Backend, at);
        let result = changed.map(|changed| {
            let asked = number.is_some();
            let topics = self.store.members.topics(&of).filter(|_| asked).cloned().collect();
            Edited { topics, position: id, changed }
        });
        EditOutcome { number, of, result }
    }

    /// Tells every open stream that it may have missed something. Not kept: a cursor from before is answered by the
    /// log's own beginning.
    pub(super) fn tell(&mut self, why: Reset, format: EventFormat) {
        let frame = why.frame(self.store.head().id, |block| format.block(block, SystemTime::now()));
        let mut audience = Audience::everybody();
        let reach = self.reach(&mut audience);
        let entry = self.store.push(None, audience, frame, Instant::now(), Extras::default());
        self.deliver(&entry, reach);
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
