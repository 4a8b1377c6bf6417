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
use crate::redis_bridge::{bridged, leader};
use crate::redis_stream::section;
use crate::while_open::ended;

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

/// The stream is told of a gap before anything else.
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
    let daemon = start(&section(&redis)).await;
    let mut stream = listening(&daemon, "/events?topic=a").await;
    add(&redis, "one").await;
    assert_eq!(stream.event().await.data(), "one");
    let mut connection = redis.connection().await;
    let envelope = |data: &str| json!({"topic": "a", "data": data}).to_string();
    let added: () = redis::pipe()
        .atomic()
        .cmd("XADD")
        .arg(&["sidestream:log", "*", "event", &envelope("passed over")])
        .ignore()
        .cmd("XTRIM")
        .arg(&["sidestream:log", "MAXLEN", "0"])
        .ignore()
        .cmd("XADD")
        .arg(&["sidestream:log", "*", "event", &envelope("two")])
        .ignore()
        .query_async(&mut connection)
        .await
        .expect("a transaction");
    let () = added;
    if counts {
        let first = stream.event().await;
        let told = if first.is("reset") { first } else { stream.event().await };
        assert!(told.is("reset") && told.data().contains("log_trimmed"), "{told:?}");
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
    let config = bridged(&redis.section(), "bridge_lease = \"6s\"");
    let mut daemons = vec![start(&config).await, start(&config).await];
    let leader = leader(&daemons).await;
    let mut stream = listening(&daemons[1 - leader], "/events?topic=a").await;
    for n in 0..20 {
        redis.publish("chat:1", format!("{n}")).await;
        assert_eq!(stream.event().await.data(), n.to_string());
    }
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
