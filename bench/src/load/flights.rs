//! Events on their way: how many readers each still has to reach.

use crate::clock::Nanos;

/// A ring of the youngest events. One that is older than the ring is long is given up, which the readers' own counts
/// show as a loss if it was one.
pub(crate) struct Flights {
    slots: Vec<Flight>,
    /// Events that have not reached all of their readers.
    open: usize,
}

#[derive(Clone, Copy, Default)]
struct Flight {
    event: u32,
    left: u32,
    at: Nanos,
}

/// Events that may be on their way at once.
const SLOTS: usize = 1 << 17;

impl Flights {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Flight::default(); SLOTS], open: 0 }
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Forgets all that are on their way.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(Flight::default());
        self.open = 0;
    }

    pub(crate) fn start(&mut self, event: u32, readers: u32, at: Nanos) {
        let slot = &mut self.slots[event as usize % SLOTS];
        self.open -= usize::from(slot.left > 0);
        *slot = Flight { event, left: readers, at };
        self.open += usize::from(readers > 0);
    }

    /// Notes a delivery. At the last one, gives back when the event was sent.
    pub(crate) fn land(&mut self, event: u32) -> Option<Nanos> {
        let slot = &mut self.slots[event as usize % SLOTS];
        if slot.event != event || slot.left == 0 {
            return None;
        }
        slot.left -= 1;
        (slot.left == 0).then(|| {
            self.open -= 1;
            slot.at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_through_when_its_last_reader_has_it() {
        let mut flights = Flights::new();
        flights.start(7, 2, 100);
        assert_eq!(flights.land(7), None);
        assert_eq!(flights.open(), 1);
        assert_eq!(flights.land(7), Some(100));
        assert_eq!(flights.land(7), None);
        assert_eq!(flights.open(), 0);
    }

    #[test]
    fn an_event_without_readers_is_through_at_once_and_an_old_one_is_given_up() {
        let mut flights = Flights::new();
        flights.start(0, 0, 1);
        assert_eq!(flights.open(), 0);
        flights.start(1, 5, 1);
        flights.start(1 + SLOTS as u32, 5, 1);
        assert_eq!(flights.open(), 1);
        assert_eq!(flights.land(1), None);
    }
}
