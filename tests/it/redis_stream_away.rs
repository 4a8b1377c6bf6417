//! The log in a Redis stream when Redis, its data, or the way to it goes: streams go on without reconnecting, or get a
//! reset where something is missing; and no publisher takes for published what is not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Daemon, Redis, Stream, Wire, eventually, listening, ready, start};
use crate::redis_stream::{append, reads_that_find_nothing, reset_of, resumed, section};

/// The next event is a reset: events are missing there.
async fn is_reset(stream: &mut Stream, reason: &str) -> String {
    let reset = stream.event().await;
    assert!(reset.is("reset"), "{reset:?}");
    assert_eq!(reset.json(), json!({"reason": reason}));
    reset.id().to_owned()
}

/// A Redis behind a wire, and the configuration that names the wire.
async fn wired() -> (Redis, Wire, String) {
    let redis = Redis::start().await;
    let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
    let config = format!("[redis]\nurl = \"redis://{}\"\ntimeout = \"1s\"\n[redis.stream]\n", wire.address);
    (redis, wire, config)
}

#[tokio::test]
async fn until_the_log_is_loaded_clients_are_asked_to_come_back() {
    let mut redis = Redis::absent();
    let daemon = Daemon::start(&section(&redis)).await;
    let down = ready(&daemon, 503).await["redis_stream"].clone();
    assert_eq!(down["required"], true);
    let mut stream = daemon.stream("/events?topic=a").await;
    let refused = stream.block().await;
    assert!(refused.is("refused") && refused.retry.is_some(), "{refused:?}");
    assert_eq!(refused.json()["reason"], "not_ready");
    let answer = daemon.try_publish(br#"{"topic":"a"}"#).await;
    assert_eq!((answer.status, answer.json()["published"].as_str()), (503, Some("nothing")));
    redis.start_again().await;
    ready(&daemon, 200).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.event().await.data(), "1");
}

#[tokio::test]
async fn a_redis_that_restarts_with_its_data_costs_no_stream_anything() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for n in 0..3 {
        let id = append(&redis, &json!({"topic": "a", "data": n})).await;
        assert_eq!(stream.event().await.id(), id);
        redis.kill().await;
        ready(&daemon, 503).await;
        assert_eq!(daemon.metric("sidestream_redis_stream_up", &[]).await, 0.0);
        // From memory.
        let mut again = resumed(&daemon, "/events?topic=a", &id).await;
        let refused = daemon.try_publish(br#"{"topic":"a"}"#).await;
        assert_eq!(refused.status, 503);
        redis.start_again().await;
        let back = Instant::now();
        let data = format!("after {n}");
        append(&redis, &json!({"topic": "a", "data": data})).await;
        assert_eq!(stream.event().await.data(), data, "on the same stream, and no reset");
        // A pause between two attempts is a second at the longest.
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        assert_eq!(again.event().await.data(), data);
        ready(&daemon, 200).await;
    }
}

#[tokio::test]
async fn a_redis_that_restarts_empty_is_a_reset_on_every_stream_and_for_every_cursor() {
    let mut redis = Redis::start().await;
    let (one, two) = (start(&section(&redis)).await, start(&section(&redis)).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    let id = append(&redis, &json!({"topic": "a", "data": 1})).await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.event().await.id(), id);
    }
    redis.kill().await;
    ready(&one, 503).await;
    ready(&two, 503).await;
    redis.start_again().await;
    let reset = is_reset(&mut here, "log_lost").await;
    is_reset(&mut there, "log_lost").await;
    ready(&one, 200).await;
    ready(&two, 200).await;
    append(&redis, &json!({"topic": "a", "data": 2})).await;
    assert_eq!(here.event().await.data(), "2");
    // The other's mark may be a second reset, but never after an event.
    while there.event().await.data() != "2" {}
    let mut resumed = resumed(&one, "/events?topic=a", &reset).await;
    while resumed.event().await.data() != "2" {}
    let late = start(&section(&redis)).await;
    for daemon in [&one, &two, &late] {
        let reason = reset_of(daemon, &id).await;
        assert!(["log_lost", "too_old"].contains(&&*reason), "{reason}");
    }
    assert!(one.metric("sidestream_redis_stream_resets_total", &["reason=\"log_lost\""]).await >= 1.0);
}

