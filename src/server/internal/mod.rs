//! The internal listener: from a request to whoever answers it, by the list in `routes.rs`.
//!
//! Who may publish is checked before a byte of the body is read. Every answer is JSON but the metrics; a problem
//! says in one sentence what is wrong. Nothing here is meant for browsers, so what a page of another site sends
//! is refused. This file must not know what an event looks like.

mod connections;
mod history;
mod hosts;
mod openapi;
mod presence;
mod query;
mod routes;
mod tickets;
pub(super) mod topics;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauge;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing::debug;

use crate::auth::{Publisher, PublisherKeys};
use crate::config;
use crate::control::Control;
use crate::health::{Health, State};
use crate::log::Log;
use crate::publish::{Manner, Publish};
use crate::server::internal::connections::Of;
use crate::server::internal::hosts::{Hosts, comes_from_a_page};
use crate::server::internal::query::Query;
use crate::server::internal::tickets::Minting;
use crate::server::net::listen::Serve;
use crate::server::net::on_wake::Rare;
use crate::server::problem::{Problem, published, refused_key, refused_publish, revoked};
use crate::server::public::{Chain, Open};
use crate::server::respond::json;
use crate::shutdown::Drain;
use crate::telemetry::{CONNECTIONS_OPEN, HTTP_REFUSED, LOG_BYTES, LOG_EVENTS, Metrics};

/// What serves the internal listener's connections.
pub struct Internal {
    hosts: Hosts,
    pub(super) keys: PublisherKeys,
    /// Whoever sends requests over Redis.
    trusted: Arc<Publisher>,
    pub(super) minting: Option<Minting>,
    publish: Publish,
    control: Arc<Control>,
    head_timeout: Duration,
    max_body: u64,
    body_timeout: Duration,
    log: Arc<Log>,
    health: Health,
    metrics: Metrics,
    drain: Drain,
    close: Drain,
    open: Gauge,
}

/// Why a sender may do what it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Right {
    /// By the key that the request shows.
    Shown,
    /// By the way that the request came.
    Known,
}

/// What `/readyz` and `/metrics` tell of.
pub struct Standing {
    pub health: Health,
    pub metrics: Metrics,
    /// Once it has started, the daemon is not ready.
    pub drain: Drain,
}

impl Internal {
    /// `close` is the notice to end the listener's own connections; it comes after the drain, so that `/readyz`
    /// can tell of that.
    pub fn new(
        section: &config::Internal,
        keys: PublisherKeys,
        publish: Publish,
        log: Arc<Log>,
        control: Arc<Control>,
        standing: Standing,
        close: Drain,
    ) -> Self {
        Self {
            hosts: Hosts::new(&section.hosts),
            keys,
            trusted: Arc::new(Publisher::own("redis")),
            minting: None,
            publish,
            control,
            head_timeout: section.head_timeout,
            max_body: section.max_body.0,
            body_timeout: section.body_timeout,
            log,
            health: standing.health,
            metrics: standing.metrics,
            drain: standing.drain,
            close,
            open: metrics::gauge!(CONNECTIONS_OPEN, "listener" => "internal"),
        }
    }

    /// Answers a request of somebody who may do everything, whatever it presents. Never fails either.
    pub async fn answer_trusted(&self, request: Request<Bytes>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let answered = self.dispatch(&head, Full::new(body), Right::Known).await;
        answered.unwrap_or_else(Problem::into_response)
    }

