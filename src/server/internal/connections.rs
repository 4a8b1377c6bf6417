//! Open streams on the internal listener: listed, counted and closed.
//!
//! This file knows paths and queries, not where the streams are.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::control::{
    CONNECTIONS, CloseMode, Connections, Control, MAX_CONNECTIONS, OthersTold, StreamCount, StreamFilter,
};
use crate::event::{ConnectionMeta, Name};
use crate::server::internal::query::QueryParams;
use crate::server::internal::routes::Holder;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// How long clients stay away that are closed with `reconnect=false`, unless `for` says it; and the longest `for`.
const AWAY: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A page of the streams that the query chooses.
pub(super) async fn list(
    connections: &Connections,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let which = filter(&mut query)?;
    let limit = query.number("limit", 1, MAX_CONNECTIONS)?.unwrap_or(CONNECTIONS);
    let cursor = query.name("cursor")?;
    query.end()?;
    Ok(respond::ok(&connections.list(&which, cursor.as_ref(), limit).await))
}

/// How many streams the query chooses.
pub(super) async fn count(
    connections: &Connections,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let which = filter(&mut query)?;
    query.end()?;
    Ok(respond::ok(&connections.count(&which).await))
}

/// The stream of a client.
pub(super) async fn one(
    connections: &Connections,
    client: Name,
    query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    query.end()?;
    let page = connections.one(&StreamFilter { client: Some(client), ..StreamFilter::default() }).await;
    match page.connections.first() {
        Some(connection) => Ok(respond::ok(connection)),
        None => Err(ApiProblem::no_such_client(page.from.complete)),
    }
}

/// Closes the streams that the query chooses: some, or all with `all=true`.
pub(super) async fn close_chosen(
    control: &Control,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let which = filter(&mut query)?;
    let all = query.flag("all")?.unwrap_or(false);
    let mode = mode(query)?;
    if which.is_everybody() != all {
        return Err(ApiProblem::bad_query("say whose streams are closed, or all=true for everybody's"));
    }
    let (totals, told) = control.close(&which, mode).await;
    Ok(closed(&which, mode, totals, told))
}

/// Closes the streams of one user or session, or the stream of one client.
pub(super) async fn close_of(
    control: &Control,
    of: Holder,
    name: Name,
    query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let mut which = StreamFilter::default();
    match of {
        Holder::User => which.user = Some(name),
        Holder::Session => which.session = Some(name),
        Holder::Client => which.client = Some(name),
    }
    let mode = mode(query)?;
    let (totals, told) = control.close(&which, mode).await;
    if of == Holder::Client && totals.total == 0 {
        return Err(ApiProblem::no_such_client(totals.from.complete));
    }
    Ok(closed(&which, mode, totals, told))
}

fn closed(which: &StreamFilter, mode: CloseMode, totals: StreamCount, told: OthersTold) -> FullResponse {
    let until = match mode {
        CloseMode::StayAway(until) if which.is_remembered() => Some(until),
        _ => None,
    };
    respond::closed(totals, told, until)
}

/// Whether the clients may come back, from what is left of the query.
fn mode(mut query: QueryParams) -> Result<CloseMode, ApiProblem> {
    let reconnect = query.flag("reconnect")?.unwrap_or(true);
    let time = query.text("for").map(|text| time(&text)).transpose()?;
    query.end()?;
    match (reconnect, time) {
        (true, None) => Ok(CloseMode::ComeBack),
        (false, time) => Ok(CloseMode::StayAway(SystemTime::now() + time.unwrap_or(AWAY))),
        (true, Some(_)) => Err(ApiProblem::bad_query("`for` goes with reconnect=false")),
    }
}

fn filter(query: &mut QueryParams) -> Result<StreamFilter, ApiProblem> {
    Ok(StreamFilter {
        user: query.name("user")?,
        session: query.name("session")?,
        client: query.name("client")?,
        topic: query.name("topic")?,
        address: query.parsed::<IpAddr>("address", "an IP address")?,
        meta: meta(query),
        path: query.text("path").map(String::into_boxed_str),
        instance: query.text("instance"),
    })
}

/// `meta.device=phone`: what has to be noted of a stream.
fn meta(query: &mut QueryParams) -> ConnectionMeta {
    let mut wanted = ConnectionMeta::default();
    for (name, text) in query.behind("meta.") {
        wanted.insert(&name, &text);
    }
    wanted
}

fn time(text: &str) -> Result<Duration, ApiProblem> {
    let time = humantime::parse_duration(text).ok();
    let fits = |time: &Duration| *time >= Duration::from_secs(1) && *time <= LONGEST;
    let say = "`for` has to be a time such as 10m, from one second to 30 days";
    time.filter(fits).ok_or_else(|| ApiProblem::bad_query(say))
}
