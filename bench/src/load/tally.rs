//! What the readers saw: every delivery, and everything that should not have been.

use hdrhistogram::Histogram;

use crate::clock::Nanos;

/// Counts of one phase of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// When the phase began; latencies of events sent earlier are not recorded.
    pub(crate) since: Nanos,
    pub(crate) deliveries: u64,
    /// Events that have reached all of their readers.
    pub(crate) completed: u64,
    pub(crate) bytes: u64,
    /// Reads that brought something; deliveries ÷ reads tells how much a server gathers into one write.
    pub(crate) reads: u64,
    pub(crate) comments: u64,
    /// From publishing to each delivery.
    pub(crate) each: Histogram<Nanos>,
    /// From publishing to the last reader's delivery.
    pub(crate) last: Histogram<Nanos>,
    pub(crate) faults: Faults,
}

/// What must not happen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Came after a later one of its lane.
    pub(crate) disordered: u64,
    /// Reached a reader that it was not for.
    pub(crate) foreign: u64,
    /// Streams told to start afresh.
    pub(crate) resets: u64,
    /// Streams that ended or failed by themselves.
    pub(crate) ended: u64,
    /// Publishes and plain requests that were not answered with 2xx.
    pub(crate) refused: u64,
}

impl Tally {
    pub(crate) fn new(since: Nanos) -> Self {
        let histogram = || Histogram::new_with_bounds(1_000, 600_000_000_000, 3).expect("bounds of our own");
        Self {
            since,
            deliveries: 0,
            completed: 0,
            bytes: 0,
            reads: 0,
            comments: 0,
            each: histogram(),
            last: histogram(),
            faults: Faults::default(),
        }
    }
}

impl Faults {
    pub(crate) fn none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.lost += more.lost;
        self.repeated += more.repeated;
        self.disordered += more.disordered;
        self.foreign += more.foreign;
        self.resets += more.resets;
        self.ended += more.ended;
        self.refused += more.refused;
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            (self.lost, "lost"),
            (self.repeated, "repeated"),
            (self.disordered, "out of order"),
            (self.foreign, "not for their reader"),
            (self.resets, "resets"),
            (self.ended, "streams ended"),
            (self.refused, "requests refused"),
        ];
        let mut first = true;
        for (count, what) in all.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{}{count} {what}", if first { "" } else { ", " })?;
            first = false;
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

/// One reader's place in one lane.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The next number that is due.
    next: u32,
    /// Numbers that were passed over; empty but after a fault.
    missing: Vec<u32>,
}

/// More gaps than this are only counted, so that a late one looks repeated.
const MISSING: usize = 1024;

impl Place {
    pub(crate) fn starting_at(next: u32) -> Self {
        Self { next, missing: Vec::new() }
    }

    /// Takes a delivery. Gives back whether it is a first one.
    pub(crate) fn take(&mut self, seq: u32, faults: &mut Faults) -> bool {
        if seq == self.next {
            self.next += 1;
            return true;
        }
        if seq > self.next {
            faults.lost += u64::from(seq - self.next);
            let room = MISSING.saturating_sub(self.missing.len());
            self.missing.extend((self.next..seq).take(room));
            self.next = seq + 1;
            return true;
        }
        if let Some(at) = self.missing.iter().position(|&missing| missing == seq) {
            self.missing.swap_remove(at);
            faults.lost -= 1;
            faults.disordered += 1;
            return true;
        }
        faults.repeated += 1;
        false
    }

    /// Counts what never came, of `published` in all.
    pub(crate) fn finish(&mut self, published: u32, faults: &mut Faults) {
        faults.lost += u64::from(published.saturating_sub(self.next));
        self.next = self.next.max(published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seqs: &[u32], published: u32) -> Faults {
        let (mut place, mut faults) = (Place::default(), Faults::default());
        for &seq in seqs {
            place.take(seq, &mut faults);
        }
        place.finish(published, &mut faults);
        faults
    }

    #[test]
    fn every_kind_of_fault_is_told_from_the_others() {
        let none = Faults::default();
        assert!(after(&[0, 1, 2], 3).none());
        assert_eq!(after(&[0, 2, 3], 4), Faults { lost: 1, ..none });
        assert_eq!(after(&[0, 1], 4), Faults { lost: 2, ..none });
        assert_eq!(after(&[0, 1, 1, 0], 2), Faults { repeated: 2, ..none });
        assert_eq!(after(&[0, 2, 1, 3], 4), Faults { disordered: 1, ..none });
        assert_eq!(after(&[3, 0, 0], 4), Faults { lost: 2, disordered: 1, repeated: 1, ..none });
    }

    #[test]
    fn faults_are_told_in_words() {
        assert_eq!(Faults::default().to_string(), "none");
        assert_eq!(Faults { lost: 2, resets: 1, ..Faults::default() }.to_string(), "2 lost, 1 resets");
    }
}
