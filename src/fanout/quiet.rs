//! For how long a stream was sent nothing but heartbeats. Nothing is counted for it on the way of an event: what was
//! sent, and when last, is known anyhow, and looked at when a heartbeat is due.

use std::time::Duration;

use crate::fanout::wheel::{Tick, Wheel};

/// Since when a stream has been quiet, as far as it was looked at.
#[derive(Debug)]
pub(super) struct QuietTime {
    /// How long it may be.
    limit: Tick,
    since: Tick,
    /// Events that were begun by then.
    sent: u64,
}

impl QuietTime {
    pub(super) fn new(limit: Duration, now: Tick) -> Self {
        Self { limit: Wheel::ticks(limit), since: now, sent: 0 }
    }

    /// Notes that so many events were begun, and that nothing was written after `last_write`. Has to be called before a
    /// heartbeat is written, which is no event.
    pub(super) fn note(&mut self, sent: u64, last_write: Tick) {
        if sent != self.sent {
            (self.sent, self.since) = (sent, last_write);
        }
    }

    /// Begins anew: there is something for it that it has not taken.
    pub(super) fn interrupt(&mut self, now: Tick) {
        self.since = now;
    }

    /// When it has been quiet for too long.
    pub(super) fn ends(&self) -> Tick {
        self.since.saturating_add(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_do_not_count_and_events_do() {
        let mut quiet = QuietTime::new(Duration::from_secs(5), 10);
        assert_eq!(quiet.ends(), 110);
        // A heartbeat at 30: nothing was sent before it.
        quiet.note(0, 10);
        // An event at 50, seen when the next heartbeat is due.
        quiet.note(1, 50);
        assert_eq!(quiet.ends(), 150);
        // That heartbeat at 70 was the last write.
        quiet.note(1, 70);
        assert_eq!(quiet.ends(), 150);
        quiet.interrupt(140);
        assert_eq!(quiet.ends(), 240);
    }
}
