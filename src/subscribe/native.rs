//! The native dialect: topics by the templates of a route, `Last-Event-ID` or a parameter of the query, `history`.

use http::HeaderName;
use http::request::Parts;

use crate::event::is_cursor_parameter;
use crate::subscribe::query::StreamQuery;
use crate::subscribe::refusal::BadStreamRequest;
use crate::subscribe::request::SubscribeRequest;
use crate::subscribe::route::Route;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Understands a request on the path of `route`. At most `max_history` past events are asked for.
pub(super) fn understand<'a>(
    route: &'a Route<'a>,
    head: &'a Parts,
    max_history: usize,
) -> Result<SubscribeRequest<'a>, BadStreamRequest> {
    let request = understand_cursor(route, head)?;
    let history = history(&request.query, max_history)?;
    Ok(SubscribeRequest { history, ..request })
}

/// Understands a request whose query is another's to read, but for the id that the client has last seen.
pub(super) fn understand_cursor<'a>(
    route: &'a Route<'a>,
    head: &'a Parts,
) -> Result<SubscribeRequest<'a>, BadStreamRequest> {
    let request = SubscribeRequest::new(route, head);
    let last_event_id = last_event_id(head, &request.query)?;
    Ok(SubscribeRequest { last_event_id, ..request })
}

/// The id that the client has last seen: the header, or the query for clients that cannot set one. Empty = none.
fn last_event_id(head: &Parts, query: &StreamQuery<'_>) -> Result<Option<String>, BadStreamRequest> {
    let mut headers = head.headers.get_all(LAST_EVENT_ID).iter();
    if let Some(first) = headers.next() {
        if headers.next().is_some() {
            return Err(BadStreamRequest::Repeated("Last-Event-ID"));
        }
        if !first.is_empty() {
            // What is not text is not an id, and is answered like one that is not.
            return Ok(Some(first.to_str().unwrap_or("?").to_owned()));
        }
    }
    Ok(query.last_of(is_cursor_parameter).map(str::to_owned))
}

/// How many of its topics' last events a fresh stream asks for: at most `max`.
fn history(query: &StreamQuery<'_>, max: usize) -> Result<usize, BadStreamRequest> {
    match query.all("history")[..] {
        [] => Ok(0),
        [one] => one.parse().map(|count: usize| count.min(max)).map_err(|_| BadStreamRequest::History),
        _ => Err(BadStreamRequest::Repeated("history")),
    }
}
