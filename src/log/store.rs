//! The log's pure core: entries in order, an index by key, retention, replay. Time comes in as an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::event::{Audience, EventId, Frame, Key, Tag};
use crate::log::cost::cost;
use crate::log::entry::{Entry, Reset};
use crate::log::members::Members;
use crate::log::position::{Cursor, Position};
use crate::log::source::EventSource;
use crate::log::state::KeyedState;
use crate::log::taken::{Retraction, TakenIds};
use crate::log::topic_edit::{AppliedEdit, BadEdit, EditBy, TopicEdit};
use crate::log::topic_order::TopicOrder;
use crate::trace::TraceContext;

/// How much the store keeps. Whatever is met first trims.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreBounds {
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) age: Duration,
}

/// What an event asks for beside its delivery.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) ttl: Option<Duration>,
    pub(super) coalesce: Option<Box<str>>,
    pub(super) trace: Option<Box<TraceContext>>,
    /// What this one tells to be taken back.
    pub(super) retracts: Option<Retraction>,
    pub(super) source: Option<Box<EventSource>>,
}

/// Entries in order, with an index by key.
pub(super) struct Store {
    bounds: StoreBounds,
    tag: Option<Tag>,
    pub(super) entries: VecDeque<Arc<Entry>>,
    /// The positions of each key's stored entries, oldest first.
    pub(super) index: HashMap<Key, VecDeque<Position>>,
    /// The topics among them.
    pub(super) topics: TopicOrder,
    /// The newest stored entry of each coalescing key and audience.
    pub(super) newest: HashMap<(Box<str>, Audience), Arc<Entry>>,
    pub(super) bytes: usize,
    /// The newest of each coalescing key, where routes give snapshots.
    pub(super) state: Option<Box<KeyedState>>,
    /// What was taken back.
    pub(super) taken: TakenIds,
    /// Who was given which topics.
    pub(super) members: Members,
    /// The last position given away, stored or not.
    pub(super) head: Position,
    /// The last id given away; the start's own before the first.
    head_id: EventId,
    /// The newest entry that was let go of: a cursor at or behind it has everything that is kept before it.
    pub(super) trimmed: Cursor,
    /// Why it was, for a cursor that is older.
    pub(super) why_trimmed: Reset,
}

impl Store {
    /// An empty log whose ids start at `now_ms` (milliseconds since the Unix epoch).
    pub(super) fn new(bounds: StoreBounds, tag: Option<Tag>, now_ms: u64) -> Self {
        let origin = EventId { ms: now_ms, seq: 0, tag };
        Self {
            bounds,
            tag,
            entries: VecDeque::new(),
            index: HashMap::new(),
            topics: TopicOrder::default(),
            newest: HashMap::new(),
            bytes: 0,
            state: None,
            taken: TakenIds::default(),
            members: Members::default(),
            head: Position(0),
            head_id: origin,
            trimmed: Cursor { position: Position(0), id: origin },
            why_trimmed: Reset::TooOld,
        }
    }

    /// Lets go of everything: what comes next stands behind `origin`, and every cursor given out before is answered
    /// with `why`.
    pub(super) fn begin_anew(&mut self, origin: EventId, why: Reset) {
        self.entries.clear();
        self.index.clear();
        self.topics.clear();
        self.newest.clear();
        self.bytes = 0;
        self.taken = TakenIds::default();
        if let Some(state) = &mut self.state {
            state.clear();
        }
        // A place of its own: a reader with everything up to the old head has not got what comes now.
        self.head = self.head.next();
        self.head_id = origin;
        self.trimmed = Cursor { position: self.head, id: origin };
        self.why_trimmed = why;
    }

    /// Goes on to `id`, which is no event's.
    pub(super) fn pass(&mut self, id: EventId) {
        self.head_id = id;
    }

    pub(super) fn head(&self) -> Cursor {
        Cursor { position: self.head, id: self.head_id }
    }

