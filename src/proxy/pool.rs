//! Connections to the backend: driven by whoever uses them, kept while idle, never older than the backend would keep them.
//!
//! A connection is polled in the task of the request that it carries, so a request costs no second task and no
//! wake-up between two; and to drop it is to close it, which is how a request is cancelled.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;

use super::connect::Io;
use super::upload::UploadBody;
use crate::shutdown::Drain;

/// How often idle connections that are too old or closed are let go of.
const SWEEP: Duration = Duration::from_secs(1);
/// A backend's own limit is not used to the last moment: its clock runs since it sent, ours since we received.
const MARGIN: Duration = Duration::from_secs(1);

/// One connection to the backend. Dropping it closes it.
pub(super) struct Link {
    pub(super) sender: SendRequest<UploadBody>,
    connection: Connection<TokioIo<Io>, UploadBody>,
    over: bool,
    heard: Arc<AtomicBool>,
    /// It has carried a request before.
    pub(super) reused: bool,
    /// The backend's own limit for an idle connection.
    keep: Option<Duration>,
}

impl Link {
    pub(super) async fn new(io: Io) -> Result<Box<Self>, hyper::Error> {
        let heard = io.heard();
        // An answer's head may be some 400 KiB, hyper's own bound.
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(io)).await?;
        Ok(Box::new(Self { sender, connection, over: false, heard, reused: false, keep: None }))
    }

    /// Reads and writes what can be. Ready when the connection is over; its error goes to whoever waits for an answer
    /// or its body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.over {
            self.over = Pin::new(&mut self.connection).poll_without_shutdown(cx).is_ready();
        }
        if self.over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether everything of the last request has been written and everything of its answer read.
    pub(super) fn is_idle(&self) -> bool {
        !self.over && self.sender.is_ready()
    }

    /// Whether there is nothing left to drive.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Makes an idle connection forget the task that used it, which would be woken for every later request on it.
    /// `false` when the connection is over after all.
    fn rest(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// From now on [`Link::has_heard`] tells of the next request.
    pub(super) fn forget(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether the backend has sent a single byte.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Heeds how many seconds the backend says that it keeps an idle connection.
    pub(super) fn keep_for(&mut self, seconds: Option<u64>) {
        if let Some(seconds) = seconds {
            self.keep = Some(Duration::from_secs(seconds));
        }
    }

    /// The socket, and what was read ahead of it. For a connection that has ended by an upgrade.
    pub(super) fn into_parts(self) -> Parts<TokioIo<Io>> {
        self.connection.into_parts()
    }
}

/// The idle connections. Cloning shares.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    idle: Mutex<Idle>,
    max: usize,
    timeout: Duration,
    drain: Drain,
}

#[derive(Default)]
struct Idle {
    /// The one used last is at the end and goes out first, so that a crowd's connections grow old once it is gone.
    links: Vec<(Box<Link>, Instant)>,
    swept: bool,
}

impl Pool {
    pub(super) fn new(max: usize, timeout: Duration, drain: Drain) -> Self {
        Self(Arc::new(Shared { idle: Mutex::default(), max, timeout, drain }))
    }

    /// An idle connection that was open when last heard of.
    pub(super) fn take(&self) -> Option<Box<Link>> {
        let (link, until) = self.0.lock().links.pop()?;
        if until > Instant::now() {
            return Some(link);
        }
        // Not necessarily the oldest, as the backend may have a word; the sweep comes for the others.
        None
    }

    /// Keeps a connection that has done its work, if it can be used again and there is room.
    pub(super) fn put(&self, mut link: Box<Link>) {
        if !link.rest() {
            return;
        }
        let limit = link.keep.map_or(self.0.timeout, |keep| keep.saturating_sub(MARGIN).min(self.0.timeout));
        if limit.is_zero() || self.0.drain.has_started() {
            return;
        }
        link.reused = true;
        let mut idle = self.0.lock();
        if idle.links.len() >= self.0.max {
            drop(idle);
            return;
        }
        idle.links.push((link, Instant::now() + limit));
        let sweep = !std::mem::replace(&mut idle.swept, true);
        drop(idle);
        if sweep {
            let shared = Arc::clone(&self.0);
            self.0.drain.spawn(async move { shared.sweep().await });
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what is old or closed until nothing is left, or the drain starts.
    async fn sweep(&self) {
        loop {
            let draining = tokio::select! {
                biased;
                () = self.drain.started() => true,
                () = tokio::time::sleep(SWEEP) => false,
            };
            let mut links = std::mem::take(&mut self.lock().links);
            let now = Instant::now();
            // Nobody polls an idle connection, so this is where its end is noticed, and where the waker of the task
            // that had it last is let go of.
            let mut nobody = Context::from_waker(Waker::noop());
            links
                .retain_mut(|(link, until)| !draining && *until > now && link.poll(&mut nobody).is_pending());
            let mut idle = self.lock();
            links.append(&mut idle.links);
            idle.links = links;
            if idle.links.is_empty() {
                idle.swept = false;
                return;
            }
        }
    }
}
