use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::event::{EnvelopeDefaults, Frame, parse_event};
use crate::fanout::{Heartbeat, Settings};
use crate::log::Retention;

/// A relay that keeps what it gets and answers as it is told to.
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
    fn relay(&self, messages: Vec<Outgoing>) -> Relaying<'_> {
        let relayed = vec![Relayed::default(); messages.len()];
        self.got.lock().unwrap().extend(messages.into_iter().map(|message| message.json));
        Box::pin(std::future::ready(self.answer.map(|()| relayed)))
    }
}

/// A door with one shard and nobody listening, and its log.
fn door(relay: Option<Arc<dyn Relay>>) -> (Publish, Arc<Log>) {
    let age = Duration::from_secs(60);
    let log = Arc::new(Log::new(Retention { events: 100, bytes: 1 << 20, age, idempotency_window: age }));
    let settings = Settings {
        shards: 1,
        heartbeat: None,
        heartbeat_as: Heartbeat::Fixed(Frame::comment(": hb\n\n")),
        write_timeout: age,
        retry_ms: (0, 0),
    };
    let fanout = Arc::new(Fanout::start(&log, &settings).unwrap());
    (Publish::new(Arc::clone(&log), fanout, relay, 10), log)
}

#[tokio::test]
async fn with_a_relay_the_checked_events_go_out_and_nothing_is_appended() {
    let relay = Told::new(Ok(()));
    let (door, log) = door(Some(relay.clone()));
    let published = door
        .publish(br#"[{"topic":"a", "data":1},{"topic":"b"}]"#, Some("k"), false, &Publisher::unbounded())
        .await
        .unwrap();
    let receipt = Receipt { id: None, matched: 0, duplicate: false, relayed: true };
    assert_eq!(published, Published::Many { events: vec![receipt; 2] });
    let wanted =
        [r#"{"idempotency_key":"k/0","topic":"a", "data":1}"#, r#"{"idempotency_key":"k/1","topic":"b"}"#];
    assert_eq!(*relay.got.lock().unwrap(), wanted);
    assert_eq!(log.size().0, 0);

    assert!(
        door.publish(br#"[{"topic":"a"},{"topic":""}]"#, None, false, &Publisher::unbounded()).await.is_err()
    );
    assert_eq!(relay.got.lock().unwrap().len(), 2, "one bad event and none goes out");
}

#[tokio::test]
async fn a_relay_that_fails_says_what_is_known() {
    for bad in [RelayError::Down, RelayError::Unknown] {
        let (door, log) = door(Some(Told::new(Err(bad))));
        assert_eq!(
            door.publish(br#"{"topic":"a"}"#, None, false, &Publisher::unbounded()).await,
            Err(BadPublish::Relay(bad))
        );
        assert_eq!(log.size().0, 0);
    }
}

#[tokio::test]
async fn without_a_relay_events_are_appended_and_repeats_are_not() {
    let (door, log) = door(None);
    let body = br#"{"topic":"a","idempotency_key":"k"}"#;
    let Published::One(first) = door.publish(body, None, false, &Publisher::unbounded()).await.unwrap()
    else {
        panic!("one object, one receipt")
    };
    assert!(first.id.is_some() && !first.duplicate);
    let again = door.publish(body, None, false, &Publisher::unbounded()).await.unwrap();
    assert_eq!(again, Published::One(Receipt { duplicate: true, ..first }));
    assert_eq!(log.size().0, 1);
}

fn relayed(body: &str, key: &str, publisher: &Publisher) -> Vec<Bytes> {
    let mut batch = parse_events(body.as_bytes(), 10, false).unwrap();
    let own: Vec<_> = batch.items.iter().map(|item| item.event.idempotency_key.is_some()).collect();
    give_key(&mut batch, key).unwrap();
    let renamed = keep_keys_apart(&mut batch, publisher);
    outgoing(&batch, &own, renamed).into_iter().map(|message| message.json).collect()
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
    Publisher::bounded(&crate::config::Publisher {
        name: "a".to_owned(),
        key: crate::config::PublisherKey::Sha256([0; 32]),
        topics: vec![crate::event::Pattern::parse("a*").unwrap()],
        users: false,
        sessions: false,
        clients: false,
        broadcast: false,
    })
}

#[tokio::test]
async fn of_a_body_that_is_not_within_bounds_as_a_whole_nothing_is_published() {
    let (door, log) = door(None);
    for (body, item) in [
        (&br#"[{"topic":"a1"},{"topics":["a2","b"]},{"topic":"a3"}]"#[..], Some(1)),
        (br#"{"topics":["a1","b"]}"#, None),
    ] {
        let bad = door.publish(body, None, false, &bounded()).await.unwrap_err();
        let key = crate::event::Key::Topic(crate::event::Name::parse("b").unwrap());
        assert_eq!(bad, BadPublish::NotAllowed { item, not: NotAllowed(key) });
    }
    assert_eq!(log.size().0, 0);
    assert!(door.publish(br#"{"topic":"a1"}"#, None, false, &bounded()).await.is_ok());
}

#[test]
fn a_key_of_its_own_has_to_be_the_requests() {
    for (body, item) in [
        (r#"{"topic":"a","idempotency_key":"x"}"#, 0),
        (r#"[{"topic":"a"},{"topic":"a","idempotency_key":"k"}]"#, 1),
    ] {
        let mut batch = parse_events(body.as_bytes(), 10, false).unwrap();
        assert_eq!(give_key(&mut batch, "k"), Err(BadPublish::KeysDiffer { item }));
    }
    let mut batch = parse_events(br#"[{"topic":"a"}]"#, 10, false).unwrap();
    let bad = give_key(&mut batch, &"k".repeat(256)).unwrap_err();
    assert_eq!(bad, BadPublish::Key(BadName::TooLong { max: 256 }), "the place behind the key counts too");
}

#[test]
fn a_receipt_is_written_without_what_is_not_so() {
    let receipt = Receipt { id: "5-0".parse().ok(), matched: 3, duplicate: false, relayed: false };
    let one = serde_json::to_string(&Published::One(receipt)).unwrap();
    assert_eq!(one, r#"{"id":"5-0","matched":3}"#);
    let events = vec![
        Receipt { duplicate: true, matched: 0, ..receipt },
        Receipt { id: None, relayed: true, ..receipt },
    ];
    let many = serde_json::to_string(&Published::Many { events }).unwrap();
    assert_eq!(
        many,
        r#"{"events":[{"id":"5-0","matched":0,"duplicate":true},{"id":null,"matched":3,"relayed":true}]}"#
    );
}
