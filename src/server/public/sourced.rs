//! Requests for streams that are read of the application: joined to the one that is read for all, or passed on.

use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::debug;

use crate::auth::Denied;
use crate::config::{SourceKind, StreamSource};
use crate::server::net::takeover::SocketTaken;
use crate::server::public::service::{Public, has_item, is_for_the_backend};
use crate::server::public::transport::ConnectionContext;
use crate::server::respond::ResponseBody;
use crate::subscribe::{Admission, Judged, Refusal, Route, SourceHold, SourceStart};
use crate::telemetry;
use crate::upstream::{
    ReaderStart, SharedRequest, SharedRequestParts, Unshared, UpstreamCaller, UpstreamJoin, UpstreamReader,
    identify,
};

/// A route, and the application's streams that are read for it.
#[derive(Clone, Copy)]
struct SourcedRoute<'a> {
    route: &'a Route<'a>,
    source: &'a Arc<StreamSource>,
}

/// What becomes of a request for such a stream; None when it goes to the application, and its answer is the client's.
type Decided = Option<Result<Admission, Refusal>>;

impl Public {
    /// A request on the path of a route with a source.
    pub(super) async fn answer_sourced(
        &self,
        route: &Route<'_>,
        source: &Arc<StreamSource>,
        request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        let sourced = SourcedRoute { route, source };
        match *request.method() {
            Method::GET if is_for_a_stream(source, request.headers()) => {}
            Method::OPTIONS if let Some(answer) = self.cors.preflight(request.headers()) => {
                return Ok(answer.map(ResponseBody::Full));
            }
            _ => return Ok(self.pass_on(sourced, request, connection).await),
        }
        let (parts, body) = request.into_parts();
        let client = self.origin(&parts.headers, connection).address;
        match self.decide_sourced(sourced, &parts, &body, connection).await {
            Some(opened) => self.opened(opened, client, (&parts, &body), connection),
            None => Ok(self.pass_on(sourced, Request::from_parts(parts, body), connection).await),
        }
    }

    async fn decide_sourced(
        &self,
        sourced: SourcedRoute<'_>,
        parts: &Parts,
        body: &Incoming,
        connection: &ConnectionContext,
    ) -> Decided {
        let SourcedRoute { route, source } = sourced;
        if route.verifies() && !self.admits(parts, connection) {
            return Some(Err(self.streams.turn_away(Denied::OriginNotAllowed)));
        }
        // Asked for every caller, whoever else hears the stream already; and before the application sees the request.
        let origin = self.origin(&parts.headers, connection);
        let (judged, last_event_id) = match self.streams.judge_sourced(route, parts, origin).await {
            Ok(judged) => judged,
            Err(refusal) => return Some(Err(refusal)),
        };
        let request = match self.shared_request(sourced, parts, &judged, connection) {
            Ok(request) if body.is_end_stream() => request,
            Ok(_) => return alone(route, Some(Unshared::Body)),
            Err(why) => return alone(route, Some(why)),
        };
        let Some(upstreams) = &self.upstreams else { return alone(route, None) };
        let asked = UpstreamCaller {
            request,
            source: Arc::clone(source),
            route: Arc::clone(route.text()),
            proxy: self.proxy.clone(),
            last_event_id: last_event_id.clone(),
            refresh_on: route.refresh_on(parts.uri.query()),
        };
        match upstreams.join(asked).await {
            UpstreamJoin::Alone(why) => alone(route, why),
            UpstreamJoin::Away => Some(Err(self.streams.source_away(route, last_event_id.as_deref()))),
            UpstreamJoin::UpstreamReader(reader) => {
                let (start, hold) = part_of(reader, last_event_id.as_deref(), source.connected);
                let start = (start, last_event_id.as_deref());
                Some(self.streams.admit_sourced(route, judged, start, hold).await)
            }
        }
    }

    /// The request that stands for this one and all that ask for the same.
    fn shared_request(
        &self,
        SourcedRoute { route, source }: SourcedRoute<'_>,
        parts: &Parts,
        judged: &Judged,
        connection: &ConnectionContext,
    ) -> Result<SharedRequest, Unshared> {
        let mut stripped = Request::from_parts(parts.clone(), ());
        self.streams.strip_token(route, &mut stripped);
        self.streams.strip_tokens(&mut stripped);
        if asks_for_authorization(source)
            && let Some(value) = parts.headers.get(AUTHORIZATION)
        {
            // A token that is for the application as well.
            stripped.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let (head, ()) = stripped.into_parts();
        identify(SharedRequestParts {
            source,
            route: route.text(),
            head: &head,
            verified: route.verifies(),
            user: judged.user(),
            caller: &connection.forwarded,
        })
    }

    /// Passes the client's own request on, and the answer back as it is.
    async fn pass_on(
        &self,
        SourcedRoute { route, source }: SourcedRoute<'_>,
        mut request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Response<ResponseBody> {
        if !asks_for_authorization(source) {
            self.streams.strip_token(route, &mut request);
        }
        self.prepare(&mut request, connection);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let answered = self.proxy.forward(request, &connection.forwarded).await;
        self.forwarded(answered, &method, &uri)
    }
}

/// Whether a `GET` asks for a stream. An answer that is polled is still there for those who ask for it by themselves.
fn is_for_a_stream(source: &StreamSource, headers: &HeaderMap) -> bool {
    let named = || has_item(headers, &ACCEPT, "text/event-stream");
    !is_for_the_backend(headers) && (source.kind != SourceKind::Poll || named())
}

/// Whether the application is to see who asks by `Authorization`, which may be a token for us, too.
fn asks_for_authorization(source: &StreamSource) -> bool {
    source.names(&AUTHORIZATION) || source.despite(&AUTHORIZATION)
}

/// Counts a request that goes to the application by itself.
fn alone(route: &Route<'_>, why: Option<Unshared>) -> Decided {
    let reason = why.map_or("none", Unshared::as_str);
    metrics::counter!(telemetry::UPSTREAM_UNSHARED, "reason" => reason).increment(1);
    debug!(route = &**route.text(), reason, "a stream of the application is not shared");
    None
}

/// The reader's part, and where it begins.
fn part_of(
    reader: UpstreamReader,
    last_event_id: Option<&str>,
    connected: bool,
) -> (SourceStart, SourceHold) {
    let start = match reader.start(last_event_id) {
        ReaderStart::Live => SourceStart::Live,
        ReaderStart::Since(id) => SourceStart::Since(id),
        ReaderStart::After(id) => SourceStart::After(id),
        ReaderStart::Current(id, events) => SourceStart::Current(id, events),
        ReaderStart::Lost => SourceStart::Lost,
    };
    let key = reader.key().clone();
    (start, SourceHold { key, connected, hold: Box::new(reader) })
}
