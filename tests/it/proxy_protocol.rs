//! Connections that a balancer passes on: HAProxy, as Debian has it, sends the PROXY protocol in both versions.

use std::net::SocketAddr;

use crate::harness::{Authority, Backend, Daemon, FrontServer, Peer, connect_from, within};

const ASKS: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// An HAProxy that passes connections on to `to`.
async fn haproxy(to: SocketAddr, sends: &str) -> FrontServer {
    FrontServer::haproxy(&format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen it\n  bind {{listen}}\n  server one {to} {sends} check inter 200ms\n"
    ))
    .await
}

#[tokio::test]
async fn the_clients_address_is_the_one_that_haproxy_names() {
    for sends in ["send-proxy", "send-proxy-v2"] {
        let backend = Backend::start().await;
        let config = backend.config("public.proxy_protocol = [\"127.0.0.0/29\"]\n");
        let daemon = Daemon::start(&config).await;
        let haproxy = haproxy(daemon.public, sends).await;
        let mut client = Peer::new(connect_from("127.0.0.77", haproxy.address).await);
        client.send(ASKS).await;
        let (mut at, head) = backend.request().await;
        assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.77"), "{sends}");
        at.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(client.head().await.status(), 200, "{sends}");
        // A stream, whose socket leaves hyper, is counted as that client's, too.
        let mut stream = Peer::new(connect_from("127.0.0.78", haproxy.address).await);
        stream.send("GET /events?topic=a HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert_eq!(stream.head().await.status(), 200);
        let listed = daemon.command("GET", "/connections", &[], b"").await.text();
        assert!(listed.contains("127.0.0.78"), "{listed}");
        // HAProxy's own looks at the port are nothing to count.
        assert_eq!(daemon.metric("sidestream_proxy_protocol_failed_total", &[]).await, 0.0);
    }
}

#[tokio::test]
async fn the_header_comes_in_front_of_tls() {
    let authority = Authority::new();
    let config = authority.config("proxy_protocol = [\"127.0.0.1\"]", "");
    let daemon = Daemon::start(&config).await;
    let haproxy = haproxy(daemon.public, "send-proxy-v2").await;
    let socket = authority.connect(haproxy.address, &[b"http/1.1"]).await;
    let mut client = Peer::new(socket);
    client.send("GET /events?topic=a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
}

#[tokio::test]
async fn a_header_is_asked_of_those_that_are_listed_and_of_nobody_else() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config("public.proxy_protocol = [\"127.0.0.9\"]\n")).await;
    let said = format!("PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n{ASKS}");
    // A stranger who names another address.
    let mut stranger = Peer::new(connect_from("127.0.0.1", daemon.public).await);
    stranger.send(&said).await;
    assert_eq!(stranger.head().await.status(), 400);
    // The balancer without a header, and with one.
    let mut bare = Peer::new(connect_from("127.0.0.9", daemon.public).await);
    bare.send(ASKS).await;
    bare.ended().await;
    let mut sound = Peer::new(connect_from("127.0.0.9", daemon.public).await);
    sound.send(&said).await;
    let (_at, head) = within("its request", backend.request()).await;
    assert_eq!(head.get("x-forwarded-for"), Some("203.0.113.9"));
    let missing = daemon.metric("sidestream_proxy_protocol_failed_total", &["reason=\"missing\""]).await;
    assert_eq!(missing, 1.0);
}
