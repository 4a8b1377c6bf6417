//! For how long a stream's rights are looked at, and what a page reads that has none: `until`, `leeway`, the
//! application's final answers, `refuse_with` of a route.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::{Answer, Browser, Daemon, Node, Stream, eventually, holds_for, listening, request};
use crate::jwt::{SECRET, at, token};
use crate::while_open::{ended, revoke};

/// Two routes for tokens: one whose streams end with them, one that looks at them at the opening only.
fn config(more: &str) -> String {
    format!(
        r#"
[[stream]]
path   = "/ends"
auth   = "jwt"
topics = ["c:{{query.c}}"]

[[stream]]
path          = "/stays"
auth          = "jwt"
topics        = ["c:{{query.c}}"]
until         = "open"
change_topics = true

[auth]
warn_before = "1s"

[auth.jwt]
secret = "{SECRET}"
{more}"#
    )
}

async fn open(daemon: &Daemon, path: &str, token: &str) -> (Stream, String) {
    let mut stream = daemon.stream(&format!("{path}?c=1&token={token}")).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    let connected = stream.block().await.json();
    (stream, connected["client"].as_str().expect("a client id").to_owned())
}

async fn post(daemon: &Daemon, client: &str, token: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("/stays?client={client}");
    request(daemon.public, "POST", &path, &[("authorization", &bearer)], body.as_bytes()).await
}

fn granted(more: Value) -> String {
    let mut claims = json!({ "iat": at(-10), "topics": ["c:*"] });
    more.as_object().expect("claims").iter().for_each(|(name, value)| claims[name] = value.clone());
    token(claims)
}

#[tokio::test]
async fn a_route_may_look_at_a_token_at_the_opening_only() {
    let daemon = Daemon::start(&config("leeway = 0")).await;
    let brief = granted(json!({ "exp": at(2), "jti": "brief" }));
    let (mut ends, _) = open(&daemon, "/ends", &brief).await;
    let (mut stays, client) = open(&daemon, "/stays", &brief).await;
    assert_eq!(ended(&mut ends).await.as_deref(), Some("expired"));
    daemon.publish(&json!({ "topic": "c:1", "data": "after its end" })).await;
    let next = stays.event().await;
    assert_eq!(next.data(), "after its end", "no warning came before it: {next:?}");

    // The token opens nothing any more, and changes nothing.
    let refused = daemon.get(&format!("/stays?c=1&token={brief}")).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (401, &json!("expired")));
    assert_eq!(post(&daemon, &client, &brief, "").await.json()["reason"], "expired");

    // A new one does not give the stream an end, and a change by a short one takes nothing from it.
    let fresh = granted(json!({ "exp": at(2), "jti": "fresh" }));
    let renewed = post(&daemon, &client, &fresh, "").await;
    assert_eq!((renewed.status, renewed.json()), (200, json!({ "expires_in": null })));
    let added = post(&daemon, &client, &fresh, r#"{"add": ["c:2"]}"#).await;
    assert_eq!(added.status, 200, "{}", added.text());
    holds_for(Duration::from_secs(3), "it is open", async || {
        daemon.metric("sidestream_streams_open", &[]).await == 1.0
    })
    .await;
    daemon.publish(&json!({ "topic": "c:2", "data": "still" })).await;
    assert_eq!(stays.event().await.data(), "still");

    // Whom it is taken from, it is taken from: by the token that it lives by now.
    assert_eq!(revoke(&daemon, &json!({ "token": "brief" })).await.json()["ended"], 0);
    assert_eq!(revoke(&daemon, &json!({ "token": "fresh" })).await.json()["ended"], 1);
    assert_eq!(ended(&mut stays).await.as_deref(), Some("revoked"));
}

#[tokio::test]
async fn a_verifier_may_say_it_for_all_routes_that_do_not_say_it_themselves() {
    let routes = format!(
        r#"
[[stream]]
path   = "/verified"
auth   = "jwt"
topics = ["c:{{query.c}}"]

[[stream]]
path   = "/ends"
auth   = "jwt"
topics = ["c:{{query.c}}"]
until  = "exp"

[auth.jwt]
secret = "{SECRET}"
leeway = 0
until  = "open"
"#
    );
    let daemon = Daemon::start(&routes).await;
    let brief = granted(json!({ "exp": at(2) }));
    let (mut ends, _) = open(&daemon, "/ends", &brief).await;
    let (mut verified, _) = open(&daemon, "/verified", &brief).await;
    let over = loop {
        let block = ends.block().await;
        if block.is("closing") {
            break block.json()["reason"].clone();
        }
    };
    assert_eq!(over, "expired");
    daemon.publish(&json!({ "topic": "c:1", "data": "after its end" })).await;
    assert_eq!(verified.event().await.data(), "after its end");
}

