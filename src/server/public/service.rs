//! From a request to the public listener to its answer: a request is ours (an event stream) or the backend's.

use std::sync::Arc;

use http::header::{ACCEPT, CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::capture::Captures;
use crate::config;
use crate::control::Control;
use crate::proxy::Proxy;
use crate::publish::PublishService;
use crate::rate::Rates;
use crate::server::hooks::HookDoor;
use crate::server::net::certificate::Certificate;
use crate::server::net::takeover::SocketTaken;
use crate::server::public::client_addr::TrustedProxies;
use crate::server::public::cors::Cors;
use crate::server::public::hooks;
use crate::server::public::marks::Marking;
use crate::server::public::page_presence::PagePresence;
use crate::server::public::page_publish::PagePublisher;
use crate::server::public::transport::{ConnectionContext, Transport};
use crate::server::respond;
use crate::server::respond::{FullResponse, ResponseBody};
use crate::subscribe::Streams;
use crate::telemetry::Throttle;
use crate::upstream::Upstreams;

/// What answers the public listener's requests.
pub struct Public {
    pub(super) streams: Arc<Streams>,
    pub(super) control: Arc<Control>,
    pub(super) proxy: Proxy,
    /// The application's streams that are read for many.
    pub(super) upstreams: Option<Arc<Upstreams>>,
    pub(super) trusted: TrustedProxies,
    pub(super) cors: Cors,
    pub(super) rates: Arc<Rates>,
    pub(super) transport: Arc<Transport>,
    /// Publishes what pages do.
    pub(super) pages: PagePublisher,
    pub(super) presence: PagePresence,
    /// None where requests get neither ids nor traces nor lines.
    pub(super) marking: Option<Marking>,
    /// None where no answer is recorded.
    pub(super) captures: Option<Arc<Captures>>,
    pub(super) hooks: Option<Arc<HookDoor>>,
    certificate: Option<Certificate>,
    /// Of log lines about refused streams, and about requests that could not be forwarded.
    pub(super) refused: Throttle,
    pub(super) unforwarded: Throttle,
}

impl Public {
    /// With a certificate it takes TLS connections only, and shows them that.
    pub fn new(
        settings: &config::Public,
        cors: &config::Cors,
        streams: Arc<Streams>,
        control: Arc<Control>,
        proxy: Proxy,
        certificate: Option<Certificate>,
        rates: Arc<Rates>,
    ) -> Self {
        let shown = certificate.as_ref().map(Certificate::shown);
        Self {
            streams,
            control,
            transport: Arc::new(Transport::new(settings, proxy.keeps_header_case(), shown)),
            proxy,
            pages: PagePublisher::default(),
            presence: PagePresence::default(),
            upstreams: None,
            marking: None,
            captures: None,
            hooks: None,
            trusted: TrustedProxies::new(&settings.trusted_proxies),
            cors: Cors::new(cors),
            certificate,
            rates,
            refused: Throttle::default(),
            unforwarded: Throttle::default(),
        }
    }

    /// Reads streams of the application for those who ask for them.
    pub fn reading(self, upstreams: Arc<Upstreams>) -> Self {
        Self { upstreams: Some(upstreams), ..self }
    }

    /// Gives requests ids and places in traces as `settings` say; with `lines` each has a line in the log.
    pub fn marking_requests(self, settings: &config::Proxy, lines: bool) -> Self {
        Self { marking: Marking::new(settings, lines), ..self }
    }

    /// Publishes what pages do by what `publish` makes, of which the data may have `max` bytes. It is made when it is
    /// first needed: by then everything is there that it needs.
    pub fn publishing_for_pages(
        self,
        publish: impl Fn() -> PublishService + Send + Sync + 'static,
        max: usize,
    ) -> Self {
        Self { pages: PagePublisher::new(publish, max), ..self }
    }

    /// Records answers as `captures` say.
    pub fn capturing(self, captures: Option<Arc<Captures>>) -> Self {
        Self { captures, ..self }
    }

    /// Takes requests to hooks that have a path here.
    pub fn with_hooks(self, hooks: Option<Arc<HookDoor>>) -> Self {
        Self { hooks, ..self }
    }

    /// The way in for subscribers.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// What requests are forwarded by.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// What is shown to clients, where the listener speaks TLS.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// One request. `Err` when the connection is to be taken over.
    pub(super) async fn answer(
        &self,
        mut request: Request<Incoming>,
        connection: &ConnectionContext,
    ) -> Result<Response<ResponseBody>, SocketTaken> {
        self.trusted.read_forwarded(connection.peer, request.headers_mut());
        if self.rates.requests_per_address.is_on()
            && let Some(answer) = self.too_many(&request, connection)
        {
            return Ok(answer.map(ResponseBody::Full));
        }
        if let Some(hooks) = &self.hooks
            && *request.method() == Method::POST
            && let Some(hook) = hooks.at_public_path(request.uri().path())
        {
            let answer = Box::pin(hooks::take(hooks, hook, request, connection)).await;
            return Ok(answer.map(ResponseBody::Full));
        }
        if let Some(route) = self.streams.route(request.uri()) {
            if let Some(source) = route.source() {
                return Box::pin(self.answer_sourced(&route, source, request, connection)).await;
            }
            match *request.method() {
                Method::GET if is_for_the_backend(request.headers()) => {
                    self.streams.strip_token(&route, &mut request);
                }
                Method::GET => return self.open_stream(&route, request, connection).await,
                Method::HEAD => return Ok(respond::stream_head().map(ResponseBody::Full)),
                Method::OPTIONS if let Some(answer) = self.cors.preflight(request.headers()) => {
                    return Ok(answer.map(ResponseBody::Full));
                }
                Method::POST if let Some(client) = self.streams.renews(&route, request.uri().query()) => {
                    let answer = self.update_stream(&route, request, connection, &client);
                    return Ok(answer.await.map(ResponseBody::Full));
                }
                _ => self.streams.strip_token(&route, &mut request),
            }
        }
        if let Some(route) = self.streams.presence_route(request.uri()) {
            match *request.method() {
                Method::GET => {
                    let answer = self.tell_presence(&route, request, connection);
                    return Ok(answer.await.map(ResponseBody::Full));
                }
                Method::OPTIONS if let Some(answer) = self.cors.preflight(request.headers()) => {
                    return Ok(answer.map(ResponseBody::Full));
                }
                _ => self.streams.strip_token(&route, &mut request),
            }
        }
        self.prepare(&mut request, connection);
        if let Some(captures) = &self.captures {
            if let Some(found) = captures.find(request.method(), request.uri()) {
                return Ok(Box::pin(self.captured(captures, found, request, connection)).await);
            }
            if captures.is_asked_before(&request)
                && let Some(answer) = self.cors.preflight(request.headers())
            {
                return Ok(answer.map(ResponseBody::Full));
            }
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // Awaited here: in a function of its own, request and answer would be copied once more.
        let answered = self.proxy.forward(request, &connection.forwarded).await;
        Ok(self.forwarded(answered, &method, &uri))
    }
}

impl Public {
    /// What a client reads whose address has sent too many requests. A request for a stream is not counted here:
    /// openings have a limit of their own, and answers that their clients understand.
    #[cold]
    fn too_many(&self, request: &Request<Incoming>, connection: &ConnectionContext) -> Option<FullResponse> {
        let opens = *request.method() == Method::GET
            && self.streams.route(request.uri()).is_some()
            && !is_for_the_backend(request.headers());
        if opens {
            return None;
        }
        let address = self.trusted.client(connection.peer, request.headers());
        let network = self.rates.network(address);
        let fast = self.rates.requests_per_address.take(&network, 1, &address).err()?;
        if !request.body().is_end_stream() {
            // The connection stays with hyper, which may have to read it.
            connection.note_body();
        }
        Some(respond::too_many_requests(fast))
    }
}

/// Whether a `GET` on a stream's path asks for something else: a page for a window (no client of streams takes HTML),
/// or another protocol.
pub(super) fn is_for_the_backend(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| has_item(headers, &name, wanted);
    let page = has(ACCEPT, "text/html") && !has(ACCEPT, "text/event-stream");
    page || has(UPGRADE, "websocket") && has(CONNECTION, "upgrade")
}

/// Whether a header that is a list has this item, whatever its parameters.
pub(super) fn has_item(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut items = values.flat_map(|value| value.split(','));
    items.any(|item| item.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn windows_and_other_protocols_are_not_streams() {
        let is = |headers: &[(HeaderName, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            is_for_the_backend(&headers.collect())
        };
        assert!(is(&[(ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")]));
        assert!(is(&[(ACCEPT, "application/xml; q=0.9, Text/HTML;level=1")]));
        assert!(is(&[(UPGRADE, "websocket"), (CONNECTION, "keep-alive, Upgrade")]));
        for stream in ["text/event-stream", "*/*", "application/json, text/event-stream", "text/*", ""] {
            assert!(!is(&[(ACCEPT, stream)]), "{stream}");
        }
        assert!(!is(&[]));
        assert!(!is(&[(ACCEPT, "text/event-stream, text/html")]));
        assert!(!is(&[(UPGRADE, "h2c"), (CONNECTION, "Upgrade, HTTP2-Settings")]));
        assert!(!is(&[(UPGRADE, "websocket")]));
    }
}
