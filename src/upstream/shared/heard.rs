//! The application's own ids of the events in the log that all instances share, as far as this one has read it.
//!
//! Kept also of streams that nobody hears here: a client may come from another instance. Bounded; of the stream that
//! was silent for longest they are forgotten first.

use std::collections::HashMap;
use std::time::Instant;

use crate::event::{EventId, Name};
use crate::lock::Mutex;
use crate::upstream::ids::UpstreamIds;

/// The ids of all streams.
#[derive(Default)]
pub(in crate::upstream) struct HeardIds(Mutex<HeardStreams>);

#[derive(Default)]
struct HeardStreams {
    all: HashMap<Name, HeardStream>,
    /// Ids of all of them.
    ids: usize,
}

struct HeardStream {
    ids: UpstreamIds,
    heard: Instant,
}

/// How many ids are known of all streams together.
const MAX_IDS: usize = 100_000;

impl HeardIds {
    /// `theirs` stands for the event that is `ours`. They may come in any order.
    pub(in crate::upstream) fn insert(&self, name: &Name, theirs: &str, ours: EventId) {
        let now = Instant::now();
        let mut streams = self.0.lock();
        let HeardStreams { all, ids } = &mut *streams;
        let fresh = || HeardStream { ids: UpstreamIds::default(), heard: now };
        let stream = all.entry(name.clone()).or_insert_with(fresh);
        stream.heard = now;
        *ids -= stream.ids.len();
        stream.ids.insert(theirs, ours);
        *ids += stream.ids.len();
        while *ids > MAX_IDS
            && let Some(silent) =
                all.iter().min_by_key(|(_, stream)| stream.heard).map(|(name, _)| name.clone())
            && let Some(gone) = all.remove(&silent)
        {
            *ids -= gone.ids.len();
        }
    }

    /// Our id of the event that the application calls this.
    pub(in crate::upstream) fn find(&self, name: &Name, theirs: &str) -> Option<EventId> {
        self.0.lock().all.get(name)?.ids.find(theirs)
    }

    /// The application's own id of the newest event; empty = none is known.
    pub(in crate::upstream) fn newest(&self, name: &Name) -> String {
        let streams = self.0.lock();
        streams.all.get(name).and_then(|stream| stream.ids.newest()).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_that_was_silent_for_longest_is_forgotten_first() {
        let (heard, id) = (HeardIds::default(), |ms| EventId { ms, seq: 0, tag: None });
        let name = |n: usize| Name::parse(&n.to_string()).unwrap();
        for stream in 0..60 {
            for n in 0..2000 {
                heard.insert(&name(stream), &n.to_string(), id(n));
            }
        }
        assert_eq!(heard.find(&name(0), "1999"), None);
        assert_eq!(heard.find(&name(59), "1999"), Some(id(1999)));
        assert_eq!(heard.newest(&name(59)), "1999");
        assert!(heard.0.lock().ids <= MAX_IDS);
    }
}
