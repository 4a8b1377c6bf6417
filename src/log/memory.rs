//! The log in one process's memory: the store behind a lock, the clock, idempotency keys, and the feeds.

use crate::clock::{from_unix_ms, now_ms};
use crate::expiring::ExpiringMap;
use crate::lock::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::event::{Audience, Draft, Event, EventFormat, EventId, EventName, Key, Name, Tag, TopicFilter};
use crate::log::choice::Wanted;
use crate::log::entry::{Entry, Membership, Replay, Reset};
use crate::log::feed::Feed;
use crate::log::patterns::Patterns;
use crate::log::position::{Cursor, Position};
use crate::log::source::EventSource;
use crate::log::store::{Extras, Store, StoreBounds};
use crate::log::topic_edit::{BadEdit, EditBy, HeldTopics, MemberBounds, TopicEdit};
use crate::log::watched::WatchedKeys;

/// How much the log keeps. Whatever bound is met first trims.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub events: usize,
    /// Frames, names and the index, roughly.
    pub bytes: usize,
    pub age: Duration,
    /// For how long an idempotency key is remembered; as many keys are kept as events.
    pub idempotency_window: Duration,
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// None for an ephemeral event.
    pub id: Option<EventId>,
    /// The idempotency key was known: nothing was appended, and `id` is the first one's.
    pub duplicate: bool,
}

/// What became of a set of topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edited {
    /// The topics that are in it now, in order.
    pub topics: Vec<TopicFilter>,
    /// The last event that was before the change: it applies to every later one, and to none before.
    pub position: EventId,
    /// Whether anything changed.
    pub changed: bool,
}

/// The memory log. Shared by all sources and shards; no call waits for more than the others' short turns.
pub struct Log {
    format: EventFormat,
    /// The name of the event that tells of one that is taken back.
    pub(super) retracted_as: Option<EventName>,
    /// Whether entries keep what they were made of.
    keeps_sources: AtomicBool,
    state: Mutex<State>,
    /// Told whenever a followed log has grown.
    pub(super) grown: Notify,
    /// Told when something is published to a key that is watched.
    pub(super) published: Arc<Notify>,
    /// How many patterns are held, for those who only want to know whether there are any.
    pub(super) patterns: AtomicUsize,
}

pub(super) struct State {
    pub(super) store: Store,
    pub(super) bounds: StoreBounds,
    /// Set when ids come from elsewhere: what has none is delivered live only.
    pub(super) following: Option<Following>,
    pub(super) feeds: Vec<Arc<Feed>>,
    /// Which feeds hold a subscriber for a key: one bit a feed.
    pub(super) wanted: HashMap<Key, u64>,
    /// The same for patterns.
    pub(super) patterns: Patterns,
    /// None while no key is.
    pub(super) watched: Option<Box<WatchedKeys>>,
    seen: Seen,
}

/// How a log stands to the one that it follows.
#[derive(Default, Debug)]
pub(super) struct Following {
    pub(super) loaded: bool,
    /// How often it was seen that nothing is left to be copied.
    pub(super) looks: u64,
}

/// How many topics' patterns are remembered where nobody says it.
const REMEMBERED_TOPICS: usize = 100_000;

impl Log {
    pub fn new(retention: Retention) -> Self {
        let bounds = StoreBounds { events: retention.events, bytes: retention.bytes, age: retention.age };
        // Where the system has no randomness the clock's low digits still tell two starts apart.
        let bits = getrandom::u64().unwrap_or_else(|_| now_ms());
        Self::with(&retention, Store::new(bounds, Some(Tag::from_bits(bits)), now_ms()), bounds, None)
    }

    pub(super) fn with(
        retention: &Retention,
        store: Store,
        bounds: StoreBounds,
        following: Option<Following>,
    ) -> Self {
        let seen =
            Seen { window: retention.idempotency_window, ids: ExpiringMap::new(retention.events.max(1)) };
        let (feeds, wanted, patterns) = (Vec::new(), HashMap::new(), Patterns::new(REMEMBERED_TOPICS));
        let state = State { store, bounds, following, feeds, wanted, patterns, watched: None, seen };
        Self {
            format: EventFormat::default(),
            retracted_as: None,
            keeps_sources: AtomicBool::new(false),
            state: Mutex::new(state),
            grown: Notify::new(),
            published: Arc::default(),
            patterns: AtomicUsize::new(0),
        }
    }

    /// The same log with its events laid out otherwise.
    pub fn with_format(self, format: EventFormat) -> Self {
        Self { format, ..self }
    }

    /// The same log with bounds for the topics that users, sessions and clients are given.
    pub fn bounded(self, bounds: MemberBounds) -> Self {
        self.bound(bounds);
        self
    }

    /// From now on these are the bounds for what is given; what is given already stays.
    pub fn bound(&self, bounds: MemberBounds) {
        self.lock().store.members.bounds = bounds;
    }

