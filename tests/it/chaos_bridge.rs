//! Bridged channels while the instance that appends is killed, stopped, cut off and deposed, at random.
//!
//! A plain PUBLISH that somebody heard is on every client's stream once and in order, whichever instances it moves
//! between; and where it may have been lost, because nobody listened without a break, a `reset` stands in its place.
//! The seed and the number of faults are those of `chaos.rs`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::chaos::{Random, faults, seed};
use crate::harness::{Daemon, Redis, Stream, Wire, eventually, let_time_pass, unless_over, within_time};
use crate::redis::start;
use crate::redis_bridge::{bridged, leader};

const INSTANCES: usize = 3;
const CLIENTS: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    KillLeader,
    EndLeader,
    StopLeader,
    CutLeader,
    SwallowLeader,
    KillOther,
    CutOther,
    TakeLease,
    // From here on nobody may have listened.
    KillListeners,
    Freeze,
    RestartRedis,
    ForgetPlace,
}

const HARMLESS: &[Fault] = &[
    Fault::KillLeader,
    Fault::EndLeader,
    Fault::StopLeader,
    Fault::CutLeader,
    Fault::SwallowLeader,
    Fault::KillOther,
    Fault::CutOther,
    Fault::TakeLease,
];

const ALL: &[Fault] = &[
    Fault::KillLeader,
    Fault::EndLeader,
    Fault::StopLeader,
    Fault::CutLeader,
    Fault::SwallowLeader,
    Fault::KillOther,
    Fault::CutOther,
    Fault::TakeLease,
    Fault::KillListeners,
    Fault::Freeze,
    Fault::RestartRedis,
    Fault::ForgetPlace,
];

/// What the publisher and the clients share.
struct Run {
    doors: Mutex<Vec<SocketAddr>>,
    stop: AtomicBool,
    said: AtomicUsize,
    /// What Redis did not say to be heard by anybody.
    unsure: Mutex<HashSet<usize>>,
    /// Of how much Redis said that nobody heard it.
    unheard: AtomicUsize,
    /// Set once everything is said: how much that was.
    last: AtomicUsize,
    resets: AtomicUsize,
}

struct World {
    redis: Redis,
    wires: Vec<Wire>,
    daemons: Vec<Daemon>,
    run: Arc<Run>,
}

fn config(wire: &Wire) -> String {
    let section = format!("[redis]\nurl = \"redis://{}\"\ntimeout = \"1s\"\n", wire.address);
    bridged(&section, "timeout = \"1s\"\nbridge_lease = \"1s\"")
}

impl World {
    async fn start() -> Self {
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let (mut wires, mut daemons) = (Vec::new(), Vec::new());
        for _ in 0..INSTANCES {
            let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
            daemons.push(start(&config(&wire)).await);
            wires.push(wire);
        }
        let run = Arc::new(Run {
            doors: Mutex::new(daemons.iter().map(|daemon| daemon.public).collect()),
            stop: AtomicBool::new(false),
            said: AtomicUsize::new(0),
            unsure: Mutex::default(),
            unheard: AtomicUsize::new(0),
            last: AtomicUsize::new(usize::MAX),
            resets: AtomicUsize::new(0),
        });
        Self { redis, wires, daemons, run }
    }

    /// Waits until each of them could go on where the others are.
    async fn all_could_lead(&self) {
        for daemon in &self.daemons {
            eventually("it could go on", async || {
                let answer = daemon.ask("/readyz").await;
                let bridge = answer.json()["dependencies"]["redis_bridge"]["state"] == "up";
                (answer.status == 200 && bridge).then_some(())
            })
            .await;
        }
    }

    async fn replace(&mut self, which: usize) {
        self.daemons[which] = start(&config(&self.wires[which])).await;
        self.run.doors.lock().expect("not poisoned")[which] = self.daemons[which].public;
    }

    async fn keys(&self, pattern: &str) {
        let keys: Vec<String> = self.redis.command(&["KEYS", pattern]).await;
        for key in keys {
            let _: u32 = self.redis.command(&["DEL", &key]).await;
        }
    }

    async fn inflict(&mut self, fault: Fault, random: &mut Random) {
        let leader = leader(&self.daemons).await;
        let other = (leader + 1 + random.below(INSTANCES - 1)) % INSTANCES;
        match fault {
            Fault::KillLeader | Fault::KillOther => {
                let which = if fault == Fault::KillLeader { leader } else { other };
                self.daemons[which].signal("KILL");
                let_time_pass("the fault lasts", random.ms(0, 1500)).await;
                self.replace(which).await;
            }
            Fault::EndLeader => {
                self.daemons[leader].signal("TERM");
                self.replace(leader).await;
            }
            Fault::StopLeader => {
                self.daemons[leader].signal("STOP");
                let_time_pass("the fault lasts", random.ms(500, 2500)).await;
                self.daemons[leader].signal("CONT");
            }
            Fault::CutLeader | Fault::CutOther => {
                let which = if fault == Fault::CutLeader { leader } else { other };
                self.wires[which].cut();
                let_time_pass("the fault lasts", random.ms(1, 1000)).await;
                self.wires[which].mend();
            }
            Fault::SwallowLeader => {
                self.wires[leader].swallow();
                let_time_pass("the fault lasts", random.ms(500, 2500)).await;
                self.wires[leader].mend();
            }
            Fault::TakeLease => self.keys("sidestream:bridge:*:lease").await,
            Fault::KillListeners => {
                let _: u32 = self.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
            }
            Fault::Freeze => {
                self.redis.freeze();
                let_time_pass("the fault lasts", random.ms(500, 2500)).await;
                self.redis.thaw();
            }
            Fault::RestartRedis => {
                self.redis.kill().await;
                let_time_pass("the fault lasts", random.ms(0, 1000)).await;
                self.redis.start_again().await;
            }
            Fault::ForgetPlace => self.keys("sidestream:bridge:*:place").await,
        }
    }
}

