//! Pages of other origins: which may open a stream and read it, by the headers and in a real browser.

use serde_json::json;

use crate::harness::{
    Answer, Backend, Browser, Daemon, Node, SECRET, Stream, Wire, eventually, request, token,
};

const PAGE: &str = "https://app.example";

/// One stream for anyone, one for tokens that may come in a cookie, and a list of origins.
fn config(cors: &str) -> String {
    format!(
        r#"
{cors}
[[stream]]
path = "/open"

[[stream]]
path = "/events"
auth = "jwt"
topics = ["{{query.topic}}"]

[auth.jwt]
secret = "{SECRET}"
from = ["header:Authorization", "query:token", "cookie:session"]
"#
    )
}

const LISTED: &str = "[cors]\norigins = [\"https://app.example\"]\ncredentials = true";

fn session() -> String {
    format!("session={}", token(&json!({ "sub": "u1", "topics": ["a"] })))
}

async fn get(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(daemon.public, "GET", path, headers, b"").await
}

/// What the head of a stream says of a page that reads it: origin, credentials, vary.
fn cors_headers(head: &str) -> [Option<&str>; 3] {
    ["access-control-allow-origin", "access-control-allow-credentials", "vary"]
        .map(|name| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")))
}

fn cors_headers_of(answer: &Answer) -> [Option<&str>; 3] {
    ["access-control-allow-origin", "access-control-allow-credentials", "vary"]
        .map(|name| answer.headers.get(name).map(|value| value.to_str().expect("text")))
}

const MAY: [Option<&str>; 3] = [Some(PAGE), Some("true"), Some("origin")];
const MAY_NOT: [Option<&str>; 3] = [None, None, Some("origin")];

#[tokio::test]
async fn a_listed_page_may_read_a_stream_and_every_refusal() {
    let daemon = Daemon::start(&config(LISTED)).await;
    let origin = ("origin", PAGE);
    let stream = Stream::open(daemon.public, "/open?topic=a", &[origin]).await;
    assert_eq!((stream.status(), cors_headers(&stream.head)), (200, MAY), "{}", stream.head);
    let stream = Stream::open(daemon.public, "/events?topic=a", &[origin, ("cookie", &session())]).await;
    assert_eq!((stream.status(), cors_headers(&stream.head)), (200, MAY), "{}", stream.head);
    // One that hyper keeps, for it has carried a body.
    let mut kept = crate::harness::Peer::send_to(
        daemon.public,
        "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx",
    )
    .await;
    let head = kept.head().await;
    kept.body(&head).await;
    kept.send(format!("GET /open?topic=a HTTP/1.1\r\nhost: a\r\norigin: {PAGE}\r\n\r\n")).await;
    assert_eq!(kept.head().await.get("access-control-allow-origin"), Some(PAGE));
    for (path, cookie, status) in [
        ("/open", None, 400),
        ("/events?topic=a", None, 401),
        ("/events?topic=a", Some("session=x"), 401),
        ("/events?topic=b", Some(&*session()), 403),
    ] {
        let mut headers = vec![origin];
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        let answer = get(&daemon, path, &headers).await;
        assert_eq!((answer.status, cors_headers_of(&answer)), (status, MAY), "{path} {}", answer.text());
    }
}

#[tokio::test]
async fn a_refusal_that_will_pass_is_a_listed_pages_to_read_too() {
    for (refuse_with, status) in [("retry", 200), ("status", 429)] {
        let more =
            format!("{LISTED}\n[limits]\nstreams_per_address = 1\n[sse]\nrefuse_with = \"{refuse_with}\"\n");
        let daemon = Daemon::start(&config(&more)).await;
        let first = Stream::open(daemon.public, "/open?topic=a", &[]).await;
        assert_eq!(first.status(), 200);
        let second = Stream::open(daemon.public, "/open?topic=a", &[("origin", PAGE)]).await;
        assert_eq!((second.status(), cors_headers(&second.head)), (status, MAY), "{}", second.head);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_stream_of_somebody() {
    let daemon = Daemon::start(&config(LISTED)).await;
    let cookie = session();
    let own = format!("http://{}", daemon.public);
    for (marks, allowed) in [
        (&[][..], true),
        (&[("origin", PAGE)], true),
        (&[("origin", &*own)], true),
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "http://app.example")], false),
        (&[("origin", "https://app.example.evil.example")], false),
        (&[("origin", "null")], false),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], false),
        // No configuration names this host.
        (&[("origin", "https://evil.example"), ("x-forwarded-host", "evil.example")], false),
    ] {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend_from_slice(marks);
        let stream = Stream::open(daemon.public, "/events?topic=a", &headers).await;
        assert_eq!(stream.status(), if allowed { 200 } else { 403 }, "{marks:?} {}", stream.head);
        if !allowed {
            assert_eq!(cors_headers(&stream.head), MAY_NOT);
        }
    }
    let evil = [("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    let answer = get(&daemon, "/events?topic=a", &evil).await;
    assert_eq!(answer.json()["reason"], "origin_not_allowed");
    assert!(daemon.metric("sidestream_streams_refused_total", &["origin_not_allowed"]).await >= 6.0);
    // What anybody may have, any page's user may: the browser keeps it from the page.
    let open = Stream::open(daemon.public, "/open?topic=a", &evil).await;
    assert_eq!((open.status(), cors_headers(&open.head)), (200, MAY_NOT));
}

#[tokio::test]
async fn behind_a_proxy_the_pages_own_origin_is_what_the_proxy_says() {
    let daemon =
        Daemon::start(&format!("{}\n[public]\ntrusted_proxies = [\"127.0.0.1\"]\n", config(""))).await;
    let cookie = session();
    let said = [
        ("cookie", cookie.as_str()),
        ("origin", PAGE),
        ("x-forwarded-host", "app.example"),
        ("x-forwarded-proto", "https"),
    ];
    let stream = Stream::open(daemon.public, "/events?topic=a", &said).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    assert_eq!(cors_headers(&stream.head), [None; 3], "without a list nothing is said");
    assert_eq!(Stream::open(daemon.public, "/events?topic=a", &said[..2]).await.status(), 403);
}

#[tokio::test]
async fn cookies_come_only_from_pages_that_may_send_them() {
    let daemon = Daemon::start(&config("[cors]\norigins = [\"*\"]")).await;
    let cookie = session();
    let bearer = format!("Bearer {}", token(&json!({ "topics": ["a"] })));
    for (header, status) in [(("authorization", &bearer), 200), (("cookie", &cookie), 403)] {
        let headers = [("origin", "https://any.example"), (header.0, header.1.as_str())];
        let stream = Stream::open(daemon.public, "/events?topic=a", &headers).await;
        assert_eq!(stream.status(), status, "{header:?}");
        assert_eq!(cors_headers(&stream.head), [Some("*"), None, None]);
    }
}

#[tokio::test]
async fn a_preflight_on_a_streams_path_is_answered_and_elsewhere_is_the_backends() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config(&config(LISTED))).await;
    let ask = [
        ("origin", PAGE),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization, last-event-id"),
    ];
    let answer = request(daemon.public, "OPTIONS", "/events?topic=a", &ask, b"").await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    assert_eq!(answer.header("access-control-allow-methods"), "GET, POST");
    // Whatever it asks for.
    assert_eq!(answer.header("access-control-allow-headers"), "authorization, last-event-id");
    assert_eq!(answer.header("access-control-max-age"), "600");
    let evil = [("origin", "https://evil.example"), ask[1]];
    let answer = request(daemon.public, "OPTIONS", "/events?topic=a", &evil, b"").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, ""));
    assert!(!backend.is_asked().await);

    let asks = async |path: &str, headers: &[(&str, &str)]| {
        let answer = request(daemon.public, "OPTIONS", path, headers, b"");
        let (answer, ()) = tokio::join!(answer, async {
            let (mut peer, head) = backend.request().await;
            assert!(head.line.starts_with("OPTIONS "), "{head:?}");
            peer.send("HTTP/1.1 204 No Content\r\nx-of: backend\r\nconnection: close\r\n\r\n").await;
        });
        assert_eq!(answer.header("x-of"), "backend");
        assert_eq!(cors_headers_of(&answer), [None; 3]);
    };
    asks("/elsewhere", &ask).await;
    asks("/events", &[]).await;
    asks("/events", &[("origin", PAGE), ("access-control-request-method", "DELETE")]).await;
}

