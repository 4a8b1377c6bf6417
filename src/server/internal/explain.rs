//! `/dashboard/explain`: why a user, or the holder of a token, hears nothing. What the token would be allowed, and
//! whether its holder is kept out. The token is neither kept nor logged.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{Grant, GrantedTopics, Verified, compare_claims, explain_stream};
use crate::config::StreamAuth;
use crate::control::Control;
use crate::event::Name;
use crate::server::internal::dashboard_parts::Dashboard;
use crate::server::respond;
use crate::server::respond::{ApiProblem, FullResponse};

/// What is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainFields {
    user: Option<String>,
    token: Option<String>,
}

pub(super) async fn answer(
    dashboard: &Dashboard,
    control: &Control,
    body: &[u8],
) -> Result<FullResponse, ApiProblem> {
    let fields: ExplainFields = serde_json::from_slice(body).map_err(|_| ApiProblem::bad_question())?;
    match (fields.user, fields.token) {
        (Some(user), None) => {
            let user = Name::parse(&user).map_err(|why| ApiProblem::bad_query(format!("`user` {why}")))?;
            let kept_out = control.keeps_out(&Grant::open(Some(user.clone()), None));
            Ok(respond::ok(&json!({ "user": user, "kept_out": kept_out, "streams": routes(dashboard) })))
        }
        (None, Some(token)) => Ok(respond::ok(&of_token(dashboard, control, token.trim()).await)),
        _ => Err(ApiProblem::bad_query("ask about one of `user` and `token`")),
    }
}

/// How each stream knows who its callers are.
fn routes(dashboard: &Dashboard) -> Vec<Value> {
    let streams = dashboard.streams.iter().map(|stream| {
        let auth = match stream.auth {
            StreamAuth::None => "none",
            StreamAuth::Jwt => "jwt",
            StreamAuth::Backend => "backend",
            StreamAuth::Ticket => "ticket",
            StreamAuth::Signed => "signed",
        };
        let topics: Vec<String> = stream.heard().iter().map(ToString::to_string).collect();
        json!({ "path": stream.path, "auth": auth, "topics": topics })
    });
    streams.collect()
}

async fn of_token(dashboard: &Dashboard, control: &Control, token: &str) -> Value {
    let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
    let Some(jwt) = dashboard.gates.jwt() else {
        return json!({
            "good": false,
            "reason": "no_jwt",
            "error": "no stream takes tokens: [auth.jwt] is not configured",
            "streams": routes(dashboard),
        });
    };
    match jwt.verify_token(token).await {
        Err(denied) => {
            let checks = dashboard.jwt.as_ref().map(|jwt| compare_claims(jwt, token)).unwrap_or_default();
            json!({ "good": false, "reason": denied.label(), "error": denied.to_string(), "checks": checks })
        }
        Ok(verified) => of_good(dashboard, control, &verified),
    }
}

fn of_good(dashboard: &Dashboard, control: &Control, verified: &Verified) -> Value {
    let grant = &verified.grant;
    let topics = match &grant.topics {
        GrantedTopics::Any => None,
        GrantedTopics::Only(patterns) => Some(patterns.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    let left = grant.until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default().as_secs());
    let opens: Vec<_> = dashboard.streams.iter().map(|stream| explain_stream(stream, verified)).collect();
    json!({
        "good": true,
        "user": grant.user,
        "session": grant.session,
        "topics": topics,
        "expires_in": left,
        "kept_out": control.keeps_out(grant),
        "opens": opens,
        "streams": routes(dashboard),
    })
}
