//! HTTP/2 requests on their way to a backend that speaks HTTP/1.1, and its answers on their way back.

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;

use crate::harness::{Backend, Daemon, H2, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A daemon in front of a scripted backend, and a client's connection to it.
async fn start(more: &str) -> (Backend, Daemon, H2) {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config(more)).await;
    let client = H2::plain(daemon.public).await;
    (backend, daemon, client)
}

#[tokio::test]
async fn a_head_becomes_one_of_http1() {
    let (backend, daemon, mut client) = start("").await;
    let headers = [
        ("cookie", "a=1"),
        ("cookie", "b=2; c=3"),
        ("te", "trailers"),
        ("accept", "x"),
        ("x-n", "2"),
        ("x-n", "1"),
    ];
    let (answer, _) = client.send("GET", "//a/../b?x=%41&&", &headers, true).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.line, "GET //a/../b?x=%41&& HTTP/1.1");
    let authority = format!("localhost:{}", daemon.public.port());
    assert_eq!(head.get("host"), Some(&*authority));
    assert_eq!(head.get("cookie"), Some("a=1; b=2; c=3"));
    assert_eq!((head.get("te"), head.get("connection")), (Some("trailers"), Some("te")));
    assert_eq!(head.all("x-n"), ["2", "1"]);
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-host"), Some(&*authority));
    assert!(head.headers.iter().all(|(name, _)| !name.starts_with(':')), "{head:?}");
    at.send(OK).await;
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn bodies_go_on_with_a_length_or_in_chunks() {
    let (backend, _daemon, mut client) = start("").await;
    // With a length.
    let (answer, mut body) = client.send("POST", "/sized", &[("content-length", "5")], false).await;
    body.send_data(Bytes::from_static(b"hello"), true).expect("sent");
    let (mut at, head) = backend.request().await;
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (Some("5"), None));
    assert_eq!(at.body(&head).await, "hello");
    at.send(OK).await;
    within("an answer", answer).await.expect("an answer");
    // Without one, piece by piece as it comes.
    let (answer, mut body) = client.send("POST", "/unsized", &[], false).await;
    let head = at.head().await;
    assert_eq!((head.get("content-length"), head.get("transfer-encoding")), (None, Some("chunked")));
    for piece in ["one", "two"] {
        body.send_data(Bytes::from_static(piece.as_bytes()), false).expect("sent");
        assert_eq!(at.chunk().await, piece);
    }
    body.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(at.chunk().await, "");
    at.expect("\r\n").await;
    at.send(OK).await;
    within("an answer", answer).await.expect("an answer");
    // None at all.
    let (answer, _) = client.send("POST", "/none", &[], true).await;
    let head = at.head().await;
    assert_eq!(head.get("transfer-encoding"), None);
    assert!(matches!(head.get("content-length"), None | Some("0")), "{head:?}");
    at.send(OK).await;
    within("an answer", answer).await.expect("an answer");
}

#[tokio::test]
async fn a_body_shorter_than_it_said_never_reaches_the_backend_as_whole() {
    let (backend, _daemon, mut client) = start("").await;
    let (answer, mut body) = client.send("POST", "/short", &[("content-length", "9")], false).await;
    let (mut at, head) = backend.request().await;
    body.send_data(Bytes::from_static(b"four"), true).expect("sent");
    assert_eq!(head.get("content-length"), Some("9"));
    let error = within("an answer", answer).await.expect_err("a reset");
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{error}");
    let rest = at.rest().await;
    assert!(rest.len() < 9, "{rest:?}");
}

#[tokio::test]
async fn a_client_that_resets_its_request_cancels_it_at_the_backend() {
    let (backend, _daemon, mut client) = start("").await;
    let (_answer, mut body) = client.send("POST", "/upload", &[], false).await;
    body.send_data(Bytes::from_static(b"begun"), false).expect("sent");
    let (mut at, _) = backend.request().await;
    assert_eq!(at.chunk().await, "begun");
    body.send_reset(Reason::CANCEL);
    at.ended().await;
    // And one that waits for its answer.
    let (answer, mut body) = client.send("GET", "/slow", &[], true).await;
    let (mut at, _) = backend.request().await;
    body.send_reset(Reason::CANCEL);
    drop(answer);
    at.ended().await;
}

#[tokio::test]
async fn what_is_of_the_backends_connection_never_comes_through() {
    let (backend, _daemon, mut client) = start("").await;
    let (answer, _) = client.send("GET", "/", &[], true).await;
    let (mut at, _) = backend.request().await;
    at.send(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nproxy-connection: close\r\n\
         upgrade: h2c\r\nx-hop: 1\r\nx-end: 2\r\nset-cookie: a\r\nset-cookie: b\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let head = within("an answer", answer).await.expect("an answer").into_parts().0;
    let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["date", "set-cookie", "x-end"]);
    // 426 names a protocol, which HTTP/2 has no way to say.
    let (answer, _) = client.send("GET", "/", &[], true).await;
    at.head().await;
    at.send("HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n")
        .await;
    let head = within("an answer", answer).await.expect("an answer").into_parts().0;
    assert_eq!(head.status, 426);
    assert!(!head.headers.contains_key("connection") && !head.headers.contains_key("upgrade"), "{head:?}");
    // A switch that nobody can have asked for.
    let (answer, _) = client.send("GET", "/", &[], true).await;
    at.head().await;
    at.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 502);
}

