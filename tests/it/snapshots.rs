//! Streams that begin with the newest event of each key, and go on without a seam.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::{Daemon, Redis, Stream, eventually, start};
use crate::redis_stream::section;

const ROUTE: &str = "[[stream]]\npath = \"/events\"\ntopics = [\"{query.topic}\"]\nsnapshot = true\n";

async fn set(daemon: &Daemon, topic: &str, key: &str, value: u64) -> String {
    let event = json!({ "topic": topic, "coalesce": key, "data": { "key": key, "value": value } });
    daemon.publish(&event).await["id"].as_str().expect("an id").to_owned()
}

/// What a stream begins with, and the id that it has then.
async fn state(stream: &mut Stream) -> (Vec<Value>, String) {
    let mut state = Vec::new();
    loop {
        let block = stream.event().await;
        if block.is("snapshot") {
            assert_eq!(block.json(), json!({ "events": state.len() }));
            return (state, block.id().to_owned());
        }
        assert!(block.event.is_none(), "{block:?}");
        state.push(block.json());
    }
}

fn entry(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": value })
}

#[tokio::test]
async fn a_fresh_stream_begins_with_the_state_and_resumes_behind_it() {
    let daemon = start(&format!("{ROUTE}[log]\nmax_events = 3\n")).await;
    for (key, value) in [("x", 1), ("y", 1), ("x", 2), ("z", 1), ("x", 3)] {
        set(&daemon, "prices", key, value).await;
    }
    daemon.publish(&json!({ "topic": "prices", "data": "without a key" })).await;
    let mut stream = daemon.stream("/events?topic=prices&snapshot=true").await;
    let (held, id) = state(&mut stream).await;
    assert_eq!(held, [entry("y", 1), entry("z", 1), entry("x", 3)], "the log has let go of the first");
    set(&daemon, "prices", "y", 2).await;
    assert_eq!(stream.event().await.json(), entry("y", 2));
    // With the id of the snapshot's end nothing is sent twice.
    let path = "/events?topic=prices&snapshot=true";
    let mut again = Stream::open(daemon.public, path, &[("last-event-id", &id)]).await;
    assert_eq!(again.block().await.json()["resumed"], true);
    assert_eq!(again.event().await.json(), entry("y", 2));
    let mut without = daemon.stream("/events?topic=prices").await;
    assert_eq!(without.block().await.json()["missed"], 0);
    // A cursor that cannot be served: the state is given anew.
    let mut lost = Stream::open(daemon.public, path, &[("last-event-id", "1-0-aaaaaa")]).await;
    assert!(lost.event().await.is("reset"));
    assert_eq!(state(&mut lost).await.0, [entry("z", 1), entry("x", 3), entry("y", 2)]);
    assert!(daemon.metric("sidestream_state_events", &[]).await >= 1.0);
    for query in ["snapshot=yes", "snapshot=true&snapshot=true"] {
        assert_eq!(daemon.stream(&format!("/events?topic=a&{query}")).await.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn a_key_that_is_taken_back_is_in_no_snapshot() {
    let daemon = start(ROUTE).await;
    set(&daemon, "cursors", "ann", 1).await;
    let gone = set(&daemon, "cursors", "bob", 1).await;
    let path = format!("/topics/cursors/events/{gone}");
    assert_eq!(daemon.command("DELETE", &path, &[], b"").await.status, 200);
    let mut stream = daemon.stream("/events?topic=cursors&snapshot=true").await;
    assert_eq!(state(&mut stream).await.0, [entry("ann", 1)]);
}

#[tokio::test]
async fn a_route_that_does_not_give_snapshots_ignores_the_parameter() {
    let daemon = start("").await;
    set(&daemon, "a", "x", 1).await;
    let mut stream = daemon.stream("/events?topic=a&snapshot=true").await;
    assert!(stream.block().await.is("connected"));
    set(&daemon, "a", "x", 2).await;
    assert_eq!(stream.event().await.json(), entry("x", 2));
}

#[tokio::test]
async fn under_load_no_update_falls_into_the_seam() {
    const KEYS: u64 = 40;
    let daemon = start(ROUTE).await;
    let publish = async {
        for round in 1..=30 {
            let events: Vec<Value> = (0..KEYS)
                .map(|key| {
                    let key = key.to_string();
                    json!({ "topic": "load", "coalesce": key, "data": entry(&key, round) })
                })
                .collect();
            daemon.publish(&json!(events)).await;
        }
    };
    let read = async {
        for _ in 0..10 {
            let mut stream = daemon.stream("/events?topic=load&snapshot=true").await;
            let mut held: HashMap<String, u64> = HashMap::new();
            let (first, _) = state(&mut stream).await;
            let mut check = |event: &Value| {
                let (key, value) =
                    (event["key"].as_str().unwrap().to_owned(), event["value"].as_u64().unwrap());
                let before = held.insert(key.clone(), value);
                assert!(before.is_none_or(|before| before < value), "{key}: {before:?}, then {value}");
                held.len() == KEYS as usize && held.values().all(|value| *value == 30)
            };
            let mut is_whole = first.iter().map(&mut check).last().unwrap_or(false);
            while !is_whole {
                is_whole = check(&stream.event().await.json());
            }
        }
    };
    tokio::join!(publish, read);
}

#[tokio::test]
async fn with_the_log_in_redis_every_instance_has_the_state_and_one_that_starts_later_too() {
    let redis = Redis::start().await;
    let config = format!("{ROUTE}{}", section(&redis));
    let (one, two) = (start(&config).await, start(&config).await);
    for (key, value) in [("x", 1), ("y", 1), ("x", 2)] {
        set(&one, "a", key, value).await;
    }
    let gone = set(&two, "a", "z", 1).await;
    let path = format!("/topics/a/events/{gone}");
    assert_eq!(one.command("DELETE", &path, &[], b"").await.status, 200);
    for daemon in [&one, &two, &start(&config).await] {
        eventually("the state", async || {
            let mut stream = daemon.stream("/events?topic=a&snapshot=true").await;
            (state(&mut stream).await.0 == [entry("y", 1), entry("x", 2)]).then_some(())
        })
        .await;
    }
}
