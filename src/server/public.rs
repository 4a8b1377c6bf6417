//! The public listener: a request is ours (an event stream) or the backend's.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Gauge;
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::cors::Cors;
use super::listen::Serve;
use super::own_topics;
use super::peer::Trusted;
use super::respond::{self, Body, STREAM_HEADERS};
use super::takeover::{self, Handover, Taken};
use crate::auth::Denied;
use crate::config;
use crate::control::Topics;
use crate::fanout::{Framing, Sink};
use crate::proxy::{Forwarded, Proxy};
use crate::shutdown::Drain;
use crate::stream::{Admission, Refusal, Route, Streams};
use crate::telemetry::{self, Throttle};

/// What serves the public listener's connections.
pub struct Public {
    streams: Arc<Streams>,
    topics: Arc<Topics>,
    proxy: Proxy,
    trusted: Trusted,
    cors: Cors,
    head_timeout: Duration,
    max_head: usize,
    drain: Drain,
    open: Gauge,
    /// Of log lines about refused streams, and about requests that could not be forwarded.
    refused: Throttle,
    unforwarded: Throttle,
}

impl Public {
    pub fn new(
        settings: &config::Public,
        cors: &config::Cors,
        streams: Arc<Streams>,
        topics: Arc<Topics>,
        proxy: Proxy,
        drain: Drain,
    ) -> Self {
        Self {
            streams,
            topics,
            proxy,
            trusted: Trusted::new(&settings.trusted_proxies),
            cors: Cors::new(cors),
            head_timeout: settings.head_timeout,
            max_head: usize::try_from(settings.max_head.0).unwrap_or(usize::MAX),
            drain,
            open: metrics::gauge!(telemetry::CONNECTIONS_OPEN, "listener" => "public"),
            refused: Throttle::default(),
            unforwarded: Throttle::default(),
        }
    }

    /// One request. `Err` when the connection is to be taken over.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        connection: &Connection,
    ) -> Result<Response<Body>, Taken> {
        if request.method() == Method::GET
            && let Some(route) = self.streams.route(request.uri().path())
        {
            let client = self.trusted.client(peer, request.headers());
            let (parts, body) = request.into_parts();
            let own = || self.trusted.origin_asked(peer, &parts, false);
            let opened = if route.verifies() && !self.cors.admits(&parts.headers, own().as_deref()) {
                Err(self.streams.turn_away(Denied::OriginNotAllowed))
            } else {
                self.streams.open(&route, &parts, client).await
            };
            return match opened {
                Ok(mut admission) => {
                    self.cors.mark(&parts.headers, &mut admission.headers);
                    // A connection that has carried a body stays with hyper: what is left of the body is its affair.
                    let bare = body.is_end_stream() && !connection.had_body.load(Ordering::Relaxed);
                    if bare && parts.version <= Version::HTTP_11 {
                        let framing =
                            if parts.version == Version::HTTP_11 { Framing::Chunked } else { Framing::Plain };
                        connection.handover.leave(admission, framing);
                        return Err(Taken);
                    }
                    Ok(self.through_hyper(admission))
                }
                Err(refusal) => {
                    self.tell(client, &refusal);
                    let mut response = respond::refused(&refusal, self.streams.shape());
                    self.cors.mark(&parts.headers, response.headers_mut());
                    Ok(response.map(Body::Full))
                }
            };
        }
        if request.method() != Method::GET
            && let Some(route) = self.streams.route(request.uri().path())
        {
            if request.method() == Method::OPTIONS
                && let Some(answer) = self.cors.preflight(request.headers())
            {
                return Ok(answer.map(Body::Full));
            }
            if request.method() == Method::POST && self.streams.names_a_client(&route, request.uri()) {
                connection.had_body.store(true, Ordering::Relaxed);
                return Ok(self.change_topics(&route, request, peer).await.map(Body::Full));
            }
            let mut uri = request.uri().clone();
            self.streams.conceal_token(&route, &mut uri, request.headers_mut());
            *request.uri_mut() = uri;
        }
        if !request.body().is_end_stream() {
            connection.had_body.store(true, Ordering::Relaxed);
        }
        let forwarded =
            Forwarded { peer: peer.ip(), trusted: self.trusted.contains(peer.ip()), https: false };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        match self.proxy.forward(request, &forwarded).await {
            Ok(response) => Ok(response.map(Body::Backend)),
            Err(error) => {
                // The path without its query, which may hold a token.
                let path = uri.path();
                if error.is_the_clients() {
                    debug!(%method, path, error = %Chain(&error), "request not forwarded");
                } else if let Some(more) = self.unforwarded.pass() {
                    warn!(%method, path, more, error = %Chain(&error), "request not forwarded");
                }
                Ok(respond::not_forwarded(&error).map(Body::Full))
            }
        }
    }

    /// What a page reads that changes the topics of its stream.
    async fn change_topics(
        &self,
        route: &Route<'_>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let client = self.trusted.client(peer, request.headers());
        let (parts, body) = request.into_parts();
        let own = self.trusted.origin_asked(peer, &parts, false);
        let mut response = if self.cors.admits(&parts.headers, own.as_deref()) {
            own_topics::change(&self.streams, &self.topics, route, &parts, client, body).await
        } else {
            respond::refused(&self.streams.turn_away(Denied::OriginNotAllowed), self.streams.shape())
        };
        self.cors.mark(&parts.headers, response.headers_mut());
        response
    }

    /// A line about a refusal that the operator may have to act on, or the client's maker.
    fn tell(&self, client: IpAddr, refusal: &Refusal) {
        let reason = refusal.word();
        match refusal {
            Refusal::Denied { .. } => {
                if let Some(more) = self.refused.pass() {
                    info!(%client, reason, more, "stream refused: {refusal}");
                }
            }
            _ => debug!(%client, reason, "stream refused: {refusal}"),
        }
    }

    /// A stream whose socket hyper keeps.
    fn through_hyper(&self, admission: Admission) -> Response<Body> {
        let (sink, body) = Sink::channel();
        let (opening, headers) = (admission.preamble.payload_bytes(), admission.headers.clone());
        self.streams.join(admission, sink, opening);
        let mut response = Response::new(Body::Stream(body));
        response.headers_mut().extend(STREAM_HEADERS);
        response.headers_mut().extend(headers);
        response
    }

    /// A stream whose socket is ours.
    fn over_socket(&self, admission: Admission, framing: Framing, socket: std::net::TcpStream) {
        let preamble = match framing {
            Framing::Chunked => admission.preamble.chunk(),
            Framing::Plain => admission.preamble.payload(),
        };
        let mut opening = response_head(framing, &admission.headers);
        opening.extend_from_slice(preamble);
        self.streams.join(admission, Sink::Socket(socket, framing), opening.into());
    }
}

