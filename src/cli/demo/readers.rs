//! A load of the demo's own: a thousand streams over loopback, read by threads of their own, and what they measured.
//!
//! Bounded in streams, events and time. Every number is counted or measured by the readers themselves; each event
//! carries the time at which it was published, by the clock that they read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::cli::demo::chat::{LOAD_TOPIC, TOPIC};
use crate::cli::demo::daemon_api::DaemonApi;
use crate::cli::demo::network::dial;
use crate::lock::Mutex;

/// Streams, where the limit of open files allows them.
pub(super) const READERS: usize = 1000;
/// Descriptors of a reader: its end, and the daemon's.
const DESCRIPTORS: usize = 2;
/// Descriptors for everything else.
const OTHERS: usize = 200;
/// From one event to the next.
const PACE: Duration = Duration::from_millis(100);
const EVENTS: u64 = 120;
/// From one report to the next, in events.
const REPORT: u64 = 5;
/// How many connect at once.
const AT_ONCE: usize = 50;
/// For the last events to arrive, and for all to connect.
const PATIENCE: Duration = Duration::from_secs(5);
const THREADS: usize = 2;

/// One load at a time.
pub(super) struct Load {
    api: Arc<DaemonApi>,
    daemon: SocketAddr,
    /// Of the one that runs.
    running: Mutex<Option<CancellationToken>>,
    readers: usize,
}

/// What the readers have seen.
struct Tally {
    began: Instant,
    open: AtomicUsize,
    received: AtomicU64,
    /// Microseconds from an event's publication to its being read, since the last report.
    times: Mutex<Vec<u32>>,
    end: CancellationToken,
}

impl Load {
    /// `files` is how many this process may have open.
    pub(super) fn new(api: Arc<DaemonApi>, daemon: SocketAddr, files: usize) -> Self {
        let readers = READERS.min(files.saturating_sub(OTHERS) / DESCRIPTORS);
        Self { api, daemon, running: Mutex::default(), readers }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.lock().is_some()
    }

    /// Ends the load, if there is one.
    pub(super) fn stop(&self) {
        if let Some(end) = &*self.running.lock() {
            end.cancel();
        }
    }

    /// Makes the load and reports it, until all events are out or it is stopped. False when there is one already.
    pub(super) async fn run(&self) -> bool {
        let end = CancellationToken::new();
        {
            let mut running = self.running.lock();
            if running.is_some() {
                return false;
            }
            *running = Some(end.clone());
        }
        let tally = Arc::new(Tally {
            began: Instant::now(),
            open: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            times: Mutex::default(),
            end,
        });
        let threads = start_readers(self.daemon, self.readers, &tally);
        match &threads {
            Ok(_) => self.publish(&tally).await,
            Err(error) => debug!(%error, "the load's threads could not be started"),
        }
        tally.end.cancel();
        *self.running.lock() = None;
        true
    }

    async fn publish(&self, tally: &Tally) {
        let all_open = async {
            while tally.open.load(Ordering::Relaxed) < self.readers {
                sleep(PACE).await;
                self.report(tally, 0, json!({})).await;
            }
        };
        // Those that are there by then are the load.
        let _ = timeout(PATIENCE, all_open).await;
        let open = tally.open.load(Ordering::Relaxed) as u64;
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = 0;
        while sent < EVENTS {
            tokio::select! {
                () = tally.end.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let now = tally.began.elapsed().as_micros() as u64;
            let event = json!({ "topic": LOAD_TOPIC, "event": "load", "data": now });
            if self.api.publish(&event).await.is_err() {
                // The daemon is being restarted, say: that was it for this load.
                break;
            }
            sent += 1;
            if sent % REPORT == 0 {
                self.report(tally, sent, json!({})).await;
            }
        }
        let expected = sent * open;
        let arrived = async {
            while tally.received.load(Ordering::Relaxed) < expected && !tally.end.is_cancelled() {
                sleep(PACE / 4).await;
            }
        };
        let _ = timeout(PATIENCE, arrived).await;
        self.report(tally, sent, json!({ "done": true, "expected": expected })).await;
    }

    /// Tells the pages what was measured since the last time, with `more`.
    async fn report(&self, tally: &Tally, sent: u64, more: Value) {
        let mut times = std::mem::take(&mut *tally.times.lock());
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).map(|&us| f64::from(us) / 1000.0);
        let mut data = json!({
            "wanted": self.readers,
            "open": tally.open.load(Ordering::Relaxed),
            "sent": sent,
            "received": tally.received.load(Ordering::Relaxed),
            "samples": times.len(),
            "p50": at(50),
            "p99": at(99),
            "seconds": tally.began.elapsed().as_secs_f64(),
        });
        if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
            data.extend(more);
        }
        let event = json!({ "topic": TOPIC, "event": "demo:load", "data": data, "ephemeral": true });
        if let Err(error) = self.api.publish(&event).await {
            debug!(%error, "a report of the load could not be published");
        }
    }
}

/// Starts the readers on threads that nothing else runs on. They end with the tally's notice.
fn start_readers(daemon: SocketAddr, readers: usize, tally: &Arc<Tally>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("load")
        .enable_all()
        .build()?;
    let tally = Arc::clone(tally);
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        runtime.block_on(async {
            let connecting = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..readers {
                let (tally, connecting) = (Arc::clone(&tally), Arc::clone(&connecting));
                tasks.spawn(async move {
                    tokio::select! {
                        () = tally.end.cancelled() => {}
                        read = read_stream(daemon, &tally, &connecting) => {
                            if let Err(error) = read {
                                debug!(%error, "a reader of the load has ended");
                            }
                        }
                    }
                });
            }
            while tasks.join_next().await.is_some() {}
        });
    })?;
    Ok(())
}

/// Reads one stream to its end.
async fn read_stream(
    daemon: SocketAddr,
    tally: &Tally,
    connecting: &tokio::sync::Semaphore,
) -> io::Result<()> {
    let mut bytes = [0; 512];
    let mut held = Vec::new();
    let mut socket = {
        let _turn = connecting.acquire().await;
        let mut socket = dial(daemon).await?;
        // HTTP/1.0, whose answers have no chunks.
        socket
            .write_all(b"GET /load HTTP/1.0\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
            .await?;
        socket
    };
    let mut opened = None;
    loop {
        let read = socket.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        let now = tally.began.elapsed().as_micros() as u64;
        held.extend_from_slice(&bytes[..read]);
        while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            if line.starts_with(b"event: connected") {
                opened = Some(Opened::count(tally));
            }
            let data = line.strip_prefix(b"data: ").and_then(|data| std::str::from_utf8(data).ok());
            if let Some(sent) =
                data.and_then(|data| data.trim_end().parse::<u64>().ok()).filter(|_| opened.is_some())
            {
                tally.received.fetch_add(1, Ordering::Relaxed);
                tally.times.lock().push(u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX));
            }
        }
    }
}

/// A stream that is counted as open until it is dropped.
struct Opened<'t>(&'t AtomicUsize);

impl<'t> Opened<'t> {
    fn count(tally: &'t Tally) -> Self {
        tally.open.fetch_add(1, Ordering::Relaxed);
        Self(&tally.open)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
