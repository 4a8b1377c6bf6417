//! Tickets: made over the internal listener, redeemed once, and known by a cookie from then on.

use serde_json::{Value, json};

use crate::harness::{
    Answer, Backend, Browser, Daemon, KEY, Redis, SessionApp, Stream, Wire, eventually, request,
};

pub(crate) const STREAM: &str = r#"
[[stream]]
path = "/events"
auth = "ticket"
topics = ["c:{query.c}"]

[auth.ticket]
secret = "0123456789abcdef0123456789abcdef"
"#;

async fn ask(daemon: &Daemon, key: &str, body: &Value) -> Answer {
    let key = format!("Bearer {key}");
    request(daemon.internal, "POST", "/tickets", &[("authorization", &key)], body.to_string().as_bytes())
        .await
}

pub(crate) async fn ticket(daemon: &Daemon, body: &Value) -> String {
    let answer = ask(daemon, KEY, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

pub(crate) async fn present(daemon: &Daemon, ticket: &str, cookie: &str) -> Stream {
    let headers = [("cookie", cookie)];
    let headers = if cookie.is_empty() { &[][..] } else { &headers };
    Stream::open(daemon.public, &format!("/events?c=1&ticket={ticket}"), headers).await
}

/// Why a ticket is refused.
pub(crate) async fn reason(daemon: &Daemon, ticket: &str, cookie: &str) -> String {
    let path = format!("/events?c=1&ticket={ticket}");
    let answer = request(daemon.public, "GET", &path, &[("cookie", cookie)], b"").await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    answer.json()["reason"].as_str().expect("a reason").to_owned()
}

/// Name and value of the cookie that an answer sets.
pub(crate) fn cookie(head: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    line.split(';').next().expect("a pair").to_owned()
}

pub(crate) fn grant() -> Value {
    json!({"user": "u", "session": "s", "topics": ["c:1"]})
}

#[tokio::test]
async fn a_ticket_opens_a_stream_once_and_its_cookie_from_then_on() {
    let daemon = Daemon::start(STREAM).await;
    let made = ask(&daemon, KEY, &grant()).await.json();
    assert_eq!(made["expires_in"], 30);
    let ticket = made["ticket"].as_str().expect("a ticket");
    let mut first = present(&daemon, ticket, "").await;
    assert_eq!(first.status(), 200);
    let connected = first.block().await.json();
    assert_eq!((&connected["user"], &connected["session"]), (&json!("u"), &json!("s")));
    let attributes =
        first.head.lines().find(|line| line.starts_with("set-cookie: ")).expect("a cookie").to_owned();
    assert!(attributes.contains("; Path=/events; Max-Age=3"), "{attributes}");
    assert!(attributes.ends_with("; HttpOnly; SameSite=Lax"), "{attributes}");
    daemon.publish(&json!({"topic": "c:1", "data": "one"})).await;
    let one = first.event().await;
    assert_eq!(one.data(), "one");

    // The URL alone, as it stands in somebody's log, is worth nothing.
    assert_eq!(reason(&daemon, ticket, "").await, "ticket_used");
    drop(first);
    daemon.publish(&json!({"topic": "c:1", "data": "two"})).await;
    let headers = [("cookie", &*format!("sid=1; {}", cookie(&attributes))), ("last-event-id", one.id())];
    let mut back = Stream::open(daemon.public, &format!("/events?c=1&ticket={ticket}"), &headers).await;
    assert_eq!(back.status(), 200);
    assert!(!back.head.contains("set-cookie"), "{}", back.head);
    assert_eq!(back.data(1).await, ["two"]);
    // And without the ticket.
    let bare = Stream::open(daemon.public, "/events?c=1", &headers[..1]).await;
    assert_eq!(bare.status(), 200);

    let other = Stream::open(daemon.public, "/events?c=2", &headers[..1]).await;
    assert_eq!(other.status(), 403);
    assert_eq!(daemon.metric("sidestream_tickets_total", &["minted"]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_tickets_total", &["redeemed"]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_tickets_total", &["known_by_cookie"]).await, 3.0);
}

#[tokio::test]
async fn a_ticket_that_is_not_ours_is_refused_with_the_reason() {
    let daemon = Daemon::start(&format!("{STREAM}\nttl = \"1s\"\n")).await;
    let late = ticket(&daemon, &grant()).await;
    let answer = request(daemon.public, "GET", "/events?c=1", &[], b"").await;
    assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!("no_token")));
    assert_eq!(reason(&daemon, "sst1_abc", "").await, "bad_ticket");
    let forged = format!("{}A", &late[..late.len() - 1]);
    assert!(forged == late || reason(&daemon, &forged, "").await == "bad_ticket");
    let later = ticket(&daemon, &grant()).await;
    assert_eq!(present(&daemon, &later, "").await.status(), 200);
    eventually("its time is over", async || {
        let reason = reason(&daemon, &later, "").await;
        assert!(["ticket_used", "ticket_expired"].contains(&reason.as_str()), "{reason}");
        (reason == "ticket_expired").then_some(())
    })
    .await;
    // It was made before that one, and nobody has used it.
    assert_eq!(reason(&daemon, &late, "").await, "ticket_expired");
}

