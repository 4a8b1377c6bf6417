//! What a backend asks and commands over Redis: the same as on the internal listener, by one of all instances.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use crate::harness::{Cluster, Daemon, Redis, eventually, listening, start, within};
use crate::instances::know;

const LIST: &str = "sidestream:requests";
const METRIC: &str = "sidestream_redis_requests_total";
const ROUTES: &str = r#"requests = true

[[stream]]
path = "/events"
auth = "none"
user = "{query.user}"
topics = ["{query.topic}"]
"#;

fn config(redis: &Redis) -> String {
    redis.section() + ROUTES
}

async fn two(redis: &Redis) -> (Daemon, Daemon) {
    let config = config(redis);
    let (a, b) = tokio::join!(start(&config), start(&config));
    know(&[&a, &b], 2).await;
    (a, b)
}

async fn push(connection: &mut MultiplexedConnection, text: &str) {
    let mut command = redis::cmd("LPUSH");
    command.arg(LIST).arg(text);
    within("LPUSH", command.query_async::<()>(connection)).await.expect("pushed");
}

/// The next answer in a list.
async fn answer(connection: &mut MultiplexedConnection, list: &str) -> Value {
    let text = eventually(&format!("an answer in {list}"), async || {
        let mut command = redis::cmd("LPOP");
        command.arg(list);
        let text: Option<String> = command.query_async(connection).await.expect("what LPOP answers");
        text
    })
    .await;
    serde_json::from_str(&text).expect("JSON")
}

/// Asks, and gives back the status and the body.
async fn ask(redis: &Redis, method: &str, path: &str, body: Value) -> (u64, Value) {
    let mut connection = redis.connection().await;
    let mut request = json!({ "method": method, "path": path, "reply": "answers:1" });
    if !body.is_null() {
        request["body"] = body;
    }
    push(&mut connection, &request.to_string()).await;
    let mut answer = answer(&mut connection, "answers:1").await;
    (answer["status"].as_u64().expect("a status"), answer["body"].take())
}

