//! When Redis is not there, or not for us: noticed, said, waited for, and nothing called published that was not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Daemon, Redis, Stream, eventually, listening, ready, start};

fn why(dependency: &Value) -> &str {
    dependency["why"].as_str().expect("a reason")
}

/// The next event is a reset: messages are missing there.
async fn gap_is_marked(stream: &mut Stream) {
    let reset = stream.event().await;
    assert!(reset.is("reset") && reset.id.is_some(), "{reset:?}");
    assert_eq!(reset.json(), json!({"reason": "source_gap"}));
}

#[tokio::test]
async fn streams_outlive_a_redis_that_is_killed_and_comes_back() {
    let mut redis = Redis::start().await;
    let daemon = start(&redis.section()).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for n in 0..2 {
        redis.publish("sidestream", json!({"topic": "a", "data": n}).to_string()).await;
        assert_eq!(stream.event().await.data(), n.to_string());
        redis.kill().await;
        let down = ready(&daemon, 503).await["redis"].clone();
        assert!(why(&down).contains("is lost here"), "{down}");
        assert_eq!(daemon.metric("sidestream_redis_up", &[]).await, 0.0);
        redis.start_again().await;
        ready(&daemon, 200).await;
        gap_is_marked(&mut stream).await;
    }
    redis.publish("sidestream", r#"{"topic":"a","data":"again"}"#).await;
    assert_eq!(stream.event().await.data(), "again", "on the same stream");
    assert_eq!(daemon.metric("sidestream_redis_gaps_total", &[]).await, 2.0);
    assert_eq!(daemon.metric("sidestream_redis_connects_total", &["purpose=\"subscribe\""]).await, 3.0);
    assert!(daemon.metric("sidestream_redis_failures_total", &["purpose=\"subscribe\""]).await >= 2.0);
    let log = eventually("both gaps are logged", async || {
        let log = daemon.log();
        (log.matches("listening to Redis again").count() == 2).then_some(log)
    })
    .await;
    assert!(log.contains("\"away_ms\""), "{log}");
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_waited_for() {
    let mut redis = Redis::absent();
    let daemon = Daemon::start(&redis.section()).await;
    let down = ready(&daemon, 503).await["redis"].clone();
    eventually("it says why", async || {
        let redis = daemon.ask("/readyz/events").await.json()["dependencies"]["redis"].clone();
        redis["why"]
            .as_str()
            .map(|why| assert!(why.starts_with("cannot connect to Redis at 127.0.0.1:"), "{why}"))
    })
    .await;
    assert_eq!(down["required"], true);
    // Streams are served meanwhile.
    let mut stream = listening(&daemon, "/events?topic=a").await;
    redis.start_again().await;
    ready(&daemon, 200).await;
    redis.publish("sidestream", r#"{"topic":"a","data":1}"#).await;
    gap_is_marked(&mut stream).await;
    assert_eq!(stream.event().await.data(), "1");
}

#[tokio::test]
async fn a_redis_that_stands_still_is_noticed_and_welcomed_back() {
    let redis = Redis::start().await;
    let config = redis.section() + "ping_interval = \"500ms\"\ntimeout = \"1s\"\n";
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    redis.freeze();
    let frozen = Instant::now();
    let down = ready(&daemon, 503).await["redis"].clone();
    let noticed = frozen.elapsed();
    assert!(why(&down).contains("did not answer within 1s"), "{down}");
    // Interval and timeout; the rest is for a busy machine. The socket alone would never tell.
    assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    // A publish that Redis may or may not have taken is not called taken.
    let answer = daemon.try_publish(br#"{"topic":"a","data":"lost"}"#).await;
    assert_eq!(answer.status, 503);
    redis.thaw();
    ready(&daemon, 200).await;
    redis.publish("sidestream", r#"{"topic":"a","data":"after"}"#).await;
    while stream.event().await.data() != "after" {}
    assert!(daemon.metric("sidestream_redis_gaps_total", &[]).await >= 1.0);
}

#[tokio::test]
async fn a_killed_connection_is_replaced_at_once() {
    let redis = Redis::start().await;
    let daemon = start(&redis.section()).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for n in 1..=3 {
        let killed: u32 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        // The one that delivers, and the control channel's if it is back already.
        assert!((1..=2).contains(&killed), "{killed}");
        eventually("it listens again", async || {
            let gaps = daemon.metric("sidestream_redis_gaps_total", &[]).await;
            (gaps == f64::from(n)).then_some(())
        })
        .await;
        redis.publish("sidestream", json!({"topic": "a", "data": n}).to_string()).await;
        gap_is_marked(&mut stream).await;
        assert_eq!(stream.event().await.data(), n.to_string());
    }
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_the_password() {
    let redis = Redis::start().await;
    let _: () = redis.command(&["ACL", "SETUSER", "app", "on", ">right-hunter2", "~*", "&*", "+@all"]).await;
    let url = format!("redis://app:wrong-hunter2@127.0.0.1:{}", redis.port);
    let daemon = Daemon::start(&format!("[redis]\nurl = \"{url}\"\n")).await;
    let say = eventually("it says why", async || {
        let redis = daemon.ask("/readyz/events").await.json()["dependencies"]["redis"].clone();
        redis["why"].as_str().map(str::to_owned)
    })
    .await;
    assert!(say.contains("Redis refused the user and password: WRONGPASS"), "{say}");
    assert_eq!(daemon.try_publish(br#"{"topic":"a"}"#).await.status, 503);
    daemon.logged("WRONGPASS").await;
    let told = [say, daemon.log(), daemon.ask("/metrics").await.text()].concat();
    assert!(told.contains("WRONGPASS") && !told.contains("hunter2"), "{told}");
    // It is tried again, so putting it right needs no restart of the daemon.
    let _: () = redis.command(&["ACL", "SETUSER", "app", "resetpass", ">wrong-hunter2"]).await;
    ready(&daemon, 200).await;
}

#[tokio::test]
async fn a_missing_password_and_a_forbidden_channel_are_named() {
    let redis = Redis::start().await;
    let _: () =
        redis.command(&["ACL", "SETUSER", "app", "on", ">pw", "resetchannels", "&other", "+@all"]).await;
    let url = format!("redis://app:pw@127.0.0.1:{}", redis.port);
    let daemon = Daemon::start(&format!("[redis]\nurl = \"{url}\"\n")).await;
    eventually("it says that the channel is forbidden", async || {
        let say = daemon.ask("/readyz/events").await.text();
        let (refused, asked) = ("Redis refused the subscriptions: NOPERM", "(asked for: &sidestream ");
        (say.contains(refused) && say.contains(asked) && say.contains(" &sidestream:topic:*")).then_some(())
    })
    .await;

    let _: () = redis.command(&["CONFIG", "SET", "requirepass", "pw"]).await;
    let daemon = Daemon::start(&redis.section()).await;
    eventually("it says that a password is missing", async || {
        daemon.ask("/readyz/events").await.text().contains("NOAUTH").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_redis_a_publish_is_refused_and_nothing_of_it_comes_later() {
    let mut redis = Redis::start().await;
    let daemon = start(&redis.section()).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": "before"})).await;
    // Redis answers the publisher first: killed in between, it would take the message along.
    assert_eq!(stream.event().await.data(), "before");
    redis.kill().await;
    ready(&daemon, 503).await;
    // Until the daemon has seen the end of its publishing connection too, it cannot know.
    let refusal = eventually("a publish surely fails", async || {
        let answer = daemon.try_publish(br#"{"topic":"a","data":"refused"}"#).await;
        assert_eq!(answer.status, 503);
        (answer.json()["published"] == "nothing").then(|| answer.json()["error"].to_string())
    })
    .await;
    assert!(refusal.contains("nothing was published"), "{refusal}");
    redis.start_again().await;
    ready(&daemon, 200).await;
    gap_is_marked(&mut stream).await;
    daemon.publish(&json!({"topic": "a", "data": "after"})).await;
    assert_eq!(stream.event().await.data(), "after");
}

#[tokio::test]
async fn a_redis_that_stands_still_does_not_hold_the_daemon() {
    let redis = Redis::start().await;
    let mut daemon = start(&redis.section()).await;
    redis.freeze();
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
}

#[tokio::test]
async fn streams_that_wait_for_their_turn_in_a_drain_still_get_events() {
    let redis = Redis::start().await;
    let daemon = start(&(redis.section() + "[drain]\nwindow = \"2s\"\n")).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(listening(&daemon, "/events?topic=a").await);
    }
    daemon.signal("TERM");
    ready(&daemon, 503).await;
    assert_eq!(redis.publish("sidestream", r#"{"topic":"a","data":"late"}"#).await, 1);
    let mut got = 0;
    for stream in &mut streams {
        got += usize::from(stream.next().await.is_some_and(|block| block.data() == "late"));
    }
    assert!(got > 0, "those that were still open");
}
