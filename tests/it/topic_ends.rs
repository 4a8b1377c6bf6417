//! Topics that end: their readers are told and lose them, and later ones do not get them, on any instance.

use serde_json::{Value, json};

use crate::harness::{Daemon, Redis, Stream, eventually, listening, request, start};
use crate::redis_stream::{resumed, section};

async fn ask(daemon: &Daemon, topic: &str, what: &str) -> Value {
    let answer = daemon.command("POST", &format!("/topics/{topic}/{what}"), &[], b"").await;
    assert_eq!(answer.status, 200, "{topic} {what}: {}", answer.text());
    answer.json()["changed"].clone()
}

async fn publish(daemon: &Daemon, topic: &str, data: &str) -> String {
    daemon.publish(&json!({ "topic": topic, "data": data })).await["id"].as_str().expect("an id").to_owned()
}

/// The status with which a stream opens.
async fn status(daemon: &Daemon, path: &str, cursor: Option<&str>) -> u16 {
    let headers: Vec<(&str, &str)> = cursor.iter().map(|id| ("last-event-id", *id)).collect();
    Stream::open(daemon.public, path, &headers).await.status()
}

async fn is_closed(stream: &mut Stream) -> String {
    let closing = stream.event().await;
    assert!(closing.is("closing"), "{closing:?}");
    assert_eq!((&closing.json()["reason"], &closing.json()["reconnect"]), (&json!("ended"), &json!(false)));
    assert!(stream.next().await.is_none());
    closing.id().to_owned()
}

#[tokio::test]
async fn a_stream_that_has_lost_its_last_topic_is_closed_and_one_with_others_goes_on() {
    let daemon = start("").await;
    let mut alone = listening(&daemon, "/events?topic=job").await;
    let mut more = listening(&daemon, "/events?topic=job&topic=news").await;
    let before = publish(&daemon, "job", "half").await;
    publish(&daemon, "job", "done").await;
    assert_eq!(ask(&daemon, "job", "close").await, true);
    assert_eq!(ask(&daemon, "job", "close").await, false, "it is the same twice");
    publish(&daemon, "job", "late").await;
    publish(&daemon, "news", "on").await;
    for stream in [&mut alone, &mut more] {
        assert_eq!(stream.event().await.data(), "half");
        assert_eq!(stream.event().await.data(), "done");
    }
    let last = is_closed(&mut alone).await;
    let told = more.event().await;
    assert!(told.is("topic_ended") && told.json() == json!({ "topic": "job" }), "{told:?}");
    assert_eq!(more.event().await.data(), "on");
    // Later ones, and the client that comes back.
    assert_eq!(status(&daemon, "/events?topic=job", None).await, 204);
    assert_eq!(status(&daemon, "/events?topic=job", Some(&last)).await, 204);
    let mut late = daemon.stream("/events?topic=job&topic=news").await;
    assert_eq!(late.block().await.json()["topics"], json!(["news"]));
    // One that was away gets what came before the end, and no more.
    let mut away = resumed(&daemon, "/events?topic=job", &before).await;
    assert_eq!(away.event().await.data(), "done");
    is_closed(&mut away).await;
    assert_eq!(daemon.metric("sidestream_topics_ended", &[]).await, 1.0);
    assert_eq!(daemon.metric("sidestream_streams_closed_total", &["reason=\"ended\""]).await, 2.0);
    assert_eq!(ask(&daemon, "job", "open").await, true);
    assert_eq!(ask(&daemon, "job", "open").await, false);
    let mut anew = listening(&daemon, "/events?topic=job").await;
    publish(&daemon, "job", "anew").await;
    assert_eq!(anew.event().await.data(), "anew");
    // The end before is none of a stream's that opens behind it.
    let mut over = resumed(&daemon, "/events?topic=job", &before).await;
    for data in ["done", "late", "anew"] {
        assert_eq!(over.event().await.data(), data);
    }
    let nobody = request(daemon.internal, "POST", "/topics/job/close", &[], b"").await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn a_topic_that_is_given_ends_as_well() {
    let daemon = start("[[stream]]\npath = \"/events\"\ntopics = []\nuser = \"{query.user}\"\n").await;
    let given = daemon.command("PUT", "/users/u/topics/room", &[], b"").await;
    assert_eq!(given.status, 200, "{}", given.text());
    let mut stream = listening(&daemon, "/events?user=u").await;
    publish(&daemon, "room", "hi").await;
    assert_eq!(stream.event().await.data(), "hi");
    ask(&daemon, "room", "close").await;
    is_closed(&mut stream).await;
    // It asked for no topic, so there is nothing that has ended: it may be given another.
    let mut again = daemon.stream("/events?user=u").await;
    assert_eq!(again.block().await.json()["topics"], json!([]));
    ask(&daemon, "room", "open").await;
    assert_eq!(daemon.stream("/events?user=u").await.block().await.json()["topics"], json!(["room"]));
}

#[tokio::test]
async fn every_instance_ends_a_topic_at_the_same_place_and_one_that_starts_later_knows() {
    let redis = Redis::start().await;
    for (config, is_kept) in [(section(&redis), true), (redis.section(), false)] {
        let (one, two) = (start(&config).await, start(&config).await);
        let mut here = listening(&one, "/events?topic=a").await;
        let mut there = listening(&two, "/events?topic=a&topic=b").await;
        for data in ["1", "2"] {
            one.publish(&json!({ "topic": "a", "data": data })).await;
        }
        assert_eq!(ask(&two, "a", "close").await, true);
        one.publish(&json!({ "topic": "a", "data": "late" })).await;
        for stream in [&mut here, &mut there] {
            assert_eq!(stream.event().await.data(), "1");
            assert_eq!(stream.event().await.data(), "2");
        }
        is_closed(&mut here).await;
        assert!(there.event().await.is("topic_ended"));
        for daemon in [&one, &two] {
            eventually("later ones are refused for good", async || {
                (status(daemon, "/events?topic=a", None).await == 204).then_some(())
            })
            .await;
        }
        if is_kept {
            let late = start(&config).await;
            assert_eq!(status(&late, "/events?topic=a", None).await, 204);
            assert_eq!(ask(&late, "a", "open").await, true);
            let again = start(&config).await;
            assert_eq!(status(&again, "/events?topic=a", None).await, 200);
        }
    }
}

#[tokio::test]
async fn ended_topics_are_remembered_within_a_bound_and_for_a_time() {
    let daemon = start("[limits]\nended_topics = 2\nended_for = \"1s\"\n").await;
    for topic in ["a", "b", "c"] {
        ask(&daemon, topic, "close").await;
    }
    assert_eq!(status(&daemon, "/events?topic=a", None).await, 200);
    assert_eq!(status(&daemon, "/events?topic=c", None).await, 204);
    eventually("it is forgotten", async || {
        (status(&daemon, "/events?topic=c", None).await == 200).then_some(())
    })
    .await;
}
