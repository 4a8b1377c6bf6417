//! Fetches one document from one address: bounded in time and size, on a connection of its own, redirects not
//! followed. Knows nothing of what the document is for.

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
use crate::net::dial;
use crate::net::tls;
use crate::net::tls::{BadTls, Trust};

/// An address that documents are fetched from.
pub(in crate::auth) struct Fetcher {
    url: HttpUrl,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    max: usize,
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
    /// `ca` is PEM of the authorities that are believed; without it the system's are. Reads those from disk.
    pub(in crate::auth) fn new(
        url: HttpUrl,
        ca: Option<&str>,
        timeout: Duration,
        max: usize,
    ) -> Result<Self, BadTls> {
        let tls = match (url.https, ca) {
            (false, _) => None,
            (true, None) => Some(tls::client(Trust::System, None, &[b"http/1.1"])?),
            (true, Some(ca)) => Some(tls::client(Trust::Only(ca.as_bytes()), None, &[b"http/1.1"])?),
        };
        if tls.is_some() {
            // An address that can never have a certificate shows at the start.
            tls::server_name(&url.host)?;
        }
        Ok(Self { url, tls, timeout, max })
    }

    pub(in crate::auth) fn url(&self) -> &HttpUrl {
        &self.url
    }

    /// The document. Dropping it gives up the connection.
    pub(in crate::auth) async fn get(&self) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.fetch()).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn fetch(&self) -> Result<Bytes, FetchError> {
        let socket =
            dial::tcp(&self.url.host, self.url.port, self.timeout).await.map_err(FetchError::Connect)?;
        match &self.tls {
            None => self.ask(socket).await,
            Some(config) => {
                let name =
                    tls::server_name(&self.url.host).map_err(|bad| FetchError::Tls(io::Error::other(bad)))?;
                let connector = TlsConnector::from(Arc::clone(config));
                self.ask(connector.connect(name, socket).await.map_err(FetchError::Tls)?).await
            }
        }
    }

    async fn ask(&self, socket: impl AsyncRead + AsyncWrite + Unpin) -> Result<Bytes, FetchError> {
        let (mut origin, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(FetchError::Broken)?;
        let request = Request::get(self.url.target.as_str())
            .header(HOST, self.url.authority())
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
