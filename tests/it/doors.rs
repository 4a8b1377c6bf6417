//! Clients that would hold the listeners up: that take nothing, that say no HTTP, that come in crowds; and the two
//! questions of readiness.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{
    Backend, Daemon, H2, Node, Peer, Program, Redis, eventually, holds_for, request, within,
};

/// A backend with an answer that no buffer on the way holds.
async fn large() -> Node {
    Node::start("const server = http.createServer((_, to) => to.end(Buffer.alloc(64 << 20)));").await
}

async fn stalled(daemon: &Daemon, count: f64) {
    eventually("the stalled clients are cut", async || {
        (daemon.metric("sidestream_clients_stalled_total", &[]).await == count).then_some(())
    })
    .await;
    eventually("nothing is held at the backend", async || {
        (daemon.metric("sidestream_proxy_in_flight", &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_stay_in_service_while_redis_is_away() {
    let mut redis = Redis::start().await;
    let daemon = Daemon::start(&redis.section()).await;
    eventually("events flow", async || (daemon.ask("/readyz/events").await.status == 200).then_some(()))
        .await;
    redis.kill().await;
    let said = eventually("events do not flow", async || {
        let answer = daemon.ask("/readyz/events").await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    assert_eq!(said["dependencies"]["redis"]["required"], true);
    let serving = daemon.ask("/readyz").await;
    assert_eq!(serving.status, 200, "{}", serving.text());
    assert_eq!(serving.json()["dependencies"]["redis"]["required"], false);
    assert_eq!(serving.json()["dependencies"]["redis"]["state"], "down");
}

#[tokio::test]
async fn a_dependency_that_is_named_takes_the_instance_out_of_service() {
    let redis = Redis::absent();
    let config = format!("internal.ready_requires = [\"redis\"]\n{}", redis.section());
    let daemon = Daemon::start(&config).await;
    let serving = daemon.ask("/readyz").await;
    assert_eq!(serving.status, 503, "{}", serving.text());
    assert_eq!(serving.json()["dependencies"]["redis"]["required"], true);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_cut() {
    let backend = large().await;
    let daemon = Daemon::start(&backend.config("public.write_timeout = \"1s\"\n")).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(daemon.public).await.expect("a connection");
        client.write_all(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("a request sent");
        clients.push(client);
    }
    stalled(&daemon, 3.0).await;
    let mut rest = Vec::new();
    let error = clients[0].read_to_end(&mut rest).await.expect_err("a cut answer");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_closed_window_of_http2_holds_no_backend_connection() {
    let backend = large().await;
    let daemon = Daemon::start(&backend.config("public.write_timeout = \"1s\"\n")).await;
    let mut client = H2::plain(daemon.public).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        // Nothing gives room back, so the window closes after the first bytes.
        bodies.push(client.begin("GET", "/big", &[], b"").await.into_body());
    }
    stalled(&daemon, 3.0).await;
    // The connection itself goes on, once what the client holds unread has gone.
    drop(bodies);
    assert_eq!(client.ask("GET", "/events", &[], b"").await.status, 400);
}

#[tokio::test]
async fn a_tunnel_whose_client_takes_nothing_is_cut() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config("public.write_timeout = \"1s\"\n")).await;
    let asks = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, asks).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.head().await.line, "HTTP/1.1 101 Switching Protocols");
    let flood = tokio::spawn(async move { while at.try_send([7; 65_536]).await.is_ok() {} });
    stalled(&daemon, 1.0).await;
    within("the backend's side ends", flood).await.expect("no panic");
}

#[tokio::test]
async fn idle_connections_of_clients_are_probed_by_the_kernel() {
    let daemon = Daemon::start("").await;
    let client = TcpStream::connect(daemon.public).await.expect("a connection");
    let port = client.local_addr().expect("its address").port();
    // In the table of the kernel: the peer's port in hexadecimal, and `02`, a timer that probes.
    let probed = || {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        let peer = format!(":{port:04X}");
        let mine = |line: &&str| line.split_whitespace().nth(2).is_some_and(|to| to.ends_with(&peer));
        let line = table.lines().find(mine)?;
        line.split_whitespace().nth(5).is_some_and(|timer| timer.starts_with("02:")).then_some(())
    };
    eventually("the accepted socket has a keep-alive timer", async || probed()).await;
}

#[tokio::test]
async fn the_internal_listener_answers_while_strangers_have_all_descriptors() {
    let daemon = Daemon::start_limited("[public]\nhead_timeout = \"1h\"\n", 256).await;
    let mut strangers = Vec::new();
    for _ in 0..400 {
        strangers.push(TcpStream::connect(daemon.public).await.expect("a connection"));
    }
    daemon.logged("nearly all open files").await;
    for _ in 0..5 {
        assert_eq!(daemon.ask("/healthz").await.status, 200);
        assert_eq!(daemon.try_publish(br#"{"topic":"a","data":1}"#).await.status, 200);
    }
    let lines = daemon.log().matches("cannot accept connections").count();
    assert!(lines <= 30, "{lines} lines");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_counted_and_logged() {
    let daemon = Daemon::start("").await;
    let long = "x".repeat(40 << 10);
    let answer = request(daemon.public, "GET", "/", &[("cookie", &long)], b"").await;
    assert_eq!(answer.status, 431);
    let mut client = Peer::send_to(daemon.public, "GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert_eq!(client.head().await.line, "HTTP/1.1 400 Bad Request");
    for reason in ["head_too_large", "malformed"] {
        eventually(reason, async || {
            let labels = ["listener=\"public\"", &format!("reason=\"{reason}\"")];
            (daemon.metric("sidestream_http_parser_refused_total", &labels).await == 1.0).then_some(())
        })
        .await;
    }
    let mut client = Peer::send_to(daemon.internal, "GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert_eq!(client.head().await.line, "HTTP/1.1 400 Bad Request");
    let labels = ["listener=\"internal\"", "reason=\"malformed\""];
    eventually("the internal listener's, too", async || {
        (daemon.metric("sidestream_http_parser_refused_total", &labels).await == 1.0).then_some(())
    })
    .await;
    daemon.logged("a request could not be read").await;
    assert!(daemon.log().contains("127.0.0.1:"), "{}", daemon.log());
}

#[tokio::test]
async fn resets_of_http2_write_no_lines() {
    let mut daemon = Daemon::start("").await;
    for _ in 0..3 {
        let mut client = H2::plain(daemon.public).await;
        for _ in 0..40 {
            let (answer, _) = client.send("GET", "/events?topic=a", &[], true).await;
            drop(answer);
        }
        drop(client);
    }
    daemon.signal("TERM");
    daemon.logged("stopped").await;
    assert!(daemon.ended().await.success());
    assert!(!daemon.log().contains("\"h2"), "{}", daemon.log());
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config("")).await;
    for host in ["a b", "a/b", "u@a", "a:99999x", "[::1"] {
        let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let mut client = Peer::send_to(daemon.public, &head).await;
        assert_eq!(client.head().await.line, "HTTP/1.1 400 Bad Request", "{host}");
    }
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_head_of_a_streams_path_is_answered_and_opens_nothing() {
    let daemon = Daemon::start("").await;
    let mut client = Peer::send_to(daemon.public, "HEAD /events?topic=a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(
        (head.line.as_str(), head.get("content-type")),
        ("HTTP/1.1 200 OK", Some("text/event-stream"))
    );
    assert_eq!(daemon.metric("sidestream_streams_opened_total", &[]).await, 0.0);
}

#[tokio::test]
async fn forwarded_of_a_trusted_proxy_names_the_client() {
    let backend = Backend::start().await;
    let config = format!("[public]\nbackend = \"{}\"\ntrusted_proxies = [\"127.0.0.1\"]\n", backend.url);
    let daemon = Daemon::start(&config).await;
    let asks = "GET / HTTP/1.1\r\nhost: h\r\nforwarded: for=203.0.113.9;proto=https;host=app.example\r\n\r\n";
    let _client = Peer::send_to(daemon.public, asks).await;
    let (_at, head) = backend.request().await;
    assert_eq!(head.get("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-host"), Some("app.example"));
}

#[tokio::test]
async fn the_internal_listener_bounds_heads_and_connections() {
    let daemon = Daemon::start("internal.max_connections = 3\n").await;
    let long = "x".repeat(256 << 10);
    let answer = request(daemon.internal, "GET", "/healthz", &[("x-long", &long)], b"").await;
    assert_eq!(answer.status, 431);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut one = TcpStream::connect(daemon.internal).await.expect("a connection");
        one.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
        let mut answer = [0; 64];
        assert!(within("an answer", one.read(&mut answer)).await.expect("read") > 0);
        held.push(one);
    }
    let internal = daemon.internal;
    let more = tokio::spawn(async move { request(internal, "GET", "/healthz", &[], b"").await.status });
    holds_for(Duration::from_millis(300), "a fourth connection waits", async || !more.is_finished()).await;
    held.pop();
    assert_eq!(within("the fourth is served", more).await.expect("no panic"), 200);
}

/// What Python's `wsgiref` makes of a request: names with `-` and `_` become one variable.
const WSGI: &str = r#"
import json
from wsgiref.simple_server import WSGIRequestHandler, make_server
class Quiet(WSGIRequestHandler):
    def log_message(self, *words): pass
def app(environ, start):
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({k: v for k, v in environ.items() if k.startswith("HTTP_")}).encode()]
server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[tokio::test]
async fn an_app_behind_wsgi_sees_no_address_that_a_stranger_spelt_with_underscores() {
    let mut app = Program::start(Command::new("python3").args(["-c", WSGI]));
    let port = app.line().await.expect("its port");
    let daemon = Daemon::start(&format!("public.backend = \"http://127.0.0.1:{port}\"\n")).await;
    let spelt = [
        ("x_forwarded_for", "6.6.6.6"),
        ("x_real_ip", "6.6.6.6"),
        ("x-forwarded_proto", "https"),
        ("x-other", "stays"),
    ];
    let seen = request(daemon.public, "GET", "/", &spelt, b"").await.json();
    assert_eq!(seen["HTTP_X_FORWARDED_FOR"], "127.0.0.1", "{seen}");
    assert_eq!(seen["HTTP_X_FORWARDED_PROTO"], "http", "{seen}");
    assert_eq!(seen["HTTP_X_OTHER"], "stays", "{seen}");
    assert!(!seen.to_string().contains("6.6.6.6"), "{seen}");
}
