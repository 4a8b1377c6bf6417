//! What only the stream itself may say, and half of what a publisher said: by every door.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, eventually, holds_for, request, start};

/// The stream's own events.
const OWN: [&str; 5] = ["connected", "reset", "token_expired", "closing", "refused"];

const PUBLISHERS: &str = r#"
[internal]
publish_keys = ["free-key"]

[[internal.publisher]]
name = "chat"
key = "chat-key"
topics = ["chat:*"]
"#;

async fn publish(daemon: &Daemon, key: &str, body: &Value) -> Answer {
    let key = format!("Bearer {key}");
    request(daemon.internal, "POST", "/publish", &[("authorization", &key)], body.to_string().as_bytes())
        .await
}

#[tokio::test]
async fn nobody_publishes_the_streams_own_events_over_http() {
    let daemon = Daemon::start(PUBLISHERS).await;
    let mut stream = daemon.stream("/events?topic=chat:1").await;
    assert!(stream.block().await.is("connected"));
    for key in ["free-key", "chat-key"] {
        for name in OWN {
            let event = json!({ "topic": "chat:1", "event": name, "data": { "reason": "sent_away" } });
            let refused = publish(&daemon, key, &event).await;
            assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("event")), "{key} {name}");
            let error = refused.json()["error"].as_str().expect("a sentence").to_owned();
            assert!(OWN.iter().all(|name| error.contains(name)), "{error}");
        }
    }
    assert_eq!(daemon.metric("sidestream_events_refused_total", &["http", "name"]).await, 10.0);
    let good = json!({ "topic": "chat:1", "event": "Closing", "data": "the shop" });
    assert_eq!(publish(&daemon, "chat-key", &good).await.status, 200);
    assert_eq!(stream.data(1).await, ["the shop"]);
}

#[tokio::test]
async fn a_publisher_with_bounds_steers_no_stream() {
    let more = r#"
[sse]
connected_as = "hello"
heartbeat_as = "event:ping"

[presence]
topics = ["who"]
"#;
    let daemon = Daemon::start(&format!("{PUBLISHERS}{more}")).await;
    for (field, value, reason) in [
        ("event", json!("hello"), "event_not_allowed"),
        ("event", json!("ping"), "event_not_allowed"),
        ("event", json!("user:online"), "event_not_allowed"),
        ("event", json!("user:offline"), "event_not_allowed"),
        ("retry", json!(86_400_000), "retry_not_allowed"),
    ] {
        let mut event = json!({ "topic": "chat:1", "data": 1 });
        event[field] = value;
        let refused = publish(&daemon, "chat-key", &event).await;
        let said = refused.json();
        assert_eq!((refused.status, &said["field"], &said["reason"]), (400, &json!(field), &json!(reason)));
        assert_eq!(publish(&daemon, "free-key", &event).await.status, 200, "{event}");
    }
    assert_eq!(
        publish(&daemon, "chat-key", &json!({ "topic": "chat:1", "event": "pong" })).await.status,
        200
    );
}

#[tokio::test]
async fn nobody_publishes_the_streams_own_events_over_redis_channels() {
    let redis = Redis::start().await;
    let mapped = "[[redis.channel]]\npattern = \"said:*\"\ntopic = \"chat:1\"\nevent = \"{1}\"\n";
    let daemon = start(&format!("{}{mapped}", redis.section())).await;
    let mut stream = daemon.stream("/events?topic=chat:1").await;
    assert!(stream.block().await.is("connected"));
    for name in OWN {
        redis.publish("sidestream", json!({ "topic": "chat:1", "event": name }).to_string()).await;
        redis.publish("sidestream:topic:chat:1", json!({ "event": name }).to_string()).await;
        redis.publish(&format!("said:{name}"), "x").await;
    }
    redis.publish("said:good", "last").await;
    assert_eq!(stream.data(1).await, ["last"]);
    let refused = async |word| daemon.metric("sidestream_events_refused_total", &["redis", word]).await;
    assert_eq!((refused("name").await, refused("channel").await), (10.0, 5.0));
    daemon.logged("is one of the stream's own events").await;
}

