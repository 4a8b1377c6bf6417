//! Opening, resuming and ending a stream; what stands on the wire.

pub(crate) mod ending;
mod opening;
mod resuming;

use serde_json::json;

use crate::harness::Daemon;

/// A stream that waits long for its heartbeats: they do not disturb what a test looks at.
const QUIET: &str = "[sse]\nheartbeat = \"10m\"\n";

async fn publish_run(daemon: &Daemon, from: usize, to: usize) -> Vec<String> {
    let events: Vec<_> = (from..to).map(|n| json!({"topic": "a", "data": n})).collect();
    let mut ids = Vec::new();
    for part in events.chunks(1000) {
        let answer = daemon.publish(&json!(part)).await;
        let events = answer["events"].as_array().expect("an answer for each").clone();
        ids.extend(events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()));
    }
    ids
}
