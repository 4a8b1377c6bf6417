//! WebSocket and other protocols that a connection is switched to.

use super::{get, start};
use crate::harness::{Daemon, Node, Peer, eventually};

const ASKING: &str = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A client and its backend after the switch.
async fn switched(backend: &crate::harness::Backend, daemon: &Daemon) -> (Peer, Peer) {
    let mut client = Peer::send_to(daemon.public, ASKING).await;
    let (mut at, head) = backend.request().await;
    assert_eq!((head.get("connection"), head.get("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(head.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    // The first bytes of the new protocol come with the head.
    at.send(format!("{SWITCHING}first")).await;
    let head = client.head().await;
    assert_eq!(head.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!((head.get("connection"), head.get("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.expect("first").await;
    (client, at)
}

#[tokio::test]
async fn a_switched_connection_carries_bytes_both_ways() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = switched(&backend, &daemon).await;
    for word in ["\u{0}ping\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        client.send(word).await;
        at.expect(word).await;
        at.send(word).await;
        client.expect(word).await;
    }
    assert_eq!(daemon.metric("sidestream_proxy_in_flight", &[]).await, 1.0);
    drop(client);
    at.ended().await;
    drop(at);
    eventually("it is counted as ended", async || {
        (daemon.metric("sidestream_proxy_in_flight", &[]).await == 0.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_proxy_requests_total", &["1xx"]).await, 1.0);
}

#[tokio::test]
async fn one_half_may_end_before_the_other() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = switched(&backend, &daemon).await;
    client.send("question").await;
    client.finish().await;
    at.expect("question").await;
    at.ended().await;
    at.send("answer").await;
    client.expect("answer").await;
    at.finish().await;
    client.ended().await;
}

#[tokio::test]
async fn the_backends_end_is_the_clients_end() {
    let (backend, daemon) = start("").await;
    let (mut client, at) = switched(&backend, &daemon).await;
    drop(at);
    client.ended().await;
}

#[tokio::test]
async fn a_stop_closes_switched_connections_within_the_drain() {
    let (backend, mut daemon) = start("drain.window = \"100ms\"\ndrain.deadline = \"60s\"\n").await;
    let (mut client, mut at) = switched(&backend, &daemon).await;
    daemon.signal("TERM");
    client.ended().await;
    at.ended().await;
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, ASKING).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: other/2\r\ncontent-length: 2\r\n\r\nno").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("upgrade")), (426, Some("other/2")));
    assert_eq!(client.body(&head).await, "no");
    client.send(get("/next")).await;
    assert_eq!(at.head().await.target(), "/next");
}

#[tokio::test]
async fn nobody_is_switched_unasked() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send(SWITCHING).await;
    assert_eq!(client.head().await.status(), 502);
    at.ended().await;
}

#[tokio::test]
async fn http2_without_tls_is_no_way_around() {
    let (backend, daemon) = start("").await;
    let request = "GET / HTTP/1.1\r\nhost: h\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, request).await;
    let (mut at, head) = backend.request().await;
    assert_eq!((head.get("upgrade"), head.get("http2-settings"), head.get("connection")), (None, None, None));
    at.send(super::OK).await;
    assert_eq!(super::answer(&mut client).await.0, 200);
}

#[tokio::test]
async fn node_echoes_over_a_switched_connection() {
    let node = Node::start(
        "const crypto = require('crypto');
         const server = http.createServer((req, res) => res.end('plain'));
         server.on('upgrade', (req, socket) => {
            const key = req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
            const accept = crypto.createHash('sha1').update(key).digest('base64');
            socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n' +
                'Sec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
            socket.pipe(socket);
         });",
    )
    .await;
    let daemon = Daemon::start(&node.config("")).await;
    let mut client = Peer::send_to(daemon.public, ASKING).await;
    assert_eq!(client.head().await.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let large = "0123456789abcdef".repeat(4096);
    for _ in 0..16 {
        client.send(&large).await;
        client.expect(&large).await;
    }
    client.finish().await;
    client.ended().await;
}