/// Says 0, 1, 2 … on two channels, which keep their order between each other.
async fn publish(run: Arc<Run>, url: String) {
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = None;
    let mut n = 0;
    while !run.stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = client.get_multiplexed_async_connection().await.ok();
            let_time_pass("before the next attempt", Duration::from_millis(10)).await;
            continue;
        };
        let mut pipeline = redis::pipe();
        for n in n..n + 10 {
            pipeline.cmd("PUBLISH").arg(if n % 3 == 0 { "chat:one" } else { "chat:two" }).arg(n);
        }
        let heard = unless_over(Duration::from_secs(10), pipeline.query_async::<Vec<usize>>(open)).await;
        let heard = heard.and_then(Result::ok);
        if heard.is_none() {
            connection = None;
        }
        let zeros = heard.iter().flatten().filter(|heard| **heard == 0).count();
        run.unheard.fetch_add(zeros, Ordering::Relaxed);
        let unheard = |at: &usize| heard.as_ref().is_none_or(|heard| heard[*at] == 0);
        run.unsure.lock().expect("not poisoned").extend((0..10).filter(unheard).map(|at| n + at));
        n += 10;
        run.said.store(n, Ordering::Relaxed);
        let_time_pass("the publisher rests", Duration::from_millis(7)).await;
    }
    run.last.store(n, Ordering::Relaxed);
}

/// Follows the events at one instance after the other; gives back how often it moved.
async fn follow(run: Arc<Run>, mut random: Random) -> usize {
    let (mut id, mut next, mut moves) = (None::<String>, 0, 0);
    let mut missing = Vec::new();
    // What is missing was said to be.
    let mut told = false;
    loop {
        let door = run.doors.lock().expect("not poisoned")[random.below(INSTANCES)];
        let headers: Vec<(&str, &str)> = id.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let opened = unless_over(Duration::from_secs(1), Stream::try_open(door, "/events?topic=a", &headers));
        let Some(Some(mut stream)) = opened.await else {
            let_time_pass("before the next attempt", random.ms(1, 50)).await;
            continue;
        };
        moves += 1;
        let leaves = Instant::now() + random.ms(50, 800);
        while let Some(Some(block)) =
            unless_over(leaves.saturating_duration_since(Instant::now()), stream.next()).await
        {
            if let Some(new) = &block.id {
                id = Some(new.clone());
            }
            if block.is("reset") {
                run.resets.fetch_add(1, Ordering::Relaxed);
                told = true;
            } else if block.is("one") || block.is("two") {
                let n: usize = block.data().parse().expect("a number");
                assert!(n >= next, "{n} came after {next}: {block:?}");
                if !told {
                    missing.extend(next..n);
                }
                (next, told) = (n + 1, false);
            } else if block.is("three") {
                if !told {
                    missing.extend(next..run.last.load(Ordering::Relaxed));
                }
                let unsure = run.unsure.lock().expect("not poisoned");
                missing.retain(|n| !unsure.contains(n));
                assert!(missing.is_empty(), "heard, not on this stream, and not a word of it: {missing:?}");
                return moves;
            }
        }
    }
}

async fn chaos(faults: &[Fault], count: usize, may_lose: bool) {
    let seed = seed();
    println!("SIDESTREAM_CHAOS_SEED={seed}");
    let mut random = Random(seed);
    let mut world = World::start().await;
    world.all_could_lead().await;
    let run = Arc::clone(&world.run);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(follow(Arc::clone(&run), Random(random.next() | 1)));
    }
    eventually("every client has a stream", async || {
        let mut opened = 0.0;
        for daemon in &world.daemons {
            opened += daemon.metric("sidestream_streams_opened_total", &[]).await;
        }
        (opened >= CLIENTS as f64).then_some(())
    })
    .await;
    let publisher = tokio::spawn(publish(Arc::clone(&run), world.redis.url()));
    let began = Instant::now();
    for nth in 0..count {
        let fault = faults[random.below(faults.len())];
        println!(
            "{:6.1} s: fault {nth}: {fault:?}, {} messages",
            began.elapsed().as_secs_f64(),
            run.said.load(Ordering::Relaxed)
        );
        world.inflict(fault, &mut random).await;
        if !may_lose {
            // One of them has to be able to go on at any time.
            world.all_could_lead().await;
        }
        let_time_pass("between two faults", random.ms(0, 500)).await;
        if let Some(ended) = clients.try_join_next() {
            panic!("a client ended before the end: {:?}", ended.map_err(|error| error.to_string()));
        }
    }
    world.all_could_lead().await;
    run.stop.store(true, Ordering::Relaxed);
    publisher.await.expect("the publisher");
    assert!(world.redis.publish("chat:three", "end").await > 0);
    let moves = within_time(Duration::from_secs(60), "every client has the last message", async {
        let mut moves = 0;
        while let Some(ended) = clients.join_next().await {
            moves += ended.expect("a client");
        }
        moves
    })
    .await;
    let said = run.last.load(Ordering::Relaxed);
    let resets = run.resets.load(Ordering::Relaxed);
    println!("{said} messages, {CLIENTS} clients, {moves} streams, {resets} resets");
    if !may_lose {
        assert_eq!(resets, 0, "somebody listened at all times");
        assert_eq!(run.unheard.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_somebody_listens_every_message_comes_once_whoever_appends_it() {
    chaos(HARMLESS, faults(8), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listened_without_a_break_every_client_is_told_in_its_place() {
    chaos(ALL, faults(8), true).await;
}
