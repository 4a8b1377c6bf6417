//! What is sealed in a ticket and in its cookie: the grant itself.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth::caller::Verified;
use crate::auth::denied::Denied;
use crate::auth::grant::{Grant, GrantedTopics};
use crate::auth::ticket::mint::MintRequest;
use crate::clock::from_unix_ms;
use crate::event::{Name, Pattern};

/// What is sealed. Short names: it travels in a URL and in a cookie.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct TicketContent {
    /// The ticket's own id.
    pub(super) i: String,
    /// The id of what is granted.
    pub(super) j: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<String>,
    t: Vec<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    c: Map<String, Value>,
    /// Made, to be redeemed by, and the end of what it grants: in milliseconds since 1970.
    pub(super) n: u64,
    pub(super) x: u64,
    pub(super) e: u64,
}

impl TicketContent {
    /// What is granted from `made`, in milliseconds since 1970, redeemable within `ttl`.
    pub(super) fn new(request: MintRequest, made: u64, ttl: Duration) -> Self {
        let id = random_id();
        let text = |name: Name| name.as_str().to_owned();
        let end = made + request.session_secs * 1000;
        Self {
            j: request.token.map_or_else(|| id.clone(), text),
            i: id,
            u: request.user.map(text),
            s: request.session.map(text),
            t: request.topics.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            c: request.claims,
            n: made,
            x: end.min(made + u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            e: end,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    pub(super) fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// What it grants, and its user.
    pub(super) fn granted(&self) -> (&Option<String>, &Option<String>, &[String], &Map<String, Value>) {
        (&self.u, &self.s, &self.t, &self.c)
    }

    /// Whether both grant the same to the same caller.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.granted() == other.granted()
    }

    pub(super) fn verified(self) -> Result<Verified, Denied> {
        let Self { j, u, s, t, c, n, e, .. } = self;
        // Only what was well formed has been sealed; an older version's may not be.
        let name = |text: String| Name::parse(&text).map_err(|_| Denied::BadTicket);
        let patterns: Result<Box<[Pattern]>, _> = t.iter().map(|text| Pattern::parse(text)).collect();
        let time = from_unix_ms;
        let mut claims = c;
        for (key, value) in [("user", &u), ("session", &s)] {
            if let Some(value) = value {
                claims.entry(key).or_insert_with(|| Value::String(value.clone()));
            }
        }
        let grant = Grant {
            user: u.map(name).transpose()?,
            session: s.map(name).transpose()?,
            token: Some(name(j)?),
            topics: GrantedTopics::Only(patterns.map_err(|_| Denied::BadTicket)?),
            issued: Some(time(n)),
            until: Some(time(e)),
        };
        let mut verified = Verified::new(grant);
        verified.claims = claims;
        Ok(verified)
    }
}

fn random_id() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    HEXLOWER.encode(&bytes)
}
