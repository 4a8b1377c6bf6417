//! Opening a stream: everything that is decided before it has a socket.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Uri};

use crate::auth::{Caller, Denied, Gates, Grant, RequestOrigin, Revocations, Verified};
use crate::config;
use crate::event::{EventId, Name, is_cursor_parameter};
use crate::fanout::Fanout;
use crate::log::Log;
use crate::shutdown::Drain;
use crate::subscribe::admit::{Admission, StartRequest, random_ms};
use crate::subscribe::refusal::{BadStreamRequest, Refusal, RetryReason};
use crate::subscribe::route::{Route, Routes, StreamQuery, TemplateError, Values};
use crate::subscribe::seats::{SeatLimits, Seats};
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
    pub(super) routes: Routes,
    pub(super) gates: Arc<Gates>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) warn_before: Duration,
    pub(super) terse: bool,
    pub(super) sse: config::Sse,
    pub(super) topics_per_stream: usize,
    pub(super) history: usize,
    pub(super) seats: Arc<Seats>,
    pub(super) log: Arc<Log>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) drain: Drain,
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
    pub fn strip_tokens<B>(&self, request: &mut Request<B>) {
        in_target_and_headers(request, |uri, headers| self.gates.strip_tokens(uri, headers));
    }

    /// Decides on a request for `route` from `origin`. Changes nothing but the seat that it takes, and the ticket that
    /// it redeems.
    pub async fn open(
        &self,
        route: &Route<'_>,
        request: &Parts,
        origin: RequestOrigin,
    ) -> Result<Admission, Refusal> {
        self.decide(route, request, origin).await.inspect_err(|refusal| {
            metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.label()).increment(1);
        })
    }

    /// Takes the token out of a request on a stream's path that goes on to the backend.
    pub fn strip_token<B>(&self, route: &Route<'_>, request: &mut Request<B>) {
        in_target_and_headers(request, |uri, headers| {
            self.gates.strip_token(route.auth(), uri, headers);
        });
    }

    /// Refuses a request before it is looked into further.
    pub fn turn_away(&self, denied: Denied) -> Refusal {
        let refusal = self.denied(denied);
        metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.label()).increment(1);
        refusal
    }

    async fn decide(
        &self,
        route: &Route<'_>,
        request: &Parts,
        origin: RequestOrigin,
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
        let address = origin.address;
        let seat = self.seats.take(address).map_err(later)?;
        let verified = match self.verify(route, request, origin, &query, last_event_id).await? {
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
            return Err(Refusal::Denied {
                denied: Denied::TopicNotGranted(refused.topic.clone()),
                template: Some(refused.template.into()),
                terse: self.terse,
            });
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
        origin: RequestOrigin,
        query: &StreamQuery<'_>,
        last_event_id: Option<&str>,
    ) -> Result<Option<Verified>, Refusal> {
        let asked = match route.auth() {
            config::StreamAuth::Backend => route.topics_before(query, self.topics_per_stream),
            _ => Ok(Vec::new()),
        };
        let asked = asked.map_err(|unnamed| self.unnamed(unnamed))?;
        let verdict = self.gates.verify(route.auth(), Caller { request, origin, asked: &asked }).await;
        verdict.map_err(|denied| match denied {
            Denied::NotNow(_) => self.later(RetryReason::Unverified, last_event_id),
            denied => self.denied(denied),
        })
    }

    pub(super) fn denied(&self, denied: Denied) -> Refusal {
        Refusal::Denied { denied, template: None, terse: self.terse }
    }

    fn unnamed(&self, unnamed: TemplateError) -> Refusal {
        match unnamed {
            TemplateError::Request(bad) => bad.into(),
            TemplateError::Claim(name) => self.denied(Denied::NoClaim(name)),
        }
    }

    pub(super) fn later(&self, why: RetryReason, last_event_id: Option<&str>) -> Refusal {
        // Longer than after a cut: a client that is refused should not be the first to come back.
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
    Ok(query.last_of(is_cursor_parameter))
}

/// How many of its topics' last events a fresh stream asks for: at most `max`.
fn history(query: &StreamQuery<'_>, max: usize) -> Result<usize, BadStreamRequest> {
    match query.all("history")[..] {
        [] => Ok(0),
        [one] => one.parse().map(|count: usize| count.min(max)).map_err(|_| BadStreamRequest::History),
        _ => Err(BadStreamRequest::Repeated("history")),
    }
}
