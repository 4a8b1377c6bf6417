use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::auth::NotAllowed;
use crate::event::BadName;
use crate::event::{EnvelopeDefaults, parse_event};
use crate::fanout::Settings;
use crate::log::Retention;
use crate::pace::Quota;
use crate::publish::relay::{RelayedEnvelope, Relaying};
use crate::rate::RateSettings;

/// A relay that keeps what it gets and answers as the test says.
struct Told {
    answer: Result<(), RelayError>,
    got: Mutex<Vec<Bytes>>,
}

impl Told {
    fn new(answer: Result<(), RelayError>) -> Arc<Self> {
        Arc::new(Self { answer, got: Mutex::default() })
    }
}

impl Relay for Told {
    fn relay(&self, messages: Vec<RelayedEnvelope>) -> Relaying<'_> {
        let relayed = vec![Relayed::default(); messages.len()];
        self.got.lock().unwrap().extend(messages.into_iter().map(|message| message.json));
        Box::pin(std::future::ready(self.answer.clone().map(|()| relayed)))
    }
}

fn rates(publishes_per_key: Quota) -> Arc<Rates> {
    Arc::new(Rates::new(&RateSettings { publishes_per_key, keys: 8, ..RateSettings::NONE }))
}

/// A door with one shard and nobody listening, and its log.
fn service(relay: Option<Arc<dyn Relay>>) -> (PublishService, Arc<Log>) {
    let age = Duration::from_secs(60);
    let log = Arc::new(Log::new(Retention { events: 100, bytes: 1 << 20, age, idempotency_window: age }));
    let settings = Settings::silent(1);
    let fanout = Arc::new(Fanout::start(&log, &settings).unwrap());
    (PublishService::new(Arc::clone(&log), fanout, relay, 10, rates(Quota::UNLIMITED)), log)
}

