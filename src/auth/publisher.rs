//! Who may publish over HTTP, and to which keys: holders of one of the configured keys, or of a publisher's token
//! (JWT), `Authorization: Bearer <key>`.
//!
//! Keys are kept as their SHA-256 and compared in a time that depends on none of them; they are never shown. A
//! publisher that is not known to be free of bounds has some.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use metrics::Counter;
use subtle::ConstantTimeEq as _;

use crate::auth::denied::Denied;
use crate::auth::gate::{BadGate, jwt_gate};
use crate::auth::grant::{Grant, GrantedTopics};
use crate::auth::jwt::JwtGate;
use crate::config;
use crate::config::{PublisherKey, Secret};
use crate::event::{Audience, Event, EventName, Key, Name, Pattern};
use crate::health::Health;
use crate::pace::Quota;
use crate::rate::{RateLimit, TooFast};
use crate::shutdown::Drain;
use crate::telemetry::PUBLISHES;

/// The keys that may publish; several, so that they can be rotated, and that each publisher has its own.
pub struct PublisherKeys {
    keys: Vec<([u8; 32], Arc<Publisher>)>,
    tokens: Option<Arc<JwtGate>>,
    reserved: ReservedEvents,
}

/// The names of the daemon's own events, which a publisher with bounds may not use.
pub type ReservedEvents = Arc<[EventName]>;

/// Somebody who may publish.
#[derive(Debug)]
pub struct Publisher {
    name: Box<str>,
    /// Whose token it was: what one of them sends counts once among its own.
    subject: Option<Name>,
    /// None = to everybody.
    bounds: Option<PublisherScope>,
    /// How much it may publish; None = as the others.
    rate: Option<Arc<RateLimit>>,
    /// Tells those of the same name apart.
    number: usize,
    /// Of publishes, looked up at the first one.
    published: OnceLock<Counter>,
}

/// Where a publisher may publish.
#[derive(Debug)]
struct PublisherScope {
    topics: Box<[Pattern]>,
    users: bool,
    sessions: bool,
    clients: bool,
    broadcast: bool,
    retract: bool,
    reserved: ReservedEvents,
}

/// What a publisher may not do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAllowed {
    #[error("this publisher may not publish to {}", shown(.0))]
    Audience(Key),
    #[error(
        "this publisher may not publish the event `{}`: the names of sse.connected_as, sse.heartbeat_as and [presence] \
        are sidestream's own", .0.as_str()
    )]
    Event(EventName),
    #[error("this publisher may not take anything back: set `retract` of its [[internal.publisher]]")]
    TakeBack,
    #[error("this publisher may not take back what is for {} as well", shown(.0))]
    TakeBackOf(Key),
    /// It would hold for all that the client's stream carries.
    #[error("this publisher may not set `retry`: it steers the whole stream")]
    Retry,
}

/// Why somebody may not publish.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublisherDenied {
    #[error("publishing over HTTP is off: set internal.publish_keys, or an [[internal.publisher]]")]
    Off,
    #[error("a publish key is needed: Authorization: Bearer <key>")]
    Missing,
    #[error("the publish key is wrong")]
    Wrong,
    /// It would do for some of what can be published.
    #[error("this is the key of a publisher within bounds: one of internal.publish_keys is needed here")]
    Bounded,
    /// A publisher's token is no good.
    #[error("{say}")]
    Token { word: &'static str, say: String },
    /// Nothing is wrong with the token, as far as is known.
    #[error("{0}")]
    NotNow(&'static str),
}

impl PublisherDenied {
    /// One word for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Off => "publish_off",
            Self::Missing => "no_key",
            Self::Wrong => "wrong_key",
            Self::Bounded => "bounded_key",
            Self::Token { word, .. } => word,
            Self::NotNow(_) => "auth_unavailable",
        }
    }
}

