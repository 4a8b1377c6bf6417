//! What makes a recording known to the other instances: a task that copies it into the store between them.
//!
//! It reads the recording as a reader does, at the store's pace, and holds nobody up. What the store has missed is
//! written when it is back, as far as it is still kept here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::capture::head_text::fields_text;
use crate::capture::recording::piece::CopyPiece;
use crate::capture::recording::{Forgotten, Recording};
use crate::capture::shared::{
    CopyName, CopyUpdate, CopyWritten, NameStep, NewCopy, RecordingStore, StoreAway,
};
use crate::retry::Backoff;
use crate::telemetry;
use crate::telemetry::Throttle;

/// Bytes that are written at once.
const PIECE: usize = 32 << 10;
/// How many pieces are on their way at a time.
const PIECES: usize = 64;
/// The pause between two small ones while somebody reads the copy, and while nobody does: what comes meanwhile goes
/// together.
const PACE: Duration = Duration::from_millis(5);
const UNREAD_PACE: Duration = Duration::from_millis(50);
/// How often a copy and its names are said to be in use, and how long they are kept without that.
const TOUCH: Duration = Duration::from_secs(20);
const UNTOUCHED: Duration = Duration::from_secs(60);
/// How long the end of an answer can be heard of that is not kept.
const AFTER_END: Duration = Duration::from_secs(1);
/// Pauses while the store is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What copies have in common.
pub(super) struct Copies {
    store: Arc<dyn RecordingStore>,
    pieces: Semaphore,
    lost: Throttle,
}

/// The copy of one recording.
pub(super) struct RecordingCopy {
    pub(super) copies: Arc<Copies>,
    pub(super) recording: Arc<Recording>,
    /// How long it is kept after its end.
    pub(super) keep: Duration,
    /// Tells when to begin, and whether the store knows of it already, with its name.
    pub(super) claimed: oneshot::Receiver<bool>,
}

/// Lets a copy begin. Dropped instead, the store may know of what is not to be.
pub(super) struct CopyStart(oneshot::Sender<bool>);

impl CopyStart {
    pub(super) fn new() -> (Self, oneshot::Receiver<bool>) {
        let (start, claimed) = oneshot::channel();
        (Self(start), claimed)
    }

    /// `claimed` says that the store knows of it.
    pub(super) fn begin(self, claimed: bool) {
        let _ = self.0.send(claimed);
    }
}

/// What has been written so far.
#[derive(Default)]
struct CopiedSoFar {
    begun: bool,
    /// Up to where.
    at: u64,
    base: u64,
    head: bool,
    names: usize,
    ended: bool,
    /// It was begun a second time, with names that may be others' by now.
    again: bool,
    /// When the names were written last.
    touched: Option<Instant>,
}

impl CopiedSoFar {
    fn begin_again(&mut self) {
        (self.begun, self.again) = (false, true);
    }
}

impl Copies {
    pub(super) fn new(store: Arc<dyn RecordingStore>) -> Self {
        Self { store, pieces: Semaphore::new(PIECES), lost: Throttle::default() }
    }

    pub(super) fn store(&self) -> &Arc<dyn RecordingStore> {
        &self.store
    }
}

impl RecordingCopy {
    /// What the store is told when it begins.
    pub(super) fn new_copy(recording: &Recording, keep: Duration) -> NewCopy {
        let piece = recording.piece(0, 0);
        NewCopy {
            id: recording.id.clone(),
            route: Arc::clone(&recording.route),
            owner: recording.owner.text(),
            base: piece.base,
            edges: piece.before.text(),
            ttl: keep.max(UNTOUCHED),
        }
    }