#[tokio::test]
async fn with_a_relay_the_checked_events_go_out_and_nothing_is_appended() {
    let relay = Told::new(Ok(()));
    let (service, log) = service(Some(relay.clone()));
    let published = service
        .publish(br#"[{"topic":"a", "data":1},{"topic":"b"}]"#, keyed("k"), &Publisher::unbounded())
        .await
        .unwrap();
    let receipt = Receipt { id: None, matched: 0, duplicate: false, relayed: true };
    assert_eq!(published, Published::Many(vec![receipt; 2]));
    let wanted =
        [r#"{"idempotency_key":"k/0","topic":"a", "data":1}"#, r#"{"idempotency_key":"k/1","topic":"b"}"#];
    assert_eq!(*relay.got.lock().unwrap(), wanted);
    assert_eq!(log.size().0, 0);

    assert!(
        service
            .publish(br#"[{"topic":"a"},{"topic":""}]"#, PublishOptions::default(), &Publisher::unbounded())
            .await
            .is_err()
    );
    assert_eq!(relay.got.lock().unwrap().len(), 2, "one bad event and none goes out");
}

#[tokio::test]
async fn a_relay_that_fails_says_what_is_known() {
    for bad in [RelayError::Down, RelayError::Refused("OOM".into()), RelayError::Unknown] {
        let (service, log) = service(Some(Told::new(Err(bad.clone()))));
        assert_eq!(
            service.publish(br#"{"topic":"a"}"#, PublishOptions::default(), &Publisher::unbounded()).await,
            Err(BadPublish::Relay(bad))
        );
        assert_eq!(log.size().0, 0);
    }
}

#[tokio::test]
async fn without_a_relay_events_are_appended_and_repeats_are_not() {
    let (service, log) = service(None);
    let body = br#"{"topic":"a","idempotency_key":"k"}"#;
    let Published::One(first) =
        service.publish(body, PublishOptions::default(), &Publisher::unbounded()).await.unwrap()
    else {
        panic!("one object, one receipt")
    };
    assert!(first.id.is_some() && !first.duplicate);
    let again = service.publish(body, PublishOptions::default(), &Publisher::unbounded()).await.unwrap();
    assert_eq!(again, Published::One(Receipt { duplicate: true, ..first }));
    assert_eq!(log.size().0, 1);
}

fn keyed(key: &str) -> PublishOptions<'_> {
    PublishOptions { key: Some(key), ..PublishOptions::default() }
}

fn ready<'a>(body: &'a str, key: &str, publisher: &Publisher) -> Result<Vec<AdmittedEvent<'a>>, BadPublish> {
    let batch = parse_events(body.as_bytes(), 10, false).unwrap();
    let key = Some((key, batch.single));
    batch.items.into_iter().map(|item| AdmittedEvent::new(item.unwrap(), key, publisher)).collect()
}

fn relayed(body: &str, key: &str, publisher: &Publisher) -> Vec<Bytes> {
    ready(body, key, publisher).unwrap().iter().map(|ready| ready.outgoing().json).collect()
}

#[test]
fn a_relayed_envelope_parses_to_the_same_event_with_its_key() {
    for (body, keys) in [
        (r#"{"topic":"a","data": {"x" : 1.0}}"#, &["k\"ey"][..]),
        (r#" { "topic":"a","data": {"x" : 1.0},"idempotency_key":null}"#, &["k\"ey"]),
        (r#"{"topic":"a","data": {"x" : 1.0},"idempotency_key":"k\"ey"}"#, &["k\"ey"]),
        (
            r#"[{"topic":"a","data": {"x" : 1.0}},{"topic":"a","data": {"x" : 1.0},"idempotency_key":"k\"ey/1"}]"#,
            &["k\"ey/0", "k\"ey/1"],
        ),
    ] {
        let bounded = bounded();
        let apart = keys.iter().map(|key| bounded.own_idempotency_key(key).unwrap().into_string());
        let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
        for (publisher, keys) in [(&Publisher::unbounded(), keys), (&bounded, apart.collect())] {
            let messages = relayed(body, "k\"ey", publisher);
            assert_eq!(messages.len(), keys.len());
            for (message, key) in messages.iter().zip(keys) {
                let event = parse_event(message, &EnvelopeDefaults::default()).unwrap();
                assert_eq!(event.idempotency_key.as_deref(), Some(&*key));
                assert_eq!(&*event.data, r#"{"x" : 1.0}"#);
            }
        }
    }
}

/// A publisher to topics `a…`.
fn bounded() -> Publisher {
    let publisher = crate::config::Publisher {
        name: "a".to_owned(),
        key: crate::config::PublisherKey::Sha256([0; 32]),
        topics: vec![crate::event::Pattern::parse("a*").unwrap()],
        users: false,
        sessions: false,
        clients: false,
        broadcast: false,
        retract: false,
        rate: None,
    };
    Publisher::bounded(&publisher, &Arc::default())
}

#[tokio::test]
async fn of_a_body_that_is_not_within_bounds_as_a_whole_nothing_is_published() {
    let (service, log) = service(None);
    for (body, item) in [
        (&br#"[{"topic":"a1"},{"topics":["a2","b"]},{"topic":"a3"}]"#[..], Some(1)),
        (br#"{"topics":["a1","b"]}"#, None),
    ] {
        let bad = service.publish(body, PublishOptions::default(), &bounded()).await.unwrap_err();
        let key = crate::event::Key::Topic(crate::event::Name::parse("b").unwrap());
        assert_eq!(bad, BadPublish::NotAllowed { item, not: NotAllowed::Audience(key) });
    }
    assert_eq!(log.size().0, 0);
    assert!(service.publish(br#"{"topic":"a1"}"#, PublishOptions::default(), &bounded()).await.is_ok());
}

#[test]
fn a_key_of_its_own_has_to_be_the_requests() {
    for (body, item) in [
        (r#"{"topic":"a","idempotency_key":"x"}"#, 0),
        (r#"[{"topic":"a"},{"topic":"a","idempotency_key":"k"}]"#, 1),
    ] {
        let bad = ready(body, "k", &Publisher::unbounded()).map(|_| ());
        assert_eq!(bad, Err(BadPublish::KeysDiffer { item }));
    }
    let bad = ready(r#"[{"topic":"a"}]"#, &"k".repeat(256), &Publisher::unbounded()).map(|_| ());
    let why = "the place behind the key counts too";
    assert_eq!(bad, Err(BadPublish::Key(BadName::TooLong { max: 256 })), "{why}");
}

#[tokio::test]
async fn of_a_partial_publish_the_good_events_are_published_in_order_under_their_own_places() {
    let relay = Told::new(Ok(()));
    let (service, _) = service(Some(relay.clone()));
    let body = br#"[{"topic":"a1"}, {"topic":""}, {"topic":"b"}, 7, {"topic":"a2"}]"#;
    let manner = PublishOptions { partial: true, ..keyed("k") };
    let Published::Each(each) = service.publish(body, manner, &bounded()).await.unwrap() else { panic!() };
    let receipt = Receipt { id: None, matched: 0, duplicate: false, relayed: true };
    assert_eq!((&each[0], &each[4]), (&Ok(receipt), &Ok(receipt)));
    assert!(matches!(each[1], Err(BadPublish::Batch(BadBatch::Item { item: 1, .. }))), "{:?}", each[1]);
    assert!(matches!(each[2], Err(BadPublish::NotAllowed { item: Some(2), .. })), "{:?}", each[2]);
    assert!(matches!(each[3], Err(BadPublish::Batch(BadBatch::Item { item: 3, .. }))), "{:?}", each[3]);
    let keys: Vec<_> = ["k/0", "k/4"].iter().map(|key| bounded().own_idempotency_key(key)).collect();
    let event = |json: &Bytes| parse_event(json, &EnvelopeDefaults::default()).unwrap().idempotency_key;
    assert_eq!(relay.got.lock().unwrap().iter().map(event).collect::<Vec<_>>(), keys);

    let nothing = service.publish(br#"[{"topic":"b"}]"#, manner, &bounded()).await.unwrap();
    assert!(matches!(&nothing, Published::Each(each) if each.len() == 1 && each[0].is_err()));
    let single = service.publish(br#"{"topic":"b"}"#, manner, &bounded()).await;
    assert!(matches!(single, Err(BadPublish::NotAllowed { item: None, .. })), "{single:?}");
    let broken = service.publish(br#"[{"topic":"b"}"#, manner, &bounded()).await;
    assert!(matches!(broken, Err(BadPublish::Batch(BadBatch::NotJson(_)))), "{broken:?}");
    assert_eq!(relay.got.lock().unwrap().len(), 2, "nothing more has gone out");
}

#[test]
fn a_receipt_is_written_without_what_is_not_so() {
    let receipt = Receipt { id: "5-0".parse().ok(), matched: 3, duplicate: false, relayed: false };
    let one = serde_json::to_string(&receipt).unwrap();
    assert_eq!(one, r#"{"id":"5-0","matched":3}"#);
    let events = vec![
        Receipt { duplicate: true, matched: 0, ..receipt },
        Receipt { id: None, relayed: true, ..receipt },
    ];
    let many = serde_json::to_string(&events).unwrap();
    assert_eq!(many, r#"[{"id":"5-0","matched":0,"duplicate":true},{"id":null,"matched":3,"relayed":true}]"#);
}
