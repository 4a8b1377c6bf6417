//! Streams that the daemon ends by itself: those to which nothing is sent, and the oldest of a user who has too many.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Block, Daemon, Program, Stream, eventually, holds_for, listening, repeating};
use crate::while_open::ended;

const ROUTES: &str = r#"
[[stream]]
path = "/events"

[[stream]]
path         = "/for-ever"
idle_timeout = 0

[sse]
heartbeat    = "1s"
idle_timeout = "2s"
retry_min    = "1s"
retry_max    = "1s"

[telemetry]
log_streams = true
"#;

/// Reads to the `closing` event, and gives it with how long the stream lasted from now.
async fn closing(stream: &mut Stream) -> (Block, Duration) {
    let begun = Instant::now();
    loop {
        let block = stream.block().await;
        if block.is("closing") {
            return (block, begun.elapsed());
        }
    }
}

#[tokio::test]
async fn a_stream_to_which_nothing_is_sent_is_closed_and_may_come_back() {
    let daemon = Daemon::start(ROUTES).await;
    let mut idle = listening(&daemon, "/events?topic=a").await;
    let mut stays = listening(&daemon, "/for-ever?topic=a").await;
    let mut busy = listening(&daemon, "/events?topic=busy").await;
    let publish = async || drop(daemon.publish(&json!({ "topic": "busy", "data": 1 })).await);
    let (said, after) = repeating(Duration::from_millis(500), publish, closing(&mut idle)).await;
    assert_eq!(said.json(), json!({ "reason": "idle" }), "whether it comes back is the client's to say");
    assert!(!said.id().is_empty() && said.retry == Some(1000), "{said:?}");
    assert!(after > Duration::from_secs(1) && after < Duration::from_secs(4), "{after:?}");
    assert_eq!(ended(&mut idle).await, None, "that was the last of it");
    daemon.logged("\"reason\":\"idle\"").await;
    eventually("it is counted", async || {
        (daemon.metric("sidestream_streams_closed_total", &["reason=\"idle\""]).await == 1.0).then_some(())
    })
    .await;
    // The other two are open: one had events, the other's route never ends any.
    holds_for(Duration::from_secs(1), "they are open", async || {
        publish().await;
        daemon.metric("sidestream_streams_open", &[]).await == 2.0
    })
    .await;
    // Quiet from its last event on, not from its opening.
    let (_, after) = closing(&mut busy).await;
    assert!(after > Duration::from_secs(1), "{after:?}");

    // A client that comes back misses nothing.
    daemon.publish(&json!({ "topic": "a", "data": "while it was away" })).await;
    let mut back = daemon.stream(&format!("/events?topic=a&lastEventId={}", said.id())).await;
    assert_eq!(back.data(1).await, ["while it was away"]);
    assert_eq!(stays.event().await.data(), "while it was away");
}

/// One user may have two streams; a third pushes out the first.
const REPLACING: &str = r#"
[[stream]]
path = "/events"
user = "{query.user}"

[limits]
streams_per_user = 2
when_full        = "replace"

[sse]
retry_min = "100ms"
retry_max = "300ms"
"#;

#[tokio::test]
async fn the_oldest_stream_of_a_user_at_the_limit_gives_way() {
    let daemon = Daemon::start(REPLACING).await;
    let path = "/events?topic=a&user=u";
    let mut first = listening(&daemon, path).await;
    let mut second = listening(&daemon, path).await;
    let _others = listening(&daemon, "/events?topic=a&user=v").await;
    let mut third = listening(&daemon, path).await;
    let (said, _) = closing(&mut first).await;
    assert_eq!(said.json(), json!({ "reason": "replaced", "reconnect": false }));
    assert_eq!(said.retry, Some(24 * 3600 * 1000), "who does not read it is not soon back");
    assert_eq!(ended(&mut first).await, None);
    eventually("it is counted", async || {
        (daemon.metric("sidestream_streams_closed_total", &["reason=\"replaced\""]).await == 1.0)
            .then_some(())
    })
    .await;
    daemon.publish(&json!({ "topic": "a", "data": "to those who are left" })).await;
    for stream in [&mut second, &mut third] {
        assert_eq!(stream.event().await.data(), "to those who are left");
    }
    // One that left made room: nobody has to go.
    drop(third);
    eventually("it is gone", async || {
        (daemon.metric("sidestream_streams_open", &[]).await == 2.0).then_some(())
    })
    .await;
    let _fourth = listening(&daemon, path).await;
    daemon.publish(&json!({ "user": "u", "data": "still here" })).await;
    assert_eq!(second.event().await.data(), "still here");
    assert_eq!(daemon.metric("sidestream_streams_refused_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_crowd_of_one_users_streams_never_holds_more_than_the_limit() {
    let daemon = Daemon::start(REPLACING).await;
    let open = |n: usize| {
        let public = daemon.public;
        async move { Stream::open(public, &format!("/events?topic=a&user=u&n={n}"), &[]).await }
    };
    let mut streams = tokio::task::JoinSet::new();
    (0..50).for_each(|n| drop(streams.spawn(open(n))));
    let all = streams.join_all().await;
    assert!(all.iter().all(|stream| stream.status() == 200));
    eventually("two are left", async || {
        let closed = daemon.metric("sidestream_streams_closed_total", &["reason=\"replaced\""]).await;
        let open = daemon.metric("sidestream_streams_open", &[]).await;
        (closed == 48.0 && open == 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_source_that_was_replaced_does_not_push_out_the_new_one() {
    let daemon = Daemon::start(&REPLACING.replace("streams_per_user = 2", "streams_per_user = 1")).await;
    let url = format!("http://{}/events?topic=a&user=u", daemon.public);
    let start = || Program::node("eventsource.mjs", &[&url, "connected", "closing"]);
    let next = async |client: &mut Program, kind: &str| {
        loop {
            let said = client.json().await;
            if said["event"] == kind {
                return said;
            }
        }
    };
    let mut old = start();
    next(&mut old, "connected").await;
    let mut new = start();
    next(&mut new, "connected").await;
    assert!(next(&mut old, "closing").await["data"].to_string().contains("replaced"));
    // Ten times the longest retry of a stream that is cut.
    holds_for(Duration::from_secs(3), "the new one stays", async || {
        daemon.metric("sidestream_streams_opened_total", &[]).await == 2.0
            && daemon.metric("sidestream_streams_closed_total", &[]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn at_the_other_limits_nobody_gives_way() {
    let daemon = Daemon::start(
        &REPLACING.replace("streams_per_user = 2", "streams_per_user = 2\nstreams_per_address = 2"),
    )
    .await;
    let mut streams = Vec::new();
    for user in ["u", "v"] {
        streams.push(listening(&daemon, &format!("/events?topic=a&user={user}")).await);
    }
    let refused = daemon.get("/events?topic=a&user=u").await;
    assert!(refused.text().contains("limit_streams_per_address"), "{}", refused.text());
    assert_eq!(daemon.metric("sidestream_streams_open", &[]).await, 2.0);
}
