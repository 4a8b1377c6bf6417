//! Streams that want some events only, by their names: live, on replay, in a history and in what is counted.

use serde_json::json;

use crate::harness::{Daemon, Redis, Stream, eventually, request};

const CHOOSING: &str = "[sse]\nheartbeat = \"10m\"\n[[stream]]\npath = \"/events\"\nchoose_events = true\n";

async fn publish(daemon: &Daemon, name: Option<&str>, data: u32) -> String {
    let mut event = json!({"topic": "a", "data": data});
    if let Some(name) = name {
        event["event"] = json!(name);
    }
    daemon.publish(&event).await["id"].as_str().expect("an id").to_owned()
}

/// A stream with this query gets these of five events live, on a replay, and the last two of them as a history.
async fn gets(daemon: &Daemon, query: &str, wanted: &[u32]) {
    let cursor = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let path = format!("/events?topic=a{query}");
    let mut live = daemon.stream(&path).await;
    live.block().await;
    for (n, name) in (0..).zip([Some("x"), Some("y"), None, Some("z"), Some("x")]) {
        publish(daemon, name, n).await;
    }
    let mut late = Stream::open(daemon.public, &path, &[("last-event-id", &cursor)]).await;
    assert_eq!(late.block().await.json()["missed"], wanted.len(), "{query}");
    let mut fresh = daemon.stream(&format!("{path}&history=2")).await;
    assert_eq!(fresh.block().await.json()["missed"], 2, "{query}");
    // All want one of these two: nothing else comes between.
    let mut last = Vec::new();
    for name in ["x", "z"] {
        last.push(publish(daemon, Some(name), 99).await);
    }
    let history = &wanted[wanted.len() - 2..];
    for (stream, wanted) in [(&mut live, wanted), (&mut late, wanted), (&mut fresh, history)] {
        for n in wanted {
            assert_eq!(stream.event().await.data(), n.to_string(), "{query}");
        }
        let next = stream.event().await;
        assert!(last.iter().any(|id| id == next.id()), "{query}: {next:?}");
    }
}

#[tokio::test]
async fn a_stream_gets_the_events_that_it_names_live_and_on_replay() {
    let daemon = Daemon::start(&format!("{CHOOSING}[limits]\nhistory = 10\n")).await;
    gets(&daemon, "&event=x", &[0, 4]).await;
    gets(&daemon, "&event=x&event=message", &[0, 2, 4]).await;
    gets(&daemon, "&except=x", &[1, 2, 3]).await;
    gets(&daemon, "&except=y&except=message", &[0, 3, 4]).await;
    gets(&daemon, "", &[0, 1, 2, 3, 4]).await;
}

#[tokio::test]
async fn names_are_those_of_the_publisher_in_every_layout() {
    for more in ["events = \"typed\"\n", "topic_as = \"prefix:/\"\n"] {
        let daemon = Daemon::start(&format!("{CHOOSING}{more}")).await;
        let mut stream = daemon.stream("/events?topic=a&event=x").await;
        stream.block().await;
        publish(&daemon, Some("y"), 1).await;
        let id = publish(&daemon, Some("x"), 2).await;
        assert_eq!(stream.event().await.id(), id, "{more}");
    }
    // Where the whole log is typed the name stands in the data.
    let daemon = Daemon::start(&CHOOSING.replace("[sse]", "[sse]\nevents = \"typed\"")).await;
    let mut stream = daemon.stream("/events?topic=a&event=x").await;
    stream.block().await;
    publish(&daemon, Some("y"), 1).await;
    let id = publish(&daemon, Some("x"), 2).await;
    assert_eq!(stream.event().await.id(), id);
}

#[tokio::test]
async fn what_the_stream_itself_says_always_comes() {
    let daemon = Daemon::start(&CHOOSING.replace("\"10m\"", "\"1s\"\nheartbeat_as = \"event:ping\"")).await;
    let path = "/events?topic=a&event=x";
    let mut stream = Stream::open(daemon.public, path, &[("last-event-id", "?")]).await;
    assert!(stream.block().await.is("connected"));
    assert!(stream.block().await.is("reset"));
    assert!(stream.block().await.is("ping"));
    let redis = Redis::start().await;
    let shared = Daemon::start(&format!("{CHOOSING}{}", redis.section())).await;
    let mut stream = shared.stream(path).await;
    stream.block().await;
    eventually("a subscriber that is cut", async || {
        let cut: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        (cut > 0).then_some(())
    })
    .await;
    assert_eq!(stream.event().await.json()["reason"], "source_gap");
}

#[tokio::test]
async fn a_route_says_whether_its_pages_may_choose_and_names_have_bounds() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=a&event=x").await;
    stream.block().await;
    publish(&daemon, Some("y"), 1).await;
    assert!(stream.event().await.is("y"), "a parameter that means nothing here");
    let daemon = Daemon::start(CHOOSING).await;
    let many: String = (0..101).map(|n| format!("&event={n}")).collect();
    for (query, part) in [(&*many, "at most 100 events"), ("&event=a%0Ab", "control character")] {
        let bad = request(daemon.public, "GET", &format!("/events?topic=a{query}"), &[], b"").await;
        assert_eq!(bad.status, 400);
        assert!(bad.text().contains(part), "{}", bad.text());
    }
}
