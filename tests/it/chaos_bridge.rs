//! Bridged channels while the instance that appends is killed, stopped, cut off and deposed, at random.
//!
//! A plain PUBLISH that somebody heard is on every client's stream once and in order, whichever instances it moves
//! between; and where it may have been lost, because nobody listened without a break, a `reset` stands in its place.
//! The seed and the number of faults are those of `chaos.rs`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::chaos::world::{Clients, Doors, INSTANCES, Mover, Random, SETTLE, Stays, World, faults};
use crate::harness::{Redis, Wire, eventually, let_time_pass, ready, unless_over, within_time};
use crate::redis_bridge::{bridged, leader};

const CLIENTS: usize = 4;
const STAYS: Stays = Stays { ms: (50, 800), patience: Duration::from_secs(1) };

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

const HARMLESS: &[Fault] = ALL.split_at(8).0;

/// What the publisher and the clients share.
struct Run {
    doors: Doors,
    stop: AtomicBool,
    said: AtomicUsize,
    /// Messages that no instance may have heard.
    unsure: Mutex<HashSet<usize>>,
    /// How many messages no instance heard, by the count of Redis.
    unheard: AtomicUsize,
    /// Set once everything is published: how many that were.
    last: AtomicUsize,
    resets: AtomicUsize,
}

fn config(wire: &Wire) -> String {
    let section = format!("[redis]\nurl = \"redis://{}\"\ntimeout = \"1s\"\n", wire.address);
    bridged(&section, "timeout = \"1s\"\nbridge_lease = \"1s\"")
}

/// Waits until each of them could go on where the others are.
async fn all_could_lead(world: &World) {
    for daemon in &world.daemons {
        eventually("it could go on", async || {
            let answer = daemon.ask("/readyz/events").await;
            let bridge = answer.json()["dependencies"]["redis_bridge"]["state"] == "up";
            (answer.status == 200 && bridge).then_some(())
        })
        .await;
    }
}

async fn replace(world: &mut World, which: usize) {
    world.replace(which).await;
    ready(&world.daemons[which], 200).await;
}

async fn remove_keys(redis: &Redis, pattern: &str) {
    let keys: Vec<String> = redis.command(&["KEYS", pattern]).await;
    for key in keys {
        let _: u32 = redis.command(&["DEL", &key]).await;
    }
}

async fn inflict(world: &mut World, fault: Fault, random: &mut Random) {
    let leader = leader(&world.daemons).await;
    let other = (leader + 1 + random.below(INSTANCES - 1)) % INSTANCES;
    match fault {
        Fault::KillLeader | Fault::KillOther => {
            let which = if fault == Fault::KillLeader { leader } else { other };
            world.daemons[which].signal("KILL");
            let_time_pass("an instance is missing", random.ms(0, 1500)).await;
            replace(world, which).await;
        }
        Fault::EndLeader => {
            world.daemons[leader].signal("TERM");
            replace(world, leader).await;
        }
        Fault::StopLeader => {
            world.daemons[leader].signal("STOP");
            let_time_pass("the leader stands still", random.ms(500, 2500)).await;
            world.daemons[leader].signal("CONT");
        }
        Fault::CutLeader => world.cut(leader, random.ms(1, 1000)).await,
        Fault::CutOther => world.cut(other, random.ms(1, 1000)).await,
        Fault::SwallowLeader => world.swallow(leader, random.ms(500, 2500)).await,
        Fault::TakeLease => remove_keys(&world.redis, "sidestream:bridge:*:lease").await,
        Fault::KillListeners => {
            let _: u32 = world.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
        Fault::Freeze => world.freeze_redis(random.ms(500, 2500)).await,
        Fault::RestartRedis => world.restart_redis(random.ms(0, 1000)).await,
        Fault::ForgetPlace => remove_keys(&world.redis, "sidestream:bridge:*:place").await,
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
async fn follow(run: Arc<Run>, random: Random) -> usize {
    let mut mover = Mover::new(run.doors.clone(), random, STAYS);
    let (mut next, mut missing) = (0, Vec::new());
    // A reset stands where something is missing.
    let mut reset = false;
    loop {
        let Some(block) = mover.next().await else { continue };
        if block.is("reset") {
            run.resets.fetch_add(1, Ordering::Relaxed);
            reset = true;
        } else if block.is("one") || block.is("two") {
            let n: usize = block.data().parse().expect("a number");
            assert!(n >= next, "{n} came after {next}: {block:?}");
            if !reset {
                missing.extend(next..n);
            }
            (next, reset) = (n + 1, false);
        } else if block.is("three") {
            if !reset {
                missing.extend(next..run.last.load(Ordering::Relaxed));
            }
            let unsure = run.unsure.lock().expect("not poisoned");
            missing.retain(|n| !unsure.contains(n));
            assert!(missing.is_empty(), "heard, not on this stream, and not a word of it: {missing:?}");
            return mover.moves();
        }
    }
}

async fn chaos(faults: &[Fault], count: usize, may_lose: bool) {
    let mut random = Random::seeded();
    let mut world = World::start(config).await;
    all_could_lead(&world).await;
    let run = Arc::new(Run {
        doors: world.doors.clone(),
        stop: AtomicBool::new(false),
        said: AtomicUsize::new(0),
        unsure: Mutex::default(),
        unheard: AtomicUsize::new(0),
        last: AtomicUsize::new(usize::MAX),
        resets: AtomicUsize::new(0),
    });
    let mut clients = Clients::spawn((0..CLIENTS).map(|_| follow(Arc::clone(&run), random.fork())));
    world.has_streams(CLIENTS).await;
    let publisher = tokio::spawn(publish(Arc::clone(&run), world.redis.url()));
    let began = Instant::now();
    for nth in 0..count {
        let fault = random.one_of(faults);
        let said = run.said.load(Ordering::Relaxed);
        println!("{:6.1} s: fault {nth}: {fault:?}, {said} messages", began.elapsed().as_secs_f64());
        inflict(&mut world, fault, &mut random).await;
        if !may_lose {
            // One of them has to be able to go on at any time.
            all_could_lead(&world).await;
        }
        let_time_pass("between two faults", random.ms(0, 500)).await;
        clients.go_on();
    }
    all_could_lead(&world).await;
    run.stop.store(true, Ordering::Relaxed);
    within_time(SETTLE, "the last message is published", publisher).await.expect("the publisher");
    assert!(world.redis.publish("chat:three", "end").await > 0);
    let moves = clients.end().await;
    let said = run.last.load(Ordering::Relaxed);
    let resets = run.resets.load(Ordering::Relaxed);
    println!("{said} messages, {CLIENTS} clients, {moves} streams, {resets} resets");
    if !may_lose {
        assert_eq!(resets, 0, "somebody listened at all times");
        assert_eq!(run.unheard.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_any_instance_listens_every_message_comes_once_whichever_appends_it() {
    chaos(HARMLESS, faults(8), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_instance_listened_every_client_gets_a_reset_in_its_place() {
    chaos(ALL, faults(8), true).await;
}
