//! Topics that are given to users, sessions and clients while their streams are open.

mod exact;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, request, start};

pub(crate) const ROUTE: &str = r#"
[[stream]]
path = "/events"
auth = "none"
user = "{query.user}"
session = "{query.session}"
topics = ["own"]
"#;

pub(crate) async fn ask(daemon: &Daemon, method: &str, path: &str, body: Option<Value>) -> Answer {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    daemon.command(method, path, &[], body.as_bytes()).await
}

/// What must be done.
pub(crate) async fn done(daemon: &Daemon, method: &str, path: &str, body: Value) -> Value {
    let answer = ask(daemon, method, path, Some(body)).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer.json()
}

/// A stream and its `connected`.
pub(crate) async fn open(daemon: &Daemon, user: &str, session: &str) -> (Stream, Value) {
    let mut stream = daemon.stream(&format!("/events?user={user}&session={session}")).await;
    let connected = stream.block().await.json();
    (stream, connected)
}

/// Publishes one event to each of `topics`, in order, with the topic as data.
async fn publish(daemon: &Daemon, topics: &[&str]) {
    for topic in topics {
        daemon.publish(&json!({ "topic": topic, "data": topic })).await;
    }
}

#[tokio::test]
async fn a_set_is_read_replaced_changed_and_emptied() {
    let daemon = Daemon::start(ROUTE).await;
    let path = "/users/a%2Fb/topics";
    assert_eq!(
        done(&daemon, "PUT", path, json!({ "topics": ["b", "a", "b"] })).await["topics"],
        json!(["a", "b"])
    );
    let answer = done(&daemon, "POST", path, json!({ "add": ["c"], "remove": ["a", "x"] })).await;
    assert_eq!(answer["topics"], json!(["b", "c"]));
    assert_eq!(answer["streams"], 0);
    let answer = done(&daemon, "PATCH", path, json!({ "add": ["c"] })).await;
    assert_eq!(answer["topics"], json!(["b", "c"]), "a repeat changes nothing");
    assert_eq!(
        done(&daemon, "PUT", "/users/a%2Fb/topics/x/y", json!({})).await["topics"],
        json!(["b", "c", "x/y"])
    );
    assert_eq!(
        done(&daemon, "DELETE", "/users/a%2Fb/topics/x%2Fy", json!({})).await["topics"],
        json!(["b", "c"])
    );
    assert_eq!(ask(&daemon, "GET", path, None).await.json()["topics"], json!(["b", "c"]));
    assert_eq!(ask(&daemon, "GET", "/sessions/a%2Fb/topics", None).await.json()["topics"], json!([]));
    assert_eq!(done(&daemon, "DELETE", path, json!({})).await["topics"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let config = format!("[limits]\ntopics_per_stream = 2\ngiven_topics = 3\n{ROUTE}");
    let daemon = Daemon::start(&config).await;
    for (method, path, body, status, says) in [
        (
            "PUT",
            "/users/u/topics",
            json!({ "topics": ["1", "2", "3"] }),
            409,
            "it would have more than 2 topics",
        ),
        ("PUT", "/users/u/topics", json!({ "topic": ["1"] }), 400, "unknown field `topic`"),
        ("PUT", "/users/u/topics", json!({ "topics": ["1", ""] }), 400, "`topics[1]` is empty"),
        ("POST", "/users/u/topics", json!({ "topics": ["1"] }), 400, "unknown field `topics`"),
        ("PUT", "/users//topics", json!({ "topics": [] }), 400, "the name behind /users/ is empty"),
        ("PUT", "/clients/nobody/topics", json!({ "topics": ["1"] }), 404, "no such stream is open here"),
        ("PUT", "/users/u/topic", json!({}), 404, "nothing is here"),
        ("POST", "/users/u/topics/a", json!({}), 405, "this path takes PUT, DELETE"),
    ] {
        let answer = ask(&daemon, method, path, Some(body)).await;
        let error = answer.json()["error"].as_str().expect("a sentence").to_owned();
        assert!(answer.status == status && error.contains(says), "{path}: {} {error}", answer.status);
    }
    done(&daemon, "PUT", "/users/u/topics", json!({ "topics": ["1", "2"] })).await;
    let answer = ask(&daemon, "PUT", "/users/v/topics", Some(json!({ "topics": ["1", "2"] }))).await;
    assert_eq!(answer.status, 409, "three for all together: {}", answer.text());
    let nobody = request(daemon.internal, "GET", "/users/u/topics", &[], b"").await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn open_streams_follow_at_once_and_later_ones_hold_what_their_user_was_given() {
    let daemon = Daemon::start(ROUTE).await;
    let (mut one, connected) = open(&daemon, "u", "s1").await;
    let (mut two, _) = open(&daemon, "u", "s2").await;
    let (mut other, _) = open(&daemon, "v", "s3").await;
    let client = connected["client"].as_str().expect("its id").to_owned();
    assert_eq!(connected["topics"], json!(["own"]));
    eventually("all have come", async || {
        let streams = ask(&daemon, "GET", "/users/u/topics", None).await.json()["streams"].clone();
        (streams == 2).then_some(())
    })
    .await;
    assert_eq!(done(&daemon, "PUT", "/users/u/topics", json!({ "topics": ["user"] })).await["streams"], 2);
    done(&daemon, "PUT", "/sessions/s1/topics", json!({ "topics": ["session", "user"] })).await;
    done(&daemon, "PUT", &format!("/clients/{client}/topics"), json!({ "topics": ["client"] })).await;
    publish(&daemon, &["user", "session", "client", "own"]).await;
    assert_eq!(one.data(4).await, ["user", "session", "client", "own"]);
    assert_eq!(two.data(2).await, ["user", "own"]);
    assert_eq!(other.data(1).await, ["own"]);

    let (mut later, connected) = open(&daemon, "u", "s1").await;
    assert_eq!(
        connected["topics"],
        json!(["own", "session", "user"]),
        "the client's are that stream's alone"
    );

    // The session gives it still.
    done(&daemon, "DELETE", "/users/u/topics/user", json!({})).await;
    // What a stream asked for itself is taken from it, too.
    done(&daemon, "DELETE", "/sessions/s1/topics/own", json!({})).await;
    publish(&daemon, &["user", "own"]).await;
    daemon.publish(&json!({ "broadcast": true, "data": "end" })).await;
    assert_eq!(one.data(2).await, ["user", "end"]);
    assert_eq!(later.data(2).await, ["user", "end"]);
    assert_eq!(two.data(2).await, ["own", "end"]);

    // What is asked for anew is granted anew.
    let (_, connected) = open(&daemon, "u", "s1").await;
    assert_eq!(connected["topics"], json!(["own", "session", "user"]));
    drop(one);
    eventually("what the client was given has ended with it", async || {
        (ask(&daemon, "PUT", &format!("/clients/{client}/topics/x"), Some(json!({}))).await.status == 404)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_resumed_stream_gets_what_it_held_at_each_position() {
    let daemon = Daemon::start(ROUTE).await;
    let (stream, _) = open(&daemon, "u", "s").await;
    let start = daemon.publish(&json!({ "topic": "own", "data": "0" })).await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    drop(stream);
    publish(&daemon, &["a", "b"]).await;
    let position =
        done(&daemon, "PUT", "/users/u/topics", json!({ "topics": ["a"] })).await["position"].clone();
    publish(&daemon, &["a", "b"]).await;
    done(&daemon, "PUT", "/sessions/s/topics", json!({ "topics": ["b", "a"] })).await;
    done(&daemon, "PUT", "/users/u/topics", json!({ "topics": [] })).await;
    publish(&daemon, &["a", "b"]).await;
    done(&daemon, "DELETE", "/sessions/s/topics", json!({})).await;
    publish(&daemon, &["a", "b", "own"]).await;
    let headers = [("last-event-id", &*start)];
    let mut stream = Stream::open(daemon.public, "/events?user=u&session=s", &headers).await;
    let connected = stream.block().await.json();
    assert_eq!((&connected["missed"], &connected["topics"]), (&json!(4), &json!(["own"])));
    let first = stream.event().await;
    assert_eq!(first.data(), "a");
    assert!(order(first.id()) > order(position.as_str().expect("an id")));
    assert_eq!(stream.data(3).await, ["a", "b", "own"]);
}

#[tokio::test]
async fn what_is_given_on_one_instance_is_followed_on_all() {
    let redis = Redis::start().await;
    let config = format!("{}{ROUTE}", redis.section());
    let (a, b) = tokio::join!(Daemon::start(&config), Daemon::start(&config));
    let (mut on_a, _) = open(&a, "u", "s").await;
    let (mut on_b, connected) = open(&b, "u", "s").await;
    let client = connected["client"].as_str().expect("its id").to_owned();
    eventually("both listen", async || {
        let answer = ask(&a, "PUT", "/users/u/topics", Some(json!({ "topics": ["t"] }))).await;
        let there = ask(&b, "GET", "/users/u/topics", None).await.json()["topics"] == json!(["t"]);
        (answer.status == 200 && there).then_some(())
    })
    .await;
    // The same channel carries both, in their order.
    for topic in ["x", "y", "z"] {
        a.publish(&json!({ "topic": topic, "data": "before" })).await;
        done(&b, "PUT", &format!("/users/u/topics/{topic}"), json!({})).await;
        a.publish(&json!({ "topic": topic, "data": topic })).await;
    }
    assert_eq!(on_a.data(3).await, ["x", "y", "z"]);
    assert_eq!(on_b.data(3).await, ["x", "y", "z"]);
    let answer = ask(&a, "PUT", &format!("/clients/{client}/topics/c"), Some(json!({}))).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    a.publish(&json!({ "topic": "c", "data": "c" })).await;
    a.publish(&json!({ "broadcast": true, "data": "end" })).await;
    assert_eq!(on_b.data(2).await, ["c", "end"]);
    assert_eq!(on_a.data(1).await, ["end"]);
    // A backend may say it over Redis itself.
    redis.publish("sidestream:topics", r#"{"topics":{"user":"u","set":["r"]}}"#).await;
    redis.publish("sidestream", r#"{"topics":["r","x"],"data":"r","except":{"topic":"x"}}"#).await;
    assert_eq!((on_a.data(1).await, on_b.data(1).await), (vec!["r".into()], vec!["r".into()]));
}

/// A caller's token, signed with [`SECRET`].
fn token(user: &str) -> String {
    let claims = json!({ "sub": user, "topics": ["room:*"], "exp": 4_000_000_000_u64 });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key).expect("a token"))
}

const SECRET: &str = "a secret of more than thirty-two bytes";

const OWN: &str = r#"
[auth.jwt]
secret = "a secret of more than thirty-two bytes"

[[stream]]
path = "/events"
auth = "jwt"
topics = []
change_topics = true

[[stream]]
path = "/fixed"
auth = "jwt"
topics = []
"#;

async fn post(daemon: &Daemon, path: &str, user: &str, body: Value) -> Answer {
    let headers = [("authorization", &*token(user))];
    request(daemon.public, "POST", path, &headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn a_page_changes_the_topics_of_its_own_stream_within_its_grant() {
    let daemon = Daemon::start(OWN).await;
    let mut stream = Stream::open(daemon.public, "/events", &[("authorization", &*token("u"))]).await;
    let connected = stream.block().await.json();
    let path = format!("/events?client={}", connected["client"].as_str().expect("its id"));
    let answer = eventually("its shard has taken it in", async || {
        let answer = post(&daemon, &path, "u", json!({ "add": ["room:1", "room:2"] })).await;
        (answer.status != 404).then_some(answer)
    })
    .await;
    assert_eq!(
        (answer.status, &answer.json()["topics"]),
        (200, &json!(["room:1", "room:2"])),
        "{}",
        answer.text()
    );
    assert_eq!(
        post(&daemon, &path, "u", json!({ "remove": ["room:1"] })).await.json()["topics"],
        json!(["room:2"])
    );
    for (path, user, body, status) in [
        (&*path, "u", json!({ "add": ["room:3", "other"] }), 403),
        (&path, "v", json!({ "add": ["room:3"] }), 403),
        (&path, "u", json!({ "topics": ["room:3"] }), 400),
        ("/events?client=nobody", "u", json!({ "add": ["room:3"] }), 404),
        // A renewal, whatever its body says.
        (&path.replace("events", "fixed"), "u", json!({ "add": ["room:3"] }), 200),
        // The backend's, which is not there.
        ("/events", "u", json!({ "add": ["room:3"] }), 502),
    ] {
        let answer = post(&daemon, path, user, body).await;
        assert_eq!(answer.status, status, "{path} {user}: {}", answer.text());
    }
    let nobody = request(daemon.public, "POST", &path, &[], b"{}").await;
    assert_eq!(nobody.status, 401, "{}", nobody.text());
    publish(&daemon, &["room:1", "room:3", "other", "room:2"]).await;
    assert_eq!(stream.data(1).await, ["room:2"]);
}

#[tokio::test]
async fn a_page_cannot_add_a_topic_that_was_revoked_or_that_it_was_sent_away_from() {
    let daemon = Daemon::start(OWN).await;
    let mut stream = Stream::open(daemon.public, "/events", &[("authorization", &*token("u"))]).await;
    let connected = stream.block().await.json();
    let path = format!("/events?client={}", connected["client"].as_str().expect("its id"));
    eventually("its shard has taken it in", async || {
        (post(&daemon, &path, "u", json!({ "add": ["room:1"] })).await.status == 200).then_some(())
    })
    .await;
    let revoked = ask(&daemon, "POST", "/revoke", Some(json!({ "user": "u", "topic": "room:7" }))).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    let away = ask(&daemon, "DELETE", "/connections?user=u&topic=room:9&reconnect=false", None).await;
    assert_eq!(away.status, 200, "{}", away.text());
    for (topic, status) in [("room:7", 401), ("room:9", 204), ("room:2", 200)] {
        let answer = post(&daemon, &path, "u", json!({ "add": [topic] })).await;
        assert_eq!(answer.status, status, "{topic}: {}", answer.text());
    }
    publish(&daemon, &["room:7", "room:9", "room:2"]).await;
    assert_eq!(stream.data(1).await, ["room:2"]);
}

#[tokio::test]
async fn a_page_may_ask_another_instance_than_its_streams() {
    let redis = Redis::start().await;
    asked_elsewhere(&format!("{}{OWN}", redis.section())).await;
    asked_elsewhere(&format!("{}[redis.stream]\n{OWN}", redis.section())).await;
}

async fn asked_elsewhere(config: &str) {
    let (a, b) = tokio::join!(start(config), start(config));
    let mut stream = Stream::open(a.public, "/events", &[("authorization", &*token("u"))]).await;
    let client = stream.block().await.json()["client"].as_str().expect("its id").to_owned();
    let path = format!("/events?client={client}");
    eventually("it is followed", async || {
        // Not theirs, wherever it is.
        post(&b, &path, "v", json!({ "add": ["room:2"] })).await;
        assert!([202, 503].contains(&post(&b, &path, "u", json!({ "add": ["room:1"] })).await.status));
        let held = ask(&a, "GET", &format!("/clients/{client}/topics"), None).await.json();
        assert!(held["topics"] == json!([]) || held["topics"] == json!(["room:1"]), "{held}");
        (held["topics"] == json!(["room:1"])).then_some(())
    })
    .await;
    b.publish(&json!({ "topic": "room:1", "data": "1" })).await;
    assert_eq!(stream.data(1).await, ["1"]);
}

/// Ids in the order of the log.
fn order(id: &str) -> (u64, u64) {
    let mut parts = id.split('-').map(|part| part.parse().unwrap_or(0));
    (parts.next().expect("milliseconds"), parts.next().expect("a number"))
}