#[tokio::test]
async fn answers_without_a_body_keep_their_length() {
    let (backend, _daemon, mut client) = start("").await;
    let (answer, _) = client.send("HEAD", "/", &[], true).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    let mut answer = within("an answer", answer).await.expect("an answer");
    assert_eq!(answer.headers()["content-length"], "1234");
    assert!(within("its end", answer.body_mut().data()).await.is_none());
    let (answer, _) = client.send("GET", "/", &[("if-none-match", "x")], true).await;
    at.head().await;
    at.send("HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 77\r\n\r\n").await;
    let mut answer = within("an answer", answer).await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-length"]),
        (304, &"77".parse().expect("a value"))
    );
    assert!(
        within("its end", answer.body_mut().data())
            .await
            .is_none_or(|data| data.expect("no reset").is_empty())
    );
    let (answer, _) = client.send("DELETE", "/", &[], true).await;
    at.head().await;
    at.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = within("an answer", answer).await.expect("an answer");
    assert_eq!(answer.status(), 204);
    assert!(!answer.headers().contains_key("content-length"));
}

#[tokio::test]
async fn a_large_answer_and_a_large_body_come_whole() {
    const LARGE: usize = 20_000_000;
    let (backend, _daemon, mut client) = start("").await;
    let (mut answer, mut body) =
        client.send("PUT", "/", &[("content-length", &LARGE.to_string())], false).await;
    let sending = tokio::spawn(async move {
        let mut left = LARGE;
        while left > 0 {
            body.reserve_capacity(left.min(100_000));
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.expect("open").expect("room");
            left -= room;
            body.send_data(Bytes::from(vec![b'u'; room]), left == 0).expect("sent");
        }
    });
    let (mut at, head) = backend.request().await;
    assert_eq!(at.body(&head).await.len(), LARGE);
    within("all is sent", sending).await.expect("sent");
    at.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    let writing = tokio::spawn(async move {
        at.send(vec![b'd'; LARGE]).await;
        at
    });
    let mut body = within("an answer", &mut answer).await.expect("an answer").into_body();
    let mut got = 0;
    while let Some(part) = within("more", body.data()).await {
        let part = part.expect("a whole answer");
        assert!(part.iter().all(|&byte| byte == b'd'));
        got += part.len();
        body.flow_control().release_capacity(part.len()).expect("room given back");
    }
    assert_eq!(got, LARGE);
    within("all is written", writing).await.expect("written");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_the_connection_lives() {
    let (backend, daemon, mut client) = start("").await;
    for head in ["content-length: 100\r\n\r\npart", "transfer-encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let (answer, _) = client.send("GET", "/", &[], true).await;
        let (mut at, _) = backend.request().await;
        at.send(format!("HTTP/1.1 200 OK\r\n{head}")).await;
        let mut body = within("an answer", answer).await.expect("an answer").into_body();
        assert_eq!(within("a part", body.data()).await.expect("a part").expect("a part"), "part");
        drop(at);
        let error = within("a reset", body.data()).await.expect("no end").expect_err("a reset");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{head:?}: {error}");
    }
    assert_eq!(daemon.metric("sidestream_proxy_requests_total", &["broken"]).await, 2.0);
    let (answer, _) = client.send("GET", "/", &[], true).await;
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let (backend, _daemon, mut client) = start("").await;
    let headers = [("te", "trailers"), ("trailer", "x-sum")];
    let (answer, mut body) = client.send("POST", "/", &headers, false).await;
    body.send_data(Bytes::from_static(b"data"), false).expect("sent");
    let sum = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "1".parse().expect("a value"))]);
    body.send_trailers(sum.clone()).expect("sent");
    let (mut at, _) = backend.request().await;
    assert_eq!(at.chunk().await, "data");
    assert_eq!(at.chunk().await, "");
    at.expect("x-sum: 1\r\n\r\n").await;
    at.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n")
        .await;
    let mut body = within("an answer", answer).await.expect("an answer").into_body();
    assert_eq!(within("the body", body.data()).await.expect("a body").expect("a body"), "ok");
    assert!(within("its end", body.data()).await.is_none());
    assert_eq!(within("trailers", body.trailers()).await.expect("trailers"), Some(sum));
}

#[tokio::test]
async fn a_body_that_waits_to_be_asked_for_can_be_refused_unsent() {
    let (backend, _daemon, mut client) = start("").await;
    let headers = [("expect", "100-continue"), ("content-length", "5")];
    let (answer, body) = client.send("POST", "/", &headers, false).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("expect"), Some("100-continue"));
    at.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
    let answer = within("an answer", answer).await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert!(!answer.headers().contains_key("connection"));
    drop(body);
    // The connection is none the worse for it.
    let (answer, _) = client.send("GET", "/", &[], true).await;
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let (backend, _daemon, mut client) = start("").await;
    let (answer, mut body) = client.send("POST", "/", &[], false).await;
    body.send_data(Bytes::from_static(b"begun"), false).expect("sent");
    let (mut at, _) = backend.request().await;
    at.chunk().await;
    at.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    let mut answer = within("an answer", answer).await.expect("an answer");
    assert_eq!(answer.status(), 403);
    assert_eq!(within("its body", answer.body_mut().data()).await.expect("a body").expect("a body"), "no");
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_side_by_side() {
    let (backend, _daemon, mut client) = start("").await;
    let mut waiting = Vec::new();
    for n in 0..20 {
        let (answer, _) = client.send("GET", &format!("/{n}"), &[], true).await;
        waiting.push((answer, backend.request().await));
    }
    // The last one first.
    for (n, (answer, (mut at, head))) in waiting.into_iter().enumerate().rev() {
        assert_eq!(head.target(), format!("/{n}"));
        at.send(OK).await;
        assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
    }
}