impl PublisherKeys {
    /// `keys` may publish to everybody, `publishers` within their bounds. Empty keys are passed over: nobody may
    /// publish with nothing. A key that is both has the publisher's bounds.
    pub fn new(keys: &[Secret], publishers: &[config::Publisher], reserved: ReservedEvents) -> Self {
        let hash_of =
            |key: &Secret| Some(sha256(key.expose().as_bytes())).filter(|_| !key.expose().is_empty());
        let bounded = publishers.iter().filter_map(|publisher| {
            let hash = match &publisher.key {
                PublisherKey::Plain(key) => hash_of(key)?,
                PublisherKey::Sha256(hash) => *hash,
            };
            Some((hash, Arc::new(Publisher::bounded(publisher, &reserved))))
        });
        let all = keys.iter().enumerate().filter_map(|(number, key)| {
            let free = Publisher { number, ..Publisher::unbounded() };
            Some((hash_of(key)?, Arc::new(free)))
        });
        Self { keys: bounded.chain(all).collect(), tokens: None, reserved }
    }

    /// All that `section` knows; what verifies tokens by the same settings is taken over from `before`. Nothing works
    /// in the background before [`PublisherKeys::start`].
    pub fn of(
        section: &config::Internal,
        outbound: &config::Outbound,
        reserved: ReservedEvents,
        before: Option<&Self>,
    ) -> Result<Self, BadGate> {
        let kept = before.and_then(|before| before.tokens.as_ref());
        let tokens = section.publisher_jwt.as_ref().map(|jwt| jwt_gate(jwt, outbound, kept)).transpose()?;
        Ok(Self { tokens, ..Self::new(&section.publish_keys, &section.publishers, reserved) })
    }

    /// Starts what works in the background, which ends when the drain starts or nobody has it any more.
    pub fn start(&self, health: &Health, drain: &Drain) {
        if let Some(tokens) = &self.tokens {
            tokens.start("publisher_jwks", health, drain);
        }
    }

    /// Sees that tokens can be verified, unless that has been started. An error says why they cannot.
    pub async fn try_out(&self) -> Result<(), String> {
        match self.tokens.as_ref().filter(|tokens| !tokens.is_started()) {
            Some(tokens) => {
                tokens.fetch_keys().await.map_err(|why| format!("internal.publisher_jwt.jwks_url: {why}"))
            }
            None => Ok(()),
        }
    }

    /// Whether the sender of `headers` may do everything that a key opens.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), PublisherDenied> {
        let holder = self.holder(self.presented(headers)?).ok_or(PublisherDenied::Wrong)?;
        if holder.bounds.is_none() { Ok(()) } else { Err(PublisherDenied::Bounded) }
    }

    /// The publisher that the sender of `headers` is. Waits only for the keys of tokens that may be on their way.
    pub async fn publisher(&self, headers: &HeaderMap) -> Result<Arc<Publisher>, PublisherDenied> {
        let presented = self.presented(headers)?;
        if let Some(publisher) = self.holder(presented) {
            return Ok(Arc::clone(publisher));
        }
        // No key has dots in its middle by accident; and a wrong key is no bad token.
        let is_token = |text: &&str| text.bytes().filter(|&b| b == b'.').count() == 2;
        let token = str::from_utf8(presented).ok().filter(is_token);
        let (Some(tokens), Some(token)) = (&self.tokens, token) else { return Err(PublisherDenied::Wrong) };
        match tokens.verify_token(token).await {
            Ok(verified) => Ok(Arc::new(Publisher::of_token(verified.grant, &self.reserved))),
            Err(Denied::NotNow(why)) => Err(PublisherDenied::NotNow(why)),
            Err(denied) => Err(PublisherDenied::Token { word: denied.label(), say: denied.to_string() }),
        }
    }

    /// What the sender of `headers` presents.
    fn presented<'h>(&self, headers: &'h HeaderMap) -> Result<&'h [u8], PublisherDenied> {
        if self.keys.is_empty() && self.tokens.is_none() {
            return Err(PublisherDenied::Off);
        }
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = fields.next().ok_or(PublisherDenied::Missing)?;
        if fields.next().is_some() {
            return Err(PublisherDenied::Wrong);
        }
        bearer(field.as_bytes()).ok_or(PublisherDenied::Missing)
    }

    fn holder(&self, presented: &[u8]) -> Option<&Arc<Publisher>> {
        let presented = sha256(presented);
        // Every key is looked at, whichever it is; which one of the right ones it was is no secret.
        let same = self.keys.iter().filter(|(hash, _)| bool::from(hash.ct_eq(&presented)));
        same.fold(None, |first, (_, publisher)| first.or(Some(publisher)))
    }
}

