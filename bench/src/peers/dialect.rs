//! What each server wants to hear: the request for a stream, and the request that publishes.

use std::net::SocketAddr;

use crate::wire::{Mark, topic};

/// Where a server is reached, and in which words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) streams: SocketAddr,
    pub(crate) publish: SocketAddr,
    pub(crate) dialect: Dialect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `GET /events?topic=t0000`, `POST /publish` with the envelope.
    Sidestream,
    /// `GET /sub/t0000`, `POST /pub/t0000` with the data: nchan, the Node servers and the bare loop.
    Paths,
    /// A unidirectional stream that subscribes as it connects, and `POST /api/publish`.
    Centrifugo,
    /// One path for both, and a form.
    Mercure,
}

/// The key that may publish.
pub(super) const KEY: &str = "benchmark-key-0123456789abcdef0123456789";
/// Signed with [`KEY`] by HS256: `{"mercure":{"publish":["*"]}}`.
const MERCURE_TOKEN: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJtZXJjdXJlIjp7InB1Ymxpc2giOlsiKiJdfX0",
    ".lH-IjG155m5KuVJBTzGZTMeVDa1l7W8YVYJj7-qTSfs"
);

impl Target {
    /// Asks for a stream of this topic.
    pub(crate) fn stream(&self, number: u32) -> Vec<u8> {
        self.stream_with(number, "", None)
    }

    /// The same with more in the query, or from behind an id on.
    pub(crate) fn stream_with(&self, number: u32, query: &str, last_id: Option<&[u8]>) -> Vec<u8> {
        let topic = topic(number);
        let path = match self.dialect {
            Dialect::Sidestream => format!("/events?topic={topic}{query}"),
            Dialect::Paths => format!("/sub/{topic}"),
            Dialect::Centrifugo => {
                format!(
                    "/connection/uni_sse?cf_connect=%7B%22subs%22%3A%7B%22{topic}%22%3A%7B%7D%7D%7D{query}"
                )
            }
            Dialect::Mercure => format!("/.well-known/mercure?topic={topic}{query}"),
        };
        let mut request =
            format!("GET {path} HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n", self.streams)
                .into_bytes();
        if let Some(id) = last_id {
            request.extend_from_slice(b"last-event-id: ");
            request.extend_from_slice(id);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    /// Publishes blank data of this size to topic 0.
    pub(crate) fn publish(&self, size: usize) -> Vec<u8> {
        let data = Mark::blank(size);
        let topic = topic(0);
        let json = "application/json";
        let (path, key, form, body) = match self.dialect {
            Dialect::Sidestream => {
                let body = [format!("{{\"topic\":\"{topic}\",\"data\":").as_bytes(), &data, b"}"].concat();
                ("/publish".to_owned(), format!("authorization: Bearer {KEY}\r\n"), json, body)
            }
            Dialect::Paths => (format!("/pub/{topic}"), String::new(), json, data),
            Dialect::Centrifugo => {
                let body = [format!("{{\"channel\":\"{topic}\",\"data\":").as_bytes(), &data, b"}"].concat();
                ("/api/publish".to_owned(), format!("x-api-key: {KEY}\r\n"), json, body)
            }
            Dialect::Mercure => {
                // The data has no character that a form would have to escape.
                let body = [format!("topic={topic}&data=").as_bytes(), &data].concat();
                let key = format!("authorization: Bearer {MERCURE_TOKEN}\r\n");
                ("/.well-known/mercure".to_owned(), key, "application/x-www-form-urlencoded", body)
            }
        };
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\n{key}content-type: {form}\r\ncontent-length: {}\r\n\r\n",
            self.publish,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        request
    }
}

/// `PUBLISH` of blank data of this size on sidestream's own channel of topic 0.
pub(crate) fn redis_publish(size: usize) -> Vec<u8> {
    let channel = format!("sidestream:topic:{}", topic(0));
    let message = [&b"{\"data\":"[..], &Mark::blank(size), b"}"].concat();
    redis_command(&[b"PUBLISH", channel.as_bytes(), &message])
}

/// `XADD` of blank data of this size for topic 0 to sidestream's own stream.
pub(crate) fn redis_add(size: usize) -> Vec<u8> {
    let event =
        [format!("{{\"topic\":\"{}\",\"data\":", topic(0)).as_bytes(), &Mark::blank(size), b"}"].concat();
    redis_command(&[b"XADD", b"sidestream:log", b"*", b"event", &event])
}

/// A command in RESP.
pub(crate) fn redis_command(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
    request
}
