//! One thread that owns sockets: it waits for them, for its inbox and for its clock, and does what each asks.
//!
//! Nothing here waits for anything else: every socket is non-blocking, every lock is short.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tracing::debug;

use crate::event::{Audience, Block, EventFormat, Frame, Key, Name};
use crate::fanout::asked::{CloseRequest, RenewRequest, Renewal};
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::list::Filter;
use crate::fanout::mailbox::{Mailbox, ShardCommand, WAKER};
use crate::fanout::meters::{ShardCounts, ShardMetrics};
use crate::fanout::pass::Pass;
use crate::fanout::random::Random;
use crate::fanout::settings::Settings;
use crate::fanout::sink::{OwnedSink, Sink};
use crate::fanout::subscriber::{
    Deadlines, Join, NewSubscriber, Progress, State, Subscriber, SubscriberId, SubscriberMeta, WriteOutcome,
};
use crate::fanout::watch::Watcher;
use crate::fanout::wheel::{Tick, Wheel};
use crate::log::{Entry, Feed, FeedBatch, Log, Position};

pub(super) struct Shard {
    pub(super) log: Arc<Log>,
    pub(super) feed: Arc<Feed>,
    pub(super) mailbox: Arc<Mailbox>,
    poll: Poll,
    pub(super) subscribers: Slab<Subscriber>,
    wheel: Wheel,
    /// Who has more to be written; front first.
    pub(super) queue: std::collections::VecDeque<SubscriberId>,
    pub(super) now: Tick,
    /// Every live subscriber has everything up to here.
    pub(super) applied: Position,
    /// Whatever is for a key that somebody here holds, and stands after this position, has reached the inbox.
    pub(super) wanted: Position,
    settings: Settings,
    heartbeat: Frame,
    draining: bool,
    generation: u64,
    pub(super) counts: ShardCounts,
    meters: ShardMetrics,
    random: Random,
    pub(super) watchers: Vec<Arc<dyn Watcher>>,
}

