//! Sockets to the backend, over TCP, TLS or a Unix path.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config;
use crate::config::{Backend, ClientTls};
use crate::net::descriptors;
use crate::net::descriptors::Descriptors;
use crate::net::dial;
use crate::net::tls::BadTls;
use crate::proxy::error::ProxyError;

/// After so much silence the kernel asks whether the backend's machine is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// Opens connections to one backend.
pub(super) struct Connector {
    backend: Backend,
    tls: Option<ClientTls>,
    timeout: Duration,
    /// A socket whose number is this or higher is not for the backend.
    descriptors: Option<RawFd>,
}

impl Connector {
    pub(super) fn new(backend: &Backend, settings: &config::Proxy) -> Result<Self, BadTls> {
        let tls = match backend {
            Backend::Tcp { host, tls: true, .. } => Some(settings.tls(host)?),
            _ => None,
        };
        let descriptors = Descriptors::now().map(Descriptors::for_backend);
        Ok(Self { backend: backend.clone(), tls, timeout: settings.connect_timeout, descriptors })
    }

    /// One new connection, within the time limit.
    pub(super) async fn connect(&self) -> Result<BackendIo, ProxyError> {
        match tokio::time::timeout(self.timeout, self.dial()).await {
            Ok(Ok(socket)) => {
                Ok(BackendIo { socket, heard: Arc::default(), sent: false, ahead: Bytes::new() })
            }
            Ok(Err(error)) => Err(ProxyError::Connect(error)),
            Err(_) => Err(ProxyError::ConnectTimeout(self.timeout)),
        }
    }

    /// How long a connection may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn dial(&self) -> io::Result<BackendSocket> {
        match &self.backend {
            Backend::Tcp { host, port, .. } => {
                let socket = self.spared(dial::tcp(host, *port, self.timeout).await?)?;
                SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER))?;
                let Some((config, name)) = &self.tls else { return Ok(BackendSocket::Tcp(socket)) };
                let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), socket).await?;
                Ok(BackendSocket::Tls(Box::new(tls)))
            }
            Backend::Unix(path) => self.spared(UnixStream::connect(path).await?).map(BackendSocket::Unix),
        }
    }

    /// The socket, unless its descriptor is among the last.
    fn spared<S: AsRawFd>(&self, socket: S) -> io::Result<S> {
        if self.descriptors.is_some_and(|end| socket.as_raw_fd() >= end) {
            Err(descriptors::used_up())
        } else {
            Ok(socket)
        }
    }

    /// The backend as a `Host` header names it.
    pub(super) fn host(&self) -> String {
        match &self.backend {
            Backend::Tcp { host, port, .. } if host.contains(':') && !host.starts_with('[') => {
                format!("[{host}]:{port}")
            }
            Backend::Tcp { host, port, .. } => format!("{host}:{port}"),
            Backend::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// A socket to the backend that remembers whether anything was read from it.
pub(super) struct BackendIo {
    socket: BackendSocket,
    heard: Arc<AtomicBool>,
    /// The next thing that is written has been sent before.
    sent: bool,
    /// Was read before, and comes first.
    ahead: Bytes,
}

enum BackendSocket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl BackendIo {
    /// Set when something is read.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }

    /// The socket for one who begins an exchange anew that has been begun already: with `sent`, what is written first
    /// is the request, which has been sent, and only then is `ahead` read, and whatever follows it.
    pub(super) fn begun(self, sent: bool, ahead: Bytes) -> Self {
        Self { sent, ahead, ..self }
    }

    /// Whether what is being written, all of it in one call, has been sent before.
    fn has_sent(&mut self, cx: &Context<'_>) -> bool {
        let sent = std::mem::take(&mut self.sent);
        if sent {
            // Reading was put off until now.
            cx.waker().wake_by_ref();
        }
        sent
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sent {
            return Poll::Pending;
        }
        if !this.ahead.is_empty() {
            let some = this.ahead.len().min(into.remaining());
            into.put_slice(&this.ahead.split_to(some));
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let result = match &mut this.socket {
            BackendSocket::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            BackendSocket::Tls(socket) => Pin::new(socket).poll_read(cx, into),
            BackendSocket::Unix(socket) => Pin::new(socket).poll_read(cx, into),
        };
        if into.filled().len() > before {
            this.heard.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.has_sent(cx) {
            return Poll::Ready(Ok(bytes.len()));
        }
        match &mut this.socket {
            BackendSocket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            BackendSocket::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
            BackendSocket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.has_sent(cx) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        match &mut this.socket {
            BackendSocket::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            BackendSocket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            BackendSocket::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            BackendSocket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            BackendSocket::Tls(socket) => Pin::new(socket).poll_flush(cx),
            BackendSocket::Unix(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            BackendSocket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            BackendSocket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
            BackendSocket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
