//! Methods, targets and headers.

use super::{OK, answer, get, start};
use crate::harness::{Daemon, Head, Node, Peer};

/// What reaches the backend of a request with these header lines.
async fn forwarded(config: &str, lines: &str) -> Head {
    let (backend, daemon) = start(config).await;
    let mut client =
        Peer::send_to(daemon.public, format!("GET / HTTP/1.1\r\nhost: shop.example\r\n{lines}\r\n")).await;
    let (mut at, head) = backend.request().await;
    at.send(OK).await;
    assert_eq!(answer(&mut client).await.0, 200);
    head
}

/// What reaches the client of an answer with these header lines.
async fn answered(status: &str, lines: &str) -> Head {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send(format!("HTTP/1.1 {status}\r\n{lines}content-length: 0\r\n\r\n")).await;
    client.head().await
}

#[tokio::test]
async fn every_method_goes_on() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::connect(daemon.public).await;
    let mut at = None;
    for method in
        ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH", "brew", "HEAD"]
    {
        client.send(format!("{method} /x HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        if at.is_none() {
            at = Some(backend.accept().await);
        }
        let at = at.as_mut().expect("a connection");
        assert_eq!(at.head().await.line, format!("{method} /x HTTP/1.1"));
        at.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200);
    }
}

#[tokio::test]
async fn path_and_query_go_on_byte_for_byte() {
    let (backend, daemon) = start("").await;
    for target in [
        "/",
        "/?",
        "//a/../b?x=%41&&",
        "/./a//b/%2e%2e/c",
        "/%00%ff%zz",
        "/a?b?c=d&e=/f",
        "/x|y\"z{}",
        "/a;b=1,2/~!$&'()*+:@",
        "/?q=caf\u{e9}",
    ] {
        let mut client = Peer::send_to(
            daemon.public,
            format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"),
        )
        .await;
        let (mut at, head) = backend.request().await;
        assert_eq!(head.target(), target);
        at.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200, "{target}");
    }
}

#[tokio::test]
async fn an_absolute_target_becomes_a_path_and_the_host() {
    let (backend, daemon) = start("").await;
    let mut client =
        Peer::send_to(daemon.public, "GET http://shop.example:81/a//b?c HTTP/1.1\r\nhost: other\r\n\r\n")
            .await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.target(), "/a//b?c");
    assert_eq!(head.get("host"), Some("shop.example:81"));
    at.send(OK).await;
    answer(&mut client).await;
    client.send("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(at.head().await.target(), "*");
}

#[tokio::test]
async fn a_request_that_could_be_read_two_ways_never_reaches_the_backend() {
    let (backend, daemon) = start("").await;
    for (request, status) in [
        ("GET shop.example:80 HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("GET shop.example HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("GET ftp://h/ HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nhost: h\r\n\r\n", 400),
        ("CONNECT shop.example:443 HTTP/1.1\r\nhost: shop.example:443\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5, 5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ] {
        let mut client = Peer::send_to(daemon.public, request).await;
        assert_eq!(client.head().await.status(), status, "{request:?}");
    }
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn what_is_for_one_hop_stays_there() {
    let head = forwarded(
        "",
        "connection: keep-alive, x-one\r\nx-one: 1\r\nkeep-alive: timeout=9\r\nproxy-connection: keep-alive\r\n\
         te: gzip\r\nproxy-authorization: Basic eA==\r\nupgrade: websocket\r\nx-two: 2\r\n",
    )
    .await;
    let names: Vec<_> = head
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|it| !it.starts_with("x-forwarded") && *it != "x-sidestream-hops")
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"host") && names.contains(&"x-two"), "{names:?}");

    let head = answered(
        "200 OK",
        "connection: x-one\r\nx-one: 1\r\nkeep-alive: timeout=9\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\nx-two: 2\r\n",
    )
    .await;
    let names: Vec<_> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(["x-two", "content-length", "date"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[tokio::test]
async fn repeated_headers_keep_their_order_both_ways() {
    let head = forwarded("", "x-n: 2\r\ncookie: a=1\r\nx-n: 1\r\ncookie: b=2\r\nx-n: 3\r\n").await;
    assert_eq!(head.all("x-n"), ["2", "1", "3"]);
    assert_eq!(head.all("cookie"), ["a=1", "b=2"]);
    let head = answered("299 So So", "set-cookie: b=2\r\nvary: x\r\nset-cookie: a=1\r\n").await;
    assert_eq!(head.line, "HTTP/1.1 299 So So");
    assert_eq!(head.all("set-cookie"), ["b=2", "a=1"]);
}

#[tokio::test]
async fn large_heads_go_both_ways() {
    let large = "x".repeat(20_000);
    assert_eq!(forwarded("", &format!("x-large: {large}\r\n")).await.get("x-large"), Some(&*large));
    let large = "y".repeat(100_000);
    assert_eq!(answered("200 OK", &format!("x-large: {large}\r\n")).await.get("x-large"), Some(&*large));
}

#[tokio::test]
async fn nothing_is_believed_of_an_untrusted_peer() {
    let claims = "x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil.example\r\n\
                  x-forwarded-port: 1\r\nforwarded: for=10.0.0.1\r\nx-real-ip: 10.0.0.1\r\n";
    let head = forwarded("", claims).await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-host"), Some("shop.example"));
    assert_eq!(head.get("host"), Some("shop.example"));
    assert_eq!(
        (head.get("x-forwarded-port"), head.get("forwarded"), head.get("x-real-ip")),
        (None, None, None)
    );

    let trusted = "public.trusted_proxies = [\"127.0.0.0/8\"]\n";
    let head = forwarded(trusted, claims).await;
    assert_eq!(head.get("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-host"), Some("evil.example"));
    assert_eq!(head.get("x-forwarded-port"), Some("1"));
    assert_eq!(head.get("forwarded"), Some("for=10.0.0.1"));
}

#[tokio::test]
async fn an_old_client_is_served_in_its_own_way() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, "GET /old HTTP/1.0\r\n\r\n").await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.line, "GET /old HTTP/1.1");
    assert_eq!(head.get("host"), Some(backend.url.trim_start_matches("http://")));
    at.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.line, "HTTP/1.0 200 OK");
    assert_eq!(head.get("transfer-encoding"), None);
    assert_eq!(client.rest().await, "old");
}

#[tokio::test]
async fn node_reads_what_the_client_wrote() {
    let node = Node::start(
        "const server = http.createServer((req, res) => {
            res.setHeader('x-a', ['1', '2']);
            res.end(JSON.stringify({ method: req.method, url: req.url, raw: req.rawHeaders }));
        });",
    )
    .await;
    let daemon = Daemon::start(&node.config("")).await;
    let mut client = Peer::send_to(
        daemon.public,
        "PROPFIND //a/../b?x=%41&& HTTP/1.1\r\nhost: h\r\nX-B: 2\r\nX-B: 1\r\n\r\n",
    )
    .await;
    let head = client.head().await;
    assert_eq!(head.all("x-a"), ["1", "2"]);
    let seen: serde_json::Value = serde_json::from_str(&client.body(&head).await).unwrap();
    assert_eq!((seen["method"].as_str(), seen["url"].as_str()), (Some("PROPFIND"), Some("//a/../b?x=%41&&")));
    let raw: Vec<&str> = seen["raw"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let of_b: Vec<_> =
        raw.chunks(2).filter(|pair| pair[0].eq_ignore_ascii_case("x-b")).map(|pair| pair[1]).collect();
    assert_eq!(of_b, ["2", "1"]);
}
