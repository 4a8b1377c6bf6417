//! Admitting a stream: where it begins, its first blocks, and its way to the fan-out. Nothing is refused here any more.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderMap;

use crate::auth::Grant;
use crate::event::{Block, ConnectionMeta, EventFilter, EventFormat, EventId, Frame, Key, Name, TopicFilter};
use crate::fanout::{CloseReason, Join, Selector, Sink, SnapshotWish, StreamLook, StreamStart, Times};
use crate::log::{Cursor, Membership, Position, ReaderChoice, Reset, TopicHistory, Wanted};
use crate::subscribe::look::{COUNTED, RequestLook, StreamFacts};
use crate::subscribe::pattern_seats::PatternSeat;
use crate::subscribe::preamble;
use crate::subscribe::route::Route;
use crate::subscribe::seats::Seat;
use crate::subscribe::streams::{Streams, random_ms};
use crate::telemetry;
use crate::telemetry::log_line;
use crate::trace::RequestMarks;

/// A stream that may be opened: all that it needs but a sink.
pub struct Admission {
    /// The first blocks: `connected`, and `reset` where the cursor cannot be served.
    pub preamble: Frame,
    /// To be set on the answer, beside the headers that every stream has.
    pub headers: HeaderMap,
    caller: AdmittedCaller,
    keys: Vec<Key>,
    cursor: Cursor,
    start: Start,
    snapshot: SnapshotWish,
    look: Option<Box<StreamLook>>,
    choice: Option<Box<ReaderChoice>>,
    /// How many topics it begins with.
    topic_count: usize,
    /// Dropped with the stream.
    hold: Option<Box<dyn Send>>,
}

/// A stream that nothing speaks against.
pub(super) struct Admitted {
    pub(super) judged: Judged,
    pub(super) start: Start,
    /// It is for the state of its topics.
    pub(super) snapshots: bool,
    /// Where its events come from, if not only from what is published.
    pub(super) source: Option<SourceOpening>,
}

/// A caller that was let in, and what for.
pub struct Judged {
    pub(super) caller: AdmittedCaller,
    /// To be set on the answer.
    pub(super) headers: HeaderMap,
    pub(super) look: RequestLook,
    pub(super) events: RequestedEvents,
}

/// Whose a stream is, and what is held for it as long as it is open.
pub(super) struct AdmittedCaller {
    pub(super) client: Name,
    pub(super) grant: Grant,
    /// What it asks for.
    pub(super) topics: Vec<TopicFilter>,
    /// The log's head before the caller was verified.
    pub(super) decided: Position,
    pub(super) about: AdmittedFrom,
    pub(super) seat: Seat,
    pub(super) patterns: Option<PatternSeat>,
}

/// Which of the events for its topics a stream gets.
pub(super) struct RequestedEvents {
    /// None = all.
    pub(super) names: Option<EventFilter>,
    /// Whether a history is that of each topic.
    pub(super) history_per_topic: bool,
    /// Whether it is told of those that were taken back.
    pub(super) retractions: bool,
}

/// What a stream's request says of it.
pub(super) struct AdmittedFrom {
    /// Where its client is.
    pub(super) address: IpAddr,
    pub(super) route: Arc<str>,
    /// What is noted of it.
    pub(super) meta: Option<Arc<ConnectionMeta>>,
    /// For how long it may be sent nothing but heartbeats.
    pub(super) idle: Option<Duration>,
    pub(super) marks: RequestMarks,
}

/// What a stream of the application adds to its beginning.
pub(super) struct SourceOpening {
    pub(super) key: Key,
    /// It begins with `connected`.
    pub(super) connected: bool,
    /// Events that come before all others: their names and data.
    pub(super) first: Vec<(Option<&'static str>, String)>,
    /// Dropped with the stream.
    pub(super) hold: Box<dyn Send>,
}

/// Where a stream is to begin.
pub(super) enum Start {
    /// Now, or so many of its topics' last events ago.
    Fresh { history: usize },
    /// What came from a time or a place on, for a client that has no id.
    Since(Cursor),
    /// Now, with the newest event of each key first.
    Snapshot,
    /// Where its client left off.
    At(Cursor),
    /// The log does not have that any more. The client keeps what it has `last_seen` until the reset reaches it.
    Reset { why: Reset, last_seen: Option<EventId> },
}

impl Start {
    fn kind(&self) -> StreamStart {
        match self {
            Self::At(_) => StreamStart::Resumed,
            Self::Reset { .. } => StreamStart::Reset,
            Self::Fresh { .. } | Self::Since(_) | Self::Snapshot => StreamStart::Fresh,
        }
    }
}

/// What a stream holds when its start is looked for.
struct StartPlace<'a> {
    head: Cursor,
    keys: &'a [Key],
    topics: &'a [TopicFilter],
    /// Whether a history is that of each topic.
    per_topic: bool,
}