    /// Ends when the recording is forgotten.
    pub(super) async fn run(mut self) {
        let begun = (&mut self.claimed).await.unwrap_or(true);
        let mut written = CopiedSoFar { begun, names: usize::from(begun), ..CopiedSoFar::default() };
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            match self.pass(&mut written).await {
                Ok(Some(forgotten)) => return self.forgotten(forgotten, &written).await,
                Ok(None) => pauses.reset(),
                Err(StoreAway) => sleep(pauses.pause()).await,
            }
        }
    }

    /// Writes what is new, or waits for it. Why it is forgotten, once it is.
    async fn pass(&self, written: &mut CopiedSoFar) -> Result<Option<Forgotten>, StoreAway> {
        let Self { recording, copies, .. } = self;
        if let Some(forgotten) = recording.piece(0, 0).forgotten {
            return Ok(Some(forgotten));
        }
        if !written.begun {
            let new = Self::new_copy(recording, self.keep);
            let base = new.base;
            copies.store.begin(new).await?;
            let again = written.again;
            *written = CopiedSoFar { begun: true, at: base, base, again, ..CopiedSoFar::default() };
        }
        let mut place = Some(copies.pieces.acquire().await.expect("it is never closed"));
        let piece = recording.piece(written.at, PIECE);
        if piece.forgotten.is_some() {
            return Ok(piece.forgotten);
        }
        if piece.base > written.at {
            // A part was let go of before it could be written.
            written.begin_again();
            return Ok(None);
        }
        let is_new = !piece.bytes.is_empty()
            || piece.base != written.base
            || (piece.head.is_some() && !written.head)
            || piece.names.len() > written.names
            || (piece.ended.is_some() && !written.ended);
        if !is_new {
            place = None;
            if written.ended {
                recording.changed().await;
                return Ok(None);
            }
            if timeout(TOUCH, recording.changed()).await.is_ok() {
                return Ok(None);
            }
        }
        let is_small = !piece.bytes.is_empty() && piece.bytes.len() < PIECE && piece.ended.is_none();
        self.write(piece, written).await?;
        drop(place);
        if is_small {
            let is_read = recording.attendance.everywhere() > recording.attendance.here();
            sleep(if is_read { PACE } else { UNREAD_PACE }).await;
        }
        Ok(None)
    }

    async fn write(&self, piece: CopyPiece, written: &mut CopiedSoFar) -> Result<(), StoreAway> {
        let (at, base) = (written.at + piece.bytes.len() as u64, piece.base);
        let (names, has_head, has_ended) = (piece.names.len(), piece.head.is_some(), piece.ended.is_some());
        let update = self.update(piece, written);
        let touched = if update.is_plain() { written.touched } else { Some(Instant::now()) };
        match self.copies.store.write(update).await? {
            CopyWritten::EndsAt(end) if end == at => {
                let head = written.head || has_head;
                *written = CopiedSoFar { at, base, head, names, ended: has_ended, touched, ..*written };
                self.recording.names_copied(names);
                if has_ended {
                    self.recording.copied.cancel();
                }
            }
            // An answer was lost on the way: what it was about was done.
            CopyWritten::EndsAt(end) if (base..at).contains(&end) && end > written.at => written.at = end,
            CopyWritten::EndsAt(_) | CopyWritten::Unknown => written.begin_again(),
        }
        Ok(())
    }

    fn update(&self, piece: CopyPiece, written: &CopiedSoFar) -> CopyUpdate {
        let Recording { route, owner, .. } = &*self.recording;
        let name = |name| CopyName { route: Arc::clone(route), scope: Arc::clone(&owner.scope), name };
        let step = |at: usize| match written.again {
            _ if at < written.names => NameStep::Keep,
            true => NameStep::TakeFree,
            false => NameStep::Take,
        };
        let names = piece.names.into_iter().enumerate();
        let ended = piece.ended.map(|(how, trailers)| {
            (how.as_str(), trailers.map(|trailers| fields_text(&trailers)).unwrap_or_default())
        });
        let ttl = if ended.is_some() { self.keep.max(AFTER_END) } else { self.keep.max(UNTOUCHED) };
        let mut update = CopyUpdate {
            id: self.recording.id.clone(),
            ttl,
            from: written.at,
            bytes: piece.bytes,
            base: (piece.base != written.base).then(|| (piece.base, piece.before.text())),
            head: piece.head.filter(|_| !written.head).map(|head| head.text()),
            names: names.map(|(at, text)| (name(text), step(at))).collect(),
            ended,
        };
        let is_due = written.touched.is_none_or(|at| at.elapsed() >= TOUCH);
        if !is_due && update.ended.is_none() && update.names.len() == written.names {
            update.names.clear();
        }
        update
    }

    /// Sees that the store does not know it for longer than this instance does.
    async fn forgotten(&self, why: Forgotten, written: &CopiedSoFar) {
        let Self { recording, copies, .. } = self;
        if why == Forgotten::Evicted {
            let _ = copies.store.forget(recording.id.clone()).await;
        }
        let standing = recording.standing();
        let is_recorded = standing.bytes > 0;
        if is_recorded {
            let outcome = if written.ended { "whole" } else { "lost" };
            metrics::counter!(telemetry::CAPTURES_SHARED, "outcome" => outcome).increment(1);
        }
        if written.ended || why == Forgotten::Evicted {
            return;
        }
        if is_recorded && let Some(suppressed) = copies.lost.pass() {
            let (path, id, bytes) = (&*recording.route, &recording.id, standing.bytes);
            warn!(path, %id, bytes, copied = written.at, suppressed, "a recorded answer did not get into Redis as a whole");
        }
        if written.begun {
            // Who waits for it elsewhere need not wait any more.
            let how = standing.ended.map_or("abandoned", |how| how.as_str());
            let mut update = self.update(recording.piece(written.at, 0), written);
            (update.ended, update.from, update.ttl) = (Some((how, Bytes::new())), written.at, AFTER_END);
            update.base = None;
            let _ = copies.store.write(update).await;
        }
    }
}
