//! Open streams as their backend sees them: listed, counted, closed, wherever they are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, request};

const ROUTE: &str = r#"
[[stream]]
path = "/events/{room}"
auth = "none"
user = "{query.user}"
session = "{query.session}"
topics = ["room:{path.room}"]
"#;

async fn ask(daemon: &Daemon, method: &str, path: &str) -> Answer {
    daemon.command(method, path, &[], b"").await
}

async fn done(daemon: &Daemon, method: &str, path: &str) -> Value {
    let answer = ask(daemon, method, path).await;
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    answer.json()
}

/// A stream and its client's id.
async fn open(daemon: &Daemon, room: &str, user: &str, session: &str) -> (Stream, String) {
    let mut stream = daemon.stream(&format!("/events/{room}?user={user}&session={session}")).await;
    let connected = stream.block().await.json();
    (stream, connected["client"].as_str().expect("its id").to_owned())
}

/// Waits until there are `count` streams.
async fn counted(daemon: &Daemon, query: &str, total: usize) -> Value {
    eventually(&format!("{total} streams"), async || {
        let count = done(daemon, "GET", &format!("/connections/count{query}")).await;
        (count["total"] == total).then_some(count)
    })
    .await
}

fn clients(page: &Value) -> Vec<String> {
    let client = |one: &Value| one["client"].as_str().expect("an id").to_owned();
    page["connections"].as_array().expect("connections").iter().map(client).collect()
}

