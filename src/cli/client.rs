//! The little HTTP that commands speak: one request, one connection, HTTP/1.1, plain, over TLS or over a Unix socket.
//!
//! Every step but a stream's body has a deadline, and what is read as a whole has a bound.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Uri, response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::error::Error;
use crate::cli::output::note;
use crate::cli::url::{Url, UrlPlace};
use crate::net::outbound::{HttpConnection, ServerAddress};
use crate::net::tls;
use crate::net::tls::{Identity, Trust};

const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the head of its answer; and for a body that is read as a whole.
const ANSWER: Duration = Duration::from_secs(30);

/// Which servers are believed with https.
#[derive(Args, Default, Debug)]
pub(super) struct TrustArguments {
    /// With https: trust the authorities in this file (PEM) too, beside the system's
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    ca: Option<PathBuf>,
    /// With https: accept any certificate. Anyone on the way can then read and change what is sent
    #[arg(long, conflicts_with = "ca", help_heading = "TLS")]
    insecure: bool,
    /// With https: a certificate of one's own (PEM), for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "client_key", help_heading = "TLS")]
    client_cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert", help_heading = "TLS")]
    client_key: Option<PathBuf>,
}

/// How a connection to a server begins; None without TLS.
pub(super) type MaybeTls = Option<Arc<ClientConfig>>;

impl TrustArguments {
    /// What is needed for `url`. Reads files; says it loudly where nothing is verified. `known` is a file of the
    /// certificate of the server itself.
    pub(super) fn for_url(&self, url: &Url, known: Option<&Path>) -> Result<MaybeTls, Error> {
        if !url.is_https() {
            return Ok(None);
        }
        self.with(&url.peer(), &[b"http/1.1"], self.ca.as_deref().or(known)).map(Some)
    }

    /// The same for a server that may speak one of the protocols in `alpn`.
    pub(super) fn config(&self, peer: &str, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
        self.with(peer, alpn, self.ca.as_deref())
    }

    fn with(&self, peer: &str, alpn: &[&[u8]], ca: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
        let read = |path: &Path| std::fs::read(path).map_err(|why| Error::File(path.to_owned(), why));
        let own = ca.map(read).transpose()?;
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        let identity = identity.as_ref().map(|(chain, key)| Identity { chain, key });
        let trust = match &own {
            _ if self.insecure => {
                note(format_args!(
                    "WARNING: --insecure: {peer} is not verified. Anyone on the way can read and change what is sent, \
                     tokens and keys too"
                ));
                Trust::Anyone
            }
            Some(text) => Trust::SystemAnd(text),
            None => Trust::System,
        };
        // Tried alone first, so that an error tells which file it is about.
        let config = match (tls::client(trust, None, alpn), ca) {
            (Ok(config), _) => config,
            (Err(bad), Some(path)) => return Err(Error::BadAuthorities(path.to_owned(), bad)),
            (Err(bad), None) => return Err(Error::Tls(bad)),
        };
        match (identity, &self.client_cert) {
            (Some(identity), Some(path)) => tls::client(trust, Some(identity), alpn)
                .map_err(|bad| Error::BadAuthorities(path.clone(), bad)),
            _ => Ok(config),
        }
    }

    pub(super) fn verifies(&self) -> bool {
        !self.insecure
    }
}

/// An answer whose body is still to be read. Dropped, its connection is closed.
pub(super) struct HttpAnswer {
    pub(super) head: response::Parts,
    peer: String,
    body: Incoming,
    _connection: JoinSet<()>,
}

