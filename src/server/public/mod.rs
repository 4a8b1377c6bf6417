//! The public listener: a request is ours (an event stream) or the backend's.

mod client_addr;
mod cors;
mod topics;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use metrics::Gauge;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::auth::{Denied, Sender};
use crate::config;
use crate::control::Control;
use crate::fanout::{Framing, Sink};
use crate::proxy::{Forwarded, Proxy};
use crate::server::net::certificate::Certificate;
use crate::server::net::http1::Door;
use crate::server::net::http2;
use crate::server::net::takeover::{Handover, Taken};
use crate::server::public::client_addr::Trusted;
use crate::server::public::cors::Cors;
use crate::server::respond;
use crate::server::respond::{Body, STREAM_HEADERS};
use crate::shutdown::Drain;
use crate::subscribe::{Admission, Fresh, Refusal, Renewing, Route, Streams};
use crate::telemetry::Throttle;

/// What serves the public listener's connections.
pub struct Public {
    streams: Arc<Streams>,
    control: Arc<Control>,
    proxy: Proxy,
    trusted: Trusted,
    cors: Cors,
    pub(super) door: Door,
    pub(super) drain: Drain,
    /// Of log lines about refused streams, and about requests that could not be forwarded.
    refused: Throttle,
    unforwarded: Throttle,
}

impl Public {
    pub fn new(
        settings: &config::Public,
        cors: &config::Cors,
        streams: Arc<Streams>,
        control: Arc<Control>,
        proxy: Proxy,
        drain: Drain,
    ) -> Self {
        Self {
            streams,
            control,
            proxy,
            trusted: Trusted::new(&settings.trusted_proxies),
            cors: Cors::new(cors),
            door: Door::new(settings),
            drain,
            refused: Throttle::default(),
            unforwarded: Throttle::default(),
        }
    }

    /// Takes TLS connections only, and shows them this certificate.
    pub fn over_tls(mut self, certificate: Certificate) -> Self {
        self.door.certificate = Some(certificate);
        self
    }

