//! One bounded request to the application, over connections that are kept.
//!
//! Follows no redirects and knows no meanings: a status, headers, a body up to a bound. The caller of this file bounds
//! the time.

use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};

use crate::config;
use crate::config::{AuthServer, Backend};
use crate::net::outbound;
use crate::net::outbound::{HttpPool, ServerAddress, innermost};
use crate::net::tls;

/// An answer's body is read up to here.
pub(in crate::auth) const MAX_BODY: usize = 64 << 10;

/// Asks one server. Cloning shares.
#[derive(Clone)]
pub(in crate::auth) struct SubrequestClient {
    pool: HttpPool<Empty<Bytes>>,
    scheme: Scheme,
    authority: Authority,
}

/// A whole answer.
pub(in crate::auth) struct SubrequestResponse {
    pub(in crate::auth) status: StatusCode,
    pub(in crate::auth) headers: HeaderMap,
    /// None when it is larger than [`MAX_BODY`].
    pub(in crate::auth) body: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum SubrequestError {
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

impl SubrequestClient {
    /// Connects to nobody yet. Keeps at most `idle` connections that are not in use; to make one may take `limit`.
    pub(in crate::auth) fn new(
        server: &AuthServer,
        (backend, proxy): (&Backend, &config::Proxy),
        limit: Duration,
        idle: usize,
    ) -> Result<Self, BadServer> {
        let tcp = |host: &str, port, tls| ServerAddress::Tcp { host: host.to_owned(), port, tls, via: None };
        let (place, authority) = match (server, backend) {
            (AuthServer::Tcp { host, port, tls: true }, _) => {
                let config = tls::client(tls::Trust::System, None, &[b"http/1.1"]).map_err(BadServer::Tls)?;
                let name = tls::server_name(host).map_err(BadServer::Name)?;
                (tcp(host, *port, Some((config, name))), authority(host, *port))
            }
            (AuthServer::Tcp { host, port, tls: false }, _)
            | (AuthServer::PublicBackend, Backend::Tcp { host, port, tls: false }) => {
                (tcp(host, *port, None), authority(host, *port))
            }
            (AuthServer::PublicBackend, Backend::Tcp { host, port, tls: true }) => {
                let tls = proxy.tls(host).map_err(BadServer::Tls)?;
                (tcp(host, *port, Some(tls)), authority(host, *port))
            }
            (AuthServer::Unix(path), _) | (AuthServer::PublicBackend, Backend::Unix(path)) => {
                (ServerAddress::Unix(path.clone()), "localhost".to_owned())
            }
        };
        let scheme = match &place {
            ServerAddress::Tcp { tls: Some(_), .. } => Scheme::HTTPS,
            _ => Scheme::HTTP,
        };
        let authority = authority.parse().map_err(|_| BadServer::Authority)?;
        Ok(Self { pool: outbound::pool(place, limit, idle), scheme, authority })
    }

    /// Sends one request without a body. Dropping the future gives it up.
    pub(in crate::auth) async fn ask(
        &self,
        method: &Method,
        target: &PathAndQuery,
        headers: impl Iterator<Item = (http::HeaderName, HeaderValue)> + Clone,
    ) -> Result<SubrequestResponse, SubrequestError> {
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
                if error.is_connect() {
                    SubrequestError::Connect(why)
                } else {
                    SubrequestError::BrokeOff(why)
                }
            })?
            .into_parts();
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => Some(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => None,
            Err(error) => return Err(SubrequestError::BrokeOff(innermost(&*error))),
        };
        Ok(SubrequestResponse { status: head.status, headers: head.headers, body })
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
