//! The next step for somebody whose token is refused, or names nobody: for `sidestream token explain`.
//!
//! Decides nothing, and reads what the token says unverified. A sentence here names claims, never their values.

use serde_json::{Map, Value};

use crate::auth::caller::Verified;
use crate::auth::claims;
use crate::auth::denied::Denied;
use crate::auth::explain::{header_of, payload_of};
use crate::auth::grant::GrantedTopics;
use crate::config;

/// What applications call a user, a session and lists of topics, in small letters without anything between the words.
const USERS: &[&str] = &[
    "userid",
    "uid",
    "sub",
    "user",
    "username",
    "preferredusername",
    "accountid",
    "account",
    "memberid",
    "customerid",
    "personid",
    "email",
];
const SESSIONS: &[&str] = &["sid", "sessionid", "session", "sessionstate"];
const TOPICS: &[&str] =
    &["topics", "topic", "channels", "rooms", "subscribe", "subscriptions", "publish", "scopes", "scope"];

/// What a good token nearly says: a claim under another name than `section` (`auth.jwt`) is set to look for.
pub fn near_misses(section: &str, jwt: &config::Jwt, verified: &Verified) -> Vec<String> {
    let (grant, all) = (&verified.grant, &verified.claims);
    let mut hints = Vec::new();
    if grant.user.is_none() {
        hints.push(match similar(all, USERS, is_name) {
            Some(claim) => format!("no user: the token has `{claim}`; set {section}.user = \"{claim}\""),
            None => {
                format!("no user: the token has no `{}`, so what is for users does not reach it", jwt.user)
            }
        });
    }
    if grant.session.is_none()
        && let Some(claim) = similar(all, SESSIONS, is_name)
    {
        hints.push(format!("no session: the token has `{claim}`; set {section}.session = \"{claim}\""));
    }
    let has_none = matches!(&grant.topics, GrantedTopics::Only(patterns) if patterns.is_empty());
    if has_none && claims::find(all, &jwt.topics).is_none() {
        hints.push(match similar(all, TOPICS, is_list) {
            Some(claim) => format!("no topics: the token has `{claim}`; set {section}.topics = \"{claim}\""),
            None => format!(
                "no topics: put those that its holder may ask for into `{}`, or give some to everybody by \
                 {section}.grant",
                jwt.topics
            ),
        });
    }
    hints
}

/// The same for a publisher's token: only where it may publish counts.
pub fn near_misses_of_publisher(section: &str, jwt: &config::Jwt, verified: &Verified) -> Vec<String> {
    let hints = near_misses(section, jwt, verified);
    hints
        .into_iter()
        .filter(|hint| hint.starts_with("no topics"))
        .map(|hint| match hint.split_once("; set") {
            Some(_) => hint,
            None => format!("no topics: list those that it may publish to in `{}`", jwt.topics),
        })
        .collect()
}

/// What to do about a token that `denied` refuses; None where the refusal says it.
pub fn next_step(section: &str, jwt: &config::Jwt, token: &str, denied: &Denied) -> Option<String> {
    let header = header_of(token).unwrap_or_default();
    let payload = payload_of(token).unwrap_or_default();
    let step = match denied {
        Denied::Malformed(_) => return malformed(token).map(str::to_owned),
        Denied::Expired => format!(
            "make a new one; if it is new, the clock of the machine that made it is behind ({section}.leeway allows \
             for {})",
            humantime::format_duration(jwt.leeway)
        ),
        Denied::NotYetValid => format!(
            "wait until its `nbf`, or set the clock of the machine that made it: it is ahead ({section}.leeway allows \
             for {})",
            humantime::format_duration(jwt.leeway)
        ),
        Denied::UnsupportedAlgorithm if header.get("alg").is_some_and(|alg| alg == "none") => {
            "sign it: a token without a signature could be anybody's".to_owned()
        }
        Denied::UnsupportedAlgorithm => format!(
            "sign it with an algorithm that is accepted, or give {section} a key for its own, and allow it where \
             {section}.algorithms is set"
        ),
        Denied::UnknownKey if header.contains_key("kid") => format!(
            "add the key of its `kid` as a [[{section}.key]], or to the set at {section}.jwks_url; or sign with a key \
             that is known"
        ),
        Denied::UnknownKey => format!("give its header the `kid` of one of the keys of [{section}]"),
        Denied::BadSignature => format!(
            "its key is another one than that of [{section}]: compare both to the last byte. A secret in base64 needs \
             secret_encoding = \"base64\"; a line end or quotes in a variable belong to the secret"
        ),
        Denied::WrongAudience => format!(
            "if it is meant for this daemon, add its `aud` to {section}.audience; otherwise ask for one that is"
        ),
        Denied::WrongIssuer => format!("if its issuer is to be believed, add its `iss` to {section}.issuer"),
        Denied::MissingClaim(claim) if &**claim == "exp" => {
            format!(
                "let its issuer set `exp`; {section}.allow_without_exp = true takes tokens that never end"
            )
        }
        Denied::MissingClaim(claim) if &**claim == "aud" => {
            format!("let its issuer set `aud` to one of {section}.audience")
        }
        Denied::MissingClaim(claim) if &**claim == "iss" => {
            format!("let its issuer set `iss` to one of {section}.issuer")
        }
        Denied::MissingClaim(claim) => {
            format!("let its issuer set `{claim}`, or take it out of {section}.require")
        }
        Denied::BadClaim(claim) if **claim == *jwt.topics => format!(
            "`{claim}` has to be a list of at most {} texts, or one text with spaces between them",
            jwt.max_topics
        ),
        Denied::BadClaim(claim) if **claim == *jwt.user => match similar(&payload, USERS, is_name) {
            Some(other) => format!("the token has `{other}`, too; set {section}.user = \"{other}\""),
            None => format!("`{claim}` has to be a text of 1 to 256 bytes or a whole number"),
        },
        Denied::Milliseconds(claim) => format!("divide `{claim}` by 1,000 where the token is made"),
        _ => return None,
    };
    Some(step)
}

