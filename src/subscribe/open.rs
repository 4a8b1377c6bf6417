//! Opening a stream: everything that is decided before it has a socket.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Uri};

use crate::auth::{Caller, Denied, Gates, Grant, RequestOrigin, Revocations, Verified};
use crate::config;
use crate::event::{EventFormat, EventId, Frame, Key, Name};
use crate::fanout::{CloseReason, Fanout, Join, Selector, Sink, Times};
use crate::log::{Cursor, Log, Membership, Position, Reset};
use crate::retry::random_between;
use crate::shutdown::Drain;
use crate::subscribe::preamble;
use crate::subscribe::preamble::Connected;
use crate::subscribe::refusal::{BadStreamRequest, Refusal, RetryReason};
use crate::subscribe::route::{Route, Routes, StreamQuery, TemplateError, Values};
use crate::subscribe::seats::{Seat, SeatLimits, Seats};
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
    pub(super) gates: Arc<Gates>,
    pub(super) revocations: Arc<Revocations>,
    warn_before: Duration,
    terse: bool,
    sse: config::Sse,
    topics_per_stream: usize,
    history: usize,
    seats: Arc<Seats>,
    log: Arc<Log>,
    pub(super) fanout: Arc<Fanout>,
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
    address: IpAddr,
    route: Arc<str>,
    grant: Grant,
    topics: Vec<Name>,
    seat: Seat,
}

/// Where a stream is to begin.
struct StartRequest<'a> {
    last_event_id: Option<&'a str>,
    /// Where that is.
    located: Option<Result<Cursor, Reset>>,
    history: usize,
    /// The log's head before the caller was verified.
    decided: Position,
    /// Where its client is.
    address: IpAddr,
    route: Arc<str>,
}

