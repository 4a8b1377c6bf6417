//! A page of another origin: whether its browser lets it read the stream, and answers what it asks before (CORS).

use std::time::Duration;

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
};

use super::address::PublicAddress;
use super::cures::Obstacle;
use super::exchange::Browser;
use super::finding::{Finding, Subject};
use crate::cli::output::chain;

/// Whether a page of `origin` may read an answer with these headers.
pub(super) fn may_read(headers: &HeaderMap, origin: &HeaderValue) -> Finding {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let page = text(origin);
    let allowed: Vec<String> = headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().map(text).collect();
    let names_it = |value: &String| value == "*" || *value == page;
    match &allowed[..] {
        [one] if names_it(one) => {
            let with = headers.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).is_some_and(|value| value == "true") && one != "*";
            let with = if with { "also with cookies" } else { "without cookies" };
            Finding::good(Subject::Cors, format!("a page of {page} may read the stream, {with}"))
        }
        [] => Finding::bad(
            Subject::Cors,
            format!("no access-control-allow-origin for {page}"),
            "The browser opens the stream and keeps it from the page: `error`, and no more.",
        )
        .by(Obstacle::CorsMissing(page)),
        [one] if !one.contains(',') => Finding::bad(
            Subject::Cors,
            format!("access-control-allow-origin is {one}, not {page}"),
            "The browser opens the stream and keeps it from the page: `error`, and no more.",
        )
        .by(Obstacle::CorsMissing(page)),
        several => Finding::bad(
            Subject::Cors,
            format!("access-control-allow-origin stands there more than once: {}", several.join(", ")),
            "Browsers take one value only, and refuse the answer. sidestream's [cors] sends it; so does the proxy.",
        )
        .by(Obstacle::CorsTwice),
    }
}

/// What browsers ask before a page's `fetch` with a token: whether the headers may be sent.
pub(super) async fn preflight(browser: &Browser, address: &PublicAddress, limit: Duration) -> Finding {
    const SENDS: &str = "authorization,last-event-id";
    let asks = [
        (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET")),
        (ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(SENDS)),
    ];
    let means =
        "EventSource asks nothing before; a client that sends headers (fetch) cannot open the stream.";
    let head = match browser.ask(Method::OPTIONS, address, &asks, limit).await {
        Ok(head) => head,
        Err(why) => return Finding::warn(Subject::Preflight, chain(&why), means),
    };
    let allowed = head.header(&ACCESS_CONTROL_ALLOW_HEADERS).to_ascii_lowercase();
    let has = |name: &str| allowed.split(',').any(|part| part.trim() == name);
    if !head.status.is_success() {
        return Finding::warn(Subject::Preflight, format!("OPTIONS is answered {}", head.status), means);
    }
    let missing: Vec<&str> = SENDS.split(',').filter(|name| !has(name)).collect();
    match &missing[..] {
        [] => Finding::good(Subject::Preflight, "authorization and last-event-id may be sent"),
        missing => Finding::warn(
            Subject::Preflight,
            format!("{} may not be sent", missing.join(" and ")),
            "A client that sends them (fetch) cannot open the stream: cors.headers. EventSource is not concerned.",
        ),
    }
}
