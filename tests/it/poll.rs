//! Answers that pages ask for again and again, asked for once for all of them.

use serde_json::json;

use crate::harness::{
    Backend, Daemon, Head, Node, Peer, Redis, Stream, eventually, holds_for, request, start,
};

fn route(more: &str) -> String {
    format!(
        "sse.retry_min = \"100ms\"\nsse.retry_max = \"200ms\"\n\
         [[stream]]\npath = \"/status\"\nsource = \"poll\"\ninterval = \"100ms\"\nlinger = \"100ms\"\n{more}"
    )
}

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

async fn open(daemon: &Daemon, more: &[(&str, &str)]) -> Stream {
    let headers = [&[EVENTS], more].concat();
    Stream::open(daemon.public, "/status", &headers).await
}

/// Answers the next question on any connection, and gives back what was asked.
async fn answer(backend: &Backend, kept: &mut Option<Peer>, head: &str, body: &str) -> Head {
    let mut peer = match kept.take() {
        Some(peer) => peer,
        None => backend.accept().await,
    };
    let asked = peer.head().await;
    peer.send(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    *kept = Some(peer);
    asked
}

#[tokio::test]
async fn the_application_is_asked_once_for_all_and_what_changed_is_an_event() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(&route(""))).await;
    let mut app = None;
    let (mut one, asked) = tokio::join!(
        open(&daemon, &[]),
        answer(
            &backend,
            &mut app,
            "200 OK\r\netag: \"a\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT",
            "{\"n\": 1}"
        )
    );
    assert_eq!(asked.line, "GET /status HTTP/1.1");
    assert_eq!((asked.get("if-none-match"), asked.get("accept-encoding")), (None, Some("identity")));
    assert_eq!(one.data(1).await, ["{\"n\": 1}"], "the first event is the current answer");
    let mut others = Vec::new();
    for _ in 0..20 {
        let mut other = open(&daemon, &[]).await;
        assert_eq!(other.data(1).await, ["{\"n\": 1}"]);
        others.push(other);
    }
    let asked = answer(&backend, &mut app, "304 Not Modified\r\netag: \"a\"", "").await;
    assert_eq!(asked.get("if-none-match"), Some("\"a\""));
    assert_eq!(asked.get("if-modified-since"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    answer(&backend, &mut app, "200 OK\r\netag: \"b\"", "{\"n\": 1}").await;
    let asked = answer(&backend, &mut app, "200 OK", "<p>grün\nzwei</p>").await;
    assert_eq!((asked.get("if-none-match"), asked.get("if-modified-since")), (Some("\"b\""), None));
    for stream in others.iter_mut().chain([&mut one]) {
        assert_eq!(stream.data(1).await, ["<p>grün\nzwei</p>"], "only what changed is sent");
    }
    assert!(!backend.is_asked().await, "one connection is enough");
}

#[tokio::test]
async fn a_change_is_sent_as_a_merge_patch_where_one_can_say_it() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(&route("send = \"patch\"\n"))).await;
    let mut app = None;
    let text = r#"{"a":{"b":1,"c":"a long text that stays"},"d":[1,2]}"#;
    let (mut one, _) = tokio::join!(open(&daemon, &[]), answer(&backend, &mut app, "200 OK", text));
    let first = one.event().await;
    assert_eq!(first.data(), text);
    let text = r#"{"a":{"b":2,"c":"a long text that stays"}}"#;
    answer(&backend, &mut app, "200 OK", text).await;
    let patch = one.event().await;
    assert!(patch.is("patch"), "{patch:?}");
    assert_eq!(patch.json(), json!({ "a": { "b": 2 }, "d": null }));
    // Who comes now begins with the whole, and who comes back with the patch.
    let mut late = open(&daemon, &[]).await;
    assert_eq!(late.data(1).await, [text]);
    let mut back = open(&daemon, &[("last-event-id", first.id())]).await;
    assert_eq!(back.event().await, patch);
    let text = r#"{"a":null}"#;
    answer(&backend, &mut app, "200 OK", text).await;
    for stream in [&mut one, &mut late, &mut back] {
        let whole = stream.event().await;
        assert_eq!((whole.event.as_deref(), whole.data()), (None, text));
    }
}

