//! Tokens as a login would sign them, with a secret that the test's configuration has too.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sidestream::jws::JwsKey;

/// The secret of `[auth.jwt]`.
pub(crate) const SECRET: &str = "a-secret-of-the-tests-0123456789abcdef";

/// A token of these claims, good for an hour unless they say otherwise, signed with [`SECRET`].
pub(crate) fn token(claims: &Value) -> String {
    token_of(SECRET, claims)
}

/// The same, signed with another secret.
pub(crate) fn token_of(secret: &str, claims: &Value) -> String {
    let mut claims = claims.clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    claims.as_object_mut().expect("claims are an object").entry("exp").or_insert((now + 3600).into());
    let key = JwsKey::from_secret(secret.as_bytes()).expect("a secret");
    key.signing().expect("a shared secret signs").sign(None, &claims).expect("a token")
}
