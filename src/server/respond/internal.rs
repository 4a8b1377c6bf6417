//! What a client of the internal listener reads when its request was understood.

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;

use crate::auth::NotAllowed;
use crate::control::{
    BadRevoke, Completeness, HolderTopics, InstanceCount, OthersTold, Revoked, StreamCount, TakeBackError,
    TopicEditError, TopicEndError,
};
use crate::event::{BadBatch, BadContent, Name};
use crate::health::{Dependency, State};
use crate::log::TakenBack;
use crate::publish::{BadHook, BadPublish, HookOutcome, Published, Receipt, RelayError};
use crate::server::respond::ApiProblem;
use crate::server::respond::json::{FullResponse, json, ok, ok_or_unavailable, retry_after};
use crate::server::respond::problem::ProblemText;

/// What the publisher of a body reads.
pub(in crate::server) fn published<'a>(published: &'a Published) -> FullResponse {
    /// One event of several, of which each has its own answer.
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Outcome<'a> {
        Receipt(&'a Receipt),
        Refused {
            /// The status that it would have had alone.
            status: u16,
            #[serde(flatten)]
            text: ProblemText<'a>,
        },
    }
    match published {
        Published::One(receipt) => ok(receipt),
        Published::Many(events) => ok(&serde_json::json!({ "events": events })),
        Published::Each(events) => {
            let refused = events.iter().filter(|event| event.is_err()).count();
            let outcome = |event: &'a Result<Receipt, BadPublish>| match event {
                Ok(receipt) => Outcome::Receipt(receipt),
                Err(bad) => {
                    let (status, text) = refusal_of(bad);
                    Outcome::Refused { status: status.as_u16(), text }
                }
            };
            let events: Vec<Outcome<'_>> = events.iter().map(outcome).collect();
            ok(&serde_json::json!({ "events": events, "refused": refused }))
        }
    }
}

/// What the publisher of a refused body reads.
pub(in crate::server) fn refused_publish(bad: &BadPublish) -> FullResponse {
    let (status, text) = refusal_of(bad);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return ok_or_unavailable(false, &text);
    }
    let mut response = json(status, &text);
    if let BadPublish::TooFast { wait: Some(wait), .. } = bad {
        response.headers_mut().insert(RETRY_AFTER, retry_after(*wait));
    }
    response
}