impl Publisher {
    /// Somebody who may publish to everybody.
    pub fn unbounded() -> Self {
        Self::named("publish_keys")
    }

    /// The daemon itself, as `name` in metrics. No rate holds for it.
    pub fn own(name: &'static str) -> Self {
        Self { rate: Some(own_rate(Quota::UNLIMITED)), ..Self::named(name) }
    }

    /// A hook, whose templates say to whom it publishes. Its idempotency keys are its own.
    pub fn hook(name: &str, rate: Option<Quota>, reserved: &ReservedEvents) -> Self {
        let everything = Pattern::parse("*").expect("a pattern of our own");
        let bounds = PublisherScope {
            topics: [everything].into(),
            users: true,
            sessions: true,
            clients: true,
            broadcast: true,
            retract: false,
            reserved: Arc::clone(reserved),
        };
        Self { bounds: Some(bounds), rate: rate.map(own_rate), ..Self::named(name) }
    }

    fn named(name: &str) -> Self {
        let published = OnceLock::new();
        Self { name: name.into(), subject: None, bounds: None, rate: None, number: 0, published }
    }

    /// Somebody who may publish what the configuration says.
    pub fn bounded(publisher: &config::Publisher, reserved: &ReservedEvents) -> Self {
        let config::Publisher { name, key: _, topics, users, sessions, clients, broadcast, retract, rate } =
            publisher.clone();
        let reserved = Arc::clone(reserved);
        let topics = topics.into();
        let bounds = PublisherScope { topics, users, sessions, clients, broadcast, retract, reserved };
        Self { bounds: Some(bounds), rate: rate.map(own_rate), ..Self::named(&name) }
    }

    fn of_token(grant: Grant, reserved: &ReservedEvents) -> Self {
        let topics = match grant.topics {
            GrantedTopics::Only(topics) => topics,
            // No token says so.
            GrantedTopics::Any => Box::default(),
        };
        let bounds = PublisherScope {
            topics,
            users: false,
            sessions: false,
            clients: false,
            broadcast: false,
            retract: false,
            reserved: Arc::clone(reserved),
        };
        Self { subject: grant.user, bounds: Some(bounds), ..Self::named("publisher_jwt") }
    }

    /// The operator's word for it; `publish_keys` for the holder of one of those, `publisher_jwt` for a token's holder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a publish that was taken.
    pub fn count(&self) {
        let look_up = || metrics::counter!(PUBLISHES, "publisher" => self.name().to_owned());
        self.published.get_or_init(look_up).increment(1);
    }

    /// Takes the tokens of so many events from the publisher's own bucket, or from the one that it has among `all`.
    pub fn take(&self, all: &RateLimit, events: u32) -> Result<(), TooFast> {
        let key = (&self.name, self.subject.as_ref(), self.number);
        self.rate.as_deref().unwrap_or(all).take(&key, events, &self.name)
    }

