//! The application's own event streams, read once for all who hear them.

mod over_http2;

use serde_json::json;

use crate::harness::{Backend, Daemon, Node, Peer, Stream, eventually, start};

/// A route that is read of the application; `more` are further keys of it.
fn route(more: &str) -> String {
    format!(
        "sse.retry_min = \"100ms\"\nsse.retry_max = \"200ms\"\n\
         [[stream]]\npath = \"/events\"\nsource = \"backend\"\nlinger = \"200ms\"\n{more}"
    )
}

async fn daemon_before(backend: &Backend, more: &str) -> Daemon {
    start(&backend.config(&route(more))).await
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The application's side of a stream, answered with this head and these bytes; and what was asked.
async fn answer(backend: &Backend, bytes: &str) -> (Peer, crate::harness::Head) {
    let (mut peer, head) = backend.request().await;
    peer.send(bytes).await;
    (peer, head)
}

/// A stream of the daemon that the application, asked once, begins with `bytes`.
async fn first(daemon: &Daemon, backend: &Backend, bytes: &str) -> (Stream, Peer, crate::harness::Head) {
    let bytes = format!("{STREAM}{bytes}");
    let (stream, (peer, head)) = tokio::join!(daemon.stream("/events"), answer(backend, &bytes));
    assert_eq!(stream.status(), 200, "{}", stream.head);
    (stream, peer, head)
}

/// The next event that the application said, as the page sees it.
async fn heard(stream: &mut Stream) -> (String, String) {
    let block = stream.event().await;
    (block.event.clone().unwrap_or_else(|| "message".to_owned()), block.data().to_owned())
}

fn message(data: &str) -> (String, String) {
    ("message".to_owned(), data.to_owned())
}

#[tokio::test]
async fn many_clients_cost_the_application_one_stream_and_hear_it_as_it_was() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let begin = "\u{feff}: hello\n\nevent: connected\ndata: {\"own\": 1}\nid: a\n\n";
    let (mut one, mut app, head) = first(&daemon, &backend, begin).await;
    assert_eq!(head.line, "GET /events HTTP/1.1");
    assert_eq!(head.get("accept"), Some("text/event-stream"));
    assert_eq!(head.get("accept-encoding"), Some("identity"));
    let opening = one.block().await;
    assert_eq!((opening.data, opening.event), (None, None), "no event of ours comes first");
    let own = one.block().await;
    assert!(own.is("connected") && own.data() == "{\"own\": 1}", "the application's own: {own:?}");
    let mut others = Vec::new();
    for _ in 0..200 {
        others.push(daemon.stream("/events").await);
    }
    assert!(!backend.is_asked().await, "nobody else is a stream of the application");
    app.send("data: first\r\ndata:  second\r\n\r\nevent: big\rdata\rid: b\r\rdata: 🦀\n\n").await;
    for stream in others.iter_mut().chain([&mut one]) {
        assert_eq!(heard(stream).await, message("first\n second"));
        assert_eq!(heard(stream).await, ("big".to_owned(), String::new()));
        assert_eq!(heard(stream).await, message("🦀"));
    }
    assert_eq!(daemon.metric("sidestream_upstreams_open", &[]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_upstream_readers", &[]).await, 201.0);
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_heard_whole() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut stream, mut app, _) = first(&daemon, &backend, "").await;
    for byte in "id: ü\r\nevent: grün\r\ndata: ☂ 🦀\r\ndata: zwei\r\n\r\n".as_bytes() {
        app.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(heard(&mut stream).await, ("grün".to_owned(), "☂ 🦀\nzwei".to_owned()));
}

#[tokio::test]
async fn a_client_is_resumed_by_our_id_and_by_the_applications() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut one, mut app, _) = first(&daemon, &backend, "id: a1\ndata: 1\n\n").await;
    let ours = one.event().await.id.expect("an id of ours");
    assert_ne!(ours, "a1");
    app.send("id: a2\ndata: 2\n\ndata: 3\n\n").await;
    assert_eq!(one.data(2).await, ["2", "3"]);
    for id in [ours.as_str(), "a1"] {
        let mut back = Stream::open(daemon.public, "/events", &[("last-event-id", id)]).await;
        assert_eq!(back.data(2).await, ["2", "3"], "{id}");
    }
    let mut query = daemon.stream("/events?lastEventId=a2").await;
    assert_eq!(query.data(1).await, ["3"]);
    let mut lost = Stream::open(daemon.public, "/events", &[("last-event-id", "b7")]).await;
    assert!(lost.event().await.is("reset"), "nobody knows where that is");
    app.send("data: 4\n\n").await;
    assert_eq!(lost.data(1).await, ["4"]);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn late_comers_hear_what_the_route_says() {
    for (late, expected) in [("live", vec!["3"]), ("all", vec!["1", "2", "3"])] {
        let backend = Backend::start().await;
        let daemon = daemon_before(&backend, &format!("late_comers = \"{late}\"\n")).await;
        let (mut one, mut app, _) = first(&daemon, &backend, "data: 1\n\ndata: 2\n\n").await;
        assert_eq!(one.data(2).await, ["1", "2"]);
        let mut other = daemon.stream("/events").await;
        app.send("data: 3\n\n").await;
        assert_eq!(other.data(expected.len()).await, expected, "{late}");
    }
}

#[tokio::test]
async fn a_stream_without_ids_that_comes_back_has_a_gap_and_says_so() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut one, app, _) = first(&daemon, &backend, "retry: 10\ndata: 1\n\n").await;
    assert_eq!(one.data(1).await, ["1"]);
    drop(app);
    let (_app, head) = answer(&backend, &format!("{STREAM}data: 2\n\n")).await;
    assert_eq!(head.get("last-event-id"), None);
    let reset = one.event().await;
    assert!(reset.is("reset"), "{reset:?}");
    assert_eq!(reset.json(), json!({ "reason": "source_gap" }));
    assert_eq!(one.data(1).await, ["2"]);
}

