//! The internal listener: who may publish, bounds, methods, health, readiness, metrics.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Answer, Daemon, KEY, eventually, request, within, within_time};

async fn publish(daemon: &Daemon, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    request(daemon.internal, "POST", "/publish", headers, body).await
}

/// Writes `bytes` on a connection of their own and reads until the daemon closes it.
async fn raw(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(daemon.internal).await.expect("a connection");
    socket.write_all(bytes).await.expect("sent");
    read_all(&mut socket).await
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within("the answer and the end", socket.read_to_end(&mut answer)).await.expect("an answer");
    String::from_utf8(answer).expect("text")
}

const EVENT: &[u8] = br#"{"topic":"a"}"#;

#[tokio::test]
async fn only_a_holder_of_a_key_publishes() {
    let daemon = Daemon::start("[internal]\npublish_keys = [\"old\", \"new\"]").await;
    for key in ["Bearer old", "Bearer new", "bearer new"] {
        assert_eq!(publish(&daemon, &[("authorization", key)], EVENT).await.status, 200, "{key}");
    }
    for (key, challenge) in [
        (None, "Bearer"),
        (Some("new"), "Bearer"),
        (Some("Basic bmV3"), "Bearer"),
        (Some("Bearer wrong"), "Bearer error=\"invalid_token\""),
        (Some("Bearer olds"), "Bearer error=\"invalid_token\""),
        (Some("Bearer ol"), "Bearer error=\"invalid_token\""),
        (Some("Bearer old, Bearer new"), "Bearer error=\"invalid_token\""),
    ] {
        let headers: Vec<_> = key.iter().map(|key| ("authorization", *key)).collect();
        let answer = publish(&daemon, &headers, EVENT).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, challenge), "{key:?}");
        assert!(answer.json()["error"].is_string());
    }
    // Only where a header is; never in the query.
    assert_eq!(request(daemon.internal, "POST", "/publish?key=new", &[], EVENT).await.status, 401);
    assert_eq!(daemon.metric("sidestream_events_total", &[]).await, 3.0);
    assert_eq!(daemon.metric("sidestream_http_refused_total", &["reason=\"wrong_key\""]).await, 4.0);
}

#[tokio::test]
async fn without_keys_publishing_over_http_is_off() {
    let daemon = Daemon::start("[internal]\npublish_keys = []").await;
    let answer = publish(&daemon, &[("authorization", "Bearer x")], EVENT).await;
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.json(),
        json!({ "error": "publishing over HTTP is off: set internal.publish_keys, or an [[internal.publisher]]" })
    );
}