    /// Answers one request. Never fails: what is wrong with a request is its answer.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        self.route(&head, body).await.unwrap_or_else(|problem| {
            metrics::counter!(HTTP_REFUSED, "listener" => "internal", "reason" => problem.word).increment(1);
            debug!(status = problem.status.as_u16(), reason = problem.word, "internal request refused");
            problem.into_response()
        })
    }

    async fn route<B>(&self, head: &request::Parts, body: B) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if !self.hosts.know(head) {
            let say =
                "this name of the host is not known: ask by the address, or add the name to internal.hosts";
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", say));
        }
        if comes_from_a_page(&head.headers) {
            let say = "requests of web pages are not answered here: publish from your backend";
            return Err(Problem::new(StatusCode::FORBIDDEN, "browser", say));
        }
        self.dispatch(head, body, Right::Shown).await
    }

    /// Finds who answers, once it is seen that the request comes from where it may.
    async fn dispatch<B>(
        &self,
        head: &request::Parts,
        body: B,
        right: Right,
    ) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if head.uri.path() == routes::PUBLISH.0 {
            allow(&head.method, routes::PUBLISH.1)?;
            return self.publish(head, body, right).await;
        }
        // Boxed: what the others need would be room, to be moved about, in every publish.
        Box::pin(self.dispatch_rare(head, body, right)).await
    }

    /// The same, for what is not asked a hundred thousand times a second.
    async fn dispatch_rare<B>(
        &self,
        head: &request::Parts,
        body: B,
        right: Right,
    ) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let path = head.uri.path();
        let Some(((template, methods), values)) = routes::find(path) else { return Err(nothing_here()) };
        if template == "/tickets" && self.minting.is_none() {
            return Err(nothing_here());
        }
        allow(&head.method, methods)?;
        let open = ["/tickets", "/healthz", "/readyz", "/metrics", "/openapi.json"];
        if right == Right::Shown && !open.contains(&template) {
            // Who may not ask is not told what is wrong with the question.
            self.keys.check(&head.headers).map_err(|bad| refused_key(&bad))?;
        }
        let query = head.uri.query();
        match (template, &values[..]) {
            ("/revoke", _) => {
                let body = self.read(body).await?;
                Ok(revoked(self.control.revoke(&body).await))
            }
            ("/tickets", _) if let Some(minting) = &self.minting => {
                self.mint(minting, &head.headers, body, right).await
            }
            ("/healthz", _) => Ok(json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))),
            ("/readyz", _) => Ok(self.readiness()),
            ("/metrics", _) => Ok(self.render_metrics()),
            ("/openapi.json", _) => Ok(openapi::answer()),
            ("/position", _) => history::position(&self.publish, query).await,
            ("/topics/{topic}/events", [topic]) => history::events(&self.log, topic, query).await,
            ("/connections", _) => self.connections(head, Of::Chosen).await,
            ("/connections/count", _) => self.connections(head, Of::Count).await,
            ("/connections/{client}", [client]) => self.connections(head, Of::Client(client)).await,
            ("/users/{user}/connections", [user]) => self.connections(head, Of::User(user)).await,
            ("/sessions/{session}/connections", [session]) => {
                self.connections(head, Of::Session(session)).await
            }
            _ if template.starts_with("/presence") => {
                let path = presence::Path::parse(path).ok_or_else(nothing_here)??;
                let body = self.read(body).await?;
                path.answer(self.control.presence(), head, &body).await
            }
            _ => {
                let path = topics::Path::parse(path).ok_or_else(nothing_here)??;
                let body = self.read(body).await?;
                path.answer(self.control.topics(), &head.method, &body).await
            }
        }
    }

    async fn connections(&self, head: &request::Parts, of: Of<'_>) -> Result<Response<Full<Bytes>>, Problem> {
        connections::answer(&self.control, &head.method, of, head.uri.query()).await
    }

    async fn publish<B>(
        &self,
        head: &request::Parts,
        body: B,
        right: Right,
    ) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let headers = &head.headers;
        let publisher = match right {
            Right::Shown => self.keys.publisher(headers).await.map_err(|bad| refused_key(&bad))?,
            Right::Known => Arc::clone(&self.trusted),
        };
        if headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let say = "a compressed body is not taken: send it as it is";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", say));
        }
        let key = idempotency_key(headers)?;
        let mut query = Query::parse(head.uri.query())?;
        let partial = query.flag("partial")?.unwrap_or(false);
        query.end()?;
        let body = self.read(body).await?;
        let manner = Manner { key, lines: is_ndjson(headers), partial };
        match self.publish.publish(&body, manner, &publisher).await {
            Ok(done) => Ok(published(&done)),
            Err(bad) => Ok(refused_publish(&bad)),
        }
    }

    /// The whole body, bounded in size and time.
    pub(super) async fn read<B>(&self, body: B) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let too_large = || {
            let say = format!("the body is larger than {} bytes (internal.max_body)", self.max_body);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", say)
        };
        if body.size_hint().lower() > self.max_body {
            return Err(too_large());
        }
        let limited = Limited::new(body, usize::try_from(self.max_body).unwrap_or(usize::MAX));
        match tokio::time::timeout(self.body_timeout, limited.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(bad)) if bad.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "body_broken", "the body broke off")),
            Err(_) => {
                let say =
                    format!("the body took longer than {:?} (internal.body_timeout)", self.body_timeout);
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", say).with(CONNECTION, "close"))
            }
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
        let all = self.health.dependencies();
        let status = if self.drain.has_started() {
            "draining"
        } else if all.values().all(|dependency| !dependency.required || dependency.state == State::Up) {
            "ready"
        } else {
            "not ready"
        };
        let dependencies = all
            .into_iter()
            .map(|(name, dependency)| {
                let (state, why) = match dependency.state {
                    State::Unknown => ("unknown", None),
                    State::Up => ("up", None),
                    State::Down(why) => ("down", Some(why)),
                };
                (name, Dependency { required: dependency.required, state, why })
            })
            .collect();
        let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(code, &Readiness { status, dependencies })
    }

    fn render_metrics(&self) -> Response<Full<Bytes>> {
        let (events, bytes) = self.log.size();
        metrics::gauge!(LOG_EVENTS).set(events as f64);
        metrics::gauge!(LOG_BYTES).set(bytes as f64);
        let mut response = Response::new(Full::new(Bytes::from(self.metrics.render())));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

impl Serve for Internal {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let _open = Open::new(&self.open);
        let service =
            service_fn(|request| Box::pin(async { Ok::<_, Infallible>(self.answer(request).await) }));
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            // Answers are short: one piece is cheaper to write than two.
            .writev(false)
            .serve_connection(TokioIo::new(socket), service);
        let close = pin!(self.close.started());
        let close = Rare::new(close);
        let result = tokio::select! {
            biased;
            result = poll_fn(|cx| serving.poll_without_shutdown(cx)) => result,
            () = close => {
                // An idle connection ends now, a busy one after its answer.
                Pin::new(&mut serving).graceful_shutdown();
                poll_fn(|cx| serving.poll_without_shutdown(cx)).await
            }
        };
        if let Err(error) = result {
            debug!(%peer, error = %Chain(&error), "connection ended with an error");
        }
        linger(serving.into_parts().io.into_inner()).await;
    }
}

