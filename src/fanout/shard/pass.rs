//! One pass over what is new: find who is touched, then write to each once.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::fanout::end::CloseReason;
use crate::fanout::index::{Index, SubscriberSlot};
use crate::fanout::look::{Outgoing, OwnFrame};
use crate::fanout::shard::state::Shard;
use crate::fanout::sink::Framing;
use crate::fanout::subscriber::{State, WriteOutcome};
use crate::log::{Entry, MatchedPatterns, Position};
use crate::telemetry::{line_enabled, log_line};

/// The working memory of passes, used again by each.
#[derive(Default)]
pub(super) struct Pass {
    touched: Vec<Touched>,
    /// The entries of `joined_of` in one piece, for the many subscribers who get the same ones.
    joined: Vec<u8>,
    joined_of: Option<(Framing, Picked)>,
    /// To how many subscribers each entry was written; empty where nobody wants to know.
    delivered: Vec<u32>,
    /// Where the last pass began, so that the same subscriber is not always the last.
    turn: usize,
}

/// Places in a pass; few in most.
type Picked = SmallVec<[u32; 4]>;

/// A subscriber and its entries of this pass, by their places in it.
struct Touched {
    slot: SubscriberSlot,
    entries: Picked,
}

impl Pass {
    /// Brings `entries`, in order, to all live subscribers that they are for; `patterns` are those that match some, by
    /// their positions.
    pub(super) fn run(
        &mut self,
        shard: &mut Shard,
        entries: &[Arc<Entry>],
        patterns: &[(Position, MatchedPatterns)],
    ) {
        self.touched.clear();
        self.joined_of = None;
        let tells = line_enabled!(publishes);
        self.delivered.clear();
        self.delivered.resize(if tells { entries.len() } else { 0 }, 0);
        let mailbox = shard.mailbox();
        {
            let index = mailbox.index.lock();
            if patterns.is_empty() {
                for (nth, entry) in entries.iter().enumerate() {
                    index.for_each(&entry.audience, |slot| {
                        self.touch(shard, slot, nth as u32, entry.position)
                    });
                }
            } else {
                self.find_by_patterns(shard, &index, entries, patterns);
            }
        }
        let count = self.touched.len();
        self.turn = self.turn.wrapping_add(1);
        for step in 0..count {
            self.write(shard, (step + self.turn) % count, entries);
        }
        let now = Instant::now();
        for entry in entries {
            shard.meters().publish_to_write.record(now.saturating_duration_since(entry.at));
        }
        for (entry, &delivered) in entries.iter().zip(&self.delivered) {
            log_delivered(entry, delivered);
        }
    }

    /// The same search where some entries are heard by patterns.
    fn find_by_patterns(
        &mut self,
        shard: &mut Shard,
        index: &Index,
        entries: &[Arc<Entry>],
        patterns: &[(Position, MatchedPatterns)],
    ) {
        let Some(first) = entries.first() else { return };
        let mut patterns = &patterns[patterns.partition_point(|(position, _)| *position < first.position)..];
        for (nth, entry) in entries.iter().enumerate() {
            index.for_each(&entry.audience, |slot| self.touch(shard, slot, nth as u32, entry.position));
            if let [(position, matched), rest @ ..] = patterns
                && *position == entry.position
            {
                patterns = rest;
                index.for_each_by(matched, &entry.audience, |slot| {
                    self.touch(shard, slot, nth as u32, entry.position)
                });
            }
        }
    }

    fn touch(&mut self, shard: &mut Shard, slot: SubscriberSlot, nth: u32, position: Position) {
        let Some(subscriber) = shard.subscribers.get_mut(slot as usize) else { return };
        // Those behind get it from the log; those that replayed beyond it have it.
        if subscriber.state != State::Live || position <= subscriber.cursor {
            return;
        }
        if subscriber.touched == u32::MAX {
            subscriber.touched = self.touched.len() as u32;
            self.touched.push(Touched { slot, entries: SmallVec::new() });
        }
        let entries = &mut self.touched[subscriber.touched as usize].entries;
        // Reached by two of its keys.
        if entries.last() != Some(&nth) {
            entries.push(nth);
        }
    }

