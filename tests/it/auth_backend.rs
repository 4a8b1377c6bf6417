//! `auth = "backend"`: the application says who may listen, and to what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{
    Answer, Backend, Browser, Daemon, Node, SessionApp, Stream, Wire, eventually, request, within,
    within_time,
};

/// An application that answers by the cookie `sid`, and counts.
const APP: &str = r#"
let now = 0, peak = 0, count = 0, last = null;
const held = [];
const answers = {
    ada: [200, {}, { user: 'ada', session: 's1', topics: ['c:*', 'news'], org: 'o1' }],
    short: [200, {}, { user: 'ada', topics: ['c:1'], ttl: 1 }],
    header: [204, { 'x-sidestream-user': 'ada', 'x-sidestream-topics': 'c:1' }],
    roll: [200, { 'set-cookie': ['sid=roll; Path=/', 'b=2'] }, { user: 'ada', topics: ['c:1'] }],
    nobody: [401, { 'www-authenticate': 'Session', 'set-cookie': 'sid=; Max-Age=0' }, { error: 'Please log in.' }],
    banned: [403, { 'content-language': 'en' }, { error: 'You are banned.' }],
    login: [302, { location: '/login' }],
    early: [425, {}],
    down: [500, {}],
    broken: [200, { 'content-type': 'application/json' }, '{"user": '],
    nameless: [200, {}, { user: { id: 1 } }],
};
const server = http.createServer((req, res) => {
    if (req.url === '/stats') return res.end(JSON.stringify({ now, peak, count, last }));
    if (req.url === '/release') { held.splice(0).forEach((go) => go()); return res.end(); }
    if (!req.url.startsWith('/auth')) return res.end('page ' + req.url);
    now += 1; count += 1; peak = Math.max(peak, now);
    last = { method: req.method, url: req.url, headers: req.rawHeaders };
    const sid = /sid=([\w-]+)/.exec(req.headers.cookie ?? '')?.[1] ?? 'nobody';
    const answer = (which) => () => {
        now -= 1;
        const [status, headers, body] = answers[which];
        const text = typeof body === 'string' ? body : body && JSON.stringify(body);
        res.writeHead(status, { ...(body && { 'content-type': 'application/json' }), ...headers });
        res.end(text);
    };
    if (sid === 'never') return res.on('close', () => { now -= 1; });
    if (sid === 'cut') { now -= 1; return req.socket.destroy(); }
    if (sid.startsWith('held')) return held.push(answer('ada'));
    if (sid.startsWith('user-')) return setTimeout(answer('ada'), 5);
    answer(sid)();
});
"#;

const STREAM: &str = r#"
[[stream]]
path = "/events"
auth = "backend"
topics = ["c:{query.c}"]
"#;

async fn start(section: &str) -> (Node, Daemon) {
    let app = Node::start(APP).await;
    let section = format!("{STREAM}\n[auth.backend]\nurl = \"/auth\"\n{section}");
    let daemon = Daemon::start(&app.config(&section)).await;
    (app, daemon)
}

async fn open(daemon: &Daemon, sid: &str, topic: &str) -> Stream {
    let cookie = format!("sid={sid}");
    Stream::open(daemon.public, &format!("/events?c={topic}"), &[("cookie", &cookie)]).await
}

async fn refused(daemon: &Daemon, sid: &str) -> Answer {
    request(daemon.public, "GET", "/events?c=1", &[("cookie", &format!("sid={sid}"))], b"").await
}

/// What the application has counted.
async fn stats(app: &Node) -> Value {
    let address = app.url.trim_start_matches("http://").parse().expect("an address");
    request(address, "GET", "/stats", &[], b"").await.json()
}

async fn release(app: &Node) {
    let address = app.url.trim_start_matches("http://").parse().expect("an address");
    request(address, "GET", "/release", &[], b"").await;
}

