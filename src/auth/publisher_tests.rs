use super::*;
use crate::event::{Audience, EnvelopeDefaults, parse_event};
use http::HeaderValue;

fn keys(keys: &[&str]) -> PublisherKeys {
    PublisherKeys::new(
        &keys.iter().map(|key| Secret::new(*key)).collect::<Vec<_>>(),
        &[],
        ReservedEvents::default(),
    )
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
        retract: false,
        rate: None,
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
        [EventName::parse("user:online").unwrap()].into(),
    );
    assert_eq!(check(&keys, &["Bearer free"]), Ok(()));
    assert_eq!(keys.publisher(&of(&hash)).await.map(|_| ()), Err(PublisherDenied::Wrong), "a hash is no key");
    for name in ["plain", "hashed", "both"] {
        let publisher = keys.publisher(&of(name)).await.unwrap();
        assert_eq!(publisher.name(), name);
        assert_eq!(check(&keys, &[&format!("Bearer {name}")]), Err(PublisherDenied::Bounded));
        let name = |text: &str| Name::parse(text).unwrap();
        let parse = |json: &str| parse_event(json.as_bytes(), &EnvelopeDefaults::default()).unwrap();
        let may = |keys: &[Key]| {
            let audience = Audience::new(keys.to_vec(), vec![Key::Session(name("s"))]).unwrap();
            publisher.may_send(&Event { audience, ..parse(r#"{"topic":"chat:1","event":"news"}"#) })
        };
        let (inside, outside) = (Key::Topic(name("chat:1")), Key::Topic(name("news")));
        assert_eq!(may(&[inside.clone(), Key::User(name("u"))]), Ok(()));
        for not in [outside, Key::Session(name("s")), Key::Client(name("c")), Key::Broadcast] {
            assert_eq!(may(&[inside.clone(), not.clone()]), Err(NotAllowed::Audience(not)));
        }
        let ours = publisher.may_send(&parse(r#"{"topic":"chat:1","event":"user:online"}"#));
        assert_eq!(ours.unwrap_err().label(), "event_not_allowed");
        let retry = publisher.may_send(&parse(r#"{"topic":"chat:1","retry":86400000}"#));
        assert_eq!(retry, Err(NotAllowed::Retry));
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
        ReservedEvents::default(),
    );
    let own = async |key: &str| keys.publisher(&of(key)).await.unwrap().own_idempotency_key("order 7");
    assert_eq!(own("free").await, None);
    assert_eq!(own("a").await, own("a").await);
    assert_ne!(own("a").await, own("b").await);
}
