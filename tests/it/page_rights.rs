//! What pages may do beside listening, where their route and their token let them: publish to topics of their grant, and
//! see who is on the topics of their own stream.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, request, within};
use crate::jwt::{SECRET, token};
use crate::while_open::revoke;

fn config(more: &str) -> String {
    format!(
        r#"
[[stream]]
path          = "/events"
auth          = "jwt"
topics        = ["room:{{query.room}}"]
page_publish  = ["typing"]
page_presence = true
change_topics = true

[[stream]]
path   = "/plain"
auth   = "jwt"
topics = ["room:{{query.room}}"]

[cors]
origins = ["https://app.example"]

[auth.jwt]
secret = "{SECRET}"
grant  = ["room:*"]
{more}"#
    )
}

/// A page: its token and its stream.
struct Page<'d> {
    daemon: &'d Daemon,
    token: String,
    stream: Stream,
    client: String,
}

impl<'d> Page<'d> {
    async fn open(daemon: &'d Daemon, path: &str, user: &str, publish: Value) -> Self {
        let token = token(json!({ "sub": user, "jti": format!("token of {user}"), "publish": publish }));
        let mut stream = daemon.stream(&format!("{path}&token={token}")).await;
        assert_eq!(stream.status(), 200, "{}", stream.head);
        let client = stream.block().await.json()["client"].as_str().expect("a client").to_owned();
        Self { daemon, token, stream, client }
    }

    async fn post(&self, body: &str) -> Answer {
        self.post_as(&self.client, "/events", &[], body).await
    }

    async fn post_as(&self, client: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        let path = format!("{path}?client={client}");
        request(self.daemon.public, "POST", &path, &headers, body.as_bytes()).await
    }

    async fn publish(&self, topic: &str, event: &str, data: Value) -> Answer {
        self.post(&json!({ "publish": { "topic": topic, "event": event, "data": data } }).to_string()).await
    }
}

fn said(answer: &Answer) -> (u16, String) {
    let reason = answer.json()["reason"].as_str().unwrap_or_default().to_owned();
    (answer.status, reason)
}

