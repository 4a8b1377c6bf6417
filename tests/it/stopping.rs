//! What goes on while the daemon stops, and what a service manager hears of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{
    Backend, Daemon, KEY, Managed, Node, Peer, Redis, Stream, eventually, listening, request, within_time,
};

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

#[tokio::test]
async fn a_hangup_ends_nothing() {
    let daemon = Daemon::start("").await;
    daemon.signal("HUP");
    daemon.logged("\"by\":\"SIGHUP\"").await;
    assert_eq!(daemon.ask("/healthz").await.status, 200);
    listening(&daemon, "/events?topic=a").await;
}

#[tokio::test]
async fn a_service_manager_is_told_when_the_daemon_serves_works_and_stops() {
    let mut managed =
        Managed::start("public.backend = \"http://127.0.0.1:9\"\ndrain.window = \"0s\"\n", "1").await;
    managed.is_told("READY=1").await;
    managed.is_told("STATUS=0 streams").await;
    for _ in 0..3 {
        managed.is_told("WATCHDOG=1").await;
    }
    managed.signal("TERM").await;
    let told = managed.is_told("STOPPING=1").await;
    // The deadline of 30 s, and what comes behind it.
    assert!(told.contains("EXTEND_TIMEOUT_USEC=38000000"), "{told}");
    assert_eq!(managed.hears("ended").await, 0);
}

#[tokio::test]
async fn a_stop_that_takes_longer_than_the_watchdog_waits_shows_signs_of_life() {
    let config = "public.backend = \"http://127.0.0.1:9\"\ndrain.delay = \"3s\"\ndrain.window = \"0s\"\n";
    let mut managed = Managed::start(config, "1").await;
    managed.is_told("READY=1").await;
    managed.signal("TERM").await;
    managed.is_told("STOPPING=1").await;
    for _ in 0..3 {
        managed.is_told("WATCHDOG=1").await;
    }
    assert_eq!(managed.hears("ended").await, 0);
}

/// Reads `stream` and those that follow it, as EventSource does, until it has read "end".
async fn read_on(public: SocketAddr, mut stream: Stream) -> Vec<String> {
    let mut got = Vec::new();
    let mut last = stream.block().await.id.expect("the id of `connected`");
    loop {
        while let Some(block) = stream.next().await {
            assert!(!block.is("reset"), "{block:?}");
            if let Some(id) = &block.id {
                last.clone_from(id);
            }
            if block.is("n") {
                got.push(block.data().to_owned());
            }
            if block.data() == "end" {
                return got;
            }
            // Asked to come back: the log is not loaded yet, or this one stops.
            if block.is("refused") {
                break;
            }
        }
        stream = loop {
            match Stream::try_open(public, "/events?topic=a", &[("last-event-id", &last)]).await {
                Some(stream) => break stream,
                None => continue,
            }
        };
    }
}

#[tokio::test]
async fn a_restart_behind_passed_sockets_refuses_no_page_and_loses_no_event() {
    let app =
        Node::start("const server = http.createServer((req, res) => setTimeout(() => res.end('page'), 5));")
            .await;
    let redis = Redis::start().await;
    let config = format!(
        "public.backend = \"{}\"\n{}[redis.stream]\n[drain]\nwindow = \"500ms\"\n[sse]\nretry_min = \"10ms\"\nretry_max = \"50ms\"\n",
        app.url,
        redis.section()
    );
    let mut managed = Managed::start(&config, "0").await;
    managed.is_told("READY=1").await;
    let (public, internal) = (managed.public, managed.internal);
    eventually("the log is loaded", async || {
        (request(internal, "GET", "/readyz/events", &[], b"").await.status == 200).then_some(())
    })
    .await;

    let mut readers = JoinSet::new();
    for _ in 0..20 {
        readers.spawn(read_on(public, Stream::open(public, "/events?topic=a", &[]).await));
    }
    let publishing = async {
        let key = format!("Bearer {KEY}");
        let headers = [("authorization", key.as_str())];
        let publish = async |data: Value| {
            let body = json!({ "topic": "a", "event": "n", "data": data }).to_string();
            eventually("it is published", async || {
                let answer = request(internal, "POST", "/publish", &headers, body.as_bytes()).await;
                (answer.status == 200).then_some(())
            })
            .await;
        };
        for n in 0..150 {
            publish(json!(n)).await;
        }
        publish(json!("end")).await;
    };
    // Every page is answered, whichever of the two it meets; a connection that ends is no answer.
    let pages = async {
        for _ in 0..150 {
            let answer = request(public, "GET", "/page", &[("connection", "close")], b"").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "page"));
        }
    };
    let restart = async {
        managed.signal("TERM").await;
        assert_eq!(managed.hears("ended").await, 0);
        managed.is_told("READY=1").await;
    };
    let (all, (), (), ()) = within_time(Duration::from_secs(60), "a restart", async {
        tokio::join!(readers.join_all(), publishing, pages, restart)
    })
    .await;
    let mut expected: Vec<_> = (0..150).map(|n| n.to_string()).collect();
    expected.push("end".to_owned());
    for got in all {
        assert_eq!(got, expected);
    }
}
