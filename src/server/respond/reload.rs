//! What a reload has come to, as its asker reads it.

use http::StatusCode;
use serde::Serialize;

use crate::config::{BadConfig, ConfigChanges};
use crate::server::respond::ApiProblem;
use crate::server::respond::json::{FullResponse, json, ok};

pub(in crate::server) fn reloaded(changes: &ConfigChanges) -> FullResponse {
    let ConfigChanges { applied, needs_restart } = changes;
    ok(&serde_json::json!({ "applied": applied, "needs_restart": needs_restart }))
}

/// Nothing has changed: everything that is wrong with the configuration.
pub(in crate::server) fn not_reloaded(bad: &BadConfig) -> FullResponse {
    #[derive(Serialize)]
    struct Said<'a> {
        /// Empty where no key is at fault.
        key: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "String::is_empty")]
        place: String,
    }
    let said = bad.problems.iter().map(|problem| Said {
        key: &problem.key,
        message: &problem.message,
        place: problem.origin.to_string(),
    });
    let problems: Vec<Said<'_>> = said.collect();
    let first = problems.first().map_or("", |problem| problem.message);
    let error = format!("the configuration is refused, and nothing has changed: {first}");
    json(StatusCode::UNPROCESSABLE_ENTITY, &serde_json::json!({ "error": error, "problems": problems }))
}

/// About reloads that do not happen.
impl ApiProblem {
    pub(in crate::server) fn no_reload() -> Self {
        let say = "this daemon was given its configuration once: there is nothing to read anew";
        Self::new(StatusCode::NOT_FOUND, "no_reload", say)
    }

    pub(in crate::server) fn too_many_reloads() -> Self {
        Self::not_now("too_many_reloads", "too many wait for a reload already")
    }

    pub(in crate::server) fn draining() -> Self {
        Self::not_now("draining", "the daemon stops: it reads its configuration when it is started again")
    }
}
