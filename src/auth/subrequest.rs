//! One bounded request to the application, over connections that are kept.
//!
//! Follows no redirects and knows no meanings: a status, headers, a body up to a bound. The caller of this file bounds
//! the time.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
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

use crate::config::{AuthServer, Backend};
use crate::tls;

/// An answer's body is read up to here.
pub(super) const MAX_BODY: usize = 64 << 10;

/// How long an idle connection is kept: Node closes one after five seconds, and a request may be on its way just then.
const KEEP: Duration = Duration::from_secs(4);

/// Asks one server. Cloning shares.
#[derive(Clone)]
pub(super) struct Client {
    pool: legacy::Client<Dial, Empty<Bytes>>,
    scheme: Scheme,
    authority: Authority,
}

/// A whole answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// None when it is larger than [`MAX_BODY`].
    pub(super) body: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the answer broke off: {0}")]
    BrokeOff(String),
}

/// Why a server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum BadServer {
    #[error("the name of the server {0}")]
    Name(tls::BadTls),
    #[error("TLS is not possible: {0}")]
    Tls(tls::BadTls),
    #[error("the server has no name that a request can carry")]
    Authority,
}

impl Client {
    /// Connects to nobody yet. Keeps at most `idle` connections that are not in use.
    pub(super) fn new(server: &AuthServer, backend: &Backend, idle: usize) -> Result<Self, BadServer> {
        let tcp = |host: &str, port| Place::Tcp { host: host.to_owned(), port, tls: None };
        let (place, authority) = match (server, backend) {
            (AuthServer::Tcp { host, port, tls: true }, _) => {
                let config = tls::client(tls::Trust::System, None, &[b"http/1.1"]).map_err(BadServer::Tls)?;
                let name = tls::server_name(host).map_err(BadServer::Name)?;
                let tls = Some((config, name));
                (Place::Tcp { host: host.clone(), port: *port, tls }, authority(host, *port))
            }
            (AuthServer::Tcp { host, port, tls: false }, _)
            | (AuthServer::PublicBackend, Backend::Tcp { host, port }) => {
                (tcp(host, *port), authority(host, *port))
            }
            (AuthServer::Unix(path), _) | (AuthServer::PublicBackend, Backend::Unix(path)) => {
                (Place::Unix(path.clone()), "localhost".to_owned())
            }
        };
        let scheme = match &place {
            Place::Tcp { tls: Some(_), .. } => Scheme::HTTPS,
            _ => Scheme::HTTP,
        };
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP)
            .pool_max_idle_per_host(idle)
            .build(Dial(Arc::new(place)));
        let authority = authority.parse().map_err(|_| BadServer::Authority)?;
        Ok(Self { pool, scheme, authority })
    }

    /// Sends one request without a body. Dropping the future gives it up.
    pub(super) async fn ask(
        &self,
        method: &Method,
        target: &PathAndQuery,
        headers: impl Iterator<Item = (http::HeaderName, HeaderValue)> + Clone,
    ) -> Result<Reply, Failure> {
        let once = || async {
            let mut request = Request::new(Empty::new());
            *request.method_mut() = method.clone();
            *request.uri_mut() = self.uri(target);
            headers.clone().for_each(|(name, value)| {
                request.headers_mut().append(name, value);
            });
            self.pool.request(request).await
        };
        let response = match once().await {
            // A connection that was kept may end as the request goes out. To ask again changes nothing there.
            Err(error) if !error.is_connect() && *method != Method::POST => once().await,
            other => other,
        };
        let (head, body) = response
            .map_err(|error| {
                let why = innermost(&error);
                if error.is_connect() { Failure::Connect(why) } else { Failure::BrokeOff(why) }
            })?
            .into_parts();
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => Some(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => None,
            Err(error) => return Err(Failure::BrokeOff(innermost(&*error))),
        };
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    fn uri(&self, target: &PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target.clone());
        Uri::from_parts(parts).expect("a scheme, an authority and a path are an URI")
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What an error comes down to; the ones around it say only where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// Makes connections to one place.
#[derive(Clone)]
struct Dial(Arc<Place>);

enum Place {
    Tcp { host: String, port: u16, tls: Option<(Arc<ClientConfig>, ServerName<'static>)> },
    Unix(PathBuf),
}

impl Place {
    async fn connect(&self) -> io::Result<Link> {
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
        Ok(Link(TokioIo::new(socket)))
    }
}

impl Service<Uri> for Dial {
    type Response = Link;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Link>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = Arc::clone(&self.0);
        Box::pin(async move { place.connect().await })
    }
}

/// A connection.
struct Link(TokioIo<Either<Either<TcpStream, UnixStream>, TlsStream<TcpStream>>>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Link {
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
