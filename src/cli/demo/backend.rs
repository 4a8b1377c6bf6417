//! The demo's own backend: what an application behind sidestream does, and the demo's acts.
//!
//! It serves the page, takes what the page sends and publishes it. It must not know the daemon from inside: what it
//! wants of it, it asks as any backend does. The acts are for the page itself: no other site may cause them.

use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tracing::debug;

use crate::cli::demo::chat::{NewMark, NewMessage, Person, Typing};
use crate::cli::demo::daemon_api::DaemonApi;
use crate::cli::demo::network::{DemoNetwork, LineState};
use crate::cli::demo::page;
use crate::cli::demo::readers::Load;
use crate::cli::error::Error;
use crate::config::Secret;
use crate::server::ServeConnection;
use crate::shutdown::Drain;

/// Longer than the proxy keeps an idle connection.
const IDLE: Duration = Duration::from_secs(75);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 16 << 10;
/// How many numbered events a burst has, and what each carries so that a slow line has something to do.
const BURST: u32 = 300;
const BALLAST: usize = 300;

pub(super) struct DemoBackend {
    pub(super) api: Arc<DaemonApi>,
    pub(super) network: Arc<DemoNetwork>,
    pub(super) load: Arc<Load>,
    /// Asks for the daemon to be stopped and started again.
    pub(super) restarts: mpsc::Sender<()>,
    /// What the page shows of where it is, and of the key.
    pub(super) about: Value,
    pub(super) drain: Drain,
}

/// What is to become of a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineAct {
    reader: Person,
    cut: bool,
    slow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadAct {
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoWords {}

type DemoResponse = Response<Full<Bytes>>;

/// Where everything is, as the page shows it.
pub(super) fn about(public: SocketAddr, internal: SocketAddr, key: &Secret) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "public": format!("http://{public}"),
        "internal": format!("http://{internal}"),
        "key": key.expose(),
    })
}

impl DemoBackend {
    async fn answer(&self, request: Request<Incoming>) -> DemoResponse {
        if !is_own_host(request.headers()) {
            return sentence(
                StatusCode::MISDIRECTED_REQUEST,
                "the demo answers to an address, or to localhost",
            );
        }
        let path = request.uri().path();
        match request.method() {
            &Method::GET | &Method::HEAD if path == "/api/state" => self.state().await,
            &Method::GET | &Method::HEAD => match page::file(path) {
                Some(file) => file.answer(request.headers()),
                None => sentence(StatusCode::NOT_FOUND, "the demo has no such path"),
            },
            &Method::POST if is_act(path) => match self.act(request).await {
                Ok(done) => json_answer(StatusCode::OK, done.to_string()),
                Err(refusal) => refusal,
            },
            _ if is_act(path) => not_allowed("POST"),
            _ => not_allowed("GET, HEAD"),
        }
    }

    async fn state(&self) -> DemoResponse {
        let mut state = self.about.clone();
        // Presence may be asked for while the daemon starts; the page asks again.
        state["online"] = self.api.online().await.unwrap_or(Value::Null);
        state["dashboard"] = self.api.has_dashboard().await.into();
        state["loading"] = self.load.is_running().into();
        for reader in Person::ALL {
            state["lines"][reader.user()] = json!(self.network.state(reader));
        }
        json_answer(StatusCode::OK, state.to_string())
    }

    /// What the page asks for; the answer is the daemon's where something is published.
    async fn act(&self, request: Request<Incoming>) -> Result<Value, DemoResponse> {
        if let Some(refusal) = refuse_others(request.headers()) {
            return Err(refusal);
        }
        let path = request.uri().path().to_owned();
        let body = request.into_body();
        match &*path {
            "/api/messages" => {
                let event = read::<NewMessage>(body).await?.event();
                self.publish(event.map_err(|say| sentence(StatusCode::BAD_REQUEST, say))?).await
            }
            "/api/typing" => self.publish(read::<Typing>(body).await?.event()).await,
            "/api/marks" => self.publish(read::<NewMark>(body).await?.event()).await,
            "/api/lines" => {
                let LineAct { reader, cut, slow } = read(body).await?;
                self.network.put(reader, LineState { cut, slow });
                Ok(json!(self.network.state(reader)))
            }
            "/api/burst" => {
                read::<NoWords>(body).await?;
                let ballast = "·".repeat(BALLAST / 2);
                let events = (1..=BURST).map(|n| {
                    json!({ "topic": "chat", "event": "tick", "data": { "n": n, "of": BURST, "ballast": ballast }, "ttl": 60 })
                });
                self.publish(events.collect()).await
            }
            "/api/behind" => {
                let LineAct { reader, .. } = read(body).await?;
                let behind = self.api.behind(reader).await.map_err(not_done)?;
                Ok(json!({ "behind": behind }))
            }
            "/api/load" => {
                let LoadAct { on } = read(body).await?;
                self.load(on);
                Ok(json!({ "loading": on }))
            }
            _ => {
                read::<NoWords>(body).await?;
                // One that waits already is as good.
                let _ = self.restarts.try_send(());
                Ok(json!({ "restarting": true }))
            }
        }
    }

