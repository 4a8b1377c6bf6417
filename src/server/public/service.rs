//! From a request to the public listener to its answer: a request is ours (an event stream) or the backend's.

use std::sync::Arc;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;

use crate::config;
use crate::control::Control;
use crate::proxy::Proxy;
use crate::server::net::certificate::Certificate;
use crate::server::net::takeover::SocketTaken;
use crate::server::public::client_addr::TrustedProxies;
use crate::server::public::connection::{ConnectionContext, Transport};
use crate::server::public::cors::Cors;
use crate::server::respond;
use crate::server::respond::ResponseBody;
use crate::shutdown::Drain;
use crate::subscribe::Streams;
use crate::telemetry::Throttle;

/// The steps of a stop that the listener heeds.
#[derive(Clone)]
pub struct PublicNotices {
    /// Streams are being closed: clients should move their connections elsewhere.
    pub closing: Drain,
    /// Connections end with the answer that is under way.
    pub stop: Drain,
}

/// What serves the public listener's connections.
pub struct Public {
    pub(super) streams: Arc<Streams>,
    pub(super) control: Arc<Control>,
    pub(super) proxy: Proxy,
    pub(super) trusted: TrustedProxies,
    pub(super) cors: Cors,
    pub(super) transport: Transport,
    pub(super) notices: PublicNotices,
    /// Of log lines about refused streams, and about requests that could not be forwarded.
    pub(super) refused: Throttle,
    pub(super) unforwarded: Throttle,
    /// Of those about requests that are no HTTP.
    pub(super) unreadable: Throttle,
}

impl Public {
    pub fn new(
        settings: &config::Public,
        cors: &config::Cors,
        streams: Arc<Streams>,
        control: Arc<Control>,
        proxy: Proxy,
        notices: PublicNotices,
    ) -> Self {
        Self {
            streams,
            control,
            transport: Transport::new(settings, proxy.keeps_header_case()),
            proxy,
            trusted: TrustedProxies::new(&settings.trusted_proxies),
            cors: Cors::new(cors),
            notices,
            refused: Throttle::default(),
            unforwarded: Throttle::default(),
            unreadable: Throttle::default(),
        }
    }

    /// Takes TLS connections only, and shows them this certificate.
    pub fn over_tls(mut self, certificate: Certificate) -> Self {
        self.transport.certificate = Some(certificate);
        self
    }

    /// One request. `Err` when the connection is to be taken over.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        // HTTP/2 has GOAWAY for it.
        let persistent = request.version() == Version::HTTP_11;
        let mut response = self.route(request, connection).await?;
        if persistent && self.notices.closing.has_started() {
            respond::close_connection(&mut response);
        }
        Ok(response)
    }

    async fn route(
        &self,
        mut request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        self.trusted.read_forwarded(connection.peer, request.headers_mut());
        if let Some(route) = self.streams.route(request.uri().path()) {
            match *request.method() {
                Method::GET => return self.open_stream(&route, request, connection).await,
                Method::HEAD => return Ok(respond::stream_head().map(ResponseBody::Full)),
                Method::OPTIONS if let Some(answer) = self.cors.preflight(request.headers()) => {
                    return Ok(answer.map(ResponseBody::Full));
                }
                Method::POST if let Some(client) = self.streams.renews(&route, request.uri().query()) => {
                    let answer = self.update_stream(&route, request, connection, &client);
                    return Ok(answer.await.map(ResponseBody::Full));
                }
                _ => self.streams.conceal_token(&route, &mut request),
            }
        }
        self.prepare(&mut request, connection);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // Awaited here: in a function of its own, request and answer would be copied once more.
        let answered = self.proxy.forward(request, &connection.forwarded).await;
        Ok(self.forwarded(answered, &method, &uri))
    }
}
