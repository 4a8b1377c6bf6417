//! `[[capture]]`: answers that stream, readers who are cut off and come back, and a backend that is asked once.

mod away;
mod changes;
mod clients;
mod instances;
mod owners;
mod requests;
mod roaming;
mod ways;

use crate::harness::{Answer, Backend, Daemon, Head, Peer, request};

/// A backend of the test's own, and a daemon that records what it says.
struct Captured {
    backend: Backend,
    daemon: Daemon,
}

/// The head of an answer that streams.
const STREAMS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-of: backend\r\ntransfer-encoding: chunked\r\n\r\n";

/// An event, and the end of chunks.
const EVENT: &str = "data: 1\n\n";
const END: &str = "0\r\n\r\n";

impl Captured {
    /// With one `[[capture]]` of `/chat`.
    async fn start(keys: &str) -> Self {
        Self::start_with("", keys).await
    }

    /// `more` stands in front of it.
    async fn start_with(more: &str, keys: &str) -> Self {
        let backend = Backend::start().await;
        let keys = format!("{more}[[capture]]\npath = \"/chat\"\n{keys}");
        let daemon = Daemon::start(&backend.config(&keys)).await;
        Self { backend, daemon }
    }

    /// A client that has asked, and the backend's side of it.
    async fn ask(&self, request: &str) -> (Peer, Peer, Head) {
        let client = Peer::send_to(self.daemon.public, request).await;
        let (at, head) = self.backend.request().await;
        (client, at, head)
    }

    /// Begins the answer to a request, of which there is [`EVENT`] then: its reader, the backend's side, and its id.
    async fn begin(&self, request: &str) -> (Peer, Peer, String) {
        let (mut client, mut at, head) = self.ask(request).await;
        if head.get("content-length").is_some() {
            at.body(&head).await;
        }
        at.send(format!("{STREAMS}{:x}\r\n{EVENT}\r\n", EVENT.len())).await;
        let head = client.head().await;
        assert_eq!(head.status(), 200);
        assert_eq!(client.chunks(EVENT.len()).await, EVENT);
        (client, at, head.get("sidestream-stream").expect("its id").to_owned())
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.daemon.public, "GET", path, headers, b"").await
    }
}

/// A request by GET, without more.
const GET: &str = "GET /chat HTTP/1.1\r\nhost: a\r\n\r\n";

/// A POST of JSON, as browsers send it.
fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
