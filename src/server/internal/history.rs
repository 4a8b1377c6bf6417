//! `/topics/{topic}/events` and `/position` on the internal listener: what was published, and where the log ends.

use crate::control::{MAX_PAGE, Since, history};
use crate::event::Name;
use crate::log::Log;
use crate::publish::PublishService;
use crate::server::internal::query::QueryParams;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// Events on a page without `limit`.
const PAGE: usize = 100;

/// A page of what the log keeps of a topic.
pub(super) async fn events(
    log: &Log,
    topic: Name,
    mut query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    let since = query.text("since");
    let last = query.number("last", 1, MAX_PAGE)?;
    let limit = query.number("limit", 1, MAX_PAGE)?;
    query.end()?;
    let (since, limit) = match (since, last, limit) {
        (None, Some(last), None) => (Since::Last(last), last),
        (Some(id), None, limit) => (Since::Id(id), limit.unwrap_or(PAGE)),
        (None, None, limit) => (Since::Origin, limit.unwrap_or(PAGE)),
        (_, Some(_), _) => {
            return Err(ApiProblem::bad_query("`last` stands alone: without `since` and `limit`"));
        }
    };
    let page = history(log, topic, since, limit).await.map_err(ApiProblem::no_page)?;
    Ok(respond::ok(&page))
}

/// Where the log ends.
pub(super) async fn position(
    publish: &PublishService,
    query: QueryParams,
) -> Result<FullResponse, ApiProblem> {
    query.end()?;
    let id = publish.head().await.map_err(|_| ApiProblem::no_position())?;
    Ok(respond::ok(&serde_json::json!({ "position": id.to_string() })))
}