/// What a text may be that is no token as it has to be.
fn malformed(token: &str) -> Option<&'static str> {
    Some(match token.matches('.').count() {
        4 => "five parts: this is an encrypted token (JWE); a signed one (JWS) is needed",
        0 if token.len() > 8 => {
            "no dots: this is an opaque token, which only its issuer can read; with auth = \"backend\" the application \
             is asked"
        }
        _ => return None,
    })
}

/// The first claim that is called like one of `names` and holds what `fits`, with the way to it.
fn similar(all: &Map<String, Value>, names: &[&str], fits: fn(&Value) -> bool) -> Option<String> {
    let own = |name: &&str| {
        let found = all.iter().find(|(claim, value)| plain_name(claim) == **name && fits(value));
        found.map(|(claim, _)| claim.clone())
    };
    if let Some(claim) = names.iter().find_map(own) {
        return Some(claim);
    }
    // In an object of its own: `user.id`, `ctx.userId`, `mercure.subscribe`.
    all.iter().find_map(|(outer, value)| {
        let inner = value.as_object()?;
        let is_about = names.contains(&plain_name(outer).as_str());
        let found = inner.iter().find(|(claim, value)| {
            let name = plain_name(claim);
            fits(value) && (names.contains(&name.as_str()) || (is_about && name == "id"))
        });
        found.map(|(claim, _)| format!("{outer}.{claim}"))
    })
}

/// The last word of a claim's name, which may be an address, in small letters and without what stands between words.
fn plain_name(claim: &str) -> String {
    let last = claim.rsplit(['/', ':']).next().unwrap_or(claim);
    last.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn is_name(value: &Value) -> bool {
    claims::plain(value).is_some()
}

fn is_list(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.iter().all(Value::is_string) && !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(all: Value, names: &[&str], fits: fn(&Value) -> bool) -> Option<String> {
        similar(all.as_object().unwrap(), names, fits)
    }

    #[test]
    fn a_claim_under_another_name_is_found() {
        for (all, name) in [
            (json!({ "userId": "u1", "email": "e" }), "userId"),
            (json!({ "user_id": 7 }), "user_id"),
            (json!({ "https://app.example/user-id": "u" }), "https://app.example/user-id"),
            (json!({ "user": { "id": 7, "name": "x" } }), "user.id"),
            (json!({ "ctx": { "userId": "u" } }), "ctx.userId"),
            (json!({ "userId": null, "preferred_username": "u" }), "preferred_username"),
        ] {
            assert_eq!(found(all.clone(), USERS, is_name).as_deref(), Some(name), "{all}");
        }
        assert_eq!(found(json!({ "tenant": "t", "order": { "id": 7 } }), USERS, is_name), None);
        assert_eq!(
            found(json!({ "mercure": { "subscribe": ["a"] } }), TOPICS, is_list).as_deref(),
            Some("mercure.subscribe")
        );
        assert_eq!(found(json!({ "rooms": [1, 2] }), TOPICS, is_list), None);
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        assert!(malformed("a.b.c.d.e").unwrap().contains("JWE"));
        assert!(malformed("0123456789abcdef").unwrap().contains("opaque"));
        assert_eq!(malformed("a.b"), None);
    }
}
