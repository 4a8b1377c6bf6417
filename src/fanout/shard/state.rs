//! What a shard owns, and how a subscriber joins it, is blocked and goes on.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use mio::{Interest, Poll, Token};
use slab::Slab;
use tracing::debug;

use crate::event::{EventFormat, Frame};
use crate::fanout::about::SubscriberMeta;
use crate::fanout::deadlines::Deadlines;
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::mailbox::Mailbox;
use crate::fanout::meters::{ShardCounts, ShardMetrics};
use crate::fanout::quiet::QuietTime;
use crate::fanout::random::Random;
use crate::fanout::settings::Settings;
use crate::fanout::sink::{OwnedSink, Sink};
use crate::fanout::snapshot::{SnapshotCursor, SnapshotWish};
use crate::fanout::subscriber::{Join, NewSubscriber, State, Subscriber, SubscriberId};
use crate::fanout::watcher::Watcher;
use crate::fanout::wheel::{Tick, Wheel};
use crate::log::{Feed, Log, Position};
use crate::pace::Pace;
use crate::spans;

pub(in crate::fanout) struct Shard {
    pub(super) log: Arc<Log>,
    pub(super) feed: Arc<Feed>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) poll: Poll,
    pub(super) subscribers: Slab<Subscriber>,
    pub(super) wheel: Wheel,
    /// Who has more to be written; front first.
    pub(super) queue: VecDeque<SubscriberId>,
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

/// What a client may send on its stream before it is taken for broken.
const MAX_STRAY: u32 = 64 << 10;

impl Shard {
    /// A shard and the way to reach it.
    pub(in crate::fanout) fn new(log: Arc<Log>, settings: Settings) -> io::Result<(Self, Arc<Mailbox>)> {
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
            queue: VecDeque::new(),
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

    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    pub(super) fn join(&mut self, join: Join) {
        let quiet = join.idle.map(|limit| Box::new(QuietTime::new(limit, self.now)));
        let deadlines = Deadlines {
            warns: self.deadline(join.times.warns),
            expires: self.deadline(join.times.expires),
            max_age: self.deadline(join.max_age),
            drains: Tick::MAX,
            idle: quiet.as_ref().map_or(Tick::MAX, |quiet| quiet.ends()),
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
                let (mailbox, who) = (Arc::clone(&self.mailbox), SubscriberId { slot, generation });
                channel.notify_by(move || mailbox.notify(who));
                OwnedSink::Channel(channel)
            }
        };
        let cursor = self.enter(slot, &join.keys, join.cursor);
        let snapshot = join.snapshot == SnapshotWish::Now;
        let about = SubscriberMeta {
            client: join.client,
            address: join.address,
            route: join.route,
            start: join.start,
            meta: join.meta,
            tokens: join.token.into_iter().collect(),
            pace: Pace::default(),
            wants_snapshots: join.snapshot != SnapshotWish::None,
            snapshot: snapshot.then(|| Box::new(SnapshotCursor::new(cursor))),
            opened: self.now,
            decided: join.decided,
            deadlines,
            quiet,
            trace: join.trace.filter(|_| spans::are_collected()).map(Box::new),
            look: join.look,
            choice: join.choice,
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

    pub(super) fn on_socket(&mut self, slot: SubscriberSlot, writable: bool) {
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

    pub(super) fn on_notify(&mut self, who: SubscriberId) {
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

    pub(super) fn flush(&mut self) {
        self.meters.flush(&mut self.counts);
    }

    pub(super) fn meters(&self) -> &ShardMetrics {
        &self.meters
    }
}
