//! `[[capture]]`: answers that stream, readers who are cut off and come back, and a backend that is asked once.

mod changes;
mod clients;
mod owners;
mod requests;
mod ways;

use crate::harness::{Answer, Backend, Daemon, Head, Peer, request};

/// A backend of the test's own, and a daemon that records what it says.
struct Captured {
    backend: Backend,
    daemon: Daemon,
}

/// The head of an answer that streams.
const STREAMS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-of: backend\r\ntransfer-encoding: chunked\r\n\r\n";

/// The end of chunks.
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
