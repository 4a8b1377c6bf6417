//! When to look at which subscriber again: a timer wheel of one thread.
//!
//! Entries are never taken back: the shard checks whether the time is still the one that counts.

use std::time::{Duration, Instant};

use crate::fanout::index::SubscriberSlot;

/// A time in ticks since the wheel's start.
pub(super) type Tick = u32;

/// How long a tick is.
const TICK: Duration = Duration::from_millis(50);
/// Ticks ahead that the wheel holds; what is due later is looked at on the way: 51 s.
const SPOKES: usize = 1024;

pub(super) struct Wheel {
    start: Instant,
    /// The next tick whose entries are due.
    next: Tick,
    spokes: Vec<Vec<(SubscriberSlot, Tick)>>,
    waiting: usize,
    /// Nobody waits for a tick between `next` and this one.
    soonest: Tick,
}

impl Wheel {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, next: 0, spokes: vec![Vec::new(); SPOKES], waiting: 0, soonest: 0 }
    }

    /// The tick that `at` falls into.
    pub(super) fn tick_of(&self, at: Instant) -> Tick {
        (at.saturating_duration_since(self.start).as_millis() / TICK.as_millis())
            .try_into()
            .unwrap_or(Tick::MAX)
    }

    /// How many ticks `time` takes; at least one.
    pub(super) fn ticks(time: Duration) -> Tick {
        time.as_millis().div_ceil(TICK.as_millis()).clamp(1, u128::from(Tick::MAX)) as Tick
    }

    /// How long `ticks` take.
    pub(super) fn time(ticks: Tick) -> Duration {
        TICK * ticks
    }

    /// Tells `slot` at `tick`, or earlier when that is beyond the wheel. Returns the tick of the telling.
    pub(super) fn add(&mut self, slot: SubscriberSlot, tick: Tick) -> Tick {
        let tick = tick.clamp(self.next, self.next + SPOKES as Tick - 1);
        self.spokes[tick as usize % SPOKES].push((slot, tick));
        self.waiting += 1;
        self.soonest = self.soonest.min(tick);
        tick
    }

    /// Moves what is due at `now` into `due`.
    pub(super) fn turn(&mut self, now: Instant, due: &mut Vec<(SubscriberSlot, Tick)>) {
        let now = self.tick_of(now);
        while self.next <= now {
            let spoke = &mut self.spokes[self.next as usize % SPOKES];
            self.waiting -= spoke.len();
            due.append(spoke);
            // A burst's room is not kept for the next turn of the wheel.
            spoke.shrink_to(64);
            self.next += 1;
            if self.waiting == 0 {
                self.next = self.next.max(now + 1);
            }
        }
    }

    /// How long until the next tick that somebody waits for; None when nobody waits.
    pub(super) fn until_next(&mut self, now: Instant) -> Option<Duration> {
        if self.waiting == 0 {
            return None;
        }
        let from = self.next.max(self.soonest);
        self.soonest = (from..).find(|&tick| !self.spokes[tick as usize % SPOKES].is_empty())?;
        Some((self.start + TICK * self.soonest).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once_at_its_tick_or_at_the_wheels_end() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.until_next(start), None);
        assert_eq!(wheel.add(1, 3), 3);
        assert_eq!(wheel.add(2, 0), 0);
        assert_eq!(wheel.add(3, 1_000_000), SPOKES as Tick - 1);
        let mut due = Vec::new();
        wheel.turn(start, &mut due);
        assert_eq!(due, [(2, 0)]);
        assert_eq!(wheel.until_next(start), Some(TICK * 3));
        wheel.add(5, 2);
        assert_eq!(wheel.until_next(start), Some(TICK * 2), "what comes later may be due sooner");
        wheel.turn(start + TICK * 2, &mut due);
        due.clear();
        assert_eq!(wheel.until_next(start), Some(TICK * 3));
        wheel.turn(start + TICK * 3, &mut due);
        assert_eq!(due, [(1, 3)]);
        due.clear();
        wheel.turn(start + TICK * 5000, &mut due);
        assert_eq!(due, [(3, SPOKES as Tick - 1)]);
        due.clear();
        assert_eq!(wheel.add(4, 17), 5001, "a time that has passed is the next tick");
        wheel.turn(start + TICK * 5001, &mut due);
        assert_eq!(due, [(4, 5001)]);
    }
}
