//! Bodies stream both ways: the first byte arrives before the last is sent.

use super::{OK, answer, get, start};
use crate::harness::Peer;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn an_answer_arrives_as_it_is_sent() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send(CHUNKED).await;
    assert_eq!(client.head().await.status(), 200);
    for word in ["one", "two", "three"] {
        at.send_chunk(word).await;
        assert_eq!(client.chunk().await, word);
    }
    at.send("0\r\n\r\n").await;
    client.expect("0\r\n\r\n").await;
}

#[tokio::test]
async fn an_answer_with_a_length_arrives_as_it_is_sent() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc").await;
    assert_eq!(client.head().await.get("content-length"), Some("6"));
    client.expect("abc").await;
    at.send("def").await;
    client.expect("def").await;
}

#[tokio::test]
async fn a_request_arrives_as_it_is_sent() {
    let (backend, daemon) = start("").await;
    let mut client =
        Peer::send_to(daemon.public, "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    for word in ["one", "two", "three"] {
        client.send_chunk(word).await;
        assert_eq!(at.chunk().await, word);
    }
    client.send("0\r\n\r\n").await;
    at.expect("0\r\n\r\n").await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn both_directions_flow_at_once() {
    let (backend, daemon) = start("").await;
    let mut client =
        Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
    let (mut at, _) = backend.request().await;
    at.send(CHUNKED).await;
    assert_eq!(client.head().await.status(), 200);
    for word in ["one", "two", "three"] {
        client.send_chunk(word).await;
        assert_eq!(at.chunk().await, word);
        at.send_chunk(word).await;
        assert_eq!(client.chunk().await, word);
    }
    // The answer ends first; what is left of the request still arrives.
    at.send("0\r\n\r\n").await;
    client.expect("0\r\n\r\n").await;
    client.send_chunk("four").await;
    assert_eq!(at.chunk().await, "four");
    client.send("0\r\n\r\n").await;
    at.expect("0\r\n\r\n").await;
    // And the connections, here and there, are good for another request.
    client.send(get("/next")).await;
    assert_eq!(at.head().await.target(), "/next");
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_request_is_not_held_up_by_an_answer_that_nobody_reads_yet() {
    const LENGTH: usize = 16 << 20;
    let (backend, daemon) = start("").await;
    let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {LENGTH}\r\n\r\n");
    let mut client = Peer::send_to(daemon.public, head).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
    // Every buffer on the way to the client is full now.
    at.fill().await;
    let body = vec![b'x'; LENGTH];
    let ((), arrived) = tokio::join!(client.send(&body), at.take(LENGTH));
    assert!(arrived == body);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let (backend, daemon) = start("").await;
    let request = "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                   2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, request).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(
        (head.get("trailer"), head.get("te"), head.get("connection")),
        (Some("x-sum"), Some("trailers"), Some("te"))
    );
    assert_eq!(at.chunks(2).await, "hi");
    at.expect("0\r\nx-sum: 7\r\n\r\n").await;
    at.send("HTTP/1.1 200 OK\r\ntrailer: x-check\r\ntransfer-encoding: chunked\r\n\r\n2\r\nho\r\n0\r\nx-check: 9\r\n\r\n").await;
    assert_eq!(client.head().await.get("trailer"), Some("x-check"));
    assert_eq!(client.chunks(2).await, "ho");
    client.expect("0\r\nx-check: 9\r\n\r\n").await;
    // The connection has survived them.
    client.send(get("/next")).await;
    assert_eq!(at.head().await.target(), "/next");
}

#[tokio::test]
async fn the_backends_own_event_stream_passes_byte_for_byte() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(
        daemon.public,
        "GET /sse HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\nlast-event-id: 7\r\n\r\n",
    )
    .await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("last-event-id"), Some("7"));
    at.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: yes\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.get("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!((head.get("cache-control"), head.get("x-accel-buffering")), (Some("no-store"), Some("yes")));
    for piece in
        ["\u{feff}: hello\r\n", "\r\n", "data: a\rdata: b\r\r", "id: 1\nev", "ent: x\ndata:\u{0}y\n\n", ":\n"]
    {
        at.send_chunk(piece).await;
        assert_eq!(client.chunks(piece.len()).await, piece);
    }
}

#[tokio::test]
async fn an_event_stream_without_chunks_passes_too() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/sse")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    client.head().await;
    for piece in ["data: 1\n\n", "data: 2\n\n"] {
        at.send(piece).await;
        assert_eq!(client.chunks(piece.len()).await, piece);
    }
}