    /// One request. `Err` when the connection is to be taken over.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        connection: &Connection,
    ) -> Result<Response<Body>, Taken> {
        if request.method() == Method::GET
            && let Some(route) = self.streams.route(request.uri().path())
        {
            let sender = self.sender(peer, request.headers(), connection.https);
            let client = sender.address;
            let (parts, body) = request.into_parts();
            let own = || self.trusted.origin_asked(peer, &parts, connection.https);
            let opened = if route.verifies() && !self.cors.admits(&parts.headers, own().as_deref()) {
                Err(self.streams.turn_away(Denied::OriginNotAllowed))
            } else {
                self.streams.open(&route, &parts, sender).await
            };
            return match opened {
                Ok(mut admission) => {
                    self.cors.mark(&parts.headers, &mut admission.headers);
                    // A connection that has carried a body stays with hyper: what is left of the body is its affair.
                    let bare = body.is_end_stream() && !connection.had_body.load(Ordering::Relaxed);
                    if bare && !connection.https && parts.version <= Version::HTTP_11 {
                        let framing =
                            if parts.version == Version::HTTP_11 { Framing::Chunked } else { Framing::Plain };
                        connection.handover.leave(admission, framing);
                        return Err(Taken);
                    }
                    Ok(self.through_hyper(admission, connection))
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
            if request.method() == Method::POST
                && let Some(client) = self.streams.renews(&route, request.uri().query())
            {
                let sender = self.sender(peer, request.headers(), connection.https);
                connection.had_body.store(true, Ordering::Relaxed);
                if route.changes_topics() && !request.body().is_end_stream() {
                    let answer = self.change_topics(&route, request, peer, sender, connection.https, &client);
                    return Ok(answer.await.map(Body::Full));
                }
                // What the body says does not matter; it is left to hyper, which may have to read it.
                let (parts, _body) = request.into_parts();
                let own = self.trusted.origin_asked(peer, &parts, connection.https);
                let fresh = if self.cors.admits(&parts.headers, own.as_deref()) {
                    self.streams.renew(&route, &parts, sender, &client).await
                } else {
                    Err(self.streams.turn_away(Denied::OriginNotAllowed))
                };
                let mut response = self.renewed(sender.address, fresh).await;
                self.cors.mark(&parts.headers, response.headers_mut());
                return Ok(response.map(Body::Full));
            }
            self.streams.conceal_token(&route, &mut request);
        }
        if !request.body().is_end_stream() {
            connection.had_body.store(true, Ordering::Relaxed);
        }
        self.streams.conceal(&mut request);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        match self.proxy.forward(request, &connection.forwarded).await {
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

    fn sender(&self, peer: SocketAddr, headers: &HeaderMap, https: bool) -> Sender {
        let trusted = self.trusted.contains(peer.ip());
        Sender { address: self.trusted.client(peer, headers), peer: peer.ip(), trusted, https }
    }

    /// What a page reads that changes the topics of its stream.
    async fn change_topics(
        &self,
        route: &Route<'_>,
        request: Request<Incoming>,
        peer: SocketAddr,
        sender: Sender,
        https: bool,
        client: &str,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let own = self.trusted.origin_asked(peer, &parts, https);
        let mut response = if self.cors.admits(&parts.headers, own.as_deref()) {
            let change = topics::Change { route, request: &parts, sender, client };
            change.answer(&self.streams, self.control.topics(), body).await
        } else {
            respond::refused(&self.streams.turn_away(Denied::OriginNotAllowed), self.streams.shape())
        };
        self.cors.mark(&parts.headers, response.headers_mut());
        response
    }

    async fn renewed(&self, client: IpAddr, renewing: Result<Renewing, Refusal>) -> Response<Full<Bytes>> {
        let Renewing { fresh, expires_in, headers } = match renewing {
            Ok(renewing) => renewing,
            Err(refusal) => {
                self.tell(client, &refusal);
                return respond::refused(&refusal, self.streams.shape());
            }
        };
        let mut response = match fresh {
            Fresh::Renewed => respond::renewed(expires_in, true),
            Fresh::Elsewhere { renewal, bearer } => {
                if self.control.renew_elsewhere(&renewal, &bearer).await {
                    respond::renewed(expires_in, false)
                } else {
                    respond::no_such_stream()
                }
            }
        };
        response.headers_mut().extend(headers);
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
    fn through_hyper(&self, admission: Admission, connection: &Connection) -> Response<Body> {
        let (sink, body) = Sink::channel();
        // A client that reads nothing more cannot be told that its stream is over: it is cut off.
        body.tell_when_cut(http2::cut_of_this_stream().unwrap_or_else(|| Arc::clone(&connection.cut)));
        let (opening, headers) = (admission.preamble.payload_bytes(), admission.headers.clone());
        self.streams.join(admission, sink, opening);
        let mut response = Response::new(Body::Stream(body));
        response.headers_mut().extend(STREAM_HEADERS);
        response.headers_mut().extend(headers);
        response
    }

    /// A stream whose socket is ours.
    pub(super) fn over_socket(&self, admission: Admission, framing: Framing, socket: std::net::TcpStream) {
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
pub(super) struct Connection {
    pub(super) handover: Handover,
    had_body: AtomicBool,
    /// It came over TLS: its socket is no use without hyper.
    https: bool,
    /// Whose requests they are, as the backend is told.
    forwarded: Forwarded,
    /// Ends the connection. On HTTP/2 each stream has its own.
    pub(super) cut: Arc<Notify>,
}

impl Connection {
    pub(super) fn new(public: &Public, peer: SocketAddr, https: bool) -> Self {
        Self {
            handover: Handover::default(),
            had_body: AtomicBool::default(),
            https,
            forwarded: Forwarded::new(peer.ip(), public.trusted.contains(peer.ip()), https),
            cut: Arc::default(),
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
