//! `/connections` and what is below it, `/users/{user}/connections` and `/sessions/{session}/connections` on the internal
//! listener.
//!
//! Whoever sees and closes others' streams needs a key without bounds. This file knows paths, queries and statuses, not
//! where the streams are.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::control::{CONNECTIONS, Control, Heard, MAX_CONNECTIONS, Parting, Which};
use crate::server::internal::query::{Query, bad};
use crate::server::internal::topics::decoded;
use crate::server::problem::Problem;
use crate::server::respond::json;

/// How long who is sent away stays away, unless it is said; the longest that can be said.
const AWAY: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the request is about.
pub(in crate::server) enum Of<'a> {
    /// Those that the query chooses.
    Chosen,
    Count,
    Client(&'a str),
    User(&'a str),
    Session(&'a str),
}

/// What came of closing.
#[derive(Serialize)]
struct Closed {
    closed: usize,
    instances: Vec<crate::control::InstanceCount>,
    /// Until when who is known again is kept out.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(flatten)]
    from: Heard,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Does what the request asks.
pub(in crate::server) async fn answer(
    control: &Control,
    method: &Method,
    of: Of<'_>,
    query: Option<&str>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let mut query = Query::parse(query)?;
    let is_chosen = matches!(of, Of::Chosen | Of::Count);
    let mut which = if is_chosen { filter(&mut query)? } else { Which::default() };
    match of {
        Of::Client(client) => which.client = Some(decoded("connections", client)?),
        Of::User(user) => which.user = Some(decoded("users", user)?),
        Of::Session(session) => which.session = Some(decoded("sessions", session)?),
        Of::Chosen | Of::Count => {}
    }
    if method == Method::DELETE {
        return close(control, which, is_chosen, query).await;
    }
    let connections = control.connections();
    match of {
        Of::Count => {
            query.end()?;
            Ok(json(StatusCode::OK, &connections.count(&which).await))
        }
        Of::Client(_) => {
            query.end()?;
            let page = connections.one(&which).await;
            match page.connections.first() {
                Some(connection) => Ok(json(StatusCode::OK, connection)),
                None => Err(nobody(&page.from)),
            }
        }
        Of::Chosen | Of::User(_) | Of::Session(_) => {
            let limit = query.number("limit", 1, MAX_CONNECTIONS)?.unwrap_or(CONNECTIONS);
            let cursor = query.name("cursor")?;
            query.end()?;
            Ok(json(StatusCode::OK, &connections.list(&which, cursor.as_ref(), limit).await))
        }
    }
}

async fn close(
    control: &Control,
    which: Which,
    is_chosen: bool,
    mut query: Query,
) -> Result<Response<Full<Bytes>>, Problem> {
    let reconnect = query.flag("reconnect")?.unwrap_or(true);
    let time = query.text("for").map(|text| time(&text)).transpose()?;
    let all = if is_chosen { query.flag("all")?.unwrap_or(false) } else { false };
    query.end()?;
    if is_chosen && which.is_everybody() != all {
        return Err(bad("say whose streams are closed, or all=true for everybody's".to_owned()));
    }
    let parting = match (reconnect, time) {
        (true, None) => Parting::ComeBack,
        (false, time) => Parting::StayAway(SystemTime::now() + time.unwrap_or(AWAY)),
        (true, Some(_)) => return Err(bad("`for` goes with reconnect=false".to_owned())),
    };
    let (totals, told) = control.close(&which, parting).await;
    if totals.total == 0 && which.client.is_some() && !is_chosen {
        return Err(nobody(&totals.from));
    }
    let until = match parting {
        Parting::StayAway(until) if which.is_remembered() => {
            Some(humantime::format_rfc3339_seconds(until).to_string())
        }
        _ => None,
    };
    let error = match told.and_then(Result::err) {
        Some(not) => Some(not.to_string()),
        None if !totals.from.complete => Some("not every instance has answered: ask again".to_owned()),
        None => None,
    };
    let status = if error.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let closed =
        Closed { closed: totals.total, instances: totals.instances, until, from: totals.from, error };
    let mut response = json(status, &closed);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

fn filter(query: &mut Query) -> Result<Which, Problem> {
    Ok(Which {
        user: query.name("user")?,
        session: query.name("session")?,
        client: query.name("client")?,
        topic: query.name("topic")?,
        address: query.parsed::<IpAddr>("address", "an IP address")?,
        instance: query.text("instance"),
    })
}

fn time(text: &str) -> Result<Duration, Problem> {
    let time = humantime::parse_duration(text).ok();
    let fits = |time: &Duration| *time >= Duration::from_secs(1) && *time <= LONGEST;
    time.filter(fits)
        .ok_or_else(|| bad("`for` has to be a time such as 10m, from one second to 30 days".to_owned()))
}

/// No such stream was found.
fn nobody(from: &Heard) -> Problem {
    if from.complete {
        return Problem::new(StatusCode::NOT_FOUND, "no_such_client", "no open stream has this client id");
    }
    let say = "no instance that has answered has this client, and not all have: ask again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_all_answered", say).with(RETRY_AFTER, "1")
}