#[tokio::test]
async fn nobody_publishes_the_streams_own_events_by_the_stream_in_redis() {
    let redis = Redis::start().await;
    let daemon = start(&format!("{}requests = true\n[redis.stream]\n", redis.section())).await;
    let mut stream = daemon.stream("/events?topic=chat:1").await;
    assert!(stream.block().await.is("connected"));
    let append = async |event: Value| {
        let event = event.to_string();
        redis.command::<String>(&["XADD", "sidestream:log", "*", "event", &event]).await;
    };
    for name in OWN {
        append(json!({ "topic": "chat:1", "event": name })).await;
    }
    // By a request over Redis as by HTTP.
    let body = json!({ "topic": "chat:1", "event": "closing" });
    let asked = json!({ "method": "POST", "path": "/publish", "body": body, "reply": "answers:1" });
    redis.command::<u64>(&["LPUSH", "sidestream:requests", &asked.to_string()]).await;
    let (_, answer): (String, String) = redis.command(&["BLPOP", "answers:1", "10"]).await;
    assert!(answer.contains("\"status\":400"), "{answer}");
    append(json!({ "topic": "chat:1", "data": "last" })).await;
    assert_eq!(stream.data(1).await, ["last"]);
    assert_eq!(daemon.metric("sidestream_events_refused_total", &["source=\"stream\"", "name"]).await, 5.0);
    daemon.logged("is one of the stream's own events").await;
}

#[tokio::test]
async fn the_daemons_own_events_still_go_out() {
    let config = "[presence]\ntopics = [\"who\"]\ngrace = 0\n\
        [[stream]]\npath = \"/events\"\ntopics = [\"{query.topic}\"]\n\
        [[stream]]\npath = \"/of\"\ntopics = []\nuser = \"{query.user}\"\n";
    let daemon = Daemon::start(config).await;
    let mut who = daemon.stream("/events?topic=who").await;
    let somebody = daemon.stream("/of?user=ann").await;
    let online = who.event().await;
    assert!(online.is("user:online"), "{online:?}");
    drop(somebody);
    let offline = who.event().await;
    assert!(offline.is("user:offline"), "{offline:?}");
}

#[tokio::test]
async fn a_text_that_was_cut_within_an_emoji_arrives_and_refuses_no_batch() {
    let daemon = Daemon::start(PUBLISHERS).await;
    let mut stream = daemon.stream("/events?topic=chat:1").await;
    assert!(stream.block().await.is("connected"));
    // As `JSON.stringify("a😀b".slice(0, 2))` writes it.
    let body = br#"[{"topic":"chat:1","data":"one"},{"topic":"chat:1","event":"e\ud83d","data":"a\ud83d"},
        {"topic":"chat:1","data":{"x":"a\ud83d","y":"\ud83d\ude00"}}]"#;
    let key = [("authorization", "Bearer free-key")];
    let answer = request(daemon.internal, "POST", "/publish", &key, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stream.data(1).await, ["one"]);
    let text = stream.event().await;
    assert_eq!((text.event.as_deref(), text.data()), (Some("e\u{fffd}"), "a\u{fffd}"));
    assert_eq!(stream.event().await.json(), json!({ "x": "a\u{fffd}", "y": "😀" }));
    let put = br#"{"topics": ["cut \ud83d"]}"#;
    let given = request(daemon.internal, "PUT", "/users/u/topics", &key, put).await;
    assert_eq!(given.json()["topics"], json!(["cut \u{fffd}"]), "{}", given.text());
}

#[tokio::test]
async fn a_bridges_own_gap_is_told_and_its_words_are_not_anybodys() {
    let redis = Redis::start().await;
    let daemon = start(&format!("{}[redis.stream]\n", redis.section())).await;
    let mut stream = daemon.stream("/events?topic=a").await;
    assert!(stream.block().await.is("connected"));
    let gap = r#"{"broadcast":true,"event":"reset","data":{"reason":"source_gap"}}"#;
    let near = r#"{"broadcast":true,"event":"reset","data":{"reason":"too_old"}}"#;
    for event in [near, gap] {
        redis.command::<String>(&["XADD", "sidestream:log", "*", "event", event]).await;
    }
    let reset = stream.event().await;
    assert_eq!((reset.is("reset"), reset.data()), (true, r#"{"reason":"source_gap"}"#));
    eventually("the other one is counted", async || {
        (daemon.metric("sidestream_events_refused_total", &["source=\"stream\"", "name"]).await == 1.0)
            .then_some(())
    })
    .await;
    // Of those that were missed it is none.
    let id = reset.id().to_owned();
    daemon.publish(&json!({ "topic": "a", "data": "1" })).await;
    let before: String = redis.command(&["XADD", "sidestream:log", "*", "event", gap]).await;
    daemon.publish(&json!({ "topic": "a", "data": "2" })).await;
    holds_for(Duration::from_millis(1), "ids grow", async || before > id).await;
    let headers = [("last-event-id", &*id)];
    let mut again = crate::harness::Stream::open(daemon.public, "/events?topic=a", &headers).await;
    assert_eq!(again.block().await.json()["missed"], 2);
    assert_eq!(again.data(3).await, ["1", r#"{"reason":"source_gap"}"#, "2"]);
}
