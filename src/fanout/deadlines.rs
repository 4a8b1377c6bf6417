//! When a stream is looked at for the clock's sake.

use crate::fanout::end::CloseReason;
use crate::fanout::wheel::Tick;

/// When something is to be done for the clock's sake; `Tick::MAX` = never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub(super) warns: Tick,
    pub(super) expires: Tick,
    pub(super) max_age: Tick,
    pub(super) drains: Tick,
    /// When it is looked at whether anything was sent.
    pub(super) idle: Tick,
}

impl Deadlines {
    /// The first end that there will be.
    pub(super) fn end(&self) -> (Tick, CloseReason) {
        let ends = [
            (self.drains, CloseReason::Draining),
            (self.expires, CloseReason::Expired),
            (self.max_age, CloseReason::MaxAge),
        ];
        ends.into_iter().min_by_key(|(tick, _)| *tick).expect("there are three")
    }

    /// The first of all.
    pub(super) fn next(&self) -> Tick {
        self.end().0.min(self.warns).min(self.idle)
    }
}
