//! Several instances, one Redis, faults at random, clients that move between the instances all the time.
//!
//! Each client's stream is every event exactly once and in order, or a `reset`; and none at all where no fault lost
//! data. What a publisher was told to be published is on every stream, or a `reset` stands in its place. The seed is
//! printed; `SIDESTREAM_CHAOS_SEED` repeats a run's faults (not its timing), `SIDESTREAM_CHAOS_FAULTS` says how many.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Daemon, KEY, Redis, Stream, Wire, eventually, let_time_pass, unless_over, within_time};
use crate::redis::ready;

const INSTANCES: usize = 3;
const CLIENTS: usize = 8;
/// How long the last event may take to reach everybody once all is well.
const SETTLE: Duration = Duration::from_secs(60);

/// A generator of its own, so that a seed gives the same faults everywhere.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

pub(crate) fn seed() -> u64 {
    number("SIDESTREAM_CHAOS_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("a clock").as_nanos() as u64
    }) | 1
}

/// Where the instances are now.
type Doors = Arc<Mutex<Vec<(SocketAddr, SocketAddr)>>>;

struct World {
    redis: Redis,
    wires: Vec<Wire>,
    daemons: Vec<Daemon>,
    doors: Doors,
    /// An earlier state of Redis' disk.
    disk: Option<tempfile::TempDir>,
}

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

const HARMLESS: &[Fault] = &[
    Fault::KillConnections,
    Fault::Freeze,
    Fault::Cut,
    Fault::Swallow,
    Fault::RestartRedis,
    Fault::RestartInstance,
    Fault::TightBuffers,
    Fault::Foreign,
];

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

impl World {
    async fn start() -> Self {
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let (mut wires, mut daemons) = (Vec::new(), Vec::new());
        for _ in 0..INSTANCES {
            let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
            daemons.push(instance(&wire).await);
            wires.push(wire);
        }
        let doors = daemons.iter().map(|daemon| (daemon.public, daemon.internal)).collect();
        Self { redis, wires, daemons, doors: Arc::new(Mutex::new(doors)), disk: None }
    }

    async fn all_ready(&self) {
        for daemon in &self.daemons {
            ready(daemon, 200).await;
        }
    }

    async fn inflict(&mut self, fault: Fault, random: &mut Random) {
        let which = random.below(INSTANCES);
        match fault {
            Fault::KillConnections => {
                for kind in ["normal", "pubsub"] {
                    let _: u32 = self.redis.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await;
                }
            }
            Fault::Freeze => {
                self.redis.freeze();
                let_time_pass("the fault lasts", random.ms(100, 4000)).await;
                self.redis.thaw();
            }
            Fault::Cut => {
                self.wires[which].cut();
                let_time_pass("the fault lasts", random.ms(0, 2000)).await;
                self.wires[which].mend();
            }
            Fault::Swallow => {
                self.wires[which].swallow();
                let_time_pass("the fault lasts", random.ms(100, 5000)).await;
                self.wires[which].mend();
            }
            Fault::RestartRedis => {
                self.redis.kill().await;
                let_time_pass("the fault lasts", random.ms(0, 1500)).await;
                self.redis.start_again().await;
            }
            Fault::RestartInstance => {
                let daemon = instance(&self.wires[which]).await;
                let door = (daemon.public, daemon.internal);
                // The old one is killed, and its clients find out.
                self.daemons[which] = daemon;
                self.doors.lock().expect("not poisoned")[which] = door;
            }
            Fault::TightBuffers => {
                let limit = "client-output-buffer-limit";
                let _: () = self.redis.command(&["CONFIG", "SET", limit, "normal 20kb 20kb 1"]).await;
                let_time_pass("the fault lasts", random.ms(500, 2000)).await;
                let _: () = self.redis.command(&["CONFIG", "SET", limit, "normal 0 0 0"]).await;
            }
            Fault::Foreign => {
                let _: String =
                    self.redis.command(&["XADD", "sidestream:log", "*", "foreign", "entry"]).await;
            }
            Fault::Empty | Fault::Older => {
                let disk = self.disk.take().filter(|_| fault == Fault::Older);
                self.redis.kill_and_restore(disk.as_ref()).await;
                self.redis.start_again().await;
            }
            Fault::Delete => {
                let _: u32 = self.redis.command(&["DEL", "sidestream:log"]).await;
            }
            Fault::TrimBehindOne => {
                self.wires[which].swallow();
                let_time_pass("the fault lasts", random.ms(3000, 4000)).await;
                let _: u32 = self.redis.command(&["XTRIM", "sidestream:log", "MAXLEN", "3"]).await;
                self.wires[which].mend();
            }
        }
    }
}

async fn instance(wire: &Wire) -> Daemon {
    let config = format!(
        "[redis]\nurl = \"redis://{}\"\ntimeout = \"1s\"\n[redis.stream]\ntimeout = \"1s\"\nbatch = 50\n\
         [sse]\nretry_min = \"10ms\"\nretry_max = \"20ms\"\nheartbeat = \"1s\"\n",
        wire.address
    );
    Daemon::start(&config).await
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
        let door = run.doors.lock().expect("not poisoned")[random.below(INSTANCES)].1;
        let body = body.to_string();
        match within_time(Duration::from_secs(10), "the answer to a publish", post(door, &body)).await {
            Some(200) => return,
            Some(503) | None => let_time_pass("before the next attempt", random.ms(1, 20)).await,
            Some(status) => panic!("a publish was answered with {status}"),
        }
    }
}

