//! Requests for an event stream: opened over the bare socket or through hyper, renewed, its topics changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::{debug, info};

use crate::auth::{Denied, RequestOrigin};
use crate::control::NotPassedOn;
use crate::fanout::{Framing, Sink};
use crate::server::net::http2;
use crate::server::net::takeover::SocketTaken;
use crate::server::public::service::Public;
use crate::server::public::topics::{TopicChange, refused_with};
use crate::server::public::transport::ConnectionContext;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse, ResponseBody, STREAM_HEADERS};
use crate::subscribe::{Admission, PageTopics, Refusal, RenewalOutcome, RenewalRequest, Route};

impl Public {
    /// `Err` when the connection is to be taken over.
    pub(super) async fn open_stream(
        &self,
        route: &Route<'_>,
        request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        let (parts, body) = request.into_parts();
        let origin = self.origin(&parts.headers, connection);
        let client = origin.address;
        let opened = if route.verifies() && !self.admits(&parts, connection) {
            Err(self.streams.turn_away(Denied::OriginNotAllowed))
        } else {
            self.streams.open(route, &parts, origin).await
        };
        self.opened(opened, client, (&parts, &body), connection)
    }

    /// Hands a stream over to its shard, or says why there is none.
    pub(super) fn opened(
        &self,
        opened: Result<Admission, Refusal>,
        client: IpAddr,
        (parts, body): (&Parts, &Incoming),
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        let mut admission = match opened {
            Ok(admission) => admission,
            Err(refusal) => {
                let mut response = self.refuse(client, &refusal);
                self.cors.mark(&parts.headers, response.headers_mut());
                return Ok(response.map(ResponseBody::Full));
            }
        };
        self.cors.mark(&parts.headers, &mut admission.headers);
        self.sign(parts, &mut admission.headers);
        // A connection that has carried a body stays with hyper, which may still have to read the rest of it.
        let is_bare = body.is_end_stream() && !connection.had_body();
        if is_bare && !connection.https && parts.version <= Version::HTTP_11 {
            let framing = if parts.version == Version::HTTP_11 { Framing::Chunked } else { Framing::Plain };
            connection.handover.put(admission, framing);
            return Err(SocketTaken);
        }
        Ok(self.through_hyper(admission, connection))
    }

    /// Renews the stream of `client`, or changes its topics where the route lets pages do that and there is a body.
    pub(super) async fn update_stream(
        &self,
        route: &Route<'_>,
        request: Request<Incoming>,
        connection: &ConnectionContext,
        client: &str,
    ) -> FullResponse {
        connection.note_body();
        // What the body of a renewal says does not matter; it is left to hyper, which may have to read it.
        let (parts, body) = request.into_parts();
        let origin = self.origin(&parts.headers, connection);
        let address = origin.address;
        let mut response = if !self.admits(&parts, connection) {
            self.refuse(address, &self.streams.turn_away(Denied::OriginNotAllowed))
        } else if (route.changes_topics() || !route.page_publish().is_empty()) && !body.is_end_stream() {
            let change = TopicChange { route, request: &parts, origin, client };
            change.answer(&self.streams, &self.control, &self.pages, body).await
        } else {
            self.renewed(address, self.streams.renew(route, &parts, origin, client).await).await
        };
        self.cors.mark(&parts.headers, response.headers_mut());
        response
    }

    /// Who is on the topics of a page's own stream.
    pub(super) async fn tell_presence(
        &self,
        route: &Route<'_>,
        request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> FullResponse {
        if !request.body().is_end_stream() {
            connection.note_body();
        }
        let (parts, _) = request.into_parts();
        let origin = self.origin(&parts.headers, connection);
        let address = origin.address;
        let allowed = if self.admits(&parts, connection) {
            self.streams.page_topics(route, &parts, origin).await
        } else {
            Err(self.streams.turn_away(Denied::OriginNotAllowed))
        };
        let mut response = match allowed {
            Ok(PageTopics { topics, headers }) => {
                let mut response = respond::page_presence(&self.presence.of(&self.control, &topics).await);
                response.headers_mut().extend(headers);
                response
            }
            Err(refusal) => self.refuse(address, &refusal),
        };
        self.cors.mark(&parts.headers, response.headers_mut());
        response
    }

    async fn renewed(&self, client: IpAddr, renewing: Result<RenewalRequest, Refusal>) -> FullResponse {
        let RenewalRequest { fresh, expires_in, headers } = match renewing {
            Ok(renewing) => renewing,
            Err(refusal) => return self.refuse(client, &refusal),
        };
        let mut response = match fresh {
            RenewalOutcome::Renewed => respond::renewed(expires_in, true),
            RenewalOutcome::Elsewhere { renewal, bearer } => {
                match self.control.renew_elsewhere(&renewal, &bearer, client).await {
                    Ok(()) => respond::renewed(expires_in, false),
                    Err(NotPassedOn::Nobody) => refused_with(ApiProblem::no_such_stream()),
                    Err(often @ NotPassedOn::TooOften(wait)) => {
                        refused_with(ApiProblem::too_often(often.to_string(), wait))
                    }
                }
            }
        };
        response.headers_mut().extend(headers);
        response
    }

    pub(super) fn origin(&self, headers: &HeaderMap, connection: &ConnectionContext) -> RequestOrigin {
        let peer = connection.peer;
        let trusted = self.trusted.contain(peer);
        let address = self.trusted.client(peer, headers);
        RequestOrigin { address, peer: peer.ip(), trusted, https: connection.https }
    }

    /// Whether the page that asks may use what its browser sends along.
    pub(super) fn admits(&self, request: &Parts, connection: &ConnectionContext) -> bool {
        let own = self.trusted.origin_asked(connection.peer, request, connection.https);
        self.cors.admits(&request.headers, own.as_deref())
    }

    /// The answer, and a log line that the operator or the client's author may need.
    fn refuse(&self, client: IpAddr, refusal: &Refusal) -> FullResponse {
        let reason = refusal.label();
        match refusal {
            Refusal::Denied { .. } => {
                if let Some(suppressed) = self.refused.pass() {
                    info!(%client, reason, suppressed, "stream refused: {}", refusal.for_log());
                }
            }
            _ => debug!(%client, reason, "stream refused: {}", refusal.for_log()),
        }
        respond::refused(refusal, self.streams.format())
    }

    /// A stream whose socket hyper keeps.
    fn through_hyper(&self, admission: Admission, connection: &ConnectionContext) -> Response<ResponseBody> {
        let (sink, body) = Sink::channel();
        // A client that reads nothing more does not see the end of its stream: it is cut off.
        body.notify_when_cut(http2::cut_of_this_stream().unwrap_or_else(|| Arc::clone(&connection.cut)));
        let (opening, headers) = (admission.preamble.payload_bytes(), admission.headers.clone());
        self.streams.join(admission, sink, opening);
        let mut response = Response::new(ResponseBody::Stream(body));
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
