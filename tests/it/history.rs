//! What a backend reads back: the log's end, a topic's events, and a result for each event of a publish.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, request};

async fn ask(daemon: &Daemon, path: &str) -> Answer {
    daemon.command("GET", path, &[], b"").await
}

async fn page(daemon: &Daemon, path: &str) -> Value {
    let answer = ask(daemon, path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

async fn position(daemon: &Daemon) -> String {
    page(daemon, "/position").await["position"].as_str().expect("an id").to_owned()
}

fn data(page: &Value) -> Vec<&str> {
    page["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["data"].as_str().expect("text"))
        .collect()
}

#[tokio::test]
async fn a_page_starts_its_stream_exactly_where_its_snapshot_ends() {
    let daemon = Daemon::start("").await;
    daemon.publish(&json!({ "topic": "a", "data": "in the snapshot" })).await;
    let position = position(&daemon).await;
    daemon.publish(&json!({ "topic": "a", "data": "after it" })).await;
    let mut stream = daemon.stream(&format!("/events?topic=a&lastEventId={position}")).await;
    let connected = stream.block().await;
    assert_eq!(
        (connected.json()["resumed"].clone(), connected.json()["missed"].clone()),
        (json!(true), json!(1))
    );
    assert_eq!(stream.event().await.data(), "after it");
}

#[tokio::test]
async fn with_the_log_in_redis_the_position_holds_whatever_was_published_before() {
    let redis = Redis::start().await;
    let config = format!("{}[redis.stream]\n", redis.section());
    let (one, other) = (Daemon::start(&config).await, Daemon::start(&config).await);
    // Nothing was ever published: the log begins there.
    eventually("the log is loaded", async || (other.ask("/readyz/events").await.status == 200).then_some(()))
        .await;
    let beginning = position(&other).await;
    one.publish(&json!({ "topic": "first", "data": "of all" })).await;
    let mut stream = other.stream(&format!("/events?topic=first&lastEventId={beginning}")).await;
    let connected = stream.block().await;
    assert!(connected.is("connected") && connected.json()["resumed"] == true, "{connected:?}");
    assert_eq!(stream.event().await.data(), "of all");
    for n in 0..20 {
        let id = one.publish(&json!({ "topic": "a", "data": n })).await["id"].as_str().unwrap().to_owned();
        let position = position(&other).await;
        assert_eq!(position, id, "the other instance may not even have read it");
        let mut stream = other.stream(&format!("/events?topic=a&lastEventId={position}")).await;
        assert_eq!(stream.block().await.json()["missed"], 0);
    }
    let page = page(&other, "/topics/a/events?last=2").await;
    assert_eq!(data(&page), ["18", "19"]);
    redis.freeze();
    let answer = ask(&one, "/position").await;
    redis.thaw();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.text());
}

#[tokio::test]
async fn history_is_read_in_pages_oldest_first_and_byte_for_byte() {
    let daemon = Daemon::start("").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let event = json!({ "topic": "a/b", "event": "n", "data": { "n": n } });
        ids.push(daemon.publish(&event).await["id"].as_str().unwrap().to_owned());
        daemon.publish(&json!({ "topic": "other", "data": "no" })).await;
    }
    daemon.publish(&json!({ "topic": "a/b", "data": "typing", "ephemeral": true })).await;
    let first = page(&daemon, "/topics/a%2Fb/events?limit=2").await;
    assert_eq!(first["topic"], "a/b");
    assert_eq!(data(&first), ["{\"n\":0}", "{\"n\":1}"]);
    assert_eq!((&first["more"], &first["next"]), (&json!(true), &json!(ids[1])));
    let event = &first["events"][1];
    assert_eq!((&event["id"], &event["event"]), (&json!(ids[1]), &json!("n")));
    let ms: u64 = ids[1].split('-').next().unwrap().parse().unwrap();
    assert_eq!(event["at"], ms);
    let rest = page(&daemon, &format!("/topics/a%2Fb/events?since={}&limit=10", ids[1])).await;
    assert_eq!(data(&rest), ["{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]);
    assert_eq!((&rest["more"], rest.get("reset")), (&json!(false), None));
    // Where it ends the next page begins.
    let next = rest["next"].as_str().unwrap();
    daemon.publish(&json!({ "topic": "a/b", "data": "one\ntwo" })).await;
    let news = page(&daemon, &format!("/topics/a%2Fb/events?since={next}")).await;
    assert_eq!(data(&news), ["one\ntwo"]);
    assert_eq!(news["events"][0]["event"], Value::Null);
    assert_eq!(data(&page(&daemon, "/topics/a%2Fb/events?last=2").await), ["{\"n\":4}", "one\ntwo"]);
    assert_eq!(data(&page(&daemon, "/topics/nothing/events").await), [""; 0]);
    for (query, says) in [
        ("since=%21", "`since` is no id"),
        ("last=0", "`last` in the query has to be a whole number from 1 to 1000"),
        ("last=2&since=1-0", "`last` stands alone"),
        ("limit=1001", "from 1 to 1000"),
        ("sinse=1-0", "`sinse` is not known"),
        ("last=1&last=2", "`last` is given twice"),
    ] {
        let answer = ask(&daemon, &format!("/topics/a/events?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
    }
    let nobody = request(daemon.internal, "GET", "/topics/a/events", &[], b"").await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn a_request_for_more_than_is_kept_says_so_and_gives_what_there_is() {
    let daemon = Daemon::start("[log]\nmax_events = 3\n").await;
    let first = daemon.publish(&json!({ "topic": "a", "data": 0 })).await["id"].as_str().unwrap().to_owned();
    for n in 1..6 {
        daemon.publish(&json!({ "topic": "a", "data": n })).await;
    }
    let page_of = async |since: &str| page(&daemon, &format!("/topics/a/events?since={since}")).await;
    let old = page_of(&first).await;
    assert_eq!((data(&old), &old["reset"]), (vec!["3", "4", "5"], &json!("too_old")));
    let other = page_of("1795256318482-0-aaaaaa").await;
    assert_eq!((data(&other), &other["reset"]), (vec!["3", "4", "5"], &json!("other_log")));
    let whole = page(&daemon, "/topics/a/events").await;
    assert_eq!((data(&whole), whole.get("reset")), (vec!["3", "4", "5"], None));
}

#[tokio::test]
async fn of_a_partial_publish_each_event_has_its_own_result() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.stream("/events?topic=a&topic=b").await;
    stream.block().await;
    let publish = async |query: &str, body: &str| {
        daemon.command("POST", &format!("/publish{query}"), &[], body.as_bytes()).await
    };
    let body = r#"[{"topic": "a", "data": 1}, {"topic": ""}, {"users": ["u"], "topic": "b", "data": 2}, 5]"#;
    assert_eq!(publish("", body).await.status, 400, "one bad event refuses all");
    let answer = publish("?partial=true", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["refused"], 2);
    let events = answer["events"].as_array().unwrap();
    assert!(events[0]["id"].is_string() && events[2]["id"].is_string(), "{answer}");
    assert_eq!(events[1]["status"], 400);
    assert_eq!((&events[1]["item"], &events[1]["field"]), (&json!(1), &json!("topic")));
    assert_eq!(events[1]["error"], "item 1 (counted from 0): `topic` is empty");
    assert_eq!(events[3]["item"], 3);
    assert_eq!((stream.event().await.data(), stream.event().await.data()), ("1", "2"));
    for (query, body) in [("?partial=true", "[{\"topic\""), ("?partial=yes", "[]"), ("?partia=true", "{}")] {
        assert_eq!(publish(query, body).await.status, 400, "{query} {body}");
    }
    let lines = "{\"topic\": \"a\", \"data\": 3}\nnonsense\n{\"topic\": \"b\", \"data\": 4}\n";
    let answer = publish("?partial=true", lines).await.json();
    assert_eq!((&answer["refused"], &answer["events"][1]["line"]), (&json!(1), &json!(2)));
    assert_eq!((stream.event().await.data(), stream.event().await.data()), ("3", "4"));
    let refused = daemon.metric("sidestream_events_refused_total", &["source=\"http\""]).await;
    // Two bodies with two bad events, or one: what was refused whole counts once.
    assert!(refused >= 4.0, "{refused}");
}

#[tokio::test]
async fn a_reader_that_was_stopped_gets_no_event_past_its_ttl() {
    let daemon = Daemon::start("").await;
    let cursor = position(&daemon).await;
    daemon.publish(&json!({ "topic": "a", "data": "short", "ttl": 1 })).await;
    daemon.publish(&json!({ "topic": "a", "data": "long", "ttl": 3600 })).await;
    eventually("the short one is over", async || {
        let page = page(&daemon, "/topics/a/events").await;
        (data(&page) == ["long"]).then_some(())
    })
    .await;
    let mut late = Stream::open(daemon.public, "/events?topic=a", &[("last-event-id", &cursor)]).await;
    late.block().await;
    assert_eq!(late.event().await.data(), "long");
}