    pub fn format(&self) -> EventFormat {
        self.format
    }

    /// From now on events keep what they were made of, for streams that want them otherwise than the log has them.
    pub fn keep_sources(&self) {
        self.keeps_sources.store(true, Ordering::Relaxed);
    }

    /// From now on topics are kept in their order, for streams that hold patterns.
    pub fn order_topics(&self) {
        let mut state = self.lock();
        let Store { topics, index, .. } = &mut state.store;
        topics.begin(index.keys());
    }

    pub(super) fn keeps_sources(&self) -> bool {
        self.keeps_sources.load(Ordering::Relaxed)
    }

    /// Gives the event its place and leaves it at every feed that wants it. Never waits on a subscriber.
    pub fn append(&self, event: Event) -> Appended {
        let draft = self.format.draft(&event, SystemTime::now());
        let mut state = self.lock();
        state.append(event, draft, Instant::now(), (now_ms(), self.keeps_sources()))
    }

    /// Appends all, with no other event in between.
    pub fn append_all(&self, events: Vec<Event>) -> Vec<Appended> {
        let now = SystemTime::now();
        let drafts: Vec<Draft> = events.iter().map(|event| self.format.draft(event, now)).collect();
        let mut state = self.lock();
        let (now, now_ms) = (Instant::now(), (now_ms(), self.keeps_sources()));
        let drafted = events.into_iter().zip(drafts);
        drafted.map(|(event, draft)| state.append(event, draft, now, now_ms)).collect()
    }

    /// Tells every stream, in its place among the events, that something before it is missing.
    pub fn append_gap(&self) -> Appended {
        let mut state = self.lock();
        if state.following.is_some() {
            state.tell(Reset::SourceGap, self.format);
            return Appended { id: None, duplicate: false };
        }
        drop(state);
        self.append(Event {
            name: Some(EventName::parse(Reset::EVENT).expect("a name of our own")),
            ..Event::new(Audience::everybody(), Reset::SourceGap.data())
        })
    }

    /// Changes the topics of a user, a session or a client, in one place among the events. Streams follow, and
    /// subscribers that join later hold them; what a client was given ends with its stream.
    pub fn edit(&self, of: &Key, edit: TopicEdit) -> Result<Edited, BadEdit> {
        self.edit_by(of, edit, EditBy::Backend)
    }

    /// The same by the page whose stream `client` is: what it adds, the stream holds as if it had asked for it when it
    /// opened. Takes no room from the events.
    pub fn edit_by_page(&self, client: &Key, edit: TopicEdit) -> Result<Edited, BadEdit> {
        self.edit_by(client, edit, EditBy::Page)
    }

    fn edit_by(&self, of: &Key, edit: TopicEdit, by: EditBy) -> Result<Edited, BadEdit> {
        let mut state = self.lock();
        let changed = state.edit(of, edit, by, Instant::now())?;
        let topics = state.store.members.topics(of).cloned().collect();
        Ok(Edited { topics, position: state.store.head().id, changed })
    }

    /// The stream of `client` has gone over its changes up to `position`: nobody needs them any more.
    pub fn passed(&self, client: &Key, position: Position) {
        self.lock().store.members.waiting.passed(client, position);
    }

    /// The clients whose pages have added `topic`, or a pattern that matches it, and whose streams do not hold it yet
    /// for that.
    pub fn about_to_hold(&self, topic: &Name) -> Vec<Key> {
        self.lock().store.members.waiting.about_to_hold(topic)
    }

    /// `cursor`, or, where it is not known what the user, session and client among `keys` gave from there on, the first
    /// one behind it from which it is.
    pub fn known_from(&self, keys: &[Key], cursor: Cursor) -> Cursor {
        let store = &self.lock().store;
        let position = store.members.known_from(keys);
        if position <= cursor.position.max(store.members.trimmed()) {
            return cursor;
        }
        Cursor { position, id: store.id_at(position) }
    }

    /// The topics of a user, a session or a client, and the last event before which they were these.
    pub fn topics(&self, of: &Key) -> Edited {
        let state = self.lock();
        let topics = state.store.members.topics(of).cloned().collect();
        Edited { topics, position: state.store.head().id, changed: false }
    }

    /// What the user, session and client among `keys` give at `after`, and the cursor with which a subscriber of
    /// theirs goes on from there.
    pub fn enter(&self, keys: &[Key], after: Position) -> (HeldTopics, Position) {
        self.lock().store.enter(keys, after)
    }

    /// What the user, session and client among `keys` give at the head, and what was taken from them after `since`.
    pub fn membership(&self, keys: &[Key], since: Position) -> Membership {
        self.lock().store.membership(keys, since)
    }

    /// Where a stream starts that wants only what comes from now on.
    pub fn head(&self) -> Cursor {
        self.lock().store.head()
    }