/// Sends `request` to `url` on a connection of its own and waits for the head of the answer. Host and agent are added;
/// the request's own target does not count.
pub(super) async fn send(
    url: &Url,
    tls: &MaybeTls,
    mut request: Request<Full<Bytes>>,
) -> Result<HttpAnswer, Error> {
    let peer = url.peer();
    let broken = |source| Error::Broken { peer: peer.clone(), source };
    *request.uri_mut() =
        Uri::from_str(url.target()).map_err(|_| Error::BadUrl("is not of the form http://host:port/path"))?;
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        let host = HeaderValue::from_str(url.authority()).map_err(|_| Error::BadUrl("names no host"))?;
        headers.insert(HOST, host);
    }
    if !headers.contains_key(USER_AGENT) {
        let agent = concat!("sidestream/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    }

    let socket = connect(url, tls).await?;
    let (mut sender, connection) = http1::handshake(socket).await.map_err(broken)?;
    let mut driver = JoinSet::new();
    // What goes wrong on the connection is said by the request or the body that it happens to.
    driver.spawn(async {
        let _ = connection.await;
    });
    let response = timeout(ANSWER, sender.send_request(request))
        .await
        .map_err(|_| Error::Slow { peer: peer.clone(), after: ANSWER })?
        .map_err(broken)?;
    let (head, body) = response.into_parts();
    Ok(HttpAnswer { head, peer, body, _connection: driver })
}

async fn connect(url: &Url, tls: &MaybeTls) -> Result<HttpConnection, Error> {
    let peer = || url.peer();
    let place = match url.place() {
        UrlPlace::Unix(path) => ServerAddress::Unix(path.clone()),
        UrlPlace::Tcp { host, port, tls: https } => {
            let name = tls::server_name(host);
            let tls = match (https, tls) {
                (true, Some(config)) => Some((Arc::clone(config), name.map_err(Error::Tls)?)),
                (true, None) => return Err(Error::BadUrl("is https, which is not spoken here")),
                (false, _) => None,
            };
            ServerAddress::Tcp { host: host.clone(), port: *port, tls, via: None }
        }
    };
    let connection = timeout(CONNECT, place.connect(CONNECT))
        .await
        .map_err(|_| Error::Slow { peer: peer(), after: CONNECT })?
        .map_err(|source| unreachable_or_untrusted(peer(), source))?;
    if let Some(socket) = connection.tcp() {
        // So that a silent stream whose server is gone ends some day. Where it cannot be had, it is not.
        let keepalive =
            TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
        let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
    }
    Ok(connection)
}

/// Why there is no connection. A certificate that nobody vouches for can be helped.
fn unreachable_or_untrusted(peer: String, source: io::Error) -> Error {
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Error::Untrusted { peer, source },
        _ => Error::Connect { peer, source },
    }
}

impl HttpAnswer {
    /// The next bytes of the body; None at its end. Without a deadline. Cancel safe.
    pub(super) async fn bytes(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Trailers are nothing to us.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(source)) => return Err(Error::Broken { peer: self.peer.clone(), source }),
            }
        }
    }

    /// The whole body, of at most `max` bytes.
    pub(super) async fn whole(&mut self, max: usize) -> Result<Vec<u8>, Error> {
        let read = async {
            let mut whole = Vec::new();
            while let Some(bytes) = self.bytes().await? {
                if whole.len() + bytes.len() > max {
                    return Err(Error::LargeAnswer { peer: self.peer.clone(), max });
                }
                whole.extend_from_slice(&bytes);
            }
            Ok(whole)
        };
        match timeout(ANSWER, read).await {
            Ok(whole) => whole,
            Err(_) => Err(Error::Slow { peer: self.peer.clone(), after: ANSWER }),
        }
    }

    /// This answer as a refusal, with the sentence that the server gives.
    pub(super) async fn refusal(mut self) -> Error {
        const MAX: usize = 64 << 10;
        // A body that cannot be read leaves the status, which says enough.
        let body = self.whole(MAX).await.unwrap_or_default();
        Error::Refused { peer: self.peer, status: self.head.status, say: sentence(&body) }
    }
}

/// What a refusal's body says: the `error` of its JSON, or its first line.
fn sentence(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Says {
        error: String,
    }
    let text = match serde_json::from_slice::<Says>(body) {
        Ok(says) => says.error,
        Err(_) => String::from_utf8_lossy(body).trim_start().lines().next().unwrap_or_default().to_owned(),
    };
    // A page of HTML says nothing to a shell.
    if text.starts_with('<') {
        return String::new();
    }
    text.chars().filter(|char| !char.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_in_the_servers_words_without_control_characters() {
        for (body, say) in [
            (r#"{"error":"the publish key is wrong"}"#, "the publish key is wrong"),
            ("Cannot GET\u{1b}[31m /x\r\nmore", "Cannot GET[31m /x"),
            ("<!doctype html><title>x", ""),
            ("", ""),
        ] {
            assert_eq!(sentence(body.as_bytes()), say);
        }
    }
}
