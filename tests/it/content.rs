//! What applications publish already: messages that are mapped by their content.

use crate::harness::{Redis, eventually, listening, start};
use crate::publish::PEOPLE;

#[tokio::test]
async fn a_channels_messages_become_events_by_what_they_hold() {
    let redis = Redis::start().await;
    let mapped = r#"
[[redis.channel]]
pattern       = "app:*"
when          = { type = "message" }
topic         = "conversation:{data.conversationId}"
event         = "{1}:{data.type}"
data          = "{data.payload}"
except_client = "{data.socket?}"

[[redis.channel]]
pattern = "app:*"
when    = { type = ["notice", "alert.*"], "meta.urgent" = true }
user    = "{data.users}"
event   = "{data.type}"

[[redis.channel]]
pattern   = "app:*"
when      = { type = "all" }
broadcast = true
data      = "{data.text}"
"#;
    let daemon = start(&(redis.section() + mapped + PEOPLE)).await;
    let mut one = daemon.stream("/events?topic=conversation:7").await;
    let client = one.block().await.json()["client"].as_str().expect("a client's id").to_owned();
    let mut two = listening(&daemon, "/events?topic=conversation:7").await;
    let mut first = listening(&daemon, "/people?topic=none&user=u1&session=s").await;
    let mut second = listening(&daemon, "/people?topic=none&user=2&session=s").await;

    redis.publish("app:chat", r#"{"type":"message","conversationId":7,"payload":{"n" : 1.0}}"#).await;
    for stream in [&mut one, &mut two] {
        let event = stream.event().await;
        assert_eq!((event.event.as_deref(), event.data()), (Some("chat:message"), r#"{"n" : 1.0}"#));
    }
    let own = format!(r#"{{"type":"message","conversationId":"7","payload":"own","socket":"{client}"}}"#);
    redis.publish("app:chat", own).await;
    assert_eq!(two.event().await.data(), "own");

    let notice = r#"{"type":"alert.fire","users":["u1",2],"meta":{"urgent":true}}"#;
    redis.publish("app:x", notice).await;
    for stream in [&mut first, &mut second] {
        let event = stream.event().await;
        assert_eq!((event.event.as_deref(), event.data()), (Some("alert.fire"), notice));
    }
    // None of these makes an event.
    redis.publish("app:x", r#"{"type":"notice","users":["u1"],"meta":{"urgent":false}}"#).await;
    redis.publish("app:x", r#"{"type":"message","payload":"secret"}"#).await;
    redis.publish("app:x", r#"{"type":"message","conversationId":{"secret":1},"payload":1}"#).await;
    redis.publish("app:x", "secret").await;
    redis.publish("app:x", r#"{"type":"all","text":"for\neverybody"}"#).await;
    for stream in [&mut one, &mut two, &mut first, &mut second] {
        assert_eq!(stream.event().await.data(), "for\neverybody");
    }

    for (metric, labels, count) in [
        ("sidestream_messages_unfit_total", &["app:*", "field=\"when\""][..], 1.0),
        ("sidestream_messages_unfit_total", &["app:*", "field=\"data.conversationId\""], 2.0),
        ("sidestream_events_refused_total", &["redis", "field_missing"], 1.0),
        ("sidestream_events_refused_total", &["redis", "\"value\""], 1.0),
        ("sidestream_events_refused_total", &["redis", "json"], 1.0),
    ] {
        let counted = async || (daemon.metric(metric, labels).await == count).then_some(());
        eventually(&format!("{metric} of {labels:?} is {count}"), counted).await;
    }
    daemon.logged("there is no value for {data.conversationId}").await;
    assert!(!daemon.log().contains("secret"), "nothing of a message is logged");
}

#[tokio::test]
async fn data_is_a_table_of_templates_and_a_missing_field_of_it_is_counted_by_its_name() {
    let redis = Redis::start().await;
    let mapped = r#"
[[redis.channel]]
pattern = "chat:*"
topic   = "room:{1}"
data    = { type = "said", id = "{data.id}", room = "{1}", by = { name = "{data.user.name?}", bot = false } }

[redis.channel.when]
kind = "text"

[[redis.channel]]
pattern = "chat:*"
topic   = "room:{1}"

[redis.channel.data]
about = "{data.kind}: {data.id}"
all   = "{data}"
"#;
    let daemon = start(&(redis.section() + mapped)).await;
    let mut room = listening(&daemon, "/events?topic=room:7").await;
    let texts = [
        r#"{"kind":"text","user":{"name":"zoë"}}"#,
        r#"{"kind":"text","id":7,"user":{"name":"zoë"}}"#,
        r#"{"kind":"picture","id":{"not":"a text"}}"#,
        r#"{"kind":"picture","id":"p\"1"}"#,
    ];
    for text in texts {
        redis.publish("chat:7", text).await;
    }
    let made = [
        r#"{"type":"said","id":7,"room":"7","by":{"name":"zoë","bot":false}}"#.to_owned(),
        format!(r#"{{"about":"picture: p\"1","all":{}}}"#, texts[3]),
    ];
    assert_eq!(room.data(2).await, made);
    for (reason, count) in [("field_missing", 1.0), ("\"value\"", 1.0)] {
        assert_eq!(daemon.metric("sidestream_events_refused_total", &["redis", reason]).await, count);
    }
    let unfit = daemon.metric("sidestream_messages_unfit_total", &["chat:*", "field=\"data.id\""]).await;
    assert_eq!(unfit, 2.0);
}

#[tokio::test]
async fn a_burst_of_mapped_messages_arrives_whole_and_in_order() {
    const COUNT: usize = 5_000;
    let redis = Redis::start().await;
    let mapped = "[[redis.channel]]\npattern = \"jobs\"\ntopic = \"job:{data.job}\"\ndata = \"{data.n}\"\n";
    let daemon = start(&format!("{}{mapped}", redis.section())).await;
    let mut stream = listening(&daemon, "/events?topic=job:a").await;
    let mut connection = redis.connection().await;
    for part in (0..COUNT).collect::<Vec<_>>().chunks(1000) {
        let mut pipeline = redis::pipe();
        for n in part {
            pipeline.cmd("PUBLISH").arg("jobs").arg(format!(r#"{{"n":{n},"more":[[{{}}]],"job":"a"}}"#));
        }
        pipeline.query_async::<()>(&mut connection).await.expect("published");
    }
    let expected: Vec<_> = (0..COUNT).map(|n| n.to_string()).collect();
    assert_eq!(stream.data(COUNT).await, expected);
}
