//! A connection to the public address, by TLS where the address says so and HTTP/2 where it is offered, as a browser
//! makes it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::address::PublicAddress;
use crate::config::certificate_times;
use crate::net::{dial, tls};

/// How long a connection may take, TLS and all.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that can carry a request.
pub(super) struct Link {
    sender: HttpSender,
    pub(super) facts: LinkFacts,
    _driver: JoinSet<()>,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(super) struct LinkFacts {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) is_http2: bool,
    pub(super) tls: Option<TlsFacts>,
    pub(super) took: Duration,
}

/// What is known of its TLS.
#[derive(Clone, Debug)]
pub(super) struct TlsFacts {
    pub(super) version: &'static str,
    /// The times since 1970 from which and until which the server's certificate is good.
    pub(super) certificate: Option<(Duration, Duration)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoLink {
    #[error("nobody can be reached there")]
    Unreachable(#[source] io::Error),
    #[error("no connection within {} s", CONNECT.as_secs())]
    Slow,
    #[error("the certificate is not trusted")]
    Certificate(CertificateError),
    #[error("the other side speaks no TLS that browsers speak")]
    Tls(#[source] io::Error),
    #[error("the other side speaks no HTTP")]
    Http(#[source] hyper::Error),
}

enum HttpSender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Link {
    pub(super) async fn open(address: &PublicAddress, trust: &Arc<ClientConfig>) -> Result<Self, NoLink> {
        timeout(CONNECT, Self::connect(address, trust)).await.unwrap_or(Err(NoLink::Slow))
    }

    async fn connect(address: &PublicAddress, trust: &Arc<ClientConfig>) -> Result<Self, NoLink> {
        let begun = Instant::now();
        let socket = dial::tcp(&address.host, address.port, CONNECT).await.map_err(NoLink::Unreachable)?;
        let ends = (socket.peer_addr(), socket.local_addr());
        let (Ok(peer), Ok(local)) = ends else { return Err(NoLink::Slow) };
        let mut facts = LinkFacts { peer, local, is_http2: false, tls: None, took: Duration::ZERO };
        let socket: Either<TcpStream, TlsStream<TcpStream>> = if address.is_https {
            let name = tls::server_name(&address.host)
                .map_err(|bad| NoLink::Tls(io::Error::new(io::ErrorKind::InvalidInput, bad)))?;
            let socket =
                TlsConnector::from(Arc::clone(trust)).connect(name, socket).await.map_err(tls_failure)?;
            let session = socket.get_ref().1;
            facts.is_http2 = session.alpn_protocol() == Some(b"h2");
            let version = match session.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            };
            let certificate = session.peer_certificates().and_then(|chain| certificate_times(chain.first()?));
            facts.tls = Some(TlsFacts { version, certificate });
            Either::Right(socket)
        } else {
            Either::Left(socket)
        };
        facts.took = begun.elapsed();
        let socket = TokioIo::new(socket);
        let mut driver = JoinSet::new();
        // What goes wrong on the connection is said by the request or the body that it happens to.
        let sender = if facts.is_http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), socket).await.map_err(NoLink::Http)?;
            driver.spawn(async { _ = connection.await });
            HttpSender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(socket).await.map_err(NoLink::Http)?;
            driver.spawn(async { _ = connection.await });
            HttpSender::Http1(sender)
        };
        Ok(Self { sender, facts, _driver: driver })
    }

    /// The head of the answer, without a deadline.
    pub(super) async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            HttpSender::Http1(sender) => sender.send_request(request).await,
            HttpSender::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// Sorts what a handshake fails with: the certificate's own faults are told from all others.
fn tls_failure(error: io::Error) -> NoLink {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => NoLink::Certificate(why.clone()),
        _ => NoLink::Tls(error),
    }
}