#[tokio::test]
async fn a_stream_with_ids_goes_on_behind_the_last_one() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut one, app, _) = first(&daemon, &backend, "retry: 10\nid: ü1\ndata: 1\n\nid: x\ndata: cut").await;
    assert_eq!(one.data(1).await, ["1"]);
    drop(app);
    // Away for a moment: those who hear it stay, and others come.
    let (refused, _) = answer(&backend, "HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n").await;
    drop(refused);
    let mut other = daemon.stream("/events").await;
    let (_app, head) = answer(&backend, &format!("{STREAM}id: ü2\ndata: 2\n\n")).await;
    assert_eq!(head.get("last-event-id"), Some("ü1"));
    assert_eq!(one.data(1).await, ["2"]);
    assert_eq!(other.data(1).await, ["2"]);
    assert_eq!(daemon.metric("sidestream_upstream_reconnects_total", &["reason=\"ended\""]).await, 1.0);
}

#[tokio::test]
async fn what_the_application_says_instead_of_a_stream_it_says_to_each() {
    for status in ["401 Unauthorized", "404 Not Found", "204 No Content"] {
        let backend = Backend::start().await;
        let daemon = daemon_before(&backend, "").await;
        let (mut one, app, _) = first(&daemon, &backend, "retry: 10\nid: 1\ndata: 1\n\n").await;
        assert_eq!(one.data(1).await, ["1"]);
        drop(app);
        let said = format!("HTTP/1.1 {status}\r\nx-own: yes\r\nconnection: close\r\n\r\n");
        let (over, _) = answer(&backend, &said).await;
        drop(over);
        let closing = one.event().await;
        assert!(closing.is("closing"), "{closing:?}");
        assert_eq!(closing.json()["reason"], "source_ended");
        assert_eq!(one.next().await, None);
        eventually("the stream is forgotten", async || {
            (daemon.metric("sidestream_upstreams_open", &[]).await == 0.0).then_some(())
        })
        .await;
        // Asked for all, and then for the one who came.
        let asked = async {
            drop(answer(&backend, &said).await);
            answer(&backend, &said).await
        };
        let (again, (_app, head)) = tokio::join!(daemon.stream("/events"), asked);
        assert_eq!(again.status().to_string(), status[..3]);
        assert!(again.head.contains("x-own: yes"), "{}", again.head);
        assert_eq!(head.get("accept-encoding"), None, "the client's own request");
    }
}

