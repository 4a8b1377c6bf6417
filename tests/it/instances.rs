//! Instances that share a Redis know of each other, and miss one that dies.

use std::time::{Duration, Instant};

use crate::harness::{Daemon, Redis, eventually, holds_for, ready, start};

/// Waits until every one of `daemons` knows of `count` living instances.
pub(crate) async fn know(daemons: &[&Daemon], count: usize) {
    for daemon in daemons {
        eventually(&format!("{count} instances are known"), async || {
            (daemon.metric("sidestream_instances", &[]).await == count as f64).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_is_missed_within_seconds_and_one_that_stops_at_once() {
    let redis = Redis::start().await;
    let section = redis.section();
    let (a, mut b, c) = tokio::join!(start(&section), start(&section), start(&section));
    know(&[&a, &b, &c], 3).await;
    let began = Instant::now();
    // Dropped is killed.
    drop(c);
    know(&[&a, &b], 2).await;
    let took = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(7)).contains(&took), "{took:?}");
    b.signal("TERM");
    b.ended().await;
    let began = Instant::now();
    know(&[&a], 1).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_is_missed_while_redis_is_away() {
    let mut redis = Redis::start().await;
    let section = redis.section();
    let (a, b) = tokio::join!(start(&section), start(&section));
    know(&[&a, &b], 2).await;
    redis.kill().await;
    let both = async || {
        let known = async |daemon: &Daemon| daemon.metric("sidestream_instances", &[]).await;
        (known(&a).await, known(&b).await) == (2.0, 2.0)
    };
    // Four seconds without a sign of life would be a death.
    holds_for(Duration::from_secs(7), "nobody is missed", &both).await;
    redis.start_again().await;
    ready(&a, 200).await;
    ready(&b, 200).await;
    for daemon in [&a, &b] {
        let signs = async || daemon.metric("sidestream_commands_total", &["kind=\"alive\""]).await;
        let before = signs().await;
        eventually("five more signs of life", async || {
            assert!(both().await, "{}", a.log());
            (signs().await >= before + 5.0).then_some(())
        })
        .await;
    }
    assert!(!a.log().contains("another instance is dead"), "{}", a.log());
}
