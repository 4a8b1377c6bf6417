//! `/topics/{topic}/events` and `/position` on the internal listener: what was published, and where the log ends.

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::control::{MAX_PAGE, NoPage, Since, history};
use crate::log::Log;
use crate::publish::{Publish, RelayError};
use crate::server::internal::query::{Query, bad};
use crate::server::internal::topics::decoded;
use crate::server::problem::Problem;
use crate::server::respond::json;

/// Events on a page, unless it is said.
const PAGE: usize = 100;

/// A page of what the log keeps of a topic.
pub(in crate::server) async fn events(
    log: &Log,
    topic: &str,
    query: Option<&str>,
) -> Result<Response<Full<Bytes>>, Problem> {
    let topic = decoded("topics", topic)?;
    let mut query = Query::parse(query)?;
    let since = query.text("since");
    let last = query.number("last", 1, MAX_PAGE)?;
    let limit = query.number("limit", 1, MAX_PAGE)?;
    query.end()?;
    let (since, limit) = match (since, last, limit) {
        (None, Some(last), None) => (Since::Last(last), last),
        (Some(id), None, limit) => (Since::Id(id), limit.unwrap_or(PAGE)),
        (None, None, limit) => (Since::Origin, limit.unwrap_or(PAGE)),
        (_, Some(_), _) => return Err(bad("`last` stands alone: without `since` and `limit`".to_owned())),
    };
    match history(log, topic, since, limit).await {
        Ok(page) => Ok(json(StatusCode::OK, &page)),
        Err(no @ NoPage::Malformed) => Err(bad(no.to_string())),
        Err(no @ NoPage::NotNow) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", no.to_string())
                .with(RETRY_AFTER, "1"))
        }
    }
}

/// Where the log ends.
pub(in crate::server) async fn position(
    publish: &Publish,
    query: Option<&str>,
) -> Result<Response<Full<Bytes>>, Problem> {
    Query::parse(query)?.end()?;
    match publish.head().await {
        Ok(id) => Ok(json(StatusCode::OK, &serde_json::json!({ "position": id.to_string() }))),
        Err(RelayError::Down | RelayError::Unknown) => {
            let say = "Redis cannot be asked now where the log ends: ask again";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", say);
            Err(problem.with(RETRY_AFTER, "1"))
        }
    }
}
