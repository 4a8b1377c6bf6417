//! `/presence…` on the internal listener: which users are online.
//!
//! This file knows paths and queries, not where users are.

use serde::Serialize;

use crate::control::{CONNECTIONS, ConnectionInfo, Control, Instance, Presence, StreamFilter};
use crate::event::{ConnectionMeta, Name};
use crate::server::internal::query::QueryParams;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// Users on a page without `limit`, and the most that `limit` may ask for.
const LIMIT: usize = 1000;
const MAX_LIMIT: usize = 5000;

pub(super) fn totals(presence: &Presence, query: QueryParams) -> Result<FullResponse, ApiProblem> {
    query.end()?;
    Ok(respond::ok(&presence.totals()))
}

/// A page of the users that are online.
pub(super) fn page(presence: &Presence, mut query: QueryParams) -> Result<FullResponse, ApiProblem> {
    let cursor = query.name("cursor")?;
    let limit = limit(&mut query)?;
    query.end()?;
    Ok(respond::ok(&presence.page(cursor.as_ref(), limit)))
}

/// Which of the users that the body names are online.
pub(super) fn present(
    presence: &Presence,
    query: QueryParams,
    body: &[u8],
) -> Result<FullResponse, ApiProblem> {
    query.end()?;
    let present = presence.users(body).map_err(|bad| ApiProblem::bad_users(&bad))?;
    Ok(respond::ok(&present))
}

pub(super) async fn user(
    control: &Control,
    user: &Name,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let with_meta = query.flag("meta")?.unwrap_or(false);
    query.end()?;
    let which = with_meta.then(|| StreamFilter { user: Some(user.clone()), ..StreamFilter::default() });
    Ok(with_streams(control, control.presence().user(user), which).await)
}

/// The users on a topic, or only how many there are.
pub(super) async fn topic(
    control: &Control,
    topic: &Name,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let with_meta = query.flag("meta")?.unwrap_or(false);
    let is_count = query.flag("count")?.unwrap_or(false);
    let cursor = query.name("cursor")?;
    let limit = limit(&mut query)?;
    query.end()?;
    let on_topic = control.presence().on_topic(topic, cursor.as_ref(), (!is_count).then_some(limit)).await;
    let which = with_meta.then(|| StreamFilter { topic: Some(topic.clone()), ..StreamFilter::default() });
    Ok(with_streams(control, on_topic, which).await)
}

/// What is known of those who are there, and the first of their streams with what is noted of each.
#[derive(Serialize)]
struct WithStreams<T> {
    #[serde(flatten)]
    there: T,
    connections: Vec<NotedStream>,
    /// Whether these are all, as far as every instance has answered.
    connections_complete: bool,
}

#[derive(Serialize)]
struct NotedStream {
    client: String,
    user: Option<String>,
    instance: Instance,
    meta: ConnectionMeta,
}

/// `there`, with the streams that are `which`, where they are asked for.
async fn with_streams<T: Serialize>(
    control: &Control,
    there: T,
    which: Option<StreamFilter>,
) -> FullResponse {
    let Some(which) = which else { return respond::ok(&there) };
    let page = control.connections().list(&which, None, CONNECTIONS).await;
    let connections_complete = page.next.is_none() && page.from.complete;
    let connections = page.connections.into_iter().map(|one| {
        let ConnectionInfo { client, user, instance, meta, .. } = one;
        NotedStream { client, user, instance, meta: meta.unwrap_or_default() }
    });
    respond::ok(&WithStreams { there, connections: connections.collect(), connections_complete })
}

fn limit(query: &mut QueryParams) -> Result<usize, ApiProblem> {
    Ok(query.number("limit", 1, MAX_LIMIT)?.unwrap_or(LIMIT))
}
