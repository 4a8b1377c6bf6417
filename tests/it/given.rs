//! What users and sessions are given, with the log in a Redis stream: one place on every instance, and kept through
//! restarts of any part.

use serde_json::{Value, json};

use crate::harness::{Daemon, Redis, Stream, eventually, ready, start};
use crate::membership::{ROUTE, ask, done, open};
use crate::redis_stream::append;

fn config(redis: &Redis) -> String {
    format!("{}[redis.stream]\n{ROUTE}", redis.section())
}

async fn held(daemon: &Daemon, of: &str) -> Value {
    ask(daemon, "GET", &format!("/{of}/topics"), None).await.json()["topics"].clone()
}

async fn holds(daemon: &Daemon, of: &str, topics: Value) {
    eventually(&format!("{of} holds {topics}"), async || (held(daemon, of).await == topics).then_some(()))
        .await;
}

/// The hash in Redis, field by field.
async fn hash(redis: &Redis) -> std::collections::BTreeMap<String, String> {
    redis.command(&["HGETALL", "sidestream:given:{sidestream:log}"]).await
}

/// Waits until the hash has what was given last.
async fn kept(redis: &Redis, field: &str, topics: Option<Value>) {
    let value = topics.map(|topics| json!({ "topics": topics }).to_string());
    eventually(&format!("{field} is {value:?}"), async || {
        let hash = hash(redis).await;
        (hash.get(field) == value.as_ref() && hash.contains_key("@")).then_some(())
    })
    .await;
}

async fn resumed(daemon: &Daemon, user: &str, id: &str) -> (Stream, Value) {
    let path = format!("/events?user={user}&session=s");
    let mut stream = Stream::open(daemon.public, &path, &[("last-event-id", id)]).await;
    let connected = stream.block().await.json();
    (stream, connected)
}