    /// Everything that is kept stands behind it.
    pub(super) fn origin(&self) -> Cursor {
        self.trimmed
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The id of an event that is appended now. A clock that steps back keeps the milliseconds where they were.
    pub(super) fn next_id(&self, now_ms: u64) -> EventId {
        let last = self.head_id;
        if now_ms > last.ms {
            EventId { ms: now_ms, seq: 0, tag: self.tag }
        } else {
            EventId { ms: last.ms, seq: last.seq + 1, tag: self.tag }
        }
    }

    /// Appends; an entry without an id takes its place but is not kept.
    pub(super) fn push(
        &mut self,
        id: Option<EventId>,
        audience: Audience,
        frame: Frame,
        at: Instant,
        extras: Extras,
    ) -> Arc<Entry> {
        let Extras { ttl, coalesce, trace, retracts, source } = extras;
        self.head = self.head.next();
        let expires = ttl.map(|ttl| at + ttl);
        let superseded = AtomicBool::new(false);
        let position = self.head;
        let is_reset = AtomicBool::new(false);
        let entry = Arc::new(Entry {
            position,
            id,
            audience,
            frame,
            at,
            expires,
            coalesce,
            trace,
            retracts,
            source,
            superseded,
            is_reset,
        });
        if let Some(id) = id {
            self.head_id = id;
            if let Some(key) = &entry.coalesce {
                let earlier = self.newest.insert((key.clone(), entry.audience.clone()), Arc::clone(&entry));
                if let Some(earlier) = &earlier {
                    earlier.superseded.store(true, Ordering::Relaxed);
                }
                self.renew_state(&entry, earlier.as_deref());
            }
            for key in entry.audience.keys() {
                let places = self.index.entry_ref(key).or_default();
                if places.is_empty() {
                    self.topics.add(key);
                }
                // The same key may be named twice in one audience.
                if places.back() != Some(&self.head) {
                    places.push_back(self.head);
                }
            }
            if let Some(retracted) = entry.retracts {
                self.taken.add(retracted);
            }
            self.bytes += cost(&entry.audience, &entry.frame, entry.source.as_deref());
            self.entries.push_back(Arc::clone(&entry));
            self.trim(at);
        }
        entry
    }

    /// Changes the topics of `of`, in a place of its own. None when that changes nothing.
    pub(super) fn edit(
        &mut self,
        of: &Key,
        edit: TopicEdit,
        by: EditBy,
        at: Instant,
    ) -> Result<Option<Arc<AppliedEdit>>, BadEdit> {
        let change = self.members.edit(of, edit, by, self.head.next(), at)?;
        if let Some(change) = &change {
            self.head = change.position;
            self.trim(at);
        }
        Ok(change)
    }

    /// A place for something that is no event.
    pub(super) fn take_place(&mut self) -> Position {
        self.head = self.head.next();
        self.head
    }

    /// Notes, in a place of its own, that the topics of `of` changed there in a way that nobody knows any more.
    pub(super) fn lose(&mut self, of: &Key) {
        let position = self.take_place();
        self.members.lose(of, position);
    }

    /// Lets go of what is beyond the bounds at `now`, in the order of its places: no change before the events that
    /// stand before it.
    pub(super) fn trim(&mut self, now: Instant) {
        loop {
            let entry = self.entries.front().map(|entry| (entry.position, entry.at));
            let change = self.members.oldest();
            let oldest = [entry, change].into_iter().flatten().min_by_key(|(position, _)| *position);
            let Some((position, at)) = oldest else { return };
            let keep = self.entries.len() + self.members.len() <= self.bounds.events
                && self.bytes + self.members.bytes() <= self.bounds.bytes
                && now.saturating_duration_since(at) <= self.bounds.age;
            if keep {
                return;
            }
            if entry.is_some_and(|entry| entry.0 == position) {
                self.drop_oldest();
            } else {
                self.members.drop_oldest();
            }
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= cost(&entry.audience, &entry.frame, entry.source.as_deref());
        for key in entry.audience.keys() {
            if let Some(places) = self.index.get_mut(key) {
                if places.front() == Some(&entry.position) {
                    places.pop_front();
                }
                if places.is_empty() {
                    self.index.remove(key);
                    self.topics.remove(key);
                } else if places.capacity() > 32 && places.len() < places.capacity() / 4 {
                    places.shrink_to(places.len() * 2);
                }
            }
        }
        if let Some(key) = &entry.coalesce
            && !entry.superseded.load(Ordering::Relaxed)
        {
            match &mut self.state {
                None => drop(self.newest.remove(&(key.clone(), entry.audience.clone()))),
                Some(state) => {
                    let gone =
                        state.outlive(&entry, cost(&entry.audience, &entry.frame, entry.source.as_deref()));
                    gone.iter().for_each(|entry| self.forget_newest(entry));
                }
            }
        }
        if let Some(retracted) = entry.retracts {
            self.taken.remove(retracted);
        }
        if let Some(id) = entry.id {
            self.trimmed = Cursor { position: entry.position, id };
            self.why_trimmed = Reset::TooOld;
        }
    }

    /// The cursor that the text of an id stands for, or why it cannot be served.
    pub(super) fn locate(&self, text: &str) -> Result<Cursor, Reset> {
        let id: EventId = text.parse().map_err(|_| Reset::Malformed)?;
        if id.tag != self.tag {
            return Err(Reset::OtherLog);
        }
        if id.order() > self.head_id.order() {
            return Err(Reset::TooNew);
        }
        if id.order() < self.trimmed.id.order() {
            return Err(self.why_trimmed);
        }
        let after = self.entries.partition_point(|entry| entry.id.is_some_and(|at| at.order() <= id.order()));
        let position = match after.checked_sub(1) {
            Some(last) => self.entries[last].position,
            None => self.trimmed.position,
        };
        Ok(Cursor { position, id })
    }

    /// Whether everything after `after` is still here.
    pub(super) fn holds(&self, after: Position) -> bool {
        after >= self.trimmed.position
    }

    pub(super) fn newest(&self, count: usize) -> Vec<Arc<Entry>> {
        self.entries.range(self.entries.len().saturating_sub(count)..).cloned().collect()
    }

    /// The id that stands for `position`: of the last stored entry at or before it.
    pub(super) fn id_at(&self, position: Position) -> EventId {
        let after = self.entries.partition_point(|entry| entry.position <= position);
        after.checked_sub(1).and_then(|last| self.entries[last].id).unwrap_or(self.trimmed.id)
    }

    /// The stored entry at `position`, which the index names.
    pub(super) fn get(&self, position: Position) -> &Arc<Entry> {
        let at = self.entries.partition_point(|entry| entry.position < position);
        &self.entries[at]
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
