//! What is so on all instances together: users that come and go, topics that are occupied and empty.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Receiver, config};
use crate::harness::{Daemon, Redis, Stream};

const KEYS: &str = "events = [\"user_online\", \"user_offline\", \"topic_occupied\", \"topic_empty\"]\n";

async fn start(receiver: &Receiver, redis: Option<&Redis>, name: &str, grace: &str) -> Daemon {
    let redis = redis.map(Redis::section).unwrap_or_default();
    let more = format!("[instance]\nname = \"{name}\"\n[presence]\ngrace = \"{grace}\"\n{redis}\n");
    Daemon::start(&config(&receiver.url(), KEYS, &more)).await
}

async fn open(daemon: &Daemon, user: &str, topic: &str) -> Stream {
    let mut stream = daemon.stream(&format!("/events?topic={topic}&user={user}&session=s")).await;
    stream.block().await;
    stream
}

/// What has been delivered so far. An instance may repeat what another one said before it, with the same time.
#[derive(Default)]
struct Delivered {
    seen: BTreeSet<(String, String)>,
    repeats: usize,
}

impl Delivered {
    /// Waits until all of `expected` have been delivered, in any order between users and topics; nothing else may be.
    async fn next(&mut self, receiver: &Receiver, expected: &[&str]) -> Vec<Value> {
        let mut seen = Vec::new();
        let mut bodies = Vec::new();
        while seen.len() < expected.len() {
            let body = receiver.accept().await;
            for event in body["events"].as_array().expect("events") {
                let name = event["user"].as_str().or(event["topic"].as_str()).expect("a name");
                let what = format!("{} {name}", event["type"].as_str().expect("a type"));
                if self.seen.insert((what.clone(), event["at"].as_str().expect("a time").to_owned())) {
                    seen.push(what);
                } else {
                    self.repeats += 1;
                }
            }
            bodies.push(body);
        }
        seen.sort();
        assert_eq!(seen, expected, "{bodies:?}");
        bodies
    }
}

#[tokio::test]
async fn one_instance_tells_of_its_users_and_topics() {
    let receiver = Receiver::start().await;
    let mut delivered = Delivered::default();
    let daemon = start(&receiver, None, "alone", "1s").await;
    let first = open(&daemon, "u", "t").await;
    delivered.next(&receiver, &["topic_occupied t", "user_online u"]).await;
    let second = open(&daemon, "u", "t2").await;
    delivered.next(&receiver, &["topic_occupied t2"]).await;
    drop(first);
    delivered.next(&receiver, &["topic_empty t"]).await;
    drop(second);
    let _other = open(&daemon, "v", "t").await;
    delivered
        .next(&receiver, &["topic_empty t2", "topic_occupied t", "user_offline u", "user_online v"])
        .await;
}

#[tokio::test]
async fn a_user_and_a_topic_are_reported_once_for_all_instances() {
    let redis = Redis::start().await;
    let receiver = Receiver::start().await;
    let mut delivered = Delivered::default();
    let a = start(&receiver, Some(&redis), "a", "3s").await;
    let b = start(&receiver, Some(&redis), "b", "3s").await;
    let at_a = open(&a, "u", "t").await;
    delivered.next(&receiver, &["topic_occupied t", "user_online u"]).await;
    // Already known; and a user that comes back somewhere else within the grace was never gone.
    let at_b = open(&b, "u", "t").await;
    drop(at_a);
    let at_a = open(&a, "u", "t").await;
    drop(at_b);
    let at_b = open(&b, "w", "t2").await;
    delivered.next(&receiver, &["topic_occupied t2", "user_online w"]).await;
    drop(at_a);
    delivered.next(&receiver, &["topic_empty t", "user_offline u"]).await;
    // By now they have found out which one speaks.
    let before = delivered.repeats;
    drop(at_b);
    let bodies = delivered.next(&receiver, &["topic_empty t2", "user_offline w"]).await;
    assert!(bodies.iter().all(|body| body["instance"] == bodies[0]["instance"]), "{bodies:?}");
    let _last = open(&b, "x", "t").await;
    delivered.next(&receiver, &["topic_occupied t", "user_online x"]).await;
    assert_eq!(delivered.repeats, before);
}

#[tokio::test]
async fn the_users_of_a_killed_instance_are_reported_by_another() {
    let redis = Redis::start().await;
    let receiver = Receiver::start().await;
    let mut delivered = Delivered::default();
    // The first one speaks.
    let mut a = start(&receiver, Some(&redis), "a", "1s").await;
    let b = start(&receiver, Some(&redis), "b", "1s").await;
    let _at_a = open(&a, "u", "t").await;
    delivered.next(&receiver, &["topic_occupied t", "user_online u"]).await;
    let _at_b = open(&b, "v", "t").await;
    delivered.next(&receiver, &["user_online v"]).await;
    a.signal("KILL");
    a.ended().await;
    let bodies = delivered.next(&receiver, &["user_offline u"]).await;
    assert_eq!(bodies.last().expect("a body")["instance"]["name"], "b", "{bodies:?}");
}