#[tokio::test]
async fn a_connection_is_listed_with_all_that_its_backend_asks() {
    let daemon = Daemon::start(&format!("[instance]\nname = \"one\"\n{ROUTE}")).await;
    let (mut stream, client) = open(&daemon, "r%201", "u", "s").await;
    counted(&daemon, "", 1).await;
    let id = daemon.publish(&json!({ "topic": "room:r 1", "data": 1 })).await["id"].clone();
    daemon.publish(&json!({ "topic": "elsewhere", "data": 1 })).await;
    stream.event().await;
    let one = eventually("it is up to date", async || {
        let one = done(&daemon, "GET", &format!("/connections/{client}")).await;
        (one["sent"] == 1).then_some(one)
    })
    .await;
    for (field, value) in [
        ("client", json!(client)),
        ("user", json!("u")),
        ("session", json!("s")),
        ("topics", json!(["room:r 1"])),
        ("topics_total", json!(1)),
        ("address", json!("127.0.0.1")),
        ("path", json!("/events/{room}")),
        ("start", json!("fresh")),
        ("behind", json!({ "events": 0, "more": false })),
        ("blocked", json!(false)),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert_eq!(one["instance"]["name"], "one");
    assert!(one["age_seconds"].as_u64().unwrap() < 60);
    assert!(one["opened"].as_str().unwrap().ends_with('Z'));
    assert!(one["position"].as_str().unwrap() >= id.as_str().unwrap());
    assert_eq!(ask(&daemon, "GET", "/connections/nobody").await.status, 404);
    assert_eq!(ask(&daemon, "DELETE", "/connections/nobody").await.status, 404);
    let stranger = request(daemon.internal, "GET", "/connections", &[], b"").await;
    assert_eq!(stranger.status, 401);
}

#[tokio::test]
async fn filters_hold_together_and_nonsense_is_refused() {
    let daemon = Daemon::start(ROUTE).await;
    let mut streams = Vec::new();
    for (room, user, session) in [("a", "u", "1"), ("a", "v", "2"), ("b", "u", "3"), ("b", "u", "4")] {
        streams.push(open(&daemon, room, user, session).await);
    }
    counted(&daemon, "", 4).await;
    for (query, total) in [
        ("user=u", 3),
        ("user=u&topic=room:b", 2),
        ("user=u&topic=room:b&session=4", 1),
        ("topic=room:a", 2),
        ("address=127.0.0.1", 4),
        ("address=127.0.0.2", 0),
        ("user=u&address=127.0.0.1", 3),
        ("path=/events/{room}", 4),
        ("path=/events/{room}&user=v", 1),
        ("path=/events/a", 0),
        ("instance=nobody", 0),
        (&format!("client={}", streams[1].1), 1),
        (&format!("client={}&user=u", streams[1].1), 0),
    ] {
        let count = done(&daemon, "GET", &format!("/connections/count?{query}")).await;
        assert_eq!((&count["total"], &count["complete"]), (&json!(total), &json!(true)), "{query}");
        assert_eq!(
            clients(&done(&daemon, "GET", &format!("/connections?{query}")).await).len(),
            total,
            "{query}"
        );
    }
    for (method, path, says) in [
        ("GET", "/connections?usr=u", "`usr` is not known"),
        ("GET", "/connections?user=", "`user` is empty"),
        ("GET", "/connections?limit=0", "from 1 to 1000"),
        ("GET", "/connections?address=here", "an IP address"),
        ("DELETE", "/connections", "all=true"),
        ("DELETE", "/connections?user=u&all=true", "all=true"),
        ("DELETE", "/connections?user=u&reconnect=perhaps", "true or false"),
        ("DELETE", "/connections?user=u&for=1h", "reconnect=false"),
        ("DELETE", "/users/u/connections?reconnect=false&for=1ms", "from one second to 30 days"),
    ] {
        let answer = ask(&daemon, method, path).await;
        assert!(answer.status == 400 && answer.text().contains(says), "{path}: {}", answer.text());
    }
    counted(&daemon, "", 4).await;
}

#[tokio::test]
async fn pages_name_everybody_once_while_others_come_and_go() {
    let redis = Redis::start().await;
    let config = format!("{}{ROUTE}", redis.section());
    let (one, other) = (Daemon::start(&config).await, Daemon::start(&config).await);
    let mut stay = Vec::new();
    for n in 0..30 {
        stay.push(open(if n % 3 == 0 { &one } else { &other }, "a", "stays", &n.to_string()).await);
    }
    let mut go = Vec::new();
    for n in 0..10 {
        go.push(open(&other, "a", "goes", &n.to_string()).await);
    }
    let count = counted(&one, "", 40).await;
    let by_instance: Vec<u64> =
        count["instances"].as_array().unwrap().iter().map(|one| one["streams"].as_u64().unwrap()).collect();
    assert_eq!(by_instance.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([10, 30]));

    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = done(&one, "GET", &format!("/connections?limit=7{cursor}")).await;
        assert_eq!(page["complete"], true, "{page}");
        let clients = clients(&page);
        assert!(clients.len() <= 7 && clients.is_sorted(), "{clients:?}");
        seen.extend(clients);
        // Somebody goes and somebody comes between any two pages.
        go.pop();
        go.insert(0, open(&one, "a", "comes", "0").await);
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let all: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(all.len(), seen.len(), "nobody twice");
    assert!(stay.iter().all(|(_, client)| all.contains(client)), "nobody is left out");
    let far = &stay[1].1;
    assert_eq!(done(&one, "GET", &format!("/connections/{far}")).await["client"], json!(far));
}

#[tokio::test]
async fn a_page_that_is_larger_than_a_message_comes_whole_from_another_instance() {
    let redis = Redis::start().await;
    let config =
        format!("{}[[stream]]\npath = \"/events\"\ntopics = [\"{{query.topic}}\"]\n", redis.section());
    let (one, other) = (Daemon::start(&config).await, Daemon::start(&config).await);
    let topics: Vec<String> = (0..90).map(|n| format!("topic={n:0>60}")).collect();
    let path = format!("/events?{}", topics.join("&"));
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(other.stream(&path).await);
    }
    counted(&one, "", 100).await;
    let page = ask(&one, "GET", "/connections?limit=1000").await;
    assert!(page.body.len() > 512 << 10, "{}", page.body.len());
    let page = page.json();
    assert_eq!((&page["complete"], &page["next"]), (&json!(true), &Value::Null));
    assert_eq!(clients(&page).len(), 100);
    assert!(page["connections"].as_array().unwrap().iter().all(|one| one["topics_total"] == 90));
}

