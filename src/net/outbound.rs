//! Connections to other HTTP servers, kept between requests: over TCP, TLS or a Unix socket.
//!
//! Follows no redirects and bounds no time but that of connecting: the rest is the caller's. Knows neither what is
//! asked nor where the configuration came from.

use crate::future::BoxFuture;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tower_service::Service;

use crate::net::dial;
use crate::net::via::HttpProxy;

/// How long an idle connection is kept: Node closes one after five seconds, and a request may be on its way just then.
const KEEP: Duration = Duration::from_secs(4);

/// How long a connection is used again, so that a name's new address is followed.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Connections to one server; requests with bodies of the kind `B`. Cloning shares.
#[derive(Clone)]
pub struct HttpPool<B> {
    client: legacy::Client<HttpConnector, B>,
    max_age: Duration,
}

/// Where a server is.
pub enum ServerAddress {
    Tcp {
        host: String,
        port: u16,
        /// With the name that its certificate must have.
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        /// The proxy on the way there.
        via: Option<HttpProxy>,
    },
    Unix(PathBuf),
}

/// Connects to nobody yet. Keeps at most `idle` connections that are not in use; to make one may take `limit`.
pub fn pool<B>(place: ServerAddress, limit: Duration, idle: usize) -> HttpPool<B>
where
    B: Body + Send,
    B::Data: Send,
{
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP)
        .pool_max_idle_per_host(idle)
        .build(HttpConnector { place: Arc::new(place), limit });
    HttpPool { client, max_age: MAX_AGE }
}

impl<B> HttpPool<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends a request and waits for the head of its answer. Dropping the future gives it up.
    pub async fn request(&self, mut request: Request<B>) -> Result<Response<Incoming>, legacy::Error> {
        let connection = capture_connection(&mut request);
        let answer = self.client.request(request).await?;
        let is_old = |OpenSince(since): &OpenSince| since.elapsed() >= self.max_age;
        if answer.extensions().get::<OpenSince>().is_some_and(is_old)
            && let Some(connection) = connection.connection_metadata().as_ref()
        {
            connection.poison();
        }
        Ok(answer)
    }
}

/// OpenSince when a connection is open.
#[derive(Clone)]
struct OpenSince(Instant);

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
struct HttpConnector {
    place: Arc<ServerAddress>,
    limit: Duration,
}

impl ServerAddress {
    /// A connection to it, TLS included. The caller bounds the time, and says by how much.
    pub async fn connect(&self, limit: Duration) -> io::Result<HttpConnection> {
        let socket = match self {
            Self::Unix(path) => Either::Left(Either::Right(UnixStream::connect(path).await?)),
            Self::Tcp { host, port, tls, via } => {
                let socket = match via {
                    Some(proxy) => proxy.connect(host, *port, limit).await?,
                    None => dial::tcp(host, *port, limit).await?,
                };
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
        let Self { place, limit } = self.clone();
        Box::pin(async move {
            let connected = timeout(limit, place.connect(limit)).await;
            connected
                .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
        })
    }
}

/// A connection, as hyper reads and writes it.
pub struct HttpConnection(TokioIo<Either<Either<TcpStream, UnixStream>, TlsStream<TcpStream>>>);

impl HttpConnection {
    /// Its socket, unless it is a Unix socket.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self.0.inner() {
            Either::Left(Either::Left(socket)) => Some(socket),
            Either::Left(Either::Right(_)) => None,
            Either::Right(tls) => Some(tls.get_ref().0),
        }
    }
}

impl Connection for HttpConnection {
    fn connected(&self) -> Connected {
        Connected::new().extra(OpenSince(Instant::now()))
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

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// How many connections three requests take, one after the other.
    async fn connections(max_age: Duration) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port, tls: None, via: None };
        let pool = HttpPool { max_age, ..pool::<Empty<bytes::Bytes>>(place, Duration::from_secs(5), 1) };
        let asking = async {
            for _ in 0..3 {
                let uri = format!("http://127.0.0.1:{port}/");
                let answer = pool.request(Request::get(uri).body(Empty::new()).unwrap()).await.unwrap();
                answer.into_body().collect().await.unwrap();
            }
        };
        let mut accepted = 0;
        let serving = async {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                accepted += 1;
                let mut head = [0; 1024];
                while let Ok(1..) = socket.read(&mut head).await {
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            }
        };
        tokio::select! { () = asking => {}, () = serving => {} }
        accepted
    }

    #[tokio::test]
    async fn a_connection_that_has_grown_old_is_not_used_again() {
        assert_eq!(connections(Duration::from_secs(3600)).await, 1);
        assert_eq!(connections(Duration::ZERO).await, 3);
    }
}