    fn load(&self, on: bool) {
        if on {
            let load = Arc::clone(&self.load);
            let drain = self.drain.clone();
            self.drain.spawn(async move {
                tokio::select! {
                    () = drain.started() => load.stop(),
                    _ = load.run() => {}
                }
            });
        } else {
            self.load.stop();
        }
    }

    async fn publish(&self, event: Value) -> Result<Value, DemoResponse> {
        self.api.publish(&event).await.map_err(not_done)
    }
}

const ACTS: [&str; 7] =
    ["/api/messages", "/api/typing", "/api/marks", "/api/lines", "/api/burst", "/api/load", "/api/restart"];

fn is_act(path: &str) -> bool {
    ACTS.contains(&path) || path == "/api/behind"
}

fn not_done(error: Error) -> DemoResponse {
    match error {
        Error::Refused { status: StatusCode::BAD_REQUEST, say, .. } => {
            sentence(StatusCode::BAD_REQUEST, &say)
        }
        error => sentence(StatusCode::BAD_GATEWAY, &format!("not published: {error}")),
    }
}

impl ServeConnection for DemoBackend {
    async fn connection(self: Arc<Self>, socket: TcpStream, _: SocketAddr) {
        let service = {
            let backend = Arc::clone(&self);
            service_fn(move |request| {
                let backend = Arc::clone(&backend);
                async move { Ok::<_, std::convert::Infallible>(backend.answer(request).await) }
            })
        };
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(socket), service);
        let mut serving = pin!(serving);
        let result = tokio::select! {
            result = serving.as_mut() => result,
            () = self.drain.started() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = result {
            debug!(%error, cause = error.source(), "a connection of the demo's backend ended with an error");
        }
    }
}

/// The whole body of an act, bounded in size and time.
async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, DemoResponse> {
    let bad = |say: &str| sentence(StatusCode::BAD_REQUEST, say);
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => serde_json::from_slice(&body.to_bytes())
            .map_err(|error| bad(&format!("not what the page sends: {error}"))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(sentence(StatusCode::PAYLOAD_TOO_LARGE, "that is too long"))
        }
        Ok(Err(_)) => Err(bad("the body broke off")),
        Err(_) => Err(sentence(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

/// Whether a request names this machine by its address or as `localhost`: a site whose name is made to lead here is not
/// shown the key.
fn is_own_host(headers: &HeaderMap) -> bool {
    let Some(Ok(host)) = headers.get(HOST).map(HeaderValue::to_str) else { return false };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.starts_with('[')
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok()
}

/// The refusal of what a page of another site may have sent.
fn refuse_others(headers: &HeaderMap) -> Option<DemoResponse> {
    let text = |name: &http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(&CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        // Such a body a page of another site can send only after asking, and nobody answers that.
        return Some(sentence(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
    }
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let own = match (text(&ORIGIN), text(&HOST)) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, own)| own == host),
        _ => true,
    };
    if !own || site.is_some_and(|site| site != "same-origin") {
        return Some(sentence(StatusCode::FORBIDDEN, "only the demo's own page may do this"));
    }
    None
}

fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> DemoResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn sentence(status: StatusCode, error: &str) -> DemoResponse {
    json_answer(status, json!({ "error": error }).to_string())
}

fn not_allowed(allowed: &'static str) -> DemoResponse {
    let mut response = sentence(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
