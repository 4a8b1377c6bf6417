//! A thousand changes among a thousand events a second: each reader gets what its topics were at each event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ROUTE, ask, done, order};
use crate::harness::{Daemon, Pace, Redis, Stream, eventually, let_time_pass, start};

/// A small deterministic generator.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A change as the API stated it.
struct Change {
    holder: String,
    position: (u64, u64),
    topics: BTreeSet<String>,
}

/// What a reader got: its holders, from where, and the events by id.
struct Got {
    holders: Vec<String>,
    from: (u64, u64),
    events: Vec<((u64, u64), String)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Steady,
    /// Does not read for a while, now and then.
    Slow,
    /// Is cut now and then, and comes back with its last id.
    Returning,
}

async fn read(
    daemons: &[Daemon],
    number: u64,
    kind: Kind,
    ready: tokio::sync::mpsc::Sender<Option<(usize, String)>>,
) -> Got {
    let mut random = Random(number);
    let (user, session) = (format!("u{}", number % 6), format!("s{}", number % 9));
    let path = format!("/events?user={user}&session={session}");
    let mut at = number as usize % daemons.len();
    let mut stream = daemons[at].stream(&path).await;
    let connected = stream.block().await;
    let client = connected.json()["client"].as_str().expect("its id").to_owned();
    let mut got = Got {
        holders: vec![format!("/users/{user}"), format!("/sessions/{session}")],
        from: order(connected.id()),
        events: Vec::new(),
    };
    if kind != Kind::Returning {
        got.holders.push(format!("/clients/{client}"));
    }
    // A client that comes back has another id then.
    let steady = (kind != Kind::Returning).then_some((at, client));
    ready.send(steady).await.expect("somebody waits");
    drop(ready);
    let mut until_cut = 20 + random.below(60);
    loop {
        let block = stream.event().await;
        assert!(!block.is("reset"), "reader {number}: {block:?}");
        if block.is("end") {
            return got;
        }
        let topic = block.data().split(' ').next().expect("a topic").to_owned();
        got.events.push((order(block.id()), topic));
        if kind == Kind::Slow && random.below(150) == 0 {
            let_time_pass("it does not read", Duration::from_millis(700)).await;
        }
        until_cut -= 1;
        if until_cut == 0 {
            until_cut = 20 + random.below(60);
            if kind == Kind::Returning {
                at = (at + 1) % daemons.len();
                let headers = [("last-event-id", block.id())];
                stream = Stream::open(daemons[at].public, &path, &headers).await;
                let connected = stream.block().await;
                assert_eq!(connected.json()["resumed"], true);
            }
        }
    }
}

/// Publishes some events a tick until `enough` is changed; gives back every event's id and topic.
async fn publish_until(
    daemons: &[Daemon],
    mut enough: tokio::sync::watch::Receiver<bool>,
) -> BTreeMap<(u64, u64), String> {
    let mut random = Random(7);
    let mut published = BTreeMap::new();
    let mut pace = Pace::of(Duration::from_millis(20));
    let padding = "x".repeat(600);
    while !*enough.borrow_and_update() {
        pace.next().await;
        let topics: Vec<String> = (0..20).map(|_| format!("t{}", random.below(8))).collect();
        let events: Vec<Value> = topics
            .iter()
            .map(|topic| json!({ "topic": topic, "data": format!("{topic} {padding}") }))
            .collect();
        let daemon = &daemons[random.below(daemons.len() as u64) as usize];
        let answer = daemon.publish(&Value::Array(events)).await;
        let results = answer["events"].as_array().expect("an answer for each");
        for (topic, result) in topics.into_iter().zip(results) {
            published.insert(order(result["id"].as_str().expect("an id")), topic);
        }
    }
    published
}