#[tokio::test]
async fn a_connection_says_whether_it_was_resumed() {
    let daemon = Daemon::start(ROUTE).await;
    let id = daemon.publish(&json!({ "topic": "room:a", "data": 1 })).await["id"].clone();
    for (start, cursor) in [
        ("fresh", String::new()),
        ("resumed", format!("&lastEventId={}", id.as_str().expect("an id"))),
        ("reset", "&lastEventId=1-0-elsewhere".to_owned()),
    ] {
        let mut stream = daemon.stream(&format!("/events/a?user=u&session=s{cursor}")).await;
        let client = stream.block().await.json()["client"].clone();
        let path = format!("/connections/{}", client.as_str().expect("its id"));
        let one = eventually("it is listed", async || {
            let answer = ask(&daemon, "GET", &path).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(one["start"], start, "{one}");
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_counted_as_behind() {
    let daemon = Daemon::start(ROUTE).await;
    let (stream, client) = open(&daemon, "a", "slow", "s").await;
    let big = "x".repeat(100_000);
    for _ in 0..100 {
        daemon.publish(&json!({ "topic": "room:a", "data": big })).await;
    }
    let one = eventually("it is blocked", async || {
        let one = done(&daemon, "GET", &format!("/connections/{client}")).await;
        (one["blocked"] == true).then_some(one)
    })
    .await;
    let behind = one["behind"]["events"].as_u64().unwrap();
    assert_eq!(behind + one["sent"].as_u64().unwrap(), 100, "{one}");
    assert!(behind > 0);
    drop(stream);
}

#[tokio::test]
async fn a_closed_client_may_come_back_unless_it_is_closed_for_good() {
    let redis = Redis::start().await;
    let config = format!("{}{ROUTE}", redis.section());
    let (one, other) = (Daemon::start(&config).await, Daemon::start(&config).await);
    let (mut here, client) = open(&one, "a", "u", "1").await;
    let (mut there, _) = open(&other, "a", "u", "2").await;
    let (mut bystander, _) = open(&other, "a", "v", "3").await;
    counted(&other, "", 3).await;
    counted(&one, "", 3).await;

    let closed = done(&other, "DELETE", &format!("/connections/{client}")).await;
    assert_eq!((&closed["closed"], &closed["complete"]), (&json!(1), &json!(true)), "{closed}");
    let closing = here.block().await;
    assert!(closing.is("closing"));
    assert_eq!(closing.json(), json!({ "reason": "kicked", "reconnect": true }));
    assert!(closing.retry.unwrap() <= 10_000 && !closing.id().is_empty());
    assert!(here.next().await.is_none());
    let (mut here, _) = open(&one, "a", "u", "1").await;
    counted(&one, "", 3).await;

    let closed = done(&one, "DELETE", "/users/u/connections?reconnect=false&for=1h").await;
    assert_eq!(closed["closed"], 2, "{closed}");
    assert!(closed["until"].as_str().unwrap().ends_with('Z'));
    for stream in [&mut here, &mut there] {
        let closing = stream.block().await;
        assert_eq!(closing.json(), json!({ "reason": "sent_away", "reconnect": false }));
        assert!(closing.retry.unwrap() <= 10_000, "it is to stop the sooner");
        assert!(stream.next().await.is_none());
    }
    let late = Daemon::start(&config).await;
    late.logged("another instance has come").await;
    for daemon in [&one, &other, &late] {
        let answer = daemon.get("/events/a?user=u&session=9").await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        assert_eq!(daemon.get("/events/a?user=u&session=9").await.header("cache-control"), "no-store");
    }
    bystander_hears(&one, &mut bystander).await;
    assert_eq!(one.metric("sidestream_streams_closed_total", &["reason=\"sent_away\""]).await, 1.0);
    assert_eq!(one.metric("sidestream_streams_refused_total", &["reason=\"sent_away\""]).await, 2.0);

    // Nobody knows this one again: at least it is not back soon.
    let closed = done(&one, "DELETE", "/connections?topic=room:a&reconnect=false").await;
    assert_eq!((&closed["closed"], closed.get("until")), (&json!(1), None));
    let closing = bystander.block().await;
    assert_eq!(closing.json()["reconnect"], false);
    assert_eq!(closing.retry, Some(86_400_000));
    assert_eq!(done(&one, "DELETE", "/connections?all=true").await["closed"], 0);
}

async fn bystander_hears(publisher: &Daemon, bystander: &mut Stream) {
    publisher.publish(&json!({ "user": "v", "data": "still here" })).await;
    assert_eq!(bystander.event().await.data(), "still here");
}

#[tokio::test]
async fn an_instance_that_does_not_answer_is_named() {
    let redis = Redis::start().await;
    let config = format!("{}{ROUTE}", redis.section());
    let one = Daemon::start(&format!("[instance]\nname = \"one\"\n{config}")).await;
    let other = Daemon::start(&format!("[instance]\nname = \"other\"\n{config}")).await;
    let _there = open(&other, "a", "u", "1").await;
    let _here = open(&one, "a", "u", "2").await;
    let _more = open(&one, "b", "v", "3").await;
    counted(&one, "", 3).await;
    other.freeze().await;
    // At once: an instance that is silent for four seconds is dead, and not missed any more.
    let (count, own, nobody, closed) = tokio::join!(
        done(&one, "GET", "/connections/count?topic=room:a"),
        done(&one, "GET", "/connections/count?instance=one&topic=room:a"),
        ask(&one, "GET", "/connections/nobody"),
        ask(&one, "DELETE", "/users/v/connections"),
    );
    assert_eq!((&count["total"], &count["complete"]), (&json!(1), &json!(false)), "{count}");
    assert_eq!(count["silent"][0]["name"], "other");
    assert_eq!((&own["total"], &own["complete"]), (&json!(1), &json!(true)), "nobody else was asked");
    assert_eq!(nobody.status, 503, "it may be there: {}", nobody.text());
    assert_eq!((closed.status, closed.json()["closed"].clone()), (503, json!(1)), "{}", closed.text());
    other.signal("CONT");
}
