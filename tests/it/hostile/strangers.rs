//! What anybody may send to the public listener: queries, paths, cookies, headers.

use std::fmt::Write as _;

use super::{HEAD, STREAMS, filled, get, none_is_too_dear, request, row};
use crate::harness::Daemon;

fn query(names: &[&str], mut value: impl FnMut(usize) -> usize) -> String {
    filled(HEAD, |nth| {
        let mut text = String::new();
        for name in names {
            let _ = write!(text, "{name}={}&", value(nth));
        }
        text
    })
}

#[tokio::test]
async fn a_strangers_query_path_and_headers_cost_what_their_bytes_cost() {
    let daemon = Daemon::start(STREAMS).await;
    let abc = ["a", "b", "c"];
    let honest = get(&format!("/three?{}a=1&b=2&c=3", query(&["x", "y", "z"], |nth| nth)));
    let topics = get(&format!("/open?{}", filled(HEAD, |nth| format!("topic=conversation:{nth}&"))));
    let page = |headers: &str| request("GET", "/page", headers, "");
    let value = format!("x-value: {}\r\n", "v".repeat(HEAD));
    let fields = filled(HEAD, |nth| format!("x-field-{nth}: {}\r\n", "v".repeat(15)));
    let cookies = |one: &str| format!("cookie: {}\r\n", filled(HEAD, |nth| format!("{one}{nth}; ")));
    let list = |name: &str, one: &str| format!("{name}: {}\r\n", filled(HEAD, |_| one.to_owned()));
    let rows = vec![
        row("values that multiply", get(&format!("/three?{}", query(&abc, |nth| nth))), honest.clone()),
        row("equal values that multiply", get(&format!("/three?{}", query(&abc, |_| 1))), honest.clone()),
        row("a user of many values", get(&format!("/user?{}", query(&abc, |nth| nth))), honest.clone()),
        row(
            "many names",
            get(&format!("/open?topic=a&{}", filled(HEAD, |nth| format!("{nth}&")))),
            topics.clone(),
        ),
        row("separators alone", get(&format!("/open?topic=a{}", "&".repeat(HEAD))), topics.clone()),
        row("percent-encoded", get(&format!("/open?topic=a&b={}", "%61".repeat(HEAD / 3))), topics.clone()),
        row("broken percents", get(&format!("/open?topic=a&b={}", "%".repeat(HEAD))), topics.clone()),
        row("one topic, repeated", get(&format!("/open?{}", "topic=a&".repeat(HEAD / 8))), topics.clone()),
        row(
            "cursors, repeated",
            get(&format!("/open?topic=a&{}", "lastEventId=1-1&".repeat(HEAD / 16))),
            topics.clone(),
        ),
        row("a long cursor", get(&format!("/open?topic=a&lastEventId={}", "9".repeat(HEAD))), topics.clone()),
        row(
            "a long Last-Event-ID",
            request("GET", "/open?topic=a", &format!("last-event-id: {}\r\n", "1-".repeat(HEAD / 2)), ""),
            topics.clone(),
        ),
        row("a long history", get(&format!("/open?topic=a&history={}", "9".repeat(HEAD))), topics),
        row("dots in a path", get(&"/..".repeat(HEAD / 3)), page(&value)),
        row("a path of percents", get(&format!("/{}", "%2e%2e/".repeat(HEAD / 7))), page(&value)),
        row("a path near a stream's", get(&format!("/events{}", "/".repeat(HEAD))), page(&value)),
        row(
            "Connection names every field",
            page(&format!(
                "connection: {}\r\n{}",
                filled(HEAD / 2, |nth| format!("x-field-{nth}, ")),
                filled(HEAD / 2, |nth| format!("x-field-{nth}: v\r\n"))
            )),
            page(&fields),
        ),
        row("Connection names nothing, often", page(&list("connection", "a,")), page(&fields)),
        row("TE", page(&list("te", "a;q=0.1,")), page(&value)),
        row("Upgrade", page(&format!("connection: upgrade\r\n{}", list("upgrade", "a/1,"))), page(&value)),
        row("many cookies", page(&cookies("a=")), page(&value)),
        row("a chain of forwarders", page(&list("x-forwarded-for", "127.0.0.1,")), page(&fields)),
        row(
            "many lines of forwarders",
            page(&filled(HEAD, |_| "x-forwarded-for: 127.0.0.1\r\n".to_owned())),
            page(&fields),
        ),
        row("Forwarded", page(&list("forwarded", "for=127.0.0.1;a=b,")), page(&fields)),
        row("Forwarded of quotes", page(&list("forwarded", "for=\"\\\"\";")), page(&fields)),
        row("Forwarded of separators", page(&list("forwarded", ";,")), page(&fields)),
        row("Accept, Via and a Host of commas", page(&list("via", "1.1 a,")), page(&fields)),
    ];
    none_is_too_dear(&daemon, daemon.public, rows).await;
}
