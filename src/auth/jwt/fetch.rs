//! Fetches documents: each bounded in time and size, on a connection of its own, redirects not followed. Knows nothing
//! of what they are for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::config::HttpUrl;
use crate::net::tls;
use crate::net::tls::{BadTls, Trust};
use crate::net::via::Outbound;

/// How documents are fetched.
pub(in crate::auth) struct Fetcher {
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    max: usize,
    outbound: Outbound,
}

/// Why there is no document. Says nothing of its content.
#[derive(Debug, thiserror::Error)]
pub(in crate::auth) enum FetchError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    #[error("it was answered with {0}")]
    Status(StatusCode),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl FetchError {
    /// One word for a metric's label.
    pub(in crate::auth) fn label(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
        }
    }
}

impl Fetcher {
    /// `secure` says whether anything is fetched by https; `ca` is PEM of the authorities that are believed then.
    /// Without it the system's are, which are read from disk.
    pub(in crate::auth) fn new(
        secure: bool,
        ca: Option<&str>,
        timeout: Duration,
        max: usize,
        outbound: Outbound,
    ) -> Result<Self, BadTls> {
        let trust = ca.map_or(Trust::System, |ca| Trust::Only(ca.as_bytes()));
        let tls = if secure { Some(tls::client(trust, None, &[b"http/1.1"])?) } else { None };
        Ok(Self { tls, timeout, max, outbound })
    }

    /// The document at `url`. Dropping it gives up the connection.
    pub(in crate::auth) async fn get(&self, url: &HttpUrl) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.fetch(url)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn fetch(&self, url: &HttpUrl) -> Result<Bytes, FetchError> {
        let HttpUrl { https, host, port, .. } = url;
        let socket = self.outbound.connect(*https, host, *port, self.timeout).await;
        let socket = socket.map_err(FetchError::Connect)?;
        if !https {
            return self.ask(url, socket).await;
        }
        let no_tls = |why: &dyn ToString| FetchError::Tls(io::Error::other(why.to_string()));
        let config = self.tls.as_ref().ok_or_else(|| no_tls(&"nothing was to be fetched by https"))?;
        let name = tls::server_name(host).map_err(|bad| no_tls(&bad))?;
        let connector = TlsConnector::from(Arc::clone(config));
        self.ask(url, connector.connect(name, socket).await.map_err(FetchError::Tls)?).await
    }

    async fn ask(
        &self,
        url: &HttpUrl,
        socket: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<Bytes, FetchError> {
        let (mut origin, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(FetchError::Broken)?;
        let request = Request::get(url.target.as_str())
            .header(HOST, url.authority())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("sidestream/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .expect("a URL's parts make a request");
        let exchange = async {
            let answer = origin.send_request(request).await.map_err(FetchError::Broken)?;
            if answer.status() != StatusCode::OK {
                return Err(FetchError::Status(answer.status()));
            }
            match Limited::new(answer.into_body(), self.max).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) => match error.downcast::<hyper::Error>() {
                    Ok(error) => Err(FetchError::Broken(*error)),
                    Err(error) => {
                        debug_assert!(error.is::<LengthLimitError>());
                        Err(FetchError::TooLarge(self.max))
                    }
                },
            }
        };
        let drive = async {
            // What it ends with shows in the exchange.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = exchange => result,
            () = drive => unreachable!("it never completes"),
        }
    }
}