#[tokio::test]
async fn an_application_that_is_away_is_no_end_for_a_browser() {
    let daemon = start(&format!("public.backend = \"http://127.0.0.1:1\"\n{}", route(""))).await;
    let mut refused = daemon.stream("/events").await;
    assert_eq!(refused.status(), 200);
    let block = refused.event().await;
    assert!(block.is("refused"), "{block:?}");
    assert_eq!(block.json()["reason"], "source_away");
}

#[tokio::test]
async fn the_stream_is_kept_for_its_time_after_the_last_reader() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut one, mut app, _) = first(&daemon, &backend, "id: 7\ndata: 1\n\n").await;
    let ours = one.event().await.id.expect("an id");
    drop(one);
    // Still there for those who come at once.
    let mut two = Stream::open(daemon.public, "/events", &[("last-event-id", &ours)]).await;
    app.send("id: 8\ndata: 2\n\n").await;
    let last = two.event().await;
    assert_eq!(last.data(), "2");
    drop(two);
    app.rest().await;
    // Gone on with where it was, for a client that was there before.
    let back = async { Stream::open(daemon.public, "/events", &[("last-event-id", &ours)]).await };
    let more = format!("{STREAM}id: 9\ndata: 3\n\n");
    let (mut back, (_app, head)) = tokio::join!(back, answer(&backend, &more));
    assert_eq!(head.get("last-event-id"), Some("8"));
    assert_eq!(back.data(2).await, ["2", "3"]);
}

#[tokio::test]
async fn who_comes_back_to_a_stream_that_began_anew_hears_of_the_gap() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut one, mut app, _) = first(&daemon, &backend, "data: 1\n\n").await;
    let ours = one.event().await.id.expect("an id");
    drop(one);
    app.rest().await;
    let (mut fresh, _app, _) = first(&daemon, &backend, "data: 2\n\n").await;
    assert_eq!(fresh.data(1).await, ["2"]);
    let mut back = Stream::open(daemon.public, "/events", &[("last-event-id", &ours)]).await;
    assert!(back.event().await.is("reset"));
    assert_eq!(back.data(1).await, ["2"]);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_left_out_and_a_silent_stream_is_opened_anew() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "max_event = \"1KiB\"\nsilence = \"300ms\"\n").await;
    let (mut one, mut app, _) = first(&daemon, &backend, "retry: 10\ndata: 1\n\n").await;
    assert_eq!(one.data(1).await, ["1"]);
    app.send(format!("data: {}\n\ndata: 2\n\n", "x".repeat(5000))).await;
    assert!(one.event().await.is("reset"));
    assert_eq!(one.data(1).await, ["2"]);
    let (_app, _) = answer(&backend, &format!("{STREAM}data: 3\n\n")).await;
    assert!(one.event().await.is("reset"));
    assert_eq!(one.data(1).await, ["3"]);
    assert_eq!(daemon.metric("sidestream_upstream_reconnects_total", &["reason=\"silent\""]).await, 1.0);
}