#[tokio::test]
async fn a_caller_hears_what_the_application_grants_and_no_more() {
    let (_app, daemon) = start("").await;
    let mut stream = open(&daemon, "ada", "1").await;
    assert_eq!(stream.status(), 200);
    let connected = stream.block().await.json();
    assert_eq!((&connected["user"], &connected["session"]), (&json!("ada"), &json!("s1")));
    daemon
        .publish(&json!([
            {"topic": "c:2", "data": "not asked for"},
            {"topic": "c:1", "data": "a topic"},
            {"user": "ada", "data": "the user"},
            {"session": "s1", "data": "the session"},
        ]))
        .await;
    assert_eq!(stream.data(3).await, ["a topic", "the user", "the session"]);

    let mut by_header = open(&daemon, "header", "1").await;
    assert_eq!(by_header.block().await.json()["user"], "ada");
    let answer = request(daemon.public, "GET", "/events?c=2", &[("cookie", "sid=header")], b"").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["reason"], "topic_not_granted");
    assert_eq!(answer.json()["topic"], "c:2");
}

#[tokio::test]
async fn a_no_is_the_applications_own() {
    let (_app, daemon) = start("").await;
    let nobody = request(daemon.public, "GET", "/events?c=1", &[], b"").await;
    assert_eq!((nobody.status, nobody.text().as_str()), (401, r#"{"error":"Please log in."}"#));
    assert_eq!(nobody.header("content-type"), "application/json");
    assert_eq!(nobody.header("www-authenticate"), "Session");
    assert_eq!(nobody.header("set-cookie"), "sid=; Max-Age=0");
    let banned = refused(&daemon, "banned").await;
    assert_eq!((banned.status, banned.text().as_str()), (403, r#"{"error":"You are banned."}"#));
    assert_eq!(banned.header("content-language"), "en");
    let login = refused(&daemon, "login").await;
    assert_eq!((login.status, &login.json()["reason"]), (401, &json!("login_required")));
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &["backend_refused"]).await, 2.0);
    assert_eq!(daemon.metric("sidestream_auth_requests_total", &["refused"]).await, 3.0);
}

#[tokio::test]
async fn nobody_gets_in_while_the_application_cannot_tell() {
    let (app, daemon) = start("timeout = \"300ms\"\n[sse]\nretry_min = \"1s\"\nretry_max = \"1s\"").await;
    for sid in ["down", "early", "broken", "nameless", "never", "cut"] {
        let answer = refused(&daemon, sid).await;
        assert_eq!(answer.status, 200, "{sid}");
        assert_eq!(answer.header("content-type"), "text/event-stream", "{sid}");
        let text = answer.text();
        assert!(text.starts_with("retry: ") && text.contains("event: refused"), "{sid}: {text}");
        assert!(text.contains("{\"reason\":\"auth_unavailable\"}"), "{sid}: {text}");
    }
    eventually("the request that was given up is gone", async || {
        (stats(&app).await["now"] == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_auth_requests_total", &["malformed"]).await, 4.0);
    assert_eq!(daemon.metric("sidestream_auth_requests_total", &["timeout"]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_auth_requests_total", &["unreachable"]).await, 1.0);
    daemon.logged("the application could not tell who a caller is").await;
    drop(app);
    // The daemon may have noticed already that its connections are gone.
    let answer = refused(&daemon, "ada").await;
    assert!(answer.text().contains("auth_unavailable"), "{}", answer.text());
    assert_eq!(daemon.metric("sidestream_streams_opened_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_caller_that_cannot_be_verified_now_can_be_refused_by_a_status() {
    let (_app, daemon) = start("[sse]\nrefuse_with = \"status\"").await;
    let answer = refused(&daemon, "down").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn the_application_sees_the_caller_and_what_they_want() {
    let backend = Backend::start().await;
    let section = format!("{STREAM}\n[auth.backend]\nurl = \"/auth?sse=1\"\ngrants = \"asked\"");
    let daemon = Daemon::start(&backend.config(&section)).await;
    let public = daemon.public;
    let asking = tokio::spawn(async move {
        let headers = [
            ("cookie", "sid=1"),
            ("authorization", "Bearer t"),
            ("accept", "text/event-stream"),
            ("last-event-id", "5-0"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-forwarded-for", "10.0.0.1"),
        ];
        Stream::open(public, "/events?c=7&c=8&lastEventId=5-0", &headers).await
    });
    let (mut peer, head) = backend.request().await;
    assert_eq!(head.line, "GET /auth?sse=1&c=7&c=8 HTTP/1.1");
    let host = public.to_string();
    for (name, value) in [
        ("host", host.as_str()),
        ("cookie", "sid=1"),
        ("authorization", "Bearer t"),
        ("accept", "application/json"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", host.as_str()),
        ("x-original-method", "GET"),
        ("x-original-uri", "/events?c=7&c=8"),
        ("x-sidestream-topics", "[\"c:7\",\"c:8\"]"),
    ] {
        assert_eq!(head.get(name), Some(value), "{name}");
    }
    for name in ["last-event-id", "connection", "x-hop", "content-length", "transfer-encoding"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    // A 2xx is enough: what was asked for is granted.
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let mut stream = asking.await.expect("a stream");
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.block().await.json()["topics"], json!(["c:7", "c:8"]));
}

#[tokio::test]
async fn a_yes_counts_for_a_moment_and_only_with_the_same_credentials() {
    let (app, daemon) = start("cache = \"1h\"").await;
    for _ in 0..3 {
        assert_eq!(open(&daemon, "ada", "1").await.status(), 200);
    }
    assert_eq!(stats(&app).await["count"], 1);
    assert_eq!(open(&daemon, "header", "1").await.status(), 200);
    assert_eq!(open(&daemon, "ada", "2").await.status(), 200);
    assert_eq!(stats(&app).await["count"], 3);
    // A no does not count again.
    for n in 4..6 {
        assert_eq!(refused(&daemon, "nobody").await.status, 401);
        assert_eq!(stats(&app).await["count"], n);
    }
    assert_eq!(daemon.metric("sidestream_auth_callers_total", &["cached"]).await, 2.0);
    // And a yes counts no longer than it says.
    assert_eq!(open(&daemon, "short", "1").await.status(), 200);
    eventually("the yes is over", async || {
        open(&daemon, "short", "1").await;
        (stats(&app).await["count"] == 7).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_cache_everybody_is_asked_about() {
    let (app, daemon) = start("cache = 0").await;
    for _ in 0..3 {
        assert_eq!(open(&daemon, "ada", "1").await.status(), 200);
    }
    assert_eq!(stats(&app).await["count"], 3);
}

#[tokio::test]
async fn what_the_application_sets_is_for_the_one_who_asked() {
    let (_app, daemon) = start("").await;
    let first = open(&daemon, "roll", "1").await;
    let head = first.head.to_ascii_lowercase();
    assert!(
        head.contains("set-cookie: sid=roll; path=/\r\n") && head.contains("set-cookie: b=2\r\n"),
        "{head}"
    );
    let again = open(&daemon, "roll", "1").await;
    assert_eq!(again.status(), 200);
    assert!(!again.head.to_ascii_lowercase().contains("set-cookie"), "{}", again.head);
}

#[tokio::test]
async fn callers_with_the_same_question_share_one_request_even_when_the_first_leaves() {
    let (app, daemon) = start("cache = 0").await;
    let open_held = || {
        let public = daemon.public;
        tokio::spawn(async move { Stream::open(public, "/events?c=1", &[("cookie", "sid=held")]).await })
    };
    let first = open_held();
    eventually("the first is asked about", async || (stats(&app).await["now"] == 1).then_some(())).await;
    let others: Vec<_> = (0..20).map(|_| open_held()).collect();
    eventually("the others wait with it", async || {
        (daemon.metric("sidestream_auth_callers_total", &["shared"]).await == 20.0).then_some(())
    })
    .await;
    first.abort();
    release(&app).await;
    for other in others {
        assert_eq!(other.await.expect("a stream").status(), 200);
    }
    assert_eq!(stats(&app).await["count"], 1);
}

#[tokio::test]
async fn a_caller_for_which_there_is_no_room_comes_back_later() {
    let (app, daemon) = start("max_concurrent = 1\nmax_waiting = 1\nmax_wait = \"1h\"").await;
    let open_held = |n: u32| {
        let public = daemon.public;
        tokio::spawn(async move {
            Stream::open(public, "/events?c=1", &[("cookie", &format!("sid=held{n}"))]).await
        })
    };
    let (one, two) = (open_held(1), open_held(2));
    eventually("one is asked about and one waits", async || {
        (daemon.metric("sidestream_auth_callers_total", &["asked"]).await == 2.0).then_some(())
    })
    .await;
    let third = refused(&daemon, "held3").await;
    assert!(third.text().contains("auth_unavailable"), "{}", third.text());
    assert_eq!(daemon.metric("sidestream_auth_callers_total", &["turned_away"]).await, 1.0);
    assert_eq!(stats(&app).await["peak"], 1);
    for stream in [one, two] {
        eventually("it waits for its answer", async || (stats(&app).await["now"] == 1).then_some(())).await;
        release(&app).await;
        // Whichever came first.
        drop(stream);
    }
    eventually("both are verified", async || {
        release(&app).await;
        (daemon.metric("sidestream_auth_requests_total", &["granted"]).await == 2.0).then_some(())
    })
    .await;
}

/// Opens `count` streams at once and gives back how many were let in.
async fn storm(daemon: &Daemon, count: usize, cookie: impl Fn(usize) -> String) -> usize {
    let let_in = Arc::new(AtomicUsize::new(0));
    let mut streams = JoinSet::new();
    for n in 0..count {
        let (public, cookie, let_in) = (daemon.public, cookie(n), Arc::clone(&let_in));
        streams.spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut socket = tokio::net::TcpStream::connect(public).await.expect("a connection");
            let request = format!("GET /events?c=1 HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\n\r\n");
            socket.write_all(request.as_bytes()).await.expect("sent");
            let mut got = Vec::new();
            while !got
                .windows(16)
                .any(|window| window == b"event: connected" || window == b"event: refused\nd")
            {
                assert_ne!(socket.read_buf(&mut got).await.expect("an answer"), 0);
            }
            if got.windows(16).any(|window| window == b"event: connected") {
                let_in.fetch_add(1, Ordering::Relaxed);
            }
            socket
        });
    }
    // All of them stay until the last one is in.
    let all = within_time(Duration::from_secs(150), "the storm's end", streams.join_all()).await;
    assert_eq!(all.len(), count);
    let_in.load(Ordering::Relaxed)
}

const STORM: &str = "[limits]\nstreams_per_address = 0\nstreams_per_user = 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_ten_thousand_reconnects_makes_no_more_requests_at_once_than_configured() {
    let section = "max_concurrent = 8\nmax_wait = \"1h\"\ntimeout = \"1m\"\ncache = 0\n";
    let (app, daemon) = start(&format!("{section}{STORM}")).await;
    let began = Instant::now();
    let let_in = storm(&daemon, 10_000, |n| format!("sid=user-{n}")).await;
    let seen = stats(&app).await;
    eprintln!("{let_in} let in after {:?}; the application saw {seen}", began.elapsed());
    assert_eq!(let_in, 10_000);
    assert_eq!((&seen["count"], &seen["peak"]), (&json!(10_000), &json!(8)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_the_same_caller_is_one_request() {
    let (app, daemon) = start(&format!("cache = \"1h\"\n{STORM}")).await;
    assert_eq!(storm(&daemon, 2000, |_| "sid=user-1".to_owned()).await, 2000);
    assert_eq!(stats(&app).await["count"], 1);
}

#[tokio::test]
async fn the_application_may_be_asked_over_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = Backend::start_at(&folder.path().join("app.sock"));
    let section = format!("{STREAM}\n[auth.backend]\nurl = \"{}:/who\"\nmethod = \"POST\"", app.url);
    let daemon = Daemon::start(&section).await;
    let public = daemon.public;
    let asking = tokio::spawn(async move { Stream::open(public, "/events?c=1", &[]).await });
    let (mut peer, head) = app.request().await;
    assert_eq!(head.line, "POST /who?c=1 HTTP/1.1");
    let body = r#"{"user":"u","topics":["*"]}"#;
    peer.send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    assert_eq!(asking.await.expect("a stream").status(), 200);
}

#[tokio::test]
async fn another_server_may_be_asked_over_https_and_has_to_be_the_one_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = folder.path().join("cert.pem");
    std::fs::write(&certificate, made.cert.pem()).expect("a file");
    let (cert, key) = (json!(made.cert.pem()), json!(made.signing_key.serialize_pem()));
    let app = Node::start(&format!(
        "const server = require('https').createServer({{ cert: {cert}, key: {key} }}, (req, res) => {{
            res.writeHead(200, {{ 'content-type': 'application/json' }});
            res.end(JSON.stringify({{ user: req.headers.host, topics: ['*'] }}));
        }});"
    ))
    .await;
    let port = app.url.rsplit(':').next().expect("a port");
    let section = |host: &str| format!("{STREAM}\n[auth.backend]\nurl = \"https://{host}:{port}/me\"");
    let trust = certificate.to_str().expect("text");
    let daemon = Daemon::start_with(&section("localhost"), &[("SSL_CERT_FILE", trust)]).await;
    let mut stream = daemon.stream("/events?c=1").await;
    assert_eq!(stream.block().await.json()["user"], format!("localhost:{port}"));
    for (host, trust) in [("127.0.0.1", trust), ("localhost", "")] {
        let trust = if trust.is_empty() { vec![] } else { vec![("SSL_CERT_FILE", trust)] };
        let daemon = Daemon::start_with(&section(host), &trust).await;
        let answer = daemon.get("/events?c=1").await;
        assert!(answer.text().contains("auth_unavailable"), "{host}: {}", answer.text());
        assert_eq!(daemon.metric("sidestream_auth_requests_total", &["unreachable"]).await, 1.0);
    }
}

#[tokio::test]
async fn an_express_app_keeps_its_login_and_its_page_comes_back_after_a_cut() {
    let app = SessionApp::start().await;
    let daemon = app.daemon().await;
    let refused = daemon.get("/events").await;
    assert_eq!((refused.status, refused.text().as_str()), (401, r#"{"error":"Please log in."}"#));

    let wire = Wire::to(daemon.public).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", wire.address)).await;
    browser.click("#listen").await;
    browser.wait("#state.refused").await;
    browser.fill("#name", "ada").await;
    browser.click("#login").await;
    browser.wait("#state.in").await;
    browser.click("#listen").await;
    browser.wait("#state.live").await;
    // By the app itself, and to a team that is not hers.
    browser.fill("#team", "blue").await;
    browser.fill("#text", "hello").await;
    browser.click("#send").await;
    let mut shown = vec!["ada: hello".to_owned()];
    browser.shows("#notes p", &shown).await;
    let note = |team: &str, text: &str| json!({"topic": format!("team:{team}"), "event": "note", "data": {"by": "a test", "text": text}});
    daemon.publish(&note("red", "not hers")).await;
    wire.cut();
    browser.wait("#state.reconnecting").await;
    daemon.publish(&note("blue", "while away")).await;
    shown.push("a test: while away".to_owned());
    wire.mend();
    browser.wait("#state.live").await;
    browser.shows("#notes p", &shown).await;

    browser.click("#logout").await;
    browser.wait("#state.out").await;
    browser.click("#listen").await;
    browser.wait("#state.refused").await;
    within("a metric", async {
        assert!(daemon.metric("sidestream_streams_refused_total", &["backend_refused"]).await >= 3.0);
    })
    .await;
}
