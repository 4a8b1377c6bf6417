//! What a shard does for the clock's sake: heartbeats, warnings, ends of grants, drains; and how it closes a stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::event::{Block, Key};
use crate::fanout::about::SubscriberMeta;
use crate::fanout::end::CloseReason;
use crate::fanout::index::SubscriberSlot;
use crate::fanout::shard::state::Shard;
use crate::fanout::sink::OwnedSink;
use crate::fanout::subscriber::{State, Subscriber, WriteOutcome};
use crate::fanout::wheel::{Tick, Wheel};
use crate::spans::{SpanKind, TraceSpan};
use crate::telemetry::{line_enabled, log_line};
use crate::trace::TraceContext;

/// How long a warning waits for a client that has more before it.
const WARN_AGAIN: Duration = Duration::from_secs(1);
/// The `retry:` of a client that shall stay away: a day, the longest that can be published.
const AWAY_MS: u32 = 24 * 3600 * 1000;

impl Shard {
    pub(super) fn on_time(&mut self, slot: SubscriberSlot, tick: Tick) {
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
        if subscriber.about.deadlines.idle <= self.now && self.is_idle(slot) {
            return self.close(slot, CloseReason::Idle);
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
            self.note_quiet(slot);
            let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
            subscriber.cursor = subscriber.cursor.max(self.applied);
            let own = subscriber.about.look.as_ref().and_then(|look| look.heartbeat(self.log.format()));
            let frame = own.as_ref().unwrap_or(&self.heartbeat);
            match subscriber.write_frame(frame, self.now, &mut self.counts) {
                WriteOutcome::All => self.counts.heartbeats += 1,
                WriteOutcome::Blocked => self.block(slot),
                WriteOutcome::Gone => return self.close(slot, CloseReason::ClientGone),
            }
        }
        self.schedule_heartbeat(slot, 16);
    }

    /// Looks at the subscriber again when it has been silent for the interval, or earlier by up to one `part`th of it,
    /// so that a crowd that was written to together spreads.
    pub(super) fn schedule_heartbeat(&mut self, slot: SubscriberSlot, part: Tick) {
        let Some(every) = self.settings.heartbeat.map(Wheel::ticks) else { return };
        let early = self.random.below(every / part + 1);
        let Some(subscriber) = self.subscribers.get(slot as usize) else { return };
        let next = subscriber.last_write.saturating_add(every - early);
        // Many at a time: the kernel's way out is warm for all but the first.
        let next = next - next % (every / 40).max(1);
        self.schedule(slot, next.max(self.now + 1));
    }

    /// Tells the client that its grant is about to end; false when it is gone. It carries the id that the client can
    /// resume with, since some clients forget theirs at a block without one; so a client that has more before it is
    /// told when it is up to date.
    pub(super) fn warn(&mut self, slot: SubscriberSlot) -> bool {
        let (now, applied) = (self.now, self.applied);
        self.note_quiet(slot);
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
        let frame = subscriber.block(block, self.log.format());
        match subscriber.write_frame(&frame, now, &mut self.counts) {
            WriteOutcome::All => true,
            WriteOutcome::Blocked => {
                self.block(slot);
                true
            }
            WriteOutcome::Gone => false,
        }
    }

    pub(super) fn drain(&mut self, window: Duration) {
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

    pub(super) fn close_all(&mut self) {
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
        let keys = if line_enabled!(streams) { self.held(slot) } else { Vec::new() };
        let gone = self.mailbox.index.lock().leave(slot);
        self.unsubscribe(&gone);
        self.mailbox.open.fetch_sub(1, Ordering::Relaxed);
        self.meters.closed(end);
        self.log_closed(&subscriber, &keys, end);
        if let Some(opened) = &subscriber.about.trace {
            record_closed(&subscriber, **opened, end);
        }
    }

    fn log_closed(&self, subscriber: &Subscriber, keys: &[Key], end: CloseReason) {
        let Subscriber { sent, bytes, about, .. } = subscriber;
        let SubscriberMeta { client, route, address, opened, .. } = &**about;
        let user =
            keys.iter().find_map(|key| if let Key::User(user) = key { Some(user.as_str()) } else { None });
        let topics = keys.iter().filter(|key| matches!(key, Key::Topic(_) | Key::Pattern(_))).count();
        let seconds = Wheel::time(self.now - opened).as_secs();
        let reason = end.as_str();
        log_line!(streams, client = client.as_str(), user, route = &**route, topics, %address, sent, bytes, seconds, reason, "stream closed");
    }

    /// The `closing` event: the reason, a `retry:` of the client's own, and the id that it can resume with.
    pub(super) fn say_closing(&mut self, slot: SubscriberSlot, end: CloseReason) {
        let Some(subscriber) = self.subscribers.get_mut(slot as usize) else { return };
        if subscriber.state != State::Live {
            // It has more before it: what it gets next must be that, from another connection.
            return;
        }
        let look = subscriber.about.look.as_ref();
        let (min, max) = look.map_or(self.settings.retry_ms, |look| look.route.retry_ms);
        let retry = match end {
            // A client that does not read the event should at least not be back soon. One that is known when it
            // comes back is refused for good then, and the sooner the better.
            // Nor one that would push out the stream that has taken its place.
            CloseReason::SentFarAway | CloseReason::Replaced => AWAY_MS,
            _ => min + self.random.below(max.saturating_sub(min) + 1),
        };
        let reconnect = match end {
            CloseReason::Kicked => ",\"reconnect\":true",
            CloseReason::SentAway | CloseReason::SentFarAway | CloseReason::Replaced => {
                ",\"reconnect\":false"
            }
            _ => "",
        };
        let data = format!("{{\"reason\":\"{}\"{reconnect}}}", end.as_str());
        let id = self.log.id_at(subscriber.cursor.max(self.applied));
        let block = Block { retry: Some(retry), event: Some("closing"), data: &data, id: Some(id) };
        let frame = subscriber.block(block, self.log.format());
        let _ = subscriber.write_frame(&frame, self.now, &mut self.counts);
    }
}

/// A short span of its own at the end of a stream: one from its opening would be known only after hours.
fn record_closed(subscriber: &Subscriber, opened: TraceContext, end: CloseReason) {
    let Some(mut span) = TraceSpan::begin("close stream", SpanKind::Internal, Some(opened)) else { return };
    span.note("sidestream.client", subscriber.about.client.as_str());
    span.note("sidestream.reason", end.as_str());
    span.note("sidestream.sent", subscriber.sent);
    span.note("sidestream.bytes", subscriber.bytes);
    span.end();
}
