//! What the public listener asks: which requests are about a recorded answer, and what their answers are.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue,
    SET_COOKIE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::auth::{Caller, Denied, Gates, RequestOrigin, Revocations};
use crate::capture::anywhere::{Claimed, FoundRecording, StopOutcome};
use crate::capture::blocks::BlockEdges;
use crate::capture::identity;
use crate::capture::identity::KnownSoFar;
use crate::capture::owner::Owner;
use crate::capture::path::PathValues;
use crate::capture::position::{ReturnPosition, last_event_id};
use crate::capture::pump::{Begun, RecordingPump};
use crate::capture::reader::{ReaderSeat, RecordedBody};
use crate::capture::recording::{RecordedHead, Recording};
use crate::capture::recordings::{ListedRecording, Recordings};
use crate::capture::route::{CaptureMatch, CaptureRoute, CaptureWay, is_id};
use crate::config;
use crate::config::CapturePreset;
use crate::proxy::{Forwarded, PeekedBody, Proxy, ProxyBody, ProxyError};
use crate::shutdown::Drain;
use crate::telemetry;

/// By which name `?stream=` knows an answer.
const STREAM_ID: HeaderName = HeaderName::from_static("sidestream-stream");
/// By which name clients of the workflow transport know it.
const RUN_ID: HeaderName = HeaderName::from_static("x-workflow-run-id");
/// How far the answer has come, by which they count when they come back to its newest events.
const TAIL_INDEX: HeaderName = HeaderName::from_static("x-workflow-stream-tail-index");

/// How far another instance's recording may be behind here.
const LAG: Duration = Duration::from_millis(500);

/// The configured routes, and the answers that are recorded.
pub struct Captures {
    routes: Vec<Arc<CaptureRoute>>,
    recordings: Arc<Recordings>,
    proxy: Proxy,
    gates: Arc<Gates>,
    revocations: Arc<Revocations>,
    /// How long a client may be silent within its request's body.
    patience: Duration,
    drain: Drain,
}

/// What a request gets.
pub enum CaptureAnswer {
    /// The backend's answer, which is not recorded.
    Passed(Response<ProxyBody>),
    /// A recorded one, from some place of it.
    Recorded(Response<RecordedBody>),
    /// There is nothing to come back to, or nothing more.
    Nothing,
    /// The same, for clients that take an answer without a body for a mistake.
    EmptyStream,
    /// The answer is stopped.
    Stopped,
    /// As many as may read the answer do.
    TooManyReaders,
    /// Whether there is something to come back to is known to other instances, and they cannot be asked.
    NotNow,
    Denied(Denied),
    Failed(ProxyError),
}

impl Captures {
    /// None where nothing is to be recorded. Tasks end with the drain, and when their readers have read what there is.
    pub fn new(
        config: &config::Config,
        recordings: &Arc<Recordings>,
        proxy: Proxy,
        (gates, revocations): (Arc<Gates>, Arc<Revocations>),
        drain: Drain,
    ) -> Option<Arc<Self>> {
        if config.captures.is_empty() {
            return None;
        }
        let routes = config.captures.iter().map(|capture| Arc::new(CaptureRoute::new(capture))).collect();
        let (recordings, patience) = (Arc::clone(recordings), config.proxy.head_timeout);
        Some(Arc::new(Self { routes, recordings, proxy, gates, revocations, patience, drain }))
    }

    /// What a request asks, if it is about a recorded answer.
    pub fn find(&self, method: &Method, uri: &Uri) -> Option<CaptureMatch> {
        let found = |route: &Arc<CaptureRoute>| {
            Some(CaptureMatch { way: route.way(method, uri)?, route: Arc::clone(route) })
        };
        self.routes.iter().find_map(found)
    }

    /// Whether a preflight is for a request that comes back to an answer or stops one. Others are the backend's.
    pub fn is_asked_before(&self, preflight: &Request<Incoming>) -> bool {
        let wanted = preflight.headers().get(ACCESS_CONTROL_REQUEST_METHOD);
        let wanted = wanted.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let is_for = |method| self.routes.iter().any(|route| route.is_asked_before(&method, preflight.uri()));
        *preflight.method() == Method::OPTIONS && wanted.is_some_and(is_for)
    }