#[tokio::test]
async fn a_stream_ends_once_when_its_token_opens_nothing_any_more() {
    let daemon = Daemon::start(&config("leeway = \"2s\"")).await;
    let exp = at(1);
    let token = granted(json!({ "exp": exp }));
    let (mut stream, _) = open(&daemon, "/ends", &token).await;
    assert_eq!(ended(&mut stream).await.as_deref(), Some("expired"));
    let over = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let late = over - (exp + 2) as f64;
    assert!((-0.1..1.0).contains(&late), "it ended {late} s after the end of the leeway");
    let again = daemon.get(&format!("/ends?c=1&token={token}")).await;
    assert_eq!((again.status, &again.json()["reason"]), (401, &json!("expired")), "it is not opened again");
}

#[tokio::test]
async fn a_route_says_its_refusals_in_its_own_way() {
    let routes = r#"
[[stream]]
path = "/pages"

[[stream]]
path        = "/clients"
refuse_with = "status"

[limits]
streams = 1
"#;
    let daemon = Daemon::start(routes).await;
    let _only = listening(&daemon, "/pages?topic=a").await;
    let page = daemon.get("/pages?topic=a").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/event-stream"), "{}", page.text());
    assert!(page.text().contains("limit_streams"), "{}", page.text());
    let client = daemon.get("/clients?topic=a").await;
    assert_eq!(client.status, 503, "{}", client.text());
    assert!(client.header("retry-after").parse::<u64>().is_ok(), "{:?}", client.header("retry-after"));
}

#[tokio::test]
async fn final_answers_of_the_application_reach_the_page_as_they_are() {
    const APP: &str = r#"
const server = http.createServer((req, res) => {
    const status = Number(new URL(req.url, 'http://app').searchParams.get('c'));
    const big = status === 413;
    res.writeHead(status, { 'content-type': 'application/problem+json', 'x-app': 'its own' });
    res.end(big ? 'x'.repeat(70000) : JSON.stringify({ title: `no conversation ${status}` }));
});
"#;
    let app = Node::start(APP).await;
    let section = "[[stream]]\npath = \"/events\"\nauth = \"backend\"\ntopics = [\"c:{query.c}\"]\n\
        [auth.backend]\nurl = \"/me\"\n";
    let daemon = Daemon::start(&app.config(section)).await;
    for status in [400, 404, 409, 410, 422, 451] {
        let answer = daemon.get(&format!("/events?c={status}")).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{status}");
        assert_eq!(answer.header("cache-control"), "no-store", "{status}");
        assert_eq!(answer.header("x-app"), "", "only what says what the body is");
        assert_eq!(answer.text(), format!(r#"{{"title":"no conversation {status}"}}"#));
    }
    // More than is taken of a body: the status says it alone.
    let large = daemon.get("/events?c=413").await;
    assert_eq!((large.status, large.text().as_str(), large.header("content-type")), (413, "", ""));
    for later in [408, 425, 429, 500, 503] {
        let answer = daemon.get(&format!("/events?c={later}")).await;
        assert_eq!(answer.status, 200, "{later}");
        assert!(answer.text().contains("auth_unavailable"), "{later}: {}", answer.text());
    }
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &["backend_refused"]).await, 7.0);
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &["auth_unavailable"]).await, 5.0);
    daemon.logged("stream refused: the application answered 404").await;
}

#[tokio::test]
async fn an_event_source_gives_up_where_the_application_says_no_for_good_and_only_there() {
    const APP: &str = r#"
const page = `<!doctype html><script>
    var gone = new EventSource('/gone?c=404'), later = new EventSource('/later?c=503');
</script>`;
const server = http.createServer((req, res) => {
    const status = Number(new URL(req.url, 'http://app').searchParams.get('c')) || 200;
    res.writeHead(status, { 'content-type': 'text/html' });
    res.end(page);
});
"#;
    let app = Node::start(APP).await;
    let routes = ["gone", "later"].map(|path| {
        format!("[[stream]]\npath = \"/{path}\"\nauth = \"backend\"\ntopics = [\"c:{{query.c}}\"]\n")
    });
    let more = "[auth.backend]\nurl = \"/me\"\n[sse]\nretry_min = \"100ms\"\nretry_max = \"200ms\"\n";
    let daemon = Daemon::start(&app.config(&(routes.concat() + more))).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.public)).await;
    browser.until("gone.readyState === EventSource.CLOSED").await;
    eventually("it comes back where it may be let in later", async || {
        let asked = browser.requested().await;
        (asked.iter().filter(|one| *one == "GET /later").count() >= 4).then_some(())
    })
    .await;
    let asked = browser.requested().await;
    assert_eq!(asked.iter().filter(|one| *one == "GET /gone").count(), 1);
    assert_eq!(browser.evaluate("later.readyState !== EventSource.CLOSED").await, json!(true));
}
