//! Mapped Redis channels that come and go, while those that stay miss nothing.

use serde_json::json;

use super::{ask, keyed, reloaded};
use crate::harness::{Redis, eventually, listening, start};

fn config(redis: &Redis, channels: &[&str]) -> String {
    let channel = |name: &&str| format!("[[redis.channel]]\npattern = \"{name}\"\ntopic = \"a\"\n");
    let channels: String = channels.iter().map(channel).collect();
    keyed(&format!("{}{channels}", redis.section()))
}

#[tokio::test]
async fn channels_come_and_go_and_no_message_of_those_that_stay_is_missed() {
    let redis = Redis::start().await;
    let daemon = start(&config(&redis, &["stays", "old:*"])).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let publishing = async {
        for n in 0..300 {
            assert_eq!(redis.publish("stays", json!(n).to_string()).await, 1);
        }
    };
    let reloading = async {
        for round in 0..10 {
            let other = if round % 2 == 0 { "new:*" } else { "old:*" };
            reloaded(&daemon, &config(&redis, &["stays", other, &format!("exact-{round}")])).await;
        }
        reloaded(&daemon, &config(&redis, &["stays", "new:*"])).await;
    };
    tokio::join!(publishing, reloading);
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(stream.data(300).await, expected);
    eventually("the old ones are let go of", async || (redis.publish("old:1", "x").await == 0).then_some(()))
        .await;
    assert_eq!(redis.publish("exact-3", "x").await, 0);
    assert_eq!(redis.publish("new:1", "\"yes\"").await, 1);
    assert_eq!(stream.event().await.data(), "\"yes\"");
    assert_eq!(daemon.metric("sidestream_redis_gaps_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_channel_that_redis_refuses_is_not_taken_up() {
    let redis = Redis::start().await;
    let rules = ["ACL", "SETUSER", "app", "on", ">secret-of-app", "~*", "+@all", "resetchannels"];
    let rules = [
        &rules[..],
        &["&sidestream", "&sidestream:topic:*", "&sidestream:topics", "&sidestream:control", "&stays"],
    ]
    .concat();
    let _: String = redis.command(&rules).await;
    let url = format!("[redis]\nurl = \"redis://app:secret-of-app@127.0.0.1:{}\"\n", redis.port);
    let config = |channels: &[&str]| {
        let channel = |name: &&str| format!("[[redis.channel]]\npattern = \"{name}\"\ntopic = \"a\"\n");
        keyed(&format!("{url}{}", channels.iter().map(channel).collect::<String>()))
    };
    let daemon = start(&config(&["stays"])).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.rewrite(&config(&["stays", "forbidden"]));
    let refused = ask(&daemon).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("NOPERM"), "{}", refused.text());
    assert_eq!(redis.publish("stays", "1").await, 1);
    assert_eq!(stream.event().await.data(), "1");
    assert_eq!(daemon.metric("sidestream_redis_gaps_total", &[]).await, 0.0);
    // And the next one is judged on its own.
    reloaded(&daemon, &config(&[])).await;
    eventually("it is let go of", async || (redis.publish("stays", "2").await == 0).then_some(())).await;
}

#[tokio::test]
async fn channels_that_change_while_redis_is_away_are_listened_to_when_it_is_back() {
    let mut redis = Redis::start().await;
    let settings = |redis: &Redis, channels: &[&str]| {
        config(redis, channels).replace("[redis]\n", "[redis]\ntimeout = \"200ms\"\n")
    };
    let daemon = start(&settings(&redis, &["before"])).await;
    redis.kill().await;
    let (applied, _) = reloaded(&daemon, &settings(&redis, &["after"])).await;
    assert_eq!(applied, ["redis.channel[1].pattern"]);
    redis.start_again().await;
    eventually("it listens to the other one", async || {
        (redis.publish("after", "1").await == 1).then_some(())
    })
    .await;
    assert_eq!(redis.publish("before", "1").await, 0);
}