    /// The answer to a request that [`find`](Self::find) has found, and what whoever verified the caller wants to be
    /// set on it. Dropping the future leaves an answer that has been asked for to what the route says of readers who
    /// leave.
    pub async fn answer(
        &self,
        found: CaptureMatch,
        request: Request<Incoming>,
        origin: RequestOrigin,
        caller: &Forwarded,
    ) -> (CaptureAnswer, HeaderMap) {
        let CaptureMatch { route, way } = found;
        let (head, body) = request.into_parts();
        let (owner, headers) = match self.owner(&route, &head, origin).await {
            Ok(verified) => verified,
            Err(denied) => return (CaptureAnswer::Denied(denied), HeaderMap::new()),
        };
        let goes_on = route.preset == CapturePreset::OpenAi;
        let answer = match way {
            CaptureWay::Begin(values) => self.begin(&route, values, (head, body), caller, &owner).await,
            CaptureWay::Return { name, at_own_path } => {
                let located = self.recordings.locate(&route, &name, &owner, &self.drain).await;
                // The AI SDK has what has ended already, and would show it twice.
                let is_shown = |one: &Arc<Recording>| {
                    let ended = one.standing().ended;
                    !(at_own_path
                        && route.preset == CapturePreset::AiSdk
                        && ended.is_some_and(|how| how.is_orderly()))
                };
                match located {
                    FoundRecording::Here(recording) if is_shown(&recording) => {
                        let position = ReturnPosition::of(head.uri.query(), &head.headers);
                        match self.resume(&route, &recording, &position).await {
                            // It may have been kept there, or gone on after it broke off here.
                            CaptureAnswer::Nothing if goes_on => self.pass(head, body, caller).await,
                            answer => answer,
                        }
                    }
                    _ if goes_on => self.pass(head, body, caller).await,
                    FoundRecording::Unknown => CaptureAnswer::NotNow,
                    FoundRecording::Here(_) | FoundRecording::Nothing => CaptureAnswer::Nothing,
                }
            }
            CaptureWay::Stop(name) => {
                let stopped = self.recordings.stop_named(&route.text, &name, &owner).await;
                match stopped {
                    _ if goes_on => self.pass(head, body, caller).await,
                    StopOutcome::Stopped => CaptureAnswer::Stopped,
                    StopOutcome::Nothing => CaptureAnswer::Nothing,
                    StopOutcome::Unknown => CaptureAnswer::NotNow,
                }
            }
        };
        (answer, headers)
    }

    async fn owner(
        &self,
        route: &CaptureRoute,
        head: &Parts,
        origin: RequestOrigin,
    ) -> Result<(Owner, HeaderMap), Denied> {
        let by_credentials =
            || Owner::by_credentials(&head.headers, &route.owner_headers, &route.owner_cookies);
        let Some(auth) = route.auth.verifier() else { return Ok((by_credentials(), HeaderMap::new())) };
        let verified = self.gates.verify(auth, Caller { request: head, origin, asked: &[] }).await?;
        let Some(verified) = verified else { return Ok((by_credentials(), HeaderMap::new())) };
        self.revocations.check(&verified.grant, &[])?;
        let owner = Owner::by_grant(&verified.grant).unwrap_or_else(by_credentials);
        Ok((owner, verified.headers))
    }

    async fn pass(&self, head: Parts, body: Incoming, caller: &Forwarded) -> CaptureAnswer {
        match self.proxy.forward(Request::from_parts(head, body), caller).await {
            Ok(response) => CaptureAnswer::Passed(response),
            Err(error) => CaptureAnswer::Failed(error),
        }
    }

