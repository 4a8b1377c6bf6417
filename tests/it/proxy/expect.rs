//! `Expect: 100-continue`, end to end.

use std::time::{Duration, Instant};

use super::{OK, answer, start};
use crate::harness::{Daemon, Node, Peer};

const EXPECTING: &str = "POST /up HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";

#[tokio::test]
async fn the_client_gets_100_continue_when_the_backend_sends_it() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, EXPECTING).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("expect"), Some("100-continue"));
    let asked = Instant::now();
    at.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.line, "HTTP/1.1 100 Continue");
    assert!(asked.elapsed() < Duration::from_millis(900), "it was the backend's word that counted");
    client.send("hello").await;
    at.expect("hello").await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
    // Both connections can be used again.
    client.send(EXPECTING).await;
    assert_eq!(at.head().await.target(), "/up");
}

#[tokio::test]
async fn a_refusal_arrives_and_the_body_is_never_asked_for() {
    for status in ["417 Expectation Failed", "413 Content Too Large", "200 OK"] {
        let (backend, daemon) = start("").await;
        let mut client = Peer::send_to(daemon.public, EXPECTING).await;
        let (mut at, _) = backend.request().await;
        at.send(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno")).await;
        let head = client.head().await;
        assert_eq!(head.line, format!("HTTP/1.1 {status}"));
        assert_eq!(client.body(&head).await, "no");
        // What comes next on this connection could be the body or a request: nobody can know.
        assert_eq!(head.get("connection"), Some("close"));
        client.ended().await;
        at.ended().await;
    }
}

#[tokio::test]
async fn a_backend_that_says_nothing_gets_the_body_after_a_while() {
    let (backend, daemon) = start("").await;
    let asked = Instant::now();
    let mut client = Peer::send_to(daemon.public, EXPECTING).await;
    let (mut at, _) = backend.request().await;
    assert_eq!(client.head().await.line, "HTTP/1.1 100 Continue");
    assert!(asked.elapsed() >= Duration::from_millis(900));
    client.send("hello").await;
    at.expect("hello").await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_client_that_does_not_wait_is_served_all_the_same() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, format!("{EXPECTING}hello")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    at.expect("hello").await;
    at.send(OK).await;
    let mut head = client.head().await;
    if head.status() == 100 {
        head = client.head().await;
    }
    assert_eq!((head.status(), client.body(&head).await), (200, "ok".to_owned()));
}

#[tokio::test]
async fn other_early_words_of_the_backend_are_passed_over() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, EXPECTING).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 100);
    client.send("hello").await;
    at.expect("hello").await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn node_decides_whether_it_wants_the_body() {
    let node = Node::start(
        "const server = http.createServer((req, res) => { req.pipe(res); });
         server.on('checkContinue', (req, res) => {
            if (req.headers['content-length'] > 10) { res.writeHead(413, { 'content-length': 3 }); return res.end('big'); }
            res.writeContinue();
            req.pipe(res);
         });",
    )
    .await;
    let daemon = Daemon::start(&node.config("")).await;
    let mut client = Peer::send_to(daemon.public, EXPECTING).await;
    assert_eq!(client.head().await.status(), 100);
    client.send("hello").await;
    assert_eq!(answer(&mut client).await, (200, "hello".to_owned()));
    let mut client = Peer::send_to(daemon.public, EXPECTING.replace(": 5", ": 5000")).await;
    assert_eq!(answer(&mut client).await, (413, "big".to_owned()));
}
