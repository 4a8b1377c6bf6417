//! Opening a stream: everything that is decided before it has a socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri};

use super::preamble::{self, Connected};
use super::refusal::{BadRequest, Refusal, Why};
use super::route::{Query, Route, Routes, Unnamed, Values};
use super::seats::{Bounds, Seat, Seats};
use crate::auth::{Caller, Denied, Gates, Grant, Verified};
use crate::config;
use crate::event::{EventId, Frame, Key, Name, Shape};
use crate::fanout::{End, Fanout, Join, Sink};
use crate::log::{Cursor, Log, Membership, Position, Reset};
use crate::shutdown::Drain;
use crate::telemetry;

/// The streams' sections of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    pub routes: &'a [config::Stream],
    pub auth: &'a config::Auth,
    pub sse: &'a config::Sse,
    pub limits: &'a config::Limits,
}

/// The way in for subscribers.
pub struct Streams {
    routes: Routes,
    gates: Arc<Gates>,
    terse: bool,
    sse: config::Sse,
    topics_per_stream: usize,
    history: usize,
    seats: Arc<Seats>,
    log: Arc<Log>,
    fanout: Arc<Fanout>,
    drain: Drain,
}

/// A stream that may be opened: all that it needs but a sink.
pub struct Admission {
    /// The first blocks: `connected`, and `reset` where the cursor cannot be served.
    pub preamble: Frame,
    /// To be set on the answer, beside the headers that every stream has.
    pub headers: HeaderMap,
    keys: Vec<Key>,
    decided: Position,
    cursor: Cursor,
    client: Name,
    ends: Option<(Instant, End)>,
    seat: Seat,
}

