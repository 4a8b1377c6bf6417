//! Short answers that come at once are read without hyper, all others by it; nobody can tell which, and a connection
//! goes from one to the other and back.

use super::{OK, answer, get, start};
use crate::harness::Peer;

/// The answers to be sent, piece by piece, and what the client reads of each.
fn answers() -> Vec<(&'static str, Vec<String>, u16, String)> {
    let long = |length: usize| "x".repeat(length);
    let whole =
        |head: &str, body: String| format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let one = |text: &str| vec![text.to_owned()];
    vec![
        ("plain", one(OK), 200, "ok".into()),
        ("empty", one(&whole("404 Not Found", String::new())), 404, String::new()),
        (
            "Node's",
            one(
                "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
            ),
            200,
            "ok".into(),
        ),
        ("a reason of its own", one(&whole("200 Fine", "fine".into())), 200, "fine".into()),
        (
            "in chunks",
            one("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"),
            200,
            "one".into(),
        ),
        (
            "a head in pieces",
            vec!["HTTP/1.1 2".into(), "00 OK\r\nconte".into(), "nt-length: 2\r\n\r\nok".into()],
            200,
            "ok".into(),
        ),
        (
            "a body behind its head",
            vec!["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n".into(), "la".into(), "te".into()],
            200,
            "late".into(),
        ),
        ("as long as is plain", one(&whole("200 OK", long(16_000))), 200, long(16_000)),
        ("longer", one(&whole("200 OK", long(100_000))), 200, long(100_000)),
        (
            "a large head",
            one(&whole(&format!("200 OK\r\nx-large: {}", long(30_000)), "ok".into())),
            200,
            "ok".into(),
        ),
        (
            "early hints first",
            vec!["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".into(), OK.into()],
            200,
            "ok".into(),
        ),
        ("hints and answer at once", one(&format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}")), 200, "ok".into()),
        ("none", one("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"), 304, String::new()),
        ("no content", one("HTTP/1.1 204 No Content\r\n\r\n"), 204, String::new()),
        (
            "two lengths",
            one("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
            200,
            "ok".into(),
        ),
    ]
}

/// Reads an answer, which may have none of the body whose length it tells.
async fn read(client: &mut Peer) -> (u16, String) {
    let head = client.head().await;
    let body = if let 204 | 304 = head.status() { String::new() } else { client.body(&head).await };
    (head.status(), body)
}

#[tokio::test]
async fn one_connection_carries_answers_of_every_kind_after_each_other() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await.0, 200);
    let answers = answers();
    // Each kind behind each other one, now and then with a body on the way there.
    for first in 0..answers.len() {
        for second in 0..answers.len() {
            for (what, pieces, status, body) in [&answers[first], &answers[second]] {
                let asked = format!("/{first}/{second}");
                if (first + second) % 5 == 0 {
                    client
                        .send(format!("POST {asked} HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello"))
                        .await;
                } else {
                    client.send(get(&asked)).await;
                }
                let head = at.head().await;
                assert_eq!(head.target(), asked);
                if head.get("content-length").is_some() {
                    at.expect("hello").await;
                }
                for piece in pieces {
                    at.send(piece).await;
                    // So that the pieces do not come together.
                    tokio::task::yield_now().await;
                }
                assert_eq!(read(&mut client).await, (*status, body.clone()), "{what} at {asked}");
            }
        }
    }
    assert!(!backend.is_asked().await, "one connection was enough");
}

#[tokio::test]
async fn a_request_is_sent_once_however_its_answer_is_read() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/first")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    at.send("3\r\none\r\n0\r\n\r\n").await;
    client.expect("3\r\none\r\n0\r\n\r\n").await;
    // Whatever of the first request had been sent again would stand before this one.
    client.send(get("/second")).await;
    assert_eq!(at.head().await.target(), "/second");
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/first")).await;
    let (mut at, _) = backend.request().await;
    at.send(format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
    client.send(get("/second")).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.target(), "/second");
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn an_answer_that_says_close_is_the_connections_last() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/first")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
    at.ended().await;
    client.send(get("/second")).await;
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}
