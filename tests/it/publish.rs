//! `POST /publish`: what is taken, what is refused and how, and what reaches the streams.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, KEY, Stream, listening};

/// A stream that names everybody it may be reached by, and one by topic alone.
pub(crate) const PEOPLE: &str = r#"
[[stream]]
path = "/events"
auth = "none"
topics = ["{query.topic}"]

[[stream]]
path = "/people"
auth = "none"
topics = ["{query.topic}"]
user = "{query.user}"
session = "{query.session}"
"#;

async fn daemon() -> Daemon {
    Daemon::start(PEOPLE).await
}

async fn publish_with(daemon: &Daemon, headers: &[(&str, &str)], body: &str) -> Answer {
    daemon.command("POST", "/publish", headers, body.as_bytes()).await
}

/// The next thing on the stream is this marker: nothing came before it.
async fn nothing_until(daemon: &Daemon, stream: &mut Stream, topic: &str, marker: &str) {
    daemon.publish(&json!({ "topic": topic, "data": marker })).await;
    assert_eq!(stream.event().await.data(), marker);
}

#[tokio::test]
async fn an_event_reaches_its_topic_with_its_name_and_its_id() {
    let daemon = daemon().await;
    let mut stream = listening(&daemon, "/events?topic=conversation:42").await;
    let answer = daemon
        .publish(&json!({ "topic": "conversation:42", "event": "message:new", "data": {"text": "hi"}, "retry": 1500 }))
        .await;
    assert_eq!(answer["matched"], 1);
    let event = stream.event().await;
    assert!(event.is("message:new"));
    assert_eq!(event.json(), json!({"text": "hi"}));
    assert_eq!(event.retry, Some(1500));
    assert_eq!(answer, json!({ "id": event.id(), "matched": 1 }));
}

