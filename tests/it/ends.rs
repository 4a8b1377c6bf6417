//! Streams that the daemon ends by itself: those to which nothing is sent.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, Stream, eventually, holds_for, listening, repeating};
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
async fn closing(stream: &mut Stream) -> (crate::harness::Block, Duration) {
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
