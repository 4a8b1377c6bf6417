//! What publishers and operators send to the internal listener and over Redis.

use serde_json::json;

use super::{HEAD, ROOM, filled, internal, none_is_too_dear, request, row};
use crate::harness::{KEY, Redis, eventually, listening, start};

#[tokio::test]
async fn a_publishers_and_an_operators_requests_cost_what_their_bytes_cost() {
    const BODY: usize = 300_000;
    let daemon = start("[limits]\nstreams_per_address = 0\n").await;
    // Somebody to deliver to.
    let mut streams = Vec::new();
    for nth in 0..20 {
        streams.push(daemon.stream(&format!("/events?topic=a&topic=b:{nth}")).await);
    }
    let publish = |body: &str| internal("POST", "/publish", body);
    let ndjson = |path: &str, body: &str| {
        request(
            "POST",
            path,
            &format!("authorization: Bearer {KEY}\r\ncontent-type: application/x-ndjson\r\n"),
            body,
        )
    };
    let batch = |count: usize, event: &dyn Fn(usize) -> String| {
        let events: Vec<_> = (0..count).map(event).collect();
        format!("[{}]", events.join(","))
    };
    // Of the dearest honest kind: small events, each with its place in the log and its way to 20 streams.
    let data = "x".repeat(BODY / 1000 - 40);
    let honest = publish(&batch(1000, &|_| format!(r#"{{"topic":"a","data":"{data}"}}"#)));
    let lines = publish(&format!(r#"{{"topic":"a","data":"{}"}}"#, "a\\n".repeat(BODY / 3)));
    let one = |fields: &str| publish(&format!(r#"{{"topic":"a",{fields}}}"#));
    let list = |length: usize| filled(length, |nth| format!("\"n:{nth}\","));
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(BODY / 2), close.repeat(BODY / 2));
    let escaped = filled(BODY, |_| "\\u00e9".to_owned());
    let rows = vec![
        row("nested data", one(&format!(r#""data":{}"#, nested("[", "]"))), honest.clone()),
        row("escapes", one(&format!(r#""data":"{escaped}""#)), honest.clone()),
        row("many line ends", one(&format!(r#""data":"{}""#, "\\n".repeat(BODY / 2))), lines),
        row(
            "many fields",
            one(&format!("{}\"data\":1", filled(BODY, |nth| format!("\"f{nth}\":1,")))),
            honest.clone(),
        ),
        row(
            "one field, often",
            one(&format!("{}\"data\":1", "\"event\":\"e\",".repeat(BODY / 12))),
            honest.clone(),
        ),
        row(
            "a large audience",
            publish(&format!(r#"{{"topics":[{}"a"],"data":1}}"#, list(BODY))),
            honest.clone(),
        ),
        row(
            "one topic in it, often",
            publish(&format!(r#"{{"topics":[{}"a"],"data":1}}"#, "\"a\",".repeat(BODY / 4))),
            honest.clone(),
        ),
        row(
            "many exceptions",
            one(&format!(r#""data":1,"except":{{"clients":[{}"z"]}}"#, list(BODY))),
            honest.clone(),
        ),
        row(
            "a long idempotency key",
            one(&format!(r#""idempotency_key":"{}""#, "k".repeat(BODY))),
            honest.clone(),
        ),
        row("empty lines", ndjson("/publish", &"\n".repeat(BODY)), honest.clone()),
        row("commas", publish(&format!("[{}]", ",".repeat(BODY))), honest.clone()),
        row("many empty events", publish(&batch(BODY / 3, &|_| "{}".to_owned())), honest.clone()),
        row(
            "their mistakes, each told",
            internal(
                "POST",
                "/publish?partial=true",
                &batch(1000, &|_| format!(r#"{{"topic":"","x":"{data}"}}"#)),
            ),
            honest.clone(),
        ),
        row(
            "users asked for",
            internal("POST", "/presence/users", &format!(r#"{{"users":[{}"z"]}}"#, list(BODY))),
            honest.clone(),
        ),
        row(
            "one user, often",
            internal(
                "POST",
                "/presence/users",
                &format!(r#"{{"users":[{}"z"]}}"#, "\"u\",".repeat(BODY / 4)),
            ),
            honest.clone(),
        ),
        row(
            "a nested revocation",
            internal("POST", "/revoke", &"{\"user\":".repeat(BODY / 8)),
            honest.clone(),
        ),
        row(
            "topics given",
            internal("POST", "/users/u/topics", &format!(r#"{{"add":[{}"z"]}}"#, list(BODY))),
            honest.clone(),
        ),
        row(
            "topics taken",
            internal("POST", "/users/u/topics", &format!(r#"{{"remove":[{}"z"]}}"#, list(BODY))),
            honest,
        ),
    ];
    none_is_too_dear(&daemon, daemon.internal, rows).await;

    let path = |path: &str| internal("GET", path, "");
    let value = |nth: usize| format!("p{nth}&");
    let honest = request(
        "GET",
        "/connections",
        &format!("authorization: Bearer {KEY}\r\nx: {}\r\n", "v".repeat(HEAD)),
        "",
    );
    let rows = vec![
        row("many parameters", path(&format!("/connections?{}", filled(HEAD, value))), honest.clone()),
        row(
            "one filter, often",
            path(&format!("/connections?{}", "user=u&".repeat(HEAD / 7))),
            honest.clone(),
        ),
        row("a long filter", path(&format!("/connections?user={}", "u".repeat(HEAD))), honest.clone()),
        row("a page of history", path(&format!("/topics/a/events?{}", filled(HEAD, value))), honest.clone()),
        row("a long topic", path(&format!("/topics/{}/events", "%61".repeat(HEAD / 3))), honest.clone()),
        row("a long path", path(&"/connections".repeat(HEAD / 12)), honest),
    ];
    none_is_too_dear(&daemon, daemon.internal, rows).await;
}

#[tokio::test]
async fn what_comes_over_redis_costs_what_its_bytes_cost() {
    const LENGTH: usize = 200_000;
    let redis = Redis::start().await;
    let daemon = start(&format!(
        "{}requests = true\n[[redis.channel]]\npattern = \"chat:*:*:*\"\ntopic = \"{{1}}\"\nevent = \"{{2}}\"\n",
        redis.section()
    ))
    .await;
    let mut stream = listening(&daemon, "/events?topic=end").await;
    let connection = redis.connection().await;
    let mut taken = async |channel: &str, message: &str| {
        let mut connection = connection.clone();
        let before = daemon.processor_time();
        for _ in 0..10 {
            let mut command =
                if channel == "sidestream:requests" { redis::cmd("LPUSH") } else { redis::cmd("PUBLISH") };
            let _: redis::Value =
                command.arg(channel).arg(message).query_async(&mut connection).await.expect("sent");
        }
        if channel == "sidestream:requests" {
            eventually("they are taken", async || {
                let left: usize = redis.command(&["LLEN", channel]).await;
                (left == 0).then_some(())
            })
            .await;
        }
        // A reader that gets this has taken all before it.
        redis.publish("sidestream", json!({"topic": "end"}).to_string()).await;
        stream.event().await;
        daemon.processor_time() - before
    };
    let asked =
        |body: &str| json!({"id": "1", "method": "POST", "path": "/publish", "body": body}).to_string();
    let publish = json!({"topic": "a", "data": "x".repeat(LENGTH)}).to_string();
    // Lines become fields, one each: what is made of lines alone is the dearest honest text.
    let lines = "a\n".repeat(LENGTH / 2);
    let honest = taken("sidestream", &publish).await
        + taken("sidestream:requests", &asked(&publish)).await
        + taken("chat:a:b:c", &lines).await;
    let nested = "[".repeat(LENGTH);
    for (channel, message) in [
        ("sidestream", nested.clone()),
        ("sidestream", format!(r#"{{"topics":[{}"a"]}}"#, filled(LENGTH, |nth| format!("\"n:{nth}\",")))),
        ("sidestream", format!("[{}]", ",".repeat(LENGTH))),
        ("sidestream:topic:a", nested.clone()),
        ("sidestream:control", nested.clone()),
        ("sidestream:topics", nested.clone()),
        (&format!("chat:{}", ":".repeat(LENGTH / 2)), "x".repeat(LENGTH / 2)),
        (&format!("chat:{}", "a:".repeat(200)), "\n".repeat(LENGTH)),
        ("sidestream:requests", nested.clone()),
        ("sidestream:requests", asked(&nested)),
        (
            "sidestream:requests",
            format!("{{{}\"id\":\"1\"}}", filled(LENGTH, |nth| format!("\"f{nth}\":1,"))),
        ),
        ("sidestream:requests", json!({"id": "1", "path": "/".repeat(LENGTH)}).to_string()),
    ] {
        let spent = taken(channel, &message).await;
        println!("{:.30}: {spent:?}, the honest ones {honest:?}", channel);
        assert!(
            spent.as_secs_f64() <= honest.as_secs_f64() * ROOM + 0.05,
            "{:.30} {:.30}: {spent:?}, the honest ones {honest:?}",
            channel,
            message
        );
    }
    assert_eq!(daemon.ask("/healthz").await.status, 200);
}
