//! One question to the public address and the head of its answer, asked as a page's EventSource asks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, USER_AGENT,
};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};

use super::address::PublicAddress;
use super::connect::{Link, LinkFacts, NoLink};

/// Asks as a browser would: with its headers, and what the caller adds for authorization.
pub(super) struct Browser {
    trust: Arc<ClientConfig>,
    own: HeaderMap,
}

/// The head of an answer; its body is still to be read. Dropped, its connection is closed.
pub(super) struct PublicAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// When the request was sent.
    pub(super) asked: Instant,
    /// From then to the head.
    pub(super) took: Duration,
    /// The time of day when the head came.
    pub(super) came: SystemTime,
    pub(super) link: LinkFacts,
    body: Incoming,
    _link: Link,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error(transparent)]
    NoLink(NoLink),
    #[error("no answer within {:.1} s", .0.as_secs_f32())]
    Slow(Duration),
    #[error("the connection broke before an answer")]
    Broken(#[source] hyper::Error),
}

/// The next part of a body.
pub(super) enum BodyPart {
    Data(Bytes),
    /// The end that the server meant.
    End,
    /// The connection broke.
    Cut,
    /// The time is over.
    Silence,
}

impl Browser {
    pub(super) fn new(
        trust: Arc<ClientConfig>,
        headers: Vec<(HeaderName, HeaderValue)>,
        origin: Option<HeaderValue>,
    ) -> Self {
        let mut own = HeaderMap::new();
        own.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        own.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"));
        let agent = concat!("Mozilla/5.0 (compatible; sidestream-doctor/", env!("CARGO_PKG_VERSION"), ")");
        own.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(origin) = origin {
            own.insert(ORIGIN, origin);
        }
        for (name, value) in headers {
            if own.contains_key(&name) {
                own.insert(name, value);
            } else {
                own.append(name, value);
            }
        }
        Self { trust, own }
    }

    /// Asks on a connection of its own, and waits at most `limit` for the head. `more` takes the place of our own
    /// headers.
    pub(super) async fn ask(
        &self,
        method: Method,
        address: &PublicAddress,
        more: &[(HeaderName, HeaderValue)],
        limit: Duration,
    ) -> Result<PublicAnswer, NoAnswer> {
        let mut link = Link::open(address, &self.trust).await.map_err(NoAnswer::NoLink)?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.headers_mut() = self.own.clone();
        for (name, value) in more {
            request.headers_mut().insert(name, value.clone());
        }
        let uri = if link.facts.is_http2 {
            format!("https://{}{}", address.authority, address.target)
        } else {
            // What was parsed from a URI's authority can be sent.
            let host =
                HeaderValue::from_str(&address.authority).unwrap_or(HeaderValue::from_static("localhost"));
            request.headers_mut().insert(HOST, host);
            address.target.clone()
        };
        *request.uri_mut() = Uri::try_from(uri).unwrap_or_default();
        let asked = Instant::now();
        let answer = timeout(limit, link.send(request)).await;
        let answer = answer.map_err(|_| NoAnswer::Slow(limit))?.map_err(NoAnswer::Broken)?;
        let (head, body) = answer.into_parts();
        let (took, came) = (asked.elapsed(), SystemTime::now());
        let link_facts = link.facts.clone();
        Ok(PublicAnswer {
            status: head.status,
            headers: head.headers,
            asked,
            took,
            came,
            link: link_facts,
            body,
            _link: link,
        })
    }

    /// A GET, as an EventSource opens its stream.
    pub(super) async fn get(
        &self,
        address: &PublicAddress,
        more: &[(HeaderName, HeaderValue)],
        limit: Duration,
    ) -> Result<PublicAnswer, NoAnswer> {
        self.ask(Method::GET, address, more, limit).await
    }
}

impl PublicAnswer {
    /// What comes until `deadline`.
    pub(super) async fn next(&mut self, deadline: Instant) -> BodyPart {
        loop {
            match tokio::time::timeout_at(deadline, self.body.frame()).await {
                Err(_) => return BodyPart::Silence,
                Ok(None) => return BodyPart::End,
                Ok(Some(Err(_))) => return BodyPart::Cut,
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return BodyPart::Data(data);
                    }
                }
            }
        }
    }

    /// The beginning of the body, as far as it comes within a moment.
    pub(super) async fn beginning(&mut self) -> Vec<u8> {
        const ENOUGH: usize = 4 << 10;
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut beginning = Vec::new();
        while beginning.len() < ENOUGH
            && let BodyPart::Data(data) = self.next(deadline).await
        {
            beginning.extend_from_slice(&data);
        }
        beginning
    }

    /// A header's text; empty when there is none.
    pub(super) fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
