//! A receiver whose every answer is the test's.

use serde_json::Value;

use crate::harness::{Backend, Head, Peer};

pub(super) const SECRET: &str = "a-webhook-secret-of-32-bytes-or-more";

/// What every stream of these tests is opened by.
const STREAM: &str = "[[stream]]\npath = \"/events\"\ntopics = [\"{query.topic}\"]\nuser = \"{query.user}\"\nsession = \"{query.session}\"\n[[stream]]\npath = \"/plain\"\n";

/// A daemon's configuration with one webhook, which gets the events of streams unless `keys`, more of its keys, say
/// otherwise; `more` comes in front.
pub(super) fn config(url: &str, keys: &str, more: &str) -> String {
    let events = if keys.contains("events = ") { "" } else { "events = [\"connected\", \"disconnected\"]\n" };
    format!(
        "{more}\n{STREAM}[[webhook]]\nname = \"app\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nmax_delay = \"20ms\"\nretry_min = \"20ms\"\nretry_max = \"100ms\"\n{events}{keys}"
    )
}

pub(super) struct Receiver(pub(super) Backend);

/// One request, which waits for its answer.
pub(super) struct Request {
    pub(super) peer: Peer,
    pub(super) head: Head,
    pub(super) body: String,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        Self(Backend::start().await)
    }

    pub(super) fn url(&self) -> String {
        format!("{}/hooks?key=s3cret", self.0.url)
    }

    /// The next request, on a connection of its own.
    pub(super) async fn request(&self) -> Request {
        let (mut peer, head) = self.0.request().await;
        let body = peer.body(&head).await;
        Request { peer, head, body }
    }

    /// The next request, which is accepted.
    pub(super) async fn accept(&self) -> Value {
        let request = self.request().await;
        let body = request.json();
        request.answer("200 OK").await;
        body
    }

    /// Accepts until there have been `count` events.
    pub(super) async fn events(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let body = self.accept().await;
            assert_eq!(body["dropped"], 0, "{body}");
            events.extend(body["events"].as_array().expect("events").iter().cloned());
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }
}

impl Request {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.head.get(name).unwrap_or_else(|| panic!("{name} is missing in {:?}", self.head))
    }

    /// Answers without a body and ends the connection; `answer` may hold header lines.
    pub(super) async fn answer(mut self, answer: &str) {
        self.peer.send(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
    }
}