/// The same, which must be granted.
async fn get(redis: &Redis, path: &str) -> Value {
    let (status, body) = ask(redis, "GET", path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn counted(daemons: &[&Daemon], outcome: &str) -> f64 {
    let mut sum = 0.0;
    for daemon in daemons {
        sum += daemon.metric(METRIC, &[&format!("outcome=\"{outcome}\"")]).await;
    }
    sum
}

#[tokio::test]
async fn everything_that_is_asked_by_http_is_asked_over_redis() {
    let redis = Redis::start().await;
    let (a, b) = two(&redis).await;
    let mut ann = listening(&a, "/events?user=ann&topic=t").await;
    let mut bob = listening(&b, "/events?user=bob&topic=t").await;

    let count = get(&redis, "/connections/count").await;
    assert_eq!((&count["total"], &count["complete"]), (&json!(2), &json!(true)), "{count}");
    assert_eq!(get(&redis, "/connections/count?user=ann").await["total"], 1);
    let list = get(&redis, "/connections?user=bob").await;
    assert_eq!(list["connections"][0]["user"], "bob", "{list}");
    eventually("ann is online", async || {
        (get(&redis, "/presence/users/ann").await["online"] == true).then_some(())
    })
    .await;
    assert!(get(&redis, "/position").await["position"].is_string());

    // What is published is delivered as it was written.
    let (status, receipt) =
        ask(&redis, "POST", "/publish", json!({ "topic": "t", "data": { "n": 1 } })).await;
    assert_eq!(status, 200, "{receipt}");
    for stream in [&mut ann, &mut bob] {
        assert_eq!(stream.event().await.data(), r#"{"n":1}"#);
    }
    let (status, given) = ask(&redis, "PUT", "/users/bob/topics/room", Value::Null).await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(get(&redis, "/users/bob/topics").await["topics"], json!(["room"]));
    b.publish(&json!({ "topic": "room", "data": "inside" })).await;
    assert_eq!(bob.event().await.data(), "inside");

    let (status, closed) = ask(&redis, "DELETE", "/users/bob/connections", Value::Null).await;
    assert_eq!((status, &closed["closed"]), (200, &json!(1)), "{closed}");
    assert_eq!(bob.event().await.json()["reason"], "kicked");
    let (status, revoked) = ask(&redis, "POST", "/revoke", json!({ "user": "ann" })).await;
    assert_eq!(status, 200, "{revoked}");
    assert_eq!(ann.event().await.json()["reason"], "revoked");

    // An error has the listener's own words; what is no JSON there is text here.
    assert_eq!(ask(&redis, "GET", "/nowhere", Value::Null).await.0, 404);
    assert_eq!(ask(&redis, "PATCH", "/publish", Value::Null).await.0, 405);
    let (status, bad) = ask(&redis, "POST", "/publish", json!({ "topics": {} })).await;
    assert!(status == 400 && bad["error"].is_string(), "{status} {bad}");
    assert!(get(&redis, "/metrics").await.as_str().is_some_and(|text| text.contains(METRIC)));
    assert_eq!(counted(&[&a, &b], "refused").await, 3.0);
    assert_eq!(counted(&[&a, &b], "malformed").await, 0.0);
}

#[tokio::test]
async fn headers_and_several_lines_go_along() {
    let redis = Redis::start().await;
    let daemon = start(&config(&redis)).await;
    let mut stream = listening(&daemon, "/events?user=u&topic=t").await;
    let mut connection = redis.connection().await;
    let lines = "{\"topic\":\"t\",\"data\":\"one\"}\n{\"topic\":\"t\",\"data\":\"two\"}\n";
    let request = json!({ "method": "POST", "path": "/publish", "body": lines, "reply": "sidestream:answers:1",
        "headers": { "Content-Type": "application/x-ndjson" } });
    push(&mut connection, &request.to_string()).await;
    assert_eq!(answer(&mut connection, "sidestream:answers:1").await["status"], 200);
    for data in ["one", "two"] {
        assert_eq!(stream.event().await.data(), data);
    }
    // The same key twice is one event.
    let request = json!({ "method": "POST", "path": "/publish", "body": { "topic": "t", "data": "three" },
        "headers": { "Idempotency-Key": "three" }, "reply": "answers:2" });
    for _ in 0..2 {
        push(&mut connection, &request.to_string()).await;
        assert_eq!(answer(&mut connection, "answers:2").await["status"], 200);
    }
    daemon.publish(&json!({ "topic": "t", "data": "end" })).await;
    assert_eq!(stream.event().await.data(), "three");
    assert_eq!(stream.event().await.data(), "end");
}

#[tokio::test]
async fn each_request_is_answered_by_exactly_one_instance() {
    const COUNT: usize = 200;
    let redis = Redis::start().await;
    let (a, b) = two(&redis).await;
    let mut connection = redis.connection().await;
    for n in 0..COUNT {
        let request = json!({ "method": "GET", "path": "/healthz", "reply": format!("answers:{n}") });
        push(&mut connection, &request.to_string()).await;
    }
    for n in 0..COUNT {
        let healthy = json!({ "status": 200, "body": { "status": "ok" } });
        assert_eq!(answer(&mut connection, &format!("answers:{n}")).await, healthy);
    }
    let (by_a, by_b) = (counted(&[&a], "done").await, counted(&[&b], "done").await);
    assert_eq!(by_a + by_b, COUNT as f64);
    assert!(by_a > 0.0 && by_b > 0.0, "{by_a} {by_b}");
    let left: Vec<String> = redis.command(&["KEYS", "answers:*"]).await;
    assert_eq!(left, [""; 0], "one answer each");
    // An answer that nobody takes goes away by itself.
    let request = json!({ "method": "GET", "path": "/healthz", "reply": "answers:left" });
    push(&mut connection, &request.to_string()).await;
    let ttl = eventually("an answer", async || {
        let ttl: i64 = redis.command(&["PTTL", "answers:left"]).await;
        (ttl != -2).then_some(ttl)
    })
    .await;
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn what_is_no_request_harms_nobody() {
    let redis = Redis::start().await;
    let config = config(&redis) + "\n[internal]\nmax_body = \"1KiB\"\n";
    let daemon = start(&config).await;
    let mut connection = redis.connection().await;
    for text in ["", "\u{1}", "[]", "{", r#"{"method":"GET"}"#] {
        push(&mut connection, text).await;
    }
    // Nothing is left in a key of the daemon's, or in one that is no list.
    redis.command::<()>(&["SET", "answers:text", "kept"]).await;
    for reply in ["sidestream:requests", "sidestream:revocations", "answers:text"] {
        let request = json!({ "method": "GET", "path": "/healthz", "reply": reply }).to_string();
        push(&mut connection, &request).await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_millis() as u64;
    for (data, expires) in [("late", now - 1), ("in time", now + 60_000)] {
        let request = json!({ "method": "POST", "path": "/publish", "body": { "topic": "t", "data": data },
            "expires": expires });
        push(&mut connection, &request.to_string()).await;
    }
    let large = json!({ "method": "POST", "path": "/publish", "body": "x".repeat(100_000), "reply": "a" });
    push(&mut connection, &large.to_string()).await;
    push(&mut connection, r#"{"method":"GET","path":"/healthz","reply":"answers:bad","more":1}"#).await;
    let refused = answer(&mut connection, "answers:bad").await;
    assert_eq!(refused["status"], 400, "{refused}");
    assert!(refused["body"]["error"].as_str().is_some_and(|why| why.contains("more")), "{refused}");
    let (status, body) = ask(&redis, "POST", "/publish", json!("x".repeat(2000))).await;
    assert_eq!(status, 413, "{body}");

    for (outcome, count) in
        [("malformed", 8.0), ("unanswered", 1.0), ("expired", 1.0), ("too_large", 1.0), ("refused", 1.0)]
    {
        eventually(&format!("{count} {outcome}"), async || {
            (counted(&[&daemon], outcome).await == count).then_some(())
        })
        .await;
    }
    let events = eventually("an event", async || {
        let mut page = get(&redis, "/topics/t/events").await;
        let events = page["events"].take();
        (events != json!([])).then_some(events)
    })
    .await;
    assert!(events.as_array().map(Vec::len) == Some(1) && events.to_string().contains("in time"), "{events}");
    assert_eq!(redis.command::<String>(&["GET", "answers:text"]).await, "kept");
    assert_eq!(redis.command::<i64>(&["PTTL", "answers:text"]).await, -1);
    assert_eq!(redis.command::<i64>(&["EXISTS", "sidestream:revocations", LIST]).await, 0);
    let log = daemon.log();
    assert_eq!(log.matches("a text from Redis is no request").count(), 1, "said once: {log}");
    assert!(!log.contains("in time"), "no payload in the log");
}

#[tokio::test]
async fn requests_are_taken_again_when_redis_is_back() {
    let mut redis = Redis::start().await;
    let daemon = start(&config(&redis)).await;
    assert_eq!(get(&redis, "/healthz").await["status"], "ok");
    redis.kill().await;
    daemon.logged("cannot take requests from Redis").await;
    redis.start_again().await;
    // One waits in the list before the daemon is back.
    assert_eq!(get(&redis, "/healthz").await["status"], "ok");
    // And after a cut of both connections.
    redis.command::<()>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    assert_eq!(get(&redis, "/healthz").await["status"], "ok");
}

#[tokio::test]
async fn an_instance_that_stops_loses_no_request() {
    let redis = Redis::start().await;
    let (a, mut b) = two(&redis).await;
    let mut connection = redis.connection().await;
    b.signal("TERM");
    for n in 0..100 {
        let request = json!({ "method": "GET", "path": "/healthz", "reply": format!("answers:{n}") });
        push(&mut connection, &request.to_string()).await;
    }
    for n in 0..100 {
        assert_eq!(answer(&mut connection, &format!("answers:{n}")).await["status"], 200);
    }
    let status = within("b ends", b.ended()).await;
    assert!(status.success());
    assert!(counted(&[&a], "done").await > 0.0);
}

#[tokio::test]
async fn nothing_is_taken_unless_the_operator_says_so() {
    let redis = Redis::start().await;
    let on = config(&redis);
    let off = on.replace("requests = true", "");
    let daemon = start(&off).await;
    let mut connection = redis.connection().await;
    let request = json!({ "method": "POST", "path": "/publish", "body": { "topic": "t", "data": 1 },
        "reply": "answers:1" });
    push(&mut connection, &request.to_string()).await;
    // It takes what comes on channels all the while.
    let mut stream = listening(&daemon, "/events?user=u&topic=other").await;
    for n in 0..10 {
        redis.publish("sidestream", json!({ "topic": "other", "data": n }).to_string()).await;
        assert_eq!(stream.event().await.data(), n.to_string());
        assert_eq!(redis.command::<i64>(&["LLEN", LIST]).await, 1);
    }
    assert_eq!(counted(&[&daemon], "done").await, 0.0);
    let asks = async |daemon: &Daemon| {
        daemon.metric("sidestream_redis_connects_total", &["purpose=\"requests\""]).await
    };
    assert_eq!((asks(&daemon).await, redis.calls("brpop").await), (0.0, 0));
    // What waits is done by the first instance that may.
    let other = start(&on).await;
    assert_eq!(answer(&mut connection, "answers:1").await["status"], 200);
    assert_eq!(counted(&[&other], "done").await, 1.0);
    assert_eq!(redis.command::<i64>(&["LLEN", LIST]).await, 0);
    assert_eq!(asks(&other).await, 1.0);
    assert!(redis.calls("brpop").await > 0);
}

#[tokio::test]
async fn in_a_cluster_requests_and_answers_follow_their_slot() {
    let cluster = Cluster::start().await;
    let (holder, slot) = cluster.holder(LIST).await;
    let other = (holder + 1) % 3;
    let config = cluster.section(other) + ROUTES;
    let (a, b) = tokio::join!(start(&config), start(&config));
    know(&[&a, &b], 2).await;
    let reply = "sidestream:answers:{sidestream:requests}:1";
    for node in [holder, other] {
        if node != holder {
            cluster.migrate(&slot, holder, other).await;
        }
        let mut connection = cluster.nodes[node].connection().await;
        for _ in 0..10 {
            let request = json!({ "method": "GET", "path": "/connections/count", "reply": reply });
            push(&mut connection, &request.to_string()).await;
            let answer = answer(&mut connection, reply).await;
            assert_eq!((&answer["status"], &answer["body"]["total"]), (&json!(200), &json!(0)), "{answer}");
        }
    }
    // An answer would have to go to another node: nothing is done.
    let mut connection = cluster.nodes[other].connection().await;
    let request = json!({ "method": "GET", "path": "/healthz", "reply": "answers:1" });
    push(&mut connection, &request.to_string()).await;
    eventually("it is refused", async || (counted(&[&a, &b], "malformed").await == 1.0).then_some(())).await;
    assert_eq!(counted(&[&a, &b], "done").await, 20.0);
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough() {
    const PASSWORD: &str = ">secret";
    let redis = Redis::start().await;
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).expect("it");
    let rights: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER "))
        .map(|line| line.replace(">…", PASSWORD))
        .filter(|line| !line.contains("sidestream:bridge"))
        .collect();
    assert_eq!(rights.len(), 3, "{rights:?}");
    let info: String = redis.command(&["INFO", "server"]).await;
    for line in &rights {
        // As the page says, rights to write alone are there since 7.0.
        let line = if info.contains("redis_version:6.") { line.replace("%W~", "~") } else { line.clone() };
        redis.command::<()>(&line.split(' ').collect::<Vec<_>>()).await;
    }
    let as_whom = |user: &str| format!("redis://{user}:secret@127.0.0.1:{}", redis.port);
    let config = config(&redis).replace(&redis.url(), &as_whom("sidestream")) + "\n[redis.stream]\n";
    let daemon = start(&config).await;
    let client = redis::Client::open(as_whom("backend")).expect("a URL");
    let mut backend = client.get_multiplexed_async_connection().await.expect("a connection");
    let request = json!({ "method": "GET", "path": "/healthz", "reply": "sidestream:answers:1" });
    push(&mut backend, &request.to_string()).await;
    let mut command = redis::cmd("BLPOP");
    command.arg("sidestream:answers:1").arg("0.4");
    let taken = eventually("an answer", async || {
        command.query_async::<Option<(String, String)>>(&mut backend).await.expect("allowed")
    })
    .await;
    assert!(taken.1.contains("\"status\":200"), "{taken:?}");
    // Neither reads the other's requests.
    let mut read = redis::cmd("LRANGE");
    read.arg(LIST).arg(0).arg(-1);
    assert!(read.query_async::<Vec<String>>(&mut backend).await.is_err());
    assert!(!daemon.log().contains("NOPERM"), "{}", daemon.log());
}