    async fn begin(
        &self,
        route: &Arc<CaptureRoute>,
        values: PathValues,
        (mut head, body): (Parts, Incoming),
        caller: &Forwarded,
        owner: &Owner,
    ) -> CaptureAnswer {
        let mut body = PeekedBody::new(body);
        if identity::needs(&route.identities, "body") {
            // hyper has told the client to go on.
            head.headers.remove(EXPECT);
            if let Err(error) = self.look(&mut body, route).await {
                return CaptureAnswer::Failed(error);
            }
        }
        let seen = &body.seen()[..body.seen().len().min(route.max_look)];
        let known =
            KnownSoFar { head: Some(&head), path: Some(&values), body: seen, ..KnownSoFar::default() };
        let name = identity::name(&route.identities, known);
        if let Some(answer) = self.again(route, &head, name.as_deref(), owner).await {
            return answer;
        }
        let recording = self.recordings.begin(&route.text, owner, route.max);
        let seat = recording.as_ref().and_then(ReaderSeat::take);
        let (Some(recording), Some(seat)) = (recording, seat) else {
            let labels = [("route", route.text.to_string()), ("outcome", "full".to_owned())];
            metrics::counter!(telemetry::CAPTURES, &labels).increment(1);
            return match self.proxy.forward(Request::from_parts(head, body), caller).await {
                Ok(response) => CaptureAnswer::Passed(response),
                Err(error) => CaptureAnswer::Failed(error),
            };
        };
        let listed = ListedRecording::new(&self.recordings, &recording);
        if let Some(other) = self.named(route, &recording, &head, name.as_deref(), owner).await {
            return self.resume(route, &other, &ReturnPosition::Start).await;
        }
        head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (tell, told) = oneshot::channel();
        let pump = RecordingPump {
            listed,
            route: Arc::clone(route),
            proxy: self.proxy.clone(),
            drain: self.drain.clone(),
        };
        self.drain.spawn(pump.run(Request::from_parts(head, body), caller.clone(), tell));
        match told.await {
            Ok(Ok(Begun::Recorded(head))) => {
                let ids = route.adds_ids.then(BlockEdges::new);
                CaptureAnswer::Recorded(response(route, &recording, &head, RecordedBody::new(seat, 0, ids)))
            }
            Ok(Ok(Begun::Passed(response))) => CaptureAnswer::Passed(*response),
            Ok(Err(error)) => CaptureAnswer::Failed(error),
            // It was stopped before the backend answered.
            Err(_) => CaptureAnswer::Nothing,
        }
    }

    /// Names a recording, and makes it known to other instances. Another one instead, if one of that name is under way
    /// there that the request may as well read.
    async fn named(
        &self,
        route: &CaptureRoute,
        recording: &Arc<Recording>,
        head: &Parts,
        name: Option<&str>,
        owner: &Owner,
    ) -> Option<Arc<Recording>> {
        let copy = self.recordings.copy(recording, route.keep, &self.drain);
        let mut claimed = false;
        if let Some(name) = name {
            if head.method == Method::GET && last_event_id(&head.headers).is_none() {
                match self.recordings.claim(recording, route, name, owner, &self.drain).await {
                    // One that came to nothing is asked for again.
                    Claimed::Joined(other) if other.head().await.is_some() => return Some(other),
                    Claimed::Ours => claimed = true,
                    Claimed::Joined(_) | Claimed::Unasked => {}
                }
            }
            self.recordings.name(recording, name);
        }
        copy.begin(claimed);
        None
    }

    /// Reads the beginning of a request's body, as far as it is looked at.
    async fn look(&self, body: &mut PeekedBody, route: &CaptureRoute) -> Result<(), ProxyError> {
        while body.seen().len() < route.max_look {
            let more = timeout(self.patience, body.peek()).await;
            let more = more.map_err(|_| ProxyError::ClientStalled(self.patience))?;
            if !more.map_err(ProxyError::ClientLeft)? {
                break;
            }
        }
        Ok(())
    }

