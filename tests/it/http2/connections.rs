//! An HTTP/2 connection's own bounds: how it begins and ends, and what it may cost.

use std::time::{Duration, Instant};

use h2::Reason;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::QUIET;
use crate::harness::{Backend, Daemon, H2, Peer, eventually, within, within_time};

pub(super) const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of type, flags and stream.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::from(&(payload.len() as u32).to_be_bytes()[1..]);
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `GET / HTTP/2` with `:authority: x`, uncompressed but for what the static table has.
pub(super) fn head_of_get() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 0x01];
    block.push(b'x');
    block
}

#[tokio::test]
async fn the_protocol_is_seen_in_the_first_bytes_however_they_come() {
    let daemon = Daemon::start(QUIET).await;
    // An HTTP/2 client whose first bytes come one by one.
    let mut slow = TcpStream::connect(daemon.public).await.expect("a connection");
    slow.set_nodelay(true).expect("set");
    for byte in PREFACE.as_bytes() {
        slow.write_all(&[*byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    slow.write_all(&frame(4, 0, 0, &[])).await.expect("sent");
    let mut first = [0; 9];
    within("the daemon's settings", slow.read_exact(&mut first)).await.expect("a frame");
    assert_eq!(first[3], 4, "SETTINGS come first: {first:?}");
    // HTTP/1 requests that begin like it, byte by byte too, up to where it can no longer be HTTP/2.
    for begin in ["POST /nowhere", "P", "PRI * HTTP/1.1", "GET /"] {
        let mut peer = Peer::connect(daemon.public).await;
        let request = match begin {
            "P" => "PUT /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "PRI * HTTP/1.1" => "PRI /nowhere HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            begin => format!("{begin} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"),
        };
        let (one, two) = request.split_at(2);
        peer.send(one).await;
        peer.send(two).await;
        assert_eq!(peer.head().await.status(), 502, "{begin}");
    }
}

#[tokio::test]
async fn a_client_that_never_begins_is_let_go() {
    let daemon = Daemon::start("[public]\nhead_timeout = \"300ms\"\n").await;
    // Nothing, half of what could be either, a whole preface and no more, and half a head.
    let head = frame(1, 0, 1, &head_of_get());
    let settled = [PREFACE.as_bytes(), &frame(4, 0, 0, &[]), &head].concat();
    for said in [b"".as_slice(), b"PRI * HT", PREFACE.as_bytes(), &settled] {
        let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
        socket.write_all(said).await.expect("sent");
        let mut got = Vec::new();
        let _ = within("it is let go", socket.read_to_end(&mut got)).await;
    }
    // And one that has had an answer and asks nothing more.
    let mut idle = H2::plain(daemon.public).await;
    assert_eq!(idle.ask("GET", "/x", &[], b"").await.status, 502);
    idle.ended().await.expect("a clean end");
    eventually("none is left", async || {
        (daemon.metric("sidestream_connections_open", &["public"]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_with_a_stream_is_not_idle() {
    let daemon = Daemon::start(&format!("[public]\nhead_timeout = \"200ms\"\n{QUIET}")).await;
    let mut client = H2::plain(daemon.public).await;
    let mut stream = client.stream("/events?topic=a", &[]).await;
    assert!(stream.block().await.is("connected"));
    // Long enough for an idle one to be let go several times over.
    let idle = H2::plain(daemon.public).await;
    idle.ended().await.expect("a clean end");
    let idle = H2::plain(daemon.public).await;
    idle.ended().await.expect("a clean end");
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.block().await.data(), "1");
}

#[tokio::test]
async fn more_requests_than_the_limit_wait_for_their_turn() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config(&format!("public.http2_max_streams = 3\n{QUIET}"))).await;
    let mut client = H2::plain(daemon.public).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = client.stream("/events?topic=a", &[]).await;
        assert!(stream.block().await.is("connected"));
        streams.push(stream);
    }
    let (waiting, _) = client.send("GET", "/x", &[], true).await;
    // While these cross the same connection, a request that was let through would reach the backend.
    for n in 0..20 {
        daemon.publish(&json!({"topic": "a", "data": n})).await;
        for stream in &mut streams {
            assert_eq!(stream.block().await.data(), n.to_string());
        }
    }
    assert!(!backend.is_asked().await, "a fourth request was let through");
    drop(streams);
    let (mut at, head) = backend.request().await;
    assert_eq!(head.target(), "/x");
    at.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(within("its turn", waiting).await.expect("an answer").status(), 204);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_the_connection_lives() {
    let daemon = Daemon::start("[public]\nmax_head = \"8KiB\"\n").await;
    let mut client = H2::plain(daemon.public).await;
    let large = "y".repeat(9_000);
    // The second status is written as a number of what was written before.
    for _ in 0..2 {
        assert_eq!(client.ask("GET", "/x", &[("x", &large)], b"").await.status, 431);
        assert_eq!(client.ask("GET", "/x", &[], b"").await.status, 502);
    }
    assert_eq!(client.ask("POST", "/x", &[("x", &large)], b"body").await.status, 431);
    let counted = daemon.metric("sidestream_http_parser_refused_total", &["public", "head_too_large"]);
    assert_eq!(counted.await, 3.0);
    daemon.logged("a request could not be read").await;
}

/// Sends all of it, whatever becomes of the connection, and gives back what comes until that is cut off.
async fn flooded(daemon: &Daemon, flood: Vec<u8>) -> Vec<u8> {
    let socket = TcpStream::connect(daemon.public).await.expect("a connection");
    let (mut reading, mut writing) = socket.into_split();
    tokio::spawn(async move {
        let _ = writing.write_all(&flood).await;
        writing
    });
    let mut got = Vec::new();
    let _ = within("it is cut off", reading.read_to_end(&mut got)).await;
    got
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_and_no_other() {
    let daemon = Daemon::start(QUIET).await;
    let mut other = H2::plain(daemon.public).await;
    let mut stream = other.stream("/events?topic=a", &[]).await;
    assert!(stream.block().await.is("connected"));
    let mut flood = [PREFACE.as_bytes(), &frame(4, 0, 0, &[])].concat();
    for n in 0..20_000 {
        flood.extend(frame(1, 0x5, 2 * n + 1, &head_of_get()));
        flood.extend(frame(3, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    let got = flooded(&daemon, flood).await;
    // GOAWAY: type 7, ENHANCE_YOUR_CALM.
    let calm = got.windows(17).any(|frame| frame[3] == 7 && frame[13..17] == 11_u32.to_be_bytes());
    assert!(calm, "no GOAWAY with ENHANCE_YOUR_CALM in {} bytes", got.len());
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.block().await.data(), "1");
}

#[tokio::test]
async fn endless_continuations_end_the_connection() {
    let daemon = Daemon::start("").await;
    let mut flood = [PREFACE.as_bytes(), &frame(4, 0, 0, &[]), &frame(1, 0, 1, &head_of_get())].concat();
    for _ in 0..100_000 {
        flood.extend(frame(9, 0, 1, &[]));
    }
    flooded(&daemon, flood).await;
    eventually("none is left", async || {
        (daemon.metric("sidestream_connections_open", &["public"]).await == 0.0).then_some(())
    })
    .await;
}

/// Proportional memory in KiB.
pub(super) fn memory(daemon: &Daemon) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.pid())).expect("Linux");
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line");
    pss.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn readers_that_stall_cost_a_bounded_amount_each() {
    const READERS: u64 = 200;
    let config = "[log]\nmax_bytes = \"4MiB\"\n[sse]\nheartbeat = \"10m\"\nwrite_timeout = \"10m\"\n";
    let daemon = Daemon::start(config).await;
    // As much as the log holds is there before it is measured.
    let fill = json!({"topic": "b", "data": "x".repeat(100_000)});
    for _ in 0..60 {
        daemon.publish(&fill).await;
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
        // A window that never shuts, and a socket that is never read.
        let window = frame(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        let more = frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        let mut head = vec![0x82, 0x86, 0x04, 15];
        head.extend_from_slice(b"/events?topic=a");
        head.extend_from_slice(&[0x41, 1, b'x']);
        let said = [PREFACE.as_bytes(), &window, &more, &frame(1, 0x5, 1, &head)].concat();
        socket.write_all(&said).await.expect("sent");
        readers.push(socket);
    }
    eventually("all are open", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == READERS as f64).then_some(())
    })
    .await;
    let before = memory(&daemon);
    // Read by one, so that nothing piles up before the shards have looked at it.
    let mut client = H2::plain(daemon.public).await;
    let mut reading = client.stream("/events?topic=a", &[]).await;
    reading.block().await;
    for _ in 0..100 {
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(200_000)})).await;
        assert_eq!(reading.block().await.data().len(), 200_000);
    }
    eventually("all are behind", async || {
        (daemon.metric("sidestream_streams_behind", &[]).await == READERS as f64).then_some(())
    })
    .await;
    // The log's own growth is in it. What the shards' inboxes held for a moment goes again.
    eventually("no more than the bound", async || {
        let grown = memory(&daemon).saturating_sub(before);
        (grown < (16 << 10) + READERS * 160).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_a_ping_is_let_go_within_a_minute() {
    let daemon = Daemon::start(QUIET).await;
    let mut socket = TcpStream::connect(daemon.public).await.expect("a connection");
    let mut head = vec![0x82, 0x86, 0x04, 15];
    head.extend_from_slice(b"/events?topic=a");
    head.extend_from_slice(&[0x41, 1, b'x']);
    let said = [PREFACE.as_bytes(), &frame(4, 0, 0, &[]), &frame(1, 0x5, 1, &head)].concat();
    socket.write_all(&said).await.expect("sent");
    let begun = Instant::now();
    // Everything is read, nothing is answered: the kernel's own probes find nothing wrong with it.
    let mut got = Vec::new();
    let _ = within_time(Duration::from_secs(60), "it is let go", socket.read_to_end(&mut got)).await;
    assert!(begun.elapsed() > Duration::from_secs(10), "it was let go before it could answer");
    let pinged = got.windows(9).any(|frame| frame[..5] == [0, 0, 8, 6, 0]);
    assert!(pinged, "no ping in {got:?}");
    eventually("its stream is closed", async || {
        (daemon.metric("sidestream_streams_closed_total", &["client_gone"]).await == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_refused_clearly() {
    let daemon = Daemon::start("").await;
    let socket = TcpStream::connect(daemon.public).await.expect("a connection");
    let (sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut sender = within("it is ready", sender.ready()).await.expect("an open connection");
    assert!(!sender.is_extended_connect_protocol_enabled(), "it offers WebSocket over HTTP/2");
    let connect =
        http::Request::builder().method("CONNECT").uri("example.org:443").body(()).expect("a request");
    let (answer, _sending) = sender.send_request(connect, false).expect("sent");
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 501);
    // Unasked, WebSocket over HTTP/2 is an error of the stream.
    let mut sender = within("it is ready", sender.ready()).await.expect("an open connection");
    let mut connect =
        http::Request::builder().method("CONNECT").uri("http://x/ws").body(()).expect("a request");
    connect.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (answer, _sending) = sender.send_request(connect, false).expect("sent");
    let error = within("an answer", answer).await.expect_err("a reset");
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{error}");
}