    /// Whether all of an event is within the publisher's bounds; otherwise, what is not.
    pub fn may_send(&self, event: &Event) -> Result<(), NotAllowed> {
        let Some(bounds) = &self.bounds else { return Ok(()) };
        if let Some(key) = event.audience.keys().iter().find(|key| !bounds.allow(key)) {
            return Err(NotAllowed::Audience(key.clone()));
        }
        if let Some(name) = event.name.as_ref().filter(|name| bounds.reserved.contains(name)) {
            return Err(NotAllowed::Event(name.clone()));
        }
        if event.retry.is_some() { Err(NotAllowed::Retry) } else { Ok(()) }
    }

    /// Whether the publisher may take back an event for `audience`; otherwise, why not.
    pub fn may_take_back(&self, audience: &Audience) -> Result<(), NotAllowed> {
        let Some(bounds) = &self.bounds else { return Ok(()) };
        if !bounds.retract {
            return Err(NotAllowed::TakeBack);
        }
        match audience.keys().iter().find(|key| !bounds.allow(key)) {
            Some(key) => Err(NotAllowed::TakeBackOf(key.clone())),
            None => Ok(()),
        }
    }

    /// The idempotency key that a publisher's own is kept under: what one of bounds sends counts once among its own,
    /// so that nobody learns of, or takes away, another's event by its key. None when it is kept as it is.
    pub fn own_idempotency_key(&self, key: &str) -> Option<Box<str>> {
        self.bounds.as_ref()?;
        let subject = self.subject.as_ref().map_or("", Name::as_str);
        // Neither of the first two can hold the byte that stands between.
        Some(HEXLOWER.encode(&sha256(&[&self.name, subject, key].join("\0").into_bytes())).into())
    }
}

impl PublisherScope {
    fn allow(&self, key: &Key) -> bool {
        match key {
            Key::Topic(topic) => self.topics.iter().any(|pattern| pattern.matches(topic)),
            // No audience has one.
            Key::Pattern(_) => false,
            Key::User(_) => self.users,
            Key::Session(_) => self.sessions,
            Key::Client(_) => self.clients,
            Key::Upstream(_) => false,
            Key::Broadcast => self.broadcast,
        }
    }
}

impl NotAllowed {
    /// The reason on the wire and in the metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Audience(Key::Topic(_) | Key::Pattern(_)) => "topic_not_allowed",
            Self::Audience(Key::User(_)) => "user_not_allowed",
            Self::Audience(Key::Session(_)) => "session_not_allowed",
            Self::Audience(Key::Client(_)) => "client_not_allowed",
            Self::Audience(Key::Upstream(_)) => "upstream_not_allowed",
            Self::Audience(Key::Broadcast) => "broadcast_not_allowed",
            Self::Event(_) => "event_not_allowed",
            Self::Retry => "retry_not_allowed",
            Self::TakeBack | Self::TakeBackOf(_) => "retract_not_allowed",
        }
    }

    /// The topic that it was about.
    pub fn topic(&self) -> Option<&Name> {
        match self {
            Self::Audience(Key::Topic(topic)) | Self::TakeBackOf(Key::Topic(topic)) => Some(topic),
            _ => None,
        }
    }
}

/// A bucket for one publisher alone.
fn own_rate(quota: Quota) -> Arc<RateLimit> {
    Arc::new(RateLimit::new("publishes", "key", quota, 1))
}

fn shown(key: &Key) -> String {
    match key {
        Key::Topic(topic) => format!("the topic `{topic}`"),
        Key::Pattern(pattern) => format!("the pattern `{pattern}`"),
        Key::User(_) => "users".to_owned(),
        Key::Session(_) => "sessions".to_owned(),
        Key::Client(_) => "single streams".to_owned(),
        Key::Upstream(_) => "streams of the application".to_owned(),
        Key::Broadcast => "everybody".to_owned(),
    }
}

/// The SHA-256 of a key, as `key_sha256` has it.
pub fn key_sha256(key: &str) -> String {
    HEXLOWER.encode(&sha256(key.as_bytes()))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// The token of `Bearer <token>` (RFC 6750 § 2.1); the scheme's case does not matter.
pub(super) fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at(field.iter().position(|&b| b == b' ')?);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
