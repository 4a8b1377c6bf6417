//! Recorded answers on the internal listener: listed and stopped.

use crate::capture::{Recordings, StopOutcome};
use crate::event::Name;
use crate::server::internal::query::QueryParams;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// Recorded answers in a list, at most and unless it is said.
const MOST: usize = 1000;
const USUAL: usize = 100;

/// The oldest of this instance's.
pub(super) fn list(recordings: &Recordings, mut query: QueryParams) -> Result<FullResponse, ApiProblem> {
    let limit = query.number("limit", 1, MOST)?.unwrap_or(USUAL);
    query.end()?;
    Ok(respond::ok(&recordings.list(limit)))
}

/// Cancels it at the backend, whichever instance reads it from there.
pub(super) async fn stop(
    recordings: &Recordings,
    id: &Name,
    query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    query.end()?;
    match recordings.stop(id.as_str()).await {
        StopOutcome::Stopped => Ok(respond::ok(&serde_json::json!({ "stopped": true }))),
        StopOutcome::Nothing => Err(ApiProblem::no_such_capture()),
        StopOutcome::Unknown => Err(ApiProblem::captures_unknown()),
    }
}
