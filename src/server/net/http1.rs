//! The public listener's connections: how each begins, which HTTP it speaks, and how it ends.
//!
//! A plain HTTP/1 connection may give its socket away to a stream; all others stay with hyper. What is answered stands
//! in `public.rs`.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{Counter, Gauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::config;
use crate::fanout::Framing;
use crate::server::net::accept;
use crate::server::net::accept::Protocol;
use crate::server::net::certificate::Certificate;
use crate::server::net::http2;
use crate::server::net::listen::Serve;
use crate::server::net::on_wake::Rare;
use crate::server::net::takeover;
use crate::server::public::{Chain, Connection, Open, Public};
use crate::subscribe::Admission;
use crate::telemetry;

/// How long a TLS handshake may take, where `public.head_timeout` is not shorter still.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What all connections of the listener have in common.
pub(in crate::server) struct Door {
    pub(in crate::server) certificate: Option<Certificate>,
    head_timeout: Duration,
    max_head: usize,
    http2_max_streams: u32,
    open: Gauge,
    http1: Counter,
    http2: Counter,
}

impl Door {
    pub(in crate::server) fn new(settings: &config::Public) -> Self {
        let tls = if settings.tls.is_some() { "yes" } else { "no" };
        let opened = |protocol: &'static str| metrics::counter!(telemetry::CONNECTIONS_OPENED, "protocol" => protocol, "tls" => tls);
        Self {
            certificate: None,
            head_timeout: settings.head_timeout,
            max_head: usize::try_from(settings.max_head.0).unwrap_or(usize::MAX),
            http2_max_streams: u32::try_from(settings.http2_max_streams).unwrap_or(u32::MAX),
            open: metrics::gauge!(telemetry::CONNECTIONS_OPEN, "listener" => "public"),
            http1: opened("http1"),
            http2: opened("http2"),
        }
    }

    fn bounds(&self) -> http2::Bounds {
        http2::Bounds {
            max_head: self.max_head,
            max_streams: self.http2_max_streams,
            idle: self.head_timeout,
        }
    }
}

impl Serve for Public {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let open = Open::new(&self.door.open);
        if let Some(certificate) = &self.door.certificate {
            // Boxed: what TLS and HTTP/2 need should not be room in the task of every plain connection.
            return Box::pin(self.secured(certificate, socket, peer)).await;
        }
        let sniffed = tokio::select! {
            biased;
            () = self.drain.started() => return,
            sniffed = timeout(self.door.head_timeout, accept::sniff(socket)) => sniffed,
        };
        match sniffed {
            Ok(Ok(Some((io, Protocol::Http1)))) => {
                let taken = self.http1(io, false, peer).await;
                drop(open);
                let Some((io, admission, framing)) = taken else { return };
                match takeover::bare(io) {
                    Ok(socket) => self.over_socket(admission, framing, socket),
                    Err(error) => warn!(%error, "a stream's socket could not be taken over"),
                }
            }
            Ok(Ok(Some((io, Protocol::Http2)))) => {
                if let Err(error) = accept::tune(io.get_ref()) {
                    debug!(%peer, %error, "a connection keeps the system's own timeouts");
                }
                Box::pin(self.http2(io, false, peer)).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => debug!(%peer, %error, "connection ended before it began"),
            Err(_) => debug!(%peer, "a client connected and sent nothing"),
        }
    }
}

impl Public {
    async fn secured(self: &Arc<Self>, certificate: &Certificate, socket: TcpStream, peer: SocketAddr) {
        if let Err(error) = accept::tune(&socket) {
            debug!(%peer, %error, "a connection keeps the system's own timeouts");
        }
        let patience = HANDSHAKE.min(self.door.head_timeout);
        let shaken = tokio::select! {
            biased;
            () = self.drain.started() => return,
            shaken = timeout(patience, accept::shake_hands(certificate.current(), socket)) => shaken,
        };
        let reason = match shaken {
            Ok(Ok((io, Protocol::Http1))) => {
                // Never taken: its socket is no use without TLS.
                self.http1(io, true, peer).await;
                return;
            }
            Ok(Ok((io, Protocol::Http2))) => return self.http2(io, true, peer).await,
            Ok(Err(error)) => {
                let reason = accept::why_failed(&error);
                debug!(%peer, reason, %error, "TLS handshake failed");
                reason
            }
            Err(_) => {
                debug!(%peer, reason = "timeout", "TLS handshake failed");
                "timeout"
            }
        };
        metrics::counter!(telemetry::TLS_FAILED, "reason" => reason).increment(1);
    }

    /// Serves until the connection's end, or until a stream takes its socket.
    async fn http1<I>(
        self: &Arc<Self>,
        io: I,
        https: bool,
        peer: SocketAddr,
    ) -> Option<(TokioIo<I>, Admission, Framing)>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.door.http1.increment(1);
        let connection = Arc::new(Connection::new(self, peer, https));
        let service = {
            let (public, connection) = (Arc::clone(self), Arc::clone(&connection));
            service_fn(move |request| {
                let (public, connection) = (Arc::clone(&public), Arc::clone(&connection));
                async move { public.answer(request, peer, &connection).await }
            })
        };
        let mut serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.door.head_timeout)
            .max_buf_size(self.door.max_head.max(8192))
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let (cut, stop) = (pin!(connection.cut.notified()), pin!(self.drain.started()));
        let (mut cut, mut stop) = (Rare::new(cut), Rare::new(stop));
        let result = tokio::select! {
            // Serving stops by itself when it has done enough at a time.
            biased;
            result = &mut serving => result,
            () = &mut cut => return None,
            () = &mut stop => {
                // An idle connection ends now, a busy one after its answer.
                Pin::new(&mut serving).graceful_shutdown();
                tokio::select! {
                    result = &mut serving => result,
                    () = cut => return None,
                }
            }
        };
        if let Some((admission, framing)) = connection.handover.take() {
            return serving.into_parts().map(|parts| (parts.io, admission, framing));
        }
        if let Err(error) = result {
            debug!(%peer, error = %Chain(&error), "connection ended with an error");
        }
        None
    }

    async fn http2<I>(self: &Arc<Self>, io: I, https: bool, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.door.http2.increment(1);
        let connection = Arc::new(Connection::new(self, peer, https));
        let answer = |request| {
            let (public, connection) = (Arc::clone(self), Arc::clone(&connection));
            async move { public.answer(request, peer, &connection).await }
        };
        if let Err(error) = http2::serve(io, answer, self.door.bounds(), &self.drain).await {
            debug!(%peer, error = %Chain(&error), "connection ended with an error");
        }
    }
}