#[tokio::test]
async fn tickets_are_made_only_for_clients_with_a_key() {
    let daemon = Daemon::start(&format!("{STREAM}\nkeys = [\"for-tickets\"]\n")).await;
    assert_eq!(ask(&daemon, "for-tickets", &grant()).await.status, 200);
    // A key for publishing makes no tickets once there are keys for tickets.
    assert_eq!(ask(&daemon, KEY, &grant()).await.status, 401);
    let none = request(daemon.internal, "POST", "/tickets", &[], b"{}").await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer"));
    let bad = ask(&daemon, "for-tickets", &json!({"topic": "c:1"})).await;
    assert_eq!(bad.status, 400);
    assert!(bad.text().contains("`topic`"), "{}", bad.text());
    let large = ask(&daemon, "for-tickets", &json!({"claims": {"a": "x".repeat(3000)}})).await;
    assert_eq!(large.status, 413);
    let get = daemon.ask("/tickets").await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    let page = request(daemon.internal, "POST", "/tickets", &[("origin", "http://x")], b"{}").await;
    assert_eq!(page.status, 403);
    // Not on the public listener, and not without a configuration.
    let public = request(daemon.public, "POST", "/tickets", &[], b"{}").await;
    assert_eq!(public.status, 502);
    let without = Daemon::start("").await;
    assert_eq!(ask(&without, KEY, &grant()).await.status, 404);
}

