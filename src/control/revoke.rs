//! The body of a `POST /revoke`: whose grants, and for how long they are kept out.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use crate::auth::{Full, GrantSelector};
use crate::control::bus::OthersTold;
use crate::event::{BadName, Name};

/// The longest time: tokens live shorter.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// How many streams of this instance ended.
    pub ended: usize,
    pub told: OthersTold,
    /// Until when they are kept out.
    pub until: SystemTime,
}

/// Why a revocation is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRevoke {
    /// The parser's own words.
    #[error("the body is not what it has to be: {0}")]
    Json(String),
    #[error("name whose grants: `user`, `session`, `token` or `topic`")]
    Nobody,
    #[error("`{field}` {why}")]
    Name { field: &'static str, why: BadName },
    #[error("`{0}` must be a text or a whole number")]
    Kind(&'static str),
    /// The streams were ended; the grants may open new ones.
    #[error(transparent)]
    Full(#[from] Full),
    #[error("`for` must be a time such as \"1h\", from one second to 30 days")]
    Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeFields {
    user: Option<Value>,
    session: Option<Value>,
    token: Option<Value>,
    topic: Option<Value>,
    r#for: Option<String>,
}

/// Whose grants, and for how long.
pub(super) fn parse(body: &[u8], otherwise: Duration) -> Result<(GrantSelector, Duration), BadRevoke> {
    let body: RevokeFields = serde_json::from_slice(body).map_err(|bad| BadRevoke::Json(bad.to_string()))?;
    let selector = GrantSelector {
        user: name("user", body.user)?,
        session: name("session", body.session)?,
        token: name("token", body.token)?,
        topic: name("topic", body.topic)?,
    };
    if selector.is_nobody() {
        return Err(BadRevoke::Nobody);
    }
    let time = match body.r#for {
        None => otherwise,
        Some(text) => humantime::parse_duration(&text).map_err(|_| BadRevoke::Time)?,
    };
    if time < Duration::from_secs(1) || time > LONGEST {
        return Err(BadRevoke::Time);
    }
    Ok((selector, time))
}

fn name(field: &'static str, value: Option<Value>) -> Result<Option<Name>, BadRevoke> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => number.to_string(),
        Some(_) => return Err(BadRevoke::Kind(field)),
    };
    Name::parse(&text).map(Some).map_err(|why| BadRevoke::Name { field, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_whose_and_for_how_long() {
        let hour = Duration::from_secs(3600);
        let (selector, time) = parse(br#"{"user": 7, "topic": "c:1", "for": "90s"}"#, hour).unwrap();
        let named = |text: &str| Some(Name::parse(text).unwrap());
        assert_eq!(
            selector,
            GrantSelector { user: named("7"), topic: named("c:1"), ..GrantSelector::default() }
        );
        assert_eq!(time, Duration::from_secs(90));
        assert_eq!(parse(br#"{"token": "t"}"#, hour).unwrap().1, hour);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |body: &str| parse(body.as_bytes(), Duration::from_secs(60)).unwrap_err();
        for body in ["", "[]", "{", r#"{"users": ["u"]}"#, r#"{"user": "u", "user": "v"}"#] {
            assert!(matches!(refused(body), BadRevoke::Json(_)), "{body}");
        }
        assert_eq!(refused(r#"{"user": null}"#), BadRevoke::Nobody);
        assert_eq!(refused(r#"{"user": ["u"]}"#), BadRevoke::Kind("user"));
        assert!(matches!(refused(r#"{"session": ""}"#), BadRevoke::Name { field: "session", .. }));
        for time in ["", "1", "0s", "31d", "soon"] {
            assert_eq!(refused(&format!(r#"{{"user": "u", "for": "{time}"}}"#)), BadRevoke::Time, "{time}");
        }
    }
}
