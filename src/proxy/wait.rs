//! Requests that wait while the backend refuses connections, as it does while it is started again.
//!
//! One task looks whether it is back, for all of them; then each connects for itself, to where the backend is by then.
//! Nothing of a request has been
//! sent while it waits, and nothing of its body is read. Places are bounded in number and in bytes; a place is given
//! back by dropping it, so every way out is counted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body::Body as _;
use metrics::Gauge;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::config;
use crate::lock::Mutex;
use crate::net::descriptors;
use crate::proxy::connect::{BackendIo, Connector};
use crate::proxy::error::ProxyError;
use crate::proxy::request_body::RequestBody;
use crate::retry::Backoff;
use crate::shutdown::Drain;
use crate::telemetry::{PROXY_WAITING, PROXY_WAITS, Throttle};

/// Pauses between two looks, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What may have been read ahead of a body that nobody asks for.
const READ_AHEAD: u64 = 64 << 10;

/// Where the backend is: of one proxy after another, as the configuration changes. Cloning shares.
#[derive(Clone)]
pub(super) struct BackendPlace(Arc<watch::Sender<Arc<Connector>>>);

impl BackendPlace {
    pub(super) fn new(connector: &Arc<Connector>) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::clone(connector))))
    }

    /// From now on the backend is there, also for those who wait for it elsewhere.
    pub(super) fn move_to(&self, connector: &Arc<Connector>) {
        self.0.send_replace(Arc::clone(connector));
    }
}

/// Where requests wait. Cloning shares.
#[derive(Clone)]
pub(super) struct WaitingRoom(Arc<RoomInner>);

struct RoomInner {
    /// Zero: nobody waits.
    limit: Duration,
    max: usize,
    max_bytes: u64,
    taken: Mutex<Taken>,
    backend: BackendPlace,
    /// Counts how often the backend has come back.
    back: watch::Sender<u64>,
    waiting: Gauge,
    /// Of the lines about a backend that is away.
    lines: Throttle,
    /// The notice that the time for waiting is over, because the daemon stops.
    over: Drain,
}

#[derive(Default)]
struct Taken {
    places: usize,
    bytes: u64,
    /// Somebody looks whether the backend is back.
    looked_for: bool,
}

/// One request's place.
struct WaitingPlace<'r> {
    room: &'r RoomInner,
    bytes: u64,
    /// How it ends, unless its client leaves.
    outcome: &'static str,
}

impl WaitingRoom {
    pub(super) fn new(settings: &config::Proxy, backend: BackendPlace, over: Drain) -> Self {
        Self(Arc::new(RoomInner {
            limit: settings.wait,
            max: settings.wait_requests,
            max_bytes: settings.wait_bytes.0,
            taken: Mutex::default(),
            backend,
            back: watch::Sender::new(0),
            waiting: metrics::gauge!(PROXY_WAITING),
            lines: Throttle::default(),
            over,
        }))
    }

    /// Whether a request waits that has failed for this reason.
    pub(super) fn is_for(&self, refused: &ProxyError) -> bool {
        !self.0.limit.is_zero() && may_pass(refused)
    }

    /// A connection once the backend takes one, for a request of about so many bytes. When the time is over, or there
    /// is no place, why there is none: at first `refused`.
    pub(super) async fn connection(&self, bytes: u64, refused: ProxyError) -> Result<BackendIo, ProxyError> {
        let room = &*self.0;
        let Some(mut place) = room.take(bytes) else {
            metrics::counter!(PROXY_WAITS, "outcome" => "full").increment(1);
            return Err(refused);
        };
        let (until, mut why) = (Instant::now() + room.limit, refused);
        let mut backend = room.backend.0.subscribe();
        loop {
            // Before it is looked for: a return in between is not missed.
            let mut back = room.back.subscribe();
            self.look();
            tokio::select! {
                biased;
                () = room.over.started() => {
                    place.outcome = "stopped";
                    return Err(why);
                }
                () = sleep_until(until) => {
                    place.outcome = "timeout";
                    return Err(why);
                }
                // The senders are the room's.
                _ = back.changed() => {}
                _ = backend.changed() => {}
            }
            let connector = Arc::clone(&backend.borrow_and_update());
            match connector.connect().await {
                Ok(io) => {
                    place.outcome = "served";
                    return Ok(io);
                }
                Err(error) if may_pass(&error) => why = error,
                Err(error) => {
                    place.outcome = "failed";
                    return Err(error);
                }
            }
        }
    }

    /// Sees that somebody looks whether the backend is back.
    fn look(&self) {
        let mut taken = self.0.taken.lock();
        if std::mem::replace(&mut taken.looked_for, true) {
            return;
        }
        drop(taken);
        let room = Arc::clone(&self.0);
        self.0.over.spawn(async move { room.look().await });
    }
}

impl RoomInner {
    fn take(&self, bytes: u64) -> Option<WaitingPlace<'_>> {
        let mut taken = self.taken.lock();
        if taken.places >= self.max || taken.bytes.saturating_add(bytes) > self.max_bytes {
            return None;
        }
        taken.places += 1;
        taken.bytes += bytes;
        self.waiting.increment(1.0);
        Some(WaitingPlace { room: self, bytes, outcome: "left" })
    }

    /// Tries to connect until it can be done, or nobody waits any more.
    async fn look(&self) {
        let (began, mut pauses) = (Instant::now(), Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
        let told = self.lines.pass();
        if let Some(suppressed) = told {
            warn!(suppressed, "the backend refuses connections; requests wait for it");
        }
        loop {
            tokio::select! {
                biased;
                () = self.over.started() => {}
                () = sleep(pauses.pause()) => {}
            }
            let connector = Arc::clone(&self.backend.0.borrow());
            let tried = connector.connect().await;
            let refused = tried.as_ref().err().filter(|error| may_pass(error));
            let mut taken = self.taken.lock();
            let waiting = taken.places;
            if waiting == 0 || refused.is_none() || self.over.has_started() {
                taken.looked_for = false;
                drop(taken);
                if told.is_some() {
                    let seconds = began.elapsed().as_secs_f64();
                    let is_back = tried.is_ok();
                    info!(waiting, seconds, is_back, "nobody waits for the backend's connections any more");
                }
                // What else goes wrong those see who wait, each for itself.
                self.back.send_modify(|count| *count += 1);
                return;
            }
        }
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock();
        taken.places -= 1;
        taken.bytes -= self.bytes;
        drop(taken);
        self.room.waiting.decrement(1.0);
        metrics::counter!(PROXY_WAITS, "outcome" => self.outcome).increment(1);
    }
}

/// Whether the next attempt to connect may succeed: what listens is about to be there. A certificate that is no good
/// stays so.
fn may_pass(error: &ProxyError) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, PermissionDenied};
    match error {
        ProxyError::Connect(cause) => {
            !matches!(cause.kind(), InvalidData | InvalidInput | PermissionDenied)
                && !descriptors::are_used_up(cause)
        }
        _ => false,
    }
}

/// About how much memory a request takes while it waits.
pub(super) fn size(request: &Request<RequestBody>) -> u64 {
    let headers = request.headers().iter();
    let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let body = if request.body().is_end_stream() {
        0
    } else {
        request.body().size_hint().upper().unwrap_or(READ_AHEAD).min(READ_AHEAD)
    };
    (headers + target) as u64 + 1024 + body
}
