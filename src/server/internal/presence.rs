//! `/presence…` on the internal listener: which users are online.
//!
//! This file knows paths and queries, not where users are.

use crate::control::Presence;
use crate::event::Name;
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

pub(super) fn user(presence: &Presence, user: &Name, query: QueryParams) -> Result<FullResponse, ApiProblem> {
    query.end()?;
    Ok(respond::ok(&presence.user(user)))
}

/// The users on a topic, or only how many there are.
pub(super) async fn topic(
    presence: &Presence,
    topic: &Name,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let is_count = query.flag("count")?.unwrap_or(false);
    let cursor = query.name("cursor")?;
    let limit = limit(&mut query)?;
    query.end()?;
    Ok(respond::ok(&presence.on_topic(topic, cursor.as_ref(), (!is_count).then_some(limit)).await))
}

fn limit(query: &mut QueryParams) -> Result<usize, ApiProblem> {
    Ok(query.number("limit", 1, MAX_LIMIT)?.unwrap_or(LIMIT))
}
