//! Everything that is no stream: forwarded to the backend byte for byte, and its answer brought back.

mod addresses;
mod bodies;
mod expect;
mod failures;
mod fields;
mod framing;
mod heads;
mod node;
mod plain;
mod pool;
mod tls;
mod upgrade;
mod waiting;

use crate::harness::{Backend, Daemon, Peer};

/// A daemon in front of a scripted backend. `more` is configuration.
async fn start(more: &str) -> (Backend, Daemon) {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config(more)).await;
    (backend, daemon)
}

/// A request without a body.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Reads an answer and its whole body.
async fn answer(client: &mut Peer) -> (u16, String) {
    let head = client.head().await;
    let body = client.body(&head).await;
    (head.status(), body)
}
