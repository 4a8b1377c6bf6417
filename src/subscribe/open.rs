//! Opening a stream: everything that is judged before it has a socket.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use crate::auth::{Caller, Denied, Grant, RequestOrigin, Verified};
use crate::config;
use crate::event::{Name, TopicFilter};
use crate::log::Located;
use crate::subscribe::admit::{
    Admission, Admitted, AdmittedCaller, AdmittedFrom, Judged, RequestedEvents, Start,
};
use crate::subscribe::look::CompiledLook;
use crate::subscribe::native;
use crate::subscribe::pattern_seats::PatternSeat;
use crate::subscribe::refusal::{BadStreamRequest, Refusal, RetryReason};
use crate::subscribe::request::SubscribeRequest;
use crate::subscribe::route::{Route, Values};
use crate::subscribe::streams::Streams;
use crate::telemetry;

/// How long a cursor that lies ahead of the log is waited for.
pub(super) const AHEAD: Duration = Duration::from_secs(3);

impl Streams {
    /// Decides on a request for `route` from `origin`. Changes nothing but the seat that it takes, and the ticket that
    /// it redeems.
    pub async fn open(
        &self,
        route: &Route<'_>,
        head: &Parts,
        origin: RequestOrigin,
    ) -> Result<Admission, Refusal> {
        let decided = async {
            let request = native::understand(route, head, self.history)?;
            self.decide(&request, origin).await
        };
        let said = |refusal: Refusal| self.said_by(route, refusal.said_as(route.refuse_with()));
        decided.await.map_err(said).inspect_err(|refusal| {
            metrics::counter!(telemetry::STREAMS_REFUSED, "reason" => refusal.label()).increment(1);
        })
    }

    async fn decide(
        &self,
        request: &SubscribeRequest<'_>,
        origin: RequestOrigin,
    ) -> Result<Admission, Refusal> {
        let last_event_id = request.last_event_id.as_deref();
        let mut judged = self.judge(request, origin).await?;
        let start = self.start(request).await?;
        self.check_taken_back(&judged)?;
        self.leave_out_ended(&mut judged.caller.topics, &start, &judged.caller.grant)?;
        let judged = self.seated(judged, last_event_id)?;
        Ok(self.admit(Admitted { judged, start, snapshots: request.snapshot, source: None }))
    }

    /// The caller with a seat of their user's. Last of all: who gives way does so for a stream that is opened.
    pub(super) fn seated(&self, judged: Judged, last_event_id: Option<&str>) -> Result<Judged, Refusal> {
        let full = |why| self.later(why, last_event_id).with(&judged.headers);
        let caller = judged.caller;
        let (seat, replaced) = caller.seat.of(caller.grant.user.as_ref(), &caller.client).map_err(full)?;
        self.end_replaced(&replaced);
        Ok(Judged { caller: AdmittedCaller { seat, ..caller }, ..judged })
    }

    /// Whether what it was granted was taken back meanwhile.
    pub(super) fn check_taken_back(&self, judged: &Judged) -> Result<(), Refusal> {
        let AdmittedCaller { grant, topics, .. } = &judged.caller;
        self.revocations.check(grant, topics).map_err(|denied| self.denied(denied))?;
        if self.revocations.is_away(grant, topics) { Err(Refusal::Away) } else { Ok(()) }
    }

