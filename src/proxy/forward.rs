//! A request's way to the backend and its answer's way back.
//!
//! Dropping what is made here, future or body, closes the backend's connection: a client that leaves cancels its
//! request. Nothing is sent twice that could count twice.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::config;
use crate::deadline::{DeadlinePool, PooledDeadline};
use crate::health::Reporter;
use crate::net::descriptors;
use crate::net::tls::BadTls;
use crate::proxy::body::{BodyContent, BodyDriver, ProxyBody};
use crate::proxy::connect::Connector;
use crate::proxy::error::{BadAnswer, ProxyError};
use crate::proxy::exchange::{ExchangeError, exchange};
use crate::proxy::fast_path;
use crate::proxy::fast_path::FastPathOutcome;
use crate::proxy::headers;
use crate::proxy::headers::{Forwarded, Kinds};
use crate::proxy::metrics::{ProxyMetrics, RequestMetrics};
use crate::proxy::pool::ConnectionPool;
use crate::proxy::request_body;
use crate::proxy::request_body::{BodyCount, ClientBody, RequestBody, RequestBodyState};
use crate::proxy::upstream::UpstreamConnection;
use crate::proxy::wait;
use crate::proxy::wait::{BackendPlace, WaitingRoom};
use crate::proxy::{target, tunnel};
use crate::shutdown::Drain;

/// Over how long connections that have switched protocols are closed at a stop, unless said otherwise.
const CLOSE_OVER: Duration = Duration::from_secs(10);

/// How long to wait for a descriptor before the next attempt.
const NO_DESCRIPTOR: Duration = Duration::from_millis(20);

/// Forwards requests to the one backend. Cloning shares.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
    /// The notice to close connections that have switched protocols, and over which time.
    closing: (Drain, Duration),
}

pub(super) struct Inner {
    /// What it was made of.
    settings: (config::Backend, config::Proxy),
    connector: Arc<Connector>,
    /// Where the backend is, which may be where a proxy leads that came after this one.
    place: BackendPlace,
    wait: WaitingRoom,
    pool: ConnectionPool,
    /// The `Host` of requests that bring none.
    host: HeaderValue,
    head_timeout: Duration,
    deadlines: DeadlinePool,
    keeps_case: bool,
    health: Reporter,
    metrics: Arc<ProxyMetrics>,
    drain: Drain,
}

impl Proxy {
    /// Ends its work with the drain. Requests that wait for the backend are answered when `no_waiting` starts. It comes
    /// after `before`, if there is one, once it is [`in_force`](Self::in_force).
    pub fn new(
        backend: &config::Backend,
        settings: &config::Proxy,
        health: Reporter,
        (drain, no_waiting): (Drain, Drain),
        before: Option<&Self>,
    ) -> Result<Self, BadTls> {
        let connector = Arc::new(Connector::new(backend, settings)?);
        let place = before.map_or_else(|| BackendPlace::new(&connector), |before| before.inner.place.clone());
        let host = HeaderValue::from_str(&connector.host()).unwrap_or(HeaderValue::from_static("localhost"));
        let inner = Inner {
            settings: (backend.clone(), settings.clone()),
            connector,
            wait: WaitingRoom::new(settings, place.clone(), no_waiting),
            place,
            pool: ConnectionPool::new(settings, drain.clone()),
            host,
            head_timeout: settings.head_timeout,
            deadlines: DeadlinePool::default(),
            keeps_case: settings.keep_header_case,
            health,
            metrics: Arc::new(ProxyMetrics::new()),
            drain: drain.clone(),
        };
        Ok(Self { inner: Arc::new(inner), closing: (drain, CLOSE_OVER) })
    }

    /// From now on requests that wait for the backend by earlier settings go to where this one leads.
    pub fn in_force(&self) {
        self.inner.place.move_to(&self.inner.connector);
    }

    /// Closes the connections that have switched protocols at random moments within `window` after the notice
    /// `closing`, which waits for them.
    pub fn closing_upgrades(self, closing: Drain, window: Duration) -> Self {
        Self { closing: (closing, window), ..self }
    }

