//! Events over Redis channels: what reaches the streams, in what order, and how often.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Daemon, Redis, eventually, listening, start};
use crate::publish::PEOPLE;

/// Waits until a metric has this value: an event may be on its stream before it is counted.
async fn counts(daemon: &Daemon, name: &str, label: &str, value: f64) {
    eventually(&format!("{name} is {value}"), async || {
        (daemon.metric(name, &[label]).await == value).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_on_every_kind_of_channel_reach_the_streams() {
    let redis = Redis::start().await;
    let mapped = r#"
[[redis.channel]]
pattern = "chat:*:*"
topic   = "conversation:{1}"
event   = "{2}:new"
format  = "raw"

[[redis.channel]]
pattern = "inbox"
user    = "u1"
session = "s1"
format  = "raw"

[[redis.channel]]
pattern = "app.*"
topic   = "{0}"
event   = "update"
format  = "envelope"
"#;
    let daemon = start(&(redis.section() + mapped + PEOPLE)).await;
    let mut topic = listening(&daemon, "/events?topic=a:b").await;
    let mut chat = listening(&daemon, "/events?topic=conversation:42").await;
    let mut app = listening(&daemon, "/events?topic=app.orders").await;
    let mut user = listening(&daemon, "/people?topic=none&user=u1&session=s2").await;
    let mut session = listening(&daemon, "/people?topic=none&user=u2&session=s1").await;

    redis.publish("sidestream", r#"{"topic":"a:b","event":"one","data":{"x" : 1.0}}"#).await;
    let event = topic.event().await;
    assert_eq!((event.event.as_deref(), event.data()), (Some("one"), r#"{"x" : 1.0}"#));
    assert!(!event.id().is_empty());

    redis.publish("sidestream:topic:a:b", r#"{"data":"two\nlines"}"#).await;
    assert_eq!(topic.event().await.data(), "two\nlines");
    redis.publish("sidestream:topic:other", r#"{"topic":"a:b","data":3}"#).await;
    assert_eq!(topic.event().await.data(), "3", "the message's own topic wins");

    redis.publish("chat:42:message", "plain text, {no JSON").await;
    let event = chat.event().await;
    assert_eq!((event.event.as_deref(), event.data()), (Some("message:new"), "plain text, {no JSON"));

    redis.publish("app.orders", r#"{"data":1}"#).await;
    let event = app.event().await;
    assert_eq!((event.event.as_deref(), event.data()), (Some("update"), "1"));
    redis.publish("app.orders", r#"{"topic":"conversation:42","event":"own","data":2}"#).await;
    let event = chat.event().await;
    assert_eq!((event.event.as_deref(), event.data()), (Some("own"), "2"));

    redis.publish("inbox", "hi").await;
    assert_eq!(user.event().await.data(), "hi");
    assert_eq!(session.event().await.data(), "hi");

    counts(&daemon, "sidestream_events_total", "source=\"redis\"", 7.0).await;
    assert_eq!(daemon.metric("sidestream_redis_up", &[]).await, 1.0);
}

#[tokio::test]
async fn order_is_kept_across_ten_thousand_messages_on_two_channels() {
    const COUNT: usize = 10_000;
    let redis = Redis::start().await;
    let daemon = start(&redis.section()).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let mut connection = redis.connection().await;
    for part in (0..COUNT).collect::<Vec<_>>().chunks(1000) {
        let mut pipeline = redis::pipe();
        for n in part {
            // Both kinds of subscription: what Redis gives in order stays in order.
            match n % 2 {
                0 => pipeline.cmd("PUBLISH").arg("sidestream").arg(format!(r#"{{"topic":"a","data":{n}}}"#)),
                _ => pipeline.cmd("PUBLISH").arg("sidestream:topic:a").arg(format!(r#"{{"data":{n}}}"#)),
            };
        }
        pipeline.query_async::<()>(&mut connection).await.expect("published");
    }
    let expected: Vec<_> = (0..COUNT).map(|n| n.to_string()).collect();
    assert_eq!(stream.data(COUNT).await, expected);
}

#[tokio::test]
async fn a_message_is_published_once_for_each_mapping_however_often_redis_delivers_it() {
    let redis = Redis::start().await;
    let mapped = r#"
[[redis.channel]]
pattern = "chat:1"
topic   = "a"
event   = "exact"
format  = "raw"

[[redis.channel]]
pattern = "chat:*"
topic   = "a"
event   = "pattern"
format  = "raw"
"#;
    let daemon = start(&(redis.section() + mapped)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    assert_eq!(redis.publish("chat:1", "x").await, 2, "Redis delivers it by both subscriptions");
    assert_eq!(redis.publish("chat:2", "y").await, 1);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = stream.event().await;
        seen.push((event.event.clone().expect("a name"), event.data().to_owned()));
    }
    seen.sort_unstable();
    let expected = [("exact", "x"), ("pattern", "x"), ("pattern", "y")];
    assert_eq!(seen, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
}

#[tokio::test]
async fn only_a_star_is_a_wildcard() {
    let redis = Redis::start().await;
    let mapped = r#"
[[redis.channel]]
pattern = 'd?[ef]\'
topic   = "a"
format  = "raw"

[[redis.channel]]
pattern = "chat:*"
topic   = "a"
format  = "raw"
"#;
    let daemon = start(&(redis.section() + mapped)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    for (channel, heard) in
        [("dxe", 0), ("d?e", 0), ("d?[ef]", 0), (r"d?[ef]\", 1), ("chat", 0), ("chats:1", 0), ("chat:1", 1)]
    {
        assert_eq!(redis.publish(channel, channel).await, heard, "{channel}");
    }
    assert_eq!(stream.data(2).await, [r"d?[ef]\", "chat:1"]);
}

#[tokio::test]
async fn bad_messages_are_counted_and_passed_over() {
    let redis = Redis::start().await;
    let config = redis.section()
        + "[[redis.channel]]\npattern = \"raw:*\"\ntopic = \"{1}\"\nformat = \"raw\"\n[internal]\nmax_body = \"64KiB\"\n";
    let daemon = start(&config).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let large = format!(r#"{{"topic":"a","data":"{}"}}"#, "hunter2".repeat(20_000));
    let bad: &[(&str, &[u8], &str)] = &[
        ("sidestream", b"hunter2", "json"),
        ("sidestream", b"", "json"),
        ("sidestream", b"\xff\xfe", "json"),
        ("sidestream", br#"{"hunter2":1,"topic":"a"}"#, "unknown_field"),
        ("sidestream", br#"{"data":"hunter2"}"#, "audience"),
        ("sidestream", br#"{"topic":"a","event":"hunter2\n"}"#, "name"),
        ("sidestream", br#"[{"topic":"a"}]"#, "value"),
        ("sidestream", large.as_bytes(), "too_large"),
        ("sidestream:topic:", b"{}", "channel"),
        ("raw:a", b"hunter2 \xff", "utf8"),
        ("raw:", b"x", "channel"),
    ];
    for (n, (channel, message, _)) in bad.iter().enumerate() {
        assert_eq!(redis.publish(channel, message).await, 1);
        assert_eq!(redis.publish("sidestream", format!(r#"{{"topic":"a","data":{n}}}"#)).await, 1);
    }
    let expected: Vec<_> = (0..bad.len()).map(|n| n.to_string()).collect();
    assert_eq!(stream.data(bad.len()).await, expected);
    for (_, _, reason) in bad {
        let count = bad.iter().filter(|(_, _, other)| other == reason).count();
        let labels = ["source=\"redis\"", &format!("reason=\"{reason}\"")];
        assert_eq!(daemon.metric("sidestream_events_refused_total", &labels).await, count as f64, "{reason}");
    }
    daemon.logged("\"reason\":\"utf8\"").await;
    let log = daemon.log();
    let reasons: BTreeSet<_> = bad.iter().map(|(_, _, reason)| reason).collect();
    let said = log.matches("is no event and was passed over").count();
    assert_eq!(said, reasons.len(), "once a reason:\n{log}");
    assert!(!log.contains("hunter2"), "nothing of a message is logged:\n{log}");
    assert_eq!(daemon.ask("/readyz/events").await.status, 200);
}

#[tokio::test]
async fn a_user_with_minimal_rights_and_a_database_are_enough() {
    let redis = Redis::start().await;
    let rights = ["+subscribe", "+psubscribe", "+publish", "+ping", "+select"];
    let mut command = vec!["ACL", "SETUSER", "app", "on", ">p@ss/word", "resetkeys", "resetchannels"];
    command.extend(["&sidestream", "&sidestream:topic:*", "&sidestream:topics"]);
    command.extend(rights);
    let _: () = redis.command(&command).await;
    let url = format!("redis://app:p%40ss%2Fword@127.0.0.1:{}/3", redis.port);
    let daemon = start(&format!("[redis]\nurl = \"{url}\"\n")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    assert_eq!(stream.event().await.data(), "1");
}

#[tokio::test]
async fn a_unix_socket_works() {
    let redis = Redis::start().await;
    let daemon = start(&format!("[redis]\nurl = \"unix:{}\"\n", redis.socket().display())).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    daemon.publish(&json!({"topic": "a", "data": 1})).await;
    redis.publish("sidestream", r#"{"topic":"a","data":2}"#).await;
    assert_eq!(stream.data(2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_publish_reaches_the_streams_of_every_daemon() {
    let redis = Redis::start().await;
    let (one, two) = (start(&redis.section()).await, start(&redis.section()).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;

    let answer = one.publish(&json!({"topic": "a", "event": "e", "data": {"n": 0}})).await;
    assert_eq!(answer, json!({"id": null, "matched": 1, "relayed": true}));
    let batch: Vec<_> = (1..100).map(|n| json!({"topic": "a", "data": {"n": n}})).collect();
    two.publish(&json!(batch)).await;
    let expected: Vec<_> = (0..100).map(|n| json!({"n": n}).to_string()).collect();
    assert_eq!(here.data(100).await, expected);
    assert_eq!(there.data(100).await, expected);
    assert_eq!(one.metric("sidestream_redis_connects_total", &["purpose=\"publish\""]).await, 1.0);
}

#[tokio::test]
async fn an_idempotency_key_counts_once_on_every_daemon() {
    let redis = Redis::start().await;
    let (one, two) = (start(&redis.section()).await, start(&redis.section()).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    let keyed = json!({"topic": "a", "data": "once", "idempotency_key": "order 7"});
    one.publish(&keyed).await;
    two.publish(&keyed).await;
    redis.publish("sidestream", keyed.to_string()).await;
    let by_header = one
        .command("POST", "/publish", &[("idempotency-key", "order 7")], br#"{"topic":"a","data":"once"}"#)
        .await;
    assert_eq!(by_header.status, 200, "{}", by_header.text());
    one.publish(&json!({"topic": "a", "data": "last"})).await;
    assert_eq!(here.data(2).await, ["once", "last"]);
    assert_eq!(there.data(2).await, ["once", "last"]);
    counts(&two, "sidestream_events_duplicate_total", "source=\"redis\"", 3.0).await;
}

#[tokio::test]
async fn the_largest_publish_comes_back_over_redis() {
    let redis = Redis::start().await;
    let daemon = start(&(redis.section() + "[internal]\nmax_body = \"64KiB\"\n")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let around = r#"{"topic":"a","data":""}"#.len();
    let body = json!({"topic": "a", "data": "x".repeat((64 << 10) - around)}).to_string();
    assert_eq!(body.len(), 64 << 10);
    let key = "\\".repeat(256);
    let answer = daemon.command("POST", "/publish", &[("idempotency-key", &key)], body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stream.event().await.data().len(), (64 << 10) - around);
}