#[tokio::test]
async fn data_arrives_byte_for_byte() {
    let daemon = daemon().await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    for (sent, arrives) in [
        ("12345678901234567890.0", "12345678901234567890.0"),
        ("-0.10e+007", "-0.10e+007"),
        (r#"{ "b" :1 ,  "a":2,"b": 3}"#, r#"{ "b" :1 ,  "a":2,"b": 3}"#),
        (r#"["\u00e9\/\ud83d\ude00","é", "\u0000"]"#, r#"["\u00e9\/\ud83d\ude00","é", "\u0000"]"#),
        ("{\n\t\"a\" :\r\n1 }", "{\n\t\"a\" :\n1 }"),
        ("null", "null"),
        ("false", "false"),
        (&deep, &deep),
        // A JSON string is sent as its text, with every kind of line end as one.
        (r#""hi\nthere\r\nyou\rall""#, "hi\nthere\nyou\nall"),
        (r#""\u00e9\ud83d\ude00 \"q\" id: 7""#, "é😀 \"q\" id: 7"),
        (r#""""#, ""),
    ] {
        let answer = daemon.try_publish(format!("{{\"topic\":\"a\",\"data\": {sent} }}").as_bytes()).await;
        assert_eq!(answer.status, 200, "{sent}: {}", answer.text());
        assert_eq!(stream.event().await.data(), arrives);
    }
    daemon.publish(&json!({ "topic": "a" })).await;
    assert_eq!(stream.event().await.data(), "null", "no data at all");
}

#[tokio::test]
async fn matched_counts_each_stream_once_and_not_the_excepted() {
    let daemon = daemon().await;
    let mut streams = [
        listening(&daemon, "/people?topic=a&topic=b&user=u1&session=s1").await,
        listening(&daemon, "/people?topic=a&user=2&session=s2").await,
        listening(&daemon, "/events?topic=c").await,
    ];
    let mut wanted = [vec![], vec![], vec![]];
    for (n, (mut event, reached)) in [
        (json!({"topic": "a"}), &[0, 1][..]),
        (json!({"topic": "none"}), &[]),
        (json!({"topics": ["a", "b"], "user": "u1", "sessions": ["s1", "s2"]}), &[0, 1]),
        (json!({"users": ["u1", 2, 3]}), &[0, 1]),
        (json!({"topic": "u1"}), &[]),
        (json!({"broadcast": true}), &[0, 1, 2]),
        (json!({"broadcast": true, "topic": "a"}), &[0, 1, 2]),
        (json!({"topic": "a", "except": {"user": "u1"}}), &[1]),
        (json!({"broadcast": true, "except": {"topics": ["c"], "sessions": ["s1"]}}), &[1]),
        (json!({"topic": "a", "except": {"topic": "a"}}), &[]),
        (json!({"target": "all"}), &[0, 1, 2]),
        (json!({"target": "user", "targetId": 2}), &[1]),
        (json!({"target": "session", "targetIds": ["s1", "s2"]}), &[0, 1]),
        (json!({"target": "topic", "targetId": "c"}), &[2]),
        (json!({"broadcast": true}), &[0, 1, 2]),
    ]
    .into_iter()
    .enumerate()
    {
        event["data"] = json!(n);
        assert_eq!(daemon.publish(&event).await["matched"], reached.len(), "{event}");
        for &stream in reached {
            wanted[stream].push(n.to_string());
        }
    }
    for (stream, wanted) in streams.iter_mut().zip(wanted) {
        assert_eq!(stream.data(wanted.len()).await, wanted);
    }
}

#[tokio::test]
async fn a_client_is_reached_by_the_id_that_it_was_given() {
    let daemon = daemon().await;
    let mut stream = daemon.stream("/events?topic=a").await;
    let client = stream.block().await.json()["client"].clone();
    let mut other = listening(&daemon, "/events?topic=a").await;
    assert_eq!(daemon.publish(&json!({ "client": client, "data": 1 })).await["matched"], 1);
    assert_eq!(stream.event().await.data(), "1");
    let but_one = json!({ "topic": "a", "except": { "clients": [client] }, "data": 2 });
    assert_eq!(daemon.publish(&but_one).await["matched"], 1);
    assert_eq!(other.event().await.data(), "2");
    nothing_until(&daemon, &mut stream, "a", "end").await;
}

#[tokio::test]
async fn arrays_and_ndjson_keep_their_order() {
    let daemon = daemon().await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let events: Vec<String> = (0..50).map(|n| format!(r#"{{"topic":"a","data":{n}}}"#)).collect();
    let wanted: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for (body, kind) in [
        (format!("[{}]", events.join(" ,\n")), "application/json"),
        (events.join("\n"), "application/x-www-form-urlencoded"),
        (events.join("\r\n\r\n") + "\n\n", "application/x-ndjson"),
    ] {
        let answer = publish_with(&daemon, &[("content-type", kind)], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let receipts = answer["events"].as_array().expect("a list");
        assert_eq!(receipts.len(), 50);
        for (n, receipt) in receipts.iter().enumerate() {
            let event = stream.event().await;
            assert_eq!(event.data(), wanted[n]);
            assert_eq!(*receipt, json!({ "id": event.id(), "matched": 1 }));
        }
    }
}

#[tokio::test]
async fn one_line_is_a_batch_only_when_it_says_so() {
    let daemon = daemon().await;
    let line = "{\"topic\":\"a\"}\n";
    let single = publish_with(&daemon, &[], line).await.json();
    assert!(single["id"].is_string(), "{single}");
    let batch =
        publish_with(&daemon, &[("content-type", "application/x-ndjson; charset=utf-8")], line).await.json();
    assert!(batch["events"][0]["id"].is_string(), "{batch}");
}

#[tokio::test]
async fn one_bad_event_refuses_all_and_is_named() {
    let daemon = daemon().await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let good = r#"{"topic":"a","data":"good"}"#;
    let bad = r#"{"topic":"a","data":"bad","event":"a\nid: 7"}"#;
    let error = "`event` holds a control character (CR, LF and NUL among them)";

    let answer = publish_with(&daemon, &[], &format!("[{good},{good},{bad},{good}]")).await;
    assert_eq!(answer.status, 400);
    let text = format!("item 2 (counted from 0): {error}");
    assert_eq!(answer.json(), json!({ "error": text, "item": 2, "field": "event" }));

    let answer = publish_with(&daemon, &[], &format!("{good}\n\n{good}\n{bad}\n")).await;
    assert_eq!(answer.status, 400);
    let text = format!("line 4: {error}");
    assert_eq!(answer.json(), json!({ "error": text, "item": 2, "line": 4, "field": "event" }));

    let answer = publish_with(&daemon, &[], bad).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json(), json!({ "error": error, "field": "event" }));

    nothing_until(&daemon, &mut stream, "a", "end").await;
}

#[tokio::test]
async fn bad_bodies_are_refused_with_a_sentence() {
    let daemon = Daemon::start("[internal]\nmax_batch = 3").await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let invalid = b"{\"topic\":\"a\",\"data\":\"\xff\"}";
    let four = format!("[{}]", [r#"{"topic":"a"}"#; 4].join(","));
    let long = format!(r#"{{"topic":"{}"}}"#, "x".repeat(257));
    for (body, status, error, field) in [
        (&b""[..], 400, "the body holds no event", None),
        (b"[]", 400, "the body holds no event", None),
        (invalid, 400, "the body is not UTF-8", None),
        (b"topic=a&data=1", 400, "the event is not JSON: expected ident at line 1 column 2", None),
        (
            b"[{\"topic\":\"a\"}",
            400,
            "the body is not JSON: EOF while parsing a list at line 1 column 14",
            None,
        ),
        (b"\"a\"", 400, "the event must be a JSON object, not a string", None),
        (br#"{"tpoic":"a"}"#, 400, "`tpoic` is not a field: did you mean topic?", Some("tpoic")),
        (
            br#"{"topic":"a","id":"1-0"}"#,
            400,
            "`id` cannot be chosen: the log gives every event its id",
            Some("id"),
        ),
        (br#"{"topic":"a","topic":"a"}"#, 400, "`topic` is given twice", Some("topic")),
        (br#"{"topics":["a",""]}"#, 400, "`topics[1]` is empty", Some("topics[1]")),
        (long.as_bytes(), 400, "`topic` is longer than 256 bytes", Some("topic")),
        (
            br#"{"topic":"a","event":"\u0000"}"#,
            400,
            "`event` holds a control character (CR, LF and NUL among them)",
            Some("event"),
        ),
        (
            br#"{"topic":"a","event":"x\r"}"#,
            400,
            "`event` holds a control character (CR, LF and NUL among them)",
            Some("event"),
        ),
        (
            br#"{"data":1}"#,
            400,
            "the event names nobody: give at least one of topic, topics, user, users, session, sessions, client, clients or broadcast",
            None,
        ),
        (four.as_bytes(), 413, "the body holds more than 3 events (internal.max_batch)", None),
    ] {
        let answer = daemon.try_publish(body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let mut wanted = json!({ "error": error });
        if let Some(field) = field {
            wanted["field"] = Value::from(field);
        }
        assert_eq!(answer.json(), wanted);
        assert_eq!(answer.header("content-type"), "application/json");
    }
    nothing_until(&daemon, &mut stream, "a", "end").await;
    assert_eq!(daemon.metric("sidestream_events_total", &["source=\"http\""]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_events_refused_total", &["source=\"http\""]).await, 15.0);
    assert_eq!(daemon.metric("sidestream_events_refused_total", &["reason=\"unknown_field\""]).await, 2.0);
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeated_publish_count_once() {
    let daemon = daemon().await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let key = [("idempotency-key", "order 7")];
    let first =
        publish_with(&daemon, &[], r#"{"topic":"a","data":1,"idempotency_key":"order 7"}"#).await.json();
    assert_eq!(first["matched"], 1);
    let duplicate = json!({ "id": first["id"], "matched": 0, "duplicate": true });
    // By the field, by the header, and by both where they are the same.
    for (headers, body) in [
        (&[][..], r#"{"topic":"a","data":2,"idempotency_key":"order 7"}"#),
        (&key, r#"{"topic":"a","data":2}"#),
        (&key, r#"{"topic":"a","data":2,"idempotency_key":"order 7"}"#),
    ] {
        let answer = publish_with(&daemon, headers, body).await;
        assert_eq!(answer.json(), duplicate);
    }
    let answer = publish_with(&daemon, &key, r#"{"topic":"a","data":2,"idempotency_key":"other"}"#).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["field"], "idempotency_key");

    // Of several events, each has the header's key with its place behind it.
    let batch = r#"[{"topic":"a","data":3},{"topic":"a","data":4}]"#;
    let first = publish_with(&daemon, &[("idempotency-key", "batch")], batch).await.json();
    let again = publish_with(&daemon, &[("idempotency-key", "batch")], batch).await.json();
    for n in 0..2 {
        let wanted = json!({ "id": first["events"][n]["id"], "matched": 0, "duplicate": true });
        assert_eq!(again["events"][n], wanted);
    }
    let one = publish_with(&daemon, &[], r#"{"topic":"a","idempotency_key":"batch/1"}"#).await.json();
    assert_eq!(one["id"], first["events"][1]["id"]);

    assert_eq!(stream.data(3).await, ["1", "3", "4"]);
    nothing_until(&daemon, &mut stream, "a", "end").await;
    assert_eq!(daemon.metric("sidestream_events_duplicate_total", &["source=\"http\""]).await, 6.0);
}

#[tokio::test]
async fn a_bad_idempotency_key_in_the_header_is_refused() {
    let daemon = daemon().await;
    let long = "k".repeat(257);
    for headers in [
        &[("idempotency-key", "")][..],
        &[("idempotency-key", &long)],
        &[("idempotency-key", "a"), ("idempotency-key", "a")],
    ] {
        let answer = publish_with(&daemon, headers, r#"{"topic":"a"}"#).await;
        assert_eq!(answer.status, 400, "{headers:?}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("the header Idempotency-Key "), "{error}");
    }
}

#[tokio::test]
async fn an_ephemeral_event_is_live_only_and_has_no_id() {
    let daemon = daemon().await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let first = daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    let answer = daemon.publish(&json!({ "topic": "a", "data": "typing", "ephemeral": true })).await;
    assert_eq!(answer, json!({ "id": null, "matched": 1 }));
    daemon.publish(&json!({ "topic": "a", "data": 2 })).await;
    assert_eq!(stream.event().await.data(), "1");
    let typing = stream.event().await;
    assert_eq!((typing.data(), typing.id.as_deref()), ("typing", None));
    assert_eq!(stream.event().await.data(), "2");

    let cursor = [("last-event-id", first["id"].as_str().unwrap())];
    let mut resumed = Stream::open(daemon.public, "/events?topic=a", &cursor).await;
    assert_eq!(resumed.event().await.data(), "2", "it is passed over on replay");
}

#[tokio::test]
async fn an_event_is_not_replayed_after_its_ttl() {
    let daemon = daemon().await;
    let first = daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
    daemon.publish(&json!({ "topic": "a", "data": "short", "ttl": 1 })).await;
    daemon.publish(&json!({ "topic": "a", "data": "long", "ttl": 3600 })).await;
    let cursor = [("last-event-id", first["id"].as_str().unwrap())];
    let resumed = async || {
        Stream::open(daemon.public, "/events?topic=a", &cursor).await.event().await.data().to_owned()
    };
    assert_eq!(resumed().await, "short");
    crate::harness::eventually("the event's time is over", async || {
        (resumed().await == "long").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_published_is_in_no_log() {
    let daemon = Daemon::start_with(PEOPLE, &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "trace")]).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let mut body = json!({ "topic": "a", "event": "of-this-type", "data": "s3cret-data", "idempotency_key": "s3cret-key" });
    daemon.publish(&body).await;
    body["s3cret"] = json!(1);
    assert_eq!(daemon.try_publish(body.to_string().as_bytes()).await.status, 400);
    assert_eq!(stream.event().await.data(), "s3cret-data");
    crate::harness::eventually("the log tells of both", async || {
        let log = daemon.log();
        (log.contains("of-this-type") && log.contains("publish refused")).then_some(())
    })
    .await;
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
    assert!(!daemon.log().contains(KEY), "{}", daemon.log());
}
