//! The internal listener's routes: `/publish`, `/healthz`, `/readyz`, `/metrics`.
//!
//! Who may publish is checked before a byte of the body is read. Every answer is JSON but the metrics; a refusal
//! says in one sentence what is wrong. Nothing here is meant for browsers, so what a page of another site sends
//! is refused. This file must not know what an event looks like.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use serde::Serialize;

use crate::auth::{BadKey, PublisherKeys};
use crate::config;
use crate::event::BadBatch;
use crate::fanout::Fanout;
use crate::health::{Health, State};
use crate::log::Log;
use crate::shutdown::Drain;
use crate::sources::{BadPublish, Publish, Relay, RelayError};
use crate::telemetry::{HTTP_REFUSED, LOG_BYTES, LOG_EVENTS, Metrics};

/// What the internal listener answers with.
pub struct Internal {
    keys: PublisherKeys,
    publish: Publish,
    max_body: u64,
    body_timeout: Duration,
    log: Arc<Log>,
    health: Health,
    metrics: Metrics,
    drain: Drain,
}

impl Internal {
    pub fn new(
        section: &config::Internal,
        log: Arc<Log>,
        fanout: Arc<Fanout>,
        relay: Option<Arc<dyn Relay>>,
        health: Health,
        metrics: Metrics,
        drain: Drain,
    ) -> Self {
        Self {
            keys: PublisherKeys::new(&section.publish_keys),
            publish: Publish::new(Arc::clone(&log), fanout, relay, section.max_batch),
            max_body: section.max_body.0,
            body_timeout: section.body_timeout,
            log,
            health,
            metrics,
            drain,
        }
    }

    /// Answers one request. Never fails: what is wrong with a request is its answer.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        self.route(&head, body).await.unwrap_or_else(|refusal| {
            metrics::counter!(HTTP_REFUSED, "listener" => "internal", "reason" => refusal.word).increment(1);
            tracing::debug!(
                status = refusal.status.as_u16(),
                reason = refusal.word,
                "internal request refused"
            );
            refusal.into_response()
        })
    }

    async fn route<B>(&self, head: &request::Parts, body: B) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if comes_from_a_page(&head.headers) {
            let say = "requests of web pages are not answered here: publish from your backend";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "browser", say));
        }
        match head.uri.path() {
            "/publish" => {
                allow(&head.method, &[Method::POST], "POST")?;
                self.publish(&head.headers, body).await
            }
            "/healthz" => {
                allow(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
                Ok(json(StatusCode::OK, &serde_json::json!({ "status": "ok" })))
            }
            "/readyz" => {
                allow(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
                Ok(self.readiness())
            }
            "/metrics" => {
                allow(&head.method, &[Method::GET, Method::HEAD], "GET, HEAD")?;
                Ok(self.render_metrics())
            }
            _ => {
                let say =
                    "nothing is here: there are POST /publish, GET /healthz, GET /readyz and GET /metrics";
                Err(Refusal::new(StatusCode::NOT_FOUND, "no_route", say))
            }
        }
    }

    async fn publish<B>(&self, headers: &HeaderMap, body: B) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.keys.check(headers).map_err(refuse_key)?;
        if headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let say = "a compressed body is not taken: send it as it is";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", say));
        }
        let key = idempotency_key(headers)?;
        let body = self.read(body).await?;
        match self.publish.publish(&body, key, is_ndjson(headers)).await {
            Ok(published) => Ok(json(StatusCode::OK, &published)),
            Err(bad) => Ok(answer_bad_publish(&bad)),
        }
    }

    /// The whole body, bounded in size and time.
    async fn read<B>(&self, body: B) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let too_large = || {
            let say = format!("the body is larger than {} bytes (internal.max_body)", self.max_body);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", say)
        };
        if body.size_hint().lower() > self.max_body {
            return Err(too_large());
        }
        let limited = Limited::new(body, usize::try_from(self.max_body).unwrap_or(usize::MAX));
        match tokio::time::timeout(self.body_timeout, limited.collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(bad)) if bad.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "body_broken", "the body broke off")),
            Err(_) => {
                let say =
                    format!("the body took longer than {:?} (internal.body_timeout)", self.body_timeout);
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", say).with(CONNECTION, "close"))
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
                (name, Standing { required: dependency.required, state, why })
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

/// The JSON of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    dependencies: BTreeMap<&'static str, Standing>,
}

#[derive(Serialize)]
struct Standing {
    required: bool,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The JSON of a refusal.
#[derive(Serialize, Default)]
struct Problem<'a> {
    error: String,
    /// Which event of several, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<usize>,
    /// Which line of an NDJSON body, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// What is known of the fate of a publish that was to be relayed: `nothing` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<&'static str>,
}

/// A request that is not answered as it wished.
struct Refusal {
    status: StatusCode,
    /// For the metric's label.
    word: &'static str,
    say: String,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    fn new(status: StatusCode, word: &'static str, say: impl Into<String>) -> Self {
        Self { status, word, say: say.into(), header: None }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = json(self.status, &Problem { error: self.say, ..Problem::default() });
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(value).expect("our own answers are JSON");
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn allow(method: &Method, allowed: &[Method], list: &'static str) -> Result<(), Refusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    let say = format!("this path takes {list}");
    Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", say).with(ALLOW, list))
}

/// Browsers say so on every request that a page of another origin makes; backends and shells send neither field.
fn comes_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(ORIGIN) || matches!(site, Some(b"cross-site" | b"same-site"))
}

fn refuse_key(bad: BadKey) -> Refusal {
    let status = match bad {
        BadKey::Off => StatusCode::FORBIDDEN,
        BadKey::Missing | BadKey::Wrong => StatusCode::UNAUTHORIZED,
    };
    let refusal = Refusal::new(status, bad.word(), bad.to_string());
    match bad {
        BadKey::Off => refusal,
        BadKey::Missing => refusal.with(WWW_AUTHENTICATE, "Bearer"),
        BadKey::Wrong => refusal.with(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let refuse = |say| Refusal::new(StatusCode::BAD_REQUEST, "idempotency_key", say);
    let mut fields = headers.get_all("idempotency-key").iter();
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

fn answer_bad_publish(bad: &BadPublish) -> Response<Full<Bytes>> {
    let error = bad.to_string();
    let mut problem = Problem { error, ..Problem::default() };
    let mut status = StatusCode::BAD_REQUEST;
    match bad {
        BadPublish::Batch(BadBatch::TooMany { .. }) => status = StatusCode::PAYLOAD_TOO_LARGE,
        BadPublish::Batch(BadBatch::Single(bad)) => problem.field = bad.field.as_deref(),
        BadPublish::Batch(BadBatch::Item { item, bad }) => {
            problem.item = Some(*item);
            problem.field = bad.field.as_deref();
        }
        BadPublish::Batch(BadBatch::Line { item, line, bad }) => {
            problem.item = Some(*item);
            problem.line = Some(*line);
            problem.field = bad.field.as_deref();
        }
        BadPublish::Batch(BadBatch::Nothing | BadBatch::NotUtf8 | BadBatch::NotJson(_))
        | BadPublish::Key(_) => {}
        BadPublish::KeysDiffer { item } => {
            problem.item = Some(*item);
            problem.field = Some("idempotency_key");
        }
        BadPublish::Relay(bad) => {
            status = StatusCode::SERVICE_UNAVAILABLE;
            problem.published = Some(match bad {
                RelayError::Down => "nothing",
                RelayError::Unknown => "unknown",
            });
        }
    }
    let mut response = json(status, &problem);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
