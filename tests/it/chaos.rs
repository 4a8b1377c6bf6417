//! Several instances, one Redis, faults at random, clients that move between the instances all the time.
//!
//! Each client's stream is every event exactly once and in order, or a `reset`; and none at all where no fault lost
//! data. What was confirmed to a publisher is on every stream, or a `reset` stands in its place. The seed is
//! printed; `SIDESTREAM_CHAOS_SEED` repeats a run's faults (not its timing), `SIDESTREAM_CHAOS_FAULTS` says how many.

pub(crate) mod world;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::world::{Clients, Doors, INSTANCES, Mover, Random, SETTLE, Stays, World, faults};
use crate::harness::{KEY, Wire, let_time_pass, ready, within_time};

const CLIENTS: usize = 8;
const STAYS: Stays = Stays { ms: (0, 1500), patience: SETTLE };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    KillConnections,
    Freeze,
    Cut,
    Swallow,
    RestartRedis,
    RestartInstance,
    TightBuffers,
    Foreign,
    // From here on data is lost.
    Empty,
    Older,
    Delete,
    TrimBehindOne,
}

const ALL: &[Fault] = &[
    Fault::KillConnections,
    Fault::Freeze,
    Fault::Cut,
    Fault::Swallow,
    Fault::RestartRedis,
    Fault::RestartInstance,
    Fault::TightBuffers,
    Fault::Foreign,
    Fault::Empty,
    Fault::Older,
    Fault::Delete,
    Fault::TrimBehindOne,
];

const HARMLESS: &[Fault] = ALL.split_at(8).0;

fn config(wire: &Wire) -> String {
    format!(
        "[redis]\nurl = \"redis://{}\"\ntimeout = \"1s\"\n[redis.stream]\ntimeout = \"1s\"\nbatch = 50\n\
         [sse]\nretry_min = \"10ms\"\nretry_max = \"20ms\"\nheartbeat = \"1s\"\n",
        wire.address
    )
}

async fn all_ready(world: &World) {
    for daemon in &world.daemons {
        ready(daemon, 200).await;
    }
}

/// `disk` is an earlier state of Redis' disk.
async fn inflict(world: &mut World, disk: &mut Option<tempfile::TempDir>, fault: Fault, random: &mut Random) {
    let which = random.below(INSTANCES);
    match fault {
        Fault::KillConnections => {
            for kind in ["normal", "pubsub"] {
                let _: u32 = world.redis.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await;
            }
        }
        Fault::Freeze => world.freeze_redis(random.ms(100, 4000)).await,
        Fault::Cut => world.cut(which, random.ms(0, 2000)).await,
        Fault::Swallow => world.swallow(which, random.ms(100, 5000)).await,
        Fault::RestartRedis => world.restart_redis(random.ms(0, 1500)).await,
        Fault::RestartInstance => world.replace(which).await,
        Fault::TightBuffers => {
            let limit = "client-output-buffer-limit";
            let _: () = world.redis.command(&["CONFIG", "SET", limit, "normal 20kb 20kb 1"]).await;
            let_time_pass("Redis holds little back", random.ms(500, 2000)).await;
            let _: () = world.redis.command(&["CONFIG", "SET", limit, "normal 0 0 0"]).await;
        }
        Fault::Foreign => {
            let _: String = world.redis.command(&["XADD", "sidestream:log", "*", "foreign", "entry"]).await;
        }
        Fault::Empty | Fault::Older => {
            let disk = disk.take().filter(|_| fault == Fault::Older);
            world.redis.kill_and_restore(disk.as_ref()).await;
            world.redis.start_again().await;
        }
        Fault::Delete => {
            let _: u32 = world.redis.command(&["DEL", "sidestream:log"]).await;
        }
        Fault::TrimBehindOne => {
            world.wires[which].swallow();
            let_time_pass("one instance falls behind", random.ms(3000, 4000)).await;
            let _: u32 = world.redis.command(&["XTRIM", "sidestream:log", "MAXLEN", "3"]).await;
            world.wires[which].mend();
        }
    }
}

/// What publishers and clients share.
struct Run {
    doors: Doors,
    stop: AtomicBool,
    /// How many events are known to be published.
    published: AtomicUsize,
    /// Set once the last event is: its number.
    last: AtomicUsize,
    resets: Mutex<Vec<String>>,
}

/// Publishes 0, 1, 2 … each until some instance says that it is published, and under a key so that it counts once.
async fn publish(run: Arc<Run>, mut random: Random) {
    let mut n = 0;
    while !run.stop.load(Ordering::Relaxed) {
        publish_one(&run, &mut random, n).await;
        n += 1;
        run.published.store(n, Ordering::Relaxed);
        if random.below(4) == 0 {
            let_time_pass("the publisher rests", random.ms(0, 40)).await;
        }
    }
    publish_one(&run, &mut random, n).await;
    run.last.store(n, Ordering::Relaxed);
}

