//! A backend that is down, slow or breaks off, and clients that leave.

use std::time::{Duration, Instant};

use super::{OK, answer, get, start};
use crate::harness::{Backend, Daemon, Peer, eventually, let_time_pass};

/// Waits until one request has been counted with this outcome, and none is with the backend.
async fn counted(daemon: &Daemon, outcome: &str) {
    eventually(&format!("one request counted as {outcome}"), async || {
        let label = format!("outcome=\"{outcome}\"");
        let counted = daemon.metric("sidestream_proxy_requests_total", &[&label]).await;
        let in_flight = daemon.metric("sidestream_proxy_in_flight", &[]).await;
        (counted == 1.0 && in_flight == 0.0).then_some(())
    })
    .await;
}

/// The answer is one plain sentence as JSON.
async fn sentence(client: &mut Peer) -> (u16, String) {
    let (status, body) = answer(client).await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    (status, body["error"].as_str().expect("a sentence").to_owned())
}

#[tokio::test]
async fn a_backend_that_is_down_is_a_502() {
    let daemon = Daemon::start("").await;
    let mut client = Peer::send_to(daemon.public, get("/secret-path?token=hidden")).await;
    let (status, text) = sentence(&mut client).await;
    assert_eq!(status, 502);
    assert!(!text.contains("127.0.0.1") && !text.contains("refused"), "{text}");
    counted(&daemon, "refused").await;
    daemon.logged("refused").await;
    assert!(!daemon.log().contains("hidden"), "{}", daemon.log());
    // It is not the client's fault, so its connection stays.
    client.send(get("/")).await;
    assert_eq!(answer(&mut client).await.0, 502);
}

#[tokio::test]
async fn readiness_tells_how_the_backend_was_last_met() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let daemon = Daemon::start(&format!("public.backend = \"unix:{}\"\n", path.display())).await;
    let backend = async || daemon.ask("/readyz").await.json()["dependencies"]["backend"].clone();
    assert_eq!(backend().await["state"], "unknown");
    assert_eq!(daemon.get("/").await.status, 502);
    let met = backend().await;
    assert_eq!(met["state"], "down");
    assert!(met["why"].as_str().unwrap().starts_with("cannot connect to the backend"), "{met}");
    let at = Backend::start_at(&path);
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    at.request().await.0.send(OK).await;
    assert_eq!(answer(&mut client).await.0, 200);
    assert_eq!(backend().await["state"], "up");
}

#[tokio::test]
async fn a_backend_that_is_slow_to_answer_is_a_504() {
    let (backend, daemon) = start("proxy.head_timeout = \"300ms\"\n").await;
    let asked = Instant::now();
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    assert_eq!(sentence(&mut client).await.0, 504);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    at.ended().await;
    counted(&daemon, "timeout").await;
}

#[tokio::test]
async fn a_body_may_be_slower_than_a_head() {
    let (backend, daemon) = start("proxy.head_timeout = \"300ms\"\n").await;
    let mut client =
        Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\n").await;
    let (mut at, _) = backend.request().await;
    for letter in ["a", "b", "c", "d", "e", "f"] {
        let_time_pass("in all more than the limit, each time less", Duration::from_millis(100)).await;
        client.send(letter).await;
        at.expect(letter).await;
    }
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
    let head = client.head().await;
    let_time_pass("more than the limit for a head", Duration::from_millis(400)).await;
    at.send("ok").await;
    assert_eq!(client.body(&head).await, "ok");
}

#[tokio::test]
async fn a_client_that_stalls_in_its_body_is_a_408() {
    let (backend, daemon) = start("proxy.head_timeout = \"300ms\"\n").await;
    let mut client =
        Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhel").await;
    let (mut at, _) = backend.request().await;
    at.expect("hel").await;
    assert_eq!(sentence(&mut client).await.0, 408);
    at.ended().await;
    counted(&daemon, "stalled").await;
}