/// Where a stream is to begin.
struct Asks<'a> {
    last_event_id: Option<&'a str>,
    history: usize,
    /// The log's head before the caller was verified.
    decided: Position,
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl Streams {
    pub fn new(
        settings: Settings<'_>,
        gates: Arc<Gates>,
        log: Arc<Log>,
        fanout: Arc<Fanout>,
        drain: Drain,
    ) -> Self {
        let limits = settings.limits;
        let bounds = Bounds {
            streams: limits.streams,
            per_address: limits.streams_per_address,
            per_user: limits.streams_per_user,
        };
        Self {
            routes: Routes::new(settings.routes),
            gates,
            terse: settings.auth.refusals == config::Refusals::Terse,
            sse: settings.sse.clone(),
            topics_per_stream: limits.topics_per_stream,
            history: limits.history,
            seats: Seats::new(bounds),
            log,
            fanout,
            drain,
        }
    }

    /// The route of a path, if a `GET` there is ours.
    pub fn route(&self, path: &str) -> Option<Route<'_>> {
        self.routes.find(path)
    }

    /// Decides on a request for `route` from `address`. Changes nothing but the seat that it takes.
    pub async fn open(
        &self,
        route: &Route<'_>,
        request: &Parts,
        address: IpAddr,
    ) -> Result<Admission, Refusal> {
        self.decide(route, request, address).await.inspect_err(|refusal| {
            metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.word()).increment(1);
        })
    }

    /// Whether a request that is no stream's is about the topics of one: it names the stream's client.
    pub fn names_a_client(&self, route: &Route<'_>, request: &Uri) -> bool {
        route.changes_topics() && !Query::new(request.query()).all("client").is_empty()
    }

    /// The client that a request for a stream of its own is about, and what its sender is granted.
    pub async fn caller(
        &self,
        route: &Route<'_>,
        request: &Parts,
        address: IpAddr,
    ) -> Result<(Name, Grant), Refusal> {
        let query = Query::new(request.uri.query());
        let client = match query.all("client")[..] {
            [one] => Name::parse(one)
                .map_err(|why| Refusal::from(BadRequest::BadName { name: "client".to_owned(), why })),
            _ => Err(BadRequest::Repeated("client").into()),
        };
        let client = client.inspect_err(|refusal| self.count(refusal))?;
        match self.gates.verify(route.auth(), Caller { request, address }).await {
            Ok(Some(Verified { grant, .. })) => Ok((client, grant)),
            // Nobody is verified here, and the configuration should have been refused.
            Ok(None) => Err(self.turn_away(Denied::NoToken)),
            Err(Denied::NotNow(_)) => {
                let Refusal::Later { why, retry, cursor, .. } = self.later(Why::Unverified, None) else {
                    return Err(self.turn_away(Denied::NoToken));
                };
                Err(Refusal::Later { why, retry, cursor, as_status: true })
            }
            Err(denied) => Err(self.turn_away(denied)),
        }
    }

    fn count(&self, refusal: &Refusal) {
        metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.word()).increment(1);
    }

    /// Takes the token out of a request on a stream's path that goes on to the backend.
    pub fn conceal_token(&self, route: &Route<'_>, uri: &mut Uri, headers: &mut HeaderMap) {
        self.gates.conceal_token(route.auth(), uri, headers);
    }

    /// Refuses a request before it is looked into further.
    pub fn turn_away(&self, denied: Denied) -> Refusal {
        let refusal = self.denied(denied);
        metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.word()).increment(1);
        refusal
    }

    async fn decide(
        &self,
        route: &Route<'_>,
        request: &Parts,
        address: IpAddr,
    ) -> Result<Admission, Refusal> {
        let query = Query::new(request.uri.query());
        let last_event_id = last_event_id(request, &query)?;
        let history = history(&query, self.history)?;
        let later = |why| self.later(why, last_event_id);
        if self.drain.has_started() {
            return Err(later(Why::Draining));
        }
        // What is taken from the caller while somebody is asked is not given by the answer.
        let decided = self.log.head().position;
        // Before anybody is asked: who is being verified sits, too.
        let seat = self.seats.take(address).map_err(later)?;
        let verified = self.gates.verify(route.auth(), Caller { request, address }).await;
        let verified = match verified {
            Ok(Some(verified)) => verified,
            Ok(None) => {
                let (user, session) = route.claimed(&query).map_err(|unnamed| self.unnamed(unnamed))?;
                Verified::new(Grant::open(user, session))
            }
            Err(Denied::NotNow(_)) => return Err(later(Why::Unverified)),
            Err(denied) => return Err(self.denied(denied)),
        };
        let Verified { grant, claims, headers } = verified;
        let values = Values { query: &query, claims: &claims };
        let asked = route.topics(values, self.topics_per_stream).map_err(|unnamed| self.unnamed(unnamed))?;
        let refused = asked.iter().find(|asked| asked.by_request && !grant.topics.allow(&asked.topic));
        if let Some(refused) = refused {
            return Err(self.denied(Denied::TopicNotGranted(refused.topic.clone())));
        }
        let seat = seat.of(grant.user.as_ref()).map_err(later)?;
        let topics: Vec<Name> = asked.into_iter().map(|asked| asked.topic).collect();
        Ok(self.admit(&grant, headers, topics, Asks { last_event_id, history, decided }, seat))
    }

    fn denied(&self, denied: Denied) -> Refusal {
        Refusal::Denied { denied, terse: self.terse }
    }

    fn unnamed(&self, unnamed: Unnamed) -> Refusal {
        match unnamed {
            Unnamed::Request(bad) => bad.into(),
            Unnamed::Claim(name) => self.denied(Denied::NoClaim(name)),
        }
    }

    fn admit(
        &self,
        grant: &Grant,
        headers: HeaderMap,
        mut topics: Vec<Name>,
        asks: Asks<'_>,
        seat: Seat,
    ) -> Admission {
        let Asks { last_event_id, history, decided } = asks;
        let client = client_id();
        // The head is taken first: an event between this line and the shard's is replayed, not lost.
        let Membership { head, held, removed } = self.log.membership(&grant.keys(&[]), decided);
        topics.retain(|topic| !removed.iter().flatten().any(|removed| removed == topic));
        let mut keys = grant.keys(&topics);
        keys.push(Key::Client(client.clone()));
        for (topic, _) in held.iter() {
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
        }
        let topics = &topics[..];
        let located = last_event_id.map(|text| self.log.locate(text));
        let (cursor, id, missed) = match located {
            None if history > 0 => {
                let topics: Vec<Key> = topics.iter().cloned().map(Key::Topic).collect();
                let cursor = self.log.back(&topics, history);
                let missed = self.log.count(&keys, cursor.position, preamble::COUNTED + 1);
                (cursor, Some(cursor.id), missed)
            }
            None => (head, Some(head.id), 0),
            Some(Ok(cursor)) => {
                let missed = self.log.count(&keys, cursor.position, preamble::COUNTED + 1);
                // The client's own cursor, and no newer id before the backlog is out.
                (cursor, Some(cursor.id), missed)
            }
            // The client keeps what it had until the reset itself has reached it.
            Some(Err(_)) => (head, last_event_id.and_then(|text| text.parse().ok()), 0),
        };
        let connected = Connected {
            client: client.as_str(),
            user: grant.user.as_ref().map(Name::as_str),
            session: grant.session.as_ref().map(Name::as_str),
            topics: preamble::names(topics),
            resumed: matches!(located, Some(Ok(_))),
            missed: missed.min(preamble::COUNTED),
            more: missed > preamble::COUNTED,
        };
        let shape = self.log.shape();
        let retry = between(self.sse.retry_min, self.sse.retry_max);
        let mut frame = connected.frame(&self.sse.connected_as, shape, retry, id);
        if let Some(Err(reset)) = located {
            frame = Frame::joined(&[frame, reset.frame(head.id, shape)]);
        }
        count_replay(located);
        Admission { preamble: frame, headers, keys, decided, cursor, client, ends: self.ends(grant), seat }
    }

    /// How the streams lay out their events.
    pub fn shape(&self) -> Shape {
        self.log.shape()
    }

    /// Hands the stream to the fan-out. `opening` is the preamble in the sink's own framing, with whatever the sink
    /// needs before it.
    pub fn join(&self, admission: Admission, sink: Sink, opening: Bytes) {
        let Admission { keys, decided, cursor, client, ends, seat, preamble: _, headers: _ } = admission;
        // The drain waits until the last stream is closed.
        let seat = Box::new((seat, self.drain.hold()));
        let cursor = cursor.position;
        self.fanout.join(Join { sink, opening, cursor, keys, decided, client, ends, seat });
    }

    fn ends(&self, grant: &Grant) -> Option<(Instant, End)> {
        // A wall clock's time becomes one that no change of the clock moves.
        let left = |at: SystemTime| at.duration_since(SystemTime::now()).unwrap_or_default();
        let expiry = grant.until.map(|at| (Instant::now() + left(at), End::Expired));
        let age = (!self.sse.max_age.is_zero()).then(|| {
            let tenth = self.sse.max_age / 10;
            let age =
                Duration::from_millis(u64::from(between(self.sse.max_age - tenth, self.sse.max_age + tenth)));
            (Instant::now() + age, End::MaxAge)
        });
        expiry.into_iter().chain(age).min_by_key(|(at, _)| *at)
    }

    fn later(&self, why: Why, last_event_id: Option<&str>) -> Refusal {
        // Longer than after a cut: whoever is refused should not be the first to come back.
        let retry = between(self.sse.retry_max, 3 * self.sse.retry_max);
        Refusal::Later {
            why,
            retry: Duration::from_millis(u64::from(retry)),
            cursor: last_event_id.and_then(|text| text.parse::<EventId>().ok()),
            as_status: self.sse.refuse_with == config::RefuseWith::Status,
        }
    }
}