/// How long a cursor that lies ahead of the log is waited for.
const AHEAD: Duration = Duration::from_secs(3);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl Streams {
    pub fn new(
        settings: Settings<'_>,
        gates: Arc<Gates>,
        revocations: Arc<Revocations>,
        log: Arc<Log>,
        fanout: Arc<Fanout>,
        drain: Drain,
    ) -> Self {
        let limits = settings.limits;
        let bounds = SeatLimits {
            streams: limits.streams,
            per_address: limits.streams_per_address,
            per_user: limits.streams_per_user,
        };
        Self {
            routes: Routes::new(settings.routes),
            gates,
            revocations,
            warn_before: settings.auth.warn_before,
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

    /// Takes out of a request that goes on to the backend what only we may read.
    pub fn conceal<B>(&self, request: &mut Request<B>) {
        in_target_and_headers(request, |uri, headers| self.gates.conceal(uri, headers));
    }

    /// Decides on a request for `route` from `sender`. Changes nothing but the seat that it takes, and the ticket that
    /// it redeems.
    pub async fn open(
        &self,
        route: &Route<'_>,
        request: &Parts,
        sender: RequestOrigin,
    ) -> Result<Admission, Refusal> {
        self.decide(route, request, sender).await.inspect_err(|refusal| {
            metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.word()).increment(1);
        })
    }

    /// Takes the token out of a request on a stream's path that goes on to the backend.
    pub fn conceal_token<B>(&self, route: &Route<'_>, request: &mut Request<B>) {
        in_target_and_headers(request, |uri, headers| {
            self.gates.conceal_token(route.auth(), uri, headers);
        });
    }

    /// Refuses a request before it is looked into further.
    pub fn turn_away(&self, denied: Denied) -> Refusal {
        let refusal = self.denied(denied);
        metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.word()).increment(1);
        refusal
    }

    /// Whether the holder of `grant` may add `topics` to an open stream: what would keep a request for them from being
    /// opened keeps them out here as well.
    pub fn may_add(&self, grant: &Grant, topics: &[Name]) -> Result<(), Refusal> {
        if let Some(topic) = topics.iter().find(|topic| !grant.topics.allow(topic)) {
            return Err(self.turn_away(Denied::TopicNotGranted(topic.clone())));
        }
        self.revocations.check(grant, topics).map_err(|denied| self.turn_away(denied))?;
        if self.revocations.is_away(grant, topics) {
            return Err(Refusal::Away);
        }
        Ok(())
    }

    async fn decide(
        &self,
        route: &Route<'_>,
        request: &Parts,
        sender: RequestOrigin,
    ) -> Result<Admission, Refusal> {
        let query = StreamQuery::new(request.uri.query());
        let last_event_id = last_event_id(request, &query)?;
        let history = history(&query, self.history)?;
        let later = |why| self.later(why, last_event_id);
        if self.drain.has_started() {
            return Err(later(RetryReason::Draining));
        }
        if !self.log.is_loaded() {
            return Err(later(RetryReason::NotReady));
        }
        // What is taken from the caller while somebody is asked is not given by the answer.
        let decided = self.log.head().position;
        // Before anybody is asked: who is being verified sits, too.
        let address = sender.address;
        let seat = self.seats.take(address).map_err(later)?;
        let verified = match self.verify(route, request, sender, &query, last_event_id).await? {
            Some(verified) => verified,
            None => {
                let (user, session) = route.claimed(&query).map_err(|unnamed| self.unnamed(unnamed))?;
                Verified::new(Grant::open(user, session))
            }
        };
        let Verified { grant, claims, headers } = verified;
        let values = Values { query: &query, claims: &claims };
        let asked = route.topics(values, self.topics_per_stream).map_err(|unnamed| self.unnamed(unnamed))?;
        let refused = asked.iter().find(|asked| asked.by_request && !grant.topics.allow(&asked.topic));
        if let Some(refused) = refused {
            return Err(self.denied(Denied::TopicNotGranted(refused.topic.clone())));
        }
        // Who is to come back needs what was set, too: a ticket is redeemed once.
        let seat = seat.of(grant.user.as_ref()).map_err(|why| later(why).with(&headers))?;
        let topics: Vec<Name> = asked.into_iter().map(|asked| asked.topic).collect();
        let located = match last_event_id {
            None => None,
            // Another instance has what it does not, and it will, too.
            Some(text) => {
                let located = self.log.locate_soon(text, AHEAD).await;
                Some(located.ok_or_else(|| later(RetryReason::NotReady))?)
            }
        };
        self.revocations.check(&grant, &topics).map_err(|denied| self.denied(denied))?;
        if self.revocations.is_away(&grant, &topics) {
            return Err(Refusal::Away);
        }
        let asks = StartRequest {
            last_event_id,
            located,
            history,
            decided,
            address,
            route: Arc::clone(route.text()),
        };
        Ok(self.admit(grant, headers, topics, asks, seat))
    }

    /// The verdict on the caller; None on a route that asks nobody who they are.
    pub(super) async fn verify(
        &self,
        route: &Route<'_>,
        request: &Parts,
        sender: RequestOrigin,
        query: &StreamQuery<'_>,
        last_event_id: Option<&str>,
    ) -> Result<Option<Verified>, Refusal> {
        let asked = match route.auth() {
            config::StreamAuth::Backend => route.topics_before(query, self.topics_per_stream),
            _ => Ok(Vec::new()),
        };
        let asked = asked.map_err(|unnamed| self.unnamed(unnamed))?;
        let verdict = self.gates.verify(route.auth(), Caller { request, sender, asked: &asked }).await;
        verdict.map_err(|denied| match denied {
            Denied::NotNow(_) => self.later(RetryReason::Unverified, last_event_id),
            denied => self.denied(denied),
        })
    }

    pub(super) fn denied(&self, denied: Denied) -> Refusal {
        Refusal::Denied { denied, terse: self.terse }
    }

    fn unnamed(&self, unnamed: TemplateError) -> Refusal {
        match unnamed {
            TemplateError::Request(bad) => bad.into(),
            TemplateError::Claim(name) => self.denied(Denied::NoClaim(name)),
        }
    }

    fn admit(
        &self,
        grant: Grant,
        headers: HeaderMap,
        mut topics: Vec<Name>,
        asks: StartRequest<'_>,
        seat: Seat,
    ) -> Admission {
        let StartRequest { last_event_id, located, history, decided, address, route } = asks;
        let client = Name::random();
        // The head is taken first: an event between this line and the shard's is replayed, not lost.
        let Membership { head, held, removed } = self.log.membership(&grant.keys(&[]), decided);
        topics.retain(|topic| !removed.iter().flatten().any(|removed| removed == topic));
        let mut keys = grant.keys(&topics);
        keys.push(Key::Client(client.clone()));
        // What it is given comes to what it asks for; the grant answers for the latter only.
        let given = held.iter().map(|(topic, _)| topic).filter(|topic| !topics.contains(topic));
        let all: Vec<Name> = topics.iter().chain(given).cloned().collect();
        let located = match located {
            // What it held there, nobody knows any more.
            Some(Ok(cursor)) if self.log.known_from(&keys, cursor) != cursor => Some(Err(Reset::TooOld)),
            located => located,
        };
        let (cursor, id, missed) = match located {
            None if history > 0 => {
                let topics: Vec<Key> = all.iter().cloned().map(Key::Topic).collect();
                let cursor = self.log.known_from(&keys, self.log.back(&topics, history));
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
            topics: preamble::names(&all),
            resumed: matches!(located, Some(Ok(_))),
            missed: missed.min(preamble::COUNTED),
            more: missed > preamble::COUNTED,
        };
        let shape = self.log.shape();
        let retry = random_ms(self.sse.retry_min, self.sse.retry_max);
        let mut frame = connected.frame(&self.sse.connected_as, shape, retry, id);
        if let Some(Err(reset)) = located {
            frame = Frame::joined(&[frame, reset.frame(head.id, shape)]);
        }
        count_replay(located);
        Admission {
            preamble: frame,
            headers,
            keys,
            decided,
            cursor,
            client,
            address,
            route,
            grant,
            topics,
            seat,
        }
    }

    /// How the streams lay out their events.
    pub fn shape(&self) -> EventFormat {
        self.log.shape()
    }

    /// Hands the stream to the fan-out. `opening` is the preamble in the sink's own framing, with whatever the sink
    /// needs before it.
    pub fn join(&self, admission: Admission, sink: Sink, opening: Bytes) {
        let Admission {
            keys,
            decided,
            cursor,
            client,
            address,
            route,
            grant,
            topics,
            seat,
            preamble: _,
            headers: _,
        } = admission;
        // The drain waits until the last stream is closed.
        let seat = Box::new((seat, self.drain.hold()));
        self.fanout.join(Join {
            sink,
            opening,
            cursor: cursor.position,
            keys,
            decided,
            client: client.clone(),
            address,
            route,
            token: grant.token.clone(),
            times: self.times(&grant),
            max_age: self.max_age(),
            seat,
        });
        // Taken back since the verdict: who revoked found no stream to end.
        self.end_if_revoked(&grant, &topics, &client);
    }

    pub(super) fn end_if_revoked(&self, grant: &Grant, topics: &[Name], client: &Name) {
        let end = match self.revocations.check(grant, topics) {
            Err(_) => CloseReason::Revoked,
            Ok(()) if self.revocations.is_away(grant, topics) => CloseReason::SentAway,
            Ok(()) => return,
        };
        let which = Selector { keys: [Key::Client(client.clone())].into(), token: None };
        self.fanout.end_soon(&which, end);
    }

    /// When a stream ends for its grant's sake, and when its client is told: early enough to fetch a new token, and
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

    fn max_age(&self) -> Option<Instant> {
        (!self.sse.max_age.is_zero()).then(|| {
            let tenth = self.sse.max_age / 10;
            let age = random_ms(self.sse.max_age - tenth, self.sse.max_age + tenth);
            Instant::now() + Duration::from_millis(u64::from(age))
        })
    }

    pub(super) fn later(&self, why: RetryReason, last_event_id: Option<&str>) -> Refusal {
        // Longer than after a cut: whoever is refused should not be the first to come back.
        let retry = random_ms(self.sse.retry_max, 3 * self.sse.retry_max);
        Refusal::Later {
            why,
            retry: Duration::from_millis(u64::from(retry)),
            cursor: last_event_id.and_then(|text| text.parse::<EventId>().ok()),
            as_status: self.sse.refuse_with == config::RefuseWith::Status,
            headers: Box::default(),
        }
    }
}

/// Changes both at once, which a request lends only one after the other.
fn in_target_and_headers<B>(request: &mut Request<B>, act: impl FnOnce(&mut Uri, &mut HeaderMap)) {
    let mut uri = std::mem::take(request.uri_mut());
    act(&mut uri, request.headers_mut());
    *request.uri_mut() = uri;
}

/// The id that the client has last seen: the header, or the query for clients that cannot set one. Empty = none.
fn last_event_id<'a>(
    request: &'a Parts,
    query: &'a StreamQuery<'_>,
) -> Result<Option<&'a str>, BadStreamRequest> {
    let mut headers = request.headers.get_all(LAST_EVENT_ID).iter();
    if let Some(first) = headers.next() {
        if headers.next().is_some() {
            return Err(BadStreamRequest::Repeated("Last-Event-ID"));
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
        _ => Err(BadStreamRequest::Repeated("lastEventId")),
    }
}

/// How many of its topics' last events a fresh stream asks for: at most `max`.
fn history(query: &StreamQuery<'_>, max: usize) -> Result<usize, BadStreamRequest> {
    match query.all("history")[..] {
        [] => Ok(0),
        [one] => one.parse().map(|count: usize| count.min(max)).map_err(|_| BadStreamRequest::History),
        _ => Err(BadStreamRequest::Repeated("history")),
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

/// A random number of milliseconds between two times.
fn random_ms(min: Duration, max: Duration) -> u32 {
    u32::try_from(random_between(min, max).as_millis()).unwrap_or(u32::MAX)
}
