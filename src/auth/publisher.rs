//! Who may publish over HTTP, and to whom: holders of one of the configured keys, or of a publisher's token (JWT),
//! `Authorization: Bearer <key>`.
//!
//! Keys are kept as their SHA-256 and compared in a time that depends on none of them; they are never shown. Whoever
//! is not known to be free of bounds has some.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use metrics::Counter;
use subtle::ConstantTimeEq as _;

use crate::auth::denied::Denied;
use crate::auth::gate::BadGate;
use crate::auth::grant::{Grant, GrantedTopics};
use crate::auth::jwt::JwtGate;
use crate::config;
use crate::config::{PublisherKey, Secret};
use crate::event::{Audience, Key, Name, Pattern};
use crate::health::Health;
use crate::shutdown::Drain;
use crate::telemetry::PUBLISHES;

/// The keys that may publish; several, so that they can be rotated, and that each publisher has its own.
pub struct PublisherKeys {
    keys: Vec<([u8; 32], Arc<Publisher>)>,
    tokens: Option<JwtGate>,
}

/// Somebody who may publish.
#[derive(Debug)]
pub struct Publisher {
    name: Box<str>,
    /// Whose token it was: what one of them sends counts once among its own.
    subject: Option<Name>,
    /// None = to everybody.
    bounds: Option<PublisherScope>,
    /// Of publishes, looked up at the first one.
    published: OnceLock<Counter>,
}

/// To whom a publisher may publish.
#[derive(Debug)]
struct PublisherScope {
    topics: Box<[Pattern]>,
    users: bool,
    sessions: bool,
    clients: bool,
    broadcast: bool,
}

/// The publisher may not publish to this key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this publisher may not publish to {}", shown(.0))]
pub struct NotAllowed(pub Key);

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
    pub fn word(&self) -> &'static str {
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
    /// `keys` may publish to everybody, `publishers` to whom they say. Empty keys are passed over: nobody may publish
    /// with nothing. A key that is both has the publisher's bounds.
    pub fn new(keys: &[Secret], publishers: &[config::Publisher]) -> Self {
        let hash_of =
            |key: &Secret| Some(sha256(key.expose().as_bytes())).filter(|_| !key.expose().is_empty());
        let bounded = publishers.iter().filter_map(|publisher| {
            let hash = match &publisher.key {
                PublisherKey::Plain(key) => hash_of(key)?,
                PublisherKey::Sha256(hash) => *hash,
            };
            Some((hash, Arc::new(Publisher::bounded(publisher))))
        });
        let free = Arc::new(Publisher::unbounded());
        let all = keys.iter().filter_map(|key| Some((hash_of(key)?, Arc::clone(&free))));
        Self { keys: bounded.chain(all).collect(), tokens: None }
    }

    /// All that `section` knows. Starts what works in the background, which ends when the drain starts.
    pub fn start(section: &config::Internal, health: &Health, drain: &Drain) -> Result<Self, BadGate> {
        let tokens = section.publisher_jwt.as_ref().map(JwtGate::new).transpose().map_err(BadGate::Jwks)?;
        if let Some(tokens) = &tokens {
            tokens.start("publisher_jwks", health, drain);
        }
        Ok(Self { tokens, ..Self::new(&section.publish_keys, &section.publishers) })
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
            Ok(verified) => Ok(Arc::new(Publisher::of_token(verified.grant))),
            Err(Denied::NotNow(why)) => Err(PublisherDenied::NotNow(why)),
            Err(denied) => Err(PublisherDenied::Token { word: denied.word(), say: denied.to_string() }),
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
        Self { name: "publish_keys".into(), subject: None, bounds: None, published: OnceLock::new() }
    }

    /// The daemon itself, as `name` in metrics.
    pub fn own(name: &'static str) -> Self {
        Self { name: name.into(), subject: None, bounds: None, published: OnceLock::new() }
    }

    /// Somebody who may publish to whom the configuration says.
    pub fn bounded(publisher: &config::Publisher) -> Self {
        let config::Publisher { name, key: _, topics, users, sessions, clients, broadcast } =
            publisher.clone();
        let bounds = PublisherScope { topics: topics.into(), users, sessions, clients, broadcast };
        Self { name: name.into(), subject: None, bounds: Some(bounds), published: OnceLock::new() }
    }

    fn of_token(grant: Grant) -> Self {
        let topics = match grant.topics {
            GrantedTopics::Only(topics) => topics,
            // No token says so.
            GrantedTopics::Any => Box::default(),
        };
        let bounds =
            PublisherScope { topics, users: false, sessions: false, clients: false, broadcast: false };
        Self {
            name: "publisher_jwt".into(),
            subject: grant.user,
            bounds: Some(bounds),
            published: OnceLock::new(),
        }
    }

    /// The operator's word for it; `publish_keys` for whoever holds one of those, `publisher_jwt` for a token's holder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a publish that was taken.
    pub fn count(&self) {
        let look_up = || metrics::counter!(PUBLISHES, "publisher" => self.name().to_owned());
        self.published.get_or_init(look_up).increment(1);
    }

    /// Whether all of an event's audience is within the publisher's bounds; otherwise, what is not.
    pub fn may_reach(&self, audience: &Audience) -> Result<(), NotAllowed> {
        let Some(bounds) = &self.bounds else { return Ok(()) };
        match audience.keys().iter().find(|key| !bounds.allow(key)) {
            Some(key) => Err(NotAllowed(key.clone())),
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
            Key::User(_) => self.users,
            Key::Session(_) => self.sessions,
            Key::Client(_) => self.clients,
            Key::Broadcast => self.broadcast,
        }
    }
}