    /// Whether it forwards by these settings.
    pub fn is_of(&self, backend: &config::Backend, settings: &config::Proxy) -> bool {
        let (own, how) = &self.inner.settings;
        own == backend && how == settings
    }

    /// Whether names of headers keep their capital letters.
    pub fn keeps_header_case(&self) -> bool {
        self.inner.keeps_case
    }

    /// Sends the request on and returns the head of the answer, with a body that streams. Dropping the future or the
    /// body cancels the request at the backend.
    ///
    /// An answer that switches protocols has no body: the connection is copied both ways once its head is written.
    pub async fn forward<B: ClientBody>(
        &self,
        request: Request<B>,
        caller: &Forwarded,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let inner = &*self.inner;
        let version = request.version();
        let mut metrics = RequestMetrics::new(&inner.metrics);
        let answered = match inner.outgoing(request, caller) {
            Ok(outgoing) => inner.answer(outgoing, &metrics).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => Ok(self.deliver(answer, version, metrics)),
            Err(error) => {
                metrics.failed(&error);
                Err(error)
            }
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(super) fn deliver(
        &self,
        answer: UpstreamResponse,
        to: Version,
        mut metrics: RequestMetrics,
    ) -> Response<ProxyBody> {
        let UpstreamResponse { mut response, upstream, mut body_state, client } = answer;
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            response.extensions_mut().remove::<OnUpgrade>();
            metrics.complete(status);
            if let (Some(client), Some(upstream)) = (client, upstream) {
                let (closing, window) = match &self.closing {
                    // Begun while others are being closed: the stop does not wait for it, and closes it with the
                    // listener.
                    (closing, _) if closing.has_started() => (&self.inner.drain, &Duration::ZERO),
                    (closing, window) => (closing, window),
                };
                closing.spawn(tunnel::run(client, upstream, metrics, closing.clone(), *window));
            }
            return response.map(ProxyBody::empty);
        }
        if body_state.take_if(|body_state| body_state.refuse()).is_some() {
            // The client was never asked for the body, so nothing more can be read from its connection, nor this one
            // be used again.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // On HTTP/2 the head itself says that nothing follows, and hyper leaves the length alone.
        let bare_length = status == StatusCode::NOT_MODIFIED
            && to <= Version::HTTP_11
            && response.headers().contains_key(CONTENT_LENGTH);
        let source = BodyDriver::new(upstream, body_state, &self.inner.pool, &self.inner.drain);
        response.map(|content| ProxyBody::new(content, status, bare_length, source, metrics))
    }
}

/// A request as the backend gets it.
pub(super) struct UpstreamRequest<'a> {
    request: Request<RequestBody>,
    /// It may begin a plain exchange.
    plain: bool,
    /// Who sent it, where its head does not say so yet.
    unsaid: Option<&'a Forwarded>,
    body_state: Option<Arc<RequestBodyState>>,
    /// The client's side of an upgrade that it asks for.
    client: Option<OnUpgrade>,
    /// The client takes trailers.
    trailers: bool,
}

/// The head of an answer, and what its body still needs.
pub(super) struct UpstreamResponse {
    response: Response<BodyContent>,
    /// The connection that the rest of it comes from. None when that is known to be over.
    upstream: Option<Box<UpstreamConnection>>,
    body_state: Option<Arc<RequestBodyState>>,
    client: Option<OnUpgrade>,
}

impl UpstreamRequest<'_> {
    /// One that has nothing but its head.
    pub(super) fn bare(request: Request<RequestBody>) -> Self {
        Self { request, plain: false, unsaid: None, body_state: None, client: None, trailers: false }
    }
}

impl Inner {
    pub(super) fn metrics(&self) -> &Arc<ProxyMetrics> {
        &self.metrics
    }