async fn publish_one(run: &Run, random: &mut Random, n: usize) {
    // Long enough for tight buffers to matter.
    let body =
        json!({"topic": "a", "data": format!("{n} {}", "x".repeat(200)), "idempotency_key": n.to_string()});
    loop {
        let door = run.doors.any(random).internal;
        let body = body.to_string();
        match within_time(Duration::from_secs(10), "the answer to a publish", post(door, &body)).await {
            Some(200) => return,
            Some(503) | None => let_time_pass("before the next attempt", random.ms(1, 20)).await,
            Some(status) => panic!("a publish was answered with {status}"),
        }
    }
}

/// The status of the answer; None when there is none.
async fn post(to: std::net::SocketAddr, body: &str) -> Option<u16> {
    let mut socket = TcpStream::connect(to).await.ok()?;
    let request = format!(
        "POST /publish HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Follows the events at one instance after the other; gives back how often it moved.
async fn follow(run: Arc<Run>, random: Random) -> usize {
    let mut mover = Mover::new(run.doors.clone(), random, STAYS);
    // The next event's number; unknown at first and after a reset.
    let mut next: Option<usize> = Some(0);
    let mut trace: Vec<String> = Vec::new();
    loop {
        let Some(block) = mover.next().await else {
            // The last event may come before its publisher knows that it is published.
            if next.is_some_and(|next| next.checked_sub(1) == Some(run.last.load(Ordering::Relaxed))) {
                return mover.moves();
            }
            trace.push(mover.shown());
            continue;
        };
        match block.event.as_deref() {
            Some("connected" | "closing" | "refused") => trace.push(format!("{block:?}")),
            Some("reset") => {
                trace.push(format!("{block:?}"));
                run.resets.lock().expect("not poisoned").push(block.data().to_owned());
                next = None;
            }
            None if block.data.is_some() => {
                let n: usize = block.data().split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                trace.push(format!("{n} = {:?}", block.id));
                let from = trace.len().saturating_sub(40);
                assert!(
                    next.is_none_or(|next| next == n),
                    "{n} came and {next:?} was due:\n{}",
                    trace[from..].join("\n")
                );
                next = Some(n + 1);
                if run.last.load(Ordering::Relaxed) == n {
                    return mover.moves();
                }
            }
            _ => {}
        }
    }
}

async fn chaos(faults: &[Fault], count: usize, may_lose: bool) {
    let mut random = Random::seeded();
    let (mut world, mut disk) = (World::start(config).await, None);
    all_ready(&world).await;
    let run = Arc::new(Run {
        doors: world.doors.clone(),
        stop: AtomicBool::new(false),
        published: AtomicUsize::new(0),
        last: AtomicUsize::new(usize::MAX),
        resets: Mutex::default(),
    });
    // Their first stream has to begin before the first event.
    let mut clients = Clients::spawn((0..CLIENTS).map(|_| follow(Arc::clone(&run), random.fork())));
    world.has_streams(CLIENTS).await;
    let publisher = tokio::spawn(publish(Arc::clone(&run), random.fork()));
    let began = Instant::now();
    for nth in 0..count {
        let fault = random.one_of(faults);
        let published = run.published.load(Ordering::Relaxed);
        println!("{:6.1} s: fault {nth}: {fault:?}, {published} events", began.elapsed().as_secs_f64());
        if may_lose {
            // An instance that starts between a loss and its discovery cannot know of it: see docs/operating.md.
            all_ready(&world).await;
        }
        inflict(&mut world, &mut disk, fault, &mut random).await;
        if may_lose {
            all_ready(&world).await;
            if random.below(3) == 0 {
                disk = Some(world.redis.copy_of_disk());
            }
        }
        let_time_pass("between two faults", random.ms(0, 800)).await;
        clients.go_on();
    }
    all_ready(&world).await;
    run.stop.store(true, Ordering::Relaxed);
    within_time(SETTLE, "the last event is published", publisher).await.expect("the publisher");
    let moves = clients.end().await;
    let resets = run.resets.lock().expect("not poisoned").clone();
    let events = run.last.load(Ordering::Relaxed);
    println!("{events} events, {CLIENTS} clients, {moves} streams, {} resets", resets.len());
    if !may_lose {
        assert!(resets.is_empty(), "nothing was lost, and yet: {resets:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_lose_no_data_cost_no_client_anything() {
    chaos(HARMLESS, faults(10), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_lose_data_are_a_reset_in_their_place_for_every_client() {
    chaos(ALL, faults(10), true).await;
}
