//! A second stream that says where the first one ended: whether the id reaches sidestream, and whether it is a stream
//! of its own.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::address::PublicAddress;
use super::cures::Obstacle;
use super::exchange::{Browser, NoAnswer};
use super::finding::{Finding, Subject};
use super::stream::{Greeting, OpenedStream};
use crate::cli::output::chain;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Opens a stream and reads its first event, and for a moment what stands behind it.
pub(super) async fn open(
    browser: &Browser,
    address: &PublicAddress,
    more: &[(HeaderName, HeaderValue)],
    limit: Duration,
) -> Result<OpenedStream, NoAnswer> {
    let plain = (ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let more: Vec<_> = std::iter::once(plain).chain(more.iter().cloned()).collect();
    let head = browser.get(address, &more, limit).await?;
    let mut stream = OpenedStream::new(head);
    stream.read(Instant::now() + limit, |stream| stream.greeting.is_some() || stream.is_foreign).await;
    Ok(stream)
}

/// Comes back as a browser does whose first stream began with `before`.
pub(super) async fn examine(
    browser: &Browser,
    address: &PublicAddress,
    before: &Greeting,
    limit: Duration,
) -> Vec<Finding> {
    /// A `reset` stands right behind the first event.
    const BEHIND: Duration = Duration::from_millis(500);
    let Ok(id) = HeaderValue::from_str(&before.id) else { return Vec::new() };
    let mut second = match open(browser, address, &[(LAST_EVENT_ID, id)], limit).await {
        Ok(stream) => stream,
        Err(why) => {
            return vec![Finding::bad(Subject::Resuming, format!("a second stream: {}", chain(&why)), "")];
        }
    };
    let Some(after) = second.greeting.clone() else {
        let status = second.head.status;
        let why = second
            .refused
            .map_or_else(|| format!("was answered {status}"), |reason| format!("was refused: {reason}"));
        return vec![Finding::bad(
            Subject::Resuming,
            format!("a second stream beside the first one {why}"),
            "",
        )];
    };
    if after.client == before.client {
        let seen = format!("two requests got the same stream (client {})", after.client);
        let means = "A cache gives one answer to several readers: they get each other's events.";
        return vec![Finding::bad(Subject::Caching, seen, means).by(Obstacle::Caching)];
    }
    if after.resumed {
        return vec![Finding::good(Subject::Resuming, "a second stream went on behind Last-Event-ID")];
    }
    second.read(Instant::now() + BEHIND, |stream| stream.reset.is_some()).await;
    let finding = match second.reset.as_deref() {
        Some("other_log") => Finding::bad(
            Subject::Resuming,
            "the id reached an instance that has another log (reset: other_log)",
            "Events of the time between are lost. Give all instances one log ([redis.stream]), or let the proxy keep a \
             client at its instance.",
        ),
        Some(reason) => Finding::bad(
            Subject::Resuming,
            format!("the id arrived, but changed or too late (reset: {reason})"),
            "",
        ),
        None => stripped(browser, address, before, limit).await,
    };
    vec![finding]
}

/// The header did not arrive; says whether the query does.
async fn stripped(browser: &Browser, address: &PublicAddress, before: &Greeting, limit: Duration) -> Finding {
    let by_query = open(browser, &address.with_query("lastEventId", &before.id), &[], limit).await;
    let query_works = by_query.is_ok_and(|stream| stream.greeting.is_some_and(|greeting| greeting.resumed));
    let query = if query_works { "; in the query (?lastEventId=) it does" } else { "" };
    Finding::bad(
        Subject::Resuming,
        format!("Last-Event-ID does not arrive{query}"),
        "After each reconnect the events of the time between are lost, and nobody says so.",
    )
    .by(Obstacle::LastEventId)
}