#[tokio::test]
async fn without_a_list_a_preflight_is_the_backends() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config(&config(""))).await;
    let ask = [("origin", PAGE), ("access-control-request-method", "GET")];
    let (answer, ()) = tokio::join!(request(daemon.public, "OPTIONS", "/events", &ask, b""), async {
        let (mut peer, _) = backend.request().await;
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    });
    assert_eq!(answer.status, 200);
}

/// A page of another origin that shows what its stream, at `url`, says and does.
async fn page(url: &str) -> Node {
    let page = format!(
        r#"<!doctype html><title>page</title><p id=state></p><div id=log></div><script>
document.cookie = 'session={}; path=/';
const source = new EventSource({url:?}, {{ withCredentials: true }});
const state = (text) => {{ const at = document.getElementById('state'); at.textContent = text; at.className = text; }};
source.addEventListener('connected', () => state('live'));
source.onerror = () => state(source.readyState === EventSource.CLOSED ? 'over' : 'reconnecting');
source.onmessage = (event) => {{
  const line = document.createElement('p');
  line.textContent = event.data;
  document.getElementById('log').append(line);
}};
window.ask = async (headers) => {{
  const answer = await fetch({url:?}, {{ headers }}).catch(() => null);
  state(answer ? 'answered' : 'failed');
}};
</script><button id=ask onclick="ask({{ authorization: 'Bearer x', 'last-event-id': '1-0-abc', 'x-auth-token': 'x' }})">ask</button>"#,
        token(&json!({ "sub": "u1", "topics": ["a"] }))
    );
    let page = serde_json::to_string(&page).expect("text");
    Node::start(&format!(
        "const server = http.createServer((request, answer) => {{ answer.setHeader('content-type', 'text/html'); answer.end({page}); }});"
    ))
    .await
}

