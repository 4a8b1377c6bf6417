//! The layout of each route: several applications with several layouts behind one daemon, data as a table gives it, the
//! topic on the wire.

use serde_json::{Value, json};

use crate::harness::{Block, Daemon, H2, KEY, Redis, Stream, ready};

/// Four routes for the same topics and users: as `[sse]` says, and three of their own.
const ROUTES: &str = r#"
[sse]
heartbeat = "10m"

[[stream]]
path = "/plain"
topics = ["{query.topic?}"]
user = "{query.userId?}"

[[stream]]
path = "/typed"
topics = ["{query.topic?}"]
user = "{query.userId?}"
events = "typed"
connected_as = "connection_established"
connected_data = { clientId = "{client}", userId = "{user}", sessionId = "{query.s}" }
retry_min = "7s"
retry_max = "8s"

[[stream]]
path = "/own/{room}"
topics = ["{query.topic?}"]
user = "{query.userId?}"
events = "typed-ms"
typed_data = { kind = "{event}", payload = "{data}", at = "{now}", for = "{user}", channel = "{topic}", id = "{id}" }
connected_as = "message"
connected_data = { type = "connected", client = "{client}", all = "{topics}", deep = { list = [1, true, "{path.room}:{missed}"] }, at = "{now}", iso = "{now.iso}", resumed = "{resumed}" }

[[stream]]
path = "/prefixed"
topics = ["{query.topic?}"]
user = "{query.userId?}"
topic_as = "prefix:/"

[[stream]]
path = "/commented"
topics = ["{query.topic?}"]
user = "{query.userId?}"
topic_as = "comment"
"#;

/// The streams of all routes for a topic and a user, behind their first blocks.
async fn all_of(daemon: &Daemon, query: &str) -> [Stream; 5] {
    let mut streams = Vec::new();
    for path in ["/plain", "/typed", "/own/7", "/prefixed", "/commented"] {
        let mut stream = daemon.stream(&format!("{path}?{query}")).await;
        stream.block().await;
        streams.push(stream);
    }
    streams.try_into().ok().expect("five")
}

fn parts(block: &Block) -> (Option<&str>, &str, Vec<&str>) {
    let comments = block.comments.iter().map(String::as_str).filter(|comment| !comment.is_empty());
    (block.event.as_deref(), block.data(), comments.collect())
}

