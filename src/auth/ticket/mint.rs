//! What an application asks for in `POST /tickets`, and what it gets.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::auth::claims::{id_of, patterns};
use crate::event::{Name, Pattern};

/// A ticket that has just been made.
#[derive(Clone, Serialize)]
pub struct Minted {
    pub ticket: String,
    /// Seconds that are left to redeem it.
    pub expires_in: u64,
    /// The id of what it grants, by which that can be revoked.
    pub token_id: String,
    /// When what it grants ends, in seconds since 1970.
    pub until: u64,
}

/// Why no ticket is made of a body.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadMint {
    #[error("the body is no JSON object")]
    NotJson,
    #[error(
        "there is no field `{0}` in a ticket: it has user, session, topics, expires_in, claims and token_id"
    )]
    Unknown(String),
    #[error("`{0}` must be a text of 1 to 256 bytes without control characters, or a whole number")]
    Name(&'static str),
    #[error("`topics` must be a list of topics and patterns such as \"conversation:*\"")]
    Topics,
    #[error("`claims` must be an object")]
    Claims,
    #[error("`expires_in` must be a whole number of seconds from 1 to {max}")]
    ExpiresIn { max: u64 },
    #[error("what is granted comes to {size} bytes; {MAX_CONTENT} fit in a ticket and its cookie")]
    TooLarge { size: usize },
}

/// With its name, its attributes and base64 a cookie may have 4096 bytes.
pub(super) const MAX_CONTENT: usize = 2500;

/// What a ticket is to grant.
pub(super) struct MintRequest {
    pub(super) user: Option<Name>,
    pub(super) session: Option<Name>,
    /// The id by which the grant can be revoked.
    pub(super) token: Option<Name>,
    pub(super) topics: Vec<Pattern>,
    pub(super) claims: Map<String, Value>,
    /// For how many seconds.
    pub(super) session_secs: u64,
}

impl MintRequest {
    /// Reads the body of `POST /tickets`; `max` is the longest session in seconds.
    pub(super) fn parse(body: &[u8], max: u64) -> Result<Self, BadMint> {
        let mut object: Map<String, Value> = serde_json::from_slice(body).map_err(|_| BadMint::NotJson)?;
        let mut take = |field: &str| object.remove(field).filter(|value| !value.is_null());
        let name = |field: &'static str, value: Option<Value>| {
            value.map(|value| id_of(&value).ok_or(BadMint::Name(field))).transpose()
        };
        let request = Self {
            user: name("user", take("user"))?,
            session: name("session", take("session"))?,
            token: name("token_id", take("token_id"))?,
            topics: match take("topics") {
                None => Vec::new(),
                Some(list) => patterns(&list).ok_or(BadMint::Topics)?,
            },
            claims: match take("claims") {
                None => Map::new(),
                Some(Value::Object(claims)) => claims,
                Some(_) => return Err(BadMint::Claims),
            },
            session_secs: match take("expires_in") {
                None => max,
                Some(value) => value
                    .as_u64()
                    .filter(|seconds| (1..=max).contains(seconds))
                    .ok_or(BadMint::ExpiresIn { max })?,
            },
        };
        match object.keys().next() {
            Some(unknown) => Err(BadMint::Unknown(unknown.chars().take(60).collect())),
            None => Ok(request),
        }
    }
}
