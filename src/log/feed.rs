//! Where the log leaves, for one shard, the entries that somebody there is waiting for.

use crate::lock::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log::entry::Entry;
use crate::log::patterns::MatchedPatterns;
use crate::log::position::Position;
use crate::log::topic_edit::AppliedEdit;

/// One shard's inbox, filled by the log in order.
pub struct Feed {
    pub(super) number: u32,
    inbox: Mutex<FeedBatch>,
    /// Set from the first entry left until the shard takes: one wake-up for however many entries.
    called: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Bytes of frames that may wait.
    max_bytes: usize,
}

/// What a feed held.
#[derive(Default, Debug)]
pub struct FeedBatch {
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// In order; their positions say where they stand among the entries.
    pub changes: Vec<Arc<AppliedEdit>>,
    /// The patterns that match entries, by the entries' positions, in order. An entry that none matches is not here.
    pub patterns: Vec<(Position, MatchedPatterns)>,
    /// Set when the shard fell so far behind that what stands after this position was let go of: it is to be
    /// replayed from the log. All else is then empty.
    pub missed_after: Option<Position>,
    bytes: usize,
}

impl Feed {
    pub(super) fn new(number: u32, max_bytes: usize, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { number, inbox: Mutex::default(), called: AtomicBool::new(false), wake, max_bytes }
    }

    /// Swaps what waits into `taken`, which is cleared first; its capacity is used again.
    pub fn take(&self, taken: &mut FeedBatch) {
        taken.entries.clear();
        taken.changes.clear();
        taken.patterns.clear();
        taken.missed_after = None;
        taken.bytes = 0;
        // Cleared before the swap: an entry left in between wakes once too often rather than never.
        self.called.store(false, Ordering::SeqCst);
        let mut inbox = self.inbox.lock();
        std::mem::swap(&mut *inbox, taken);
    }

    pub(super) fn push(&self, entry: &Arc<Entry>) {
        self.put(entry, None);
    }

    /// The same for an entry that these patterns match.
    pub(super) fn push_matched(&self, entry: &Arc<Entry>, patterns: &MatchedPatterns) {
        self.put(entry, Some(patterns));
    }

    #[inline]
    fn put(&self, entry: &Arc<Entry>, patterns: Option<&MatchedPatterns>) {
        {
            let mut inbox = self.inbox.lock();
            if inbox.missed_after.is_some() {
                // Already to be replayed from the log.
            } else if inbox.bytes > self.max_bytes {
                inbox.overflow(entry.position);
            } else {
                inbox.bytes += entry.frame.chunk().len() + 64;
                inbox.entries.push(Arc::clone(entry));
                if let Some(patterns) = patterns {
                    // Counted whole, though most are shared: what is remembered may have been forgotten meanwhile.
                    inbox.bytes += size_of_val(&**patterns);
                    inbox.patterns.push((entry.position, Arc::clone(patterns)));
                }
            }
        }
        self.call();
    }

    pub(super) fn leave_change(&self, change: &Arc<AppliedEdit>) {
        {
            let mut inbox = self.inbox.lock();
            if inbox.missed_after.is_some() {
                // The log has it as well.
            } else if inbox.bytes > self.max_bytes {
                inbox.overflow(change.position);
            } else {
                inbox.bytes += CHANGE_BYTES;
                inbox.changes.push(Arc::clone(change));
            }
        }
        self.call();
    }

    fn call(&self) {
        if !self.called.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }
}

impl FeedBatch {
    /// Lets go of everything, and of what stands at `next`.
    fn overflow(&mut self, next: Position) {
        let entry = self.entries.first().map(|entry| entry.position);
        let change = self.changes.first().map(|change| change.position);
        let first = entry.into_iter().chain(change).min().unwrap_or(next);
        *self = Self { missed_after: Some(first.prev()), ..Self::default() };
    }
}

/// What a change counts for; the log holds its names.
const CHANGE_BYTES: usize = 256;
