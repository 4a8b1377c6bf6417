//! Where the daemon listens: several addresses, Unix sockets and their files, sockets that are passed, `PORT`.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::net::TcpStream;

use crate::harness::{
    Authority, Backend, Daemon, Finished, FrontServer, H2, KEY, Managed, Node, Peer, Shell, Stream,
    connect_unix, eventually, request, successors, within,
};

const GET: &str = "GET /page HTTP/1.1\r\nhost: shop.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nhello";

/// A folder for sockets, and one's path in it.
fn socket() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("public.sock");
    (folder, path)
}

/// A daemon that listens at a port and at `path`.
async fn daemon_at(path: &Path, config: &str) -> Daemon {
    let listen = format!("127.0.0.1:0, unix:{}", path.display());
    Daemon::start_with(config, &[("SIDESTREAM_PUBLIC_LISTEN", &listen)]).await
}

async fn connected(stream: &mut Stream) {
    assert_eq!(stream.status(), 200, "{}", stream.head);
    assert!(stream.block().await.is("connected"));
}

async fn open_on(path: &Path, target: &str, headers: &[(&str, &str)]) -> Stream {
    Stream::open_on(connect_unix(path), target, headers).await
}

async fn publish(daemon: &Daemon, data: u64) {
    daemon.publish(&json!({ "topic": "a", "data": data })).await;
}