impl Streams {
    /// The stream with its first blocks.
    pub(super) fn admit(&self, admitted: Admitted) -> Admission {
        let Admitted { judged, start, snapshots, source } = admitted;
        let Judged { mut caller, headers, look, events } = judged;
        let AdmittedCaller { client, grant, topics, decided, .. } = &mut caller;
        let choice = ReaderChoice::new(events.names, self.log.format());
        let mut choice = if events.retractions { choice } else { choice.without_retractions() };
        // The head is taken first: an event between this line and the shard's is replayed, not lost.
        let Membership { head, held, removed, .. } = self.log.membership(&grant.keys(&[]), *decided);
        let removed: HashSet<TopicFilter> = removed.into_iter().flatten().collect();
        topics.retain(|topic| !removed.contains(topic));
        let mut keys = grant.keys(topics);
        keys.push(Key::Client(client.clone()));
        keys.extend(source.as_ref().map(|source| source.key.clone()));
        // What it is given comes to what it asks for; the grant answers for the latter only.
        let asked: HashSet<&TopicFilter> = topics.iter().collect();
        let assigned = held.iter().map(|(topic, _)| topic).filter(|topic| !asked.contains(topic));
        let all: Vec<TopicFilter> = topics.iter().chain(assigned).cloned().collect();
        let start = match start {
            // What it held there, nobody knows any more.
            Start::At(cursor) if self.log.known_from(&keys, cursor) != cursor => {
                Start::Reset { why: Reset::TooOld, last_seen: Some(cursor.id) }
            }
            start => start,
        };
        let place = StartPlace { head, keys: &keys, topics: &all, per_topic: events.history_per_topic };
        let (cursor, id) = self.locate(&start, &place, &mut choice);
        let missed = match start {
            Start::Fresh { history: 0 } | Start::Snapshot | Start::Reset { .. } => 0,
            _ => {
                let wanted = Wanted { keys: &keys, choice: Some(&choice) };
                self.log.count(wanted, cursor.position, COUNTED + 1)
            }
        };
        let facts = StreamFacts {
            client,
            grant,
            topics: &all,
            resumed: start.kind() == StreamStart::Resumed,
            missed,
            id: id.map(|id| id.to_string()),
        };
        let frame = self.first_frames(&look, &facts, source.as_ref(), (&start, head, id));
        let look = look.of_stream(&facts);
        count_replay(&start);
        Admission {
            preamble: frame,
            headers,
            caller,
            keys,
            cursor,
            look,
            choice: (!choice.is_all()).then(|| Box::new(choice)),
            snapshot: match start {
                _ if !snapshots => SnapshotWish::None,
                Start::Snapshot | Start::Reset { .. } => SnapshotWish::Now,
                _ => SnapshotWish::AfterReset,
            },
            start,
            topic_count: all.len(),
            hold: source.map(|source| source.hold),
        }
    }

    /// The stream's first blocks, with what its source says first.
    fn first_frames(
        &self,
        look: &RequestLook,
        facts: &StreamFacts<'_>,
        source: Option<&SourceOpening>,
        (start, head, id): (&Start, Cursor, Option<EventId>),
    ) -> Frame {
        let bare = source.is_some_and(|source| !source.connected);
        let format = if bare { EventFormat::Named } else { self.log.format() };
        let render = |block: Block<'_>| look.route.block(block, facts.grant.user.as_ref(), format);
        let retry = random_ms(look.retry.0, look.retry.1);
        let first = if bare {
            preamble::bare(retry, id)
        } else {
            let data = look.connected(facts).unwrap_or_else(|| preamble::connected(facts));
            let name = Some(look.connected_as.as_str());
            render(Block { retry: Some(retry), event: name, data: &data, id })
        };
        let first = preamble::followed_by(first, source.map_or(&[], |source| &source.first), id);
        match start {
            Start::Reset { why, .. } => Frame::joined(&[first, why.frame(head.id, render)]),
            _ => first,
        }
    }

    /// From where a stream is written, and the id that its first event has. A history may be part of what it wants.
    fn locate(
        &self,
        start: &Start,
        place: &StartPlace<'_>,
        choice: &mut ReaderChoice,
    ) -> (Cursor, Option<EventId>) {
        let StartPlace { head, keys, topics, per_topic } = *place;
        match *start {
            Start::Fresh { history } if history > 0 => {
                let back =
                    |topics: &[Key]| self.log.back(Wanted { keys: topics, choice: Some(choice) }, history);
                let cursor = if per_topic {
                    let cursors = topics.iter().map(|topic| (topic.key(), back(&[topic.key()])));
                    let cursors: Vec<_> = cursors.collect();
                    let after =
                        cursors.iter().map(|(topic, cursor)| (topic.clone(), cursor.position)).collect();
                    choice.begin_with(TopicHistory { until: head.position, after });
                    let oldest =
                        cursors.into_iter().map(|(_, cursor)| cursor).min_by_key(|cursor| cursor.position);
                    oldest.unwrap_or(head)
                } else {
                    back(&topics.iter().map(TopicFilter::key).collect::<Vec<_>>())
                };
                let cursor = self.log.known_from(keys, cursor);
                (cursor, Some(cursor.id))
            }
            Start::Since(cursor) => {
                let cursor = self.log.known_from(keys, cursor);
                (cursor, Some(cursor.id))
            }
            // A client that is cut before the snapshot's end has no id yet, and gets it anew.
            Start::Snapshot => (head, None),
            Start::Fresh { .. } => (head, Some(head.id)),
            // The client's own cursor, and no newer id before the backlog is out.
            Start::At(cursor) => (cursor, Some(cursor.id)),
            // The client keeps what it had until the reset itself has reached it.
            Start::Reset { last_seen, .. } => (head, last_seen),
        }
    }