    fn write(&mut self, shard: &mut Shard, which: usize, entries: &[Arc<Entry>]) {
        let Touched { slot, entries: picked } = &self.touched[which];
        let Some(subscriber) = shard.subscribers.get_mut(*slot as usize) else { return };
        subscriber.touched = u32::MAX;
        if subscriber.is_special {
            return self.write_own(shard, which, entries);
        }
        // Everything before the first of these is behind it.
        subscriber.cursor = entries[picked[0] as usize].position.prev();
        if let &[nth] = &picked[..]
            && subscriber.at_boundary()
        {
            let wrote =
                subscriber.write_entry(Outgoing::of(&entries[nth as usize]), shard.now, &mut shard.counts);
            count_delivered(&mut self.delivered, picked, entries, subscriber.cursor);
            return Self::settle(shard, *slot, wrote);
        }
        let framing = subscriber.sink.framing();
        let joined = (picked.len() > 1).then(|| {
            if self.joined_of.as_ref().is_none_or(|(with, of)| *with != framing || of != picked) {
                self.joined.clear();
                for &nth in picked {
                    self.joined.extend_from_slice(framing.bytes(&entries[nth as usize].frame));
                }
                self.joined_of = Some((framing, picked.clone()));
            }
            &self.joined[..]
        });
        let mine = picked.iter().map(|&nth| Outgoing::of(&entries[nth as usize]));
        let wrote = subscriber.write_entries(mine, joined, shard.now, &mut shard.counts);
        count_delivered(&mut self.delivered, picked, entries, subscriber.cursor);
        Self::settle(shard, *slot, wrote);
    }

    /// The same for a subscriber that does not get what the log has rendered for all.
    fn write_own(&mut self, shard: &mut Shard, which: usize, entries: &[Arc<Entry>]) {
        let Touched { slot, entries: picked } = &self.touched[which];
        let format = shard.log.format();
        let Some(subscriber) = shard.subscribers.get(*slot as usize) else { return };
        // A history is over once the stream is live: what it holds does not matter for what is chosen.
        let is_wanted = |nth: &&u32| {
            let choice = subscriber.about.choice.as_ref();
            choice.is_none_or(|choice| choice.takes(&entries[**nth as usize], &[]))
        };
        let picked: Picked = picked.iter().filter(is_wanted).copied().collect();
        let Some(&first) = picked.first() else { return };
        let mine = picked.iter().map(|&nth| &*entries[nth as usize]);
        let frames: SmallVec<[OwnFrame; 4]> =
            mine.map(|entry| subscriber.own_frame(entry, format, || shard.held(*slot))).collect();
        let Some(subscriber) = shard.subscribers.get_mut(*slot as usize) else { return };
        // Everything before the first of these is behind it, or not wanted.
        subscriber.cursor = entries[first as usize].position.prev();
        let mine = frames.iter().map(OwnFrame::outgoing);
        let wrote = subscriber.write_entries(mine, None, shard.now, &mut shard.counts);
        count_delivered(&mut self.delivered, &picked, entries, subscriber.cursor);
        Self::settle(shard, *slot, wrote);
    }

    fn settle(shard: &mut Shard, slot: SubscriberSlot, wrote: WriteOutcome) {
        match wrote {
            WriteOutcome::All => {}
            WriteOutcome::Blocked => shard.block(slot),
            WriteOutcome::Gone => shard.close(slot, CloseReason::ClientGone),
        }
    }
}

/// Counts those of the entries `picked` that a subscriber has got whose cursor has come to `cursor`.
fn count_delivered(delivered: &mut [u32], picked: &Picked, entries: &[Arc<Entry>], cursor: Position) {
    if delivered.is_empty() {
        return;
    }
    for nth in picked.iter().map(|&nth| nth as usize) {
        delivered[nth] += u32::from(entries[nth].position <= cursor);
    }
}

fn log_delivered(entry: &Entry, delivered: u32) {
    let id = entry.id.map(|id| id.to_string());
    let audience = entry.audience.in_short();
    let trace_id = entry.trace.as_ref().map(|trace| trace.trace_id());
    log_line!(publishes, id, audience, delivered, trace_id, "event delivered");
}
