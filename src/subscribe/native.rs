//! The native dialect: topics by the templates of a route, `Last-Event-ID` or a parameter of the query, `history`,
//! `since`, `event` and `except`.

use http::HeaderName;
use http::request::Parts;

use crate::clock::parse_rfc3339;
use crate::event::{EventFilter, EventName, is_cursor_parameter};
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
    let since = if max_history > 0 && !route.look().names_since { since(&request.query)? } else { None };
    if since.is_some() && history > 0 {
        return Err(BadStreamRequest::SinceAndHistory);
    }
    let names = if route.look().choose_events { names(&request.query)? } else { None };
    let snapshot = route.look().snapshot && snapshot(&request.query)?;
    Ok(SubscribeRequest { history, since, names, snapshot, ..request })
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

/// Whether a fresh stream asks for the newest event of each key.
fn snapshot(query: &StreamQuery<'_>) -> Result<bool, BadStreamRequest> {
    match query.all("snapshot")[..] {
        [] => Ok(false),
        [one] => one.parse().map_err(|_| BadStreamRequest::Snapshot),
        _ => Err(BadStreamRequest::Repeated("snapshot")),
    }
}

/// How many of its topics' last events a fresh stream asks for: at most `max`.
fn history(query: &StreamQuery<'_>, max: usize) -> Result<usize, BadStreamRequest> {
    match query.all("history")[..] {
        [] => Ok(0),
        [one] => one.parse().map(|count: usize| count.min(max)).map_err(|_| BadStreamRequest::History),
        _ => Err(BadStreamRequest::Repeated("history")),
    }
}

/// From when on a fresh stream asks for events.
fn since(query: &StreamQuery<'_>) -> Result<Option<u64>, BadStreamRequest> {
    match query.all("since")[..] {
        [] => Ok(None),
        [one] if one.bytes().all(|b| b.is_ascii_digit()) => {
            one.parse().map(Some).map_err(|_| BadStreamRequest::Since)
        }
        [one] => parse_rfc3339(one).map(Some).ok_or(BadStreamRequest::Since),
        _ => Err(BadStreamRequest::Repeated("since")),
    }
}

/// Which events are wanted.
fn names(query: &StreamQuery<'_>) -> Result<Option<EventFilter>, BadStreamRequest> {
    let (only, except) = (query.all("event"), query.all("except"));
    if only.len() + except.len() > EventFilter::MAX {
        return Err(BadStreamRequest::TooManyEvents { max: EventFilter::MAX });
    }
    for (parameter, names) in [("event", &only), ("except", &except)] {
        for name in names {
            EventName::parse(name)
                .map_err(|why| BadStreamRequest::BadName { name: parameter.to_owned(), why })?;
        }
    }
    Ok(EventFilter::new(&only, &except))
}
