//! A connection to the backend, driven by the task that uses it.
//!
//! It is polled in the task of the request that it carries, so a request costs no second task and no wake-up between
//! two; and to drop it is to close it, which is how a request is cancelled.
//!
//! hyper's client side speaks on it, but for a plain exchange (`fast_path.rs`), for which the raw socket is enough.
//! Each begins where the other has left the socket.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::client::conn::http1::{self, Connection, Parts, SendRequest};
use hyper_util::rt::TokioIo;

use crate::proxy::connect::BackendIo;
use crate::proxy::fast_path::RawConnection;
use crate::proxy::request_body::RequestBody;

/// How many fields the head of a request or an answer may have.
///
/// hyper takes room for so many from the allocator for each answer that it reads: twice 32 KiB.
pub const MAX_FIELDS: usize = 1024;

/// One connection to the backend. Dropping it closes it.
pub(super) struct UpstreamConnection {
    mode: Mode,
    heard: Arc<AtomicBool>,
    /// It has carried a request before.
    pub(super) reused: bool,
    /// The backend's own limit for an idle connection.
    keep: Option<Duration>,
    since: Instant,
    keeps_case: bool,
}

/// Who speaks on the socket.
enum Mode {
    Raw(RawConnection),
    Hyper(Box<Hyper>),
    Over,
}

struct Hyper {
    sender: SendRequest<RequestBody>,
    connection: Connection<TokioIo<BackendIo>, RequestBody>,
    over: bool,
    /// The next exchange may well be plain.
    leaves: bool,
}

impl UpstreamConnection {
    /// With `keeps_case` names of headers go out as they came, and nothing is exchanged without hyper.
    pub(super) fn new(io: BackendIo, keeps_case: bool) -> Box<Self> {
        let heard = io.heard();
        Box::new(Self {
            mode: Mode::Raw(RawConnection::new(io, Bytes::new())),
            heard,
            reused: false,
            keep: None,
            since: Instant::now(),
            keeps_case,
        })
    }

    /// The raw socket of an idle connection, where hyper's last exchange on it gave no reason to stay with hyper.
    pub(super) fn raw(&mut self) -> Option<&mut RawConnection> {
        if matches!(&self.mode, Mode::Hyper(hyper) if hyper.leaves)
            && let Mode::Hyper(hyper) = std::mem::replace(&mut self.mode, Mode::Over)
        {
            let Parts { io, read_buf, .. } = hyper.connection.into_parts();
            self.mode = Mode::Raw(RawConnection::new(io.into_inner(), read_buf));
        }
        if let Mode::Raw(raw) = &mut self.mode { Some(raw) } else { None }
    }

    /// Hyper's way to send a request. In the midst of a plain exchange hyper takes it over: what is sent here then has
    /// to be the same request, and does not go out again.
    pub(super) async fn sender(&mut self) -> Result<&mut SendRequest<RequestBody>, hyper::Error> {
        if let Mode::Raw(_) = self.mode
            && let Mode::Raw(raw) = std::mem::replace(&mut self.mode, Mode::Over)
        {
            // An answer's head may be some 400 KiB, hyper's own bound.
            let (sender, connection) = http1::Builder::new()
                .max_headers(MAX_FIELDS)
                .allow_spaces_after_header_name_in_responses(true)
                .preserve_header_case(self.keeps_case)
                .title_case_headers(self.keeps_case)
                .handshake(TokioIo::new(raw.into_io()))
                .await?;
            let hyper = Hyper { sender, connection, over: false, leaves: false };
            self.mode = Mode::Hyper(Box::new(hyper));
        }
        match &mut self.mode {
            Mode::Hyper(hyper) => Ok(&mut hyper.sender),
            Mode::Raw(_) | Mode::Over => unreachable!("a connection that is over is not used"),
        }
    }

    /// Reads and writes what can be. Ready when the connection is over; its error goes to the request that waits for an
    /// answer or its body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.mode {
            Mode::Hyper(hyper) => {
                if !hyper.over {
                    hyper.over = Pin::new(&mut hyper.connection).poll_without_shutdown(cx).is_ready();
                }
                if hyper.over { Poll::Ready(()) } else { Poll::Pending }
            }
            Mode::Raw(raw) => raw.poll_idle(cx),
            Mode::Over => Poll::Ready(()),
        }
    }

    /// Whether everything of the last request has been written and everything of its answer read.
    pub(super) fn is_idle(&self) -> bool {
        match &self.mode {
            Mode::Hyper(hyper) => !hyper.over && hyper.sender.is_ready(),
            Mode::Raw(raw) => raw.is_idle(),
            Mode::Over => false,
        }
    }

    /// Whether there is nothing left to drive.
    pub(super) fn is_over(&self) -> bool {
        match &self.mode {
            Mode::Hyper(hyper) => hyper.over,
            Mode::Raw(_) => false,
            Mode::Over => true,
        }
    }

    /// Makes an idle connection forget the task that used it, which hyper would wake for every later request on it.
    /// `false` when the connection is over after all.
    pub(super) fn rest(&mut self) -> bool {
        matches!(self.mode, Mode::Raw(_)) || self.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// From now on [`UpstreamConnection::has_heard`] tells of the next request.
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

    /// How long it has been open by `now`.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub(super) fn kept_for(&self) -> Option<Duration> {
        self.keep
    }

    /// Whether the exchange now under way could have been a plain one; then the next one begins as such.
    pub(super) fn was_plain(&mut self, plain: bool) {
        if let Mode::Hyper(hyper) = &mut self.mode {
            hyper.leaves = plain;
        }
    }

    /// The socket, and what was read ahead of it. For a connection that has ended by an upgrade.
    pub(super) fn into_parts(self) -> Option<Parts<TokioIo<BackendIo>>> {
        if let Mode::Hyper(hyper) = self.mode { Some(hyper.connection.into_parts()) } else { None }
    }
}