    /// The `Host` of requests that bring none.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    fn outgoing<'a, B: ClientBody>(
        &self,
        request: Request<B>,
        caller: &'a Forwarded,
    ) -> Result<UpstreamRequest<'a>, ProxyError> {
        let (mut head, body) = request.into_parts();
        let (kinds, version) = (Kinds::of(&head.headers), head.version);
        let expects = kinds.expect && target::expects_continue(&head.headers, head.version);
        target::prepare(&mut head, &self.host).map_err(ProxyError::BadRequest)?;
        let has_body = !body.is_end_stream();
        if kinds.framing || has_body {
            target::frame_request(&mut head.headers, has_body).map_err(ProxyError::BadRequest)?;
        }
        // On HTTP/2 they need no leave.
        let trailers = version > Version::HTTP_11 || kinds.takes_trailers(&head.headers);
        let upgrade = headers::end_hop(&mut head.headers, kinds);
        let plain =
            !self.keeps_case && !kinds.framing && upgrade.is_none() && fast_path::fits(&head) && !has_body;
        let unsaid = Some(caller).filter(|_| plain && !kinds.says_who());
        if unsaid.is_none() {
            headers::say_who(&mut head.headers, kinds, caller).map_err(|_| ProxyError::Loop)?;
        }
        let client = head.extensions.remove::<OnUpgrade>().filter(|_| upgrade.is_some());
        let count = if has_body { head.extensions.remove::<BodyCount>() } else { None };
        if !self.keeps_case {
            // With them hyper passes on how names were written.
            head.extensions.clear();
        }
        let (body, body_state) = request_body::new(body, expects, count, &self.drain);
        let mut request = Request::from_parts(head, body);
        if let Some(body_state) = body_state.clone().filter(|_| expects) {
            hyper::ext::on_informational(&mut request, move |early| {
                if early.status() == StatusCode::CONTINUE {
                    body_state.open();
                }
            });
        }
        Ok(UpstreamRequest { request, plain, unsaid, body_state, client, trailers })
    }

    pub(super) async fn answer(
        &self,
        outgoing: UpstreamRequest<'_>,
        metrics: &RequestMetrics,
    ) -> Result<UpstreamResponse, ProxyError> {
        let UpstreamRequest { mut request, plain, mut unsaid, body_state, client, trailers } = outgoing;
        let begun = metrics.begun();
        let mut slot = self.pool.take(begun);
        let mut late = self.deadlines.at(Instant::from_std(begun) + self.head_timeout);
        let (mut response, mut upstream) = loop {
            let mut upstream = match slot.take() {
                Some(upstream) => upstream,
                None => {
                    let connected = self.connect_or_take().await;
                    self.or_wait(connected, &request, &mut late).await?
                }
            };
            let reused = upstream.reused;
            upstream.forget();
            if plain && let Some(raw) = upstream.raw() {
                match raw.exchange(&request, unsaid, &mut late).await {
                    FastPathOutcome::Answer(response) => {
                        break (response.map(BodyContent::Whole), Some(upstream));
                    }
                    FastPathOutcome::Late => return Err(ProxyError::HeadTimeout(self.head_timeout)),
                    FastPathOutcome::Unsent if reused => {
                        debug!("an idle connection to the backend had ended; trying another");
                        slot = self.pool.take(begun);
                        continue;
                    }
                    FastPathOutcome::Unsent | FastPathOutcome::Hyper => {}
                }
            }
            if let Some(caller) = unsaid.take() {
                let said = headers::say_who(request.headers_mut(), Kinds::default(), caller);
                said.map_err(|_| ProxyError::Loop)?;
            }
            let spare = if reused && counts_once(&request) { Some(replica(&request)) } else { None };
            slot = Some(upstream);
            match exchange(&mut slot, request, body_state.as_ref(), self.head_timeout, &mut late).await {
                Ok(response) => {
                    if let Some(upstream) = &mut slot {
                        // Idle: all of the answer came at once.
                        upstream.was_plain(plain && fast_path::is_plain(&response) && upstream.is_idle());
                    }
                    break (response.map(BodyContent::Incoming), slot);
                }
                Err(ExchangeError::Unsent(again, error)) if reused => {
                    debug!(%error, "an idle connection to the backend had ended; trying another");
                    request = *again;
                    slot = self.pool.take(begun);
                }
                Err(ExchangeError::Unsent(_, error)) => return Err(ProxyError::from_exchange(error, false)),
                Err(ExchangeError::Sent { error, heard }) => match (spare, &error) {
                    // The backend closed an idle connection just as the request went out. To ask once more changes
                    // nothing there; on a fresh connection, so that it happens once.
                    (Some(again), ProxyError::BrokeOff(_)) if !heard => {
                        debug!(%error, "an idle connection to the backend ended under a request; trying afresh");
                        request = again;
                        let connected = self.connect().await;
                        slot = Some(self.or_wait(connected, &request, &mut late).await?);
                        late.set(Instant::now() + self.head_timeout);
                    }
                    _ => return Err(error),
                },
            }
        };
        metrics.answered();
        prepare_answer(&mut response, upstream.as_deref_mut(), client.is_some(), trailers)?;
        Ok(UpstreamResponse { response, upstream, body_state, client })
    }

    /// A new connection; while there is no descriptor to spare for one, whichever comes to rest.
    async fn connect_or_take(&self) -> Result<Box<UpstreamConnection>, ProxyError> {
        let end = Instant::now() + self.connector.timeout();
        loop {
            match self.connect().await {
                Err(ProxyError::Connect(cause))
                    if descriptors::are_used_up(&cause) && Instant::now() < end =>
                {
                    sleep(NO_DESCRIPTOR).await;
                }
                done => return done,
            }
            if let Some(rested) = self.pool.take(Instant::now().into_std()) {
                return Ok(rested);
            }
        }
    }

    /// The connection, or a later one where the backend has refused it and `request` may wait: then `late` counts
    /// from the end of that.
    async fn or_wait(
        &self,
        connected: Result<Box<UpstreamConnection>, ProxyError>,
        request: &Request<RequestBody>,
        late: &mut PooledDeadline<'_>,
    ) -> Result<Box<UpstreamConnection>, ProxyError> {
        match connected {
            Err(refused) if self.wait.is_for(&refused) => {
                let bytes = wait::size(request);
                // Boxed: it is no room in the requests that do not wait.
                let io = Box::pin(self.wait.connection(bytes, refused)).await?;
                self.health.up();
                late.set(Instant::now() + self.head_timeout);
                Ok(UpstreamConnection::new(io, self.keeps_case))
            }
            connected => connected,
        }
    }

    async fn connect(&self) -> Result<Box<UpstreamConnection>, ProxyError> {
        let connected = self.connector.connect().await.map(|io| UpstreamConnection::new(io, self.keeps_case));
        match &connected {
            Ok(_) => self.health.up(),
            // Which is not the backend's doing.
            Err(ProxyError::Connect(cause)) if descriptors::are_used_up(cause) => {}
            Err(ProxyError::Connect(cause)) => {
                self.health.down(format!("cannot connect to the backend: {cause}"))
            }
            Err(error) => self.health.down(error.to_string()),
        }
        connected
    }
}