/// Makes 1,000 changes, as the API states them.
async fn change(daemons: &[Daemon], clients: &[(usize, String)]) -> Vec<Change> {
    let mut random = Random(3);
    let mut changes = Vec::new();
    let mut pace = Pace::of(Duration::from_millis(5));
    for _ in 0..1000 {
        pace.next().await;
        let mut daemon = &daemons[random.below(daemons.len() as u64) as usize];
        let holder = match random.below(4) {
            0 | 1 => format!("/users/u{}", random.below(6)),
            2 => format!("/sessions/s{}", random.below(9)),
            _ => {
                let (at, client) = &clients[random.below(clients.len() as u64) as usize];
                // Where it is, one learns what became of it.
                daemon = &daemons[*at];
                format!("/clients/{client}")
            }
        };
        let path = format!("{holder}/topics");
        let some = |random: &mut Random, most: u64| -> Vec<String> {
            (0..=random.below(most)).map(|_| format!("t{}", random.below(8))).collect()
        };
        let answer = match random.below(4) {
            0 => done(daemon, "PUT", &path, json!({ "topics": some(&mut random, 3) })).await,
            1 => {
                done(
                    daemon,
                    "POST",
                    &path,
                    json!({ "add": some(&mut random, 2), "remove": some(&mut random, 2) }),
                )
                .await
            }
            2 => done(daemon, "PUT", &format!("{path}/t{}", random.below(8)), json!({})).await,
            _ => done(daemon, "DELETE", &format!("{path}/t{}", random.below(8)), json!({})).await,
        };
        let topics = answer["topics"].as_array().expect("topics").iter();
        changes.push(Change {
            holder,
            position: order(answer["position"].as_str().expect("an id")),
            topics: topics.map(|topic| topic.as_str().expect("text").to_owned()).collect(),
        });
    }
    changes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_among_a_thousand_events_a_second_are_followed_exactly() {
    let config = format!("[limits]\nstreams_per_user = 0\n{ROUTE}");
    thousand_changes(&[Daemon::start(&config).await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_on_two_instances_are_followed_exactly_on_both() {
    let redis = Redis::start().await;
    let limits = "[limits]\nstreams_per_user = 0\n";
    let config = format!("{}[redis.stream]\n{limits}{ROUTE}", redis.section());
    let daemons = [start(&config).await, start(&config).await];
    thousand_changes(&daemons).await;
}

/// Readers of all kinds, a thousand events a second, a thousand changes: each reader gets what its membership was.
async fn thousand_changes(daemons: &[Daemon]) {
    let (ready, mut opened) = tokio::sync::mpsc::channel(64);
    let kinds = [Kind::Steady, Kind::Slow, Kind::Returning];
    let readers = (0..27).map(|number| read(daemons, number, kinds[number as usize / 9], ready.clone()));
    let readers: Vec<_> = readers.collect();
    drop(ready);
    let work = async {
        let mut steady = Vec::new();
        while let Some(client) = opened.recv().await {
            steady.extend(client);
        }
        for (at, client) in &steady {
            let path = format!("/clients/{client}/topics");
            eventually("it has been taken in", async || {
                (ask(&daemons[*at], "GET", &path, None).await.json()["streams"] == 1).then_some(())
            })
            .await;
        }
        let (tell, enough) = tokio::sync::watch::channel(false);
        let (changes, published) = tokio::join!(
            async {
                let changes = change(daemons, &steady).await;
                let _ = tell.send(true);
                changes
            },
            publish_until(daemons, enough)
        );
        daemons[0].publish(&json!({ "broadcast": true, "event": "end" })).await;
        (changes, published)
    };
    let (got, (changes, published)) = tokio::join!(join_all(readers), work);
    let mut delivered = 0;
    for (number, Got { holders, from, events }) in got.into_iter().enumerate() {
        let mut sets: BTreeMap<&str, &BTreeSet<String>> = BTreeMap::new();
        let mut its = changes.iter().filter(|change| holders.contains(&change.holder)).peekable();
        let mut expected = Vec::new();
        for (id, topic) in published.range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded)) {
            while let Some(change) = its.next_if(|change| change.position < *id) {
                sets.insert(&change.holder, &change.topics);
            }
            if sets.values().any(|topics| topics.contains(topic)) {
                expected.push((*id, topic.clone()));
            }
        }
        let differs = events.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert!(
            events == expected,
            "reader {number} got {} of {}; they differ at {differs:?}",
            events.len(),
            expected.len()
        );
        delivered += events.len();
    }
    assert!(
        published.len() > 2000 && delivered > 10_000,
        "{} events, {delivered} deliveries",
        published.len()
    );
}

/// All of them at once, in their order.
async fn join_all<T>(all: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (one, result) in all.iter_mut().filter(|(_, result)| result.is_none()) {
            if let std::task::Poll::Ready(value) = one.as_mut().poll(cx) {
                *result = Some(value);
            }
        }
        if all.iter().all(|(_, result)| result.is_some()) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    all.into_iter().filter_map(|(_, result)| result).collect()
}
