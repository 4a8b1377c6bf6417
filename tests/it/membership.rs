//! Topics that are given to users, sessions and clients while their streams are open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, KEY, Pace, Redis, Stream, eventually, let_time_pass, request};

pub(crate) const ROUTE: &str = r#"
[[stream]]
path = "/events"
auth = "none"
user = "{query.user}"
session = "{query.session}"
topics = ["own"]
"#;

pub(crate) async fn ask(daemon: &Daemon, method: &str, path: &str, body: Option<Value>) -> Answer {
    let key = format!("Bearer {KEY}");
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    request(daemon.internal, method, path, &[("authorization", &key)], body.as_bytes()).await
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
    assert_eq!(answer["topics"], json!(["b", "c"]), "as often as one likes");
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
async fn a_page_may_ask_another_instance_than_its_streams() {
    let redis = Redis::start().await;
    asked_elsewhere(&format!("{}{OWN}", redis.section())).await;
    asked_elsewhere(&format!("{}[redis.stream]\n{OWN}", redis.section())).await;
}

async fn asked_elsewhere(config: &str) {
    let (a, b) = tokio::join!(crate::redis::start(config), crate::redis::start(config));
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

/// A small deterministic generator.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A change as the API stated it.
struct Change {
    holder: String,
    position: (u64, u64),
    topics: BTreeSet<String>,
}

/// What a reader got: its holders, from where, and the events by id.
struct Got {
    holders: Vec<String>,
    from: (u64, u64),
    events: Vec<((u64, u64), String)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Steady,
    /// Does not read for a while, now and then.
    Slow,
    /// Is cut now and then, and comes back with its last id.
    Returning,
}

async fn read(
    daemons: &[Daemon],
    number: u64,
    kind: Kind,
    ready: tokio::sync::mpsc::Sender<Option<(usize, String)>>,
) -> Got {
    let mut random = Random(number);
    let (user, session) = (format!("u{}", number % 6), format!("s{}", number % 9));
    let path = format!("/events?user={user}&session={session}");
    let mut at = number as usize % daemons.len();
    let mut stream = daemons[at].stream(&path).await;
    let connected = stream.block().await;
    let client = connected.json()["client"].as_str().expect("its id").to_owned();
    let mut got = Got {
        holders: vec![format!("/users/{user}"), format!("/sessions/{session}")],
        from: order(connected.id()),
        events: Vec::new(),
    };
    if kind != Kind::Returning {
        got.holders.push(format!("/clients/{client}"));
    }
    // Whoever comes back has another name then.
    let steady = (kind != Kind::Returning).then_some((at, client));
    ready.send(steady).await.expect("somebody waits");
    drop(ready);
    let mut until_cut = 20 + random.below(60);
    loop {
        let block = stream.event().await;
        assert!(!block.is("reset"), "reader {number}: {block:?}");
        if block.is("end") {
            return got;
        }
        let topic = block.data().split(' ').next().expect("a topic").to_owned();
        got.events.push((order(block.id()), topic));
        if kind == Kind::Slow && random.below(150) == 0 {
            let_time_pass("it does not read", Duration::from_millis(700)).await;
        }
        until_cut -= 1;
        if until_cut == 0 {
            until_cut = 20 + random.below(60);
            if kind == Kind::Returning {
                at = (at + 1) % daemons.len();
                let headers = [("last-event-id", block.id())];
                stream = Stream::open(daemons[at].public, &path, &headers).await;
                let connected = stream.block().await;
                assert_eq!(connected.json()["resumed"], true);
            }
        }
    }
}

/// Publishes some events a tick until it is told that enough is changed; gives back every event's id and topic.
async fn publish_until(
    daemons: &[Daemon],
    mut enough: tokio::sync::watch::Receiver<bool>,
) -> BTreeMap<(u64, u64), String> {
    let mut random = Random(7);
    let mut published = BTreeMap::new();
    let mut pace = Pace::of(Duration::from_millis(20));
    let padding = "x".repeat(600);
    while !*enough.borrow_and_update() {
        pace.next().await;
        let topics: Vec<String> = (0..20).map(|_| format!("t{}", random.below(8))).collect();
        let events: Vec<Value> = topics
            .iter()
            .map(|topic| json!({ "topic": topic, "data": format!("{topic} {padding}") }))
            .collect();
        let daemon = &daemons[random.below(daemons.len() as u64) as usize];
        let answer = daemon.publish(&Value::Array(events)).await;
        let results = answer["events"].as_array().expect("an answer for each");
        for (topic, result) in topics.into_iter().zip(results) {
            published.insert(order(result["id"].as_str().expect("an id")), topic);
        }
    }
    published
}

/// Makes 1,000 changes, as the API states them.
async fn change(daemons: &[Daemon], clients: &[(usize, String)]) -> Vec<Change> {
    let mut random = Random(3);
    let mut changes = Vec::new();
    let mut pace = Pace::of(Duration::from_millis(5));
    for _ in 0..1000 {
        pace.next().await;
        let mut daemon = &daemons[random.below(daemons.len() as u64) as usize];
        let holder = match random.below(4) {
            0 | 1 => format!("/users/u{}", random.below(6)),
            2 => format!("/sessions/s{}", random.below(9)),
            _ => {
                let (at, client) = &clients[random.below(clients.len() as u64) as usize];
                // Where it is, one learns what became of it.
                daemon = &daemons[*at];
                format!("/clients/{client}")
            }
        };
        let path = format!("{holder}/topics");
        let some = |random: &mut Random, most: u64| -> Vec<String> {
            (0..=random.below(most)).map(|_| format!("t{}", random.below(8))).collect()
        };
        let answer = match random.below(4) {
            0 => done(daemon, "PUT", &path, json!({ "topics": some(&mut random, 3) })).await,
            1 => {
                done(
                    daemon,
                    "POST",
                    &path,
                    json!({ "add": some(&mut random, 2), "remove": some(&mut random, 2) }),
                )
                .await
            }
            2 => done(daemon, "PUT", &format!("{path}/t{}", random.below(8)), json!({})).await,
            _ => done(daemon, "DELETE", &format!("{path}/t{}", random.below(8)), json!({})).await,
        };
        let topics = answer["topics"].as_array().expect("topics").iter();
        changes.push(Change {
            holder,
            position: order(answer["position"].as_str().expect("an id")),
            topics: topics.map(|topic| topic.as_str().expect("text").to_owned()).collect(),
        });
    }
    changes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_among_a_thousand_events_a_second_are_followed_exactly() {
    let config = format!("[limits]\nstreams_per_user = 0\n{ROUTE}");
    thousand_changes(&[Daemon::start(&config).await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_on_two_instances_are_followed_exactly_on_both() {
    let redis = Redis::start().await;
    let limits = "[limits]\nstreams_per_user = 0\n";
    let config = format!("{}[redis.stream]\n{limits}{ROUTE}", redis.section());
    let daemons = [crate::redis::start(&config).await, crate::redis::start(&config).await];
    thousand_changes(&daemons).await;
}

/// Readers of all kinds, a thousand events a second, a thousand changes: each reader gets what its membership was.
async fn thousand_changes(daemons: &[Daemon]) {
    let (ready, mut opened) = tokio::sync::mpsc::channel(64);
    let kinds = [Kind::Steady, Kind::Slow, Kind::Returning];
    let readers = (0..27).map(|number| read(daemons, number, kinds[number as usize / 9], ready.clone()));
    let readers: Vec<_> = readers.collect();
    drop(ready);
    let work = async {
        let mut steady = Vec::new();
        while let Some(client) = opened.recv().await {
            steady.extend(client);
        }
        for (at, client) in &steady {
            let path = format!("/clients/{client}/topics");
            eventually("it has been taken in", async || {
                (ask(&daemons[*at], "GET", &path, None).await.json()["streams"] == 1).then_some(())
            })
            .await;
        }
        let (tell, enough) = tokio::sync::watch::channel(false);
        let (changes, published) = tokio::join!(
            async {
                let changes = change(daemons, &steady).await;
                let _ = tell.send(true);
                changes
            },
            publish_until(daemons, enough)
        );
        daemons[0].publish(&json!({ "broadcast": true, "event": "end" })).await;
        (changes, published)
    };
    let (got, (changes, published)) = tokio::join!(join_all(readers), work);
    let mut delivered = 0;
    for (number, Got { holders, from, events }) in got.into_iter().enumerate() {
        let mut sets: BTreeMap<&str, &BTreeSet<String>> = BTreeMap::new();
        let mut its = changes.iter().filter(|change| holders.contains(&change.holder)).peekable();
        let mut expected = Vec::new();
        for (id, topic) in published.range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded)) {
            while let Some(change) = its.next_if(|change| change.position < *id) {
                sets.insert(&change.holder, &change.topics);
            }
            if sets.values().any(|topics| topics.contains(topic)) {
                expected.push((*id, topic.clone()));
            }
        }
        let differs = events.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert!(
            events == expected,
            "reader {number} got {} of {}; they differ at {differs:?}",
            events.len(),
            expected.len()
        );
        delivered += events.len();
    }
    assert!(
        published.len() > 2000 && delivered > 10_000,
        "{} events, {delivered} deliveries",
        published.len()
    );
}

/// All of them at once, in their order.
async fn join_all<T>(all: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (one, result) in all.iter_mut().filter(|(_, result)| result.is_none()) {
            if let std::task::Poll::Ready(value) = one.as_mut().poll(cx) {
                *result = Some(value);
            }
        }
        if all.iter().all(|(_, result)| result.is_some()) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    all.into_iter().filter_map(|(_, result)| result).collect()
}
