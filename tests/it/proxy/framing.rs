//! Where bodies end: lengths and chunks, and the oddities by which two readers could disagree.

use super::{OK, answer, get, start};
use crate::harness::{Head, Peer};

/// What becomes of `response` to a request with `method`: its head, and what follows up to the connection's end.
async fn through(method: &str, response: &str) -> (Head, String) {
    let (backend, daemon) = start("").await;
    let mut client =
        Peer::send_to(daemon.public, format!("{method} / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"))
            .await;
    let (mut at, _) = backend.request().await;
    at.send(response).await;
    drop(at);
    let head = client.head().await;
    let rest = client.rest().await;
    (head, rest)
}

#[tokio::test]
async fn one_length_goes_back_and_never_two() {
    let (head, rest) = through("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello").await;
    assert_eq!((head.get("content-length"), &*rest), (Some("5"), "hello"));
    let (head, rest) =
        through("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!((head.get("content-length"), &*rest), (Some("5"), "hello"));
    let (head, _) = through("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello").await;
    assert_eq!(head.status(), 502);
    let (head, _) = through("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n").await;
    assert_eq!(head.get("content-length"), Some("5"));
    let (head, _) = through("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n").await;
    assert_eq!((head.status(), head.get("content-length")), (200, None));
}

#[tokio::test]
async fn chunks_win_over_a_length() {
    let both =
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (head, rest) = through("GET", both).await;
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, Some("chunked")));
    assert_eq!(rest, "5\r\nhello\r\n0\r\n\r\n");

    let (backend, daemon) = start("").await;
    let request = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, request).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("content-length"), None);
    assert_eq!(at.body(&head).await, "hello");
    at.send(OK).await;
    answer(&mut client).await;
    // A client that sends both may mean to be misread: nothing more is read from that connection.
    client.ended().await;
}

#[tokio::test]
async fn connection_cannot_unframe_a_body() {
    let answer_of_five = "HTTP/1.1 200 OK\r\nconnection: transfer-encoding, content-length\r\ncontent-length: 3\r\n\
                          transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (head, rest) = through("GET", answer_of_five).await;
    assert_eq!((head.get("content-length"), &*rest), (None, "5\r\nhello\r\n0\r\n\r\n"));

    let (backend, daemon) = start("").await;
    let request = "GET / HTTP/1.1\r\nhost: h\r\nconnection: transfer-encoding, host\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, request).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("host"), Some("h"));
    assert_eq!(at.body(&head).await, "hello");
    at.send(OK).await;
    assert_eq!(answer(&mut client).await.0, 200);
}

#[tokio::test]
async fn an_answer_coded_otherwise_than_in_chunks_is_refused() {
    for coding in ["gzip, chunked", "gzip", "chunked, chunked"] {
        let (head, _) =
            through("GET", &format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n")).await;
        assert_eq!(head.status(), 502, "{coding}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_may_tell_the_length_of_one() {
    let (head, rest) = through("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    assert_eq!((head.get("content-length"), &*rest), (Some("1234"), ""));
    let (head, rest) = through("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert_eq!((head.status(), head.get("content-length"), &*rest), (200, None, ""));
    let (head, rest) =
        through("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\netag: \"a\"\r\n\r\n").await;
    assert_eq!(
        (head.status(), head.get("content-length"), head.get("etag")),
        (304, Some("1234"), Some("\"a\""))
    );
    assert_eq!(rest, "");
    let (head, rest) = through("GET", "HTTP/1.1 304 Not Modified\r\n\r\n").await;
    assert_eq!((head.status(), head.get("content-length"), &*rest), (304, None, ""));
    for length in ["", "content-length: 0\r\n"] {
        let (head, rest) = through("GET", &format!("HTTP/1.1 204 No Content\r\n{length}\r\n")).await;
        assert_eq!((head.status(), head.get("content-length"), &*rest), (204, None, ""));
        assert_eq!(head.get("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn a_connection_goes_on_after_an_answer_without_a_body() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/a")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 304);
    client.send("HEAD /b HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(at.head().await.target(), "/b");
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    client.send(get("/c")).await;
    assert_eq!(at.head().await.target(), "/c");
    at.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 204);
    client.send(get("/d")).await;
    assert_eq!(at.head().await.target(), "/d");
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_chunked_body_arrives_whatever_the_method() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::connect(daemon.public).await;
    let mut at = None;
    for method in ["POST", "GET", "DELETE", "OPTIONS", "HEAD"] {
        client
            .send(format!("{method} / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))
            .await;
        if at.is_none() {
            at = Some(backend.accept().await);
        }
        let at = at.as_mut().expect("a connection");
        let head = at.head().await;
        assert_eq!(at.body(&head).await, "hello", "{method}");
        at.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200);
    }
}

#[tokio::test]
async fn a_length_is_sent_as_a_length() {
    let (backend, daemon) = start("").await;
    for (method, length) in [("POST", "5"), ("GET", "5"), ("POST", "0"), ("GET", "0")] {
        let body = &"hello"[..length.parse().unwrap()];
        let request = format!(
            "{method} / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut client = Peer::send_to(daemon.public, request).await;
        let (mut at, head) = backend.request().await;
        assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (Some(length), None));
        assert_eq!(at.body(&head).await, body);
        at.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        client.head().await;
    }
    let mut client = Peer::send_to(daemon.public, "POST / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (mut at, head) = backend.request().await;
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, None));
    at.send(OK).await;
    answer(&mut client).await;
}

#[tokio::test]
async fn an_answer_may_end_with_its_connection() {
    let (head, rest) = through("GET", "HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert!(rest.contains("until the end") && rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
    let (head, rest) = through("GET", "HTTP/1.0 200 OK\r\n\r\nan old one").await;
    assert_eq!(head.line, "HTTP/1.1 200 OK");
    assert!(rest.contains("an old one") && rest.ends_with("\r\n0\r\n\r\n"), "{rest:?}");
}
