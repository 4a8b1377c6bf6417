//! Publishing: when the next event is due, what it is, and the door it goes out by.

use std::io;

use mio::Registry;

use super::door::Door;
use crate::clock::{Nanos, now};
use crate::wire::{Mark, Stamp};

/// How fast events go out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So many a second, whatever the server does (an open loop).
    Rate(f64),
    /// As fast as they are answered, with at most so many on their way to a reader.
    Answered {
        lag: usize,
    },
    Paused,
}

/// Which topics events go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// All to topic 0. Two connections have no order between them, so each connection is a lane.
    OneTopic,
    /// In turn to this many topics, each a lane.
    Topics(u32),
}

pub(crate) struct Publisher {
    door: Door,
    stamp: Stamp,
    spread: Spread,
    pace: Pace,
    due: Nanos,
    /// Whether the due event waits for a free connection.
    waited: bool,
    /// Events published, and the next number in each lane.
    event: u32,
    seqs: Vec<u32>,
    turn: u32,
    /// No event is sent once there have been so many.
    stop_after: u32,
}

/// An event that has just gone out.
pub(crate) struct Sent {
    pub(crate) lane: u32,
    pub(crate) event: u32,
    pub(crate) at: Nanos,
}

impl Publisher {
    /// `request` holds [`Mark::blank`] data.
    pub(crate) fn new(door: Door, request: Vec<u8>, spread: Spread) -> Self {
        let lanes = match spread {
            Spread::OneTopic => door.width(),
            Spread::Topics(topics) => topics,
        };
        Self {
            door,
            stamp: Stamp::new(request),
            spread,
            pace: Pace::Paused,
            due: 0,
            waited: false,
            event: 0,
            seqs: vec![0; lanes as usize],
            turn: 0,
            stop_after: u32::MAX,
        }
    }

    pub(crate) fn lanes(&self) -> u32 {
        self.seqs.len() as u32
    }

    /// How many events each lane has had.
    pub(crate) fn published(&self, lane: u32) -> u32 {
        self.seqs[lane as usize]
    }

    /// How many events there have been.
    pub(crate) fn events(&self) -> u32 {
        self.event
    }

    pub(crate) fn set(&mut self, pace: Pace) {
        self.pace = pace;
        self.stop_after = u32::MAX;
        self.due = now();
        self.waited = false;
    }

    /// Pauses when there have been so many events in all.
    pub(crate) fn stop_after(&mut self, events: u32) {
        self.stop_after = events;
    }

    /// When the next event is due, if that is a matter of time.
    pub(crate) fn due(&self) -> Option<Nanos> {
        matches!(self.pace, Pace::Rate(_)).then_some(self.due)
    }

    /// Whether every publish has been answered.
    pub(crate) fn idle(&self) -> bool {
        self.door.idle()
    }

    /// Publishes refused since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        self.door.take_refused()
    }

    /// The door's socket `index` is ready; `first` is the token of its first.
    pub(crate) fn ready(&mut self, registry: &Registry, first: usize, index: usize) -> io::Result<()> {
        self.door.ready(registry, first, index)
    }

    /// Sends one event if one is due and the door takes it.
    pub(crate) fn next(&mut self, underway: usize) -> Option<Sent> {
        if self.event >= self.stop_after {
            self.pace = Pace::Paused;
        }
        let time = now();
        let at = match self.pace {
            Pace::Paused => return None,
            Pace::Answered { lag } if underway >= lag => return None,
            Pace::Answered { .. } => time,
            Pace::Rate(_) if self.due > time => return None,
            // An event that had to wait was due when it was due: its latency counts from there.
            Pace::Rate(_) if self.waited => self.due,
            Pace::Rate(_) => time,
        };
        let Some(way) = self.door.free() else {
            self.waited = true;
            return None;
        };
        let (lane, topic) = match self.spread {
            Spread::OneTopic => (way, 0),
            Spread::Topics(topics) => {
                let topic = self.turn;
                self.turn = (topic + 1) % topics;
                (topic, topic)
            }
        };
        let seq = &mut self.seqs[lane as usize];
        let mark = Mark { lane, seq: *seq, event: self.event, at };
        self.door.send(way, self.stamp.with(topic, &mark));
        *seq += 1;
        self.event += 1;
        if let Pace::Rate(rate) = self.pace {
            self.waited = false;
            self.due += (1e9 / rate) as Nanos;
        }
        Some(Sent { lane, event: mark.event, at })
    }

    /// Hands what is gathered to the sockets.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.door.flush()
    }

    /// Watches the door's sockets, with tokens from `first` on.
    pub(crate) fn watch(&mut self, registry: &Registry, first: usize) -> io::Result<()> {
        self.door.watch(registry, first)
    }
}
