//! What operators ran into with Redis: replicas, refusals, streams that lose entries between two looks, clocks that
//! differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::{Daemon, Redis, Stream, eventually, listening, ready, start, unless_over, within};
use crate::jwt::{SECRET, at, token};
use crate::redis_bridge::{bridged, leader};
use crate::redis_stream::section;
use crate::while_open::{self, ended};

/// What `/readyz/events` says about a dependency, with its status.
async fn dependency(daemon: &Daemon, name: &str) -> (u16, Value) {
    let answer = daemon.ask("/readyz/events").await;
    (answer.status, answer.json()["dependencies"][name].clone())
}

/// Waits until a dependency is down for a reason with `text` in it, and gives back the status of `/readyz/events`.
pub(crate) async fn is_down(daemon: &Daemon, name: &str, text: &str) -> u16 {
    eventually(&format!("{name} is down: {text}"), async || {
        let (status, said) = dependency(daemon, name).await;
        said["why"].as_str().is_some_and(|why| why.contains(text)).then_some(status)
    })
    .await
}

async fn is_up(daemon: &Daemon, name: &str) -> u16 {
    eventually(&format!("{name} is up"), async || {
        let (status, said) = dependency(daemon, name).await;
        (said["state"] == "up").then_some(status)
    })
    .await
}