    /// Everything about a request but where its stream begins.
    pub(super) async fn judge(
        &self,
        request: &SubscribeRequest<'_>,
        origin: RequestOrigin,
    ) -> Result<Judged, Refusal> {
        let last_event_id = request.last_event_id.as_deref();
        let later = |why| self.later(why, last_event_id);
        if self.drain.has_started() {
            return Err(later(RetryReason::Draining));
        }
        if !self.log.is_loaded() {
            return Err(later(RetryReason::NotReady));
        }
        if self.memory.is_short() {
            return Err(later(RetryReason::Memory));
        }
        // What is taken from the caller while somebody is asked is not given by the answer.
        let decided = self.log.head().position;
        // Before anybody is asked: a caller that is being verified takes a seat, too.
        let address = origin.address;
        let network = self.rates.network(address);
        let per_address = self.rates.openings_per_address.take(&network, 1, &address);
        per_address.map_err(|fast| self.slower(RetryReason::RatePerAddress, fast, last_event_id))?;
        let seat = self.seats.take(network).map_err(later)?;
        let verified = match self.verify(request, origin).await? {
            Some(verified) => verified,
            None => {
                let (user, session) = request.claimed().map_err(|unnamed| self.unnamed(unnamed))?;
                Verified::new(Grant::open(user, session))
            }
        };
        let Verified { grant, claims, headers } = verified;
        let asked =
            request.topics(&claims, self.topics_per_stream).map_err(|unnamed| self.unnamed(unnamed))?;
        let refused = asked.iter().find(|asked| asked.by_request && !grant.topics.allow(&asked.topic));
        if let Some(refused) = refused {
            return Err(Refusal::Denied {
                denied: Denied::TopicNotGranted(refused.topic.name().clone()),
                template: Some(refused.template.into()),
                terse: self.terse,
            });
        }
        // A client that has to come back needs what was set, too: a ticket is redeemed once.
        if let Some(user) = &grant.user {
            let per_user = self.rates.openings_per_user.take(user, 1, &address);
            let slower = |fast| self.slower(RetryReason::RatePerUser, fast, last_event_id).with(&headers);
            per_user.map_err(slower)?;
        }
        let meta = self.meta.note(request.route, Values { query: &request.query, claims: &claims });
        let topics: Vec<TopicFilter> = asked.into_iter().map(|asked| asked.topic).collect();
        let look = request.route.look_of(Values { query: &request.query, claims: &claims });
        let patterns = self.seat_patterns(&topics, |why| later(why).with(&headers))?;
        let route = Arc::clone(request.route.text());
        let CompiledLook { history_per_topic, retractions, .. } = *request.route.look();
        let events = RequestedEvents { names: request.names.clone(), history_per_topic, retractions };
        let marks = request.head.extensions.get().cloned().unwrap_or_default();
        let about = AdmittedFrom { address, route, meta, idle: self.idle(request.route), marks };
        let client = Name::random();
        let caller = AdmittedCaller { client, grant, topics, decided, about, seat, patterns };
        Ok(Judged { caller, headers, look, events })
    }

    /// A place for the patterns among `topics`, which are as many as one stream may have.
    fn seat_patterns(
        &self,
        topics: &[TopicFilter],
        later: impl FnOnce(RetryReason) -> Refusal,
    ) -> Result<Option<PatternSeat>, Refusal> {
        let max = self.patterns_per_stream;
        if max != 0 && topics.iter().filter(|topic| topic.is_pattern()).count() > max {
            return Err(BadStreamRequest::TooManyPatterns { max }.into());
        }
        self.pattern_seats.take(topics).map_err(later)
    }

    /// Where the stream is to begin.
    async fn start(&self, request: &SubscribeRequest<'_>) -> Result<Start, Refusal> {
        let Some(text) = request.last_event_id.as_deref() else {
            return Ok(match request.since.map(|ms| self.log.since(ms)) {
                None if request.snapshot => Start::Snapshot,
                None => Start::Fresh { history: request.history },
                Some(Ok(cursor)) => Start::Since(cursor),
                Some(Err(why)) => Start::Reset { why, last_seen: None },
            });
        };
        // Another instance has what it does not, and it will, too.
        match self.log.locate_soon(text, AHEAD).await {
            Located::At(cursor) => Ok(Start::At(cursor)),
            Located::Reset(why) => Ok(Start::Reset { why, last_seen: text.parse().ok() }),
            Located::NotNow => Err(self.later(RetryReason::NotReady, Some(text))),
        }
    }

    /// The verdict on the caller; None on a route that asks nobody who they are.
    pub(super) async fn verify(
        &self,
        request: &SubscribeRequest<'_>,
        origin: RequestOrigin,
    ) -> Result<Option<Verified>, Refusal> {
        let asked = match request.route.auth() {
            config::StreamAuth::Backend => request.topics_before(self.topics_per_stream),
            _ => Ok(Vec::new()),
        };
        let asked = asked.map_err(|unnamed| self.unnamed(unnamed))?;
        let caller = Caller { request: request.head, origin, asked: &asked };
        let verified = match request.route.signed_names() {
            Some(signed) => signed.verify(request.head).map(Some),
            None => self.gates.verify(request.route.auth(), caller).await,
        };
        let mut verified = verified.map_err(|denied| match denied {
            Denied::NotNow(_) => self.later(RetryReason::Unverified, request.last_event_id.as_deref()),
            denied => self.denied(denied),
        })?;
        if let Some(Verified { grant, .. }) = verified.as_mut().filter(|_| request.route.outlives_grants()) {
            grant.until = None;
        }
        Ok(verified)
    }
}