/// The status of the answer; None when there is none.
async fn post(to: SocketAddr, body: &str) -> Option<u16> {
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
async fn follow(run: Arc<Run>, mut random: Random) -> usize {
    let mut id: Option<String> = None;
    // The next event's number; unknown at first and after a reset.
    let mut next: Option<usize> = Some(0);
    let mut moves = 0;
    let mut trace: Vec<String> = Vec::new();
    loop {
        // The last event may come before its publisher knows that it is published.
        if next.is_some_and(|next| next.checked_sub(1) == Some(run.last.load(Ordering::Relaxed))) {
            return moves;
        }
        let at = random.below(INSTANCES);
        let door = run.doors.lock().expect("not poisoned")[at].0;
        let headers: Vec<(&str, &str)> = id.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let Some(mut stream) = Stream::try_open(door, "/events?topic=a", &headers).await else {
            let_time_pass("before the next attempt", random.ms(1, 50)).await;
            continue;
        };
        moves += 1;
        trace.push(format!("at {at} with {id:?}"));
        let leaves = Instant::now() + random.ms(0, 1500);
        while let Some(Some(block)) =
            unless_over(leaves.saturating_duration_since(Instant::now()), stream.next()).await
        {
            if let Some(new) = &block.id {
                id = Some(new.clone());
            }
            match block.event.as_deref() {
                Some("connected" | "closing" | "refused") => trace.push(format!("{block:?}")),
                Some("reset") => {
                    trace.push(format!("{block:?}"));
                    run.resets.lock().expect("not poisoned").push(block.data().to_owned());
                    next = None;
                }
                None if block.data.is_some() => {
                    let n: usize =
                        block.data().split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                    trace.push(format!("{n} = {:?}", block.id));
                    let from = trace.len().saturating_sub(40);
                    assert!(
                        next.is_none_or(|next| next == n),
                        "{n} came and {next:?} was due:\n{}",
                        trace[from..].join("\n")
                    );
                    next = Some(n + 1);
                    if run.last.load(Ordering::Relaxed) == n {
                        return moves;
                    }
                }
                _ => {}
            }
        }
    }
}

async fn chaos(faults: &[Fault], count: usize, may_lose: bool) {
    let seed = seed();
    println!("SIDESTREAM_CHAOS_SEED={seed}");
    let mut random = Random(seed);
    let mut world = World::start().await;
    world.all_ready().await;
    let run = Arc::new(Run {
        doors: Arc::clone(&world.doors),
        stop: AtomicBool::new(false),
        published: AtomicUsize::new(0),
        last: AtomicUsize::new(usize::MAX),
        resets: Mutex::default(),
    });
    // Their first stream has to begin before the first event.
    let mut clients = tokio::task::JoinSet::new();
    let mut firsts = Vec::new();
    for _ in 0..CLIENTS {
        firsts.push(Random(random.next() | 1));
    }
    for first in firsts {
        clients.spawn(follow(Arc::clone(&run), first));
    }
    eventually("every client has a stream", async || {
        let mut open = 0.0;
        for daemon in &world.daemons {
            open += daemon.metric("sidestream_streams_opened_total", &[]).await;
        }
        (open >= CLIENTS as f64).then_some(())
    })
    .await;
    let publisher = tokio::spawn(publish(Arc::clone(&run), Random(random.next() | 1)));
    let began = Instant::now();
    for nth in 0..count {
        let fault = faults[random.below(faults.len())];
        println!(
            "{:6.1} s: fault {nth}: {fault:?}, {} events",
            began.elapsed().as_secs_f64(),
            run.published.load(Ordering::Relaxed)
        );
        if may_lose {
            // Whoever starts between a loss and its discovery cannot know of it: see docs/operating.md.
            world.all_ready().await;
        }
        world.inflict(fault, &mut random).await;
        if may_lose {
            world.all_ready().await;
            if random.below(3) == 0 {
                world.disk = Some(world.redis.copy_of_disk());
            }
        }
        let_time_pass("between two faults", random.ms(0, 800)).await;
        if let Some(ended) = clients.try_join_next() {
            panic!("a client ended before the end: {:?}", ended.map_err(|error| error.to_string()));
        }
    }
    world.all_ready().await;
    run.stop.store(true, Ordering::Relaxed);
    within_time(SETTLE, "the last event is published", publisher).await.expect("the publisher");
    let moves = within_time(SETTLE, "every client has the last event", async {
        let mut moves = 0;
        while let Some(ended) = clients.join_next().await {
            moves += ended.expect("a client");
        }
        moves
    })
    .await;
    let resets = run.resets.lock().expect("not poisoned").clone();
    let events = run.last.load(Ordering::Relaxed);
    println!("{events} events, {CLIENTS} clients, {moves} streams, {} resets", resets.len());
    if !may_lose {
        assert!(resets.is_empty(), "nothing was lost, and yet: {resets:?}");
    }
}

pub(crate) fn faults(few: usize) -> usize {
    number("SIDESTREAM_CHAOS_FAULTS").map_or(few, |faults| faults as usize)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_lose_no_data_cost_no_client_anything() {
    chaos(HARMLESS, faults(10), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_lose_data_are_said_to_every_client_in_their_place() {
    chaos(ALL, faults(10), true).await;
}