#[tokio::test]
async fn a_backend_that_breaks_off_before_its_answer_is_a_502() {
    for sent in ["", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"] {
        let (backend, daemon) = start("").await;
        let mut client = Peer::send_to(daemon.public, get("/")).await;
        let (mut at, _) = backend.request().await;
        at.send(sent).await;
        drop(at);
        assert_eq!(sentence(&mut client).await.0, 502, "{sent:?}");
        assert!(!backend.is_asked().await, "a fresh connection's request is not repeated");
        counted(&daemon, "broken").await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_502() {
    for sent in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
    ] {
        let (backend, daemon) = start("").await;
        let mut client = Peer::send_to(daemon.public, get("/")).await;
        let (mut at, _) = backend.request().await;
        at.send(sent).await;
        assert_eq!(sentence(&mut client).await.0, 502, "{sent:?}");
        at.ended().await;
        counted(&daemon, "bad_answer").await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_visibly_cut() {
    for (head, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "hello"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhello\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "9\r\nhello"),
    ] {
        let (backend, daemon) = start("").await;
        let mut client = Peer::send_to(daemon.public, get("/")).await;
        let (mut at, _) = backend.request().await;
        at.send(head).await;
        client.head().await;
        at.send(body).await;
        client.until("hello").await;
        drop(at);
        let rest = client.rest().await;
        assert!(rest.is_empty() || rest == "\r\n", "no end that looks like one: {rest:?}");
        counted(&daemon, "broken").await;
        assert!(daemon.log().contains("broke off in the middle"), "{}", daemon.log());
    }
}

#[tokio::test]
async fn a_broken_answer_after_good_ones_is_cut_too() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    answer(&mut client).await;
    client.send(get("/")).await;
    at.head().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    drop(at);
    client.until("hello").await;
    client.ended().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_cancels_its_request() {
    let (backend, daemon) = start("").await;
    let client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    drop(client);
    at.ended().await;
    counted(&daemon, "cancelled").await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_cancels_it() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/sse")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
    at.send_chunk("data: 1\n\n").await;
    client.until("data: 1\n\n").await;
    drop(client);
    // Nothing more is sent to it: its leaving is enough.
    at.ended().await;
    counted(&daemon, "cancelled").await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_request_cancels_it() {
    for begun in [false, true] {
        let (backend, daemon) = start("").await;
        let mut client = Peer::send_to(
            daemon.public,
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        )
        .await;
        let (mut at, _) = backend.request().await;
        assert_eq!(at.chunk().await, "hello");
        if begun {
            at.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            client.head().await;
        }
        drop(client);
        // Without a last chunk: the backend can see that this was not all.
        at.ended().await;
        counted(&daemon, "cancelled").await;
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let (backend, daemon) = start("").await;
    let mut client =
        Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n").await;
    client.send("x".repeat(100_000)).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
    assert_eq!(answer(&mut client).await, (413, "big".to_owned()));
}

#[tokio::test]
async fn an_answer_reaches_a_client_whose_body_nobody_wants() {
    // Nobody listens.
    let daemon = Daemon::start("").await;
    let mut client =
        Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 8000000\r\n\r\n").await;
    client.send("x".repeat(8_000_000)).await;
    assert_eq!(answer(&mut client).await.0, 502);
    // The whole body has been read, so the connection is as good as before.
    client.send(get("/")).await;
    assert_eq!(answer(&mut client).await.0, 502);

    let (backend, daemon) = start("").await;
    let mut client =
        Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 8000000\r\n\r\n").await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig").await;
    drop(at);
    client.send("x".repeat(8_000_000)).await;
    assert_eq!(answer(&mut client).await, (413, "big".to_owned()));
}

#[tokio::test]
async fn requests_are_counted_by_the_class_of_their_answer() {
    let (backend, daemon) = start("").await;
    for status in [200, 301, 404, 500] {
        let mut client = Peer::send_to(daemon.public, get("/")).await;
        let (mut at, _) = backend.request().await;
        at.send(format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")).await;
        assert_eq!(answer(&mut client).await.0, status);
        counted(&daemon, &format!("{}xx", status / 100)).await;
    }
    assert_eq!(daemon.metric("sidestream_proxy_seconds_count", &[]).await, 4.0);
}

#[tokio::test]
async fn a_stop_lets_a_request_finish() {
    let (backend, mut daemon) = start("drain.window = \"100ms\"\ndrain.deadline = \"60s\"\n").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    daemon.signal("TERM");
    eventually("the drain begins", async || daemon.log().contains("draining").then_some(())).await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
    client.ended().await;
    assert!(daemon.ended().await.success());
}