    /// Where somebody starts who wants all that is kept.
    pub fn origin(&self) -> Cursor {
        let mut state = self.lock();
        state.store.trim(Instant::now());
        state.store.origin()
    }

    /// The cursor that the text of a `Last-Event-ID` stands for, or why it cannot be served.
    pub fn locate(&self, last_event_id: &str) -> Result<Cursor, Reset> {
        let mut state = self.lock();
        state.store.trim(Instant::now());
        state.store.locate(last_event_id)
    }

    /// What is kept after `after` for a holder of keys, of what it wants: at most `max_events`, and no more than one
    /// entry beyond `max_bytes`; it ends where the holder's topics change. `Err` when entries or changes after `after`
    /// have been let go of.
    pub fn replay<'w>(
        &self,
        wanted: impl Into<Wanted<'w>>,
        after: Position,
        max_events: usize,
        max_bytes: usize,
    ) -> Result<Replay, Reset> {
        self.lock().store.replay(wanted, after, max_events, max_bytes, Instant::now())
    }

    /// How many entries `replay` would give after `after`; counting stops at `max`.
    pub fn count<'w>(&self, wanted: impl Into<Wanted<'w>>, after: Position, max: usize) -> usize {
        let wanted = wanted.into();
        let (mut count, mut rest) = (0, Some(after));
        while let Some(after) = rest {
            let part = self.lock().store.count(wanted, after, max - count, Instant::now());
            count += part.found;
            rest = part.rest;
        }
        count
    }

    /// The cursor from which a holder of keys gets the last `count` entries that are kept for them, of what it wants.
    pub fn back<'w>(&self, wanted: impl Into<Wanted<'w>>, count: usize) -> Cursor {
        let (wanted, head) = (wanted.into(), self.head());
        let (mut cursor, mut found, mut rest) = (head, 0, Some(head.position));
        while let Some(until) = rest.filter(|_| found < count) {
            let part = self.lock().store.back(wanted, count - found, until, Instant::now());
            if part.found.1 > 0 {
                (cursor, found) = (part.found.0, found + part.found.1);
            }
            rest = part.rest;
        }
        cursor
    }

    /// The cursor behind which everything stands that was published at or after `ms` (milliseconds since 1970), or why
    /// that is not kept.
    pub fn since(&self, ms: u64) -> Result<Cursor, Reset> {
        let mut state = self.lock();
        state.store.trim(Instant::now());
        state.store.since(ms)
    }

    /// The newest `count` entries that are kept, oldest first.
    pub fn newest(&self, count: usize) -> Vec<Arc<Entry>> {
        self.lock().store.newest(count)
    }

    /// The id by which a stream that has everything up to `position` can be resumed.
    pub fn id_at(&self, position: Position) -> EventId {
        self.lock().store.id_at(position)
    }

    /// Lets go of what has grown too old; to be called now and then, so that a silent log shrinks too.
    pub fn trim(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.store.trim(now);
        state.seen.ids.drop_expired(now);
    }

    /// Events and bytes that are kept.
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.store.len(), state.store.bytes())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn append(
        &mut self,
        mut event: Event,
        draft: Draft,
        now: Instant,
        (now_ms, keeps_sources): (u64, bool),
    ) -> Appended {
        if let Some(key) = &event.idempotency_key
            && let Some(id) = self.seen.ids.get(key, now).copied()
        {
            return Appended { id, duplicate: true };
        }
        let id = (!event.ephemeral && self.following.is_none()).then(|| self.store.next_id(now_ms));
        if let Some(key) = event.idempotency_key.take() {
            self.seen.ids.insert(key, id, now + self.seen.window, now);
        }
        let reach = self.reach(&mut event.audience);
        let source = keeps_sources.then(|| EventSource::take(&mut event, from_unix_ms(now_ms)));
        let is_reset = event.name.is_some_and(|name| name.as_str() == Reset::EVENT);
        let Event { ttl, coalesce, trace, .. } = event;
        let extras = Extras { ttl, coalesce, trace, retracts: None, source };
        let entry = self.store.push(id, event.audience, draft.seal(id), now, extras);
        entry.is_reset.store(is_reset, Ordering::Relaxed);
        self.deliver(&entry, reach);
        Appended { id, duplicate: false }
    }

    /// Changes a set of topics, and tells whether that changed anything.
    pub(super) fn edit(
        &mut self,
        of: &Key,
        edit: TopicEdit,
        by: EditBy,
        now: Instant,
    ) -> Result<bool, BadEdit> {
        if matches!(of, Key::Client(_)) && !self.wanted.contains_key(of) {
            return Err(BadEdit::NoSuchClient);
        }
        let change = self.store.edit(of, edit, by, now)?;
        if let Some(change) = &change {
            self.leave_change(change);
        }
        Ok(change.is_some())
    }
}

/// The ids of the events with an idempotency key that were published within the window.
struct Seen {
    window: Duration,
    ids: ExpiringMap<Box<str>, Option<EventId>>,
}