#[tokio::test]
async fn at_a_replica_nothing_is_published_and_the_daemon_is_not_ready() {
    let (master, other) = (Redis::start().await, Redis::start().await);
    let daemon = start(&(master.section() + "ping_interval = \"500ms\"\ntimeout = \"1s\"\n")).await;
    assert_eq!(daemon.try_publish(br#"{"topic":"a"}"#).await.status, 200);
    let _: () = master.command(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    assert_eq!(is_down(&daemon, "redis_publish", "no master").await, 503);
    let answer = daemon.try_publish(br#"{"topic":"a"}"#).await;
    assert_eq!((answer.status, &answer.json()["published"]), (503, &json!("nothing")), "{}", answer.text());
    assert!(answer.text().contains("no master"), "{}", answer.text());

    // One that was a replica from the start.
    let late = Daemon::start(&master.section()).await;
    assert_eq!(is_down(&late, "redis_publish", "no master").await, 503);
    assert_eq!(late.try_publish(br#"{"topic":"a"}"#).await.status, 503);

    let _: () = master.command(&["REPLICAOF", "NO", "ONE"]).await;
    for daemon in [&daemon, &late] {
        ready(daemon, 200).await;
        let mut stream = listening(daemon, "/events?topic=a").await;
        assert_eq!(daemon.try_publish(br#"{"topic":"a","data":1}"#).await.status, 200);
        assert_eq!(stream.event().await.data(), "1");
    }
}

#[tokio::test]
async fn a_busy_publisher_notices_too_that_its_master_is_none_any_more() {
    let (master, other) = (Redis::start().await, Redis::start().await);
    let daemon = start(&(master.section() + "ping_interval = \"300ms\"\ntimeout = \"1s\"\n")).await;
    let _: () = master.command(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    // It is never idle for as long as an interval.
    eventually("it is refused", async || {
        (daemon.try_publish(br#"{"topic":"a"}"#).await.status == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_redis_refuses_is_said_as_redis_said_it() {
    let redis = Redis::start().await;
    let daemon = start(&section(&redis)).await;
    daemon.publish(&json!({"topic": "a"})).await;
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let answer = daemon.try_publish(br#"{"topic":"a"}"#).await;
    assert_eq!((answer.status, &answer.json()["published"]), (503, &json!("nothing")));
    assert!(answer.text().contains("Redis refused") && answer.text().contains("OOM"), "{}", answer.text());
    assert_eq!(is_down(&daemon, "redis_append", "OOM").await, 200, "named, and not required");
    let refused =
        daemon.metric("sidestream_redis_failures_total", &["purpose=\"append\"", "reason=\"refused\""]).await;
    assert!(refused >= 1.0);
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    daemon.publish(&json!({"topic": "a"})).await;
    is_up(&daemon, "redis_append").await;
}

#[tokio::test]
async fn a_revocation_holds_by_the_time_that_is_left_whatever_the_senders_clock_says() {
    let redis = Redis::start().await;
    let daemon = start(&redis.section()).await;
    let mut stream = listening(&daemon, "/events?topic=a&as=u").await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    // As an instance tells it whose clock is an hour behind.
    let revoke = json!({"v": 1, "revoke": {
        "user": null, "session": null, "token": null, "topic": "a",
        "at": now, "until": now - 3_000_000, "left": 600_000,
    }});
    redis.publish("sidestream:control", &revoke.to_string()).await;
    assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    let in_force = eventually("it is in force", async || {
        let count = daemon.metric("sidestream_revocations", &[]).await;
        (count > 0.0).then_some(count)
    })
    .await;
    assert_eq!(in_force, 1.0);
}

#[tokio::test]
async fn clocks_that_are_apart_neither_shorten_a_revocation_nor_prolong_it() {
    let redis = Redis::start().await;
    let config = format!(
        "[[stream]]\npath = \"/events\"\nauth = \"jwt\"\ntopics = [\"news\"]\n[auth.jwt]\nsecret = \"{SECRET}\"\n{}",
        redis.section()
    );
    let library = std::fs::read_dir("/usr/lib")
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime, which tests/setup.sh installs");
    let library = library.display().to_string();
    let at_another_time = async |offset: &str| {
        let environment = [("LD_PRELOAD", &*library), ("FAKETIME", offset), ("DONT_FAKE_MONOTONIC", "1")];
        let daemon = Daemon::start_with(&config, &environment).await;
        ready(&daemon, 200).await;
        daemon
    };
    let (here, ahead, behind) =
        (start(&config).await, at_another_time("+2m").await, at_another_time("-1h").await);
    let status = async |daemon: &Daemon, token: &str| {
        let bearer = format!("Bearer {token}");
        Stream::open(daemon.public, "/events", &[("authorization", &bearer)]).await.status()
    };
    let open = async |daemon: &Daemon, user: &str| {
        let token = token(json!({"sub": user, "exp": at(7200)}));
        let bearer = format!("Bearer {token}");
        let mut stream = Stream::open(daemon.public, "/events", &[("authorization", &bearer)]).await;
        assert!(stream.block().await.is("connected"));
        (stream, token)
    };
    let revoke = async |user: &str, time: &str| {
        eventually("it is reported", async || {
            let body = json!({"user": user, "for": time});
            let answer = while_open::revoke(&here, &body).await;
            (answer.json()["told"] == true).then_some(())
        })
        .await;
    };
    // Whose clock is two minutes ahead believes that it is over.
    let (mut stream, bob) = open(&ahead, "bob").await;
    revoke("bob", "90s").await;
    assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    assert_eq!(status(&ahead, &bob).await, 401);
    // Whose clock is an hour behind believes that it has just begun.
    let (mut stream, eve) = open(&behind, "eve").await;
    revoke("eve", "3s").await;
    assert_eq!(ended(&mut stream).await.as_deref(), Some("revoked"));
    assert_eq!(status(&behind, &eve).await, 401);
    eventually("eve may come back", async || (status(&behind, &eve).await == 200).then_some(())).await;
    // Nor is it otherwise for one who starts later, and reads what is in force from Redis.
    let late = at_another_time("+2m").await;
    eventually("bob is kept out", async || (status(&late, &bob).await == 401).then_some(())).await;
    assert_eq!(status(&late, &eve).await, 200);
}

#[tokio::test]
async fn the_stream_takes_no_more_of_rediss_memory_than_it_may() {
    const MAX: f64 = (2 << 20) as f64;
    let redis = Redis::start().await;
    let daemon = start(&(section(&redis) + "max_bytes = \"2MiB\"\ntrim = \"exact\"\n")).await;
    for n in 0..400 {
        daemon
            .publish(&json!({"topic": "a", "data": "x".repeat(20_000), "idempotency_key": n.to_string()}))
            .await;
    }
    let used = async || {
        let bytes: f64 = redis.command(&["MEMORY", "USAGE", "sidestream:log"]).await;
        bytes
    };
    assert!(used().await > MAX * 2.0);
    eventually("it is trimmed", async || (used().await < MAX * 1.1).then_some(())).await;
    let gauges = async || {
        let bytes = daemon.metric("sidestream_redis_stream_bytes", &[]).await;
        (bytes, daemon.metric("sidestream_redis_stream_entries", &[]).await)
    };
    eventually("the gauges say so", async || {
        let (bytes, entries) = gauges().await;
        (bytes < MAX * 1.2 && bytes > MAX / 2.0 && (80.0..=120.0).contains(&entries)).then_some(())
    })
    .await;
    // From then on with each append, without waiting.
    for _ in 0..200 {
        daemon.publish(&json!({"topic": "a", "data": "x".repeat(20_000)})).await;
    }
    assert!(used().await < MAX * 1.2, "{}", used().await);
}

/// A way to Redis that can hold back the first read of connections that are made from now on.
struct Gate {
    address: std::net::SocketAddr,
    armed: Arc<AtomicBool>,
    held: Arc<Notify>,
    released: Arc<Notify>,
}

impl Gate {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let gate = Self {
            address: listener.local_addr().expect("its address"),
            armed: Arc::default(),
            held: Arc::default(),
            released: Arc::default(),
        };
        let (armed, held, released) = (gate.armed.clone(), gate.held.clone(), gate.released.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let hold = armed.load(Ordering::SeqCst).then(|| (held.clone(), released.clone()));
                tokio::spawn(carry(client, port, hold));
            }
        });
        gate
    }
}

async fn carry(client: TcpStream, port: u16, hold: Option<(Arc<Notify>, Arc<Notify>)>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let there = async move {
        let (mut bytes, mut hold) = (vec![0; 64 << 10], hold);
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            if bytes[..count].windows(5).any(|part| part == b"XREAD")
                && let Some((held, released)) = hold.take()
            {
                held.notify_one();
                released.notified().await;
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let back = async move { tokio::io::copy(&mut from_server, &mut to_client).await };
    tokio::select! {
        () = there => {}
        _ = back => {}
    }
}

#[tokio::test]
async fn what_is_taken_away_between_the_look_and_the_first_read_is_not_passed_over_in_silence() {
    let redis = Redis::start().await;
    for takes_away in
        [&["XTRIM", "sidestream:log", "MAXLEN", "0"][..], &["DEL", "sidestream:log"], &["FLUSHALL"]]
    {
        let gate = Gate::to(redis.port).await;
        let daemon = start(&format!("[redis]\nurl = \"redis://{}\"\n[redis.stream]\n", gate.address)).await;
        let mut stream = listening(&daemon, "/events?topic=a").await;
        daemon.publish(&json!({"topic": "a", "data": "before"})).await;
        assert_eq!(stream.event().await.data(), "before");
        gate.armed.store(true, Ordering::SeqCst);
        let _: usize = redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        within("the first read is held", gate.held.notified()).await;
        add(&redis, "passed over").await;
        let _: redis::Value = redis.command(takes_away).await;
        add(&redis, "after").await;
        gate.released.notify_waiters();
        gate.armed.store(false, Ordering::SeqCst);
        told_first(&mut stream, takes_away).await;
    }
}

async fn add(redis: &Redis, data: &str) {
    let envelope = json!({"topic": "a", "data": data}).to_string();
    let _: String = redis.command(&["XADD", "sidestream:log", "*", "event", &envelope]).await;
}

/// The stream gets the gap's `reset` before anything else.
async fn told_first(stream: &mut Stream, why: &[&str]) {
    let reset = stream.event().await;
    assert!(reset.is("reset"), "{why:?}: {reset:?}");
    assert!(reset.data().contains("log_"), "{reset:?}");
}

#[tokio::test]
async fn what_is_added_and_taken_away_in_one_step_is_told() {
    let redis = Redis::start().await;
    let info: String = redis.command(&["INFO", "server"]).await;
    // Before Redis 7 nobody counts what was added.
    let counts = !info.contains("redis_version:6.");
    // With all that stood before it, and alone.
    for takes_away in ["XTRIM", "XDEL"] {
        let daemon = start(&section(&redis)).await;
        let mut stream = listening(&daemon, "/events?topic=a").await;
        add(&redis, "one").await;
        let one = stream.event().await;
        assert_eq!(one.data(), "one");
        let last: Vec<(String, Vec<String>)> =
            redis.command(&["XREVRANGE", "sidestream:log", "+", "-", "COUNT", "1"]).await;
        let (ms, seq) = last[0].0.split_once('-').expect("an id");
        let id = format!("{ms}-{}", seq.parse::<u64>().expect("a number") + 1);
        let envelope = |data: &str| json!({"topic": "a", "data": data}).to_string();
        let end: &[&str] = if takes_away == "XTRIM" { &["MAXLEN", "0"] } else { &[&id] };
        let mut connection = redis.connection().await;
        let () = redis::pipe()
            .atomic()
            .cmd("XADD")
            .arg(&["sidestream:log", &*id, "event", &envelope("passed over")])
            .ignore()
            .cmd(takes_away)
            .arg("sidestream:log")
            .arg(end)
            .ignore()
            .cmd("XADD")
            .arg(&["sidestream:log", "*", "event", &envelope("two")])
            .ignore()
            .query_async(&mut connection)
            .await
            .expect("a transaction");
        if counts {
            let first = stream.event().await;
            let told = if first.is("reset") { first } else { stream.event().await };
            assert!(told.is("reset") && told.data().contains("log_trimmed"), "{takes_away}: {told:?}");
        }
    }
}

#[tokio::test]
async fn an_instance_that_starts_after_a_loss_says_that_older_ids_are_lost() {
    let redis = Redis::start().await;
    let one = start(&section(&redis)).await;
    let mut stream = listening(&one, "/events?topic=a").await;
    daemon_publishes(&one, &mut stream).await;
    let id = daemon_publishes(&one, &mut stream).await;
    let _: () = redis.command(&["FLUSHALL"]).await;
    assert!(stream.event().await.data().contains("log_lost"));
    let late = start(&section(&redis)).await;
    let mut resumed = Stream::open(late.public, "/events?topic=a", &[("last-event-id", &id)]).await;
    let reset = resumed.event().await;
    assert_eq!((reset.is("reset"), reset.json()), (true, json!({"reason": "log_lost"})));
}

async fn daemon_publishes(daemon: &Daemon, stream: &mut Stream) -> String {
    daemon.publish(&json!({"topic": "a"})).await;
    stream.event().await.id().to_owned()
}

#[tokio::test]
async fn a_bridge_that_missed_messages_says_so_although_redis_is_empty_now() {
    let mut redis = Redis::start().await;
    let daemon = start(&bridged(&redis.section(), "bridge_lease = \"1s\"")).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    redis.publish("chat:1", "before").await;
    assert_eq!(stream.event().await.data(), "before");
    redis.kill().await;
    ready(&daemon, 503).await;
    // It kept nothing.
    redis.start_again().await;
    ready(&daemon, 200).await;
    eventually("it bridges again", async || {
        redis.publish("chat:1", "after").await;
        (daemon.metric("sidestream_redis_bridge_gaps_total", &[]).await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_appended_before_redis_was_emptied_is_not_appended_again() {
    let redis = Redis::start().await;
    let config = bridged(&redis.section(), "bridge_lease = \"15s\"");
    let mut daemons = vec![start(&config).await, start(&config).await];
    let leader = leader(&daemons).await;
    let mut stream = listening(&daemons[1 - leader], "/events?topic=a").await;
    // Until the other one has heard some of which it has not looked yet whether they are in the stream.
    let mut n = 0;
    eventually("messages wait", async || {
        n += 1;
        redis.publish("chat:1", format!("{n}")).await;
        assert_eq!(stream.event().await.data(), n.to_string());
        let waiting = daemons[1 - leader].metric("sidestream_redis_bridge_waiting", &[]).await;
        (waiting >= 10.0).then_some(())
    })
    .await;
    daemons.remove(leader).signal("KILL");
    let _: () = redis.command(&["FLUSHALL"]).await;
    let mut seen = Vec::new();
    let mut last = 0;
    while !seen.contains(&format!("last {}", last)) || last == 0 {
        if last < 1000 {
            last += 1;
            redis.publish("chat:1", format!("last {last}")).await;
        }
        let next = unless_over(Duration::from_millis(500), stream.event()).await;
        if let Some(event) = next
            && event.is("1")
        {
            seen.push(event.data().to_owned());
        }
    }
    let again: Vec<_> = seen.iter().filter(|data| !data.starts_with("last")).collect();
    assert!(again.is_empty(), "they were delivered before: {again:?}");
}