/// What the sender of a request to a hook reads. One that no condition fits is taken, so that it is not sent again.
pub(in crate::server) fn hook_taken(taken: Result<HookOutcome, BadHook>) -> Result<FullResponse, ApiProblem> {
    match taken {
        Ok(HookOutcome::Published(done)) => Ok(published(&done)),
        Ok(HookOutcome::Ignored) => {
            let ignored = serde_json::json!({ "ignored": "when" });
            Ok(json(StatusCode::ACCEPTED, &ignored))
        }
        Err(BadHook::Publish(bad)) => Ok(refused_publish(&bad)),
        Err(BadHook::Denied(denied)) => Err(ApiProblem::hook_denied(denied)),
        Err(bad @ (BadHook::CloudEvent(_) | BadHook::Form)) => {
            Err(ApiProblem::new(StatusCode::BAD_REQUEST, bad.label(), bad.to_string()))
        }
        Err(BadHook::Content { item, bad }) => {
            let status = match bad {
                BadContent::NotUtf8 | BadContent::NotJson(_) => StatusCode::BAD_REQUEST,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            let (field, error) = (bad.field(), bad.to_string());
            let (field, reason) = (field.as_deref(), Some(bad.label()));
            Ok(json(status, &ProblemText { error, item, field, reason, ..ProblemText::default() }))
        }
    }
}

/// The same for Pusher's libraries, which expect an empty object.
pub(in crate::server) fn pusher_taken(taken: Result<Published, BadHook>) -> Result<FullResponse, ApiProblem> {
    match taken {
        Ok(_) => Ok(ok(&serde_json::json!({}))),
        Err(bad) => hook_taken(Err(bad)),
    }
}

fn refusal_of(bad: &BadPublish) -> (StatusCode, ProblemText<'_>) {
    let error = bad.to_string();
    let mut text = ProblemText { error, ..ProblemText::default() };
    let mut status = StatusCode::BAD_REQUEST;
    match bad {
        BadPublish::Batch(BadBatch::TooMany { .. }) => status = StatusCode::PAYLOAD_TOO_LARGE,
        BadPublish::Batch(BadBatch::Single(bad)) => text.field = bad.field.as_deref(),
        BadPublish::Batch(BadBatch::Item { item, bad }) => {
            text.item = Some(*item);
            text.field = bad.field.as_deref();
        }
        BadPublish::Batch(BadBatch::Line { item, line, bad }) => {
            text.item = Some(*item);
            text.line = Some(*line);
            text.field = bad.field.as_deref();
        }
        BadPublish::Batch(BadBatch::Nothing | BadBatch::NotUtf8 | BadBatch::NotJson(_))
        | BadPublish::Key(_) => {}
        BadPublish::KeysDiffer { item } => {
            text.item = Some(*item);
            text.field = Some("idempotency_key");
        }
        BadPublish::NotAllowed { item, not } => {
            match not {
                NotAllowed::Audience(_) => status = StatusCode::FORBIDDEN,
                NotAllowed::Event(_) => text.field = Some("event"),
                NotAllowed::Retry => text.field = Some("retry"),
                NotAllowed::TakeBack | NotAllowed::TakeBackOf(_) => status = StatusCode::FORBIDDEN,
            }
            text.item = *item;
            text.reason = Some(not.label());
            text.topic = not.topic().map(Name::as_str);
        }
        BadPublish::TooFast { wait, .. } => {
            // No pause helps a batch that is larger than what may go at once.
            let too_many = StatusCode::TOO_MANY_REQUESTS;
            status = if wait.is_some() { too_many } else { StatusCode::PAYLOAD_TOO_LARGE };
            text.reason = Some(bad.label());
        }
        BadPublish::Relay(bad) => {
            status = StatusCode::SERVICE_UNAVAILABLE;
            text.published = Some(match bad {
                RelayError::Down | RelayError::Refused(_) => "nothing",
                RelayError::Unknown => "unknown",
            });
        }
    }
    (status, text)
}

/// What came of taking events back.
pub(in crate::server) fn taken_back(
    result: Result<TakenBack, TakeBackError<NotAllowed>>,
) -> Result<FullResponse, ApiProblem> {
    let taken = result.map_err(ApiProblem::not_taken_back)?;
    Ok(ok(&serde_json::json!({ "retracted": taken.count })))
}

/// What came of ending a topic, or of letting it begin anew.
pub(in crate::server) fn topic_ended(
    changed: Result<bool, TopicEndError>,
) -> Result<FullResponse, ApiProblem> {
    let changed = changed.map_err(|why| ApiProblem::topic_not_ended(&why))?;
    Ok(ok(&serde_json::json!({ "changed": changed })))
}

/// What came of a revocation.
pub(in crate::server) fn revoked(outcome: Result<Revoked, BadRevoke>) -> Result<FullResponse, ApiProblem> {
    #[derive(Serialize)]
    struct Done {
        ended: usize,
        /// Whether the other instances know; absent when there are none.
        #[serde(skip_serializing_if = "Option::is_none")]
        told: Option<bool>,
        until: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
    let Revoked { ended, told, until } = match outcome {
        Ok(revoked) => revoked,
        Err(bad) => return Err(ApiProblem::bad_revoke(&bad)),
    };
    let error = told.error().map(|not| not.to_string());
    let told = (told != OthersTold::Nobody).then_some(told == OthersTold::Yes);
    let until = humantime::format_rfc3339_seconds(until).to_string();
    Ok(ok_or_unavailable(error.is_none(), &Done { ended, told, until, error }))
}

/// What came of closing streams; `until` when their clients are kept out.
pub(in crate::server) fn closed(
    totals: StreamCount,
    told: OthersTold,
    until: Option<SystemTime>,
) -> FullResponse {
    #[derive(Serialize)]
    struct Done {
        closed: usize,
        instances: Vec<InstanceCount>,
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        #[serde(flatten)]
        from: Completeness,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }
    let StreamCount { total, instances, from } = totals;
    let error = match told.error() {
        Some(not) => Some(not.to_string()),
        None if !from.complete => Some("not every instance has answered: ask again".to_owned()),
        None => None,
    };
    let until = until.map(|until| humantime::format_rfc3339_seconds(until).to_string());
    ok_or_unavailable(error.is_none(), &Done { closed: total, instances, until, from, error })
}

/// What came of a change of topics.
pub(in crate::server) fn topics_edited(
    result: Result<HolderTopics, TopicEditError>,
) -> Result<FullResponse, ApiProblem> {
    match result {
        Ok(topics) => Ok(ok(&topics)),
        Err(refused @ TopicEditError::PassedOn) => {
            Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "said": refused.to_string() })))
        }
        Err(refused) => Err(ApiProblem::topics_not_edited(refused)),
    }
}

/// The answer to a question of readiness: 200 for `ready` alone.
pub(in crate::server) fn readiness(
    status: &'static str,
    dependencies: BTreeMap<&'static str, Dependency>,
) -> FullResponse {
    #[derive(Serialize)]
    struct Readiness {
        status: &'static str,
        dependencies: BTreeMap<&'static str, Report>,
    }
    #[derive(Serialize)]
    struct Report {
        required: bool,
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    }
    let report = |dependency: Dependency| {
        let (state, why) = match dependency.state {
            State::Unknown => ("unknown", None),
            State::Up => ("up", None),
            State::Down(why) => ("down", Some(why)),
        };
        Report { required: dependency.required, state, why }
    };
    let dependencies = dependencies.into_iter().map(|(name, one)| (name, report(one))).collect();
    let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(code, &Readiness { status, dependencies })
}