#[tokio::test]
async fn a_key_is_asked_for_before_the_body_is_read() {
    let daemon = Daemon::start("").await;
    let head =
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
    let answer = raw(&daemon, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_and_the_answer_arrives() {
    let daemon = Daemon::start("[internal]\nmax_body = \"10KiB\"").await;
    let event = |size: usize| format!(r#"{{"topic":"a","data":"{}"}}"#, "x".repeat(size)).into_bytes();
    assert_eq!(daemon.try_publish(&event(10_000)).await.status, 200);
    let answer = daemon.try_publish(&event(10_240)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json(), json!({ "error": "the body is larger than 10240 bytes (internal.max_body)" }));

    // By its announced length, without a byte of it; and without any, once it turns out.
    let head = format!("POST /publish HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n");
    let announced = raw(&daemon, format!("{head}content-length: 99999999999\r\n\r\n").as_bytes()).await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    let chunk = format!("3000\r\n{}\r\n", "x".repeat(0x3000));
    let chunked = raw(&daemon, format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}").as_bytes()).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");

    // A client that writes all before it reads still gets the answer.
    let mut socket = TcpStream::connect(daemon.internal).await.expect("a connection");
    let body = event(3_000_000);
    socket.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).await.expect("sent");
    within("the body", socket.write_all(&body)).await.expect("sent");
    let answer = read_all(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let daemon = Daemon::start("[internal]\nbody_timeout = \"200ms\"").await;
    let head = format!(
        "POST /publish HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-length: 13\r\n\r\n{{"
    );
    let answer = raw(&daemon, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the body took longer than 200ms (internal.body_timeout)"), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let daemon = Daemon::start("[internal]\nhead_timeout = \"200ms\"").await;
    let answer = raw(&daemon, b"POST /publish HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_publishes_nothing() {
    let daemon = Daemon::start("").await;
    let whole = "{\"topic\":\"a\"}\n{\"topic\":\"a\"}\n";
    let head = format!(
        "POST /publish HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
        whole.len() + 1
    );
    let mut socket = TcpStream::connect(daemon.internal).await.expect("a connection");
    socket.write_all(format!("{head}{whole}").as_bytes()).await.expect("sent");
    socket.shutdown().await.expect("closed");
    let answer = read_all(&mut socket).await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(daemon.metric("sidestream_events_total", &[]).await, 0.0);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let daemon = Daemon::start("").await;
    for bytes in [
        "hello\r\n\r\n",
        "GET /healthz\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5, 6\r\n\r\n",
        "POST /publish HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    ] {
        let answer = raw(&daemon, bytes.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{bytes:?}: {answer}");
    }
    let head = format!(
        "POST /publish HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let answer = raw(&daemon, format!("{head}zz\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(daemon.ask("/healthz").await.status, 200, "and it goes on serving");
}

#[tokio::test]
async fn a_connection_serves_many_publishes() {
    let daemon = Daemon::start("").await;
    let one = format!(
        "POST /publish HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n",
        EVENT.len()
    );
    let event = str::from_utf8(EVENT).unwrap();
    let all = format!("{one}\r\n{event}{one}\r\n{event}{one}connection: close\r\n\r\n{event}");
    let answer = raw(&daemon, all.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let daemon = Daemon::start("").await;
    let answer = daemon.command("POST", "/publish", &[("content-encoding", "gzip")], EVENT).await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_404_and_405() {
    let daemon = Daemon::start("").await;
    for (method, path, status, allow) in [
        ("GET", "/publish", 405, "POST"),
        ("PUT", "/publish", 405, "POST"),
        ("OPTIONS", "/publish", 405, "POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("DELETE", "/readyz", 405, "GET, HEAD"),
        ("POST", "/metrics", 405, "GET, HEAD"),
        ("GET", "/", 404, ""),
        ("GET", "/publish/", 404, ""),
        ("GET", "/events", 404, ""),
        ("POST", "/some-typed-path", 404, ""),
    ] {
        let answer = request(daemon.internal, method, path, &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        assert!(answer.json()["error"].is_string());
    }
    let nowhere = daemon.ask("/nowhere").await.json();
    let error = "nothing is here: GET /openapi.json says what there is";
    assert_eq!(nowhere, json!({ "error": error }));
    for path in ["/healthz", "/readyz", "/metrics"] {
        let head = request(daemon.internal, "HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn publishing_has_no_route_on_the_public_listener() {
    let daemon = Daemon::start("").await;
    let key = format!("Bearer {KEY}");
    let answer = request(daemon.public, "POST", "/publish", &[("authorization", &key)], EVENT).await;
    assert_ne!(answer.status, 200, "it is the backend's");
    assert_eq!(daemon.metric("sidestream_events_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let daemon = Daemon::start("").await;
    for mark in [("origin", "https://example.com"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let answer = daemon.command("POST", "/publish", &[mark], EVENT).await;
        assert_eq!(answer.status, 403, "{mark:?}");
        assert_eq!(request(daemon.internal, "GET", "/metrics", &[mark], b"").await.status, 403, "{mark:?}");
    }
    // An operator's own browser, from the address bar.
    let own = [("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")];
    assert_eq!(request(daemon.internal, "GET", "/metrics", &own, b"").await.status, 200);
}

#[tokio::test]
async fn the_process_is_healthy_and_the_daemon_ready() {
    let daemon = Daemon::start("").await;
    let health = daemon.ask("/healthz").await;
    assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })));
    let ready = daemon.ask("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    let ready = ready.json();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["dependencies"]["backend"]["required"], false);
}

#[tokio::test]
async fn a_draining_daemon_is_alive_but_not_ready() {
    // A stream and its drain window keep the daemon from ending at once.
    let mut daemon = Daemon::start("[drain]\nwindow = \"2s\"").await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = daemon.stream("/events?topic=a").await;
        stream.block().await;
        streams.push(stream);
    }
    daemon.signal("TERM");
    let answer = eventually("the daemon is not ready", async || {
        let answer = daemon.ask("/readyz").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (503, Some("draining")));
    assert_eq!(daemon.ask("/healthz").await.status, 200);
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let mut daemon = Daemon::start("").await;
    let mut idle = TcpStream::connect(daemon.internal).await.expect("a connection");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    idle.readable().await.expect("an answer");
    daemon.signal("TERM");
    let status = within_time(Duration::from_secs(10), "the end", daemon.ended()).await;
    assert!(status.success());
}

#[tokio::test]
async fn metrics_tell_what_happened_and_nothing_that_was_typed() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=typed-topic").await;
    stream.block().await;
    let typed = json!({
        "topic": "typed-topic", "users": ["typed-user"], "event": "typed-event", "data": "typed-data",
        "idempotency_key": "typed-key",
    });
    daemon.publish(&typed).await;
    daemon.publish(&typed).await;
    daemon.try_publish(br#"{"typed-field":1}"#).await;
    daemon.ask("/typed-path").await;
    daemon.get("/typed-path").await;
    request(daemon.internal, "TYPEDMETHOD", "/publish", &[("origin", "typed-origin")], b"").await;
    stream.event().await;

    let answer = daemon.ask("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
    let text = answer.text();
    assert!(!text.to_lowercase().contains("typed"), "{text}");
    for line in [
        "# TYPE sidestream_events_total counter",
        "# HELP sidestream_events_total Events taken in, by source.",
        "sidestream_events_total{source=\"http\"} 1",
        "sidestream_events_duplicate_total{source=\"http\"} 1",
        "sidestream_events_refused_total{source=\"http\",reason=\"unknown_field\"} 1",
        "sidestream_http_refused_total{listener=\"internal\",reason=\"no_route\"} 1",
        "sidestream_http_refused_total{listener=\"internal\",reason=\"browser\"} 1",
        "sidestream_log_events 1",
        "sidestream_streams_open 1",
    ] {
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }
    assert!(daemon.metric("sidestream_log_bytes", &[]).await > 0.0);
}
