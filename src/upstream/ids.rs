//! The application's own ids of the events that the log has under ours. Bounded; the oldest are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::event::EventId;

/// The ids of one stream.
#[derive(Default, Debug)]
pub(super) struct UpstreamIds {
    /// The newest of each.
    ours: HashMap<Arc<str>, EventId>,
    order: VecDeque<(Arc<str>, EventId)>,
    bytes: usize,
}

/// How many ids of a stream are known, and how long they may be together.
const MAX_IDS: usize = 2000;
const MAX_BYTES: usize = 128 << 10;

impl UpstreamIds {
    /// `theirs` stands for the event that is `ours`; one that comes again, for the later event. The ids of a log that
    /// is read backwards come in that order.
    pub(super) fn insert(&mut self, theirs: &str, ours: EventId) {
        let known = self.ours.get(theirs).copied();
        if known == Some(ours) {
            return;
        }
        let theirs: Arc<str> = theirs.into();
        if known.is_none_or(|known| known.order() < ours.order()) {
            self.ours.insert(Arc::clone(&theirs), ours);
        }
        self.bytes += theirs.len();
        if self.order.front().is_some_and(|(_, oldest)| ours.order() < oldest.order()) {
            self.order.push_front((theirs, ours));
        } else {
            self.order.push_back((theirs, ours));
        }
        while self.order.len() > MAX_IDS || self.bytes > MAX_BYTES {
            let Some((oldest, id)) = self.order.pop_front() else { return };
            self.bytes -= oldest.len();
            // It may have come again since.
            if self.ours.get(&oldest) == Some(&id) {
                self.ours.remove(&oldest);
            }
        }
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<&str> {
        self.order.back().map(|(theirs, _)| &**theirs)
    }

    /// Our id of the event that the application calls this.
    pub(super) fn find(&self, theirs: &str) -> Option<EventId> {
        self.ours.get(theirs).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(ms: u64) -> EventId {
        EventId { ms, seq: 0, tag: None }
    }

    #[test]
    fn an_id_that_comes_again_stands_for_the_later_event() {
        let mut ids = UpstreamIds::default();
        ids.insert("a", ours(1));
        ids.insert("b", ours(2));
        ids.insert("a", ours(3));
        assert_eq!(ids.find("a"), Some(ours(3)));
        assert_eq!(ids.find("b"), Some(ours(2)));
        assert_eq!(ids.find("c"), None);
    }

    #[test]
    fn ids_that_come_backwards_are_known_as_well() {
        let mut ids = UpstreamIds::default();
        for (theirs, ms) in [("c", 4), ("a", 3), ("b", 2), ("a", 1), ("d", 5), ("d", 5)] {
            ids.insert(theirs, ours(ms));
        }
        assert_eq!(ids.find("a"), Some(ours(3)));
        assert_eq!(ids.find("b"), Some(ours(2)));
        assert_eq!((ids.newest(), ids.len()), (Some("d"), 5));
    }

    #[test]
    fn only_so_many_ids_and_so_many_bytes_are_kept() {
        let mut ids = UpstreamIds::default();
        for n in 0..2 * MAX_IDS as u64 {
            ids.insert(&n.to_string(), ours(n));
        }
        assert_eq!(ids.find("0"), None);
        assert_eq!(ids.find(&(MAX_IDS + 5).to_string()), Some(ours(MAX_IDS as u64 + 5)));
        ids.insert(&"x".repeat(MAX_BYTES), ours(9000));
        assert_eq!(ids.order.len(), 1);
        ids.insert("after", ours(9001));
        assert_eq!((ids.order.len(), ids.ours.len(), ids.bytes), (1, 1, 5));
    }
}
