//! Bridged channels: a plain PUBLISH gains an id, history and resume on every instance, whichever of them appends it.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Cluster, Daemon, Redis, Wire, eventually, let_time_pass, listening, ready, repeating, start,
};
use crate::redis_stream::resumed;

/// An instance that bridges the channels `chat:*` to the topic `a`; `more` belongs to `[redis.stream]`.
pub(crate) fn bridged(redis: &str, more: &str) -> String {
    format!(
        "{redis}[redis.stream]\n{more}\n[[redis.channel]]\npattern = \"chat:*\"\ntopic = \"a\"\nevent = \"{{1}}\"\nbridge = true\n\
         [sse]\nretry_min = \"10ms\"\nretry_max = \"20ms\"\n"
    )
}

/// Which of them appends.
pub(crate) async fn leader(daemons: &[Daemon]) -> usize {
    eventually("one of them leads", async || {
        for (nth, daemon) in daemons.iter().enumerate() {
            if daemon.metric("sidestream_redis_bridge_leader", &[]).await == 1.0 {
                return Some(nth);
            }
        }
        None
    })
    .await
}

/// The data of all events that stand in the stream.
pub(crate) async fn written(redis: &Redis) -> Vec<String> {
    let held: Vec<(String, Vec<String>)> = redis.command(&["XRANGE", "sidestream:log", "-", "+"]).await;
    let events = held.iter().filter(|(_, fields)| fields[0] == "event");
    let data =
        |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON")["data"].to_string();
    events.map(|(_, fields)| data(&fields[1])).collect()
}