#[tokio::test]
async fn a_redis_that_stands_still_is_noticed_and_welcomed_back() {
    let redis = Redis::start().await;
    let config = redis.section() + "timeout = \"1s\"\n[redis.stream]\ntimeout = \"1s\"\n";
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    redis.freeze();
    let frozen = Instant::now();
    let down = ready(&daemon, 503).await["redis_stream"].clone();
    assert!(down["why"].as_str().is_some_and(|why| why.contains("did not answer")), "{down}");
    assert!(frozen.elapsed() < Duration::from_secs(6), "{:?}", frozen.elapsed());
    let answer = daemon.try_publish(br#"{"topic":"a","data":"perhaps","idempotency_key":"k"}"#).await;
    assert_eq!(answer.status, 503);
    redis.thaw();
    eventually("the repeat is taken", async || {
        let answer = daemon.try_publish(br#"{"topic":"a","data":"perhaps","idempotency_key":"k"}"#).await;
        (answer.status == 200).then_some(())
    })
    .await;
    daemon.publish(&json!({"topic": "a", "data": "after"})).await;
    assert_eq!(stream.data(2).await, ["perhaps", "after"], "once, and no reset");
    ready(&daemon, 200).await;
}

#[tokio::test]
async fn killed_connections_are_replaced_and_nothing_is_missed() {
    let redis = Redis::start().await;
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for n in 0..20 {
        let _: u32 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        append(&redis, &json!({"topic": "a", "data": n})).await;
        assert_eq!(stream.event().await.data(), n.to_string());
    }
}

#[tokio::test]
async fn a_network_that_swallows_is_noticed_by_the_very_connection_that_reads() {
    let (redis, wire, config) = wired().await;
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    append(&redis, &json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.event().await.data(), "1");
    wire.swallow();
    let swallowed = Instant::now();
    ready(&daemon, 503).await;
    assert!(swallowed.elapsed() < Duration::from_secs(6), "{:?}", swallowed.elapsed());
    append(&redis, &json!({"topic": "a", "data": 2})).await;
    wire.mend();
    let mended = Instant::now();
    assert_eq!(stream.event().await.data(), "2");
    assert!(mended.elapsed() < Duration::from_secs(4), "{:?}", mended.elapsed());
}

#[tokio::test]
async fn a_repeat_after_a_lost_answer_counts_once() {
    let (redis, wire, config) = wired().await;
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": "warm"})).await;
    assert_eq!(stream.event().await.data(), "warm");
    wire.swallow();
    let keyed = json!({"topic": "a", "data": "once", "idempotency_key": "k"}).to_string();
    let answer = daemon.try_publish(keyed.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.json()["published"].as_str()),
        (503, Some("unknown")),
        "{}",
        answer.text()
    );
    wire.mend();
    eventually("the repeat is taken", async || {
        (daemon.try_publish(keyed.as_bytes()).await.status == 200).then_some(())
    })
    .await;
    daemon.publish(&json!({"topic": "a", "data": "last"})).await;
    assert_eq!(stream.data(2).await, ["once", "last"]);
    let held: Vec<(String, Vec<String>)> = redis.command(&["XRANGE", "sidestream:log", "-", "+"]).await;
    let once = held.iter().filter(|(_, fields)| fields.join(" ").contains("once")).count();
    assert_eq!(once, 1, "{held:?}");
}

#[tokio::test]
async fn a_stream_that_is_trimmed_while_nobody_is_away_costs_nothing() {
    let redis = Redis::start().await;
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for n in 0..10 {
        append(&redis, &json!({"topic": "a", "data": n})).await;
        assert_eq!(stream.event().await.data(), n.to_string());
        let _: u32 =
            redis.command(&["XTRIM", "sidestream:log", "MAXLEN", if n % 2 == 0 { "0" } else { "1" }]).await;
        if n == 5 {
            reads_that_find_nothing(&redis, 1).await;
        }
    }
    assert_eq!(daemon.metric("sidestream_redis_stream_resets_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_stream_that_is_trimmed_past_an_instance_that_is_away_is_a_reset() {
    let (redis, wire, config) = wired().await;
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let seen = append(&redis, &json!({"topic": "a", "data": 0})).await;
    assert_eq!(stream.event().await.id(), seen);
    wire.cut();
    ready(&daemon, 503).await;
    let mut ids = Vec::new();
    for n in 1..10 {
        ids.push(append(&redis, &json!({"topic": "a", "data": n})).await);
    }
    let _: u32 = redis.command(&["XTRIM", "sidestream:log", "MAXLEN", "3"]).await;
    wire.mend();
    let reset = is_reset(&mut stream, "log_trimmed").await;
    assert_eq!(reset, ids[8]);
    append(&redis, &json!({"topic": "a", "data": 10})).await;
    assert_eq!(stream.event().await.data(), "10");
    assert_eq!(reset_of(&daemon, &seen).await, "log_trimmed");
    let mut again = resumed(&daemon, "/events?topic=a", &ids[6]).await;
    assert_eq!(again.data(3).await, ["8", "9", "10"], "what is there is served");
}

#[tokio::test]
async fn what_was_trimmed_behind_the_last_that_was_read_is_no_gap() {
    let (redis, wire, config) = wired().await;
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for n in 0..3 {
        append(&redis, &json!({"topic": "a", "data": n})).await;
        assert_eq!(stream.event().await.data(), n.to_string());
    }
    // The count of all entries is known from then on.
    reads_that_find_nothing(&redis, 1).await;
    wire.cut();
    ready(&daemon, 503).await;
    append(&redis, &json!({"topic": "a", "data": 3})).await;
    let _: u32 = redis.command(&["XTRIM", "sidestream:log", "MAXLEN", "1"]).await;
    wire.mend();
    assert_eq!(stream.event().await.data(), "3", "and no reset");
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_a_reset() {
    let redis = Redis::start().await;
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let seen = append(&redis, &json!({"topic": "a", "data": 0})).await;
    assert_eq!(stream.event().await.id(), seen);
    let _: u32 = redis.command(&["DEL", "sidestream:log"]).await;
    is_reset(&mut stream, "log_lost").await;
    append(&redis, &json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.event().await.data(), "1");
    assert_eq!(reset_of(&daemon, &seen).await, "log_lost");
    // With lower ids than before.
    let _: u32 = redis.command(&["DEL", "sidestream:log"]).await;
    let _: String =
        redis.command(&["XADD", "sidestream:log", "5-0", "event", r#"{"topic":"a","data":2}"#]).await;
    is_reset(&mut stream, "log_lost").await;
    append(&redis, &json!({"topic": "a", "data": 3})).await;
    assert_eq!(stream.event().await.data(), "3");
}

#[tokio::test]
async fn a_replica_without_the_tail_is_a_gap_for_everybody_who_may_have_missed_it() {
    let (master, mut wire, config) = wired().await;
    let replica = Redis::start().await;
    let _: () = replica.command(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]).await;
    let (one, two) = (start(&config).await, start(&config).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    let kept = append(&master, &json!({"topic": "a", "data": "kept"})).await;
    eventually("the replica has it", async || {
        let held: Vec<(String, Vec<String>)> =
            replica.command(&["XRANGE", "sidestream:log", &kept, &kept]).await;
        (held.len() == 1).then_some(())
    })
    .await;
    let _: () = replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    let lost = append(&master, &json!({"topic": "a", "data": "lost"})).await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.data(2).await, ["kept", "lost"]);
    }
    wire.cut();
    ready(&one, 503).await;
    ready(&two, 503).await;
    append(&replica, &json!({"topic": "a", "data": "unseen"})).await;
    wire.lead_to(([127, 0, 0, 1], replica.port).into());
    is_reset(&mut here, "log_lost").await;
    is_reset(&mut there, "log_lost").await;
    ready(&one, 200).await;
    ready(&two, 200).await;
    append(&replica, &json!({"topic": "a", "data": "after"})).await;
    while here.event().await.data() != "after" {}
    while there.event().await.data() != "after" {}
    // Also at an instance that never saw the old master: these two clients may have missed the lost event.
    let late = start(&config).await;
    for daemon in [&one, &two, &late] {
        for id in [&kept, &lost] {
            let reason = reset_of(daemon, id).await;
            assert!(["log_lost", "too_old"].contains(&&*reason), "{reason}");
        }
    }
}

#[tokio::test]
async fn answers_larger_than_redis_holds_back_for_a_client_are_asked_for_in_smaller_parts() {
    const COUNT: usize = 400;
    let redis = Redis::start().await;
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let _: () = redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 1mb 1"]).await;
    let first = append(&redis, &json!({"topic": "a", "data": "first"})).await;
    redis.freeze();
    redis.thaw();
    let mut connection = redis.connection().await;
    let mut transaction = redis::pipe();
    transaction.atomic();
    for n in 0..COUNT {
        let event = json!({"topic": "a", "data": format!("{n} {}", "x".repeat(20_000))}).to_string();
        transaction.cmd("XADD").arg("sidestream:log").arg("*").arg("event").arg(event);
    }
    transaction.query_async::<()>(&mut connection).await.expect("appended");
    assert_eq!(stream.event().await.id(), first);
    for n in 0..COUNT {
        let event = stream.event().await;
        assert_eq!(event.data().split(' ').next(), Some(&*n.to_string()));
    }
}

#[tokio::test]
async fn a_clock_that_steps_back_changes_nothing() {
    let redis = Redis::start().await;
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    // As if the clock had been an hour ahead, and then was not.
    let time: Vec<u64> = redis.command(&["TIME"]).await;
    let ahead = format!("{}-0", (time[0] + 3600) * 1000);
    let _: String =
        redis.command(&["XADD", "sidestream:log", &ahead, "event", r#"{"topic":"a","data":0}"#]).await;
    for n in 1..4 {
        append(&redis, &json!({"topic": "a", "data": n})).await;
    }
    assert_eq!(stream.data(4).await, ["0", "1", "2", "3"]);
    let fresh = start(&section(&redis)).await;
    assert_eq!(resumed(&fresh, "/events?topic=a", &ahead).await.data(3).await, ["1", "2", "3"]);
}
