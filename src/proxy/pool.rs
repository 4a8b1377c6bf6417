//! The idle connections to the backend, never older than the backend would keep them, nor than `proxy.max_age`.

use crate::lock::Mutex;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::config;
use crate::proxy::upstream::UpstreamConnection;
use crate::shutdown::Drain;

/// How often idle connections that are too old or closed are let go of.
const SWEEP: Duration = Duration::from_secs(1);
/// A backend's own limit is not used to the last moment: its clock runs since it sent, ours since we received.
const MARGIN: Duration = Duration::from_secs(1);

/// The idle connections. Cloning shares.
#[derive(Clone)]
pub(super) struct ConnectionPool(Arc<PoolInner>);

struct PoolInner {
    idle: Mutex<IdleConnection>,
    max: usize,
    timeout: Duration,
    /// Zero = any.
    max_age: Duration,
    drain: Drain,
}

#[derive(Default)]
struct IdleConnection {
    /// The one used last is at the end and goes out first, so that a crowd's connections grow old once it is gone.
    connections: Vec<(Box<UpstreamConnection>, Instant)>,
    swept: bool,
}

impl ConnectionPool {
    pub(super) fn new(settings: &config::Proxy, drain: Drain) -> Self {
        Self(Arc::new(PoolInner {
            idle: Mutex::default(),
            max: settings.max_idle,
            timeout: settings.idle_timeout,
            max_age: settings.max_age,
            drain,
        }))
    }

    /// An idle connection that was open when last heard of, and may still be used at `now`.
    pub(super) fn take(&self, now: Instant) -> Option<Box<UpstreamConnection>> {
        let (connection, until) = self.0.lock().connections.pop()?;
        if until > now {
            return Some(connection);
        }
        // Not necessarily the oldest, as the backend may have a word; the sweep comes for the others.
        None
    }

    /// Keeps a connection that has done its work, if it can be used again and there is room.
    pub(super) fn put(&self, mut connection: Box<UpstreamConnection>) {
        if !connection.rest() {
            return;
        }
        let now = Instant::now();
        let mut limit = connection
            .kept_for()
            .map_or(self.0.timeout, |keep| keep.saturating_sub(MARGIN).min(self.0.timeout));
        if !self.0.max_age.is_zero() {
            limit = limit.min(self.0.max_age.saturating_sub(connection.age(now)));
        }
        if limit.is_zero() || self.0.drain.has_started() {
            return;
        }
        connection.reused = true;
        let mut idle = self.0.lock();
        if idle.connections.len() >= self.0.max {
            drop(idle);
            return;
        }
        idle.connections.push((connection, now + limit));
        let sweep = !std::mem::replace(&mut idle.swept, true);
        drop(idle);
        if sweep {
            let shared = Arc::clone(&self.0);
            self.0.drain.spawn(async move { shared.sweep().await });
        }
    }
}

impl PoolInner {
    fn lock(&self) -> MutexGuard<'_, IdleConnection> {
        self.idle.lock()
    }

    /// Lets go of what is old or closed until nothing is left, or the drain starts.
    async fn sweep(&self) {
        loop {
            let draining = tokio::select! {
                biased;
                () = self.drain.started() => true,
                () = tokio::time::sleep(SWEEP) => false,
            };
            let mut connections = std::mem::take(&mut self.lock().connections);
            let now = Instant::now();
            // Nobody polls an idle connection, so this is where its end is noticed, and where the waker of the task
            // that had it last is let go of.
            let mut nobody = Context::from_waker(Waker::noop());
            connections.retain_mut(|(connection, until)| {
                !draining && *until > now && connection.poll(&mut nobody).is_pending()
            });
            let mut idle = self.lock();
            connections.append(&mut idle.connections);
            idle.connections = connections;
            if idle.connections.is_empty() {
                idle.swept = false;
                return;
            }
        }
    }
}
