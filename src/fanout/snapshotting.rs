//! A subscriber's snapshot on its way out: the newest event of each key, in parts, before anything that follows.

use std::sync::Arc;

use crate::event::{Block, Key};
use crate::fanout::look::{Outgoing, OwnFrame};
use crate::fanout::meters::ShardCounts;
use crate::fanout::snapshot::SnapshotCursor;
use crate::fanout::subscriber::{Progress, Subscriber, TURN_BYTES, TURN_EVENTS, WriteOutcome};
use crate::fanout::wheel::Tick;
use crate::log::{Entry, Log};

impl Subscriber {
    /// Writes entries of the log as they look to this subscriber.
    pub(super) fn write_replayed(
        &mut self,
        entries: &[Arc<Entry>],
        log: &Log,
        keys: &[Key],
        (now, counts): (Tick, &mut ShardCounts),
    ) -> WriteOutcome {
        if self.is_special {
            let frames: Vec<OwnFrame> =
                entries.iter().map(|entry| self.own_frame(entry, log.format(), || keys.to_vec())).collect();
            self.write_entries(frames.iter().map(OwnFrame::outgoing), None, now, counts)
        } else {
            self.write_entries(entries.iter().map(|entry| Outgoing::of(entry)), None, now, counts)
        }
    }

    /// Brings the subscriber forward by one turn of its snapshot.
    pub(super) fn advance_snapshot(
        &mut self,
        mut snapshot: Box<SnapshotCursor>,
        log: &Log,
        keys: &[Key],
        (now, counts): (Tick, &mut ShardCounts),
    ) -> Progress {
        let SnapshotCursor { at, until, .. } = *snapshot;
        let part = log.snapshot(keys, (at, until), TURN_EVENTS, TURN_BYTES);
        let (sent, cursor) = (self.sent, self.cursor);
        self.cursor = at;
        let choice = self.about.choice.as_deref();
        let wanted = |entry: &Arc<Entry>| choice.is_none_or(|choice| choice.takes(entry, keys));
        let entries: Vec<Arc<Entry>> = part.entries.into_iter().filter(wanted).collect();
        let wrote = self.write_replayed(&entries, log, keys, (now, counts));
        snapshot.at = self.cursor;
        snapshot.sent += self.sent - sent;
        // What comes behind it is not to be passed over.
        self.cursor = cursor;
        match wrote {
            WriteOutcome::All if part.complete => {
                let data = format!("{{\"events\":{}}}", snapshot.sent);
                let id = Some(log.id_at(until));
                // With the id to resume with.
                let block = Block { event: Some("snapshot"), data: &data, id, retry: None };
                let frame = self.block(block, log.format());
                match self.write_frame(&frame, now, counts) {
                    WriteOutcome::All => Progress::More,
                    WriteOutcome::Blocked => Progress::Blocked,
                    WriteOutcome::Gone => Progress::Gone,
                }
            }
            WriteOutcome::Gone => Progress::Gone,
            wrote => {
                if wrote == WriteOutcome::All {
                    snapshot.at = part.through;
                }
                self.about.snapshot = Some(snapshot);
                if wrote == WriteOutcome::All { Progress::More } else { Progress::Blocked }
            }
        }
    }
}
