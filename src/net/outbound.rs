//! Connections to other HTTP servers, kept between requests: over TCP, TLS or a Unix socket.
//!
//! Follows no redirects and bounds no time: that is the caller's. Knows neither what is asked nor where the
//! configuration came from.

use crate::future::BoxFuture;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::body::Body;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tower_service::Service;

/// How long an idle connection is kept: Node closes one after five seconds, and a request may be on its way just then.
const KEEP: Duration = Duration::from_secs(4);

/// Connections to one server; requests with bodies of the kind `B`. Cloning shares.
pub type HttpPool<B> = legacy::Client<HttpConnector, B>;

/// Where a server is.
pub enum ServerAddress {
    Tcp {
        host: String,
        port: u16,
        /// With the name that its certificate must have.
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    },
    Unix(PathBuf),
}

/// Connects to nobody yet. Keeps at most `idle` connections that are not in use.
pub fn pool<B>(place: ServerAddress, idle: usize) -> HttpPool<B>
where
    B: Body + Send,
    B::Data: Send,
{
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP)
        .pool_max_idle_per_host(idle)
        .build(HttpConnector(Arc::new(place)))
}

/// What an error comes down to; the ones around it say only where.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// Makes connections to one place.
#[derive(Clone)]
pub struct HttpConnector(Arc<ServerAddress>);

impl ServerAddress {
    async fn connect(&self) -> io::Result<HttpConnection> {
        let socket = match self {
            Self::Unix(path) => Either::Left(Either::Right(UnixStream::connect(path).await?)),
            Self::Tcp { host, port, tls } => {
                let socket = TcpStream::connect((host.as_str(), *port)).await?;
                socket.set_nodelay(true)?;
                match tls {
                    None => Either::Left(Either::Left(socket)),
                    Some((config, name)) => {
                        let connector = TlsConnector::from(Arc::clone(config));
                        Either::Right(connector.connect(name.clone(), socket).await?)
                    }
                }
            }
        };
        Ok(HttpConnection(TokioIo::new(socket)))
    }
}

impl Service<Uri> for HttpConnector {
    type Response = HttpConnection;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<HttpConnection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = Arc::clone(&self.0);
        Box::pin(async move { place.connect().await })
    }
}

/// A connection.
pub struct HttpConnection(TokioIo<Either<Either<TcpStream, UnixStream>, TlsStream<TcpStream>>>);

impl Connection for HttpConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for HttpConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
