//! The log in a Redis stream where there are several Redis: Sentinels that fail over, a Cluster that moves slots.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Cluster, Daemon, Sentinels, eventually, listening, repeating, start};
use crate::redis_stream::{append, resumed};
use crate::tickets::{self, cookie, grant, present, reason, ticket};
use crate::while_open::{ended, revoke};

/// Publishes until it is taken; the key makes it count once.
async fn published(daemon: &Daemon, data: &str) {
    let body = json!({"topic": "a", "data": data, "idempotency_key": data}).to_string();
    eventually("it is published", async || {
        (daemon.try_publish(body.as_bytes()).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failover_of_sentinels_is_followed() {
    let mut group = Sentinels::start(&[]).await;
    let config = group.section() + "[redis.stream]\n";
    let (one, two) = (start(&config).await, start(&config).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    let first = one.publish(&json!({"topic": "a", "data": "first"})).await["id"].as_str().unwrap().to_owned();
    eventually("the replica has it", async || {
        let held: Vec<(String, Vec<String>)> =
            group.two.command(&["XRANGE", "sidestream:log", &first, &first]).await;
        (held.len() == 1).then_some(())
    })
    .await;
    group.one.kill().await;
    published(&one, "second").await;
    // Any Sentinel may have been asked, and the first may hear it last.
    eventually("the other is master", async || (group.master().await == Some(group.two.port)).then_some(()))
        .await;
    published(&two, "third").await;
    for stream in [&mut here, &mut there] {
        assert_eq!(
            stream.data(3).await,
            ["first", "second", "third"],
            "and no reset: the replica had it all"
        );
    }
    // The old master comes back as a replica, and is never taken for the master.
    group.one.start_again().await;
    published(&one, "fourth").await;
    let late = start(&config).await;
    assert_eq!(resumed(&late, "/events?topic=a", &first).await.data(3).await, ["second", "third", "fourth"]);
    assert_eq!(here.event().await.data(), "fourth");
}

#[tokio::test]
async fn a_master_that_is_made_a_replica_while_it_lives_is_left() {
    let group = Sentinels::start(&[]).await;
    let config = group.section() + "[redis.stream]\n";
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    published(&daemon, "first").await;
    assert_eq!(stream.event().await.data(), "first");
    eventually("the failover is begun", async || group.failover().await.then_some(())).await;
    eventually("the other is master", async || (group.master().await == Some(group.two.port)).then_some(()))
        .await;
    published(&daemon, "second").await;
    assert_eq!(stream.event().await.data(), "second");
}

#[tokio::test]
async fn what_a_failover_loses_is_a_reset_on_every_stream() {
    let mut group = Sentinels::start(&[]).await;
    let config = group.section() + "[redis.stream]\n";
    let (one, two) = (start(&config).await, start(&config).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    published(&one, "kept").await;
    eventually("the replica has it", async || {
        let length: usize = group.two.command(&["XLEN", "sidestream:log"]).await;
        (length >= 2).then_some(())
    })
    .await;
    // The replica stands still and is cut off, so what comes now reaches the master alone; then the master dies.
    group.two.freeze();
    let cut: u32 = group.one.command(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    assert_eq!(cut, 1);
    published(&one, "lost").await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.data(2).await, ["kept", "lost"]);
    }
    group.one.kill().await;
    group.two.thaw();
    for stream in [&mut here, &mut there] {
        let reset = stream.event().await;
        assert_eq!((reset.event.as_deref(), reset.data()), (Some("reset"), r#"{"reason":"log_lost"}"#));
    }
    published(&two, "after").await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.event().await.data(), "after", "and only one reset");
    }
}

#[tokio::test]
async fn in_a_cluster_the_node_that_holds_the_stream_is_found_and_followed() {
    let cluster = Cluster::start().await;
    let (holder, slot) = cluster.holder("sidestream:log").await;
    let other = (holder + 1) % 3;
    let config = cluster.section(other) + "[redis.stream]\n";
    let (one, two) = (start(&config).await, start(&config).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    published(&one, "once").await;
    let again = json!([
        {"topic": "a", "data": "once", "idempotency_key": "once"},
        {"topic": "a", "data": "batch"},
    ]);
    let receipts = two.publish(&again).await;
    assert_eq!(receipts["events"][0]["duplicate"], true, "{receipts}");
    append(&cluster.nodes[holder], &json!({"topic": "a", "data": "own"})).await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.data(3).await, ["once", "batch", "own"]);
    }
    // What is live only: by the shard's channel, and by one that every node has.
    one.publish(&json!({"topic": "a", "data": "live", "ephemeral": true})).await;
    let heard: u32 = cluster.nodes[holder]
        .command(&["SPUBLISH", "sidestream:{sidestream:log}", r#"{"topic":"a","data":"shard"}"#])
        .await;
    assert_eq!(heard, 2);
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.data(2).await, ["live", "shard"]);
    }
    // From node to node it may get lost; the key makes repeats count once.
    let message = r#"{"data":"everywhere","idempotency_key":"e"}"#;
    let publish = async || {
        cluster.nodes[other].publish("sidestream:topic:a", message).await;
    };
    let heard = async { (here.event().await, there.event().await) };
    let heard = repeating(Duration::from_millis(100), publish, heard).await;
    assert_eq!((heard.0.data(), heard.1.data()), ("everywhere", "everywhere"));
    cluster.migrate(&slot, holder, other).await;
    published(&one, "moved").await;
    // The key had moved along. The other instance may not have followed yet, and says that nothing was published.
    let receipts = eventually("the other instance has followed the slot", async || {
        let answer = two.try_publish(again.to_string().as_bytes()).await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert_eq!(receipts["events"][0]["duplicate"], true, "{receipts}");
    for stream in [&mut here, &mut there] {
        // Channels may have been away meanwhile, which is a reset because they are used.
        let mut data = Vec::new();
        while data.len() < 2 {
            let event = stream.event().await;
            if !(event.is("reset") && event.data().contains("source_gap")) {
                data.push(event.data().to_owned());
            }
        }
        assert_eq!(data, ["moved", "batch"]);
    }
}

#[tokio::test]
async fn in_a_cluster_tickets_are_good_once_and_revocations_reach_everybody() {
    let cluster = Cluster::start().await;
    let config = |nth| format!("{}\n{}", tickets::STREAM, cluster.section(nth));
    let (one, two) = (start(&config(0)).await, start(&config(1)).await);
    let made = ticket(&one, &grant()).await;
    let mut stream = present(&two, &made, "").await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    let pair = cookie(&stream.head);
    assert_eq!(reason(&one, &made, "").await, "ticket_used");
    // Several, whose keys would lie in different slots if each had its own.
    for _ in 0..10 {
        let made = ticket(&two, &grant()).await;
        assert_eq!(present(&one, &made, "").await.status(), 200);
        assert_eq!(reason(&two, &made, "").await, "ticket_used");
    }
    // The channel between instances has a connection of its own, which may come a little later.
    eventually("every instance hears it", async || {
        let answer = revoke(&one, &json!({"user": "nobody"})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let heard = two.metric("sidestream_commands_total", &["kind=\"revoke\""]).await;
        (answer.json()["told"] == true && heard >= 1.0).then_some(())
    })
    .await;
    let answer = revoke(&one, &json!({"user": "u"})).await;
    assert_eq!((answer.status, &answer.json()["told"]), (200, &json!(true)), "{}", answer.text());
    assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    let late = start(&config(2)).await;
    eventually("an instance that starts later knows", async || {
        (late.metric("sidestream_revocations", &[]).await == 2.0).then_some(())
    })
    .await;
    for daemon in [&one, &two, &late] {
        assert_eq!(reason(daemon, &made, &pair).await, "revoked");
    }
}
