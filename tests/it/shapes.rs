//! Event shapes of applications that wrote their streams by hand; what a reader who comes late or anew gets.

use serde_json::{Value, json};

use crate::harness::{Daemon, Stream, request};

#[tokio::test]
async fn typed_events_are_messages_that_tell_their_type() {
    let daemon = Daemon::start(
        "[sse]\nheartbeat = \"1s\"\nheartbeat_as = \"event:heartbeat\"\nevents = \"typed\"\nconnected_as = \"connection_established\"\n",
    )
    .await;
    let mut stream = daemon.stream("/events?topic=a").await;
    let connected = stream.block().await;
    assert_eq!(connected.event, None);
    let data = connected.json();
    assert_eq!(data["type"], "connection_established");
    assert_eq!(data["data"]["topics"], json!(["a"]));
    daemon.publish(&json!({"topic": "a", "event": "message:new", "data": {"text": "hi"}})).await;
    daemon.publish(&json!({"topic": "a", "data": "7"})).await;
    let mut seen = Vec::new();
    while !(seen.len() >= 3 && seen.iter().any(|data: &Value| data["type"] == "heartbeat")) {
        let block = stream.block().await;
        assert_eq!(block.event, None, "{block:?}");
        let data = block.json();
        let stamp = data["timestamp"].as_str().expect("a timestamp");
        assert!(stamp.ends_with('Z') && stamp.len() == 24, "{stamp}");
        seen.push(data);
    }
    let events: Vec<_> = seen.iter().filter(|data| data["type"] != "heartbeat").collect();
    assert_eq!((&events[0]["type"], &events[0]["data"]), (&json!("message:new"), &json!({"text": "hi"})));
    assert_eq!((&events[1]["type"], &events[1]["data"]), (&json!("message"), &json!("7")));
    let mut reset = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", "?")]).await;
    reset.block().await;
    assert_eq!(reset.block().await.json()["data"], json!({"reason": "malformed"}));
}

#[tokio::test]
async fn a_fresh_stream_may_begin_with_its_topics_last_events() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\n[limits]\nhistory = 3\n").await;
    for n in 0..5 {
        daemon.publish(&json!({"topic": "a", "data": n})).await;
        daemon.publish(&json!({"topic": "b", "data": "not asked for"})).await;
    }
    for (asked, first) in [(0, 5), (2, 3), (50, 2)] {
        let mut stream = daemon.stream(&format!("/events?topic=a&history={asked}")).await;
        let connected = stream.block().await;
        assert_eq!(
            (&connected.json()["resumed"], &connected.json()["missed"]),
            (&json!(false), &json!(5 - first))
        );
        // A client that is cut here must not lose them.
        let mut again =
            Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", connected.id())]).await;
        assert_eq!(again.block().await.json()["missed"], json!(5 - first));
        for n in first..5 {
            assert_eq!(stream.event().await.data(), n.to_string());
        }
    }
    let resumed = daemon.publish(&json!({"topic": "a", "data": 5})).await["id"].as_str().unwrap().to_owned();
    let mut stream =
        Stream::open(daemon.public, "/events?topic=a&history=3", &[("last-event-id", &resumed)]).await;
    assert_eq!(stream.block().await.json()["missed"], json!(0), "who resumes has its history");
    let bad = request(daemon.public, "GET", "/events?topic=a&history=all", &[], b"").await;
    assert_eq!(bad.status, 400, "{}", bad.text());
}

#[tokio::test]
async fn who_comes_back_gets_only_the_newest_of_a_coalescing_key() {
    let daemon = Daemon::start("[sse]\nheartbeat = \"10m\"\n").await;
    let cursor = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let mut live = daemon.stream("/events?topic=a").await;
    live.block().await;
    for n in 0..10 {
        daemon.publish(&json!({"topic": "a", "data": n, "coalesce": "upload:1"})).await;
        daemon.publish(&json!({"topic": "a", "data": n * 100, "coalesce": "upload:2"})).await;
        // Another audience: it does not stand for the others.
        daemon.publish(&json!({"topics": ["a", "b"], "data": "x", "coalesce": "upload:1"})).await;
        for expected in [n.to_string(), (n * 100).to_string(), "x".to_owned()] {
            assert_eq!(live.event().await.data(), expected, "who is up to date gets all");
        }
    }
    let mut late = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
    assert_eq!(late.block().await.json()["missed"], json!(3));
    for expected in ["9", "900", "x"] {
        assert_eq!(late.event().await.data(), expected);
    }
}