/// An application that counts its streams, tells each whose it is by its cookie, and says who may hear.
const APP: &str = r#"
let streams = 0, asked = 0;
const open = new Map();
const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://h');
  if (url.pathname === '/count') return res.end(JSON.stringify({ streams, asked, open: open.size }));
  if (url.pathname === '/say') { for (const [r, who] of open) r.write(`data: ${who}\n\n`); return res.end('said'); }
  if (url.pathname === '/auth') {
    asked++;
    const cookie = req.headers.cookie ?? '';
    res.statusCode = cookie.includes('sid=') ? 204 : 401;
    return res.end();
  }
  if (url.pathname === '/page') { res.setHeader('set-cookie', 'a=b'); return res.end('a page'); }
  streams++;
  const who = `${url.search}|${req.headers.cookie ?? ''}|${req.headers['x-tenant'] ?? ''}`;
  const head = { 'content-type': 'text/event-stream' };
  for (const name of ['vary', 'set-cookie', 'cache-control']) {
    if (url.searchParams.get(name)) head[name] = url.searchParams.get(name);
  }
  res.writeHead(200, head);
  res.write(`data: hello ${who}\n\n`);
  open.set(res, who);
  res.on('close', () => open.delete(res));
});
"#;

async fn counted(daemon: &Daemon) -> serde_json::Value {
    serde_json::from_str(&daemon.get("/count").await.text()).expect("counts")
}

async fn open_with(daemon: &Daemon, path: &str, cookie: &str) -> Stream {
    Stream::open(daemon.public, path, &[("cookie", cookie)]).await
}

#[tokio::test]
async fn who_may_hear_is_asked_for_every_client() {
    let node = Node::start(APP).await;
    let more = "auth = \"backend\"\nshared_despite = [\"cookie\"]\nlate_comers = \"all\"\n[auth.backend]\nurl = \"/auth\"\n";
    let daemon = start(&node.config(&route(more))).await;
    let mut one = open_with(&daemon, "/events", "sid=1").await;
    assert_eq!(one.data(1).await, ["hello |sid=1|"]);
    let mut two = open_with(&daemon, "/events", "sid=2").await;
    assert_eq!(two.data(1).await, ["hello |sid=1|"], "one stream for all who may hear it");
    let stranger = open_with(&daemon, "/events", "none=1").await;
    assert_eq!(stranger.status(), 401, "the first one's right is nobody else's");
    assert_eq!(counted(&daemon).await, json!({ "streams": 1, "asked": 3, "open": 1 }));
}

#[tokio::test]
async fn no_caller_hears_what_is_for_another_one() {
    let node = Node::start(APP).await;
    // By what cookies tell streams apart is said nowhere: each caller has a stream of their own.
    let daemon = start(&node.config(&route(""))).await;
    let mut streams = Vec::new();
    for n in 0..3 {
        let mut stream = open_with(&daemon, "/events", &format!("sid={n}")).await;
        assert_eq!(stream.data(1).await, [format!("hello |sid={n}|")]);
        streams.push(stream);
    }
    daemon.get("/say").await;
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.data(1).await, [format!("|sid={n}|")]);
    }
    assert_eq!(counted(&daemon).await["open"], 3);
    assert_eq!(daemon.metric("sidestream_upstream_unshared_total", &["reason=\"cookie\""]).await, 3.0);
    // Strangers without cookies share theirs; what the answer says of itself goes before that.
    let mut shared = [daemon.stream("/events").await, daemon.stream("/events").await];
    assert_eq!(shared[0].data(1).await, ["hello ||"]);
    assert_eq!(counted(&daemon).await["open"], 4);
    daemon.get("/say").await;
    assert_eq!(shared[1].data(1).await, ["||"]);
    for (query, reason) in [
        ("vary=X-Tenant", "vary"),
        ("vary=*", "vary"),
        ("set-cookie=a%3Db", "set_cookie"),
        ("cache-control=private", "cache_control"),
        ("cache-control=no-store", "cache_control"),
    ] {
        let label = format!("reason=\"{reason}\"");
        let before = daemon.metric("sidestream_upstream_unshared_total", &[&label]).await;
        let path = format!("/events?{query}");
        for tenant in ["one", "two"] {
            let mut stream = Stream::open(daemon.public, &path, &[("x-tenant", tenant)]).await;
            assert_eq!(stream.data(1).await, [format!("hello ?{query}||{tenant}")]);
        }
        let after = daemon.metric("sidestream_upstream_unshared_total", &[&label]).await;
        assert_eq!(after - before, 2.0, "{query}");
    }
}