/// Leaves in the head of an answer what is for the client. `asked` = the client asks to switch protocols; `trailers` =
/// it takes trailers.
fn prepare_answer(
    response: &mut Response<BodyContent>,
    upstream: Option<&mut UpstreamConnection>,
    asked: bool,
    trailers: bool,
) -> Result<(), ProxyError> {
    // Ours, not the backend's: hyper brings it down to what the client speaks.
    *response.version_mut() = Version::HTTP_11;
    let kinds = Kinds::of(response.headers());
    if let Some(upstream) = upstream {
        upstream.keep_for(headers::keep_alive_timeout(response.headers(), kinds));
    }
    let status = response.status();
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !asked {
        return Err(ProxyError::BadAnswer(BadAnswer::UnaskedUpgrade));
    }
    if kinds.framing {
        target::frame_answer(response.headers_mut(), status != StatusCode::NO_CONTENT)
            .map_err(ProxyError::BadAnswer)?;
    }
    let upgrading = switching || status == StatusCode::UPGRADE_REQUIRED;
    headers::to_client(response.headers_mut(), kinds, upgrading, trailers);
    Ok(())
}

/// Whether sending the request twice is the same as sending it once: RFC 9110, section 9.2.1, and no body.
fn counts_once(request: &Request<RequestBody>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && request.body().is_end_stream()
}

fn replica(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut replica = Request::new(RequestBody::empty());
    *replica.method_mut() = request.method().clone();
    *replica.uri_mut() = request.uri().clone();
    *replica.headers_mut() = request.headers().clone();
    *replica.extensions_mut() = request.extensions().clone();
    replica
}
