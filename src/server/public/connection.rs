//! The public listener's connections: how each begins, which HTTP it speaks, and how it ends.
//!
//! A plain HTTP/1 connection may give its socket away to a stream; all others stay with hyper.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Version};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::server::net::accept;
use crate::server::net::accept::{HANDSHAKE, Protocol};
use crate::server::net::certificate::ShownCertificate;
use crate::server::net::client_socket::ClientSocket;
use crate::server::net::connection::{ErrorChain, OpenConnection, count_large_head, count_unreadable};
use crate::server::net::current::Current;
use crate::server::net::http1;
use crate::server::net::http1::TakenOver;
use crate::server::net::http2;
use crate::server::net::http2::Http2Error;
use crate::server::net::listen::ServeConnection;
use crate::server::net::proxy_protocol;
use crate::server::net::proxy_protocol::BadProxyHeader;
use crate::server::net::takeover;
use crate::server::public::service::Public;
use crate::server::public::transport::{ConnectionContext, Transport};
use crate::server::respond;
use crate::shutdown::Drain;
use crate::telemetry;
use crate::telemetry::Throttle;

/// How long a connection that has asked for nothing lives on after the notice to stop: it may have been accepted just
/// before.
const LAST_CONNECTIONS: Duration = Duration::from_millis(250);

/// The steps of a stop that the listener heeds.
#[derive(Clone)]
pub struct PublicNotices {
    /// Streams are being closed: clients should move their connections elsewhere.
    pub closing: Drain,
    /// Connections end with the answer that is under way.
    pub stop: Drain,
}

/// What serves the public listener's connections: each request is answered by what is current when it comes.
pub struct PublicListener {
    current: Current<Public>,
    notices: PublicNotices,
    /// Of log lines about requests that are no HTTP.
    unreadable: Throttle,
}

impl ServeConnection for PublicListener {
    fn write_timeout(&self) -> Option<Duration> {
        Some(self.current.get().transport.write_timeout)
    }

    async fn connection(self: Arc<Self>, mut socket: TcpStream, peer: SocketAddr) {
        let transport = Arc::clone(&self.current.get().transport);
        let open = OpenConnection::new(&transport.open);
        let peer = if transport.balancers.contain(peer) {
            let Some(source) = Box::pin(self.source(&transport, &mut socket, peer)).await else { return };
            source
        } else {
            peer
        };
        if let Some(certificate) = &transport.certificate {
            // Boxed: what TLS and HTTP/2 need should not be room in the task of every plain connection.
            return Box::pin(self.secured(&transport, certificate, socket, peer)).await;
        }
        let sniffed = tokio::select! {
            biased;
            sniffed = timeout(transport.http1.head_timeout, accept::sniff(socket, transport.write_timeout)) => sniffed,
            () = self.too_late() => return,
        };
        match sniffed {
            Ok(Ok(Some((io, Protocol::Http1)))) => {
                let left = io.get_ref().left();
                let taken = self.http1(&transport, io, left, false, peer).await;
                drop(open);
                let Some((io, admission, framing)) = taken else { return };
                match takeover::bare(io) {
                    Ok(socket) => self.current.get().over_socket(admission, framing, socket),
                    Err(error) => warn!(%error, "a stream's socket could not be taken over"),
                }
            }
            Ok(Ok(Some((io, Protocol::Http2)))) => {
                if let Err(error) = accept::keep_unsent_short(io.get_ref().get_ref()) {
                    debug!(%peer, %error, "a connection keeps the system's own buffer");
                }
                Box::pin(self.http2(&transport, io, false, peer)).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => debug!(%peer, %error, "connection ended before it began"),
            Err(_) => debug!(%peer, "a client connected and sent nothing"),
        }
    }
}

impl PublicListener {
    pub fn new(first: Arc<Public>, notices: PublicNotices) -> Self {
        Self { current: Current::new(first), notices, unreadable: Throttle::default() }
    }

    /// What answers the next request.
    pub fn current(&self) -> &Current<Public> {
        &self.current
    }

    fn context(&self, peer: SocketAddr, https: bool) -> Arc<ConnectionContext> {
        ConnectionContext::new(peer, self.current.get().trusted.contain(peer), https)
    }

    /// Completes when a connection that was accepted as the listener closed has had its time to ask for something.
    async fn too_late(&self) {
        self.notices.stop.started().await;
        sleep(LAST_CONNECTIONS).await;
    }

