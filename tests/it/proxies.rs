//! docs/proxies.md: the configurations of nginx, HAProxy, Caddy and Apache, taken out of the page and run as they stand
//! in front of the daemon. Only addresses and the files of the certificate are put in place of others.

use std::path::PathBuf;

use serde_json::json;
use sidestream::net::tls;
use tokio_rustls::TlsConnector;

use crate::harness::{
    Authority, Backend, Daemon, FrontServer, KEY, Peer, Shell, connect_from, eventually, repository,
};

/// A client's address that is none of the proxy's.
const CLIENT: &str = "127.0.0.77";

/// The first block of the page in this language.
fn snippet(language: &str) -> String {
    let page = std::fs::read_to_string(repository().join("docs/proxies.md")).expect("the page");
    let block = page.split_once(&format!("```{language}\n")).expect(language).1;
    block.split_once("```").expect("its end").0.to_owned()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Nginx,
    HaProxy,
    Caddy,
    Apache,
}

/// A proxy with the page's configuration in front of a daemon.
struct Fronted {
    backend: Backend,
    daemon: Daemon,
    front: FrontServer,
    /// What clients trust.
    ca: PathBuf,
    _authority: Authority,
}

impl Fronted {
    /// `change` is made to the page's text, `daemon` stands in the daemon's configuration.
    async fn start(kind: Kind, daemon: &str, change: impl Fn(String) -> String) -> Self {
        let backend = Backend::start().await;
        let config = backend.config(&format!("public.trusted_proxies = [\"127.0.0.1\"]\n{daemon}"));
        let daemon = Daemon::start(&config).await;
        let authority = Authority::new();
        let read = |name: &str| std::fs::read_to_string(authority.path(name)).expect("a file");
        // HAProxy has both in one file.
        authority.write("both.pem", &(read("certificate.pem") + &read("key.pem")));
        let certificate = if kind == Kind::HaProxy { "both.pem" } else { "certificate.pem" };
        let place = |language: &str| {
            change(snippet(language))
                .replace("127.0.0.1:8080", &daemon.public.to_string())
                .replace("8081", &daemon.internal.port().to_string())
                .replace("/etc/ssl/app.example.pem", authority.path(certificate).to_str().expect("text"))
                .replace("/etc/ssl/app.example.key", authority.path("key.pem").to_str().expect("text"))
        };
        let front = match kind {
            Kind::Nginx => FrontServer::nginx(&place("nginx").replace("listen 443", "listen {listen}")).await,
            Kind::HaProxy => {
                FrontServer::haproxy(&place("haproxy").replace("bind :443", "bind {listen}")).await
            }
            Kind::Caddy => {
                let sites = place("caddy").replace("app.example {", "https://localhost:{port} {");
                FrontServer::caddy("", &sites).await
            }
            Kind::Apache => FrontServer::apache(&place("apache").replace("*:443", "{listen}")).await,
        };
        let ca = if kind == Kind::Caddy { front.caddy_authority() } else { authority.file() };
        Self { backend, daemon, front, ca, _authority: authority }
    }

    /// A client's connection over TLS, in HTTP/1.1. Caddy listens before it has its certificate.
    async fn connect(&self) -> Peer {
        eventually("a handshake", async || {
            let authorities = std::fs::read(&self.ca).ok()?;
            let trust = tls::client(tls::Trust::Only(&authorities), None, &[b"http/1.1"]).ok()?;
            let name = tls::server_name("localhost").expect("a name");
            let socket = connect_from(CLIENT, self.front.address).await;
            TlsConnector::from(trust).connect(name, socket).await.ok().map(Peer::new)
        })
        .await
    }