/// How long an answered peer may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// Closes so that the peer gets our answer to a body that we did not read: a socket that is closed with bytes unread
/// resets the connection, and the reset may overtake the answer.
async fn linger(mut socket: TcpStream) {
    let discard = async {
        let mut buffer = [0; 4096];
        socket.shutdown().await?;
        while socket.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever comes of it, the connection is over.
    let _ = tokio::time::timeout(LINGER, discard).await;
}

/// The JSON of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    dependencies: BTreeMap<&'static str, Dependency>,
}

#[derive(Serialize)]
struct Dependency {
    required: bool,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

fn allow(method: &Method, list: &'static str) -> Result<(), Problem> {
    if list.split(", ").any(|allowed| allowed == method.as_str()) {
        return Ok(());
    }
    let say = format!("this path takes {list}");
    Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", say).with(ALLOW, list))
}

fn nothing_here() -> Problem {
    let say = "nothing is here: GET /openapi.json says what there is";
    Problem::new(StatusCode::NOT_FOUND, "no_route", say)
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let refuse = |say| Problem::new(StatusCode::BAD_REQUEST, "idempotency_key", say);
    let mut fields = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(refuse("the header Idempotency-Key is given twice"));
    }
    str::from_utf8(field.as_bytes()).map(Some).map_err(|_| refuse("the header Idempotency-Key is not UTF-8"))
}

/// Whether the body says that it is NDJSON. Any other content type is JSON to us: curl calls everything a form.
fn is_ndjson(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"]
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
}
