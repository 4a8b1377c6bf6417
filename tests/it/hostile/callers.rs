//! What callers bring: tokens, renewals, changes of their topics.

use serde_json::{Value, json};

use super::{HEAD, STREAMS, filled, get, none_is_too_dear, request, row};
use crate::harness::{Daemon, Stream};
use crate::jwt::token;

#[tokio::test]
async fn a_callers_tokens_and_changes_cost_what_their_bytes_cost() {
    let daemon = Daemon::start(STREAMS).await;
    let with =
        |token: &str| request("GET", "/events?topic=t:1", &format!("authorization: Bearer {token}\r\n"), "");
    let good = |claims: Value| {
        let mut all = json!({"sub": "u", "topics": ["*"], "a": "1", "b": "1"});
        claims.as_object().expect("claims").iter().for_each(|(name, value)| all[name] = value.clone());
        with(&token(all))
    };
    // Tokens of more than 8 KiB are not looked at; base64 makes four of three.
    let room = 5_500;
    let names = |count: usize| (0..count).map(|nth| format!("n:{nth}")).collect::<Vec<_>>();
    let honest = good(json!({"x": names(room / 10)}));
    let part = |json: &str| data_encoding::BASE64URL_NOPAD.encode(json.as_bytes());
    let forged =
        |header: &str, payload: &str| with(&format!("{}.{}.{}", part(header), part(payload), "A".repeat(43)));
    let hs = r#"{"alg":"HS256","typ":"JWT"}"#;
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(room / 2), close.repeat(room / 2));
    let short = token(json!({"sub": "u", "topics": ["*"], "a": "1", "b": "1"}));
    let cookies = |one: &str| {
        request(
            "GET",
            "/events?topic=t:1",
            &format!("cookie: {}\r\n", filled(HEAD, |_| format!("session={one}; "))),
            "",
        )
    };
    let rows = vec![
        row(
            "claims that multiply",
            good(json!({"a": names(room / 20), "b": names(room / 20)})),
            honest.clone(),
        ),
        row(
            "equal claims that multiply",
            good(json!({"a": vec!["n"; room / 10], "b": vec!["n"; room / 10]})),
            honest.clone(),
        ),
        row("a list of topics", good(json!({"topics": names(room / 10)})), honest.clone()),
        row("patterns of stars", good(json!({"topics": vec!["*a*a*a*b"; room / 12]})), honest.clone()),
        row("nested arrays", forged(hs, &nested("[", "]")), honest.clone()),
        row("nested objects", forged(hs, &"{\"a\":".repeat(room / 5)), honest.clone()),
        row(
            "a long kid",
            forged(&format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(room)), "{}"),
            honest.clone(),
        ),
        row(
            "a nested header",
            forged(&format!(r#"{{"alg":"HS256","x":{}}}"#, nested("[", "]")), "{}"),
            honest.clone(),
        ),
        row(
            "crit of many",
            forged(&format!(r#"{{"alg":"HS256","crit":[{}""]}}"#, "\"x\",".repeat(room / 4)), "{}"),
            honest.clone(),
        ),
        row("dots alone", with(&".".repeat(HEAD)), honest.clone()),
        row("no base64", with(&"%".repeat(HEAD)), honest.clone()),
        row("many tokens in cookies", cookies("a.b.c"), honest.clone()),
        row("one good token in many cookies", cookies(&short), honest.clone()),
        row(
            "many tokens in the query",
            get(&format!("/events?topic=t:1&{}", filled(HEAD, |nth| format!("token=a.b.{nth}&")))),
            honest,
        ),
    ];
    none_is_too_dear(&daemon, daemon.public, rows).await;

    let mut stream =
        Stream::open(daemon.public, "/events?topic=t:1", &[("authorization", &format!("Bearer {short}"))])
            .await;
    let client = stream.block().await.json()["client"].as_str().expect("an id").to_owned();
    let body = |text: &str| {
        let headers = format!("authorization: Bearer {short}\r\ncontent-type: application/json\r\n");
        request("POST", &format!("/events?client={client}"), &headers, text)
    };
    // Half of what such a body may have.
    let change =
        |add: String, remove: String| body(&format!(r#"{{"add":[{add}"z"],"remove":[{remove}"y"]}}"#));
    let honest = body("{}");
    let pad = |length: usize| filled(length, |_| " ".to_owned());
    let padded = body(&format!("{}{{}}", pad(20_000)));
    let rows = vec![
        row("one topic, added often", change("\"t:1\",".repeat(3_000), String::new()), padded.clone()),
        row(
            "many topics",
            change(filled(20_000, |nth| format!("\"t:{nth}\",")), String::new()),
            padded.clone(),
        ),
        row(
            "many to be removed",
            change(String::new(), filled(20_000, |nth| format!("\"t:{nth}\","))),
            padded.clone(),
        ),
        row("a nested change", body(&"{\"add\":".repeat(3_000)), padded),
        row("renewals alone", body(""), honest),
    ];
    none_is_too_dear(&daemon, daemon.public, rows).await;
}
