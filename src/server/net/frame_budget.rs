//! How much an HTTP/2 client may send that leads to nothing. PING, SETTINGS, PRIORITY, WINDOW_UPDATE and the like cost
//! work and no bandwidth to speak of, and a request that is reset at once costs the backend's work as well.
//!
//! Frames are counted on the socket, in front of hyper, which bounds them one by one and not in number.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::net::frames::{FramePiece, Frames};
use crate::server::net::refused_heads::RefusedHeads;

/// What a client may spend at once, in frames; as much as nghttp2 allows.
const BURST: u64 = 10_000;
/// And in the long run.
const PER_SECOND: u64 = 330;
/// What a reset costs: a thousand at once, 33 a second. Tabs that close are far below.
const RESET: u64 = 10;
/// So many bytes of bodies, either way, earn a frame: they are what windows and PINGs are for.
const EARNS: u64 = 1024;

const PREFACE: usize = 24;

/// A socket whose client is held to the budget, and to whom it is seen when a head is refused.
pub(in crate::server) struct FrameBudget<I> {
    io: I,
    budget: Budget,
    frames: Frames,
    refused: RefusedHeads,
    exceeded: FramesExceeded,
}

/// Whether a connection ended by this count: hyper's error has lost ours.
#[derive(Clone, Default)]
pub(in crate::server) struct FramesExceeded(Arc<AtomicBool>);

impl FramesExceeded {
    pub(in crate::server) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// More than the budget has.
#[derive(Debug, thiserror::Error)]
#[error("the client sent too many frames that lead to nothing")]
struct TooManyFrames;

struct Budget {
    left: u64,
    since: Instant,
    /// Bytes that have earned nothing yet.
    bytes: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now, bytes: 0 }
    }

    fn spend(&mut self, cost: u64, now: Instant) -> Result<(), TooManyFrames> {
        if self.left < cost {
            let passed = now.saturating_duration_since(self.since).as_millis();
            let earned = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(PER_SECOND) / 1000;
            if earned > 0 {
                self.since = now;
                self.left = self.left.saturating_add(earned).min(BURST);
            }
        }
        self.left = self.left.checked_sub(cost).ok_or(TooManyFrames)?;
        Ok(())
    }

    fn earn(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.left = (self.left + self.bytes / EARNS).min(BURST);
        self.bytes %= EARNS;
    }
}

/// Looks at what came next from the client.
fn look(
    frames: &mut Frames,
    mut bytes: &[u8],
    now: Instant,
    budget: &mut Budget,
) -> Result<(), TooManyFrames> {
    while let Some(piece) = frames.next(&mut bytes) {
        let FramePiece::Head(frame) = piece else { continue };
        match frame.kind {
            // A part of a body; an empty one is none.
            0 if frame.length > 0 => budget.earn(frame.length),
            // A request.
            1 => {}
            3 => budget.spend(RESET, now)?,
            _ => budget.spend(1, now)?,
        }
    }
    Ok(())
}

impl<I> FrameBudget<I> {
    /// `refused` hears of each request whose head was too large.
    pub(in crate::server) fn new(io: I, refused: Box<dyn Fn() + Send>) -> Self {
        Self {
            io,
            budget: Budget::new(Instant::now()),
            frames: Frames::behind(PREFACE),
            refused: RefusedHeads::new(refused),
            exceeded: FramesExceeded::default(),
        }
    }

    pub(in crate::server) fn exceeded(&self) -> FramesExceeded {
        self.exceeded.clone()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FrameBudget<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, into))?;
        let looked = look(&mut this.frames, &into.filled()[before..], Instant::now(), &mut this.budget);
        Poll::Ready(looked.map_err(|why| {
            this.exceeded.0.store(true, Ordering::Relaxed);
            io::Error::other(why)
        }))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FrameBudget<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.budget.earn(written);
        this.refused.look(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?;
        this.budget.earn(written);
        let mut left = written;
        for slice in slices {
            let some = left.min(slice.len());
            this.refused.look(&slice[..some]);
            left -= some;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HEADER: usize = 9;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 0];
        frame.resize(HEADER + usize::from(length), 0);
        frame
    }

    /// How many such frames pass at one moment, in pieces of this size.
    fn passing(frame: &[u8], piece: usize, now: Instant, budget: &mut Budget) -> u64 {
        let mut frames = Frames::behind(PREFACE);
        look(&mut frames, &[0; PREFACE], now, budget).unwrap();
        for count in 0..4 * BURST {
            for piece in frame.chunks(piece) {
                if look(&mut frames, piece, now, budget).is_err() {
                    return count;
                }
            }
        }
        u64::MAX
    }

    #[test]
    fn frames_that_lead_to_nothing_are_bounded_however_they_are_cut() {
        let now = Instant::now();
        for piece in [1, 7, 100] {
            let passing = |kind, length| passing(&frame(kind, length), piece, now, &mut Budget::new(now));
            for kind in [2, 4, 6, 8, 9, 77] {
                assert_eq!(passing(kind, 8), BURST, "{kind}");
            }
            assert_eq!(passing(3, 4), BURST / RESET);
            assert_eq!(passing(0, 0), BURST, "empty parts of a body");
        }
    }

    #[test]
    fn requests_and_bodies_are_not() {
        let now = Instant::now();
        assert_eq!(passing(&frame(1, 30), 100, now, &mut Budget::new(now)), u64::MAX);
        assert_eq!(passing(&frame(0, 100), 100, now, &mut Budget::new(now)), u64::MAX);
    }

    #[test]
    fn time_and_bytes_of_bodies_give_the_budget_back() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(passing(&frame(8, 4), 100, now, &mut budget), BURST);
        let later = now + Duration::from_secs(2);
        assert_eq!(passing(&frame(8, 4), 100, later, &mut budget), 2 * PER_SECOND);
        // What a client gives back of its window, two frames for sixteen KiB that it has read.
        for _ in 0..BURST {
            budget.earn(16 << 10);
            budget.spend(2, later).unwrap();
        }
    }
}
