//! One thread that owns sockets: it waits for them, for its inbox and for its clock, and does what each asks.
//!
//! Nothing here waits for anything else: every socket is non-blocking, every lock is short.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Events;

use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::mailbox::{ShardCommand, WAKER};
use crate::fanout::requests::CloseRequest;
use crate::fanout::shard::pass::Pass;
use crate::fanout::shard::state::Shard;
use crate::fanout::subscriber::{Progress, State, SubscriberId};
use crate::log::{Entry, FeedBatch, MatchedPatterns, Position};

/// How many turns are taken between two looks at sockets, inbox and clock.
const TURNS: usize = 256;

impl Shard {
    /// Runs until a command stops it.
    pub(in crate::fanout) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut commands = Vec::new();
        let mut taken = FeedBatch::default();
        let mut pass = Pass::default();
        let mut due = Vec::new();
        loop {
            let timeout = if self.queue.is_empty() {
                self.wheel.until_next(Instant::now())
            } else {
                Some(Duration::ZERO)
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    // Without its poll a shard is blind; the guard around this thread ends the process.
                    panic!("a shard's poll failed: {error}");
                }
                _ => {}
            }
            self.now = self.wheel.tick_of(Instant::now());
            for event in &events {
                if event.token() != WAKER {
                    self.on_socket(event.token().0 as SubscriberSlot, event.is_writable());
                }
            }
            self.mailbox.take(&mut commands);
            for command in commands.drain(..) {
                match command {
                    ShardCommand::Join(join) => self.join(*join),
                    ShardCommand::Notify(who) => self.on_notify(who),
                    ShardCommand::End(ask) => {
                        // What was published before it was asked for comes before the end.
                        self.take_in(&mut taken, &mut pass);
                        let CloseRequest { filter, token, end, count } = *ask;
                        // The caller may have gone.
                        let _ = count.send(self.end(&filter, token.as_ref(), end));
                    }
                    ShardCommand::Renew(ask) => self.renew(*ask),
                    ShardCommand::List(ask) => self.list(*ask),
                    ShardCommand::Count(ask) => self.count(*ask),
                    ShardCommand::Answer(asked) => {
                        let _ = asked.send(());
                    }
                    ShardCommand::Watch(watcher) => self.watch(watcher),
                    ShardCommand::Drain(window) => self.drain(window),
                    ShardCommand::Stop => {
                        self.take_in(&mut taken, &mut pass);
                        // A caller that asks from here on learns that nobody is here.
                        self.mailbox.close();
                        self.close_all();
                        self.flush();
                        return;
                    }
                }
            }
            self.take_in(&mut taken, &mut pass);
            self.wheel.turn(Instant::now(), &mut due);
            if !due.is_empty() {
                // Once for all who are due: it may tell the time.
                self.heartbeat = self.settings.heartbeat_as.frame(self.log.format());
            }
            // Neighbours in memory one after the other.
            due.sort_unstable();
            for (slot, tick) in due.drain(..) {
                self.on_time(slot, tick);
            }
            self.flush();
        }
    }

    /// Brings to all subscribers what has been left for them, as far as their sinks and this turn take it.
    fn take_in(&mut self, taken: &mut FeedBatch, pass: &mut Pass) {
        self.feed.take(taken);
        match taken.missed_after {
            Some(after) => self.resync_all(after),
            None => self.deliver(taken, pass),
        }
        self.run_queue();
    }

    /// Brings to all live subscribers what is new: events and changes of topics, in their order.
    fn deliver(&mut self, taken: &FeedBatch, pass: &mut Pass) {
        let mut entries = &taken.entries[..];
        for change in &taken.changes {
            let (before, after) =
                entries.split_at(entries.partition_point(|entry| entry.position < change.position));
            self.deliver_events(before, &taken.patterns, pass);
            self.follow(change);
            self.applied = change.position;
            entries = after;
        }
        self.deliver_events(entries, &taken.patterns, pass);
    }

    fn deliver_events(
        &mut self,
        entries: &[Arc<Entry>],
        patterns: &[(Position, MatchedPatterns)],
        pass: &mut Pass,
    ) {
        if let Some(last) = entries.last() {
            pass.run(self, entries, patterns);
            self.applied = last.position;
        }
    }

    /// Everybody who is live has everything up to `after` and replays the rest from the log.
    fn resync_all(&mut self, after: Position) {
        tracing::warn!(
            streams = self.subscribers.len(),
            "a shard fell behind its inbox; its streams replay from the log"
        );
        for (slot, subscriber) in &mut self.subscribers {
            if subscriber.state == State::Live {
                subscriber.cursor = subscriber.cursor.max(after);
                subscriber.state = State::Queued;
                self.queue.push_back(SubscriberId {
                    slot: slot as SubscriberSlot,
                    generation: subscriber.generation,
                });
            }
        }
    }

    /// Gives a turn to those who wait for one.
    pub(super) fn run_queue(&mut self) {
        for _ in 0..TURNS {
            let Some(SubscriberId { slot, generation }) = self.queue.pop_front() else { return };
            let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { continue };
            if subscriber.generation != generation || subscriber.state != State::Queued {
                continue;
            }
            let keys = self.mailbox.index.lock().keys_of(slot);
            let turn = match subscriber.advance(&self.log, &keys, self.now, &mut self.counts) {
                Progress::Change(change) => Some(self.apply_change(slot, &change)),
                Progress::Lost(why) => self.recover(slot, &keys, why),
                turn => Some(turn),
            };
            match turn {
                Some(Progress::Live) => self.subscribers[slot as usize].state = State::Live,
                Some(Progress::More | Progress::Change(_) | Progress::Lost(_)) => {
                    self.queue.push_back(SubscriberId { slot, generation });
                }
                Some(Progress::Ended) => self.close(slot, CloseReason::Ended),
                Some(Progress::Blocked) => self.block(slot),
                Some(Progress::Gone) => self.close(slot, CloseReason::ClientGone),
                // Nobody knows what it may hear: a client that comes back is verified.
                None => self.close(slot, CloseReason::Lagged),
            }
        }
    }
}