#[tokio::test]
async fn a_caller_at_a_limit_is_known_when_they_come_back() {
    let daemon = Daemon::start(&format!("{STREAM}\n[limits]\nstreams_per_user = 1\n")).await;
    let held = present(&daemon, &ticket(&daemon, &grant()).await, "").await;
    let second = ticket(&daemon, &grant()).await;
    let path = format!("/events?c=1&ticket={second}");
    let answer = daemon.get(&path).await;
    assert!(answer.text().contains("limit_streams_per_user"), "{}", answer.text());
    let pair = answer.header("set-cookie").split(';').next().expect("a pair").to_owned();
    drop(held);
    eventually("there is a seat", async || {
        let headers = [("cookie", pair.as_str())];
        let mut stream = Stream::open(daemon.public, &path, &headers).await;
        assert_eq!(stream.status(), 200);
        stream.block().await.is("connected").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_ticket_reaches_the_backend_or_the_log() {
    let backend = Backend::start().await;
    let config = format!(
        "{STREAM}\n[[stream]]\npath = \"/asked\"\nauth = \"backend\"\ntopics = []\n\
         [auth.backend]\nurl = \"/auth\"\n[telemetry]\nlog_level = \"trace\"\n"
    );
    let daemon = Daemon::start(&backend.config(&config)).await;
    let ticket = ticket(&daemon, &grant()).await;
    let pair = cookie(&present(&daemon, &ticket, "").await.head);
    let cookies = format!("sid=1; {pair}");
    for (path, to_backend) in [("/page", "/page?a=1"), ("/asked", "/auth?a=1")] {
        let (public, target) = (daemon.public, format!("{path}?ticket={ticket}&a=1"));
        let cookies = cookies.clone();
        let asking =
            tokio::spawn(async move { request(public, "GET", &target, &[("cookie", &cookies)], b"").await });
        let (mut peer, head) = backend.request().await;
        assert_eq!(head.target(), to_backend);
        assert_eq!(head.get("cookie"), Some("sid=1"));
        let secret = pair.split_once('=').expect("a pair").1;
        for (name, value) in &head.headers {
            assert!(!value.contains(&ticket) && !value.contains(secret), "{name}: {value}");
        }
        peer.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        assert_eq!(asking.await.expect("an answer").status, 403);
    }
    // The application's own tickets are left alone.
    let public = daemon.public;
    let asking = tokio::spawn(async move { request(public, "GET", "/page?ticket=42", &[], b"").await });
    let (mut peer, head) = backend.request().await;
    assert_eq!(head.target(), "/page?ticket=42");
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(asking.await.expect("an answer").status, 204);
    let metrics = daemon.ask("/metrics").await.text();
    for secret in [ticket.as_str(), pair.split_once('=').expect("a pair").1] {
        assert!(!daemon.log().contains(&secret[5..]) && !metrics.contains(&secret[5..]));
    }
}

#[tokio::test]
async fn a_ticket_is_good_once_on_all_instances() {
    let mut redis = Redis::start().await;
    let config = format!("{STREAM}\n{}", redis.section());
    let (one, two) = (Daemon::start(&config).await, Daemon::start(&config).await);
    for daemon in [&one, &two] {
        daemon.logged("listening to Redis").await;
    }
    let ticket_a = ticket(&one, &grant()).await;
    let first = present(&two, &ticket_a, "").await;
    assert_eq!(first.status(), 200);
    let pair = cookie(&first.head);
    assert_eq!(reason(&one, &ticket_a, "").await, "ticket_used");
    assert_eq!(present(&one, &ticket_a, &pair).await.status(), 200);

    // Nobody is let in by a ticket that cannot be checked, and the ticket stays good.
    let ticket_b = ticket(&one, &grant()).await;
    redis.kill().await;
    for _ in 0..2 {
        let answer = one.get(&format!("/events?c=1&ticket={ticket_b}")).await;
        assert!(answer.text().contains("auth_unavailable"), "{}", answer.text());
    }
    assert_eq!(present(&one, &ticket_a, &pair).await.status(), 200);
    redis.start_again().await;
    eventually("Redis tells again", async || {
        let stream = present(&one, &ticket_b, "").await;
        (stream.status() == 200 && stream.head.contains("set-cookie")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_secret_the_operator_is_warned() {
    let without = STREAM.replace("secret =", "# secret =");
    let (one, two) = (Daemon::start(&without).await, Daemon::start(&without).await);
    one.logged("auth.ticket.secret is not set").await;
    let ticket = ticket(&one, &grant()).await;
    assert_eq!(reason(&two, &ticket, "").await, "bad_ticket");
    assert_eq!(present(&one, &ticket, "").await.status(), 200);
}

#[tokio::test]
async fn a_page_with_a_ticket_in_its_url_comes_back_after_a_cut() {
    let app = SessionApp::start().await;
    let daemon = app.daemon().await;
    let wire = Wire::to(daemon.public).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", wire.address)).await;
    browser.click("#listen-by-ticket").await;
    browser.wait("#state.refused").await;
    browser.fill("#name", "bob").await;
    browser.click("#login").await;
    browser.wait("#state.in").await;
    browser.click("#listen-by-ticket").await;
    browser.wait("#state.live").await;
    let note = |text: &str| json!({"topic": "team:red", "event": "note", "data": {"by": "x", "text": text}});
    daemon.publish(&note("first")).await;
    let mut shown = vec!["x: first".to_owned()];
    browser.shows("#notes p", &shown).await;
    for cut in 0..2 {
        wire.cut();
        browser.wait("#state.reconnecting").await;
        daemon.publish(&note(&format!("away {cut}"))).await;
        shown.push(format!("x: away {cut}"));
        wire.mend();
        browser.wait("#state.live").await;
        daemon.publish(&note(&format!("back {cut}"))).await;
        shown.push(format!("x: back {cut}"));
        browser.shows("#notes p", &shown).await;
    }
    assert_eq!(daemon.metric("sidestream_tickets_total", &["redeemed"]).await, 1.0);
    assert!(daemon.metric("sidestream_tickets_total", &["known_by_cookie"]).await >= 2.0);
}