#[tokio::test]
async fn a_change_has_one_id_on_every_instance_wherever_it_is_made() {
    let redis = Redis::start().await;
    let (a, b) = (start(&config(&redis)).await, start(&config(&redis)).await);
    let (mut on_a, connected) = open(&a, "u", "s").await;
    let (mut on_b, _) = open(&b, "u", "s").await;
    let client = connected["client"].as_str().expect("its id").to_owned();
    let before = append(&redis, &json!({"topic": "t", "data": "before"})).await;
    let answer = done(&b, "PUT", "/users/u/topics", json!({ "topics": ["t"] })).await;
    let position = answer["position"].as_str().expect("an id").to_owned();
    let entries: Vec<(String, Vec<String>)> =
        redis.command(&["XRANGE", "sidestream:log", &position, &position]).await;
    assert_eq!(entries.len(), 1, "the change is an entry of the stream");
    assert_eq!(entries[0].1[0], "topics");
    // The backend's own, in both forms.
    let own: String =
        redis.command(&["XADD", "sidestream:log", "*", "topics", r#"{"user":"u","add":["own"]}"#]).await;
    let wrapped = r#"{"topics":{"session":"s","set":["wrapped"]}}"#;
    let _: String = redis.command(&["XADD", "sidestream:log", "*", "topics", wrapped]).await;
    for topic in ["t", "own", "wrapped"] {
        append(&redis, &json!({"topic": topic, "data": topic})).await;
    }
    for stream in [&mut on_a, &mut on_b] {
        assert_eq!(stream.data(3).await, ["t", "own", "wrapped"]);
    }
    for daemon in [&a, &b] {
        for (from, expected) in [(&before, &["t", "own", "wrapped"][..]), (&own, &["t", "own", "wrapped"])] {
            let (mut stream, connected) = resumed(daemon, "u", from).await;
            assert_eq!(connected["missed"], 3, "{connected}");
            assert_eq!(stream.data(3).await, expected);
        }
    }
    // A client's, wherever it is.
    let answer = ask(&b, "PUT", &format!("/clients/{client}/topics/c"), Some(json!({}))).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    append(&redis, &json!({"topic": "c", "data": "c"})).await;
    append(&redis, &json!({"broadcast": true, "data": "end"})).await;
    assert_eq!(on_a.data(2).await, ["c", "end"]);
    assert_eq!(on_b.data(1).await, ["end"]);
    let channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS", "*"]).await;
    assert!(!channels.contains(&"sidestream:topics".to_owned()), "{channels:?}");
    kept(&redis, "user:u", Some(json!(["own", "t"]))).await;
    kept(&redis, "session:s", Some(json!(["wrapped"]))).await;
    assert_eq!(hash(&redis).await.len(), 3, "no client's");
    // What nobody holds any more leaves no field behind.
    done(&a, "DELETE", "/sessions/s/topics", json!({})).await;
    kept(&redis, "session:s", None).await;
}

#[tokio::test]
async fn what_was_given_outlasts_every_instance() {
    let redis = Redis::start().await;
    let (a, b) = (start(&config(&redis)).await, start(&config(&redis)).await);
    done(&a, "PUT", "/users/u/topics", json!({ "topics": ["x", "y"] })).await;
    done(&b, "PUT", "/sessions/s/topics", json!({ "topics": ["z"] })).await;
    done(&b, "DELETE", "/users/u/topics/x", json!({})).await;
    // kill -9, at once: what was not written yet is in the stream.
    a.signal("KILL");
    let a = start(&config(&redis)).await;
    for daemon in [&a, &b] {
        let (mut stream, connected) = open(daemon, "u", "s").await;
        assert_eq!(connected["topics"], json!(["own", "y", "z"]));
        append(&redis, &json!({"topics": ["y", "x"], "data": "y"})).await;
        assert_eq!(stream.data(1).await, ["y"]);
    }
    kept(&redis, "user:u", Some(json!(["y"]))).await;
    done(&a, "PUT", "/users/u/topics/w", json!({})).await;
    a.signal("KILL");
    b.signal("KILL");
    // While nobody is there a backend goes on.
    let add = r#"{"user":"u","add":["v"],"remove":["y"]}"#;
    let _: String = redis.command(&["XADD", "sidestream:log", "*", "topics", add]).await;
    // More than an instance keeps of the stream.
    for n in 0..60 {
        append(&redis, &json!({"topic": "v", "data": n})).await;
    }
    let small = format!("{}\n[log]\nmax_events = 20\n", config(&redis));
    let (a, b) = (start(&small).await, start(&config(&redis)).await);
    for daemon in [&a, &b] {
        let (_, connected) = open(daemon, "u", "other").await;
        assert_eq!(connected["topics"], json!(["own", "v", "w"]));
    }
    kept(&redis, "user:u", Some(json!(["v", "w"]))).await;
    assert_eq!(held(&a, "sessions/s").await, json!(["z"]));
}

#[tokio::test]
async fn what_a_stream_held_before_a_restart_is_exact_or_marked_as_unknown() {
    let redis = Redis::start().await;
    let (a, b) = (start(&config(&redis)).await, start(&config(&redis)).await);
    done(&a, "PUT", "/users/other/topics", json!({ "topics": ["t"] })).await;
    let first = append(&redis, &json!({"topic": "t", "data": "1"})).await;
    done(&b, "PUT", "/users/u/topics", json!({ "topics": ["t"] })).await;
    let second = append(&redis, &json!({"topic": "t", "data": "2"})).await;
    append(&redis, &json!({"topic": "t", "data": "3"})).await;
    // On an instance that was there.
    for daemon in [&a, &b] {
        let (mut stream, connected) = resumed(daemon, "u", &first).await;
        assert_eq!(connected["resumed"], true);
        assert_eq!(stream.data(2).await, ["2", "3"]);
    }
    kept(&redis, "user:u", Some(json!(["t"]))).await;
    drop(a);
    let a = start(&config(&redis)).await;
    // What the user held at the first event, the hash does not say.
    let (mut stream, connected) = resumed(&a, "u", &first).await;
    assert_eq!((&connected["resumed"], &connected["topics"]), (&json!(false), &json!(["own", "t"])));
    assert!(stream.block().await.is("reset"));
    for (user, from, expected) in [("u", &second, &["3"][..]), ("other", &first, &["2", "3"])] {
        let (mut stream, connected) = resumed(&a, user, from).await;
        assert_eq!(connected["resumed"], true, "{user}");
        assert_eq!(stream.data(expected.len()).await, expected, "{user}");
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_gets_what_was_given_again() {
    let mut redis = Redis::start().await;
    let (a, b) = (start(&config(&redis)).await, start(&config(&redis)).await);
    let (mut stream, _) = open(&b, "u", "s").await;
    done(&a, "PUT", "/users/u/topics", json!({ "topics": ["t"] })).await;
    holds(&b, "users/u", json!(["t"])).await;
    redis.kill_and_restore(None).await;
    redis.start_again().await;
    kept(&redis, "user:u", Some(json!(["t"]))).await;
    let reset = stream.event().await;
    assert_eq!(reset.json()["reason"], "log_lost");
    for daemon in [&a, &b] {
        ready(daemon, 200).await;
        holds(daemon, "users/u", json!(["t"])).await;
    }
    // And it goes on from there, on both.
    let position = eventually("it can be changed", async || {
        let answer = ask(&a, "PUT", "/users/u/topics/s", Some(json!({}))).await;
        (answer.status == 200).then(|| answer.json()["position"].clone())
    })
    .await;
    assert!(position.is_string());
    holds(&b, "users/u", json!(["s", "t"])).await;
    append(&redis, &json!({"topic": "s", "data": "s"})).await;
    loop {
        let event = stream.event().await;
        if !event.is("reset") {
            assert_eq!(event.data(), "s");
            break;
        }
    }
    kept(&redis, "user:u", Some(json!(["s", "t"]))).await;
    drop((a, b));
    let fresh = start(&config(&redis)).await;
    assert_eq!(held(&fresh, "users/u").await, json!(["s", "t"]));
}

#[tokio::test]
async fn a_redis_that_goes_back_takes_what_was_given_with_it() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let (a, b) = (start(&config(&redis)).await, start(&config(&redis)).await);
    let (mut on_a, _) = open(&a, "u", "s").await;
    let (mut on_b, _) = open(&b, "u", "s").await;
    done(&a, "PUT", "/users/u/topics", json!({ "topics": ["t", "both"] })).await;
    kept(&redis, "user:u", Some(json!(["both", "t"]))).await;
    let earlier = redis.copy_of_disk();
    done(&b, "PUT", "/users/u/topics", json!({ "topics": ["later", "both"] })).await;
    for daemon in [&a, &b] {
        holds(daemon, "users/u", json!(["both", "later"])).await;
    }
    redis.kill_and_restore(Some(&earlier)).await;
    redis.start_again().await;
    // The other instance agrees, whichever of the two it is, and so does one that comes later.
    for daemon in [&a, &b] {
        eventually("the loss is seen", async || {
            (daemon.metric("sidestream_redis_stream_resets_total", &[]).await > 0.0).then_some(())
        })
        .await;
        ready(daemon, 200).await;
    }
    let fresh = start(&config(&redis)).await;
    let now = held(&fresh, "users/u").await;
    for daemon in [&a, &b] {
        holds(daemon, "users/u", now.clone()).await;
    }
    assert!(now == json!(["both", "t"]) || now == json!(["both", "later"]), "{now}");
    let held = now[1].as_str().expect("a topic");
    append(&redis, &json!({"topics": [held], "data": "yes"})).await;
    append(&redis, &json!({"topics": ["t", "later"], "except": {"topics": [held]}, "data": "no"})).await;
    append(&redis, &json!({"topic": "both", "data": "end"})).await;
    for stream in [&mut on_a, &mut on_b] {
        let mut got = Vec::new();
        while got.last().is_none_or(|last| last != "end") {
            let event = stream.event().await;
            if !event.is("reset") {
                got.push(event.data().to_owned());
            }
        }
        assert_eq!(got, ["yes", "end"]);
    }
}

#[tokio::test]
async fn a_hash_that_is_deleted_is_written_again_as_a_whole() {
    let redis = Redis::start().await;
    let daemon = start(&config(&redis)).await;
    for n in 0..2500 {
        let add = json!({ "user": format!("u{n}"), "add": ["t"] }).to_string();
        let _: String = redis.command(&["XADD", "sidestream:log", "*", "topics", &add]).await;
    }
    kept(&redis, "user:u2499", Some(json!(["t"]))).await;
    let _: i64 = redis.command(&["DEL", "sidestream:given:{sidestream:log}"]).await;
    done(&daemon, "PUT", "/users/u0/topics/x", json!({})).await;
    kept(&redis, "user:u0", Some(json!(["t", "x"]))).await;
    assert_eq!(hash(&redis).await.len(), 2501);
    let ttl: i64 = redis.command(&["TTL", "sidestream:given:{sidestream:log}"]).await;
    let keys: Vec<String> = redis.command(&["KEYS", "sidestream:given:*"]).await;
    assert_eq!((ttl, keys.len()), (-1, 1), "{keys:?}");
    assert!(daemon.metric("sidestream_topics_kept_total", &["result=\"whole\""]).await >= 1.0);
}

#[tokio::test]
async fn with_channels_what_was_given_outlasts_a_restart_too() {
    let redis = Redis::start().await;
    let channels = format!("{}{ROUTE}", redis.section());
    let (a, b) = (start(&channels).await, start(&channels).await);
    done(&a, "PUT", "/users/u/topics", json!({ "topics": ["x", "y"] })).await;
    holds(&b, "users/u", json!(["x", "y"])).await;
    redis.publish("sidestream:topics", r#"{"user":"u","remove":["x"]}"#).await;
    let there = async || {
        let field = ["HGET", "sidestream:given:{sidestream}", "user:u"];
        redis.command::<Option<String>>(&field).await
    };
    eventually("it is kept", async || {
        (there().await.as_deref() == Some(r#"{"topics":["y"]}"#)).then_some(())
    })
    .await;
    a.signal("KILL");
    b.signal("KILL");
    let a = start(&channels).await;
    holds(&a, "users/u", json!(["y"])).await;
    let (_, connected) = open(&a, "u", "s").await;
    assert_eq!(connected["topics"], json!(["own", "y"]));
    done(&a, "DELETE", "/users/u/topics", json!({})).await;
    eventually("nothing is left of it", async || there().await.is_none().then_some(())).await;
}

/// What the stream makes of the sets: the entries are all there.
async fn by_the_stream(redis: &Redis, users: u64) -> Vec<Value> {
    let entries: Vec<(String, Vec<String>)> = redis.command(&["XRANGE", "sidestream:log", "-", "+"]).await;
    let mut sets = vec![std::collections::BTreeSet::new(); users as usize];
    for (_, fields) in entries {
        if fields[0] != "topics" {
            continue;
        }
        let command: Value = serde_json::from_str(&fields[1]).expect("JSON");
        let told = command.get("topics").unwrap_or(&command);
        let user = told["user"].as_str().and_then(|user| user.strip_prefix('u')?.parse::<usize>().ok());
        let set = &mut sets[user.expect("a user's")];
        let names = |field: &str| -> Vec<String> {
            let names = told[field].as_array().into_iter().flatten();
            names.map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        if told.get("set").is_some() {
            set.clear();
            set.extend(names("set"));
        }
        for gone in names("remove") {
            set.remove(&gone);
        }
        set.extend(names("add"));
    }
    sets.into_iter().map(|set| json!(set)).collect()
}

#[tokio::test]
async fn whatever_fails_every_instance_has_what_the_stream_says() {
    const USERS: u64 = 6;
    let seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_millis();
    println!("seed {seed}");
    let mut random = seed as u64;
    let mut below = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let small = format!("{}\n[log]\nmax_events = 15\n", config(&redis));
    let large = config(&redis);
    let mut daemons = [start(&large).await, start(&small).await];
    for round in 0..60 {
        for _ in 0..below(8) {
            let (user, topic) = (format!("u{}", below(USERS)), format!("t{}", below(5)));
            let daemon = &daemons[below(2) as usize];
            let path = format!("/users/{user}/topics");
            // Whether it is answered is not the question here.
            match below(5) {
                0 => drop(ask(daemon, "PUT", &path, Some(json!({ "topics": [topic] }))).await),
                1 => drop(ask(daemon, "DELETE", &format!("{path}/{topic}"), Some(json!({}))).await),
                2 => drop(append(&redis, &json!({ "topic": topic })).await),
                3 => drop(ask(daemon, "PUT", &format!("{path}/{topic}"), Some(json!({}))).await),
                _ => {
                    let add = json!({ "user": user, "add": [topic, "x"], "remove": ["t1"] }).to_string();
                    let _: String = redis.command(&["XADD", "sidestream:log", "*", "topics", &add]).await;
                }
            }
        }
        match below(12) {
            0 => {
                let which = below(2) as usize;
                daemons[which].signal("KILL");
                daemons[which] = start(if below(2) == 0 { &small } else { &large }).await;
            }
            1 => {
                let _: i64 = redis.command(&["DEL", "sidestream:given:{sidestream:log}"]).await;
            }
            2 => {
                redis.kill().await;
                redis.start_again().await;
            }
            3 => {
                let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
            }
            _ => {}
        }
        if round % 10 == 9 {
            let expected = by_the_stream(&redis, USERS).await;
            for (n, daemon) in daemons.iter().enumerate() {
                for (user, expected) in expected.iter().enumerate() {
                    let of = format!("users/u{user}");
                    eventually(&format!("seed {seed}: on {n} {of} is {expected}"), async || {
                        (held(daemon, &of).await == *expected).then_some(())
                    })
                    .await;
                }
            }
        }
    }
    let expected = by_the_stream(&redis, USERS).await;
    let fresh = start(&small).await;
    for (user, expected) in expected.iter().enumerate() {
        assert_eq!(held(&fresh, &format!("users/u{user}")).await, *expected, "seed {seed}");
        let topics = (!expected.as_array().expect("a list").is_empty()).then(|| expected.clone());
        kept(&redis, &format!("user:u{user}"), topics).await;
    }
}