/// How long a warning waits for a client that has more before it.
const WARN_AGAIN: Duration = Duration::from_secs(1);
/// The `retry:` of a client that shall stay away: a day, the longest that can be published.
const AWAY_MS: u32 = 24 * 3600 * 1000;
/// How many turns are taken between two looks at sockets, inbox and clock.
const TURNS: usize = 256;
/// What a client may send on its stream in one go before it is taken for broken.
const MAX_STRAY: usize = 64 << 10;

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
                    ShardCommand::Poke(who) => self.on_poke(who),
                    ShardCommand::End(ask) => {
                        let CloseRequest { filter, token, end, count } = *ask;
                        // Whoever asked may have gone.
                        let _ = count.send(self.end(&filter, token.as_ref(), end));
                    }
                    ShardCommand::Renew(ask) => self.renew(*ask),
                    ShardCommand::List(ask) => self.list(*ask),
                    ShardCommand::Count(ask) => self.count(*ask),
                    ShardCommand::Watch(watcher) => self.watch(watcher),
                    ShardCommand::Drain(window) => self.drain(window),
                    ShardCommand::Stop => {
                        // Whoever asks from here on learns that nobody is here.
                        self.mailbox.close();
                        self.close_all();
                        self.flush();
                        return;
                    }
                }
            }
            self.feed.take(&mut taken);
            if let Some(after) = taken.missed_after {
                self.all_behind(after);
            } else {
                self.deliver(&taken, &mut pass);
            }
            self.turns();
            self.wheel.turn(Instant::now(), &mut due);
            if !due.is_empty() {
                // Once for all who are due: it may tell the time.
                self.heartbeat = self.settings.heartbeat_as.frame(self.log.shape());
            }
            // Neighbours in memory one after the other.
            due.sort_unstable();
            for (slot, tick) in due.drain(..) {
                self.on_time(slot, tick);
            }
            self.flush();
        }
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
            token: join.token,
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
            // The body may have been dropped before it knew whom to tell.
            self.on_poke(SubscriberId { slot, generation });
        }
    }

    /// The tick after `at`, so that nothing is done too early.
    fn deadline(&self, at: Option<Instant>) -> Tick {
        at.map_or(Tick::MAX, |at| self.wheel.tick_of(at).saturating_add(1))
    }

    /// Looks at the subscriber again at `tick`, unless an earlier look is set.
    fn schedule(&mut self, slot: SubscriberSlot, tick: Tick) {
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
            let mut read = 0;
            loop {
                match socket.read(&mut stray) {
                    Ok(0) => return self.close(slot, CloseReason::ClientGone),
                    Ok(more) => {
                        read += more;
                        if read > MAX_STRAY {
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

    fn on_poke(&mut self, who: SubscriberId) {
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

    fn unblock(&mut self, slot: SubscriberSlot) {
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
    fn all_behind(&mut self, after: Position) {
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
    fn turns(&mut self) {
        for _ in 0..TURNS {
            let Some(SubscriberId { slot, generation }) = self.queue.pop_front() else { return };
            let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { continue };
            if subscriber.generation != generation || subscriber.state != State::Queued {
                continue;
            }
            let keys = self.mailbox.index.lock().keys_of(slot);
            let turn = match subscriber.advance(&self.log, &keys, self.now, &mut self.counts) {
                Progress::Change(change) => Some(self.go_over(slot, &change)),
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
                // Nobody knows what it may hear: whoever comes back is asked who they are.
                None => self.close(slot, CloseReason::Lagged),
            }
        }
    }

    fn on_time(&mut self, slot: SubscriberSlot, tick: Tick) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if subscriber.due != tick {
            return;
        }
        subscriber.due = Tick::MAX;
        let (at, end) = subscriber.about.deadlines.end();
        if at <= self.now {
            return self.close(slot, end);
        }
        if subscriber.about.deadlines.warns <= self.now && !self.warn(slot) {
            return self.close(slot, CloseReason::ClientGone);
        }
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        let next = subscriber.about.deadlines.next();
        self.schedule(slot, next);
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if subscriber.state == State::Blocked {
            let until = subscriber.last_write.saturating_add(Wheel::ticks(self.settings.write_timeout));
            if until <= self.now {
                return self.close(slot, CloseReason::Stalled);
            }
            return self.schedule(slot, until);
        }
        let Some(every) = self.settings.heartbeat.map(Wheel::ticks) else { return };
        let silent_until = subscriber.last_write.saturating_add(every);
        if subscriber.state == State::Live && self.now.saturating_add(every / 2) >= silent_until {
            subscriber.cursor = subscriber.cursor.max(self.applied);
            match subscriber.write_frame(&self.heartbeat, self.now, &mut self.counts) {
                WriteOutcome::All => self.counts.heartbeats += 1,
                WriteOutcome::Blocked => self.block(slot),
                WriteOutcome::Gone => return self.close(slot, CloseReason::ClientGone),
            }
        }
        self.schedule_heartbeat(slot, 16);
    }

    /// Looks at the subscriber again when it has been silent for the interval, or earlier by up to one `part`th of it,
    /// so that a crowd that was written to together spreads.
    fn schedule_heartbeat(&mut self, slot: SubscriberSlot, part: Tick) {
        let Some(every) = self.settings.heartbeat.map(Wheel::ticks) else { return };
        let early = self.random.below(every / part + 1);
        let Some(subscriber) = self.subscribers.get(slot as usize) else { return };
        let next = subscriber.last_write.saturating_add(every - early);
        // Many at a time: the kernel's way out is warm for all but the first.
        let next = next - next % (every / 40).max(1);
        self.schedule(slot, next.max(self.now + 1));
    }

    fn end(&mut self, filter: &Filter, token: Option<&Name>, end: CloseReason) -> usize {
        let mut slots = self.chosen(filter);
        if token.is_some() {
            slots.retain(|&slot| self.subscribers[slot as usize].about.token.as_ref() == token);
        }
        for &slot in &slots {
            self.close(slot, end);
        }
        slots.len()
    }

    fn renew(&mut self, ask: RenewRequest) {
        let RenewRequest { renewal: Renewal { client, times, token }, judge } = ask;
        let mut found = None;
        let yes = {
            let index = self.mailbox.index.lock();
            index.for_each(&Audience::of(Key::Client(client)), |slot| found = Some(slot));
            // What others have given it is theirs to take away.
            judge(found.map(|slot| index.asked_by(slot)).as_deref())
        };
        let Some(slot) = found.filter(|_| yes) else { return };
        let (warns, expires) = (self.deadline(times.warns), self.deadline(times.expires));
        let about = &mut self.subscribers[slot as usize].about;
        about.token = token;
        about.deadlines = Deadlines { warns, expires, ..about.deadlines };
        let next = about.deadlines.next();
        self.schedule(slot, next);
    }

    /// Tells the client that its grant is about to end; false when it is gone. It carries the id that the client can
    /// resume with, since some clients forget theirs at a block without one; so a client that has more before it is
    /// told when it is up to date.
    fn warn(&mut self, slot: SubscriberSlot) -> bool {
        let (now, applied) = (self.now, self.applied);
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return true };
        let SubscriberMeta { client, deadlines, .. } = &mut *subscriber.about;
        if subscriber.state != State::Live {
            deadlines.warns = now.saturating_add(Wheel::ticks(WARN_AGAIN));
            return true;
        }
        deadlines.warns = Tick::MAX;
        let left = Wheel::time(deadlines.expires.saturating_sub(now)).as_secs();
        let data = format!("{{\"client\":\"{client}\",\"expires_in\":{left}}}");
        let id = self.log.id_at(subscriber.cursor.max(applied));
        let block = Block { event: Some("token_expired"), data: &data, id: Some(id), retry: None };
        let frame = self.log.shape().block(block, SystemTime::now());
        match subscriber.write_frame(&frame, now, &mut self.counts) {
            WriteOutcome::All => true,
            WriteOutcome::Blocked => {
                self.block(slot);
                true
            }
            WriteOutcome::Gone => false,
        }
    }

    fn drain(&mut self, window: Duration) {
        self.draining = true;
        let window = Wheel::ticks(window);
        let slots: Vec<SubscriberSlot> =
            self.subscribers.iter().map(|(slot, _)| slot as SubscriberSlot).collect();
        for slot in slots {
            let at = self.now.saturating_add(self.random.below(window));
            let subscriber = &mut self.subscribers[slot as usize];
            subscriber.about.deadlines.drains = at;
            self.schedule(slot, at);
        }
    }

    fn close_all(&mut self) {
        let slots: Vec<SubscriberSlot> =
            self.subscribers.iter().map(|(slot, _)| slot as SubscriberSlot).collect();
        for slot in slots {
            self.close(slot, CloseReason::Draining);
        }
    }

    /// Ends a stream: says why where that helps the client, and undoes everything.
    pub(super) fn close(&mut self, slot: SubscriberSlot, end: CloseReason) {
        if end.is_said() {
            self.say_closing(slot, end);
        }
        self.tell_ended(slot, end);
        let Some(mut subscriber) = self.subscribers.try_remove(slot as usize) else { return };
        let blocked = subscriber.state == State::Blocked;
        if blocked {
            self.meters.behind -= 1;
        }
        let at_boundary = subscriber.at_boundary();
        subscriber.sink.finish(at_boundary, blocked);
        if let OwnedSink::Socket(socket, _) = &mut subscriber.sink {
            let _ = self.poll.registry().deregister(socket);
        }
        let gone = self.mailbox.index.lock().leave(slot);
        self.unwant(&gone);
        self.mailbox.open.fetch_sub(1, Ordering::Relaxed);
        self.meters.closed(end);
        let sent = subscriber.sent;
        let SubscriberMeta { client, opened, .. } = &*subscriber.about;
        let seconds = Wheel::time(self.now - opened).as_secs();
        debug!(%client, sent, seconds, reason = end.as_str(), "stream closed");
    }

    /// The `closing` event: the reason, a `retry:` of the client's own, and the id that it can resume with.
    fn say_closing(&mut self, slot: SubscriberSlot, end: CloseReason) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if subscriber.state != State::Live {
            // It has more before it: what it gets next must be that, from another connection.
            return;
        }
        let (min, max) = self.settings.retry_ms;
        let retry = match end {
            // A client that does not read the event should at least not be back soon. One that is known when it
            // comes back is told to stop then, and the sooner the better.
            CloseReason::SentFarAway => AWAY_MS,
            _ => min + self.random.below(max.saturating_sub(min) + 1),
        };
        let reconnect = match end {
            CloseReason::Kicked => ",\"reconnect\":true",
            CloseReason::SentAway | CloseReason::SentFarAway => ",\"reconnect\":false",
            _ => "",
        };
        let data = format!("{{\"reason\":\"{}\"{reconnect}}}", end.as_str());
        let id = self.log.id_at(subscriber.cursor.max(self.applied));
        let block = Block { retry: Some(retry), event: Some("closing"), data: &data, id: Some(id) };
        let frame = self.log.shape().block(block, SystemTime::now());
        let _ = subscriber.write_frame(&frame, self.now, &mut self.counts);
    }

    fn flush(&mut self) {
        self.meters.flush(&mut self.counts);
    }

    pub(super) fn meters(&self) -> &ShardMetrics {
        &self.meters
    }
}