/// The id that the client has last seen: the header, or the query for clients that cannot set one. Empty = none.
fn last_event_id<'a>(request: &'a Parts, query: &'a Query<'_>) -> Result<Option<&'a str>, BadRequest> {
    let mut headers = request.headers.get_all(LAST_EVENT_ID).iter();
    if let Some(first) = headers.next() {
        if headers.next().is_some() {
            return Err(BadRequest::Repeated("Last-Event-ID"));
        }
        if !first.is_empty() {
            // What is not text is not an id, and is answered like one that is not.
            return Ok(Some(first.to_str().unwrap_or("?")));
        }
    }
    let named = [query.all("lastEventId"), query.all("last_event_id")].concat();
    match named[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(BadRequest::Repeated("lastEventId")),
    }
}

/// How many of its topics' last events a fresh stream asks for: at most `max`.
fn history(query: &Query<'_>, max: usize) -> Result<usize, BadRequest> {
    match query.all("history")[..] {
        [] => Ok(0),
        [one] => one.parse().map(|count: usize| count.min(max)).map_err(|_| BadRequest::History),
        _ => Err(BadRequest::Repeated("history")),
    }
}

fn count_replay(located: Option<Result<Cursor, Reset>>) {
    let outcome = match located {
        None => return,
        Some(Ok(_)) => "resumed",
        Some(Err(reset)) => reset.as_str(),
    };
    metrics::counter!(telemetry::REPLAYS, "outcome" => outcome).increment(1);
}

/// A name that no one guesses: 80 random bits, in lower-case letters and digits.
fn client_id() -> Name {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Name::parse(&text).expect("hexadecimal digits are a name")
}

/// A random number of milliseconds between two times.
fn between(min: Duration, max: Duration) -> u32 {
    let [min, max] = [min, max].map(|time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    let span = u64::from(max.saturating_sub(min)) + 1;
    let random = u64::from(getrandom::u32().unwrap_or(0));
    min + u32::try_from((random * span) >> 32).unwrap_or(0)
}
