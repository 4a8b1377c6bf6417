//! Which users are online, on all instances: answers, and the events of users that come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Redis, Stream, eventually, listening, start};
use crate::instances::know;

const ROUTES: &str = r#"
[presence]
grace = "1500ms"
topics = ["presence", "friends-of:{user}"]

[[stream]]
path = "/events"
auth = "none"
user = "{query.user}"
topics = ["{query.topic}"]

[[stream]]
path = "/watch"
auth = "none"
topics = ["{query.topic}"]
"#;
const GRACE: Duration = Duration::from_millis(1500);

async fn ask(daemon: &Daemon, method: &str, path: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    daemon.command(method, path, &[], body.as_bytes()).await
}

async fn get(daemon: &Daemon, path: &str) -> Value {
    let answer = ask(daemon, "GET", path, Value::Null).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

async fn come(daemon: &Daemon, user: &str) -> Stream {
    listening(daemon, &format!("/events?user={user}&topic=t")).await
}

/// Waits until a user is online or not, and has so many streams.
async fn stands(daemon: &Daemon, user: &str, online: bool, streams: u64) -> Value {
    eventually(&format!("{user} is online: {online}, with {streams} streams"), async || {
        let answer = get(daemon, &format!("/presence/users/{user}")).await;
        (answer["online"] == online && answer["streams"] == streams).then_some(answer)
    })
    .await
}

/// The next announcement: `on user` or `off user`, or the data of another event.
async fn said(stream: &mut Stream) -> String {
    let event = stream.event().await;
    let user = || event.json()["user"].as_str().expect("a user").to_owned();
    match event.event.as_deref() {
        Some("user:online") => format!("on {}", user()),
        Some("user:offline") => format!("off {}", user()),
        _ => event.data().to_owned(),
    }
}

/// All announcements until now, by user.
async fn all_said(daemon: &Daemon, stream: &mut Stream, mark: &str) -> BTreeMap<String, Vec<String>> {
    daemon.publish(&json!({ "topic": "presence", "data": mark })).await;
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let said = said(stream).await;
        match said.split_once(' ') {
            Some((word, user)) => all.entry(user.to_owned()).or_default().push(word.to_owned()),
            None => return all,
        }
    }
}