#[tokio::test]
async fn failures_keep_the_answer_and_are_told_after_some_of_them() {
    let backend = Backend::start().await;
    let daemon = start(&backend.config(&route("stale_after = 2\nmax_event = \"1KiB\"\n"))).await;
    let mut app = None;
    let (mut one, _) = tokio::join!(open(&daemon, &[]), answer(&backend, &mut app, "200 OK", "a"));
    assert_eq!(one.data(1).await, ["a"]);
    answer(&backend, &mut app, "503 Away", "x").await;
    // Too large for the route: as good as none.
    let mut peer = app.take().expect("a connection");
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
    let _ = peer.try_send(vec![b'x'; 1_000_000]).await;
    drop(peer);
    let stale = one.event().await;
    assert!(stale.is("stale"), "{stale:?}");
    assert_eq!(stale.json(), json!({ "failures": 2 }));
    let mut late = open(&daemon, &[]).await;
    assert_eq!(late.data(2).await, ["a", "{\"failures\":2}"], "a late one knows as much");
    answer(&backend, &mut app, "200 OK", "a").await;
    assert_eq!(one.data(1).await, ["a"], "it holds again");
    assert_eq!(late.data(1).await, ["a"]);
    assert_eq!(daemon.metric("sidestream_polls_total", &["outcome=\"too_large\""]).await, 1.0);
}

/// An application whose answer is its caller's own, and that counts how often it is asked.
const APP: &str = r#"
let asked = 0, status = 200;
const server = http.createServer((req, res) => {
  if (req.url === '/count') return res.end(String(asked));
  if (req.url.startsWith('/become/')) { status = Number(req.url.slice(8)); return res.end(); }
  asked++;
  res.statusCode = status;
  res.setHeader('cache-control', req.headers.cookie ? 'private' : 'no-cache');
  res.end(`for ${req.headers.cookie ?? 'anybody'}`);
});
"#;

#[tokio::test]
async fn each_caller_gets_the_answer_to_their_own_credentials() {
    let node = Node::start(APP).await;
    let daemon =
        start(&node.config(&route("interval = \"1h\"\n").replace("interval = \"100ms\"\n", ""))).await;
    for (cookie, expected) in [("sid=1", "for sid=1"), ("sid=2", "for sid=2"), ("sid=1", "for sid=1")] {
        let mut stream = open(&daemon, &[("cookie", cookie)]).await;
        assert_eq!(stream.data(1).await, [expected]);
        std::mem::forget(stream);
    }
    let mut anybody = open(&daemon, &[]).await;
    assert_eq!(anybody.data(1).await, ["for anybody"]);
    assert_eq!(daemon.get("/count").await.text(), "3", "two tabs of one session are one question");
    // A page that asks by itself gets its answer.
    let page = request(daemon.public, "GET", "/status", &[("accept", "*/*")], b"").await;
    assert_eq!(page.text(), "for anybody");
}

#[tokio::test]
async fn nobody_is_asked_when_nobody_listens_and_a_no_is_said_to_each() {
    let node = Node::start(APP).await;
    let daemon = start(&node.config(&route(""))).await;
    let mut one = open(&daemon, &[]).await;
    assert_eq!(one.data(1).await, ["for anybody"]);
    daemon.get("/become/404").await;
    let closing = one.event().await;
    assert!(closing.is("closing"), "{closing:?}");
    let forgotten = async || (daemon.metric("sidestream_upstreams_open", &[]).await == 0.0).then_some(());
    eventually("the answer is forgotten", &forgotten).await;
    let gone = open(&daemon, &[]).await;
    assert_eq!(gone.status(), 404);
    eventually("the answer is forgotten", &forgotten).await;
    daemon.get("/become/200").await;
    let mut two = open(&daemon, &[]).await;
    assert_eq!(two.data(1).await, ["for anybody"]);
    drop(two);
    eventually("nobody listens", &forgotten).await;
    let before = daemon.get("/count").await.text();
    holds_for(std::time::Duration::from_millis(500), "nobody is asked", async || {
        daemon.get("/count").await.text() == before
    })
    .await;
}