#[tokio::test]
async fn a_plain_publish_gains_one_id_on_every_instance_and_can_be_resumed_from() {
    let redis = Redis::start().await;
    let config = bridged(&redis.section(), "");
    let (one, two) = (start(&config).await, start(&config).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    let messages =
        ["plain text", "\"a JSON string\"", r#"{"a": 1.0}"#, "two\nlines", "plain text", "plain text"];
    for message in messages {
        assert_eq!(redis.publish("chat:new", message).await, 2);
    }
    let mut ids = Vec::new();
    for message in messages {
        let (a, b) = (here.event().await, there.event().await);
        assert_eq!((a.data(), b.data()), (message, message));
        assert!(a.is("new") && !a.id().is_empty());
        assert_eq!(a.id(), b.id());
        ids.push(a.id().to_owned());
    }
    // As large as a message may be, and six times as large as an envelope.
    let large = "\u{1}".repeat(1 << 20);
    redis.publish("chat:new", &large).await;
    for stream in [&mut here, &mut there] {
        assert!(stream.event().await.data() == large);
    }
    let late = start(&config).await;
    for daemon in [&one, &two, &late] {
        assert_eq!(resumed(daemon, "/events?topic=a", &ids[2]).await.data(3).await, messages[3..]);
    }
    let held: usize = redis.command(&["XLEN", "sidestream:log"]).await;
    assert_eq!(held, 2 + messages.len(), "each is there once, behind the mark of the beginning");
    let daemons = [one, two, late];
    let leader = leader(&daemons).await;
    for (nth, daemon) in daemons.iter().enumerate() {
        let appended = daemon.metric("sidestream_redis_bridge_events_total", &["outcome=\"appended\""]).await;
        assert_eq!(appended, if nth == leader { 7.0 } else { 0.0 });
        assert_eq!(daemon.ask("/readyz/events").await.json()["dependencies"]["redis_bridge"]["state"], "up");
    }
}

#[tokio::test]
async fn sidestreams_own_channels_are_bridged_if_that_is_asked_for() {
    let redis = Redis::start().await;
    let daemon = start(&(redis.section() + "[redis.stream]\nbridge = true\n")).await;
    let mut stream = listening(&daemon, "/events?topic=a&topic=b").await;
    redis.publish("sidestream", r#"{"topic":"a","data":1,"idempotency_key":"k"}"#).await;
    redis.publish("sidestream", r#"{"topic":"a","data":"again","idempotency_key":"k"}"#).await;
    redis.publish("sidestream", "no JSON").await;
    redis.publish("sidestream:topic:b", r#"{"data":2,"event":"e"}"#).await;
    let first = stream.event().await;
    let second = stream.event().await;
    assert_eq!((first.data(), second.data()), ("1", "2"));
    assert!(second.is("e") && !second.id().is_empty());
    // By HTTP under the same key.
    let receipt = daemon.publish(&json!({"topic": "a", "data": 3, "idempotency_key": "k"})).await;
    assert_eq!((receipt["duplicate"].as_bool(), receipt["id"].as_str()), (Some(true), Some(first.id())));
    // What is ephemeral is delivered live, has no id and is in no stream.
    redis.publish("sidestream", r#"{"topic":"a","data":"live","ephemeral":true}"#).await;
    daemon.publish(&json!({"topic": "a", "data": "typing", "ephemeral": true})).await;
    for data in ["live", "typing"] {
        let event = stream.event().await;
        assert_eq!((event.data(), event.id.as_ref()), (data, None));
    }
    redis.publish("sidestream:topic:a", r#"{"data":"last"}"#).await;
    assert_eq!(stream.event().await.data(), "last");
    assert_eq!(written(&redis).await, ["1", "2", "\"last\""]);
    let count = async |outcome: &str| {
        daemon.metric("sidestream_redis_bridge_events_total", &[&format!("outcome=\"{outcome}\"")]).await
    };
    assert_eq!((count("appended").await, count("duplicate").await), (3.0, 1.0));
    assert_eq!(daemon.metric("sidestream_events_refused_total", &["source=\"redis\""]).await, 1.0);
}

#[tokio::test]
async fn an_instance_that_stops_lets_another_one_go_on_at_once() {
    let redis = Redis::start().await;
    let config = bridged(&redis.section(), "bridge_lease = \"1m\"");
    let mut daemons = vec![start(&config).await, start(&config).await];
    let first = leader(&daemons).await;
    let mut stream = listening(&daemons[1 - first], "/events?topic=a").await;
    redis.publish("chat:x", "before").await;
    let mut ended = daemons.remove(first);
    ended.signal("TERM");
    assert!(ended.ended().await.success());
    redis.publish("chat:x", "after").await;
    // Well before the lease would have ended.
    assert_eq!(stream.data(2).await, ["before", "after"]);
}

#[tokio::test]
async fn a_paused_leader_that_wakes_up_appends_nothing() {
    let redis = Redis::start().await;
    let config = bridged(&redis.section(), "bridge_lease = \"1s\"");
    let daemons = [start(&config).await, start(&config).await];
    for round in 0..3 {
        let paused = leader(&daemons).await;
        let other = &daemons[1 - paused];
        let mut stream = listening(other, "/events?topic=a").await;
        daemons[paused].freeze().await;
        // Alike, so that their data does not tell them apart.
        for _ in 0..100 {
            redis.publish("chat:x", "tick").await;
        }
        assert_eq!(stream.data(100).await, ["tick"; 100]);
        daemons[paused].signal("CONT");
        redis.publish("chat:x", "last").await;
        assert_eq!(stream.event().await.data(), "last");
        eventually("the paused one knows", async || {
            (daemons[paused].metric("sidestream_redis_bridge_leader", &[]).await == 0.0).then_some(())
        })
        .await;
        assert_eq!(written(&redis).await.len(), 101 * (round + 1));
    }
}

#[tokio::test]
async fn a_time_without_listeners_is_a_reset_in_its_place_for_clients_that_read_past_it() {
    let redis = Redis::start().await;
    let config = bridged(&redis.section(), "bridge_lease = \"500ms\"");
    let (one, two) = (start(&config).await, start(&config).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    redis.publish("chat:x", "before").await;
    let before = here.event().await;
    let killed: u32 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert!(killed >= 2, "{killed}");
    let reset = here.event().await;
    assert_eq!((reset.event.as_deref(), reset.data()), (Some("reset"), r#"{"reason":"source_gap"}"#));
    redis.publish("chat:x", "after").await;
    assert_eq!(here.event().await.data(), "after");
    assert_eq!(there.event().await.data(), "before");
    assert_eq!(there.event().await.id(), reset.id());
    assert_eq!(there.event().await.data(), "after");
    let mut back = resumed(&two, "/events?topic=a", before.id()).await;
    assert!(back.event().await.is("reset"), "a client that was away then gets the reset as well");
    assert_eq!(back.event().await.data(), "after");
    let gaps = one.metric("sidestream_redis_bridge_gaps_total", &[]).await
        + two.metric("sidestream_redis_bridge_gaps_total", &[]).await;
    assert_eq!(gaps, 1.0, "once, not by each instance");
}

#[tokio::test]
async fn what_was_said_while_one_of_two_was_away_comes_by_the_other() {
    let redis = Redis::start().await;
    let (mut wires, mut daemons) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
        let section = format!("[redis]\nurl = \"redis://{}\"\ntimeout = \"500ms\"\n", wire.address);
        daemons.push(start(&bridged(&section, "bridge_lease = \"1s\"")).await);
        wires.push(wire);
    }
    let away = leader(&daemons).await;
    let mut stream = listening(&daemons[away], "/events?topic=a").await;
    let mut expected = Vec::new();
    for round in 0..10 {
        redis.publish("chat:x", format!("{round} before")).await;
        wires[away].cut();
        redis.publish("chat:x", format!("{round} meanwhile")).await;
        let_time_pass("the connection stays cut", Duration::from_millis(20 * round)).await;
        wires[away].mend();
        redis.publish("chat:x", format!("{round} after")).await;
        expected.extend(["before", "meanwhile", "after"].map(|when| format!("{round} {when}")));
        assert_eq!(stream.data(3).await, expected[expected.len() - 3..]);
        ready(&daemons[away], 200).await;
    }
    assert_eq!(daemons[away].metric("sidestream_redis_bridge_gaps_total", &[]).await, 0.0);
}

#[tokio::test]
async fn in_a_cluster_channels_are_bridged_wherever_they_are_published() {
    let cluster = Cluster::start().await;
    let (holder, _) = cluster.holder("sidestream:log").await;
    let config = bridged(&cluster.section((holder + 1) % 3), "bridge_lease = \"1s\"");
    let mut daemons = vec![start(&config).await, start(&config).await];
    let mut stream = listening(&daemons[0], "/events?topic=a").await;
    let mut other_stream = listening(&daemons[1], "/events?topic=a").await;
    let mut next = 0;
    for round in 0..2 {
        for _ in 0..30 {
            // At the stream's own node: between nodes Redis may lose what is published.
            cluster.nodes[holder].publish("chat:x", next.to_string()).await;
            next += 1;
        }
        for n in next - 30..next {
            assert_eq!(stream.event().await.data(), n.to_string());
        }
        if round == 0 {
            for n in 0..next {
                assert_eq!(other_stream.event().await.data(), n.to_string());
            }
            let first = leader(&daemons).await;
            if first == 0 {
                daemons.swap(0, 1);
                std::mem::swap(&mut stream, &mut other_stream);
            }
            daemons[1].signal("KILL");
        }
    }
    let other = (holder + 2) % 3;
    let publish = async || {
        cluster.nodes[other].publish("chat:x", "everywhere").await;
    };
    let heard = repeating(Duration::from_millis(100), publish, stream.event()).await;
    assert_eq!(heard.data(), "everywhere");
}