    /// Whose connection a balancer has passed on. None when it does not say so.
    async fn source(
        &self,
        transport: &Transport,
        socket: &mut TcpStream,
        balancer: SocketAddr,
    ) -> Option<SocketAddr> {
        let patience = HANDSHAKE.min(transport.http1.head_timeout);
        let read = tokio::select! {
            biased;
            () = self.too_late() => return None,
            read = timeout(patience, proxy_protocol::read(socket)) => read,
        };
        let reason = match read {
            Ok(Ok(source)) => return Some(source.unwrap_or(balancer)),
            // A look at the port, as balancers take.
            Ok(Err(BadProxyHeader::Io(_))) => return None,
            Ok(Err(BadProxyHeader::Missing)) => "missing",
            Ok(Err(BadProxyHeader::Malformed)) => "malformed",
            Err(_) => "timeout",
        };
        metrics::counter!(telemetry::PROXY_PROTOCOL_FAILED, "reason" => reason).increment(1);
        if let Some(suppressed) = self.unreadable.pass() {
            info!(%balancer, reason, suppressed, "a connection without a sound PROXY protocol header");
        }
        None
    }

    async fn secured(
        self: &Arc<Self>,
        transport: &Transport,
        certificate: &ShownCertificate,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        if let Err(error) = accept::keep_unsent_short(&socket) {
            debug!(%peer, %error, "a connection keeps the system's own buffer");
        }
        let socket = ClientSocket::new(socket, transport.write_timeout);
        let patience = HANDSHAKE.min(transport.http1.head_timeout);
        let shaken = tokio::select! {
            biased;
            shaken = accept::handshake(certificate.get(), socket, patience, peer) => shaken,
            () = self.too_late() => return,
        };
        match shaken {
            Some((io, Protocol::Http1)) => {
                // Never taken: its socket is no use without TLS.
                let left = io.get_ref().0.left();
                self.http1(transport, io, left, true, peer).await;
            }
            Some((io, Protocol::Http2)) => self.http2(transport, io, true, peer).await,
            None => {}
        }
    }

    /// Serves until the connection's end, or until a stream takes its socket.
    async fn http1<I>(
        self: &Arc<Self>,
        transport: &Transport,
        io: I,
        left: impl Future<Output = ()>,
        https: bool,
        peer: SocketAddr,
    ) -> Option<TakenOver<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        transport.http1_opened.increment(1);
        let connection = self.context(peer, https);
        let answer = |request: Request<Incoming>| {
            let (public, connection) = (self.current.get(), Arc::clone(&connection));
            // Asked of the request here, where it is: in a function between, it would be copied once more.
            let persistent = request.version() == Version::HTTP_11;
            async move {
                let mut response = match &public.marking {
                    None => public.answer(request, &connection).await?,
                    Some(marking) => Box::pin(public.answer_marked(marking, request, &connection)).await?,
                };
                if persistent && self.notices.closing.has_started() {
                    respond::close_connection(&mut response);
                }
                Ok(response)
            }
        };
        let ends = (&connection.handover, &*connection.cut);
        let served = http1::serve(io, answer, transport.http1, left, ends, &self.notices.stop).await;
        served.unwrap_or_else(|error| {
            self.note_end(peer, &error);
            None
        })
    }

    /// An operator cannot see from anything else that clients' requests are refused before they are requests.
    fn note_end(&self, peer: SocketAddr, error: &hyper::Error) {
        let Some(reason) = count_unreadable("public", error) else {
            return debug!(%peer, error = %ErrorChain(error), "connection ended with an error");
        };
        if let Some(suppressed) = self.unreadable.pass() {
            info!(%peer, reason, suppressed, error = %ErrorChain(error), "a request could not be read");
        }
    }

    async fn http2<I>(self: &Arc<Self>, transport: &Transport, io: I, https: bool, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        transport.http2_opened.increment(1);
        let connection = self.context(peer, https);
        let answer = |request| {
            let (public, connection) = (self.current.get(), Arc::clone(&connection));
            async move {
                match &public.marking {
                    None => public.answer(request, &connection).await,
                    Some(marking) => Box::pin(public.answer_marked(marking, request, &connection)).await,
                }
            }
        };
        let PublicNotices { closing, stop } = &self.notices;
        // Clients of a connection that is new all the same need it.
        let notice = if closing.has_started() { stop } else { closing };
        let listener = Arc::clone(self);
        let refused = Box::new(move || {
            let reason = count_large_head("public");
            if let Some(suppressed) = listener.unreadable.pass() {
                info!(%peer, reason, suppressed, "a request could not be read");
            }
        });
        let served = http2::serve(io, answer, transport.http2, (notice, stop), refused).await;
        let Err(Http2Error { error, flood }) = served else { return };
        let Some(count) = flood else {
            return debug!(%peer, error = %ErrorChain(&error), "connection ended with an error");
        };
        metrics::counter!(telemetry::HTTP2_FLOODS, "count" => count).increment(1);
        if let Some(suppressed) = self.unreadable.pass() {
            info!(%peer, count, suppressed, "a client flooded its HTTP/2 connection, which is closed");
        }
    }
}
