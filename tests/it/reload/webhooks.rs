//! Webhooks that come, change and go.

use serde_json::Value;

use super::{keyed, reloaded};
use crate::harness::{Backend, Daemon, Peer, listening};

fn hook(name: &str, at: &Backend, more: &str) -> String {
    format!(
        "[[webhook]]\nname = \"{name}\"\nurl = \"{}/hook\"\nsecret = \"a-secret-of-the-webhook-0123456789\"\n\
         events = [\"connected\", \"disconnected\"]\nmax_delay = \"10ms\"\nretry_min = \"10ms\"\nretry_max = \"50ms\"\n{more}",
        at.url
    )
}

/// The types of the events of the next request on `peer`, which gets this status.
async fn told(peer: &mut Peer, status: &str) -> Vec<String> {
    let head = peer.head().await;
    let body: Value = serde_json::from_str(&peer.body(&head).await).expect("JSON");
    peer.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
    let events = body["events"].as_array().expect("events").iter();
    events.map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_webhook_that_comes_hears_of_streams_from_then_on() {
    let receiver = Backend::start().await;
    let daemon = Daemon::start(&keyed("")).await;
    let _before = listening(&daemon, "/events?topic=a").await;
    reloaded(&daemon, &keyed(&hook("one", &receiver, ""))).await;
    drop(listening(&daemon, "/events?topic=a").await);
    let mut peer = receiver.accept().await;
    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(told(&mut peer, "204 No Content").await);
    }
    assert_eq!(events, ["connected", "disconnected"], "the stream of before is none of its business");
    reloaded(&daemon, &keyed("")).await;
    drop(listening(&daemon, "/events?topic=a").await);
    assert!(!receiver.is_asked().await);
}

#[tokio::test]
async fn what_is_queued_goes_to_where_the_webhook_has_moved() {
    let (dead, receiver) = (Backend::start().await, Backend::start().await);
    let daemon = Daemon::start(&keyed(&hook("one", &dead, ""))).await;
    let stream = listening(&daemon, "/events?topic=a").await;
    let mut peer = dead.accept().await;
    assert_eq!(told(&mut peer, "500 Internal Server Error").await, ["connected"]);
    drop(stream);
    let (applied, _) = reloaded(&daemon, &keyed(&hook("one", &receiver, ""))).await;
    assert_eq!(applied, ["webhook[1].url"]);
    let mut events = Vec::new();
    let mut peer = receiver.accept().await;
    while events.len() < 2 {
        events.extend(told(&mut peer, "204 No Content").await);
    }
    assert_eq!(events, ["connected", "disconnected"]);
}
