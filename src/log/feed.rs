//! Where the log leaves, for one shard, the entries that somebody there is waiting for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::store::{Entry, Position};

/// One shard's inbox, filled by the log in order.
pub struct Feed {
    pub(super) number: u32,
    inbox: Mutex<Taken>,
    /// Set from the first entry left until the shard takes: one wake-up for however many entries.
    called: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Bytes of frames that may wait.
    max_bytes: usize,
}

/// What a feed held.
#[derive(Default, Debug)]
pub struct Taken {
    /// In order.
    pub entries: Vec<Arc<Entry>>,
    /// Set when the shard fell so far behind that the entries after this position were let go of: they are to be
    /// replayed from the log. `entries` is then empty.
    pub missed_after: Option<Position>,
    bytes: usize,
}

impl Feed {
    pub(super) fn new(number: u32, max_bytes: usize, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { number, inbox: Mutex::default(), called: AtomicBool::new(false), wake, max_bytes }
    }

    /// Swaps what waits into `taken`, which is cleared first; its capacity is used again.
    pub fn take(&self, taken: &mut Taken) {
        taken.entries.clear();
        taken.missed_after = None;
        taken.bytes = 0;
        // Cleared before the swap: an entry left in between wakes once too often rather than never.
        self.called.store(false, Ordering::SeqCst);
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *inbox, taken);
    }

    pub(super) fn leave(&self, entry: &Arc<Entry>) {
        {
            let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            if inbox.missed_after.is_some() {
                // Already to be replayed from the log.
            } else if inbox.bytes > self.max_bytes {
                let first = inbox.entries.first().map_or(entry.position, |entry| entry.position);
                inbox.missed_after = Some(Position(first.0 - 1));
                inbox.entries = Vec::new();
                inbox.bytes = 0;
            } else {
                inbox.bytes += entry.frame.chunk().len() + 64;
                inbox.entries.push(Arc::clone(entry));
            }
        }
        if !self.called.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }
}
