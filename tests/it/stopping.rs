//! What goes on while the daemon stops, and what a service manager is told of it.

use std::time::{Duration, Instant};

use crate::harness::{Backend, Daemon, Peer, Stream, eventually, listening};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /page HTTP/1.1\r\nhost: shop.example\r\n\r\n";
const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello";

/// Asks for a page on `client`, lets the backend answer, and gives back what the answer says of the connection.
async fn page(backend: &Backend, client: &mut Peer) -> Option<String> {
    client.send(GET).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.target(), "/page");
    at.send(OK).await;
    let head = client.head().await;
    assert_eq!((head.status(), client.body(&head).await.as_str()), (200, "ok"));
    head.get("connection").map(str::to_owned)
}

async fn twenty_streams(daemon: &Daemon) -> Vec<Stream> {
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(listening(daemon, "/events?topic=a").await);
    }
    streams
}

async fn is_draining(daemon: &Daemon) {
    eventually("it is not ready", async || {
        let answer = daemon.ask("/readyz").await;
        (answer.status == 503 && answer.json()["status"] == "draining").then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_uploads_and_websockets_are_forwarded_until_the_last_stream_is_told() {
    let backend = Backend::start().await;
    let drain = "drain.window = \"3s\"\ndrain.deadline = \"60s\"\n";
    let mut daemon = Daemon::start(&backend.config(drain)).await;
    let mut streams = twenty_streams(&daemon).await;
    let mut kept = Peer::connect(daemon.public).await;
    assert_eq!(page(&backend, &mut kept).await, None);
    let upload = "POST /upload HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\none";
    let mut uploading = Peer::send_to(daemon.public, upload).await;
    let (mut upload_at, _) = backend.request().await;
    upload_at.expect("one").await;

    daemon.signal("TERM");
    daemon.logged("\"message\":\"draining\"").await;
    // On a connection that is open, which ends with the answer, and on a new one.
    assert_eq!(page(&backend, &mut kept).await.as_deref(), Some("close"));
    kept.ended().await;
    assert_eq!(page(&backend, &mut Peer::connect(daemon.public).await).await.as_deref(), Some("close"));
    let mut websocket = Peer::send_to(daemon.public, WEBSOCKET).await;
    let (mut websocket_at, _) = backend.request().await;
    websocket_at.send(SWITCHING).await;
    assert_eq!(websocket.head().await.status(), 101);
    websocket.expect("hello").await;
    // A new stream is sent back with a time to come again.
    let refused = daemon.stream("/events?topic=a").await.block().await;
    assert!(refused.is("refused") && refused.data().contains("draining"), "{refused:?}");

    for stream in &mut streams {
        assert!(stream.block().await.is("closing"));
    }
    websocket.ended().await;
    // The upload began before the stop, and outlives the listener.
    eventually("no more connections are taken", async || {
        tokio::net::TcpStream::connect(daemon.public).await.is_err().then_some(())
    })
    .await;
    uploading.send("two").await;
    upload_at.expect("two").await;
    upload_at.send(OK).await;
    assert_eq!(uploading.head().await.status(), 200);
    uploading.expect("ok").await;
    assert!(daemon.ended().await.success());
    assert!(!daemon.log().contains("deadline has passed"), "{}", daemon.log());
}

#[tokio::test]
async fn for_the_drains_delay_everything_goes_on_but_readiness() {
    let backend = Backend::start().await;
    let drain = "drain.delay = \"2s\"\ndrain.window = \"100ms\"\ndrain.deadline = \"60s\"\n";
    let mut daemon = Daemon::start(&backend.config(drain)).await;
    let mut kept = Peer::connect(daemon.public).await;
    assert_eq!(page(&backend, &mut kept).await, None);
    let begun = Instant::now();
    daemon.signal("TERM");
    is_draining(&daemon).await;
    // A load balancer has not noticed yet: its requests and its streams are served as ever.
    assert_eq!(page(&backend, &mut kept).await, None);
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let closing = stream.block().await;
    assert!(closing.is("closing"), "{closing:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "closed after {:?}", begun.elapsed());
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_the_delay_too() {
    let mut daemon = Daemon::start("drain.delay = \"10m\"\n").await;
    daemon.signal("TERM");
    is_draining(&daemon).await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(1));
}