    /// The answer to a request that comes for an answer a second time; None when it is a new one.
    async fn again(
        &self,
        route: &Arc<CaptureRoute>,
        head: &Parts,
        name: Option<&str>,
        owner: &Owner,
    ) -> Option<CaptureAnswer> {
        let last = last_event_id(&head.headers);
        let at_the_end = |answer| match answer {
            CaptureAnswer::Nothing if route.preset == CapturePreset::TanStack => CaptureAnswer::EmptyStream,
            answer => answer,
        };
        let of_id = last.and_then(|id| id.rsplit_once('-')).map(|(id, _)| id).filter(|id| is_id(id));
        if let Some(id) = of_id {
            return Some(match self.recordings.locate(route, id, owner, &self.drain).await {
                FoundRecording::Here(recording) => {
                    let position = ReturnPosition::of(None, &head.headers);
                    at_the_end(self.resume(route, &recording, &position).await)
                }
                FoundRecording::Nothing => at_the_end(CaptureAnswer::Nothing),
                FoundRecording::Unknown => CaptureAnswer::NotNow,
            });
        }
        if last.is_none() {
            // To read twice what is under way is what asking twice without a change means.
            let found = name.and_then(|name| self.recordings.find(&route.text, name, owner));
            let joined = found.filter(|one| head.method == Method::GET && one.is_running())?;
            // One that came to nothing is asked for again.
            joined.head().await?;
            return Some(self.resume(route, &joined, &ReturnPosition::Start).await);
        }
        let located = match name {
            Some(name) => self.recordings.locate(route, name, owner, &self.drain).await,
            None => FoundRecording::Nothing,
        };
        match located {
            FoundRecording::Here(recording) => {
                let position = ReturnPosition::of(None, &head.headers);
                Some(at_the_end(self.resume(route, &recording, &position).await))
            }
            FoundRecording::Nothing if route.preset == CapturePreset::TanStack => {
                Some(CaptureAnswer::EmptyStream)
            }
            FoundRecording::Unknown if route.preset == CapturePreset::TanStack => Some(CaptureAnswer::NotNow),
            // An id of the backend's own, which may know what to do with it.
            FoundRecording::Nothing | FoundRecording::Unknown => None,
        }
    }

    async fn resume(
        &self,
        route: &Arc<CaptureRoute>,
        recording: &Arc<Recording>,
        position: &ReturnPosition,
    ) -> CaptureAnswer {
        let Some(seat) = ReaderSeat::take(recording) else { return CaptureAnswer::TooManyReaders };
        let Some(head) = recording.head().await else { return CaptureAnswer::Nothing };
        let mut kept = recording.kept();
        let until = Instant::now() + LAG;
        while recording.holder.is_some() && position.is_ahead(&recording.id, &kept) && Instant::now() < until
        {
            sleep(LAG / 10).await;
            kept = recording.kept();
        }
        let end = kept.base + kept.text.len() as u64;
        let place = position.place(&recording.id, &kept);
        let Some(place) = place.filter(|place| kept.ended.is_none() || place.at < end) else {
            return CaptureAnswer::Nothing;
        };
        metrics::counter!(telemetry::CAPTURE_RESUMES, "route" => route.text.to_string()).increment(1);
        let ids = route.adds_ids.then_some(place.edges);
        let mut response = response(route, recording, &head, RecordedBody::new(seat, place.at, ids));
        if route.preset == CapturePreset::Workflow
            && let Some(tail) = place.tail
        {
            response.headers_mut().insert(TAIL_INDEX, tail.into());
        }
        response.headers_mut().remove(SET_COOKIE);
        response.headers_mut().remove(CONTENT_LENGTH);
        CaptureAnswer::Recorded(response)
    }
}

fn response(
    route: &CaptureRoute,
    recording: &Recording,
    head: &RecordedHead,
    body: RecordedBody,
) -> Response<RecordedBody> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers.clone();
    let headers: &mut HeaderMap = response.headers_mut();
    if route.adds_ids {
        headers.remove(CONTENT_LENGTH);
    }
    let id = HeaderValue::from_str(&recording.id).expect("an id is hexadecimal");
    if route.preset == CapturePreset::Workflow && !headers.contains_key(RUN_ID) {
        headers.insert(RUN_ID, id.clone());
    }
    headers.insert(STREAM_ID, id);
    response
}
