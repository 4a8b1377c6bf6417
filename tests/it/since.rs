//! Fresh streams that begin in the past: at a time, or with the last events of each of their topics.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Daemon, Redis, Stream, eventually, ready, request};

/// Publishes and gives back the milliseconds of the event's id, which no event before it has.
async fn publish(daemon: &Daemon, topic: &str, data: u32) -> u64 {
    let ms = |id: &str| id.split_once('-').expect("two numbers").0.parse::<u64>().expect("a number");
    let head = ms(daemon.stream("/events?topic=nothing").await.block().await.id());
    eventually("the next millisecond", async || {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
        (now > Duration::from_millis(head + 1)).then_some(())
    })
    .await;
    ms(daemon.publish(&json!({"topic": topic, "data": data})).await["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_fresh_stream_may_begin_at_a_time() {
    let redis = Redis::start().await;
    let shared = format!("{}[redis.stream]\nkey = \"log\"\n", redis.section());
    for more in ["", &shared] {
        let daemon = Daemon::start(&format!("[sse]\nheartbeat = \"10m\"\n{more}")).await;
        ready(&daemon, 200).await;
        let mut times = Vec::new();
        for n in 0..4 {
            times.push(publish(&daemon, "a", n).await);
        }
        // Its own event is the first.
        let iso = |ms: u64| {
            let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            humantime::format_rfc3339_millis(time).to_string()
        };
        for (since, first) in [
            (times[1].to_string(), 1),
            ((times[1] + 1).to_string(), 2),
            (iso(times[2]), 2),
            (iso(times[2] + 1).replace('Z', "%2B00:00"), 3),
            ((times[3] + 1).to_string(), 4),
            ((times[3] + 1_000_000).to_string(), 4),
        ] {
            let mut stream = daemon.stream(&format!("/events?topic=a&since={since}")).await;
            let connected = stream.block().await;
            let data = connected.json();
            assert_eq!((&data["resumed"], &data["missed"]), (&json!(false), &json!(4 - first)), "{since}");
            // A client that is cut here must not lose them.
            let mut again =
                Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", connected.id())]).await;
            assert_eq!(again.block().await.json()["missed"], json!(4 - first), "{since}");
            for n in first..4 {
                assert_eq!(stream.event().await.data(), n.to_string(), "{since}");
            }
        }
        let mut old = daemon.stream("/events?topic=a&since=1").await;
        old.block().await;
        assert_eq!(old.block().await.json()["reason"], "too_old", "the log does not reach back so far");
        let id = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
        let path = format!("/events?topic=a&since={}", times[0]);
        let mut resumed = Stream::open(daemon.public, &path, &[("last-event-id", &id)]).await;
        assert_eq!(resumed.block().await.json()["missed"], 0, "a client that resumes goes on where it was");
    }
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_unless_a_template_takes_it() {
    let daemon = Daemon::start("").await;
    for (query, part) in [
        ("since=yesterday", "must be a time"),
        ("since=2026-01-31", "must be a time"),
        ("since=1&since=2", "more than once"),
        ("since=1&history=2", "give one of them"),
    ] {
        let bad = request(daemon.public, "GET", &format!("/events?topic=a&{query}"), &[], b"").await;
        assert_eq!(bad.status, 400, "{query}");
        assert!(bad.text().contains(part), "{query}: {}", bad.text());
    }
    let daemon = Daemon::start("[[stream]]\ntopics = [\"years:{query.since}\"]\n").await;
    let connected = daemon.stream("/events?since=1990s").await.block().await.json();
    assert_eq!(connected["topics"], json!(["years:1990s"]));
    let daemon = Daemon::start("[limits]\nhistory = 0\n").await;
    let mut stream = daemon.stream("/events?topic=a&since=1").await;
    assert_eq!(stream.block().await.json()["missed"], 0, "nothing of the past is given here");
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.event().await.data(), "1");
}

#[tokio::test]
async fn a_history_of_each_topic_has_the_last_events_of_each_and_nothing_else() {
    let daemon = Daemon::start(
        "[sse]\nheartbeat = \"10m\"\n[limits]\nhistory = 3\n[[stream]]\npath = \"/events\"\n\
         [[stream]]\npath = \"/each\"\nhistory_per_topic = true\nchoose_events = true\nuser = \"{query.user?}\"\n",
    )
    .await;
    for n in 0..5 {
        daemon.publish(&json!({"topic": "quiet", "data": format!("quiet {n}")})).await;
    }
    daemon.publish(&json!({"user": "u", "data": "to a user"})).await;
    daemon.publish(&json!({"topics": ["quiet", "busy"], "data": "both"})).await;
    for n in 0..10 {
        let name = if n % 2 == 0 { "even" } else { "odd" };
        daemon.publish(&json!({"topic": "busy", "event": name, "data": format!("busy {n}")})).await;
        daemon.publish(&json!({"broadcast": true, "data": "to all"})).await;
    }
    let two = ["quiet 4", "both", "busy 8", "busy 9"];
    let three = ["quiet 3", "quiet 4", "both", "busy 7", "busy 8", "busy 9"];
    for (query, expected) in [
        ("history=2", &two[..]),
        ("history=50", &three[..]),
        ("history=2&event=odd&event=message", &["quiet 4", "both", "busy 7", "busy 9"][..]),
        ("history=0", &[]),
    ] {
        let path = format!("/each?topic=quiet&topic=busy&topic=silent&user=u&{query}");
        let mut stream = daemon.stream(&path).await;
        assert_eq!(stream.block().await.json()["missed"], expected.len(), "{path}");
        assert_eq!(stream.data(expected.len()).await, expected, "{path}");
        daemon.publish(&json!({"broadcast": true, "data": query})).await;
        assert_eq!(stream.event().await.data(), query, "from now on it gets everything");
    }
    let mut one = daemon.stream("/events?topic=quiet&topic=busy&history=2").await;
    assert_ne!(one.block().await.json()["missed"], 0);
    assert_eq!(one.event().await.data(), "busy 8", "by default it is that of all topics together");
}