#[tokio::test]
async fn a_route_says_by_what_its_streams_differ() {
    let node = Node::start(APP).await;
    let daemon =
        start(&node.config(&route("vary_by = [\"query\", \"cookie:org\", \"header:x-tenant\"]\n"))).await;
    let mut heard = Vec::new();
    for (cookie, tenant) in [("org=1; sid=1", "t"), ("sid=2; org=1", "t"), ("org=2", "t"), ("org=1", "u")] {
        let headers = [("cookie", cookie), ("x-tenant", tenant)];
        heard.push(Stream::open(daemon.public, "/events?vary=Cookie,X-Tenant", &headers).await);
    }
    daemon.get("/say").await;
    let expected = ["org=1|t", "org=1|t", "org=2|t", "org=1|u"];
    for (stream, expected) in heard.iter_mut().zip(expected) {
        let said = loop {
            let said = stream.event().await.data().to_owned();
            if !said.starts_with("hello") {
                break said;
            }
        };
        assert_eq!(said, format!("?vary=Cookie,X-Tenant|{expected}"));
    }
    assert_eq!(counted(&daemon).await["streams"], 3);
}

#[tokio::test]
async fn only_so_many_streams_are_shared_and_what_is_no_stream_passes_as_it_is() {
    let node = Node::start(APP).await;
    let config = route("max_upstreams = 1\n") + "[[stream]]\npath = \"/page\"\nsource = \"backend\"\n";
    let daemon = start(&node.config(&config)).await;
    let mut one = daemon.stream("/events?a").await;
    let mut two = daemon.stream("/events?b").await;
    assert_eq!(one.data(1).await, ["hello ?a||"]);
    assert_eq!(two.data(1).await, ["hello ?b||"]);
    assert_eq!(daemon.metric("sidestream_upstream_unshared_total", &["reason=\"limit\""]).await, 1.0);
    let page = daemon.get("/page").await;
    assert_eq!((page.status, page.text().as_str()), (200, "a page"));
    assert_eq!(page.header("set-cookie"), "a=b");
    // A page's own look at the path, and what is no GET.
    for (method, headers) in [("GET", [("accept", "text/html")]), ("POST", [("x", "y")])] {
        let answer = crate::harness::request(daemon.public, method, "/page", &headers, b"").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "a page"), "{method}");
    }
}

#[tokio::test]
async fn nothing_that_is_published_can_name_a_stream_of_the_application() {
    let backend = Backend::start().await;
    let daemon = daemon_before(&backend, "").await;
    let (mut one, mut app, _) = first(&daemon, &backend, "data: 1\n\n").await;
    assert_eq!(one.data(1).await, ["1"]);
    for envelope in [json!({ "upstream": "x", "data": 1 }), json!({ "target": "upstream", "targetId": "x" })]
    {
        assert_eq!(daemon.try_publish(envelope.to_string().as_bytes()).await.status, 400, "{envelope}");
    }
    daemon.publish(&json!({ "topic": "/events", "data": "no" })).await;
    app.send("data: 2\n\n").await;
    assert_eq!(one.data(1).await, ["2"]);
}

#[tokio::test]
async fn check_says_what_a_route_does() {
    let backend = Backend::start().await;
    let polled = "[[stream]]\npath = \"/orders/{order}\"\nsource = \"poll\"\nrefresh_on = [\"orders\", \"order:{path.order}\"]\n";
    let more = format!("vary_by = [\"query\", \"cookie:org\"]\n{polled}");
    let daemon = daemon_before(&backend, &more).await;
    let file = daemon.file();
    let checked = tokio::process::Command::new(env!("CARGO_BIN_EXE_sidestream"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    for sentence in [
        "one stream of the application for each path and query, cookie:org, shared by all who ask for it",
        "and what changed is sent, at once when orders, order:{path.order} is published to",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
}
