//! The engine: waits for sockets and for the time, reads whatever is there, publishes whatever is due.
//!
//! It must be cheap against any server it measures: one read a wake-up, blocks parsed in place, no allocation a
//! delivery.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::flights::Flights;
use super::publisher::{Pace, Publisher};
use super::stream::{Phase, Plan, Readout, Stream, connect};
use super::tally::{Place, Tally};
use crate::clock::{Nanos, nanos, now};
use crate::wire::Mark;

pub(crate) struct Load {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    streams: Vec<Stream>,
    /// Requests of streams that are not connected yet, by stream.
    requests: Vec<Vec<u8>>,
    publisher: Option<Publisher>,
    /// How many streams read each lane.
    readers: Vec<u32>,
    flights: Flights,
    tally: Tally,
    keep_ids: bool,
    at_once: usize,
    opened: usize,
    failure: Option<io::Error>,
}

/// Tokens of the publisher's sockets start here.
const DOOR: usize = 1 << 32;
/// Connections without an answer at once while streams are opened: fewer than any server's backlog holds, so that no
/// connection waits for a retransmission.
const AT_ONCE: usize = 2000;
/// What one read takes.
const BUFFER: usize = 256 << 10;
/// Events published between two looks at the sockets.
const BURST: usize = 256;

impl Load {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            buffer: vec![0; BUFFER].into(),
            streams: Vec::new(),
            requests: Vec::new(),
            publisher: None,
            readers: Vec::new(),
            flights: Flights::new(),
            tally: Tally::new(now()),
            keep_ids: false,
            at_once: AT_ONCE,
            opened: 0,
            failure: None,
        })
    }

    /// How many connections may wait for their answer while streams are opened.
    pub(crate) fn at_once(&mut self, connections: usize) {
        self.at_once = connections;
    }

    /// Remembers every stream's last id from now on.
    pub(crate) fn keep_ids(&mut self) {
        self.keep_ids = true;
    }

    /// The last id that each stream was given.
    pub(crate) fn last_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.streams.iter().map(|stream| &stream.last_id[..])
    }

    pub(crate) fn publish_by(&mut self, mut publisher: Publisher) -> io::Result<()> {
        publisher.watch(self.poll.registry(), DOOR)?;
        self.readers.resize(publisher.lanes() as usize, 0);
        self.publisher = Some(publisher);
        Ok(())
    }

    /// Opens streams, as fast as they are answered, and waits until all are. They expect every event of their lanes
    /// from `from` on; `None` means from now.
    pub(crate) fn open(&mut self, to: SocketAddr, plans: Vec<Plan>, from: Option<u32>) -> io::Result<()> {
        let deadline = now() + nanos(Duration::from_secs(60));
        let wanted = self.opened + plans.len();
        let mut plans = plans.into_iter();
        while self.opened < wanted {
            while self.streams.len() - self.opened < self.at_once
                && let Some(plan) = plans.next()
            {
                self.start(to, plan, from)?;
            }
            let opened = self.opened;
            self.step(deadline, |load| load.opened != opened)?;
            if self.tally.faults.ended > 0 {
                return Err(io::Error::other(format!(
                    "{} of {wanted} streams failed while they were opened",
                    self.tally.faults.ended
                )));
            }
            if now() >= deadline {
                return Err(io::Error::other(format!("only {} of {wanted} streams opened", self.opened)));
            }
        }
        Ok(())
    }

    fn start(&mut self, to: SocketAddr, plan: Plan, from: Option<u32>) -> io::Result<()> {
        let mut socket = connect(to)?;
        let token = Token(self.streams.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let lanes = plan.lanes.clone();
        let published = |lane| self.publisher.as_ref().map_or(0, |publisher| publisher.published(lane));
        let places = lanes.clone().map(|lane| Place::starting_at(from.unwrap_or_else(|| published(lane))));
        self.streams.push(Stream::new(socket, lanes.clone(), places.collect()));
        self.requests.push(plan.request);
        for lane in lanes {
            if let Some(readers) = self.readers.get_mut(lane as usize) {
                *readers += 1;
            }
        }
        Ok(())
    }

    /// Cuts every stream.
    pub(crate) fn cut(&mut self) {
        self.streams.clear();
        self.requests.clear();
        self.readers.fill(0);
        self.opened = 0;
    }

    pub(crate) fn pace(&mut self, pace: Pace) {
        if let Some(publisher) = &mut self.publisher {
            publisher.set(pace);
        }
    }

    /// Runs for so long, and gives back what was counted.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Tally> {
        self.count_afresh();
        self.until(self.tally.since + nanos(time), |_| false)?;
        Ok(self.count_afresh())
    }

    /// Runs for so long within the present count.
    pub(crate) fn until_after(&mut self, time: Duration) -> io::Result<()> {
        self.until(now() + nanos(time), |_| false).map(drop)
    }

    /// Starts a new count and gives back the old one. Faults are kept: they count for the whole run.
    pub(crate) fn count_afresh(&mut self) -> Tally {
        let mut fresh = Tally::new(now());
        fresh.faults = self.tally.faults;
        std::mem::replace(&mut self.tally, fresh)
    }

    pub(crate) fn counted(&self) -> &Tally {
        &self.tally
    }

    /// Publishes exactly `events`, then waits until they are answered and delivered. Whether they were, in time.
    pub(crate) fn publish(&mut self, events: usize, pace: Pace, time: Duration) -> io::Result<bool> {
        self.pace(pace);
        let count = |load: &Self| load.publisher.as_ref().map_or(0, Publisher::events) as usize;
        let wanted = count(self) + events;
        let deadline = now() + nanos(time);
        if let Some(publisher) = &mut self.publisher {
            publisher.stop_after(wanted as u32);
        }
        self.until(deadline, |load| count(load) == wanted)?;
        self.settle(time)
    }

    /// Stops publishing, waits until every event has arrived everywhere or for so long, and counts what has not.
    pub(crate) fn settle(&mut self, time: Duration) -> io::Result<bool> {
        self.pace(Pace::Paused);
        let deadline = now() + nanos(time);
        let still =
            |load: &Self| load.flights.open() == 0 && load.publisher.as_ref().is_none_or(Publisher::idle);
        let all = self.until(deadline, still)?;
        if !all {
            // The readers' places tell how many of the events did not come.
            self.flights.clear();
        }
        // What comes twice comes late.
        self.until(now() + nanos(Duration::from_millis(50)), |_| false)?;
        Ok(all)
    }

    /// Ends the run: everything published and not delivered is lost. Gives back all that was wrong since the last
    /// phase.
    pub(crate) fn finish(&mut self) -> super::Faults {
        if let Some(publisher) = &mut self.publisher {
            for stream in &mut self.streams {
                for (lane, place) in stream.lanes.clone().zip(&mut stream.places) {
                    place.finish(publisher.published(lane), &mut self.tally.faults);
                }
            }
        }
        self.tally.faults
    }

    /// Runs until `done` or the deadline; whether it was `done`.
    pub(crate) fn until(&mut self, deadline: Nanos, done: impl Fn(&Self) -> bool) -> io::Result<bool> {
        loop {
            if done(self) {
                return Ok(true);
            }
            if now() >= deadline {
                return Ok(false);
            }
            self.step(deadline, &done)?;
        }
    }

    /// One round: publish what is due, wait for sockets, read them.
    fn step(&mut self, deadline: Nanos, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let more = self.publish_due()?;
        if done(self) {
            return Ok(());
        }
        let timeout = if more { Some(Duration::ZERO) } else { self.timeout(deadline) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token().0 {
                token if token >= DOOR => {
                    if let Some(publisher) = &mut self.publisher {
                        publisher.ready(self.poll.registry(), DOOR, token - DOOR)?;
                        self.tally.faults.refused += publisher.take_refused();
                    }
                }
                index => self.on_stream(index, event.is_writable()),
            }
        }
        self.events = events;
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The system's timer counts milliseconds: the last one before an event is due is spent asking.
    fn timeout(&self, deadline: Nanos) -> Option<Duration> {
        let due = self.publisher.as_ref().and_then(Publisher::due).unwrap_or(deadline).min(deadline);
        Some(Duration::from_millis(due.saturating_sub(now()) / 1_000_000))
    }

    /// Gives back whether there would have been more.
    fn publish_due(&mut self) -> io::Result<bool> {
        let Self { publisher: Some(publisher), flights, readers, .. } = self else { return Ok(false) };
        let mut sent = 0;
        while sent < BURST
            && let Some(event) = publisher.next(flights.open())
        {
            flights.start(event.event, readers[event.lane as usize], event.at);
            sent += 1;
        }
        publisher.flush()?;
        Ok(sent == BURST)
    }

    fn on_stream(&mut self, index: usize, writable: bool) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        if stream.phase == Phase::Connecting {
            if !writable {
                return;
            }
            let request = std::mem::take(&mut self.requests[index]);
            if let Err(error) = stream.ask(&request) {
                stream.phase = Phase::Over;
                self.tally.faults.ended += 1;
                self.failure.get_or_insert(error);
                return;
            }
        }
        if stream.phase == Phase::Over {
            return;
        }
        let Self { tally, flights, keep_ids, .. } = self;
        loop {
            let was = stream.phase;
            let mut time = None;
            let readout = stream.read(&mut self.buffer, |places, lanes, last_id, block| {
                let time = *time.get_or_insert_with(now);
                if block.comment {
                    tally.comments += 1;
                }
                if *keep_ids && !block.id.is_empty() {
                    last_id.clear();
                    last_id.extend_from_slice(block.id);
                }
                let Some(mark) = Mark::read(block.data) else {
                    tally.faults.resets += u64::from(block.event == b"reset");
                    return;
                };
                if !lanes.contains(&mark.lane) {
                    tally.faults.foreign += 1;
                    return;
                }
                tally.deliveries += 1;
                if !places[(mark.lane - lanes.start) as usize].take(mark.seq, &mut tally.faults) {
                    return;
                }
                if mark.at >= tally.since {
                    tally.each.saturating_record(time.saturating_sub(mark.at));
                }
                if let Some(at) = flights.land(mark.event) {
                    tally.completed += 1;
                    if at >= tally.since {
                        tally.last.saturating_record(time.saturating_sub(at));
                    }
                }
            });
            if was == Phase::Asked && stream.phase == Phase::Open {
                self.opened += 1;
            }
            match readout {
                Readout::More(read) => {
                    tally.reads += 1;
                    tally.bytes += read as u64;
                }
                Readout::Drained(read) => {
                    tally.reads += u64::from(read > 0);
                    tally.bytes += read as u64;
                    return;
                }
                Readout::Over => {
                    stream.phase = Phase::Over;
                    tally.faults.ended += 1;
                    return;
                }
            }
        }
    }
}
