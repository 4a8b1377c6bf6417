//! What is taken back: it is in no replay from then on, and its readers are told by an event in its place.
//!
//! The place of an event that was taken back stays, so that a cursor that stands on it is served exactly. What was
//! taken back is remembered as long as the event that tells of it is kept. This file must not know who may take what
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde_json::json;
use serde_json::value::RawValue;

use crate::clock::{from_unix_ms, now_ms};
use crate::event::{Audience, Event, EventFormat, EventId, EventName, Frame, Key, Name};
use crate::log::cost::cost;
use crate::log::entry::Entry;
use crate::log::memory::{Log, State};
use crate::log::position::Position;
use crate::log::source::EventSource;
use crate::log::store::{Extras, Store};
use crate::log::taken::Retraction;

/// What is to be taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TakeBack {
    /// The event with this id, if it is one of the topic: from all of its recipients.
    Event { topic: Name, id: EventId },
    /// Every event of the topic that says the same, in a log whose ids are its own.
    Alike { topic: Name, print: ContentHash },
    /// All that the topic's readers could still be sent for it. What is for others as well stays with them.
    Topic(Name),
}

/// What is to be taken back, as it is asked for at a place of a log that is followed.
#[derive(Debug)]
pub struct TakeBackRequest {
    /// By which the instance that asked knows it again.
    pub number: Option<Box<str>>,
    pub what: TakeBack,
    /// Whom the event that is taken back was for: a copy may not have it.
    pub audience: Option<Audience>,
    /// Its coalescing key: in a copy that does not have it, what it had superseded would come back.
    pub coalesce: Option<Box<str>>,
}

/// What became of it.
#[derive(Debug)]
pub struct TakeBackOutcome {
    pub number: Option<Box<str>>,
    pub taken: TakenBack,
}

/// What was taken back here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TakenBack {
    /// How many events.
    pub count: usize,
}

/// What is known of an id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundEvent {
    /// The event is here: whom it is for, what it says, and its coalescing key.
    Kept { audience: Audience, print: ContentHash, coalesce: Option<Box<str>> },
    /// It was taken back before.
    TakenBack,
    /// It is none of the topic's, or the log does not have it any more.
    Unknown,
}

/// What an event says and to whom, in short: the same in every log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContentHash(Box<str>);

impl ContentHash {
    const BYTES: usize = 16;

    /// As it is sent to other instances.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// None for a text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 2 * Self::BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| Self(text.into()))
    }

    fn of(entry: &Entry, format: EventFormat) -> Option<Self> {
        let read = format.read(&entry.frame)?;
        // Each log has a time of its own in it.
        let typed = matches!(format, EventFormat::Typed(_)).then(|| untimed(&read.data)).flatten();
        let (name, data) = match &typed {
            Some((name, data)) => (&**name, &**data),
            None => (read.event.as_deref().unwrap_or_default(), &*read.data),
        };
        let keys = |keys: &[Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let whole = json!([keys(entry.audience.keys()), keys(entry.audience.except()), name, data]);
        let hash = digest(&SHA256, whole.to_string().as_bytes());
        Some(Self(HEXLOWER.encode(&hash.as_ref()[..Self::BYTES]).into()))
    }
}

