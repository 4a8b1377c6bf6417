//! Whether a token is good: its text, the keys and the time in, its claims or the reason out.
//!
//! Pure: the clock is an argument. Nothing of the token gets into a reason. The algorithm is the key's; the header's
//! `alg` only says which of them was used.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::{Map, Value};

use crate::auth::claims;
use crate::auth::denied::Denied;
use crate::config;
use crate::jws;
use crate::jws::JwsKey;

/// How long a token may be.
const MAX: usize = 8 << 10;

/// No end of a grant lies further ahead.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What a token has to say of itself.
#[derive(Clone, Debug)]
pub struct Rules {
    pub issuer: Box<[String]>,
    pub audience: Box<[String]>,
    pub leeway: Duration,
    pub require: Box<[String]>,
    pub allow_without_exp: bool,
}

impl Rules {
    pub fn new(settings: &config::Jwt) -> Self {
        Self {
            issuer: settings.issuer.clone().into(),
            audience: settings.audience.clone().into(),
            leeway: settings.leeway,
            require: settings.require.clone().into(),
            allow_without_exp: settings.allow_without_exp,
        }
    }
}

/// What a good token says.
#[derive(Clone, PartialEq, Debug)]
pub struct Claims {
    pub all: Map<String, Value>,
    pub issued: Option<SystemTime>,
    /// When it ends; None = never.
    pub until: Option<SystemTime>,
}

/// The claims of `token` if one of `keys` has signed it and it is good at `now`.
pub fn verify(token: &str, keys: &[JwsKey], rules: &Rules, now: SystemTime) -> Result<Claims, Denied> {
    if token.len() > MAX {
        return Err(Denied::Malformed("it is longer than 8 KiB"));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(THREE_PARTS)?;
    let (header, payload) = message.split_once('.').ok_or(THREE_PARTS)?;
    if payload.contains('.') {
        return Err(THREE_PARTS);
    }
    check_signature(header, message, signature, keys)?;
    let payload = decode(payload).ok_or(Denied::Malformed("its claims are not base64url"))?;
    let all: Map<String, Value> = serde_json::from_slice(&payload)
        .map_err(|_| Denied::Malformed("its claims are not a JSON object"))?;
    check_claims(all, rules, now)
}

const THREE_PARTS: Denied = Denied::Malformed("it is not three parts with dots between them");

/// What is read of a header. A field that stands twice is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// Also where the value is `null`.
fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Whether a token of this `typ` was made for something else, such as a logout (RFC 8725, section 3.11): those that are
/// to be distinguished are `<something>+jwt`. An access token is `at+jwt` (RFC 9068).
fn is_for_something_else(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    kind.ends_with("+jwt") && kind != "at+jwt"
}

fn check_signature(header: &str, message: &str, signature: &str, keys: &[JwsKey]) -> Result<(), Denied> {
    let header = decode(header).ok_or(Denied::Malformed("its header is not base64url"))?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| Denied::Malformed("its header is not a JSON object with an alg"))?;
    if header.typ.as_deref().is_some_and(is_for_something_else) {
        return Err(Denied::Malformed("its `typ` says that it is for something else"));
    }
    if header.crit {
        return Err(Denied::Malformed("its header has a `crit`, of which nothing is understood here"));
    }
    let algorithm = jws::algorithm(&header.alg).ok_or(Denied::UnsupportedAlgorithm)?;
    // A key without an id answers to every one.
    let named = |key: &&JwsKey| match (key.id(), header.kid.as_deref()) {
        (Some(own), Some(asked)) => own == asked,
        _ => true,
    };
    let mut fitting = keys.iter().filter(named).filter(|key| key.verifies(algorithm)).peekable();
    if fitting.peek().is_none() {
        let is_there = header.kid.is_some() && keys.iter().any(|key| key.id() == header.kid.as_deref());
        let is_spoken = keys.iter().any(|key| key.verifies(algorithm));
        return Err(if is_spoken && !is_there { Denied::UnknownKey } else { Denied::UnsupportedAlgorithm });
    }
    // Nobody can sign with nothing.
    let signed =
        !signature.is_empty() && fitting.any(|key| key.verify(algorithm, message.as_bytes(), signature));
    if signed { Ok(()) } else { Err(Denied::BadSignature) }
}

/// Whether one of `keys` may well be the one that `token` names: another set of keys would change nothing then.
pub(super) fn knows_key(token: &str, keys: &[JwsKey]) -> bool {
    let header = token.split('.').next().and_then(decode);
    let header: Option<Header> = header.and_then(|header| serde_json::from_slice(&header).ok());
    match header.map(|header| header.kid) {
        Some(Some(id)) => keys.iter().any(|key| key.id() == Some(&id)),
        Some(None) => keys.iter().all(|key| key.id().is_some()),
        // No key helps with what cannot be read.
        None => true,
    }
}

fn check_claims(all: Map<String, Value>, rules: &Rules, now: SystemTime) -> Result<Claims, Denied> {
    // An issuer whose clock is ahead must not date its tokens past a revocation.
    let issued = time(&all, "iat", now)?.map(|issued| issued.min(now));
    if let Some(from) = time(&all, "nbf", now)?
        && from > now + rules.leeway
    {
        return Err(Denied::NotYetValid);
    }
    let until = match time(&all, "exp", now)? {
        None if rules.allow_without_exp => None,
        None => return Err(Denied::MissingClaim("exp".into())),
        // As long as the token opens a stream, so that none is cut only to be opened once more.
        Some(end) if end + rules.leeway > now => Some(end + rules.leeway),
        Some(_) => return Err(Denied::Expired),
    };
    // RFC 7519, section 4.1.1: one text, where `aud` may be a list.
    if all.get("iss").is_some_and(Value::is_array) {
        return Err(Denied::WrongIssuer);
    }
    one_of(&all, "iss", &rules.issuer, Denied::WrongIssuer)?;
    one_of(&all, "aud", &rules.audience, Denied::WrongAudience)?;
    if let Some(missing) = rules.require.iter().find(|name| claims::find(&all, name).is_none()) {
        return Err(Denied::MissingClaim(missing.as_str().into()));
    }
    Ok(Claims { all, issued, until })
}

/// A claim that is a time (seconds since 1970, with or without a fraction), not further than [`FAR`] ahead.
fn time(all: &Map<String, Value>, name: &'static str, now: SystemTime) -> Result<Option<SystemTime>, Denied> {
    let seconds = match claims::find(all, name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(_) => None,
    };
    let seconds = seconds.filter(|seconds| seconds.is_finite()).ok_or(Denied::BadClaim(name.into()))?;
    // The year 5138, or this year in milliseconds.
    if seconds >= 1e11 {
        return Err(Denied::Milliseconds(name));
    }
    let since = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Ok(Some(UNIX_EPOCH.checked_add(since).unwrap_or(now + FAR).min(now + FAR)))
}

/// Whether the claim `name`, a text or a list of texts, has one of `wanted`; it may be anything when nothing is wanted.
fn one_of(
    all: &Map<String, Value>,
    name: &'static str,
    wanted: &[String],
    wrong: Denied,
) -> Result<(), Denied> {
    if wanted.is_empty() {
        return Ok(());
    }
    let is_wanted = |value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|one| one == text));
    let found = match claims::find(all, name) {
        None => return Err(Denied::MissingClaim(name.into())),
        Some(Value::Array(list)) => list.iter().any(is_wanted),
        Some(value) => is_wanted(value),
    };
    if found { Ok(()) } else { Err(wrong) }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