#[tokio::test]
async fn a_page_publishes_to_everybody_else_on_a_topic_of_its_grant() {
    let daemon = Daemon::start(&config("")).await;
    let mut ada = Page::open(&daemon, "/events?room=1", "ada", json!(["room:*"])).await;
    let mut ben = Page::open(&daemon, "/events?room=1", "ben", json!(null)).await;
    let mut other = Page::open(&daemon, "/events?room=2", "cleo", json!(true)).await;
    let typing = ada.publish("room:1", "typing", json!({ "on": true, "user": "ben" })).await;
    assert_eq!((typing.status, typing.text().as_str()), (204, ""));
    let got = ben.stream.event().await;
    assert!(got.is("typing") && got.id.is_none(), "ephemeral: {got:?}");
    assert_eq!(
        got.json(),
        json!({ "user": "ada", "data": { "on": true, "user": "ben" } }),
        "who it is from is verified"
    );
    // It went neither to its sender nor elsewhere: what is published behind it is the first thing that comes.
    for topic in ["room:1", "room:2"] {
        daemon.publish(&json!({ "topic": topic, "data": "behind" })).await;
    }
    for page in [&mut ada, &mut other] {
        assert_eq!(page.stream.event().await.data(), "behind");
    }
    // Nothing is stored of it.
    let events = daemon.command("GET", "/topics/room:1/events", &[], b"").await.json();
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
    let bare = ada.post(r#"{"publish": {"topic": "room:1", "event": "typing"}}"#).await;
    assert_eq!(bare.status, 204);
    ben.stream.event().await;
    assert_eq!(ben.stream.event().await.json(), json!({ "user": "ada", "data": null }));
    assert_eq!(daemon.metric("sidestream_page_publishes_total", &["outcome=\"published\""]).await, 2.0);

    // The same path still changes topics and renews.
    let changed = ada.post(r#"{"add": ["room:9"]}"#).await;
    assert_eq!((changed.status, &changed.json()["topics"]), (200, &json!(["room:9"])));
    assert_eq!(ada.post("").await.status, 200);
}

#[tokio::test]
async fn what_is_not_granted_or_not_right_is_refused() {
    let daemon = Daemon::start(&config("[limits]\npage_event = \"100B\"")).await;
    let page = Page::open(&daemon, "/events?room=1", "ada", json!(["room:1", "news"])).await;
    let mute = Page::open(&daemon, "/events?room=1", "ben", json!(null)).await;
    for (answer, status, reason) in [
        (page.publish("room:2", "typing", json!(1)).await, 403, "publish_not_granted"),
        (page.publish("news", "typing", json!(1)).await, 403, "topic_not_granted"),
        (page.publish("room:1", "message:new", json!(1)).await, 403, "event_not_granted"),
        (mute.publish("room:1", "typing", json!(1)).await, 403, "publish_not_granted"),
        (page.publish("room:1", "closing", json!(1)).await, 400, ""),
        (page.publish("", "typing", json!(1)).await, 400, ""),
        (page.publish("room:1", "typing", json!("x".repeat(100))).await, 413, ""),
        (page.post(r#"{"publish": {"topic": "room:1", "event": "typing", "users": ["u"]}}"#).await, 400, ""),
        (page.post(r#"{"publish": 7}"#).await, 400, ""),
        (page.post_as("abcdefghijklmnop", "/events", &[], r#"{"publish": 7}"#).await, 400, ""),
    ] {
        assert_eq!(said(&answer), (status, reason.to_owned()), "{}", answer.text());
    }
    // Another's stream is not one's own, and its user hears what the thief would have kept from them.
    let body = json!({ "publish": { "topic": "room:1", "event": "typing" } }).to_string();
    let stolen = page.post_as(&mute.client, "/events", &[], &body).await;
    assert_eq!(said(&stolen), (403, "not_your_stream".to_owned()));
    // A page of another site, and one of a listed origin.
    let foreign = page.post_as(&page.client, "/events", &[("origin", "https://evil.example")], &body).await;
    assert_eq!(said(&foreign), (403, "origin_not_allowed".to_owned()));
    let listed = page.post_as(&page.client, "/events", &[("origin", "https://app.example")], &body).await;
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (204, "https://app.example"));
    // On a route that does not list the event such a body is a renewal's, which nobody reads.
    let plain = Page::open(&daemon, "/plain?room=1", "cleo", json!(true)).await;
    assert_eq!(plain.post_as(&plain.client, "/plain", &[], &body).await.status, 200);
    // What was taken back is taken back.
    revoke(&daemon, &json!({ "token": "token of ada" })).await;
    assert_eq!(said(&page.publish("room:1", "typing", json!(1)).await), (401, "revoked".to_owned()));
    assert_eq!(daemon.metric("sidestream_page_publishes_total", &["publish_not_granted"]).await, 2.0);
}

#[tokio::test]
async fn a_page_publishes_and_asks_only_so_often() {
    let more = "[limits]\npage_publishes = \"2/h\"\npage_presence = \"1/h\"";
    let daemon = Daemon::start(&config(more)).await;
    let page = Page::open(&daemon, "/events?room=1", "ada", json!(true)).await;
    let other = Page::open(&daemon, "/events?room=1", "ben", json!(true)).await;
    for _ in 0..2 {
        assert_eq!(page.publish("room:1", "typing", json!(1)).await.status, 204);
    }
    let fast = page.publish("room:1", "typing", json!(1)).await;
    assert_eq!(fast.status, 429, "{}", fast.text());
    assert!(fast.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 60));
    assert_eq!(other.publish("room:1", "typing", json!(1)).await.status, 204, "each user for themselves");
    let path = format!("/events/presence?room=1&token={}", page.token);
    assert_eq!([daemon.get(&path).await.status, daemon.get(&path).await.status], [200, 429]);
    let limited = ["what=\"page_publishes\"", "by=\"user\""];
    assert_eq!(daemon.metric("sidestream_rate_limited_total", &limited).await, 1.0);
}

#[tokio::test]
async fn a_page_sees_who_is_on_the_topics_of_its_own_stream() {
    let backend = crate::harness::Backend::start().await;
    let daemon = Daemon::start(&backend.config(&config(""))).await;
    let ada = Page::open(&daemon, "/events?room=1", "ada", json!(null)).await;
    let _ben = Page::open(&daemon, "/events?room=1", "ben", json!(null)).await;
    let _cleo = Page::open(&daemon, "/events?room=2", "cleo", json!(null)).await;
    let ask = async |query: &str| daemon.get(&format!("/events/presence?{query}&token={}", ada.token)).await;
    let there = ask("room=1").await;
    assert_eq!((there.status, there.header("cache-control")), (200, "no-store"));
    let expected = json!({ "topics": [{
        "topic": "room:1", "streams": 2, "anonymous": 0, "users_total": 2, "users": ["ada", "ben"], "complete": true,
    }]});
    assert_eq!(there.json(), expected);
    let of = ask("of=room:2&of=room:1").await.json();
    assert_eq!(of["topics"][0]["users"], json!(["cleo"]));
    assert_eq!(of["topics"][1]["users"], json!(["ada", "ben"]));
    assert_eq!(said(&ask("of=secret").await), (403, "topic_not_granted".to_owned()));
    assert_eq!(ask("").await.status, 400, "a parameter is missing, as for the stream");
    assert_eq!(ask(&"of=room:1&".repeat(21)).await.status, 400);
    let stranger = daemon.get("/events/presence?room=1").await;
    assert_eq!(said(&stranger), (401, "no_token".to_owned()));
    // Where a route does not offer it, the path is the backend's.
    let public = daemon.public;
    let forwarded = tokio::spawn(async move { request(public, "GET", "/plain/presence", &[], b"").await });
    let (mut peer, head) = within("a request", backend.request()).await;
    assert_eq!(head.line, "GET /plain/presence HTTP/1.1");
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(forwarded.await.expect("an answer").text(), "ok");
}

#[tokio::test]
async fn pages_reach_the_streams_of_other_instances() {
    let redis = Redis::start().await;
    let config = format!("{}{}", redis.section(), config(""));
    let (one, other) = (Daemon::start(&config).await, Daemon::start(&config).await);
    let ada = Page::open(&one, "/events?room=1", "ada", json!(true)).await;
    let mut ben = Page::open(&other, "/events?room=1", "ben", json!(true)).await;
    eventually("each knows of the other", async || {
        let path = format!("/events/presence?room=1&token={}", ada.token);
        (one.get(&path).await.json()["topics"][0]["users_total"] == 2).then_some(())
    })
    .await;
    assert_eq!(ada.publish("room:1", "typing", json!(7)).await.status, 204);
    assert_eq!(ben.stream.event().await.json(), json!({ "user": "ada", "data": 7 }));
    // A page whose request comes to another instance than its stream is not sent its own event.
    let elsewhere =
        Page { daemon: &other, token: ada.token.clone(), client: ada.client.clone(), stream: ben.stream };
    assert_eq!(elsewhere.publish("room:1", "typing", json!(8)).await.status, 204);
    let Page { stream: mut of_ada, .. } = ada;
    one.publish(&json!({ "topic": "room:1", "data": "behind" })).await;
    assert_eq!(of_ada.event().await.data(), "behind");
}