/// The name and the data of a typed event.
fn untimed(text: &str) -> Option<(Box<str>, Box<str>)> {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        r#type: Box<str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let Typed { r#type, data } = serde_json::from_str(text).ok()?;
    Some((r#type, data.get().into()))
}

impl TakeBack {
    pub fn topic(&self) -> &Name {
        match self {
            Self::Event { topic, .. } | Self::Alike { topic, .. } | Self::Topic(topic) => topic,
        }
    }
}

impl TakeBackRequest {
    /// Roughly the bytes that it takes.
    pub(super) fn cost(&self) -> usize {
        const AROUND: usize = 512;
        let keys = self.audience.iter().flat_map(|audience| audience.keys().iter().chain(audience.except()));
        AROUND + self.what.topic().as_str().len() + keys.map(|key| key.name().len() + 48).sum::<usize>()
    }
}

/// The event that tells what is taken back, but for its name and its recipients.
pub fn notice_data(topic: &Name, id: Option<EventId>) -> String {
    match id {
        Some(id) => json!({ "topic": topic, "id": id }).to_string(),
        None => json!({ "topic": topic }).to_string(),
    }
}

impl Log {
    /// The same log, with the name of the event that tells of one that is taken back; None = nobody is told.
    pub fn retracted_as(mut self, name: Option<EventName>) -> Self {
        self.retracted_as = name;
        self
    }

    /// What is known of `topic`'s event with this id.
    pub fn find(&self, topic: &Name, id: EventId) -> FoundEvent {
        let state = self.lock();
        match state.store.find(topic, id) {
            Some(entry) => match ContentHash::of(entry, self.format()) {
                Some(print) => {
                    let (audience, coalesce) = (entry.audience.clone(), entry.coalesce.clone());
                    FoundEvent::Kept { audience, print, coalesce }
                }
                None => FoundEvent::Unknown,
            },
            None if state.store.is_own(id) && state.store.taken.has(id) => FoundEvent::TakenBack,
            None => FoundEvent::Unknown,
        }
    }

    /// Whether the id is one of this log's, whatever became of its event.
    pub fn is_own(&self, id: EventId) -> bool {
        self.lock().store.is_own(id)
    }

    /// The ids of the events that are for nobody but `topic`'s readers, oldest first.
    pub fn ids_of(&self, topic: &Name) -> Vec<EventId> {
        let key = Key::Topic(topic.clone());
        let state = self.lock();
        let places = state.store.index.get(&key).into_iter().flatten();
        // What tells of another stays: by it a copy knows that an entry is not lost.
        let entries = places.map(|&place| state.store.get(place)).filter(|entry| entry.retracts.is_none());
        entries.filter(|entry| entry.audience.keys() == [key.clone()]).filter_map(|entry| entry.id).collect()
    }

    /// Takes back what `what` names, in a place of its own.
    pub fn take_back(&self, what: TakeBack) -> TakenBack {
        let (mut state, now) = (self.lock(), Instant::now());
        let id = state.store.next_id(now_ms());
        let request = TakeBackRequest { number: None, what, audience: None, coalesce: None };
        self.take_back_at(&mut state, id, request, now, true).taken
    }

    /// Takes back what is asked for at `id`; with `delivered`, the event that tells of it is left at the feeds.
    pub(super) fn take_back_at(
        &self,
        state: &mut State,
        id: EventId,
        request: TakeBackRequest,
        at: Instant,
        delivered: bool,
    ) -> TakeBackOutcome {
        let TakeBackRequest { number, what, audience, coalesce } = request;
        if let (TakeBack::Event { id, .. }, Some(audience), Some(key)) = (&what, &audience, coalesce) {
            state.store.supersede(key, audience, *id);
        }
        let notices = state.store.take_back(&what, audience, self.format());
        let count = notices.iter().filter(|notice| notice.was_kept).count();
        let (mut taken, mut id) = (TakenBack { count }, id);
        for TakenNotice { audience, of, counted, .. } in notices {
            taken.count += counted;
            self.tell_taken(state, id, (audience, what.topic(), of), at, delivered);
            id.seq += 1;
        }
        TakeBackOutcome { number, taken }
    }

    /// Appends the event that tells of it.
    fn tell_taken(
        &self,
        state: &mut State,
        id: EventId,
        (audience, topic, of): (Audience, &Name, Option<EventId>),
        at: Instant,
        delivered: bool,
    ) {
        let mut event = Event::new(audience, notice_data(topic, of));
        match &self.retracted_as {
            Some(name) => event.name = Some(name.clone()),
            // Its place is needed all the same.
            None => event.audience = Audience::of(nobody()),
        }
        let frame = self.format().draft(&event, published(id)).seal(Some(id));
        let reach = state.reach(&mut event.audience);
        // It is rendered again for routes that call it otherwise.
        let source = Some(EventSource::take(&mut event, published(id)));
        let retracts = Some(of.map_or(Retraction::Topic, Retraction::Event));
        let extras = Extras { retracts, source, ..Extras::default() };
        let entry = state.store.push(Some(id), event.audience, frame, at, extras);
        if delivered {
            state.deliver(&entry, reach);
        }
    }
}

fn published(id: EventId) -> SystemTime {
    from_unix_ms(id.ms)
}

/// A key that no subscriber holds: no client is called so.
fn nobody() -> Key {
    Key::Client(Name::parse("nobody").expect("a name"))
}

/// Who is to be told of what.
struct TakenNotice {
    audience: Audience,
    /// The id that was taken back; None where it is all of the topic.
    of: Option<EventId>,
    was_kept: bool,
    /// Events that are taken back beside.
    counted: usize,
}

impl Store {
    /// Whether ids like this one are given away here.
    fn is_own(&self, id: EventId) -> bool {
        id.tag == self.head().id.tag
    }

    /// The kept event of `topic` with this id.
    fn find(&self, topic: &Name, id: EventId) -> Option<&Arc<Entry>> {
        if !self.is_own(id) {
            return None;
        }
        let key = Key::Topic(topic.clone());
        let found =
            self.entries.binary_search_by_key(&Some(id.order()), |entry| entry.id.map(|id| id.order()));
        let Ok(at) = found else {
            let mut kept = self.state.iter().flat_map(|state| state.kept());
            return kept.find(|entry| entry.id == Some(id) && entry.audience.keys().contains(&key));
        };
        let entry = &self.entries[at];
        let places = self.index.get(&key)?;
        // What tells of another is no event that anybody published.
        (places.binary_search(&entry.position).is_ok() && entry.retracts.is_none()).then_some(entry)
    }

    /// Lets go of what `what` names, and says who is to be told.
    fn take_back(
        &mut self,
        what: &TakeBack,
        audience: Option<Audience>,
        format: EventFormat,
    ) -> Vec<TakenNotice> {
        match what {
            TakeBack::Event { id, .. } if self.taken.has(*id) => Vec::new(),
            TakeBack::Event { topic, id } => {
                let found = self.find(topic, *id).map(|entry| (entry.position, entry.audience.clone()));
                if let Some((position, _)) = found {
                    self.forget_entry(position);
                }
                let was_kept = found.is_some();
                let audience = audience.or(found.map(|(_, audience)| audience));
                let notice = |audience| TakenNotice { audience, of: Some(*id), was_kept, counted: 0 };
                audience.map(notice).into_iter().collect()
            }
            TakeBack::Alike { topic, print } => {
                let key = Key::Topic(topic.clone());
                let places = self.index.get(&key).into_iter().flatten();
                let entries = places.map(|&place| self.get(place)).filter(|entry| entry.retracts.is_none());
                let kept = self.state.iter().flat_map(|state| state.kept());
                let entries = entries.chain(kept.filter(|entry| entry.audience.keys().contains(&key)));
                let alike = entries.filter(|entry| ContentHash::of(entry, format).as_ref() == Some(print));
                let alike: Vec<Arc<Entry>> = alike.cloned().collect();
                for entry in &alike {
                    self.forget_entry(entry.position);
                }
                let notice = |entry: &Arc<Entry>| TakenNotice {
                    audience: entry.audience.clone(),
                    of: entry.id,
                    was_kept: true,
                    counted: 0,
                };
                alike.iter().map(notice).collect()
            }
            TakeBack::Topic(topic) => {
                let key = Key::Topic(topic.clone());
                let counted = self.take_back_all(&key);
                vec![TakenNotice { audience: Audience::of(key), of: None, was_kept: false, counted }]
            }
        }
    }

    /// Lets go of all that is kept for `key`; what is for others as well stays with them. Tells how many events it was.
    fn take_back_all(&mut self, key: &Key) -> usize {
        let gone = self.state.as_mut().map(|state| state.remove_all(key)).unwrap_or_default();
        let outlived = gone.iter().filter(|entry| !self.holds(entry.position.prev()));
        let outlived: Vec<_> = outlived.cloned().collect();
        let mut count = outlived.len();
        outlived.iter().for_each(|entry| self.forget_newest(entry));
        self.topics.remove(key);
        for place in self.index.remove(key).unwrap_or_default() {
            let entry = Arc::clone(self.get(place));
            count += usize::from(entry.retracts.is_none());
            let stays = entry.audience.keys().iter().any(|other| {
                self.index.get(other).is_some_and(|places| places.binary_search(&place).is_ok())
            });
            if !stays {
                self.forget_entry(place);
            }
        }
        count
    }

    /// The event `id` of this key, which is taken back, had superseded what is older, also where it is not known.
    fn supersede(&mut self, key: Box<str>, audience: &Audience, id: EventId) {
        let Some(newest) = self.newest.get(&(key, audience.clone())) else { return };
        if newest.id.is_some_and(|newest| newest.order() < id.order()) {
            let newest = Arc::clone(newest);
            newest.superseded.store(true, Ordering::Relaxed);
            self.forget_state(&newest);
        }
    }

    /// It is in no snapshot any more, and nothing takes its place.
    fn forget_state(&mut self, entry: &Entry) {
        if let Some(state) = self.state.as_mut().filter(|_| entry.coalesce.is_some()) {
            state.remove(entry);
        }
        self.forget_newest(entry);
    }

    /// Takes what stands at `position` out of every replay and lets go of its content. Its place stays.
    fn forget_entry(&mut self, position: Position) {
        let outlived = self.state.as_ref().and_then(|state| {
            let mut kept = state.kept();
            kept.find(|entry| entry.position == position).cloned()
        });
        if let Some(entry) = outlived {
            return self.forget_state(&entry);
        }
        let at = self.entries.partition_point(|entry| entry.position < position);
        let entry = Arc::clone(&self.entries[at]);
        for key in entry.audience.keys() {
            let Some(places) = self.index.get_mut(key) else { continue };
            if let Ok(place) = places.binary_search(&position) {
                places.remove(place);
            }
            if places.is_empty() {
                self.index.remove(key);
                self.topics.remove(key);
            }
        }
        self.forget_state(&entry);
        self.bytes -= cost(&entry.audience, &entry.frame, entry.source.as_deref());
        let empty = Entry {
            position,
            id: entry.id,
            audience: Audience::of(nobody()),
            // Never written: no list of places names it.
            frame: Frame::comment(":\n\n"),
            at: entry.at,
            expires: None,
            coalesce: None,
            trace: None,
            retracts: entry.retracts,
            source: None,
            superseded: AtomicBool::new(true),
            is_reset: AtomicBool::new(true),
        };
        self.bytes += cost(&empty.audience, &empty.frame, None);
        self.entries[at] = Arc::new(empty);
    }
}

#[cfg(test)]
#[path = "take_back_tests.rs"]
mod tests;
