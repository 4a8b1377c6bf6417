//! Connections to the backend are used again, and a dead one costs nobody an answer.

use super::{OK, answer, get, start};
use crate::harness::{Backend, Daemon, Peer, eventually};

const POST: &str = "POST /order HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello";

/// A client that has had an answer, and the backend's end of the connection, which is idle now.
async fn idle(backend: &Backend, daemon: &Daemon) -> (Peer, Peer) {
    let mut client = Peer::send_to(daemon.public, get("/first")).await;
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await.0, 200);
    (client, at)
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = idle(&backend, &daemon).await;
    for _ in 0..3 {
        client.send(get("/again")).await;
        assert_eq!(at.head().await.target(), "/again");
        at.send(OK).await;
        answer(&mut client).await;
    }
    // Another client's request takes it, too.
    let mut other = Peer::send_to(daemon.public, POST).await;
    assert_eq!(at.head().await.target(), "/order");
    at.expect("hello").await;
    at.send(OK).await;
    assert_eq!(answer(&mut other).await.0, 200);
}

#[tokio::test]
async fn no_more_are_kept_than_the_configuration_says() {
    let (backend, daemon) = start("proxy.max_idle = 1\n").await;
    let mut one = Peer::send_to(daemon.public, get("/1")).await;
    let (mut at_one, _) = backend.request().await;
    let mut two = Peer::send_to(daemon.public, get("/2")).await;
    let (mut at_two, _) = backend.request().await;
    at_one.send(OK).await;
    answer(&mut one).await;
    at_two.send(OK).await;
    answer(&mut two).await;
    at_two.ended().await;
    two.send(get("/3")).await;
    assert_eq!(at_one.head().await.target(), "/3");
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let (backend, daemon) = start("proxy.idle_timeout = \"100ms\"\n").await;
    let (_client, mut at) = idle(&backend, &daemon).await;
    at.ended().await;
}

#[tokio::test]
async fn the_backends_own_limit_is_heeded() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/first")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok").await;
    answer(&mut client).await;
    // A second less, to be sure, is nothing: it is not kept at all.
    client.send(get("/second")).await;
    let (_, head) = backend.request().await;
    assert_eq!(head.target(), "/second");
    at.ended().await;
}

#[tokio::test]
async fn a_connection_that_the_backend_closes_is_not_used_again() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/first")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
    answer(&mut client).await;
    at.ended().await;
    client.send(POST).await;
    assert_eq!(backend.request().await.1.target(), "/order");
}

#[tokio::test]
async fn a_dead_idle_connection_costs_nobody_an_answer() {
    for request in [get("/second"), POST.to_owned()] {
        let (backend, daemon) = start("").await;
        let (mut client, at) = idle(&backend, &daemon).await;
        drop(at);
        // Its end is known when the sweep has let go of it; before that, a request has to find out by itself.
        client.send(&request).await;
        let (mut at, head) = backend.request().await;
        if head.get("content-length").is_some() {
            at.expect("hello").await;
        }
        at.send(OK).await;
        assert_eq!(answer(&mut client).await, (200, "ok".to_owned()), "{request}");
    }
}

#[tokio::test]
async fn a_get_whose_idle_connection_dies_under_it_is_sent_once_more() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = idle(&backend, &daemon).await;
    client.send(get("/second")).await;
    assert_eq!(at.head().await.target(), "/second");
    drop(at);
    let (mut at, head) = backend.request().await;
    assert_eq!((head.target(), head.get("x-forwarded-for")), ("/second", Some("127.0.0.1")));
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn but_once_only() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = idle(&backend, &daemon).await;
    client.send(get("/second")).await;
    at.head().await;
    drop(at);
    drop(backend.request().await);
    assert_eq!(answer(&mut client).await.0, 502);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_get_that_was_being_answered_is_not_sent_again() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = idle(&backend, &daemon).await;
    client.send(get("/second")).await;
    at.head().await;
    at.send("HTTP/1.1 2").await;
    drop(at);
    assert_eq!(answer(&mut client).await.0, 502);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    for request in
        [POST.to_owned(), POST.replace("POST", "PUT"), "POST / HTTP/1.1\r\nhost: h\r\n\r\n".to_owned()]
    {
        let (backend, daemon) = start("").await;
        let (mut client, mut at) = idle(&backend, &daemon).await;
        client.send(&request).await;
        at.head().await;
        drop(at);
        assert_eq!(answer(&mut client).await.0, 502, "{request}");
        assert!(!backend.is_asked().await);
    }
}

#[tokio::test]
async fn what_comes_unasked_on_an_idle_connection_answers_nobody() {
    let (backend, daemon) = start("").await;
    let (mut client, mut at) = idle(&backend, &daemon).await;
    at.send("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    // The sweep, or the request itself, finds that out.
    client.send(get("/second")).await;
    let head = eventually("an answer", async || {
        let (mut at, head) = backend.request().await;
        at.send(OK).await;
        Some(head)
    })
    .await;
    assert_eq!(head.target(), "/second");
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn the_backend_may_listen_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start_at(&folder.path().join("app.sock"));
    let daemon = Daemon::start(&backend.config("")).await;
    let mut client = Peer::send_to(daemon.public, POST).await;
    let (mut at, head) = backend.request().await;
    assert_eq!((head.target(), head.get("host")), ("/order", Some("h")));
    at.expect("hello").await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(at.head().await.get("host"), Some("localhost"));
}