impl NotAllowed {
    /// The reason on the wire and in the metric.
    pub fn word(&self) -> &'static str {
        match self.0 {
            Key::Topic(_) => "topic_not_allowed",
            Key::User(_) => "user_not_allowed",
            Key::Session(_) => "session_not_allowed",
            Key::Client(_) => "client_not_allowed",
            Key::Broadcast => "broadcast_not_allowed",
        }
    }

    /// The topic that it was about.
    pub fn topic(&self) -> Option<&Name> {
        match &self.0 {
            Key::Topic(topic) => Some(topic),
            _ => None,
        }
    }
}

fn shown(key: &Key) -> String {
    match key {
        Key::Topic(topic) => format!("the topic `{topic}`"),
        Key::User(_) => "users".to_owned(),
        Key::Session(_) => "sessions".to_owned(),
        Key::Client(_) => "single streams".to_owned(),
        Key::Broadcast => "everybody".to_owned(),
    }
}

/// The SHA-256 of a key, as `key_sha256` has it.
pub fn key_sha256(key: &str) -> String {
    HEXLOWER.encode(&sha256(key.as_bytes()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// The token of `Bearer <token>` (RFC 6750 § 2.1); the scheme's case does not matter.
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at(field.iter().position(|&b| b == b' ')?);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn keys(keys: &[&str]) -> PublisherKeys {
        PublisherKeys::new(&keys.iter().map(|key| Secret::new(*key)).collect::<Vec<_>>(), &[])
    }

    fn check(keys: &PublisherKeys, fields: &[&str]) -> Result<(), PublisherDenied> {
        let fields = fields.iter().map(|field| (AUTHORIZATION, HeaderValue::from_str(field).unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        keys.check(&headers)
    }

    #[test]
    fn any_of_the_keys_opens() {
        let keys = keys(&["old-key", "new", "ключ"]);
        for field in ["Bearer old-key", "Bearer new", "bearer new", "BEARER   new ", "Bearer ключ"] {
            assert_eq!(check(&keys, &[field]), Ok(()), "{field}");
        }
    }

    #[test]
    fn nothing_else_opens() {
        let keys = keys(&["old-key", "new"]);
        for field in [
            "Bearer old-kez",
            "Bearer old-ke",
            "Bearer old-keyy",
            "Bearer old-key-and-much-more",
            "Bearer ne",
            "Bearer neww",
            "Bearer NEW",
            "Bearer new old-key",
            "Bearer old-key,new",
            "Bearer \"new\"",
        ] {
            assert_eq!(check(&keys, &[field]), Err(PublisherDenied::Wrong), "{field}");
        }
        for field in ["", "Bearer", "Bearer ", "new", "Basic new", "Bearernew", "Token new"] {
            assert_eq!(check(&keys, &[field]), Err(PublisherDenied::Missing), "{field}");
        }
        assert_eq!(check(&keys, &[]), Err(PublisherDenied::Missing));
        assert_eq!(check(&keys, &["Bearer new", "Bearer new"]), Err(PublisherDenied::Wrong));
    }

    #[test]
    fn without_keys_nobody_publishes() {
        for none in [keys(&[]), keys(&["", ""])] {
            assert_eq!(check(&none, &["Bearer x"]), Err(PublisherDenied::Off));
            assert_eq!(check(&none, &[]), Err(PublisherDenied::Off));
        }
        assert_eq!(check(&keys(&["", "a"]), &["Bearer  "]), Err(PublisherDenied::Missing));
    }

    fn bounded(name: &str, key: PublisherKey) -> config::Publisher {
        config::Publisher {
            name: name.to_owned(),
            key,
            topics: vec![Pattern::parse("chat:*").unwrap()],
            users: true,
            sessions: false,
            clients: false,
            broadcast: false,
        }
    }

    fn of(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}")).unwrap())])
    }

    #[tokio::test]
    async fn a_publisher_has_its_bounds_whether_its_key_is_kept_plain_or_hashed() {
        // `printf %s hashed | sha256sum`
        let hash = key_sha256("hashed");
        assert_eq!(hash, "1a06df824ed741b53c785079a6347f00eec5af82f9850775409ca69dff4068a6");
        let keys = PublisherKeys::new(
            &[Secret::new("free"), Secret::new("both")],
            &[
                bounded("plain", PublisherKey::Plain(Secret::new("plain"))),
                bounded("hashed", PublisherKey::Sha256(sha256(b"hashed"))),
                bounded("both", PublisherKey::Plain(Secret::new("both"))),
            ],
        );
        assert_eq!(check(&keys, &["Bearer free"]), Ok(()));
        assert_eq!(
            keys.publisher(&of(&hash)).await.map(|_| ()),
            Err(PublisherDenied::Wrong),
            "a hash is no key"
        );
        for name in ["plain", "hashed", "both"] {
            let publisher = keys.publisher(&of(name)).await.unwrap();
            assert_eq!(publisher.name(), name);
            assert_eq!(check(&keys, &[&format!("Bearer {name}")]), Err(PublisherDenied::Bounded));
            let name = |text: &str| Name::parse(text).unwrap();
            let may = |keys: &[Key]| {
                let audience = Audience::new(keys.to_vec(), vec![Key::Session(name("s"))]).unwrap();
                publisher.may_reach(&audience).map_err(|NotAllowed(key)| key)
            };
            let (inside, outside) = (Key::Topic(name("chat:1")), Key::Topic(name("news")));
            assert_eq!(may(&[inside.clone(), Key::User(name("u"))]), Ok(()));
            for not in [outside, Key::Session(name("s")), Key::Client(name("c")), Key::Broadcast] {
                assert_eq!(may(&[inside.clone(), not.clone()]), Err(not));
            }
        }
    }

    #[tokio::test]
    async fn one_publishers_idempotency_keys_are_not_anothers() {
        let keys = PublisherKeys::new(
            &[Secret::new("free")],
            &[
                bounded("a", PublisherKey::Plain(Secret::new("a"))),
                bounded("b", PublisherKey::Plain(Secret::new("b"))),
            ],
        );
        let own = async |key: &str| keys.publisher(&of(key)).await.unwrap().own_idempotency_key("order 7");
        assert_eq!(own("free").await, None);
        assert_eq!(own("a").await, own("a").await);
        assert_ne!(own("a").await, own("b").await);
    }
}
