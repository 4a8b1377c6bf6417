//! Streams that ask for topics by a pattern: what they hear, live and on replay; by what grant; what ends them.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, SECRET, Stream, eventually, listening, request, start, token};
use crate::redis_stream::append;
use crate::while_open::{ended, revoke};

const OPEN: &str = r#"
[[stream]]
path = "/events"
user = "{query.user?}"
topics = ["room:{query.room:-*}", "news:*"]
patterns = true

[[stream]]
path = "/plain"
topics = ["{query.topic}"]
"#;

fn verified(more: &str) -> String {
    format!(
        r#"{more}
[auth.jwt]
secret = "{SECRET}"

[[stream]]
path = "/events"
auth = "jwt"
topics = ["of:{{claim.sub}}", "{{query.topic?}}"]
change_topics = true
patterns = true
"#
    )
}

fn bearer(sub: &str, topics: &[&str]) -> String {
    format!("Bearer {}", token(&json!({ "sub": sub, "topics": topics })))
}

async fn ask(daemon: &Daemon, method: &str, path: &str, body: Value) -> Answer {
    let answer = daemon.command(method, path, &[], body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer
}

async fn publish(daemon: &Daemon, topic: &str) -> Value {
    daemon.publish(&json!({ "topic": topic, "data": topic })).await
}

/// A stream and what its `connected` says.
async fn open(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> (Stream, Value) {
    let mut stream = Stream::open(daemon.public, path, headers).await;
    assert_eq!(stream.status(), 200, "{path}: {}", stream.head);
    let connected = stream.block().await.json();
    (stream, connected)
}

#[tokio::test]
async fn a_pattern_hears_topics_that_did_not_exist_from_their_first_event_on_and_replays_them() {
    let daemon = start(&format!("[limits]\nremembered_topics = 5\n{OPEN}")).await;
    let (mut all, connected) = open(&daemon, "/events", &[]).await;
    assert_eq!(connected["topics"], json!(["room:*", "news:*"]));
    let mut eu = listening(&daemon, "/events?room=eu:*").await;
    let mut seven = listening(&daemon, "/events?room=7").await;
    // To the other route a star is a letter.
    let mut star = listening(&daemon, "/plain?topic=room:*").await;
    let first = publish(&daemon, "room:7").await["id"].as_str().expect("an id").to_owned();
    for topic in ["room:eu:1", "chat:1", "news:a", "room:*", "roo", "room:"] {
        publish(&daemon, topic).await;
    }
    let both = json!({ "topics": ["room:eu:2", "room:eu:3", "news:b"], "data": "both" });
    daemon.publish(&both).await;
    let except = json!({ "topic": "room:7", "except": {"topic": "room:eu:9"}, "data": "not for all" });
    daemon.publish(&except).await;
    publish(&daemon, "news:end").await;
    let every = ["room:7", "room:eu:1", "news:a", "room:*", "room:", "both", "news:end"];
    assert_eq!(all.data(7).await, every);
    assert_eq!(eu.data(4).await, ["room:eu:1", "news:a", "both", "news:end"]);
    assert_eq!(seven.data(5).await, ["room:7", "news:a", "both", "not for all", "news:end"]);
    assert_eq!(star.data(1).await, ["room:*"]);
    // The same again for those who come later, and for those who come back.
    let (mut back, connected) = open(&daemon, "/events", &[("last-event-id", &first)]).await;
    assert_eq!((&connected["missed"], &connected["resumed"]), (&json!(6), &json!(true)));
    assert_eq!(back.data(6).await, every[1..]);
    let (mut with_history, connected) = open(&daemon, "/events?room=eu:*&history=3", &[]).await;
    assert_eq!(connected["missed"], 3);
    assert_eq!(with_history.data(3).await, ["news:a", "both", "news:end"]);
    assert_eq!(publish(&daemon, "room:eu:1").await["matched"], 4, "all but the one of room 7");
}

#[tokio::test]
async fn what_a_request_may_not_ask_for_is_refused_with_the_reason() {
    let daemon =
        start(&verified("[limits]\npatterns_per_stream = 3\npatterns = 5\ntopics_per_stream = 20\n")).await;
    let get = async |query: &str, bearer: &str| {
        request(daemon.public, "GET", &format!("/events?{query}"), &[("authorization", bearer)], b"").await
    };
    let room = bearer("u", &["room:*", "team:*:chat", "x"]);
    for asked in
        ["*", "room*", "roo*", "*:chat", "team:*", "team:*:chat*", "x*", "of:*", "rooms:*", "*room:*"]
    {
        let answer = get(&format!("topic={asked}"), &room).await;
        assert_eq!((answer.status, &answer.json()["topic"]), (403, &json!(asked)), "{}", answer.text());
    }
    for asked in ["topic=a*a*a*a*a*", "topic=room:1*&topic=room:2*&topic=room:3*&topic=room:4*"] {
        let answer = get(asked, &bearer("u", &["*"])).await;
        assert_eq!(answer.status, 400, "{asked}: {}", answer.text());
    }
    let headers = [("authorization", room.as_str())];
    let (_three, connected) =
        open(&daemon, "/events?topic=room:*&topic=room:a*b*&topic=team:red*:chat", &headers).await;
    assert_eq!(connected["topics"], json!(["of:u", "room:*", "room:a*b*", "team:red*:chat"]));
    let (two, _) = open(&daemon, "/events?topic=room:1*&topic=room:2*&topic=room:*", &headers).await;
    let mut sixth = Stream::open(daemon.public, "/events?topic=room:3*", &headers).await;
    let refused = sixth.block().await;
    assert!(refused.is("refused") && refused.json()["reason"] == "limit_patterns", "{refused:?}");
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &["reason=\"limit_patterns\""]).await, 1.0);
    eventually("five are held", async || {
        (daemon.metric("sidestream_patterns", &[]).await == 5.0).then_some(())
    })
    .await;
    drop(two);
    eventually("its patterns are free", async || {
        let mut again = Stream::open(daemon.public, "/events?topic=room:3*", &headers).await;
        again.block().await.is("connected").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_star_in_a_claim_is_no_pattern() {
    let daemon = start(&verified("")).await;
    let (headers, other) = ([("authorization", &*bearer("*", &["*"]))], bearer("v", &[]));
    let (mut everybody, connected) = open(&daemon, "/events", &headers).await;
    assert_eq!(connected["topics"], json!(["of:*"]));
    let (mut v, _) = open(&daemon, "/events", &[("authorization", &other)]).await;
    publish(&daemon, "of:v").await;
    publish(&daemon, "of:*").await;
    assert_eq!(v.data(1).await, ["of:v"]);
    assert_eq!(everybody.data(1).await, ["of:*"]);
}

#[tokio::test]
async fn what_is_given_and_what_a_page_adds_may_be_patterns() {
    let daemon = start(&verified("")).await;
    let bearer = bearer("u", &["room:*"]);
    let headers = [("authorization", bearer.as_str())];
    let (mut stream, connected) = open(&daemon, "/events", &headers).await;
    let given = json!({ "topics": ["a*", { "pattern": "b*" }] });
    let answer = ask(&daemon, "PUT", "/users/u/topics", given.clone()).await.json();
    assert_eq!(answer["topics"], given["topics"]);
    let before = publish(&daemon, "b:1").await["id"].as_str().expect("an id").to_owned();
    for topic in ["a1", "a*", "b2"] {
        publish(&daemon, topic).await;
    }
    assert_eq!(stream.data(3).await, ["b:1", "a*", "b2"]);
    let page = format!("/events?client={}", connected["client"].as_str().expect("its id"));
    let change = async |body: Value| {
        request(daemon.public, "POST", &page, &headers, body.to_string().as_bytes()).await
    };
    let answer = change(json!({ "add": ["room:1*"] })).await;
    assert_eq!((answer.status, &answer.json()["topics"]), (200, &json!(["room:1*"])), "{}", answer.text());
    assert_eq!(change(json!({ "add": ["*"] })).await.status, 403);
    publish(&daemon, "room:12").await;
    // What is taken away is the pattern of that name, from the request as well.
    ask(&daemon, "POST", "/users/u/topics", json!({ "remove": [{ "pattern": "b*" }, "room:12"] })).await;
    publish(&daemon, "b3").await;
    publish(&daemon, "room:13").await;
    assert_eq!(change(json!({ "remove": ["room:1*"] })).await.status, 200);
    publish(&daemon, "room:14").await;
    publish(&daemon, "of:u").await;
    assert_eq!(stream.data(3).await, ["room:12", "room:13", "of:u"]);
    // Who comes back from before goes through the same, but for what was only its last client's.
    let back = [headers[0], ("last-event-id", before.as_str())];
    let (mut back, connected) = open(&daemon, "/events", &back).await;
    assert_eq!(connected["missed"], 3);
    assert_eq!(back.data(3).await, ["a*", "b2", "of:u"]);
    let many: Vec<Value> = (0..11).map(|n| json!({ "pattern": format!("p{n}*") })).collect();
    let answer =
        daemon.command("PUT", "/users/u/topics", &[], json!({ "topics": many }).to_string().as_bytes()).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
}

#[tokio::test]
async fn presence_connections_and_revocations_know_who_hears_a_topic_by_a_pattern() {
    let daemon = start(OPEN).await;
    let (mut a, _) = open(&daemon, "/events?user=a", &[]).await;
    let (_b, _) = open(&daemon, "/events?user=b&room=eu:*", &[]).await;
    let (_c, _) = open(&daemon, "/events?user=c&room=7", &[]).await;
    let on = async |topic: &str| {
        ask(&daemon, "GET", &format!("/presence/topics/{topic}?limit=10"), Value::Null).await.json()
    };
    eventually("all are there", async || (on("news:x").await["streams"] == 3).then_some(())).await;
    assert_eq!(on("room:7").await["users"], json!(["a", "c"]));
    assert_eq!(on("room:eu:1").await["users"], json!(["a", "b"]));
    assert_eq!(on("chat").await["streams"], 0);
    let listed = ask(&daemon, "GET", "/connections?user=b", Value::Null).await.json();
    let one = &listed["connections"][0];
    assert_eq!((&one["topics"], &one["patterns"]), (&json!([]), &json!(["news:*", "room:eu:*"])));
    let count = ask(&daemon, "GET", "/connections/count?topic=room:7", Value::Null).await.json();
    assert_eq!(count["total"], 2);
    assert_eq!(revoke(&daemon, &json!({ "user": "a", "topic": "room:8" })).await.json()["ended"], 1);
    assert_eq!(ended(&mut a).await.as_deref(), Some("revoked"));
    // Nor does a new one open that would hear it.
    assert_eq!(request(daemon.public, "GET", "/events?user=a", &[], b"").await.status, 401);
    assert_eq!(Stream::open(daemon.public, "/events?user=a&room=7", &[]).await.status(), 200);
    assert_eq!(revoke(&daemon, &json!({ "topic": "room:eu:5" })).await.json()["ended"], 1);
    assert_eq!(revoke(&daemon, &json!({ "topic": "chat" })).await.json()["ended"], 0);
}

#[tokio::test]
async fn two_instances_on_one_stream_in_redis_hear_and_replay_the_same() {
    let redis = Redis::start().await;
    let config = format!("{}[redis.stream]\n{}", redis.section(), verified(""));
    let (a, b) = (start(&config).await, start(&config).await);
    let bearer = bearer("u", &["room:*"]);
    let headers = [("authorization", bearer.as_str())];
    let path = "/events?topic=room:*";
    let (mut on_a, _) = open(&a, path, &headers).await;
    let (mut on_b, _) = open(&b, path, &headers).await;
    let first = append(&redis, &json!({ "topic": "room:1", "data": "1" })).await;
    append(&redis, &json!({ "topic": "chat", "data": "no" })).await;
    ask(&b, "PUT", "/users/u/topics", json!({ "topics": [{ "pattern": "ch*" }] })).await;
    append(&redis, &json!({ "topic": "chat", "data": "2" })).await;
    append(&redis, &json!({ "topics": ["room:2", "room:3", "chat"], "data": "3" })).await;
    for stream in [&mut on_a, &mut on_b] {
        assert_eq!(stream.data(3).await, ["1", "2", "3"]);
    }
    eventually("the hash has the pattern", async || {
        let set: Option<String> =
            redis.command(&["HGET", "sidestream:given:{sidestream:log}", "user:u"]).await;
        (set.as_deref() == Some(r#"{"topics":[{"pattern":"ch*"}]}"#)).then_some(())
    })
    .await;
    // One that was not there reads the log and the hash.
    let c = start(&config).await;
    for daemon in [&a, &b] {
        let back = [headers[0], ("last-event-id", first.as_str())];
        let (mut stream, connected) = open(daemon, path, &back).await;
        assert_eq!(connected["missed"], 2, "{connected}");
        assert_eq!(stream.data(2).await, ["2", "3"]);
    }
    let (mut on_c, connected) = open(&c, path, &headers).await;
    assert_eq!(connected["topics"], json!(["of:u", "room:*", "ch*"]));
    append(&redis, &json!({ "topic": "chess", "data": "4" })).await;
    for stream in [&mut on_a, &mut on_b, &mut on_c] {
        assert_eq!(stream.data(1).await, ["4"]);
    }
}

#[tokio::test]
async fn events_of_redis_channels_reach_patterns_on_every_instance() {
    let redis = Redis::start().await;
    let config = format!("{}{OPEN}", redis.section());
    let (a, b) = (start(&config).await, start(&config).await);
    let mut on_a = listening(&a, "/events?room=eu:*").await;
    let mut on_b = listening(&b, "/events").await;
    for topic in ["room:eu:1", "room:us:1", "news:1"] {
        publish(&a, topic).await;
    }
    assert_eq!(on_a.data(2).await, ["room:eu:1", "news:1"]);
    assert_eq!(on_b.data(3).await, ["room:eu:1", "room:us:1", "news:1"]);
    let ended = revoke(&a, &json!({ "topic": "room:us:1" })).await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    assert_eq!(crate::while_open::ended(&mut on_b).await.as_deref(), Some("revoked"));
}
