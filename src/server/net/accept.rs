//! How a connection begins: the TLS handshake, or a look at the first bytes, and with it which HTTP it speaks.
//!
//! Both wait for the client, so they run in the connection's own task, under a time limit of the caller's.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::server::net::client_socket::ClientSocket;
use crate::telemetry::TLS_FAILED;

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Protocol {
    Http1,
    Http2,
}

/// How long a TLS handshake may take, where a head's timeout is not shorter still.
pub(in crate::server) const HANDSHAKE: Duration = Duration::from_secs(10);

/// What is offered in a handshake, the preferred one first.
pub(in crate::server) const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read before the protocol is known: most heads come whole.
const FIRST: usize = 4096;

/// How much of an answer waits, encrypted, for the socket to take it.
const TLS_BUFFER: usize = 32 << 10;

/// Looks at what a client without TLS sends first. `None` when it leaves without a byte.
pub(in crate::server) async fn sniff(
    socket: TcpStream,
    write_timeout: Duration,
) -> io::Result<Option<(Prefixed<ClientSocket>, Protocol)>> {
    let mut seen = Vec::new();
    loop {
        // Nothing is held for a client that has not sent anything yet.
        socket.readable().await?;
        seen.reserve(FIRST);
        match socket.try_read_buf(&mut seen) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let protocol = match seen.strip_prefix(PREFACE) {
            Some(_) => Protocol::Http2,
            None if PREFACE.starts_with(&seen) => continue,
            None => Protocol::Http1,
        };
        let socket = ClientSocket::new(socket, write_timeout);
        return Ok(Some((Prefixed::new(seen.into(), socket), protocol)));
    }
}

/// Performs the TLS handshake, which may take as long as `patience`. One that comes to nothing is counted: it is the
/// client's doing, or the network's.
pub(in crate::server) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ServerConfig>,
    socket: S,
    patience: Duration,
    peer: SocketAddr,
) -> Option<(TlsStream<S>, Protocol)> {
    let reason = match timeout(patience, shake(config, socket)).await {
        Ok(Ok(shaken)) => return Some(shaken),
        Ok(Err(error)) => {
            let reason = failure_label(&error);
            debug!(%peer, reason, %error, "TLS handshake failed");
            reason
        }
        Err(_) => {
            debug!(%peer, reason = "timeout", "TLS handshake failed");
            "timeout"
        }
    };
    metrics::counter!(TLS_FAILED, "reason" => reason).increment(1);
    None
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ServerConfig>,
    socket: S,
) -> io::Result<(TlsStream<S>, Protocol)> {
    let accepting = TlsAcceptor::from(config)
        .accept_with(socket, |connection| connection.set_buffer_limit(Some(TLS_BUFFER)));
    let stream = accepting.await?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok((stream, protocol))
}

/// The metric's label of a failed handshake.
fn failure_label(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => "not_tls",
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => "incompatible",
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            "client_certificate"
        }
        // What browsers send that do not trust the certificate.
        Some(rustls::Error::AlertReceived(_)) => "refused_by_client",
        Some(_) => "protocol",
        None => "disconnected",
    }
}

/// Keeps what is unsent short on a socket that stays with hyper, so that a stalled reader of a stream does not hide in
/// the kernel's buffer.
pub(in crate::server) fn keep_unsent_short(socket: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(socket).set_tcp_notsent_lowat(32 << 10)?;
    Ok(())
}

/// A socket of which something has been read already, and is read again first.
pub(in crate::server) struct Prefixed<S> {
    bytes: Bytes,
    socket: S,
}

impl<S> Prefixed<S> {
    pub(in crate::server) fn new(bytes: Bytes, socket: S) -> Self {
        Self { bytes, socket }
    }

    pub(in crate::server) fn get_ref(&self) -> &S {
        &self.socket
    }

    /// The socket alone; what has not been read again is lost.
    pub(in crate::server) fn into_inner(self) -> S {
        self.socket
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, into);
        }
        let some = self.bytes.len().min(into.remaining());
        into.put_slice(&self.bytes[..some]);
        self.bytes.advance(some);
        if self.bytes.is_empty() {
            self.bytes = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
