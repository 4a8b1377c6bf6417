//! Lines about single streams, requests and publishes: what they say, at which level, and what they never say.

use serde_json::{Value, json};

use crate::harness::{Daemon, Redis, Stream, listening, log_lines, start};

const PEOPLE: &str =
    "[[stream]]\npath = \"/events\"\ntopics = [\"{query.topic}\"]\nuser = \"{query.user}\"\n";

#[tokio::test]
async fn a_stream_has_a_line_when_it_opens_and_one_when_it_closes() {
    let daemon = start(&format!(
        "[telemetry]\nlog_level = \"warn,sidestream::app=info\"\nlog_streams = true\n{PEOPLE}"
    ))
    .await;
    let mut stream = listening(&daemon, "/events?topic=a&topic=b&user=u%20sent%3D9").await;
    let opened = log_lines(&daemon, "stream opened", 1).await.remove(0);
    assert_eq!(opened["level"], "INFO", "{opened}");
    assert_eq!((&opened["user"], &opened["route"]), (&json!("u sent=9"), &json!("/events")), "{opened}");
    assert_eq!((&opened["topics"], &opened["resumed"]), (&json!(2), &json!(false)), "{opened}");
    assert_eq!((&opened["address"], &opened["reset"]), (&json!("127.0.0.1"), &Value::Null), "{opened}");
    let id = daemon.publish(&json!({ "topic": "a", "data": 1 })).await["id"].as_str().unwrap().to_owned();
    assert_eq!(stream.event().await.data(), "1");
    drop(stream);
    let closed = log_lines(&daemon, "stream closed", 1).await.remove(0);
    for field in ["client", "user", "route", "topics", "address", "level"] {
        assert_eq!(closed[field], opened[field], "{field}: {closed}");
    }
    assert_eq!((&closed["sent"], &closed["reason"]), (&json!(1), &json!("client_gone")), "{closed}");
    // The head of the answer, `connected`, and the event.
    assert!(closed["bytes"].as_u64().is_some_and(|bytes| (200..1000).contains(&bytes)), "{closed}");
    let cursor = [("last-event-id", &*id)];
    let _resumed = Stream::open(daemon.public, "/events?topic=a&user=u", &cursor).await;
    let _reset = Stream::open(daemon.public, "/events?topic=a&user=u", &[("last-event-id", "x")]).await;
    let opened = log_lines(&daemon, "stream opened", 3).await;
    assert_eq!((&opened[1]["resumed"], &opened[1]["reset"]), (&json!(true), &Value::Null));
    assert_eq!((&opened[2]["resumed"], &opened[2]["reset"]), (&json!(false), &json!("malformed")));
}

#[tokio::test]
async fn lines_of_streams_and_publishes_are_at_debug_unless_they_are_asked_for() {
    let quiet = start("").await;
    let debug = Daemon::start_with(
        "",
        &[("SIDESTREAM_TELEMETRY_LOG_LEVEL", "info,sidestream::streams=debug,sidestream::publishes=debug")],
    )
    .await;
    for daemon in [&quiet, &debug] {
        let mut stream = listening(daemon, "/events?topic=a").await;
        daemon.publish(&json!({ "topic": "a", "data": 1 })).await;
        assert_eq!(stream.event().await.data(), "1");
    }
    for message in ["stream opened", "stream closed", "event published", "event delivered"] {
        assert_eq!(log_lines(&debug, message, 1).await[0]["level"], "DEBUG");
        assert!(!quiet.log().contains(message), "{}", quiet.log());
    }
}

#[tokio::test]
async fn an_event_can_be_followed_to_the_sockets_that_it_was_written_to() {
    let daemon = start("[telemetry]\nlog_publishes = true\n[fanout]\nshards = 1\n").await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(listening(&daemon, "/events?topic=a").await);
    }
    let body = json!([{ "topics": ["a", "b"], "event": "type", "data": "s3cret" }, { "user": "u", "ephemeral": true }]);
    let answer = daemon.publish(&body).await;
    let published = log_lines(&daemon, "event published", 2).await;
    let [first, second] = &published[..] else { panic!("{published:?}") };
    assert_eq!(first["id"], answer["events"][0]["id"]);
    assert_eq!((&first["audience"], &first["event"]), (&json!("topic:a,topic:b"), &json!("type")));
    assert_eq!((&first["matched"], &first["publisher"]), (&json!(3), &json!("publish_keys")));
    assert_eq!((&first["duplicate"], &first["relayed"]), (&json!(false), &json!(false)));
    assert_eq!(
        (&second["id"], &second["audience"], &second["matched"]),
        (&Value::Null, &json!("user:u"), &json!(0))
    );
    let delivered = log_lines(&daemon, "event delivered", 1).await;
    assert_eq!((&delivered[0]["id"], &delivered[0]["delivered"]), (&first["id"], &json!(3)));
    assert!(!daemon.log().contains("s3cret"), "{}", daemon.log());
}

#[tokio::test]
async fn an_event_can_be_followed_on_the_instance_that_delivers_it() {
    let redis = Redis::start().await;
    let config = format!("[telemetry]\nlog_publishes = true\n{}", redis.section());
    let (one, other) = (start(&config).await, start(&config).await);
    let mut stream = listening(&other, "/events?topic=a").await;
    one.publish(&json!({ "topic": "a", "data": 1 })).await;
    assert_eq!(stream.event().await.data(), "1");
    let published = log_lines(&one, "event published", 1).await;
    assert_eq!((&published[0]["relayed"], &published[0]["matched"]), (&json!(true), &json!(0)));
    let taken = log_lines(&other, "event taken from a channel", 1).await;
    let delivered = log_lines(&other, "event delivered", 1).await;
    assert_eq!((&taken[0]["id"], &taken[0]["audience"]), (&delivered[0]["id"], &json!("topic:a")));
    assert_eq!(delivered[0]["delivered"], json!(1));
    assert!(!one.log().contains("event delivered"));
}
