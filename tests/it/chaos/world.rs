//! What chaos of every kind needs: instances that share a Redis, each over a wire of its own, and the faults that any
//! of them can meet; dice that a seed repeats; clients that move from instance to instance, and the order of a run.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::harness::{
    Block, Daemon, Redis, Stream, Wire, eventually, let_time_pass, unless_over, within_time,
};

pub(crate) const INSTANCES: usize = 3;

/// How long the last event may take to reach everybody once all is well.
pub(crate) const SETTLE: Duration = Duration::from_secs(60);

/// A generator of its own, so that a seed gives the same faults everywhere.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Dice whose seed is printed.
    pub(crate) fn seeded() -> Self {
        let seed = number("SIDESTREAM_CHAOS_SEED").unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.expect("a clock").as_nanos() as u64
        });
        println!("SIDESTREAM_CHAOS_SEED={}", seed | 1);
        Self(seed | 1)
    }

    /// Dice of their own for somebody else.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next() | 1)
    }

    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(crate) fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// How many faults there are to be, where nothing else is asked for.
pub(crate) fn faults(few: usize) -> usize {
    number("SIDESTREAM_CHAOS_FAULTS").map_or(few, |faults| faults as usize)
}

/// Where an instance listens now.
#[derive(Clone, Copy)]
pub(crate) struct Door {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
}

impl Door {
    fn of(daemon: &Daemon) -> Self {
        Self { public: daemon.public, internal: daemon.internal }
    }
}

/// Where the instances listen now, for clients that move between them.
#[derive(Clone)]
pub(crate) struct Doors(Arc<Mutex<Vec<Door>>>);

impl Doors {
    pub(crate) fn any(&self, random: &mut Random) -> Door {
        random.one_of(&self.0.lock().expect("not poisoned"))
    }
}

/// The instances, and the Redis that they share.
pub(crate) struct World {
    pub(crate) redis: Redis,
    pub(crate) wires: Vec<Wire>,
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) doors: Doors,
    /// An instance's configuration.
    config: fn(&Wire) -> String,
}

impl World {
    pub(crate) async fn start(config: fn(&Wire) -> String) -> Self {
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let (mut wires, mut daemons) = (Vec::new(), Vec::new());
        for _ in 0..INSTANCES {
            let wire = Wire::to(([127, 0, 0, 1], redis.port).into()).await;
            daemons.push(Daemon::start(&config(&wire)).await);
            wires.push(wire);
        }
        let doors = Doors(Arc::new(Mutex::new(daemons.iter().map(Door::of).collect())));
        Self { redis, wires, daemons, doors, config }
    }

    /// Starts an instance in the place of another one, which is killed unless it has ended; its clients find out.
    pub(crate) async fn replace(&mut self, which: usize) {
        self.daemons[which] = Daemon::start(&(self.config)(&self.wires[which])).await;
        self.doors.0.lock().expect("not poisoned")[which] = Door::of(&self.daemons[which]);
    }

    pub(crate) async fn cut(&self, which: usize, time: Duration) {
        self.wires[which].cut();
        let_time_pass("the connection is cut", time).await;
        self.wires[which].mend();
    }

    pub(crate) async fn swallow(&self, which: usize, time: Duration) {
        self.wires[which].swallow();
        let_time_pass("the network swallows", time).await;
        self.wires[which].mend();
    }

    pub(crate) async fn freeze_redis(&self, time: Duration) {
        self.redis.freeze();
        let_time_pass("Redis stands still", time).await;
        self.redis.thaw();
    }

    pub(crate) async fn restart_redis(&mut self, time: Duration) {
        self.redis.kill().await;
        let_time_pass("Redis is away", time).await;
        self.redis.start_again().await;
    }

    /// Waits until so many streams have been opened.
    pub(crate) async fn has_streams(&self, count: usize) {
        eventually("every client has a stream", async || {
            let mut opened = 0.0;
            for daemon in &self.daemons {
                opened += daemon.metric("sidestream_streams_opened_total", &[]).await;
            }
            (opened >= count as f64).then_some(())
        })
        .await;
    }
}

/// How long a client stays where it is.
#[derive(Clone, Copy)]
pub(crate) struct Stays {
    /// Milliseconds, from and below.
    pub(crate) ms: (u64, u64),
    /// How long it waits for an answer before it goes elsewhere.
    pub(crate) patience: Duration,
}

/// A client that moves.
pub(crate) struct Mover {
    doors: Doors,
    random: Random,
    stays: Stays,
    id: Option<String>,
    stream: Option<(Stream, Instant)>,
    moves: usize,
}

impl Mover {
    pub(crate) fn new(doors: Doors, random: Random, stays: Stays) -> Self {
        Self { doors, random, stays, id: None, stream: None, moves: 0 }
    }

    /// The next block; None when it is somewhere else now, with its last id.
    pub(crate) async fn next(&mut self) -> Option<Block> {
        if let Some((stream, leaves)) = &mut self.stream {
            let left = leaves.saturating_duration_since(Instant::now());
            if let Some(Some(block)) = unless_over(left, stream.next()).await {
                self.id = block.id.clone().or(self.id.take());
                return Some(block);
            }
            self.stream = None;
        }
        let door = self.doors.any(&mut self.random).public;
        let headers: Vec<(&str, &str)> = self.id.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let opened = Stream::try_open(door, "/events?topic=a", &headers);
        match unless_over(self.stays.patience, opened).await.flatten() {
            Some(stream) => {
                self.moves += 1;
                self.stream =
                    Some((stream, Instant::now() + self.random.ms(self.stays.ms.0, self.stays.ms.1)));
            }
            None => let_time_pass("before the next attempt", self.random.ms(1, 50)).await,
        }
        None
    }

    pub(crate) fn moves(&self) -> usize {
        self.moves
    }

    /// Where it is, to be shown.
    pub(crate) fn shown(&self) -> String {
        format!("stream {} from {:?}", self.moves, self.id)
    }
}

/// Clients that follow until they have the last event; each gives how often it has moved.
pub(crate) struct Clients(JoinSet<usize>);

impl Clients {
    pub(crate) fn spawn(clients: impl Iterator<Item = impl Future<Output = usize> + Send + 'static>) -> Self {
        Self(clients.collect())
    }

    /// Fails when one has ended already.
    pub(crate) fn go_on(&mut self) {
        if let Some(ended) = self.0.try_join_next() {
            panic!("a client ended before the end: {:?}", ended.map_err(|error| error.to_string()));
        }
    }

    /// Waits until all have ended; gives back how often they moved.
    pub(crate) async fn end(mut self) -> usize {
        within_time(SETTLE, "every client has the last event", async {
            let mut moves = 0;
            while let Some(ended) = self.0.join_next().await {
                moves += ended.expect("a client");
            }
            moves
        })
        .await
    }
}
