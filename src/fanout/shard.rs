//! One thread that owns sockets: it waits for them, for its inbox and for its clock, and does what each asks.
//!
//! Nothing here waits for anything else: every socket is non-blocking, every lock is short.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tracing::debug;

use crate::event::{EventFormat, Frame};
use crate::fanout::asked::CloseRequest;
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::mailbox::{Mailbox, ShardCommand, WAKER};
use crate::fanout::meters::{ShardCounts, ShardMetrics};
use crate::fanout::pass::Pass;
use crate::fanout::random::Random;
use crate::fanout::settings::Settings;
use crate::fanout::sink::{OwnedSink, Sink};
use crate::fanout::subscriber::{
    Deadlines, Join, NewSubscriber, Progress, State, Subscriber, SubscriberId, SubscriberMeta,
};
use crate::fanout::watch::Watcher;
use crate::fanout::wheel::{Tick, Wheel};
use crate::log::{Entry, Feed, FeedBatch, Log, Position};
use crate::pace::Pace;

pub(super) struct Shard {
    pub(super) log: Arc<Log>,
    pub(super) feed: Arc<Feed>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) poll: Poll,
    pub(super) subscribers: Slab<Subscriber>,
    pub(super) wheel: Wheel,
    /// Who has more to be written; front first.
    pub(super) queue: std::collections::VecDeque<SubscriberId>,
    pub(super) now: Tick,
    /// Every live subscriber has everything up to here.
    pub(super) applied: Position,
    /// Whatever is for a key that somebody here holds, and stands after this position, has reached the inbox.
    pub(super) wanted: Position,
    pub(super) settings: Settings,
    pub(super) heartbeat: Frame,
    pub(super) draining: bool,
    pub(super) generation: u64,
    pub(super) counts: ShardCounts,
    pub(super) meters: ShardMetrics,
    pub(super) random: Random,
    pub(super) watchers: Vec<Arc<dyn Watcher>>,
}

/// How many turns are taken between two looks at sockets, inbox and clock.
const TURNS: usize = 256;
/// What a client may send on its stream before it is taken for broken.
const MAX_STRAY: u32 = 64 << 10;

