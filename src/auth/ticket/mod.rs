//! `auth = "ticket"`: one-time tickets that the application asks for and its page redeems.
//!
//! EventSource comes back to the same URL, and so with the same ticket. Redeeming one therefore sets a cookie, sealed
//! as the ticket is; a ticket that has been used is worth its cookie and nothing without it. Each grant has a cookie
//! of its own name, so that streams of one browser with different grants do not take each other's place.

pub(super) mod redeemed;
mod seal;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;

use crate::auth::backend::response::{id_of, patterns};
use crate::auth::denied::Denied;
use crate::auth::gate::{Caller, Verified};
use crate::auth::grant::{Grant, GrantedTopics};
use crate::auth::strip;
use crate::auth::ticket::redeemed::{FirstUse, Redeemed, Redemption};
use crate::auth::ticket::seal::{Seal, derived};
use crate::clock::{from_unix_ms, unix_ms};
use crate::config;
use crate::config::{SameSite, SecureCookie};
use crate::event::{Name, Pattern};
use crate::telemetry;

/// Makes and redeems tickets.
pub struct Tickets {
    settings: config::AuthTicket,
    ticket: Seal,
    cookie: Seal,
    /// Of the cookies' names.
    names: hmac::Key,
    used: Redeemed,
    /// Who knows what other instances have redeemed.
    shared: Option<Arc<dyn FirstUse>>,
}

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

/// What is sealed. Short names: it travels in a URL and in a cookie.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct TicketContent {
    /// The ticket's own id.
    i: String,
    /// The id of what is granted.
    j: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<String>,
    t: Vec<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    c: Map<String, Value>,
    /// Made, to be redeemed by, and the end of what it grants: in milliseconds since 1970.
    n: u64,
    x: u64,
    e: u64,
}

const TICKET: &str = "sst1_";
const COOKIE: &str = "ssc1_";
/// The parameter of the query that a ticket comes in.
const PARAMETER: &str = "ticket";
/// With its name, its attributes and base64 a cookie may have 4096 bytes.
const MAX_CONTENT: usize = 2500;
/// A used ticket is remembered for so much longer than it lasts, as other instances' clocks may be behind.
const SLACK: Duration = Duration::from_secs(60);
/// So many cookies of a request are looked at.
const MAX_COOKIES: usize = 64;

const UNKNOWN: &str = "it cannot be told now whether the ticket has been used";

impl Tickets {
    /// `shared` knows what other instances have redeemed.
    pub fn new(settings: &config::AuthTicket, shared: Option<Arc<dyn FirstUse>>) -> Self {
        let mut own = [0; 32];
        let secret = match &settings.secret {
            Some(secret) => secret.expose().as_bytes(),
            None => {
                warn!(
                    "auth.ticket.secret is not set: tickets and their cookies are good on this instance only, and until it ends"
                );
                getrandom::fill(&mut own).expect("the system gives random bytes");
                &own
            }
        };
        Self {
            ticket: Seal::new(secret, TICKET),
            cookie: Seal::new(secret, COOKIE),
            names: hmac::Key::new(hmac::HMAC_SHA256, &derived(secret, "cookie names")),
            used: Redeemed::default(),
            shared,
            settings: settings.clone(),
        }
    }

    /// Makes a ticket of what the body of `POST /tickets` says.
    pub fn mint(&self, body: &[u8]) -> Result<Minted, BadMint> {
        self.mint_at(body, SystemTime::now())
    }