#[tokio::test]
async fn one_event_reaches_each_route_in_its_own_layout_live_and_on_replay() {
    let daemon = Daemon::start(ROUTES).await;
    let cursor = daemon.stream("/plain?topic=a").await.block().await.id().to_owned();
    let mut live = all_of(&daemon, "topic=a&userId=u").await;
    // With another topic first, which none of the streams has: its name is nobody's business here.
    let to = json!({"topics": ["secret", "a"], "user": "u", "event": "x", "data": {"n": 1}});
    let id = daemon.publish(&to).await["id"].as_str().unwrap().to_owned();
    daemon.publish(&json!({"topic": "a", "data": "text"})).await;
    daemon.publish(&json!({"user": "u", "event": "y", "data": 2})).await;
    let mut late = Vec::new();
    for path in ["/plain", "/typed", "/own/7", "/prefixed", "/commented"] {
        let path = format!("{path}?topic=a&userId=u");
        let mut stream = Stream::open(daemon.public, &path, &[("last-event-id", &cursor)]).await;
        stream.block().await;
        late.push(stream);
    }
    for streams in [live.iter_mut().collect::<Vec<_>>(), late.iter_mut().collect()] {
        let [plain, typed, own, prefixed, commented] = streams.try_into().ok().expect("five");
        let first = plain.event().await;
        assert_eq!((parts(&first), first.id()), ((Some("x"), "{\"n\":1}", vec![]), &*id));
        assert_eq!(parts(&plain.event().await), (None, "text", vec![]));
        assert_eq!(parts(&plain.event().await), (Some("y"), "2", vec![]));

        let first = typed.event().await;
        assert_eq!((first.event.as_deref(), first.id()), (None, &*id));
        let data = first.json();
        assert_eq!((&data["type"], &data["data"]), (&json!("x"), &json!({"n": 1})));
        assert!(data["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(typed.event().await.json()["data"], "text");
        assert_eq!(typed.event().await.json()["data"], 2);

        let data = own.event().await.json();
        let at = data["at"].as_u64().expect("milliseconds");
        let all = json!({"kind": "x", "payload": {"n": 1}, "at": at, "for": "u", "channel": "a", "id": id});
        assert_eq!(data, all);
        let data = own.event().await.json();
        assert_eq!(
            (&data["kind"], &data["payload"], &data["for"], &data["channel"]),
            (&json!("message"), &json!("text"), &Value::Null, &json!("a"))
        );
        let data = own.event().await.json();
        assert_eq!((&data["for"], &data["channel"]), (&json!("u"), &Value::Null));

        assert_eq!(parts(&prefixed.event().await), (Some("a/x"), "{\"n\":1}", vec![]));
        assert_eq!(parts(&prefixed.event().await), (Some("a/message"), "text", vec![]));
        assert_eq!(parts(&prefixed.event().await), (Some("y"), "2", vec![]));

        assert_eq!(parts(&commented.event().await), (Some("x"), "{\"n\":1}", vec!["topic a"]));
        assert_eq!(parts(&commented.event().await), (None, "text", vec!["topic a"]));
        assert_eq!(parts(&commented.event().await), (Some("y"), "2", vec![]));
    }
    // The log's own layout is what the backend reads.
    let history = daemon.command("GET", "/topics/a/events", &[], b"").await.json();
    assert_eq!(
        (&history["events"][0]["event"], &history["events"][0]["data"]),
        (&json!("x"), &json!("{\"n\":1}"))
    );
}

#[tokio::test]
async fn the_first_event_has_the_data_that_a_table_gives_it() {
    let daemon = Daemon::start(ROUTES).await;
    let connected = daemon.stream("/typed?userId=u").await.block().await;
    assert!((7000..=8000).contains(&connected.retry.unwrap()), "{connected:?}");
    let data = connected.json();
    assert_eq!(data["type"], "connection_established");
    let client = data["data"]["clientId"].as_str().unwrap();
    assert_eq!(data["data"], json!({"clientId": client, "userId": "u", "sessionId": null}));
    let connected = daemon.stream("/own/7?topic=a&topic=b").await.block().await.json();
    assert_eq!((&connected["kind"], &connected["for"]), (&json!("message"), &Value::Null));
    let data = &connected["payload"];
    let (client, at) = (data["client"].as_str().unwrap(), data["at"].as_u64().unwrap());
    let iso = data["iso"].as_str().unwrap();
    assert_eq!((client.len(), iso.len()), (16, 24));
    assert_eq!(
        *data,
        json!({
            "type": "connected", "client": client, "all": ["a", "b"], "deep": {"list": [1, true, "7:0"]},
            "at": at, "iso": iso, "resumed": false,
        })
    );
    let connected = daemon.stream("/plain").await.block().await;
    assert!(connected.is("connected") && connected.retry.unwrap() <= 4000, "{connected:?}");
    let mut reset = Stream::open(daemon.public, "/typed?topic=a", &[("last-event-id", "?")]).await;
    reset.block().await;
    let data = reset.block().await.json();
    assert_eq!((&data["type"], &data["data"]), (&json!("reset"), &json!({"reason": "malformed"})));
}

#[tokio::test]
async fn heartbeats_and_the_end_look_as_their_route_says() {
    let mut daemon = Daemon::start(
        r#"
[sse]
heartbeat = "1s"
retry_min = "1s"
retry_max = "2s"
[drain]
delay = 0
[[stream]]
path = "/plain"
[[stream]]
path = "/own"
user = "{query.userId}"
events = "typed"
heartbeat_as = "event:heartbeat"
heartbeat_data = { clientId = "{client}", user = "{user}", at = "{now}" }
retry_min = "7s"
retry_max = "8s"
"#,
    )
    .await;
    let mut plain = daemon.stream("/plain?topic=a").await;
    let mut own = daemon.stream("/own?topic=a&userId=u").await;
    let client = own.block().await.json()["data"]["client"].clone();
    plain.block().await;
    assert_eq!(plain.block().await.comments[0], "hb");
    let beats = [own.block().await.json(), own.block().await.json()];
    for beat in &beats {
        assert_eq!(beat["type"], "heartbeat");
        assert_eq!(beat["data"], json!({"clientId": client, "user": "u", "at": beat["data"]["at"]}));
    }
    assert!(beats[0]["data"]["at"].as_u64() < beats[1]["data"]["at"].as_u64(), "each tells its own time");
    daemon.signal("TERM");
    let closing = loop {
        let block = own.block().await;
        if block.json()["type"] == "closing" {
            break block;
        }
    };
    assert!((7000..=8000).contains(&closing.retry.unwrap()), "{closing:?}");
    let closing = plain.event().await;
    assert!(closing.is("closing") && closing.retry.unwrap() <= 2000, "{closing:?}");
    daemon.ended().await;
}

#[tokio::test]
async fn a_reload_may_bring_the_first_route_with_a_layout_of_its_own() {
    let key = format!("internal.publish_keys = [\"{KEY}\"]\n[sse]\nheartbeat = \"10m\"\n[[stream]]\n");
    let daemon = Daemon::start(&key).await;
    let cursor = daemon.stream("/events?topic=a").await.block().await.id().to_owned();
    let mut open = daemon.stream("/events?topic=a").await;
    open.block().await;
    daemon.publish(&json!({"topic": "a", "event": "before", "data": {"n": 1}})).await;
    daemon.rewrite(&format!("{key}[[stream]]\npath = \"/typed\"\nevents = \"typed\"\n"));
    let answer = daemon.command("POST", "/reload", &[], b"").await.json();
    assert_eq!(answer["needs_restart"], json!([]), "{answer}");
    daemon.publish(&json!({"topic": "a", "event": "after", "data": {"n": 2}})).await;
    let mut typed = Stream::open(daemon.public, "/typed?topic=a", &[("last-event-id", &cursor)]).await;
    typed.block().await;
    for (name, n) in [("before", 1), ("after", 2)] {
        let data = typed.event().await.json();
        assert_eq!((&data["type"], &data["data"]), (&json!(name), &json!({"n": n})));
        assert!(data["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(open.event().await.is(name), "a stream that is open stays as it is");
    }
}

#[tokio::test]
async fn layouts_hold_on_http2_and_for_readers_that_are_behind() {
    let daemon = Daemon::start(ROUTES).await;
    let (mut one, mut two) = (H2::plain(daemon.public).await, H2::plain(daemon.public).await);
    let mut typed = one.stream("/typed?topic=a", &[]).await;
    let mut plain = two.stream("/plain?topic=a", &[]).await;
    typed.block().await;
    plain.block().await;
    let mut slow = daemon.stream("/typed?topic=a").await;
    slow.block().await;
    let filling = "x".repeat(20_000);
    for n in 0..300 {
        daemon.publish(&json!({"topic": "a", "event": "n", "data": {"n": n, "filling": filling}})).await;
    }
    for n in 0..300 {
        assert_eq!(plain.block().await.json()["n"], n);
        for data in [typed.block().await.json(), slow.event().await.json()] {
            assert_eq!((&data["type"], &data["data"]["n"]), (&json!("n"), &json!(n)));
        }
    }
}

#[tokio::test]
async fn instances_that_share_a_log_in_redis_lay_it_out_each_as_it_is_configured() {
    let redis = Redis::start().await;
    let config = format!("{ROUTES}{}[redis.stream]\nkey = \"log\"\n", redis.section());
    let (one, two) = (Daemon::start(&config).await, Daemon::start(&config).await);
    for daemon in [&one, &two] {
        ready(daemon, 200).await;
    }
    let cursor = one.stream("/plain?topic=a").await.block().await.id().to_owned();
    let mut live = two.stream("/typed?topic=a").await;
    live.block().await;
    one.publish(&json!({"topic": "a", "event": "x", "data": "5"})).await;
    let live = live.event().await;
    assert_eq!((&live.json()["type"], &live.json()["data"]), (&json!("x"), &json!("5")));
    // One that loads its copy of the log has it so, too.
    let three = Daemon::start(&config).await;
    ready(&three, 200).await;
    let mut typed = Stream::open(three.public, "/typed?topic=a", &[("last-event-id", &cursor)]).await;
    typed.block().await;
    let replayed = typed.event().await;
    assert_eq!((replayed.data(), replayed.id()), (live.data(), live.id()));
}

#[tokio::test]
async fn who_comes_and_goes_is_said_with_the_data_that_a_table_gives() {
    let daemon = Daemon::start(
        r#"
[presence]
grace = 0
topics = ["presence"]
data = { userId = "{user}", online = "{online}", what = "{event} of {user}", timestamp = "{now}" }
[[stream]]
path = "/events"
topics = ["{query.topic?}"]
user = "{query.userId?}"
"#,
    )
    .await;
    let mut watching = daemon.stream("/events?topic=presence").await;
    watching.block().await;
    let mut user = Some(daemon.stream("/events?userId=u").await);
    for (name, online) in [("user:online", true), ("user:offline", false)] {
        let event = watching.event().await;
        assert!(event.is(name), "{event:?}");
        let data = event.json();
        let at = data["timestamp"].as_u64().expect("milliseconds");
        let all = json!({"userId": "u", "online": online, "what": format!("{name} of u"), "timestamp": at});
        assert_eq!(data, all);
        user = None;
    }
    drop(user);
}