impl Shard {
    /// A shard and the way to reach it.
    pub(super) fn new(log: Arc<Log>, settings: Settings) -> io::Result<(Self, Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let mailbox = Arc::new(Mailbox::new(poll.registry())?);
        let to_wake = Arc::clone(&mailbox);
        let feed = log.open_feed(move || to_wake.wake());
        let shard = Self {
            log,
            feed,
            mailbox: Arc::clone(&mailbox),
            poll,
            subscribers: Slab::new(),
            wheel: Wheel::new(Instant::now()),
            queue: std::collections::VecDeque::new(),
            now: 0,
            applied: Position::default(),
            wanted: Position::default(),
            heartbeat: settings.heartbeat_as.frame(EventFormat::default()),
            settings,
            draining: false,
            generation: 0,
            counts: ShardCounts::default(),
            meters: ShardMetrics::new(),
            random: Random::new(),
            watchers: Vec::new(),
        };
        Ok((shard, mailbox))
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
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
                    ShardCommand::Poke(who) => self.on_notify(who),
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
            self.deliver_events(before, pass);
            self.follow(change);
            self.applied = change.position;
            entries = after;
        }
        self.deliver_events(entries, pass);
    }

    fn deliver_events(&mut self, entries: &[Arc<Entry>], pass: &mut Pass) {
        if let Some(last) = entries.last() {
            pass.run(self, entries);
            self.applied = last.position;
        }
    }

    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    fn join(&mut self, join: Join) {
        let deadlines = Deadlines {
            warns: self.deadline(join.times.warns),
            expires: self.deadline(join.times.expires),
            max_age: self.deadline(join.max_age),
            drains: Tick::MAX,
        };
        let slot = self.subscribers.vacant_key() as SubscriberSlot;
        self.generation += 1;
        let generation = self.generation;
        let sink = match join.sink {
            Sink::Socket(socket, framing) => {
                let mut socket = mio::net::TcpStream::from_std(socket);
                if let Err(error) = self.settings.tune(socket.as_fd()) {
                    debug!(%error, "a stream's socket keeps the system's own timeouts");
                }
                let interest = Interest::READABLE | Interest::WRITABLE;
                if let Err(error) = self.poll.registry().register(&mut socket, Token(slot as usize), interest)
                {
                    tracing::warn!(%error, client = %join.client, "a stream could not be registered with the system's poll");
                    self.mailbox.open.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                OwnedSink::Socket(socket, framing)
            }
            Sink::Channel(channel) => {
                channel.belongs_to(&self.mailbox, slot, generation);
                OwnedSink::Channel(channel)
            }
        };
        let cursor = self.enter(slot, &join.keys, join.cursor);
        let about = SubscriberMeta {
            client: join.client,
            address: join.address,
            route: join.route,
            tokens: join.token.into_iter().collect(),
            pace: Pace::default(),
            opened: self.now,
            decided: join.decided,
            deadlines,
            _seat: join.seat,
        };
        let seed = NewSubscriber { opening: join.opening, cursor, about };
        let channel = matches!(sink, OwnedSink::Channel(_));
        self.subscribers.insert(Subscriber::new(sink, generation, self.now, seed));
        self.meters.opened(channel);
        self.tell_opened(slot);
        self.queue.push_back(SubscriberId { slot, generation });
        // A crowd that comes at once is spread over half the interval from the start.
        self.schedule_heartbeat(slot, 2);
        self.schedule(slot, deadlines.next());
        if self.draining {
            self.close(slot, CloseReason::Draining);
        } else if channel {
            // The body may have been dropped before it knew its shard.
            self.on_notify(SubscriberId { slot, generation });
        }
    }

    /// The tick after `at`, so that nothing is done too early.
    pub(super) fn deadline(&self, at: Option<Instant>) -> Tick {
        at.map_or(Tick::MAX, |at| self.wheel.tick_of(at).saturating_add(1))
    }

    /// Looks at the subscriber again at `tick`, unless an earlier look is set.
    pub(super) fn schedule(&mut self, slot: SubscriberSlot, tick: Tick) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if tick < subscriber.due {
            subscriber.due = self.wheel.add(slot, tick);
        }
    }

    fn on_socket(&mut self, slot: SubscriberSlot, writable: bool) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if let OwnedSink::Socket(socket, _) = &mut subscriber.sink {
            // A client has nothing to say on its stream; what matters is whether it is still there.
            let mut stray = [0; 1024];
            loop {
                match socket.read(&mut stray) {
                    Ok(0) => return self.close(slot, CloseReason::ClientGone),
                    Ok(more) => {
                        subscriber.stray = subscriber.stray.saturating_add(more as u32);
                        if subscriber.stray > MAX_STRAY {
                            return self.close(slot, CloseReason::ClientGone);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return self.close(slot, CloseReason::ClientGone),
                }
            }
        }
        if writable {
            self.unblock(slot);
        }
    }

    fn on_notify(&mut self, who: SubscriberId) {
        let Some(subscriber) = self.subscribers.get(who.slot as usize) else { return };
        if subscriber.generation != who.generation {
            return;
        }
        match &subscriber.sink {
            OwnedSink::Channel(channel) if channel.is_closed() => {
                self.close(who.slot, CloseReason::ClientGone)
            }
            _ => self.unblock(who.slot),
        }
    }

    pub(super) fn unblock(&mut self, slot: SubscriberSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if subscriber.state == State::Blocked {
            subscriber.state = State::Queued;
            self.meters.behind -= 1;
            self.queue.push_back(SubscriberId { slot, generation: subscriber.generation });
        }
    }

    /// Notes that the sink takes no more.
    pub(super) fn block(&mut self, slot: SubscriberSlot) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if subscriber.state != State::Blocked {
            subscriber.state = State::Blocked;
            self.meters.behind += 1;
            let until = subscriber.last_write.saturating_add(Wheel::ticks(self.settings.write_timeout));
            self.schedule(slot, until);
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
                Some(Progress::Blocked) => self.block(slot),
                Some(Progress::Gone) => self.close(slot, CloseReason::ClientGone),
                // Nobody knows what it may hear: a client that comes back is verified.
                None => self.close(slot, CloseReason::Lagged),
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.meters.flush(&mut self.counts);
    }

    pub(super) fn meters(&self) -> &ShardMetrics {
        &self.meters
    }
}