#[tokio::test]
async fn every_address_and_a_unix_socket_carry_streams_and_pages() {
    let (_folder, path) = socket();
    let app = Node::start("const server = http.createServer((req, res) => res.end('page'));").await;
    let listen = format!("127.0.0.1:0,127.0.0.2:0,[::1]:0,unix:{}", path.display());
    let environment = [("SIDESTREAM_PUBLIC_LISTEN", listen.as_str())];
    let daemon = Daemon::start_with(&app.config(""), &environment).await;
    let line = daemon.log().lines().find(|line| line.contains("listening")).expect("a line").to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let named: Vec<String> = line["public"].as_str().expect("text").split(", ").map(str::to_owned).collect();
    let (unix, ports) = named.split_last().expect("addresses");
    assert_eq!((unix, ports.len()), (&format!("unix:{}", path.display()), 3));

    let mut streams = Vec::new();
    for port in ports {
        let at: SocketAddr = port.parse().expect("an address");
        assert_eq!(request(at, "GET", "/page", &[], b"").await.text(), "page");
        streams.push(Stream::open(at, "/events?topic=a", &[]).await);
    }
    let mut asking = Peer::new(connect_unix(&path));
    asking.send(GET).await;
    let head = asking.head().await;
    assert_eq!((head.status(), asking.body(&head).await.as_str()), (200, "page"));
    streams.push(open_on(&path, "/events?topic=a", &[]).await);
    for stream in &mut streams {
        connected(stream).await;
    }
    // The socket has left the HTTP server: a shard writes to it itself.
    assert_eq!(daemon.metric("sidestream_streams_opened_total", &["sink=\"socket\""]).await, 4.0);
    publish(&daemon, 7).await;
    for stream in &mut streams {
        assert_eq!(stream.data(1).await, ["7"]);
    }
    drop(streams);
    eventually("the streams are gone", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_over_a_unix_socket_ends_with_the_daemon_and_resumes() {
    let (_folder, path) = socket();
    let mut daemon = daemon_at(&path, "drain.window = \"0s\"\n").await;
    let mut stream = open_on(&path, "/events?topic=a", &[]).await;
    connected(&mut stream).await;
    publish(&daemon, 1).await;
    let seen = stream.event().await;
    drop(stream);
    for data in 2..500 {
        publish(&daemon, data).await;
    }
    let mut again = open_on(&path, "/events?topic=a", &[("last-event-id", seen.id())]).await;
    connected(&mut again).await;
    let wanted: Vec<String> = (2..500).map(|data: u64| data.to_string()).collect();
    assert_eq!(again.data(498).await, wanted);
    daemon.signal("TERM");
    assert!(again.block().await.is("closing"));
    assert_eq!(again.next().await, None);
    assert!(again.ended_cleanly);
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn a_reader_that_stalls_on_a_unix_socket_holds_nobody_up_and_catches_up() {
    let (_folder, path) = socket();
    let daemon = daemon_at(&path, "").await;
    let mut slow = open_on(&path, "/events?topic=a", &[]).await;
    let mut fast = open_on(&path, "/events?topic=a", &[]).await;
    connected(&mut slow).await;
    connected(&mut fast).await;
    let text = "x".repeat(4096);
    for n in 0..400 {
        daemon.publish(&json!({ "topic": "a", "data": format!("{n} {text}") })).await;
        assert!(fast.event().await.data().starts_with(&format!("{n} ")));
    }
    eventually("it is behind", async || {
        (daemon.metric("sidestream_streams_behind", &[]).await == 1.0).then_some(())
    })
    .await;
    for n in 0..400 {
        assert!(slow.event().await.data().starts_with(&format!("{n} ")));
    }
}

#[tokio::test]
async fn websockets_and_http2_go_over_a_unix_socket() {
    let (_folder, path) = socket();
    let backend = Backend::start().await;
    let daemon = daemon_at(&path, &backend.config("")).await;
    let mut websocket = Peer::new(connect_unix(&path));
    websocket.send(WEBSOCKET).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    at.send(SWITCHING).await;
    assert_eq!(websocket.head().await.status(), 101);
    websocket.expect("hello").await;
    websocket.send("there").await;
    at.expect("there").await;

    let socket = connect_unix(&path);
    let mut h2 = H2::over(socket, daemon.public, "http", &h2::client::Builder::new()).await;
    let mut events = h2.stream("/events?topic=a", &[]).await;
    assert!(events.block().await.is("connected"));
    publish(&daemon, 3).await;
    assert_eq!(events.block().await.data(), "3");
}

#[tokio::test]
async fn tls_goes_over_a_unix_socket() {
    let (_folder, path) = socket();
    let authority = Authority::new();
    let daemon = daemon_at(&path, &authority.config("", "")).await;
    let socket = authority.shake(connect_unix(&path), &[b"http/1.1"]).await.expect("a handshake");
    let mut client = Peer::new(socket);
    client.send("GET /events?topic=a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    let socket = authority.shake(connect_unix(&path), &[b"h2"]).await.expect("a handshake");
    let mut h2 = H2::over(socket, daemon.public, "https", &h2::client::Builder::new()).await;
    let mut events = h2.stream("/events?topic=a", &[]).await;
    assert!(events.block().await.is("connected"));
}

/// Starts one that cannot have its addresses.
async fn refused(path: &Path) -> Finished {
    let listen = format!("unix:{}", path.display());
    let environment =
        [("SIDESTREAM_PUBLIC_LISTEN", listen.as_str()), ("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:0")];
    Shell::run(&["serve", "--backend", "http://127.0.0.1:9"], &environment, "").await
}

#[tokio::test]
async fn the_sockets_file_has_its_rights_is_taken_from_nobody_and_goes_at_the_end() {
    let (_folder, path) = socket();
    let mut daemon = daemon_at(&path, "public.socket_mode = \"0666\"\n").await;
    let file = std::fs::metadata(&path).expect("the socket's file");
    assert!(file.file_type().is_socket());
    assert_eq!(file.mode() & 0o777, 0o666);

    let second = refused(&path).await;
    assert_eq!(second.code, Some(1));
    let said = format!(
        "cannot listen on unix:{}: somebody listens there; public.listen, or --listen, chooses another address",
        path.display()
    );
    assert!(second.stderr.contains(&said), "{second:?}");
    connected(&mut open_on(&path, "/events?topic=a", &[]).await).await;

    // One that is killed leaves its file, which the next one replaces.
    daemon.signal("KILL");
    daemon.ended().await;
    assert!(path.exists());
    let mut daemon = daemon_at(&path, "").await;
    assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o660);
    connected(&mut open_on(&path, "/events?topic=a", &[]).await).await;
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    assert!(!path.exists());

    std::fs::write(&path, "kept").expect("a file");
    let refused = refused(&path).await;
    assert!(refused.stderr.contains("the file there is no socket"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "kept");
}

#[tokio::test]
async fn a_successor_takes_the_path_over_and_no_connection_is_refused() {
    let (_folder, path) = socket();
    let app = Node::start("const server = http.createServer((req, res) => res.end('page'));").await;
    let config = app.config("public.reuse_port = true\ndrain.window = \"200ms\"\n");
    let asked = path.clone();
    let ask = move || {
        let path = asked.clone();
        async move {
            let mut client = Peer::new(connect_unix(&path));
            client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
            assert_eq!(client.head().await.status(), 200);
        }
    };
    let mut daemon = successors(async || daemon_at(&path, &config).await, 1, ask).await;
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    assert!(!path.exists());
}

#[tokio::test]
async fn callers_over_a_unix_socket_are_who_a_trusted_proxy_says() {
    let (_folder, path) = socket();
    let more = "public.trusted_proxies = [\"unix\"]\nlimits.streams_per_address = 1\n";
    let daemon = daemon_at(&path, more).await;
    let site = format!(
        "server {{ listen {{listen}}; location / {{ proxy_pass http://unix:{}; proxy_http_version 1.1;\n\
         proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_buffering off; }} }}",
        path.display()
    );
    let nginx = FrontServer::nginx(&site).await;
    let mut one = Stream::open(nginx.address, "/events?topic=a", &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(one.status(), 200);
    // nginx's own client is 127.0.0.1, which it names behind what that client says; 203.0.113.9 is not believed.
    let listed = daemon.command("GET", "/connections", &[], b"").await.text();
    assert!(listed.contains("127.0.0.1") && !listed.contains("203.0.113.9"), "{listed}");
    connected(&mut one).await;
    // RFC 7239, as a proxy of one's own would send it: others have their own limit.
    for address in ["203.0.113.9", "203.0.113.10"] {
        let headers = [("forwarded", &*format!("for={address}"))];
        let mut first = open_on(&path, "/events?topic=a", &headers).await;
        connected(&mut first).await;
        let refused = open_on(&path, "/events?topic=a", &headers).await.block().await;
        assert!(refused.is("refused") && refused.data().contains("streams"), "{refused:?}");
    }
}

#[tokio::test]
async fn without_a_proxys_word_all_callers_over_a_unix_socket_are_one_address() {
    let (_folder, path) = socket();
    let more = "public.trusted_proxies = [\"127.0.0.0/8\"]\nlimits.streams_per_address = 1\n";
    let daemon = daemon_at(&path, more).await;
    let told = [("x-forwarded-for", "203.0.113.9")];
    let mut first = open_on(&path, "/events?topic=a", &told).await;
    connected(&mut first).await;
    let refused = open_on(&path, "/events?topic=a", &[]).await.block().await;
    assert!(refused.is("refused"), "{refused:?}");
    let listed = daemon.command("GET", "/connections", &[], b"").await.text();
    assert!(listed.contains("127.0.0.1") && !listed.contains("203.0.113.9"), "{listed}");
}

#[tokio::test]
async fn haproxy_passes_connections_on_over_a_unix_socket() {
    let (_folder, path) = socket();
    let backend = Backend::start().await;
    let daemon = daemon_at(&path, &backend.config("public.proxy_protocol = [\"unix\"]\n")).await;
    let haproxy = FrontServer::haproxy(&format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen it\n  bind {{listen}}\n  server one unix@{} send-proxy-v2\n",
        path.display()
    ))
    .await;
    let mut client = Peer::new(crate::harness::connect_from("127.0.0.77", haproxy.address).await);
    client.send(GET).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.77"));
    at.send(OK).await;
    assert_eq!(client.head().await.status(), 200);
    // Those that come to the port bring no header. The backend's connection is used again.
    let mut bare = Peer::send_to(daemon.public, GET).await;
    let head = at.head().await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    at.send(OK).await;
    assert_eq!(bare.head().await.status(), 200);
}

#[tokio::test]
async fn connections_are_bounded_over_all_addresses_together() {
    let (_folder, path) = socket();
    let backend = Backend::start().await;
    let daemon = daemon_at(&path, &backend.config("public.max_connections = 2\n")).await;
    let first = TcpStream::connect(daemon.public).await.expect("a connection");
    let second = connect_unix(&path);
    eventually("both are open", async || {
        (daemon.metric("sidestream_connections_open", &["listener=\"public\""]).await == 2.0).then_some(())
    })
    .await;
    let mut third = Peer::new(connect_unix(&path));
    third.send(GET).await;
    crate::harness::let_time_pass("it would be asked by now", std::time::Duration::from_millis(200)).await;
    assert!(!backend.is_asked().await);
    drop((first, second));
    let (mut at, _) = backend.request().await;
    at.send(OK).await;
    assert_eq!(third.head().await.status(), 200);
}

#[tokio::test]
async fn commands_reach_an_internal_listener_at_a_unix_socket() {
    let (folder, path) = socket();
    let internal = folder.path().join("internal.sock");
    let listen = format!("unix:{}", internal.display());
    let environment = [("SIDESTREAM_INTERNAL_LISTEN", listen.as_str()), ("SIDESTREAM_PUBLISH_KEY", KEY)];
    let public = format!("unix:{}", path.display());
    let server = Shell::start_with(
        &["serve", "--backend", "http://127.0.0.1:9", "--listen", &public],
        &[environment[0], ("SIDESTREAM_INTERNAL_PUBLISH_KEYS", KEY)],
    );
    server.said("listening").await;
    assert_eq!(std::fs::metadata(&internal).expect("a socket").mode() & 0o777, 0o660);
    let run = async |arguments: &[&str]| {
        let finished = Shell::run(arguments, &environment, "").await;
        assert_eq!(finished.code, Some(0), "{arguments:?} {finished:?}");
        finished.stdout
    };
    assert_eq!(run(&["health"]).await, "ok\n");
    assert!(run(&["status"]).await.contains("ready"), "{}", run(&["status"]).await);
    let mut tail = Shell::start(&["tail", &format!("{public}:/events?topic=a")]);
    tail.said("connected as client").await;
    assert!(run(&["connections"]).await.contains("127.0.0.1"));
    assert!(run(&["publish", "--topic", "a", "hello"]).await.contains("matched=1"));
    assert!(tail.line().await.ends_with("hello"));
    // As curl does it.
    let curl = tokio::process::Command::new("curl")
        .args(["-sS", "--unix-socket", internal.to_str().expect("text"), "http://localhost/readyz"])
        .output();
    let said = within("curl", curl).await.expect("curl");
    assert!(String::from_utf8_lossy(&said.stdout).contains("ready"), "{said:?}");
    run(&["kick", "--topic", "a"]).await;
    server.signal("TERM");
    assert_eq!(server.finish().await.code, Some(0));
    assert!(!internal.exists() && !path.exists());
}

#[tokio::test]
async fn several_passed_sockets_are_taken_by_their_names() {
    let sockets = "public=tcp,internal=tcp,public=unix,internal=unix,public=tcp";
    let config = "public.backend = \"http://127.0.0.1:9\"\ndrain.window = \"0s\"\n";
    let mut managed = Managed::start_with(sockets, config, "1").await;
    managed.is_told("READY=1").await;
    let path = |at: usize| PathBuf::from(managed.sockets[at].as_str().expect("a path"));
    let (public, internal) = (path(2), path(3));
    let port = u16::try_from(managed.sockets[4].as_u64().expect("a port")).expect("a port");
    let mut streams = vec![
        Stream::open(managed.public, "/events?topic=a", &[]).await,
        Stream::open(SocketAddr::from(([127, 0, 0, 1], port)), "/events?topic=a", &[]).await,
        open_on(&public, "/events?topic=a", &[]).await,
    ];
    for stream in &mut streams {
        connected(stream).await;
    }
    assert_eq!(request(managed.internal, "GET", "/healthz", &[], b"").await.status, 200);
    let mut asking = Peer::new(connect_unix(&internal));
    asking.send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(asking.head().await.status(), 200);
    // Every one of them is watched, and their files stay, as they are the manager's.
    managed.is_told("WATCHDOG=1").await;
    managed.signal("TERM").await;
    assert_eq!(managed.hears("ended").await, 0);
    assert!(public.exists() && internal.exists());
}

#[tokio::test]
async fn a_socket_with_a_name_that_means_nothing_stops_the_start() {
    let config = "public.backend = \"http://127.0.0.1:9\"\n";
    let mut managed = Managed::start_with("public=tcp,web=tcp", config, "0").await;
    assert_eq!(managed.hears("ended").await, 1);
}

#[tokio::test]
async fn the_variable_port_says_where_the_public_listener_is_unless_it_is_configured() {
    // A port that is free in a moment.
    let port = std::net::TcpListener::bind("0.0.0.0:0").expect("a port").local_addr().expect("it").port();
    let (port, at) = (port.to_string(), SocketAddr::from(([127, 0, 0, 1], port)));
    let environment = [("PORT", port.as_str()), ("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:0")];
    let checked = Shell::run(&["check", "--backend", "http://127.0.0.1:9"], &environment, "").await;
    let says = format!("  public    0.0.0.0:{port} (from the variable PORT) in front of");
    assert!(checked.stdout.contains(&says), "{checked:?}");
    let server = Shell::start_with(&["serve", "--backend", "http://127.0.0.1:9"], &environment);
    let line = server.said("listening").await;
    assert!(
        line.contains(&format!("public=0.0.0.0:{port} ")) && line.contains("public_by=\"PORT\""),
        "{line}"
    );
    connected(&mut Stream::open(at, "/events?topic=a", &[]).await).await;

    let configured = [environment[0], ("SIDESTREAM_PUBLIC_LISTEN", "127.0.0.1:1")];
    let checked = Shell::run(&["check", "--backend", "http://127.0.0.1:9"], &configured, "").await;
    assert!(checked.stdout.contains("  public    127.0.0.1:1 in front of"), "{checked:?}");
    for (value, says) in [
        ("http", "`PORT` must be a port from 0 to 65535"),
        (
            "9",
            "the backend http://127.0.0.1:9 is sidestream's own public listener: the variable PORT puts the public one at \
             0.0.0.0:9\n",
        ),
        ("9", "= if PORT is the application's, unset it for sidestream, or say where sidestream listens"),
        (
            "8081",
            "the public and the internal listener cannot share 127.0.0.1:8081: the variable PORT puts the public one at \
             0.0.0.0:8081\n",
        ),
    ] {
        let refused = Shell::run(&["check", "--backend", "http://127.0.0.1:9"], &[("PORT", value)], "").await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
    let configured = [("PORT", "9"), ("SIDESTREAM_PUBLIC_LISTEN", "127.0.0.1:9")];
    let refused = Shell::run(&["check", "--backend", "http://127.0.0.1:9"], &configured, "").await;
    assert!(refused.stderr.contains("sidestream's own public listener\n"), "{refused:?}");
    assert!(!refused.stderr.contains("PORT"), "it was not asked: {refused:?}");
}