    async fn stream(&self, headers: &str) -> Peer {
        let mut client = self.connect().await;
        client.send(format!("GET /events?topic=a HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        let head = client.head().await;
        assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")), "{head:?}");
        client
    }

    async fn carries_streams(&self) {
        let mut first = self.stream("").await;
        let greeting = first.until("\n\n").await;
        assert!(greeting.contains("event: connected"), "{greeting}");
        // Each is here before the next is published.
        let mut ids = Vec::new();
        for n in 0..3 {
            let event = json!({ "topic": "a", "event": "n", "data": n });
            ids.push(self.daemon.publish(&event).await["id"].as_str().expect("an id").to_owned());
            let block = first.until("\n\n").await;
            assert!(block.contains(&format!("data: {n}\nid: {}\n", ids[n])), "{block}");
        }
        let mut again = self.stream(&format!("Last-Event-ID: {}\r\n", ids[0])).await;
        let greeting = again.until("\n\n").await;
        assert!(greeting.contains(r#""resumed":true,"missed":2"#), "{greeting}");
        let listed = self.daemon.command("GET", "/connections", &[], b"").await.json();
        for stream in listed["connections"].as_array().expect("a list") {
            assert_eq!(stream["address"], CLIENT, "{listed}");
        }
    }

    async fn carries_requests(&self) {
        let mut client = self.connect().await;
        client.send("POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\nhello").await;
        let (mut at, head) = self.backend.request().await;
        assert_eq!(at.body(&head).await, "hello");
        assert_eq!(head.get("host"), Some("localhost"), "{head:?}");
        assert_eq!(head.get("x-forwarded-proto"), Some("https"), "{head:?}");
        let forwarded = head.get("x-forwarded-for").expect("an address").split(',').next();
        assert_eq!(forwarded, Some(CLIENT), "{head:?}");
        at.send("HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert_eq!(client.head().await.status(), 201);
    }

    async fn carries_websockets(&self) {
        let mut client = self.connect().await;
        client
            .send(
                "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        let (mut at, head) = self.backend.request().await;
        assert_eq!(head.get("upgrade"), Some("websocket"), "{head:?}");
        at.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await;
        assert_eq!(client.head().await.status(), 101);
        client.send("a frame").await;
        at.expect("a frame").await;
        at.send("another").await;
        client.expect("another").await;
    }

    /// The doctor finds nothing that stands in the way, or could be better.
    async fn is_well(&self) {
        let (url, internal) = (
            format!("https://localhost:{}", self.front.address.port()),
            format!("http://{}", self.daemon.internal),
        );
        let ca = self.ca.to_str().expect("text");
        let finished = Shell::run(
            &[
                "doctor",
                &url,
                "--ca",
                ca,
                "--url",
                &internal,
                "--key",
                KEY,
                "--for",
                "4s",
                "--heartbeat",
                "1s",
            ],
            &[],
            "",
        )
        .await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let well = finished.stdout.contains("All well") && !finished.stdout.contains("could be better");
        assert!(well, "{}", finished.stdout);
        for seen in ["HTTP/2          offered", "resuming        a second stream went on", " test events, "] {
            assert!(finished.stdout.contains(seen), "{seen}: {}", finished.stdout);
        }
    }
}

/// Everything that the page promises of a configuration.
async fn holds(kind: Kind) {
    let fronted = Fronted::start(kind, "sse.heartbeat = \"1s\"\n", |text| text).await;
    fronted.carries_streams().await;
    fronted.carries_requests().await;
    fronted.carries_websockets().await;
    fronted.is_well().await;
}

#[tokio::test]
async fn the_configuration_of_nginx_holds() {
    holds(Kind::Nginx).await;
}

#[tokio::test]
async fn the_configuration_of_haproxy_holds() {
    holds(Kind::HaProxy).await;
}

#[tokio::test]
async fn the_configuration_of_caddy_holds() {
    holds(Kind::Caddy).await;
}

#[tokio::test]
async fn the_configuration_of_apache_holds() {
    holds(Kind::Apache).await;
}

#[tokio::test]
async fn heartbeats_keep_a_silent_stream_longer_than_the_proxys_limit() {
    // Of an hour of tests none is left for 75 s: the same limits, and 2 s in their place.
    let shorter = |text: String| {
        let short =
            text.replace("75s", "2s").replace("timeout=75", "timeout=2").replace("client 60s", "client 2s");
        assert_ne!(short, text, "it has no limit");
        short
    };
    for kind in [Kind::Nginx, Kind::HaProxy, Kind::Apache] {
        let fronted = Fronted::start(kind, "sse.heartbeat = \"1s\"\n", shorter).await;
        let mut stream = fronted.stream("").await;
        stream.until("event: connected").await;
        for _ in 0..5 {
            stream.until(": hb\n\n").await;
        }
        drop(fronted);
        let silent = Fronted::start(kind, "sse.heartbeat = \"1h\"\n", shorter).await;
        let mut stream = silent.stream("").await;
        stream.until("event: connected").await;
        stream.rest().await;
    }
}
