//! The little HTTP that `publish`, `tail` and the demo's backend speak: one request, one connection, plain HTTP/1.1.
//!
//! Every step but a stream's body has a deadline, and what is read as a whole has a bound.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, Uri, response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cli::error::Error;
use crate::net::dial;

const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the head of its answer; and for a body that is read as a whole.
const ANSWER: Duration = Duration::from_secs(30);

/// An `http://` address, fit to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    host: String,
    port: u16,
    /// As it stands in a `Host` header.
    authority: String,
    /// Path and query.
    target: String,
}

/// An answer whose body is still to be read. Dropped, its connection is closed.
pub(super) struct HttpAnswer {
    pub(super) head: response::Parts,
    peer: String,
    body: Incoming,
    _connection: JoinSet<()>,
}

/// What people type into a shell and a request's line cannot hold.
const UNSENDABLE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'^');

impl FromStr for Url {
    type Err = Error;

    /// `http://host[:port][/path][?query]`; the scheme may be left out, and what is behind a `#` is dropped.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.split('#').next().unwrap_or_default().trim();
        let text = match text.split_once("://") {
            None => format!("http://{text}"),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => text.to_owned(),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(Error::BadUrl(
                    "is https, which this command does not speak: name the daemon's own listener, by http",
                ));
            }
            Some(_) => return Err(Error::BadUrl("has to begin with http://")),
        };
        let text = utf8_percent_encode(&text, UNSENDABLE).to_string();
        let uri =
            Uri::from_str(&text).map_err(|_| Error::BadUrl("is not of the form http://host:port/path"))?;
        let authority = uri.authority().ok_or(Error::BadUrl("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(Error::BadUrl("must not hold a user or a password"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(Error::BadUrl("names no host"));
        }
        let port = match authority.as_str()[host.len()..].trim_start_matches(':') {
            "" => 80,
            port => match port.parse() {
                Ok(0) | Err(_) => {
                    return Err(Error::BadUrl("has a port that is not a number from 1 to 65535"));
                }
                Ok(port) => port,
            },
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            authority: authority.to_string(),
            target: if target.starts_with('/') { target.to_owned() } else { format!("/{target}") },
        })
    }
}

impl Url {
    /// The address of `path` on the same host, below this address's own path.
    pub(super) fn below(&self, path: &str) -> Self {
        let own = self.target.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { target: format!("{own}{path}"), ..self.clone() }
    }

    /// Host and port, for people.
    pub(super) fn peer(&self) -> &str {
        &self.authority
    }
}

/// Sends `request` to `url` on a connection of its own and waits for the head of the answer. Host and agent are added;
/// the request's own target does not count.
pub(super) async fn send(url: &Url, mut request: Request<Full<Bytes>>) -> Result<HttpAnswer, Error> {
    let peer = url.peer().to_owned();
    let broken = |source| Error::Broken { peer: peer.clone(), source };
    *request.uri_mut() =
        Uri::from_str(&url.target).map_err(|_| Error::BadUrl("is not of the form http://host:port/path"))?;
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        let host = HeaderValue::from_str(&url.authority).map_err(|_| Error::BadUrl("names no host"))?;
        headers.insert(HOST, host);
    }
    if !headers.contains_key(USER_AGENT) {
        let agent = concat!("sidestream/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    }

    let socket = connect(url).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
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

async fn connect(url: &Url) -> Result<TcpStream, Error> {
    let peer = || url.peer().to_owned();
    let socket = timeout(CONNECT, dial::tcp(&url.host, url.port, CONNECT))
        .await
        .map_err(|_| Error::Slow { peer: peer(), after: CONNECT })?
        .map_err(|source| Error::Connect { peer: peer(), source })?;
    // So that a silent stream whose server is gone ends some day. Where it cannot be had, it is not.
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    Ok(socket)
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

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (text, host, port, authority, target) in [
            ("http://127.0.0.1:8081", "127.0.0.1", 8081, "127.0.0.1:8081", "/"),
            ("HTTP://a/events?topic=x&topic=y", "a", 80, "a", "/events?topic=x&topic=y"),
            ("localhost:8080/events?topic=a:b", "localhost", 8080, "localhost:8080", "/events?topic=a:b"),
            ("http://[::1]:80/?a=b#c", "::1", 80, "[::1]:80", "/?a=b"),
            ("http://a:1?topic=x", "a", 1, "a:1", "/?topic=x"),
            ("http://a/e?topic=grün ☂&x={y}%20", "a", 80, "a", "/e?topic=gr%C3%BCn%20%E2%98%82&x=%7By%7D%20"),
        ] {
            let wanted = Url { host: host.into(), port, authority: authority.into(), target: target.into() };
            assert_eq!(url(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_reached_by_http_is_refused() {
        for text in [
            "",
            "http://",
            "https://a/",
            "ftp://a/",
            "/events",
            "http:///events",
            "http://a:0/",
            "http://a:65536/",
            "http://a:b/",
            "http://a:1:2/",
            "http://u:p@a/",
            "http://[::1/",
            "http://a b/",
        ] {
            let parsed = text.parse::<Url>();
            assert!(matches!(parsed, Err(Error::BadUrl(_))), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_path_below_keeps_the_address_own_path() {
        for (base, wanted) in
            [("http://a:1", "/publish"), ("http://a:1/", "/publish"), ("http://a:1/x/?y", "/x/publish")]
        {
            assert_eq!(url(base).below("/publish").target, wanted);
        }
    }

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