#[tokio::test]
async fn one_instance_says_who_is_there_comes_and_goes() {
    let daemon = Daemon::start(ROUTES).await;
    let mut watch = listening(&daemon, "/watch?topic=presence").await;
    let mut friends = listening(&daemon, "/watch?topic=friends-of:ann%2Fx").await;
    let first = come(&daemon, "ann/x").await;
    assert_eq!(said(&mut watch).await, "on ann/x");
    assert_eq!(said(&mut friends).await, "on ann/x");
    let second = come(&daemon, "ann/x").await;
    let bob = come(&daemon, "bob").await;
    assert_eq!(said(&mut watch).await, "on bob");

    let ann = stands(&daemon, "ann%2Fx", true, 2).await;
    assert_eq!((&ann["user"], &ann["complete"]), (&json!("ann/x"), &json!(true)), "{ann}");
    assert_eq!(ann["instances"].as_array().map(Vec::len), Some(1), "{ann}");
    assert!(ann["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{ann}");
    let nobody = get(&daemon, "/presence/users/eve").await;
    assert_eq!(nobody, json!({"user":"eve","online":false,"streams":0,"instances":[],"complete":true}));
    let body = json!({ "users": ["ann/x", "eve"] });
    let some = ask(&daemon, "POST", "/presence/users", body).await.json();
    assert_eq!(some, json!({ "users": ["ann/x"], "complete": true }));
    assert_eq!(ask(&daemon, "POST", "/presence/users", json!(["bob"])).await.json()["users"], json!(["bob"]));
    let page = get(&daemon, "/presence/users?limit=1").await;
    assert_eq!(page, json!({ "users": ["ann/x"], "next": "ann/x", "complete": true }));
    let page = get(&daemon, "/presence/users?limit=1&cursor=ann%2Fx").await;
    assert_eq!(page, json!({ "users": ["bob"], "next": null, "complete": true }));
    let totals = get(&daemon, "/presence").await;
    assert_eq!((&totals["users_total"], &totals["streams"]), (&json!(2), &json!(5)), "{totals}");
    assert_eq!(totals["instances"][0]["users_total"], 2);
    let topic = get(&daemon, "/presence/topics/t").await;
    let expected = json!({"topic":"t","streams":3,"anonymous":0,"users_total":2,"users":["ann/x","bob"],"complete":true});
    assert_eq!(topic, expected);
    let count = get(&daemon, "/presence/topics/presence?count=true").await;
    assert_eq!(count, json!({"topic":"presence","streams":1,"anonymous":1,"users_total":0,"complete":true}));
    let page = get(&daemon, "/presence/topics/t?limit=1").await;
    assert_eq!((&page["users"], &page["next"]), (&json!(["ann/x"]), &json!("ann/x")), "{page}");
    let page = get(&daemon, "/presence/topics/t?limit=1&cursor=ann%2Fx").await;
    assert_eq!((&page["users"], &page["next"]), (&json!(["bob"]), &Value::Null), "{page}");

    // One of two streams, a reconnect within the grace: neither is announced.
    drop(first);
    stands(&daemon, "ann%2Fx", true, 1).await;
    drop(bob);
    stands(&daemon, "bob", true, 0).await;
    let bob = come(&daemon, "bob").await;
    stands(&daemon, "bob", true, 1).await;
    let left = Instant::now();
    drop(second);
    assert_eq!(said(&mut watch).await, "off ann/x");
    assert!(
        (GRACE - Duration::from_millis(100)..GRACE * 3).contains(&left.elapsed()),
        "{:?}",
        left.elapsed()
    );
    assert_eq!(said(&mut friends).await, "off ann/x");
    stands(&daemon, "ann%2Fx", false, 0).await;
    assert_eq!(all_said(&daemon, &mut watch, "end").await, BTreeMap::new());
    drop(bob);
    assert_eq!(said(&mut watch).await, "off bob");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let daemon = Daemon::start(ROUTES).await;
    for (method, path, body, status, says) in [
        ("PUT", "/presence/users", json!([]), 405, "GET, HEAD, POST"),
        ("POST", "/presence", json!([]), 405, "GET, HEAD"),
        ("GET", "/presence/users/", Value::Null, 400, "/users/ is empty"),
        ("GET", "/presence/topics/%ff", Value::Null, 400, "not UTF-8"),
        ("GET", "/presence/users?limit=0", Value::Null, 400, "from 1 to 5000"),
        ("GET", "/presence/users?limit=1000000", Value::Null, 400, "from 1 to 5000"),
        ("GET", "/presence/users?page=2", Value::Null, 400, "`page` is not known"),
        ("GET", "/presence/users?limit=1&limit=2", Value::Null, 400, "`limit` is given twice"),
        ("GET", "/presence/topics/t?count", Value::Null, 400, "`count` in the query has to be true or false"),
        ("GET", "/presence/users?count=true", Value::Null, 400, "`count` is not known"),
        ("POST", "/presence/users", json!({ "user": "a" }), 400, "unknown field `user`"),
        ("POST", "/presence/users", json!(vec!["a"; 10_001]), 400, "more than 10000 users"),
        ("GET", "/presence/nothing", Value::Null, 404, "nothing is here"),
    ] {
        let answer = ask(&daemon, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.text().contains(says), "{method} {path}: {}", answer.text());
    }
    assert_eq!(daemon.ask("/presence/users/a").await.status, 401, "without a key");
}

#[tokio::test]
async fn instances_know_each_others_users_and_one_of_them_speaks() {
    let redis = Redis::start().await;
    let config = redis.section() + ROUTES;
    let a = start(&config).await;
    let b = start(&config).await;
    know(&[&a, &b], 2).await;
    let mut watch = listening(&b, "/watch?topic=presence").await;
    let on_a = come(&a, "ann").await;
    let on_b = come(&b, "ann").await;
    let bob = come(&b, "bob").await;
    for daemon in [&a, &b] {
        let ann = stands(daemon, "ann", true, 2).await;
        assert_eq!(ann["instances"].as_array().map(Vec::len), Some(2), "{ann}");
        stands(daemon, "bob", true, 1).await;
        let totals = eventually("all streams are known", async || {
            let totals = get(daemon, "/presence").await;
            (totals["streams"] == 4 && totals["complete"] == true).then_some(totals)
        })
        .await;
        assert_eq!(totals["users_total"], 2, "{totals}");
        let topic = get(daemon, "/presence/topics/t").await;
        let expected = json!({"topic":"t","streams":3,"anonymous":0,"users_total":2,"users":["ann","bob"],"complete":true});
        assert_eq!(topic, expected);
        assert_eq!(get(daemon, "/presence/topics/t?limit=1").await["users"], json!(["ann"]));
    }
    // Ann stays, and moves all to b; bob moves to a and is there within the grace.
    drop(on_a);
    drop(bob);
    stands(&a, "bob", true, 0).await;
    let bob = come(&a, "bob").await;
    stands(&b, "bob", true, 1).await;
    stands(&a, "ann", true, 1).await;
    // An instance that starts later knows as much, and announces nothing.
    let c = start(&config).await;
    know(&[&a, &b, &c], 3).await;
    stands(&c, "ann", true, 1).await;
    let since = stands(&c, "bob", true, 1).await["since"].clone();
    assert_eq!(stands(&a, "bob", true, 1).await["since"], since);
    drop((on_b, bob));
    let mut gone =
        [said(&mut watch).await, said(&mut watch).await, said(&mut watch).await, said(&mut watch).await];
    gone.sort();
    assert_eq!(gone, ["off ann", "off bob", "on ann", "on bob"]);
    for daemon in [&a, &b, &c] {
        stands(daemon, "ann", false, 0).await;
    }
    assert_eq!(all_said(&b, &mut watch, "end").await, BTreeMap::new(), "each is said once");
}

/// Kills one of two instances; `speaker` says which: the first one started speaks.
async fn an_instance_is_killed(speaker: bool) {
    let redis = Redis::start().await;
    let config = redis.section() + ROUTES;
    let first = start(&config).await;
    know(&[&first], 1).await;
    let second = start(&config).await;
    know(&[&first, &second], 2).await;
    let (stays, dies) = if speaker { (second, first) } else { (first, second) };
    let mut watch = listening(&stays, "/watch?topic=presence").await;
    let mut there = Vec::new();
    for user in ["moves", "goes", "goes-too"] {
        there.push(come(&dies, user).await);
    }
    let _stay = come(&stays, "stays").await;
    for user in ["moves", "goes", "goes-too", "stays"] {
        stands(&stays, user, true, 1).await;
    }
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..4 {
        seen.push(said(&mut watch).await);
    }
    seen.sort();
    assert_eq!(seen, ["on goes", "on goes-too", "on moves", "on stays"]);
    let killed = Instant::now();
    // Dropped is killed.
    drop(dies);
    let _moved = come(&stays, "moves").await;
    stands(&stays, "goes", false, 0).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
    let mut gone = [said(&mut watch).await, said(&mut watch).await];
    gone.sort();
    assert_eq!(gone, ["off goes", "off goes-too"]);
    assert_eq!(stands(&stays, "moves", true, 1).await["instances"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        all_said(&stays, &mut watch, "end").await,
        BTreeMap::new(),
        "a user that moved was never gone"
    );
}

#[tokio::test]
async fn a_killed_instance_takes_its_users_along_and_no_others() {
    an_instance_is_killed(false).await;
}

#[tokio::test]
async fn when_the_one_that_speaks_is_killed_the_next_one_speaks() {
    an_instance_is_killed(true).await;
}

#[tokio::test]
async fn a_redis_that_is_away_takes_nobody_along() {
    let mut redis = Redis::start().await;
    let config = redis.section() + ROUTES;
    let a = start(&config).await;
    let b = start(&config).await;
    know(&[&a, &b], 2).await;
    let mut watch = listening(&a, "/watch?topic=presence").await;
    let _ann = come(&a, "ann").await;
    let bob = come(&b, "bob").await;
    for daemon in [&a, &b] {
        stands(daemon, "ann", true, 1).await;
        stands(daemon, "bob", true, 1).await;
    }
    let mut seen = [said(&mut watch).await, said(&mut watch).await];
    seen.sort();
    assert_eq!(seen, ["on ann", "on bob"]);
    redis.kill().await;
    drop(bob);
    let _carl = come(&b, "carl").await;
    stands(&b, "carl", true, 1).await;
    eventually("that something is missing is said", async || {
        (get(&a, "/presence/users/carl").await["complete"] == false).then_some(())
    })
    .await;
    stands(&b, "bob", false, 0).await;
    assert_eq!(get(&a, "/presence/users/bob").await["online"], true, "nobody could say that he left");
    redis.start_again().await;
    // The connection that publishes may come back later than the one that tells of users.
    eventually("it publishes again", async || {
        (a.try_publish(br#"{"topic":"nobody"}"#).await.status == 200).then_some(())
    })
    .await;
    stands(&a, "carl", true, 1).await;
    stands(&a, "bob", false, 0).await;
    stands(&a, "ann", true, 1).await;
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    eventually("both are said", async || {
        for (user, words) in all_said(&a, &mut watch, "end").await {
            all.entry(user).or_default().extend(words);
        }
        (all.len() == 2).then_some(())
    })
    .await;
    let words = |user: &str| all.get(user).map(|words| words.join(" "));
    assert_eq!((words("carl"), words("bob"), words("ann")), (Some("on".into()), Some("off".into()), None));
}

#[tokio::test]
async fn an_instance_that_stops_hands_over_and_its_users_may_move() {
    let redis = Redis::start().await;
    let config = redis.section() + ROUTES + "[drain]\nwindow = \"100ms\"\n";
    let mut first = start(&config).await;
    know(&[&first], 1).await;
    let second = start(&config).await;
    know(&[&first, &second], 2).await;
    let mut watch = listening(&second, "/watch?topic=presence").await;
    let _streams = (come(&first, "moves").await, come(&first, "goes").await);
    let mut seen = [said(&mut watch).await, said(&mut watch).await];
    seen.sort();
    assert_eq!(seen, ["on goes", "on moves"]);
    stands(&second, "goes", true, 1).await;
    first.signal("TERM");
    eventually("its streams have ended", async || {
        (get(&second, "/presence/users/moves").await["streams"] == 0).then_some(())
    })
    .await;
    let _moved = come(&second, "moves").await;
    first.ended().await;
    assert_eq!(said(&mut watch).await, "off goes");
    stands(&second, "moves", true, 1).await;
    assert_eq!(all_said(&second, &mut watch, "end").await, BTreeMap::new());
}

#[tokio::test]
async fn with_the_log_in_redis_what_is_said_has_one_id_everywhere() {
    let redis = Redis::start().await;
    let config = redis.section() + "[redis.stream]\n" + ROUTES;
    let a = start(&config).await;
    let b = start(&config).await;
    know(&[&a, &b], 2).await;
    let mut on_a = listening(&a, "/watch?topic=presence").await;
    let mut on_b = listening(&b, "/watch?topic=presence").await;
    let ann = come(&b, "ann").await;
    let event = on_a.event().await;
    assert_eq!((event.event.as_deref(), &event.json()["user"]), (Some("user:online"), &json!("ann")));
    assert_eq!(on_b.event().await.id(), event.id());
    drop(ann);
    assert_eq!((said(&mut on_a).await, said(&mut on_b).await), ("off ann".to_owned(), "off ann".to_owned()));
}
