//! TLS on the public listener: what clients agree on, what goes through it, real clients, certificates that are
//! renewed.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::client::TlsStream;

use crate::harness::{
    Authority, Backend, Browser, Daemon, H2, Node, Peer, Program, Wire, eventually, within,
};

/// A stream that waits long for its heartbeats: they do not disturb what a test looks at.
const QUIET: &str = "[sse]\nheartbeat = \"10m\"\n";

const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// Opens a stream by HTTP/1.1 and reads up to the end of its first block.
async fn stream(authority: &Authority, daemon: &Daemon) -> TlsStream<TcpStream> {
    let mut socket = authority.connect(daemon.public, HTTP1).await;
    socket.write_all(b"GET /events?topic=a HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let begun = until(&mut socket, "\n\n\r\n").await;
    assert!(begun.starts_with("HTTP/1.1 200 OK\r\n"), "{begun}");
    assert!(begun.contains("transfer-encoding: chunked\r\n"), "{begun}");
    assert!(begun.contains("event: connected\n"), "{begun}");
    socket
}

async fn until(socket: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut got = String::new();
    within(&format!("{end:?}"), async {
        while !got.ends_with(end) {
            let mut part = [0; 4096];
            let read = socket.read(&mut part).await.expect("more");
            assert_ne!(read, 0, "ended after {got:?}");
            got.push_str(str::from_utf8(&part[..read]).expect("text"));
        }
    })
    .await;
    got
}

#[tokio::test]
async fn a_stream_over_http1_begins_flows_and_ends_cleanly() {
    let authority = Authority::new();
    let mut daemon =
        Daemon::start(&authority.config("", &format!("{QUIET}[drain]\nwindow = \"300ms\"\n"))).await;
    let mut socket = stream(&authority, &daemon).await;
    daemon.publish(&json!({"topic": "a", "data": "hello"})).await;
    assert!(until(&mut socket, "\n\n\r\n").await.contains("data: hello\n"));
    daemon.publish(&json!({"topic": "a", "data": "x".repeat(1_000_000)})).await;
    assert!(until(&mut socket, "\n\n\r\n").await.len() > 1_000_000);
    assert_eq!(daemon.metric("sidestream_streams_opened_total", &["channel"]).await, 1.0);
    // Said on its stream, and then the connection ends as TLS wants it.
    daemon.signal("TERM");
    let end = until(&mut socket, "0\r\n\r\n").await;
    assert!(end.contains("event: closing\ndata: {\"reason\":\"draining\"}\n"), "{end}");
    let mut rest = Vec::new();
    within("the end", socket.read_to_end(&mut rest)).await.expect("a clean end");
    assert!(rest.is_empty());
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", QUIET)).await;
    let socket = stream(&authority, &daemon).await;
    let mut client = H2::tls(daemon.public, &authority).await;
    let mut second = client.stream("/events?topic=a", &[]).await;
    assert!(second.block().await.is("connected"));
    assert_eq!(daemon.metric("sidestream_streams_open", &[]).await, 2.0);
    drop((socket, second, client));
    eventually("both are closed", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_streams_closed_total", &["client_gone"]).await, 2.0);
    eventually("no connection is left", async || {
        (daemon.metric("sidestream_connections_open", &["public"]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn readers_that_take_nothing_are_cut_after_the_write_timeout() {
    let authority = Authority::new();
    let config = "[sse]\nheartbeat = \"10m\"\nwrite_timeout = \"1s\"\n";
    let daemon = Daemon::start(&authority.config("", config)).await;
    let stalled = stream(&authority, &daemon).await;
    let mut client = H2::tls(daemon.public, &authority).await;
    let mut reading = client.stream("/events?topic=a", &[]).await;
    assert!(reading.block().await.is("connected"));
    for n in 0..60 {
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(100_000)})).await;
        assert_eq!(reading.block().await.data().len(), 100_000, "{n}");
    }
    eventually("the stalled one is closed", async || {
        (daemon.metric("sidestream_streams_closed_total", &["stalled"]).await == 1.0).then_some(())
    })
    .await;
    eventually("its connection too", async || {
        (daemon.metric("sidestream_connections_open", &["public"]).await == 1.0).then_some(())
    })
    .await;
    drop(stalled);
}

#[tokio::test]
async fn requests_and_switched_connections_go_through() {
    let authority = Authority::new();
    let backend = Backend::start().await;
    let daemon = Daemon::start(&authority.config(&format!("backend = {:?}", backend.url), "")).await;
    let mut client = Peer::new(authority.connect(daemon.public, HTTP1).await);
    client.send("POST /x HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 5\r\n\r\nhello").await;
    let (mut at, head) = backend.request().await;
    assert_eq!((head.get("x-forwarded-proto"), head.get("host")), (Some("https"), Some("shop.example")));
    assert_eq!(at.body(&head).await, "hello");
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let head = client.head().await;
    assert_eq!((head.status(), client.body(&head).await.as_str()), (200, "ok"));
    // WebSocket, on the same connection.
    client.send("GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let head = at.head().await;
    assert_eq!(head.get("upgrade"), Some("websocket"));
    at.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nfirst")
        .await;
    assert_eq!(client.head().await.status(), 101);
    client.expect("first").await;
    client.send("ping").await;
    at.expect("ping").await;
    at.send("pong").await;
    client.expect("pong").await;
    // HTTP/2 says the same of the client.
    let mut client = H2::tls(daemon.public, &authority).await;
    let (answer, _) = client.send("GET", "/", &[], true).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_reason() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("head_timeout = \"500ms\"", "")).await;
    // One that sends nothing, plain HTTP, one that leaves, one that trusts somebody else, one with nothing in common.
    let mut silent = TcpStream::connect(daemon.public).await.expect("a connection");
    let mut plain = Peer::send_to(daemon.public, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(TcpStream::connect(daemon.public).await.expect("a connection"));
    assert!(Authority::new().try_connect(daemon.public, HTTP1).await.is_err());
    assert!(authority.try_connect(daemon.public, &[b"gopher"]).await.is_err());
    plain.rest().await;
    let mut got = Vec::new();
    let _ = within("the silent one is let go", silent.read_to_end(&mut got)).await;
    for reason in ["timeout", "not_tls", "disconnected", "refused_by_client", "incompatible"] {
        eventually(reason, async || {
            let label = format!("reason=\"{reason}\"");
            (daemon.metric("sidestream_tls_handshakes_failed_total", &[&label]).await == 1.0).then_some(())
        })
        .await;
    }
    assert_eq!(daemon.metric("sidestream_connections_open", &["public"]).await, 0.0);
    // None of this is news to the operator.
    assert!(!daemon.log().contains("handshake"), "{}", daemon.log());
}

#[tokio::test]
async fn a_certificate_is_renewed_by_sighup_and_a_bad_one_is_not_taken() {
    let mut authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", QUIET)).await;
    let mut old = stream(&authority, &daemon).await;
    // Bad ones first: the key of another, half a certificate, nothing.
    let (certificate, key) = (authority.file(), authority.path("key.pem"));
    let good = (std::fs::read(&certificate).expect("a file"), std::fs::read(&key).expect("a file"));
    let other = Authority::new();
    std::fs::copy(other.path("key.pem"), &key).expect("a copy");
    daemon.signal("HUP");
    daemon.logged("holds a private key that is not the one of the first certificate").await;
    std::fs::write(&certificate, &good.0[..good.0.len() / 2]).expect("a file");
    daemon.signal("HUP");
    daemon.logged("holds a certificate that is not sound PEM").await;
    std::fs::remove_file(&certificate).expect("it was there");
    daemon.signal("HUP");
    daemon.logged("cannot read").await;
    // The old one is still shown.
    std::fs::write(&certificate, &good.0).expect("a file");
    std::fs::write(&key, &good.1).expect("a file");
    assert!(authority.try_connect(daemon.public, HTTP1).await.is_ok());
    assert!(!daemon.log().contains("new connections get the new one"), "{}", daemon.log());

    authority.renew();
    daemon.signal("HUP");
    daemon.logged("new connections get the new one").await;
    let mut new = stream(&authority, &daemon).await;
    // A client that was there keeps its connection.
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    for socket in [&mut old, &mut new] {
        assert!(until(socket, "\n\n\r\n").await.contains("data: 1\n"));
    }
}

#[tokio::test]
async fn a_certificate_whose_files_change_is_renewed_without_a_signal() {
    let mut authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", "")).await;
    authority.renew();
    daemon.logged("new connections get the new one").await;
    assert!(authority.try_connect(daemon.public, HTTP1).await.is_ok());
}

#[tokio::test]
async fn curl_speaks_what_it_likes() {
    let authority = Authority::new();
    let node = Node::start("const server = http.createServer((q, s) => q.pipe(s));").await;
    let tls = Daemon::start(&authority.config(&format!("backend = {:?}", node.url), QUIET)).await;
    let plain = Daemon::start(&node.config(QUIET)).await;
    let ca = authority.file();
    let ca = ca.to_str().expect("text");
    for (daemon, scheme, flag, version) in [
        (&tls, "https", "--http2", "2"),
        (&tls, "https", "--http1.1", "1.1"),
        (&plain, "http", "--http2-prior-knowledge", "2"),
        // Asks to switch by a header, which is not done: HTTP/1.1 goes on.
        (&plain, "http", "--http2", "1.1"),
    ] {
        let base = format!("{scheme}://localhost:{}", daemon.public.port());
        let echo = Command::new("curl")
            .args([
                "-sS",
                "--cacert",
                ca,
                flag,
                "-d",
                "said",
                "-w",
                " %{http_version}",
                &format!("{base}/echo"),
            ])
            .kill_on_drop(true)
            .output();
        let echo = within("curl", echo).await.expect("curl");
        assert_eq!(String::from_utf8_lossy(&echo.stdout), format!("said {version}"), "{scheme} {flag}");
        let url = format!("{base}/events?topic=a");
        let mut curl = Program::start(Command::new("curl").args(["-sSN", "--cacert", ca, flag, &url]));
        let mut line = async || curl.line().await.expect("a line");
        assert!(line().await.starts_with("retry: "));
        assert_eq!(line().await, "event: connected");
        while !line().await.is_empty() {}
        daemon.publish(&json!({"topic": "a", "data": "hello"})).await;
        assert_eq!(line().await, "data: hello", "{scheme} {flag}");
    }
}

/// A page with more streams than HTTP/1.1 gives a browser connections, and a button that posts.
const PAGE: &str = r#"
const page = `<!doctype html><meta charset="utf-8"><title>many</title><p id="protocol"></p><ul></ul>
<button>post</button><script>
const show = (text) => document.querySelector('ul').appendChild(document.createElement('li')).textContent = text;
document.querySelector('#protocol').textContent = performance.getEntriesByType('navigation')[0].nextHopProtocol;
let open = 0;
for (let n = 0; n < 20; n++) {
  const source = new EventSource('/events?topic=all&topic=t' + n);
  source.addEventListener('connected', () => { if (++open % 20 === 0) show('open ' + open); });
  source.addEventListener('one', ({ data }) => show(data));
  let all = 0;
  source.addEventListener('all', ({ data }) => { window[data] = (window[data] ?? 0) + 1; if (window[data] === 20) show(data); });
}
document.querySelector('button').onclick = async () =>
  show(await (await fetch('/echo', { method: 'POST', body: 'posted beside them' })).text());
</script>`;
const server = http.createServer((q, s) => {
  if (q.method === 'POST') return q.pipe(s);
  s.setHeader('content-type', 'text/html');
  s.end(q.url === '/' ? page : '');
});
"#;

#[tokio::test]
async fn chromium_holds_twenty_streams_of_one_origin_and_resumes_them_after_a_cut() {
    let authority = Authority::new();
    let node = Node::start(PAGE).await;
    let sse = "[sse]\nheartbeat = \"10m\"\nretry_min = \"100ms\"\nretry_max = \"500ms\"\n";
    let daemon = Daemon::start(&authority.config(&format!("backend = {:?}", node.url), sse)).await;
    let wire = Wire::to(daemon.public).await;
    let mut browser = Browser::start_trusting();
    browser.open(&format!("https://{}/", wire.address)).await;
    browser.shows("#protocol", &["h2".to_owned()]).await;
    let mut shown = vec!["open 20".to_owned()];
    browser.shows("li", &shown).await;
    // By HTTP/1.1 this request would wait for a connection for ever.
    browser.click("button").await;
    shown.push("posted beside them".to_owned());
    browser.shows("li", &shown).await;
    daemon.publish(&json!({"topic": "all", "event": "all", "data": "to all"})).await;
    shown.push("to all".to_owned());
    browser.shows("li", &shown).await;
    daemon.publish(&json!({"topic": "t13", "event": "one", "data": "to one"})).await;
    shown.push("to one".to_owned());
    browser.shows("li", &shown).await;
    let opened = daemon.metric("sidestream_connections_opened_total", &["http2", "tls=\"yes\""]).await;
    assert!(opened <= 3.0, "twenty streams over {opened} connections");

    wire.cut();
    eventually("all are gone", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
    })
    .await;
    daemon.publish(&json!({"topic": "t7", "event": "one", "data": "missed"})).await;
    wire.mend();
    eventually("all are back", async || {
        (daemon.metric("sidestream_replays_total", &["resumed"]).await >= 20.0).then_some(())
    })
    .await;
    eventually("what was missed is shown, once", async || {
        let streamed = browser.streamed().await;
        let missed = streamed.iter().filter(|event| event["data"] == "missed").count();
        assert!(missed < 2, "it came twice");
        (missed == 1).then_some(())
    })
    .await;
    let again = browser.wait("li:has-text(\"open 40\")");
    within("all say that they are connected again", again).await;
}

#[tokio::test]
async fn node_speaks_http2_over_tls() {
    let authority = Authority::new();
    let daemon = Daemon::start(&authority.config("", QUIET)).await;
    let script = format!(
        "const session = require('http2').connect('https://localhost:{}');\n\
         const stream = session.request({{ ':path': '/events?topic=a' }});\n\
         stream.on('response', (headers) => console.log(JSON.stringify(headers)));\n\
         stream.setEncoding('utf8').on('data', (text) => process.stdout.write(text));\n\
         process.stdin.on('end', () => process.exit()).resume();",
        daemon.public.port()
    );
    let mut node = Program::start(
        Command::new("node").args(["-e", &script]).env("NODE_EXTRA_CA_CERTS", authority.file()),
    );
    let head = node.json().await;
    assert_eq!((&head[":status"], &head["content-type"]), (&json!(200), &json!("text/event-stream")));
    for unwanted in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(head.get(unwanted).is_none(), "{head}");
    }
    while !node.line().await.expect("a line").is_empty() {}
    daemon.publish(&json!({"topic": "a", "data": "hello"})).await;
    assert_eq!(node.line().await.expect("a line"), "data: hello");
}