/// What the requests of one connection share.
#[derive(Default)]
struct Connection {
    handover: Handover,
    had_body: AtomicBool,
}

impl Serve for Public {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let open = Open::new(&self.open);
        let connection = Arc::new(Connection::default());
        let service = {
            let (public, connection) = (Arc::clone(&self), Arc::clone(&connection));
            service_fn(move |request| {
                let (public, connection) = (Arc::clone(&public), Arc::clone(&connection));
                async move { public.answer(request, peer, &connection).await }
            })
        };
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(self.max_head.max(8192))
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let result = tokio::select! {
            result = &mut serving => result,
            () = self.drain.started() => {
                // An idle connection ends now, a busy one after its answer.
                Pin::new(&mut serving).graceful_shutdown();
                (&mut serving).await
            }
        };
        drop(open);
        if let Some((admission, framing)) = connection.handover.take() {
            let Some(parts) = serving.into_parts() else { return };
            match takeover::bare(parts.io) {
                Ok(socket) => self.over_socket(admission, framing, socket),
                Err(error) => warn!(%error, "a stream's socket could not be taken over"),
            }
        } else if let Err(error) = result {
            debug!(%peer, error = %Chain(&error), "connection ended with an error");
        }
    }
}

/// The head of a stream's response, as it goes over a bare socket.
fn response_head(framing: Framing, more: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::from(*b"HTTP/1.1 200 OK\r\n");
    for (name, value) in STREAM_HEADERS.iter().map(|(name, value)| (name, value)).chain(more) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    // No `connection: close`, although this is the connection's last answer: behind it Node's fetch takes a cut for
    // the end of the answer, and clients built on it never come back.
    if framing == Framing::Chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    head.extend_from_slice(b"date: ");
    head.extend_from_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// Counts an open connection until it is dropped.
pub(super) struct Open<'a>(&'a Gauge);

impl<'a> Open<'a> {
    pub(super) fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// An error and its causes in one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
