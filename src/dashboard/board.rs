//! What the dashboard shows second by second, as SSE text: ten minutes of samples, and a snapshot each second for who
//! watches.
//!
//! Bounded: so many samples, so many watchers, and for each of them the newest snapshot only: a slow one misses
//! seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::clock::unix_ms;
use crate::dashboard::readings::{Readings, Sample, Series};
use crate::health::{Health, ReadyFor, State};
use crate::lock::{Mutex, RwLock};
use crate::log::Log;
use crate::shutdown::Drain;
use crate::telemetry::Metrics;

const EVERY: Duration = Duration::from_secs(1);
/// Ten minutes.
const KEPT: usize = 600;
/// How many may watch at once.
const WATCHERS: usize = 32;

/// Which daemon it is, in words.
#[derive(Clone, Debug, Serialize)]
pub struct BoardIdentity {
    pub id: String,
    pub name: String,
    pub version: &'static str,
    /// Where clients open streams.
    pub public: String,
    /// The paths of the streams.
    pub streams: Vec<String>,
    pub tls: bool,
    pub redis: Option<BoardRedis>,
}

/// The Redis that it uses, without secrets.
#[derive(Clone, Debug, Serialize)]
pub struct BoardRedis {
    pub address: String,
    pub prefix: String,
    /// The key of the stream that is the log.
    pub stream: Option<String>,
}

/// What is shown.
pub struct Board {
    identity: RwLock<Arc<BoardIdentity>>,
    started: u64,
    metrics: Metrics,
    health: Health,
    log: Arc<Log>,
    drain: Drain,
    samples: Mutex<VecDeque<Sample>>,
    newest: watch::Sender<Bytes>,
    seats: Arc<Semaphore>,
    since: Mutex<BTreeMap<&'static str, (State, u64)>>,
}

/// Somebody who watches.
pub struct Watching {
    /// What was before: the samples that are kept.
    pub history: Bytes,
    newest: watch::Receiver<Bytes>,
    _seat: OwnedSemaphorePermit,
}

impl Watching {
    /// The next snapshot, at once where there is one that was not given yet. None when there will be no more.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.newest.changed().await.ok()?;
        Some(self.newest.borrow_and_update().clone())
    }
}

/// Everything that holds now.
#[derive(Serialize)]
struct Snapshot<'a> {
    sample: &'a Sample,
    /// The metrics that are shown, since the start.
    series: &'a Series,
    log: LogSize,
    identity: &'a BoardIdentity,
    /// In milliseconds since the Unix epoch.
    started: u64,
    draining: bool,
    ready: bool,
    dependencies: BTreeMap<&'static str, DependencyState>,
}

#[derive(Serialize)]
struct LogSize {
    events: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct DependencyState {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Whether events flow only with it.
    required: bool,
    /// Since when, as far as this board has seen; milliseconds since the Unix epoch.
    since: u64,
}

impl Board {
    /// `drain` is the daemon's: once it has started, that is shown.
    pub fn new(
        identity: BoardIdentity,
        metrics: Metrics,
        health: Health,
        log: Arc<Log>,
        drain: Drain,
    ) -> Self {
        Self {
            identity: RwLock::new(Arc::new(identity)),
            started: unix_ms(SystemTime::now()),
            metrics,
            health,
            log,
            drain,
            samples: Mutex::new(VecDeque::with_capacity(KEPT)),
            newest: watch::Sender::new(Bytes::new()),
            seats: Arc::new(Semaphore::new(WATCHERS)),
            since: Mutex::default(),
        }
    }

    pub fn identity(&self) -> Arc<BoardIdentity> {
        Arc::clone(&self.identity.read())
    }

    /// From now on this is shown.
    pub fn identify(&self, identity: BoardIdentity) {
        *self.identity.write() = Arc::new(identity);
    }

    /// Takes a sample a second until `stop`.
    pub async fn run(self: Arc<Self>, stop: Drain) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut before, mut at) = (Readings::parse(&self.metrics.render()), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.started() => return,
                _ = every.tick() => {}
            }
            let readings = Readings::parse(&self.metrics.render());
            let now = SystemTime::now();
            let seconds = at.elapsed().as_secs_f64().max(0.001);
            at = Instant::now();
            let sample = readings.since(&before, seconds, unix_ms(now) / 1000);
            {
                let mut samples = self.samples.lock();
                if samples.len() == KEPT {
                    samples.pop_front();
                }
                samples.push_back(sample.clone());
            }
            // Looked at each second, so that it is known since when something is so.
            let dependencies = self.dependencies(unix_ms(now));
            if self.newest.receiver_count() > 0 {
                self.newest.send_replace(self.snapshot(&sample, &readings, dependencies));
            }
            before = readings;
        }
    }

    /// A place among those who watch, for something else that goes on; None when too many do.
    pub fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    /// Somebody begins to watch; None when too many do.
    pub fn watch(&self) -> Option<Watching> {
        let seat = self.seat()?;
        let newest = self.newest.subscribe();
        let samples = self.samples.lock();
        Some(Watching { history: event("history", &*samples), newest, _seat: seat })
    }

    fn snapshot(
        &self,
        sample: &Sample,
        readings: &Readings,
        dependencies: BTreeMap<&'static str, DependencyState>,
    ) -> Bytes {
        let (events, bytes) = self.log.size();
        let snapshot = Snapshot {
            sample,
            series: &readings.series,
            log: LogSize { events, bytes },
            identity: &self.identity(),
            started: self.started,
            draining: self.drain.has_started(),
            ready: self.health.is_ready(ReadyFor::Events),
            dependencies,
        };
        event("snapshot", &snapshot)
    }

    fn dependencies(&self, now: u64) -> BTreeMap<&'static str, DependencyState> {
        let mut since = self.since.lock();
        let told = |(name, dependency): (&'static str, crate::health::Dependency)| {
            let known = since.entry(name).or_insert_with(|| (dependency.state.clone(), now));
            if std::mem::discriminant(&known.0) != std::mem::discriminant(&dependency.state) {
                known.1 = now;
            }
            known.0 = dependency.state.clone();
            let (state, why) = match dependency.state {
                State::Unknown => ("unknown", None),
                State::Up => ("up", None),
                State::Down(why) => ("down", Some(why)),
            };
            (name, DependencyState { state, why, required: dependency.required, since: known.1 })
        };
        self.health.dependencies(ReadyFor::Events).into_iter().map(told).collect()
    }
}

/// One SSE event.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("texts and numbers are JSON");
    format!("event: {name}\ndata: {data}\n\n").into()
}
