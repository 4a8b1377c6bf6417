//! Events that are taken back: in no replay any more, on any instance, and told to those who have them.

use serde_json::{Value, json};

use crate::harness::{Answer, Block, Daemon, Redis, Stream, Wire, eventually, listening, request, start};
use crate::redis_stream::{resumed, section};

async fn delete(daemon: &Daemon, path: &str) -> Answer {
    daemon.command("DELETE", path, &[], b"").await
}

/// Takes back, and says how many events it was.
async fn retract(daemon: &Daemon, path: &str) -> Value {
    let answer = delete(daemon, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["retracted"].clone()
}

async fn publish(daemon: &Daemon, topics: &[&str], data: &str) -> String {
    let receipt = daemon.publish(&json!({ "topics": topics, "data": data })).await;
    receipt["id"].as_str().expect("an id").to_owned()
}

/// What the log keeps of a topic: the data of each event.
async fn history(daemon: &Daemon, topic: &str) -> Vec<String> {
    let page = daemon.command("GET", &format!("/topics/{topic}/events"), &[], b"").await.json();
    let events = page["events"].as_array().expect("events").clone();
    events.iter().map(|event| event["data"].as_str().expect("text").to_owned()).collect()
}

fn is_retracted(block: &Block, topic: &str, id: &str) {
    assert!(block.is("retracted"), "{block:?}");
    assert_eq!(block.json(), json!({ "topic": topic, "id": id }));
}

#[tokio::test]
async fn an_event_is_taken_back_from_all_who_have_it_and_from_the_replay() {
    let daemon = start("").await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    let mut of_both = listening(&daemon, "/events?topic=b").await;
    let first = publish(&daemon, &["a"], "first").await;
    let secret = publish(&daemon, &["a", "b"], "secret").await;
    publish(&daemon, &["a"], "last").await;
    for data in ["first", "secret", "last"] {
        assert_eq!(stream.event().await.data(), data);
    }
    assert_eq!(of_both.event().await.data(), "secret");
    assert_eq!(retract(&daemon, &format!("/topics/a/events/{secret}")).await, 1);
    let told = stream.event().await;
    is_retracted(&told, "a", &secret);
    is_retracted(&of_both.event().await, "a", &secret);
    for (cursor, wanted) in [(&first, &["last", "retracted"][..]), (&secret, &["last", "retracted"])] {
        let mut again = resumed(&daemon, "/events?topic=a", cursor).await;
        assert_eq!(again.event().await.data(), wanted[0]);
        let notice = again.event().await;
        is_retracted(&notice, "a", &secret);
        assert_eq!(notice.id(), told.id());
    }
    let mut other = resumed(&daemon, "/events?topic=b", &first).await;
    is_retracted(&other.event().await, "a", &secret);
    assert_eq!(retract(&daemon, &format!("/topics/a/events/{secret}")).await, 0, "it is the same twice");
    for (path, status) in [
        (format!("/topics/c/events/{first}"), 404),
        ("/topics/a/events/1-0".to_owned(), 404),
        ("/topics/a/events/no-id".to_owned(), 400),
        (format!("/topics/a/events/{first}?really=1"), 400),
        ("/topics/a/b".to_owned(), 404),
    ] {
        assert_eq!(delete(&daemon, &path).await.status, status, "{path}");
    }
    assert_eq!(daemon.metric("sidestream_taken_back_total", &[]).await, 1.0);
    assert_eq!(retract(&daemon, "/topics/a").await, 2);
    let told = stream.event().await;
    assert!(told.is("retracted") && told.json() == json!({ "topic": "a" }), "{told:?}");
    assert_eq!(history(&daemon, "a").await, [r#"{"topic":"a"}"#]);
}

#[tokio::test]
async fn the_event_that_tells_of_it_has_the_name_that_is_configured_or_there_is_none() {
    for (config, name) in [
        ("retracted_as = \"message:retracted\"", Some("message:retracted")),
        ("retracted_as = \"off\"", None),
    ] {
        let daemon = start(&format!("[sse]\n{config}\n")).await;
        let mut stream = listening(&daemon, "/events?topic=a").await;
        let id = publish(&daemon, &["a"], "x").await;
        assert_eq!(stream.event().await.data(), "x");
        assert_eq!(retract(&daemon, &format!("/topics/a/events/{id}")).await, 1);
        publish(&daemon, &["a"], "y").await;
        let next = stream.event().await;
        assert_eq!(next.event.as_deref(), name, "{next:?}");
    }
}

/// Routes that call it differently.
const CALLED: &str = r#"
[[stream]]
path = "/events"

[[stream]]
path = "/renamed"
retracted_as = "message:retracted"

[[stream]]
path = "/typed"
events = "typed"
retracted_as = "deleted"

[[stream]]
path = "/prefixed"
topic_as = "prefix:/"
retracted_as = "gone"

[[stream]]
path = "/silent"
retracted_as = "off"
"#;

/// What a stream of each of the routes gets next, of what tells that `told` is taken back.
async fn is_told(streams: &mut [Stream], told: &Value) {
    for (n, name) in
        [Some("retracted"), Some("message:retracted"), None, Some("a/gone")].into_iter().enumerate()
    {
        let block = streams[n].event().await;
        assert_eq!(block.event.as_deref(), name, "{block:?}");
        let data = block.json();
        let data = if n == 2 { &data["data"] } else { &data };
        assert_eq!(data, told, "{block:?}");
        assert!(n != 2 || block.json()["type"] == "deleted", "{block:?}");
    }
}

/// A stream of each route behind `cursor`, where so many events stand, the last of which every route has.
async fn all_routes(daemon: &Daemon, cursor: &str, missed: u8) -> Vec<Stream> {
    let mut streams = Vec::new();
    for route in ["events", "renamed", "typed", "prefixed", "silent"] {
        let path = format!("/{route}?topic=a");
        let mut stream = Stream::open(daemon.public, &path, &[("last-event-id", cursor)]).await;
        let connected = stream.block().await.json();
        let data = if route == "typed" { &connected["data"] } else { &connected };
        let missed = if route == "silent" { missed.saturating_sub(1) } else { missed };
        assert_eq!(data["missed"], missed, "{route}: {connected}");
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn each_route_calls_it_as_it_says_or_is_not_told() {
    let redis = Redis::start().await;
    let plain = start(&section(&redis)).await;
    let first = publish(&plain, &["a"], "first").await;
    let old = publish(&plain, &["a"], "old").await;
    // From before there was a route that calls it otherwise.
    assert_eq!(retract(&plain, &format!("/topics/a/events/{old}")).await, 1);
    let of_redis = format!("{}{CALLED}", section(&redis));
    for (config, is_kept) in [(of_redis, true), (CALLED.to_owned(), false)] {
        let daemon = start(&config).await;
        let cursor = if is_kept { first.clone() } else { publish(&daemon, &["a"], "first").await };
        let mut streams = all_routes(&daemon, &cursor, u8::from(is_kept)).await;
        if is_kept {
            is_told(&mut streams, &json!({ "id": old, "topic": "a" })).await;
        }
        let id = publish(&daemon, &["a"], "text").await;
        assert_eq!(retract(&daemon, &format!("/topics/a/events/{id}")).await, 1);
        retract(&daemon, "/topics/a").await;
        publish(&daemon, &["a"], "end").await;
        for (n, stream) in streams.iter_mut().enumerate() {
            let (block, is_typed) = (stream.event().await, n == 2);
            let data = if is_typed { block.json()["data"].clone() } else { json!(block.data()) };
            assert_eq!(data, "text");
            assert_eq!(block.event.as_deref(), if n == 3 { Some("a/message") } else { None });
        }
        is_told(&mut streams, &json!({ "id": id, "topic": "a" })).await;
        is_told(&mut streams, &json!({ "topic": "a" })).await;
        for stream in &mut streams {
            assert!(stream.event().await.data().contains("end"));
        }
        // The same to one that comes back, in one layout after the other.
        let mut again = all_routes(&daemon, &cursor, 2).await;
        is_told(&mut again, &json!({ "topic": "a" })).await;
        for stream in &mut again {
            assert!(stream.event().await.data().contains("end"));
        }
    }
}

#[tokio::test]
async fn who_may_take_back_is_said_of_each_publisher() {
    let daemon = start(
        "[[internal.publisher]]\nname = \"chat\"\nkey = \"a-key-of-the-chat-service\"\ntopics = [\"a\"]\nretract = true\n\
        [[internal.publisher]]\nname = \"other\"\nkey = \"a-key-of-another-service\"\ntopics = [\"a\", \"b\"]\n",
    )
    .await;
    let both = publish(&daemon, &["a", "b"], "both").await;
    let only = publish(&daemon, &["a"], "only").await;
    let ask = async |key: Option<&str>, path: &str| {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|value| ("authorization", &**value)).collect();
        request(daemon.internal, "DELETE", path, &headers, b"").await
    };
    let path = |topic: &str, id: &str| format!("/topics/{topic}/events/{id}");
    assert_eq!(ask(None, &path("a", &only)).await.status, 401);
    let (chat, other) = (Some("a-key-of-the-chat-service"), Some("a-key-of-another-service"));
    for (key, path) in [
        (other, path("a", &only)),
        (other, "/topics/a".to_owned()),
        (chat, path("b", &both)),
        // It is for the readers of another topic as well.
        (chat, path("a", &both)),
        (chat, "/topics/b".to_owned()),
    ] {
        let answer = ask(key, &path).await;
        assert_eq!((answer.status, &answer.json()["reason"]), (403, &json!("retract_not_allowed")), "{path}");
    }
    assert_eq!(ask(chat, &path("a", &only)).await.json()["retracted"], 1);
    assert_eq!(ask(chat, "/topics/a").await.status, 200);
    assert_eq!(history(&daemon, "b").await, ["both"]);
}

#[tokio::test]
async fn with_channels_every_instance_lets_go_of_what_says_the_same() {
    let redis = Redis::start().await;
    let (one, two) = (start(&redis.section()).await, start(&redis.section()).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    for data in ["secret", "other"] {
        one.publish(&json!({ "topic": "a", "data": data })).await;
    }
    let (first, second) = (here.event().await, there.event().await);
    assert_eq!((first.data(), second.data()), ("secret", "secret"));
    assert_ne!(first.id(), second.id());
    assert_eq!((here.event().await.data(), there.event().await.data()), ("other", "other"));
    // Asked of the one instance with the other's id.
    assert_eq!(retract(&one, &format!("/topics/a/events/{}", second.id())).await, 1);
    is_retracted(&here.event().await, "a", first.id());
    is_retracted(&there.event().await, "a", second.id());
    for (daemon, cursor) in [(&one, first.id()), (&two, second.id())] {
        let mut again = resumed(daemon, "/events?topic=a", cursor).await;
        assert_eq!(again.event().await.data(), "other");
        is_retracted(&again.event().await, "a", cursor);
    }
    assert_eq!(retract(&two, &format!("/topics/a/events/{}", first.id())).await, 0);
    assert_eq!(delete(&one, "/topics/a/events/1-0-aaaaaa").await.status, 404, "no instance knows it");
    assert_eq!(retract(&two, "/topics/a").await, 1);
    eventually("the other instance has heard it", async || {
        (history(&one, "a").await == [r#"{"topic":"a"}"#]).then_some(())
    })
    .await;
}

async fn entries(redis: &Redis) -> Vec<(String, Vec<String>)> {
    redis.command(&["XRANGE", "sidestream:log", "-", "+"]).await
}

#[tokio::test]
async fn with_the_log_in_redis_it_is_gone_there_and_every_instance_has_it_in_its_place() {
    let redis = Redis::start().await;
    let (one, two) = (start(&section(&redis)).await, start(&section(&redis)).await);
    let mut here = listening(&one, "/events?topic=a").await;
    let mut there = listening(&two, "/events?topic=a").await;
    let first = publish(&one, &["a"], "first").await;
    let secret = publish(&two, &["a"], "secret").await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.event().await.data(), "first");
        assert_eq!(stream.event().await.data(), "secret");
    }
    assert_eq!(retract(&one, &format!("/topics/a/events/{secret}")).await, 1);
    let last = publish(&two, &["a"], "last").await;
    let mut told = String::new();
    for stream in [&mut here, &mut there] {
        let notice = stream.event().await;
        is_retracted(&notice, "a", &secret);
        assert_eq!(stream.event().await.data(), "last");
        told = notice.id().to_owned();
    }
    let kept = entries(&redis).await;
    assert!(
        kept.iter().all(|(id, fields)| *id != secret && !fields.concat().contains("\"secret\"")),
        "{kept:?}"
    );
    // The entry that was read last is gone, time and again, and that is no loss.
    let mut cursor = last.clone();
    for n in 0..20 {
        let daemon = [&one, &two][n % 2];
        let id = publish(daemon, &["a"], "gone at once").await;
        if n % 3 == 0 {
            publish(daemon, &["b"], "beside").await;
        }
        assert_eq!(retract(daemon, &format!("/topics/a/events/{id}")).await, 1);
        for stream in [&mut here, &mut there] {
            let block = stream.event().await;
            // It may be gone before it is read.
            let notice = if block.data() == "gone at once" { stream.event().await } else { block };
            is_retracted(&notice, "a", &id);
        }
        cursor = id;
    }
    let late = start(&section(&redis)).await;
    for daemon in [&one, &two, &late] {
        let mut again = resumed(daemon, "/events?topic=a", &first).await;
        let notice = again.event().await;
        is_retracted(&notice, "a", &secret);
        assert_eq!((notice.id(), again.event().await.id()), (&*told, &*last));
        let mut exact = resumed(daemon, "/events?topic=a", &cursor).await;
        is_retracted(&exact.event().await, "a", &cursor);
        assert_eq!(retract(daemon, &format!("/topics/a/events/{secret}")).await, 0);
    }
    for reason in ["log_lost", "log_trimmed"] {
        for daemon in [&one, &two] {
            let resets = daemon
                .metric("sidestream_redis_stream_resets_total", &[&format!("reason=\"{reason}\"")])
                .await;
            assert_eq!(resets, 0.0, "{reason}");
        }
    }
    assert_eq!(retract(&late, "/topics/a").await, 2);
    for daemon in [&one, &two, &late, &start(&section(&redis)).await] {
        eventually("it is gone everywhere", async || {
            (history(daemon, "a").await == [r#"{"topic":"a"}"#]).then_some(())
        })
        .await;
        let mut again = resumed(daemon, "/events?topic=a", &first).await;
        assert!(again.event().await.is("retracted"));
    }
    let kept = entries(&redis).await;
    assert!(kept.iter().all(|(_, fields)| !fields.concat().contains("last")), "{kept:?}");
}

#[tokio::test]
async fn an_instance_that_was_cut_off_when_its_last_entry_was_taken_back_misses_nothing() {
    let redis = Redis::start().await;
    let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
    let through = format!("[redis]\nurl = \"redis://{}\"\n[redis.stream]\n", wire.address);
    let (one, cut) = (start(&section(&redis)).await, start(&through).await);
    let mut stream = listening(&cut, "/events?topic=a").await;
    publish(&one, &["a"], "first").await;
    let last = publish(&one, &["a"], "the last that is read").await;
    for _ in 0..2 {
        stream.event().await;
    }
    wire.cut();
    let also = publish(&one, &["a"], "never read").await;
    for id in [&last, &also] {
        assert_eq!(retract(&one, &format!("/topics/a/events/{id}")).await, 1);
    }
    publish(&one, &["a"], "after").await;
    wire.mend();
    is_retracted(&stream.event().await, "a", &last);
    is_retracted(&stream.event().await, "a", &also);
    assert_eq!(stream.event().await.data(), "after");
}

#[tokio::test]
async fn a_record_that_names_a_deleted_entry_outlives_its_topic() {
    let redis = Redis::start().await;
    let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
    let through = format!("[redis]\nurl = \"redis://{}\"\n[redis.stream]\n", wire.address);
    let (one, cut) = (start(&section(&redis)).await, start(&through).await);
    let mut stream = listening(&cut, "/events?topic=a").await;
    let last = publish(&one, &["a"], "the last that is read").await;
    stream.event().await;
    wire.cut();
    assert_eq!(retract(&one, &format!("/topics/a/events/{last}")).await, 1);
    assert_eq!(retract(&one, "/topics/a").await, 0, "what tells of another is no event");
    publish(&one, &["a"], "after").await;
    wire.mend();
    // Nothing is lost: the entry is named by what stands behind it.
    is_retracted(&stream.event().await, "a", &last);
    let all = stream.event().await;
    assert!(all.is("retracted") && all.json() == json!({ "topic": "a" }), "{all:?}");
    assert_eq!(stream.event().await.data(), "after");
}
