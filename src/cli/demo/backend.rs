//! The demo's own backend: what an application behind sidestream does, and nothing that it would not do.
//!
//! It serves a page, takes what the page sends and publishes it. It must not know the daemon from inside.

use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tracing::debug;

use crate::cli::client;
use crate::cli::client::Url;
use crate::cli::error::Error;
use crate::config::Secret;
use crate::server::ServeConnection;
use crate::shutdown::Drain;

const PAGE: &str = include_str!("page.html");
/// The page loads nothing from anywhere.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Longer than the proxy keeps an idle connection.
const IDLE: Duration = Duration::from_secs(75);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 16 << 10;
const MAX_ANSWER: usize = 64 << 10;

/// The name under which what the page sends is published.
const EVENT: &str = "message:new";

pub(super) struct DemoBackend {
    publish: Url,
    authorization: HeaderValue,
    drain: Drain,
}

/// What the page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatMessage {
    topic: String,
    text: String,
    /// The client id of the sender's stream, if it is open.
    from: Option<String>,
}

type DemoResponse = Response<Full<Bytes>>;

impl DemoBackend {
    /// Publishes to `internal` with `key`.
    pub(super) fn new(internal: SocketAddr, key: &Secret, drain: Drain) -> Self {
        let publish = format!("http://{internal}/publish").parse().expect("an address makes a URL");
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .expect("a key of our own fits into a header");
        authorization.set_sensitive(true);
        Self { publish, authorization, drain }
    }

    async fn answer(&self, request: Request<Incoming>) -> DemoResponse {
        match (request.uri().path(), request.method()) {
            ("/", &Method::GET | &Method::HEAD) => page(),
            ("/", _) => not_allowed("GET, HEAD"),
            ("/send", &Method::POST) => self.send(request).await.unwrap_or_else(|refusal| refusal),
            ("/send", _) => not_allowed("POST"),
            _ => sentence(StatusCode::NOT_FOUND, "there is only / and /send"),
        }
    }

    /// Publishes what the page sends. The answer is the daemon's.
    async fn send(&self, request: Request<Incoming>) -> Result<DemoResponse, DemoResponse> {
        // A page of another site can send such a body only after asking, and nobody answers it.
        if !is_json(request.headers()) {
            return Err(sentence(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
        }
        let said = read(request.into_body()).await?;
        if said.text.trim().is_empty() {
            return Err(sentence(StatusCode::BAD_REQUEST, "there is no text"));
        }
        let event = json!({
            "topic": said.topic,
            "event": EVENT,
            "data": { "text": said.text, "from": said.from },
        });
        match self.publish(event.to_string()).await {
            Ok(receipt) => Ok(json_answer(StatusCode::OK, receipt)),
            Err(Error::Refused { status: StatusCode::BAD_REQUEST, say, .. }) => {
                Err(sentence(StatusCode::BAD_REQUEST, &say))
            }
            Err(error) => Err(sentence(StatusCode::BAD_GATEWAY, &format!("not published: {error}"))),
        }
    }

    async fn publish(&self, event: String) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(Full::from(event));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut answer = client::send(&self.publish, request).await?;
        if answer.head.status == StatusCode::OK {
            answer.whole(MAX_ANSWER).await
        } else {
            Err(answer.refusal().await)
        }
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

/// The whole body of `/send`, bounded in size and time.
async fn read(body: Incoming) -> Result<ChatMessage, DemoResponse> {
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

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn page() -> DemoResponse {
    let mut response = Response::new(Full::from(PAGE));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
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