/// An application that answers the path it is asked for, how often it was, and by how many at once at most.
const COUNTS: &str = r#"
const asked = {};
let running = 0, most = 0, held = [];
const server = http.createServer((req, res) => {
  if (req.url === '/counts') return res.end(JSON.stringify({ ...asked, most }));
  if (req.url === '/release') { for (const one of held) one(); held = []; return res.end(); }
  const answer = () => { running--; res.end(`${req.url} ${asked[req.url]}`); };
  asked[req.url] = (asked[req.url] ?? 0) + 1;
  most = Math.max(most, ++running);
  if (req.url.startsWith('/slow') && asked[req.url] > 1) held.push(answer); else answer();
});
"#;

/// A route at `path` that is asked of its own once an hour.
fn rarely(path: &str, more: &str) -> String {
    format!("[[stream]]\npath = \"{path}\"\nsource = \"poll\"\ninterval = \"1h\"\nlinger = \"100ms\"\n{more}")
}

async fn events_of(daemon: &Daemon, path: &str) -> Stream {
    let stream = Stream::open(daemon.public, path, &[EVENTS]).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    stream
}

async fn call(daemon: &Daemon, path: &str) -> serde_json::Value {
    let answer = daemon.command("POST", &format!("/poll{path}"), &[], b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_request_makes_it_ask_at_once_for_those_who_ask_the_same() {
    let node = Node::start(COUNTS).await;
    let routes = [rarely("/status", ""), rarely("/rooms/{room}", "vary_by = []\n")].concat();
    let daemon = start(&node.config(&routes)).await;
    assert_eq!(call(&daemon, "/status").await, json!({ "asked": 0 }), "nobody listens");
    let mut plain = events_of(&daemon, "/status").await;
    let mut one = events_of(&daemon, "/status?b=2&a=1").await;
    let mut room = events_of(&daemon, "/rooms/gr%C3%BCn?who=u1").await;
    assert_eq!(plain.data(1).await, ["/status 1"]);
    assert_eq!(one.data(1).await, ["/status?b=2&a=1 1"]);
    assert_eq!(room.data(1).await, ["/rooms/gr%C3%BCn 1"]);
    assert_eq!(call(&daemon, "/status").await, json!({ "asked": 2 }));
    assert_eq!(plain.data(1).await, ["/status 2"]);
    assert_eq!(one.data(1).await, ["/status?b=2&a=1 2"]);
    assert_eq!(call(&daemon, "/status?a=1&b=2").await, json!({ "asked": 1 }));
    assert_eq!(one.data(1).await, ["/status?b=2&a=1 3"]);
    assert_eq!(call(&daemon, "/status?").await, json!({ "asked": 1 }));
    assert_eq!(plain.data(1).await, ["/status 3"]);
    assert_eq!(call(&daemon, "/rooms/gr%c3%bcn?who=u2").await, json!({ "asked": 1 }), "whatever the query");
    assert_eq!(room.data(1).await, ["/rooms/gr%C3%BCn 2"]);
    for (path, expected) in [("/rooms", 404), ("/other", 404), ("/", 404), ("/status/", 404)] {
        let answer = daemon.command("POST", &format!("/poll{path}"), &[], b"").await;
        assert_eq!(answer.status, expected, "{path}");
        assert_eq!(answer.json()["reason"], "no_poll", "{path}");
    }
    let refused = request(daemon.internal, "POST", "/poll/status", &[], b"").await;
    assert_eq!(refused.status, 401);
    let called = &["by=\"request\""];
    assert_eq!(daemon.metric("sidestream_poll_refreshes_total", called).await, 5.0);
}

#[tokio::test]
async fn many_calls_are_one_question_more_and_it_is_asked_behind_the_one_under_way() {
    let node = Node::start(COUNTS).await;
    let daemon = start(&node.config(&rarely("/slow", ""))).await;
    let mut one = events_of(&daemon, "/slow").await;
    assert_eq!(one.data(1).await, ["/slow 1"]);
    let asked = async |times: u64| {
        let counts: serde_json::Value = daemon.get("/counts").await.json();
        (counts["/slow"] == times && counts["most"] == 1).then_some(())
    };
    call(&daemon, "/slow").await;
    eventually("it is asked", async || asked(2).await).await;
    for _ in 0..50 {
        assert_eq!(call(&daemon, "/slow").await, json!({ "asked": 1 }));
    }
    holds_for(std::time::Duration::from_millis(300), "one is under way", async || asked(2).await.is_some())
        .await;
    daemon.get("/release").await;
    assert_eq!(one.data(1).await, ["/slow 2"]);
    eventually("it is asked once more", async || asked(3).await).await;
    daemon.get("/release").await;
    assert_eq!(one.data(1).await, ["/slow 3"]);
    holds_for(std::time::Duration::from_millis(300), "and no more", async || asked(3).await.is_some()).await;
}

#[tokio::test]
async fn a_publish_to_a_topic_of_the_route_makes_it_ask_at_once() {
    let node = Node::start(COUNTS).await;
    let routes = [
        rarely("/orders/{order}", "refresh_on = [\"orders\", \"order:{path.order}\", \"of:{query.of}\"]\n"),
        rarely("/status", ""),
    ];
    let daemon = start(&node.config(&routes.concat())).await;
    let mut first = events_of(&daemon, "/orders/1").await;
    let mut second = events_of(&daemon, "/orders/2?of=u1").await;
    let mut status = events_of(&daemon, "/status").await;
    assert_eq!(first.data(1).await, ["/orders/1 1"]);
    assert_eq!(second.data(1).await, ["/orders/2?of=u1 1"]);
    assert_eq!(status.data(1).await, ["/status 1"]);
    daemon.publish(&json!({ "topic": "order:1", "data": 1 })).await;
    assert_eq!(first.data(1).await, ["/orders/1 2"], "only the answer, not the event");
    daemon.publish(&json!({ "topic": "of:u1", "data": 1, "ephemeral": true })).await;
    assert_eq!(second.data(1).await, ["/orders/2?of=u1 2"]);
    daemon.publish(&json!({ "topics": ["other", "orders"], "data": 1 })).await;
    assert_eq!(first.data(1).await, ["/orders/1 3"]);
    assert_eq!(second.data(1).await, ["/orders/2?of=u1 3"]);
    let begun = std::time::Instant::now();
    for n in 0..100 {
        daemon.publish(&json!({ "topic": "orders", "data": n })).await;
    }
    daemon.publish(&json!({ "topic": "order:9", "data": 1 })).await;
    // The first of them may come so soon after the question before that it waits for its turn.
    assert_eq!(first.data(1).await, ["/orders/1 4"]);
    let counts: serde_json::Value = daemon.get("/counts").await.json();
    let asked = counts["/orders/1"].as_u64().expect("a number");
    let most = 5 + begun.elapsed().as_millis() as u64 / 100;
    assert!((4..=most).contains(&asked), "hundred publishes are some questions: {asked} of {most}");
    assert_eq!(counts["/status"], 1);
    // Nobody hears it any more.
    drop((first, second));
    let others = async || (daemon.metric("sidestream_upstreams_open", &[]).await == 1.0).then_some(());
    eventually("the orders are forgotten", others).await;
    let before: serde_json::Value = daemon.get("/counts").await.json();
    daemon.publish(&json!({ "topic": "orders", "data": 1 })).await;
    holds_for(std::time::Duration::from_millis(200), "nobody is asked", async || {
        daemon.get("/counts").await.json() == before
    })
    .await;
    // And somebody hears it again.
    let mut again = events_of(&daemon, "/orders/1").await;
    let now = again.data(1).await;
    daemon.publish(&json!({ "topic": "order:1", "data": 1 })).await;
    assert_ne!(again.data(1).await, now);
}

#[tokio::test]
async fn a_publish_on_one_instance_makes_each_that_hears_it_ask() {
    let (node, redis) = (Node::start(COUNTS).await, Redis::start().await);
    let config = node.config(&[rarely("/status", "refresh_on = [\"status\"]\n"), redis.section()].concat());
    let (one, two) = (start(&config).await, start(&config).await);
    let mut streams = [events_of(&one, "/status").await, events_of(&two, "/status").await];
    let mut first = Vec::new();
    for stream in &mut streams {
        first.extend(stream.data(1).await);
    }
    assert_eq!(first, ["/status 1", "/status 2"], "each asks for itself");
    one.publish(&json!({ "topic": "status", "data": 1, "ephemeral": true })).await;
    let mut next = [streams[0].data(1).await, streams[1].data(1).await].concat();
    next.sort_unstable();
    assert_eq!(next, ["/status 3", "/status 4"]);
    assert_eq!(call(&two, "/status").await, json!({ "asked": 1 }), "of the instance that is asked");
    assert_eq!(streams[1].data(1).await, ["/status 5"]);
}