/// A daemon behind a wire, and a page of another origin on a browser's screen.
async fn shown(listed: bool) -> (Daemon, Wire, Node, Browser) {
    // The port of the page has to be known to the daemon and that of the daemon to the page: the wire has one of its
    // own.
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let mut wire = Wire::to(nowhere).await;
    let node = page(&format!("http://{}/events?topic=a", wire.address)).await;
    let origins = if listed { node.url.as_str() } else { "http://127.0.0.1:9" };
    let cors = format!(
        "[cors]\norigins = [\"{origins}\"]\ncredentials = true\n[sse]\nretry_min = \"100ms\"\nretry_max = \"300ms\"\n"
    );
    let daemon = Daemon::start(&config(&cors)).await;
    wire.lead_to(daemon.public);
    let mut browser = Browser::start();
    browser.open(&node.url).await;
    (daemon, wire, node, browser)
}

#[tokio::test]
async fn chromium_reads_a_stream_of_another_origin_with_its_cookie_and_resumes_it() {
    let (daemon, wire, _page, mut browser) = shown(true).await;
    browser.wait("#state.live").await;
    let mut texts = vec!["one".to_owned()];
    daemon.publish(&json!({ "topic": "a", "data": "one" })).await;
    browser.shows("#log p", &texts).await;
    wire.cut();
    browser.wait("#state.reconnecting").await;
    for text in ["two", "three"] {
        daemon.publish(&json!({ "topic": "a", "data": text })).await;
        texts.push(text.to_owned());
    }
    wire.mend();
    browser.shows("#log p", &texts).await;
    let resumed = daemon.metric("sidestream_replays_total", &["outcome=\"resumed\""]).await;
    assert!(resumed >= 1.0, "it came back with its id");

    // A request that needs a preflight: it is let through, and what it gets can be read.
    browser.click("#ask").await;
    browser.wait("#state.answered").await;
}

#[tokio::test]
async fn chromium_gets_nothing_of_a_stream_that_does_not_list_its_page() {
    let (daemon, _wire, _page, mut browser) = shown(false).await;
    browser.wait("#state.over").await;
    browser.click("#ask").await;
    browser.wait("#state.failed").await;
    eventually("the daemon counts it", async || {
        let refused = daemon.metric("sidestream_streams_refused_total", &["origin_not_allowed"]).await;
        (refused >= 1.0).then_some(())
    })
    .await;
    assert_eq!(daemon.metric("sidestream_streams_opened_total", &[]).await, 0.0);
}

#[tokio::test]
async fn pages_of_a_pattern_may_read_and_send_what_is_listed() {
    let cors = "[cors]\norigins = [\"https://pr-*.app.example\"]\nheaders = [\"X-Token\", \"traceparent\"]";
    let daemon = Daemon::start(&config(cors)).await;
    let asks = async |origin| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "x-token, x-other"),
        ];
        request(daemon.public, "OPTIONS", "/open?topic=a", &headers, b"").await
    };
    let answer = asks("https://pr-12.app.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://pr-12.app.example");
    assert_eq!(answer.header("access-control-allow-headers"), "x-token, traceparent");
    for other in
        ["https://app.example", "https://pr-12.evil.app.example", "https://pr-12.app.example.evil.example"]
    {
        assert_eq!(asks(other).await.header("access-control-allow-origin"), "", "{other}");
    }
}

#[tokio::test]
async fn chromium_keeps_its_stream_beside_a_cookie_with_a_letter_outside_ascii() {
    let app = Node::start(
        "const server = http.createServer((request, answer) => { answer.setHeader('content-type', 'text/html'); answer.end('<p>app</p>'); });",
    )
    .await;
    let daemon = Daemon::start(&format!("public.backend = \"{}\"\n{}", app.url, config(""))).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.public)).await;
    browser
        .evaluate(&format!(
            "(() => {{ document.cookie = 'displayname=Jürgen'; document.cookie = {:?}; \
             window.source = new EventSource('/events?topic=a'); \
             window.source.addEventListener('connected', () => {{ window.connected = true; }}); return true; }})()",
            session()
        ))
        .await;
    browser.until("window.connected === true").await;
    assert_eq!(browser.evaluate("document.cookie.includes('Jürgen')").await, true);
}