    fn mint_at(&self, body: &[u8], now: SystemTime) -> Result<Minted, BadMint> {
        let mut object: Map<String, Value> = serde_json::from_slice(body).map_err(|_| BadMint::NotJson)?;
        let mut take = |field: &str| object.remove(field).filter(|value| !value.is_null());
        let name = |field: &'static str, value: Option<Value>| -> Result<Option<String>, BadMint> {
            let id = |value: Value| id_of(&value).ok_or(BadMint::Name(field));
            Ok(value.map(id).transpose()?.map(|name| name.as_str().to_owned()))
        };
        let user = name("user", take("user"))?;
        let session = name("session", take("session"))?;
        let token = name("token_id", take("token_id"))?;
        let topics = match take("topics") {
            None => Vec::new(),
            Some(list) => patterns(&list).ok_or(BadMint::Topics)?,
        };
        let claims = match take("claims") {
            None => Map::new(),
            Some(Value::Object(claims)) => claims,
            Some(_) => return Err(BadMint::Claims),
        };
        let max = self.settings.session.as_secs();
        let session_secs = match take("expires_in") {
            None => max,
            Some(value) => value
                .as_u64()
                .filter(|seconds| (1..=max).contains(seconds))
                .ok_or(BadMint::ExpiresIn { max })?,
        };
        if let Some(unknown) = object.keys().next() {
            return Err(BadMint::Unknown(unknown.chars().take(60).collect()));
        }
        let id = random_id();
        let made = unix_ms(now);
        let end = made + session_secs * 1000;
        let by = end.min(made + u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX));
        let content = TicketContent {
            j: token.unwrap_or_else(|| id.clone()),
            i: id,
            u: user,
            s: session,
            t: topics.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            c: claims,
            n: made,
            x: by,
            e: end,
        };
        let text = content.to_json();
        if text.len() > MAX_CONTENT {
            return Err(BadMint::TooLarge { size: text.len() });
        }
        count("minted");
        Ok(Minted {
            ticket: self.ticket.seal(&text),
            expires_in: (by - made) / 1000,
            token_id: content.j,
            until: end / 1000,
        })
    }

    /// The grant of a caller with a ticket that has not been used, or the cookie of one that has.
    pub(super) async fn verify(&self, caller: &Caller<'_>) -> Result<Verified, Denied> {
        self.verify_at(caller, SystemTime::now()).await
    }

    async fn verify_at(&self, caller: &Caller<'_>, now: SystemTime) -> Result<Verified, Denied> {
        let query = caller.request.uri.query().unwrap_or_default();
        let mut presented = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, value)| name == PARAMETER && !value.is_empty())
            .map(|(_, value)| value);
        let headers = &caller.request.headers;
        let at = unix_ms(now);
        let Some(ticket) = presented.next() else {
            // A client that leaves the ticket out when it comes back.
            let newest = self.cookies(headers, at).max_by_key(|content| content.n).ok_or(Denied::NoToken)?;
            count("known_by_cookie");
            return newest.verified();
        };
        if presented.next().is_some() {
            return Err(Denied::BadTicket);
        }
        let content = self.ticket.open(&ticket).and_then(|text| TicketContent::from_json(&text));
        let content = content.ok_or(Denied::BadTicket)?;
        let known = || {
            let name = self.cookie_name(&content);
            self.cookies_named(headers, &name, at).find(|known| known.is_of(&content))
        };
        if content.x <= at {
            return by_cookie(known(), Denied::TicketExpired);
        }
        match self.first_use(&content, at).await {
            Redemption::Again => by_cookie(known(), Denied::TicketUsed),
            Redemption::Unknown => by_cookie(known(), Denied::NotNow(UNKNOWN)),
            Redemption::First => {
                count("redeemed");
                let mut verified = content.clone().verified()?;
                verified.headers.append(SET_COOKIE, self.set_cookie(&content, caller, at));
                Ok(verified)
            }
        }
    }

    async fn first_use(&self, content: &TicketContent, at: u64) -> Redemption {
        let keep = Duration::from_millis(content.x.saturating_sub(at)) + SLACK;
        let now = Instant::now();
        let here = self.used.note(&content.i, now + keep, now);
        let (Redemption::First, Some(shared)) = (here, &self.shared) else { return here };
        match shared.first(content.i.clone(), keep).await {
            Some(true) => Redemption::First,
            Some(false) => Redemption::Again,
            None => {
                // Who comes back when it can be told again should get in.
                self.used.forget(&content.i);
                Redemption::Unknown
            }
        }
    }

    /// Takes tickets and their cookies out of a request for somebody else.
    pub(super) fn strip_tokens(&self, uri: &mut Uri, headers: &mut HeaderMap) {
        strip::cookies(headers, |name, value| self.is_cookie(name) && value.starts_with(COOKIE.as_bytes()));
        let hidden = |name: &str, value: &str| name == PARAMETER && value.starts_with(TICKET);
        if let Some(target) = uri.path_and_query().and_then(|target| strip::target(target, hidden)) {
            let mut parts = std::mem::take(uri).into_parts();
            parts.path_and_query = Some(target);
            *uri = Uri::from_parts(parts).unwrap_or(Uri::from_static("/"));
        }
    }

    fn is_cookie(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.settings.cookie.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// The cookies of a request that we have set and that still count.
    fn cookies(&self, headers: &HeaderMap, at: u64) -> impl Iterator<Item = TicketContent> {
        strip::all_cookies(headers)
            .filter(|(name, _)| self.is_cookie(name))
            .take(MAX_COOKIES)
            .filter_map(move |(_, value)| self.open_cookie(value, at))
    }

    fn cookies_named(
        &self,
        headers: &HeaderMap,
        sought: &str,
        at: u64,
    ) -> impl Iterator<Item = TicketContent> {
        strip::all_cookies(headers)
            .filter(move |(name, _)| *name == sought)
            .take(MAX_COOKIES)
            .filter_map(move |(_, value)| self.open_cookie(value, at))
    }

    fn open_cookie(&self, value: &[u8], at: u64) -> Option<TicketContent> {
        let text = self.cookie.open(str::from_utf8(value).ok()?)?;
        TicketContent::from_json(&text).filter(|content| at < content.e)
    }

    fn cookie_name(&self, content: &TicketContent) -> String {
        let granted = serde_json::to_vec(&content.granted()).expect("a grant is JSON");
        let tag = hmac::sign(&self.names, &granted);
        let digits = HEXLOWER.encode(&tag.as_ref()[..8]);
        format!("{}_{digits}", self.settings.cookie)
    }

    fn set_cookie(&self, content: &TicketContent, caller: &Caller<'_>, at: u64) -> HeaderValue {
        let secure = match self.settings.secure {
            SecureCookie::Always => true,
            SecureCookie::Never => false,
            SecureCookie::Auto => caller.origin.is_https(&caller.request.headers),
        };
        let text = format!(
            "{}={}; Path={}; Max-Age={}; HttpOnly; SameSite={}{}",
            self.cookie_name(content),
            self.cookie.seal(&content.to_json()),
            cookie_path(caller.request.uri.path()),
            content.e.saturating_sub(at).div_ceil(1000),
            match self.settings.same_site {
                SameSite::Strict => "Strict",
                SameSite::Lax => "Lax",
                SameSite::None => "None",
            },
            if secure { "; Secure" } else { "" },
        );
        HeaderValue::from_str(&text).expect("the parts of a cookie are a header's value")
    }
}

impl TicketContent {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }

    fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// What it grants, and its user.
    fn granted(&self) -> (&Option<String>, &Option<String>, &[String], &Map<String, Value>) {
        (&self.u, &self.s, &self.t, &self.c)
    }

    /// Whether both grant the same to the same caller.
    fn is_of(&self, other: &Self) -> bool {
        self.granted() == other.granted()
    }

    fn verified(self) -> Result<Verified, Denied> {
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

fn by_cookie(known: Option<TicketContent>, otherwise: Denied) -> Result<Verified, Denied> {
    let known = known.ok_or(otherwise)?;
    count("known_by_cookie");
    known.verified()
}

/// The path of the stream as a cookie can say it: up to the last `/` before what it cannot.
fn cookie_path(path: &str) -> &str {
    let plain = |b: u8| b.is_ascii_graphic() && b != b';';
    match path.bytes().position(|b| !plain(b)) {
        None => path,
        Some(at) => path[..at].rfind('/').map_or("/", |slash| &path[..=slash]),
    }
}

fn random_id() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    HEXLOWER.encode(&bytes)
}

fn count(outcome: &'static str) {
    metrics::counter!(telemetry::TICKETS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests;