    /// How streams lay out their events where their route does not say it.
    pub fn format(&self) -> EventFormat {
        self.log.format()
    }

    /// Hands the stream to the fan-out. `opening` is the preamble in the sink's own framing, with whatever the sink
    /// needs before it.
    pub fn join(&self, admission: Admission, sink: Sink, opening: Bytes) {
        // Before it can close.
        log_opened(&admission);
        let AdmittedCaller { client, grant, topics, decided, about, seat, patterns } = admission.caller;
        let gives_way = seat.gives_way();
        // The drain waits until the last stream is closed.
        let seat = Box::new((seat, patterns, admission.hold, self.drain.hold()));
        self.fanout.join(Join {
            sink,
            opening,
            cursor: admission.cursor.position,
            snapshot: admission.snapshot,
            keys: admission.keys,
            decided,
            client: client.clone(),
            address: about.address,
            route: about.route,
            start: admission.start.kind(),
            meta: about.meta,
            token: grant.token.clone(),
            times: self.times(&grant),
            trace: about.marks.trace,
            max_age: self.max_age(),
            idle: about.idle,
            look: admission.look,
            choice: admission.choice,
            seat,
        });
        // Taken back since the verdict: the revocation found no stream to end.
        self.end_if_revoked(&grant, &topics, &client);
        // So has its place.
        if gives_way.is_some_and(|gives_way| gives_way.is_due()) {
            self.end_soon(&client, CloseReason::Replaced);
        }
    }

    /// Ends the streams of `clients`, whose places another one has taken.
    pub(super) fn end_replaced(&self, clients: &[Name]) {
        for client in clients {
            self.end_soon(client, CloseReason::Replaced);
        }
    }

    fn end_soon(&self, client: &Name, end: CloseReason) {
        let which = Selector { keys: [Key::Client(client.clone())].into(), token: None };
        self.fanout.end_soon(&which, end);
    }

    pub(super) fn end_if_revoked(&self, grant: &Grant, topics: &[TopicFilter], client: &Name) {
        let end = match self.revocations.check(grant, topics) {
            Err(_) => CloseReason::Revoked,
            Ok(()) if self.revocations.is_away(grant, topics) => CloseReason::SentAway,
            Ok(()) => return,
        };
        self.end_soon(client, end);
    }

    /// When a stream ends because its grant does, and when its client is warned: early enough to fetch a new token, and
    /// not before half of the time that is left.
    pub(super) fn times(&self, grant: &Grant) -> Times {
        // A wall clock's time becomes one that no change of the clock moves.
        let left = grant.until.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        let now = Instant::now();
        Times {
            expires: left.map(|left| now + left),
            warns: left
                .filter(|_| !self.warn_before.is_zero())
                .map(|left| now + (left - self.warn_before.min(left / 2))),
        }
    }

    /// For how long a stream of `route` may be sent nothing but heartbeats; spread, so that a crowd that came together
    /// does not go together.
    pub(super) fn idle(&self, route: &Route<'_>) -> Option<Duration> {
        let limit = route.idle_timeout().unwrap_or(self.sse.idle_timeout);
        let spread = || Duration::from_millis(u64::from(random_ms(limit, limit + limit / 10)));
        (!limit.is_zero()).then(spread)
    }

    fn max_age(&self) -> Option<Instant> {
        (!self.sse.max_age.is_zero()).then(|| {
            let tenth = self.sse.max_age / 10;
            let age = random_ms(self.sse.max_age - tenth, self.sse.max_age + tenth);
            Instant::now() + Duration::from_millis(u64::from(age))
        })
    }
}

fn log_opened(admission: &Admission) {
    let Admission { caller: AdmittedCaller { client, grant, about, .. }, start, topic_count, .. } = admission;
    let AdmittedFrom { address, route, marks, .. } = about;
    let (request_id, trace_id) = (marks.id(), marks.trace_id());
    let user = grant.user.as_ref().map(Name::as_str);
    let resumed = start.kind() == StreamStart::Resumed;
    let reset = if let Start::Reset { why, .. } = start { Some(why.as_str()) } else { None };
    log_line!(streams, client = client.as_str(), user, route = &**route, topics = topic_count, %address, resumed, reset, request_id, trace_id, "stream opened");
}

fn count_replay(start: &Start) {
    let outcome = match start {
        Start::Fresh { .. } | Start::Snapshot | Start::Since(_) => return,
        Start::At(_) => "resumed",
        Start::Reset { why, .. } => why.as_str(),
    };
    metrics::counter!(telemetry::REPLAYS, "outcome" => outcome).increment(1);
}
