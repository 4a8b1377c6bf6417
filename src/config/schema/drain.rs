//! `[drain]`

use std::time::Duration;

use crate::config::parsers::time_or_zero;
use crate::config::schema::table::section;
use crate::config::schema::units::{HOUR, MILLIS};
use crate::config::section_reader::SectionReader;

section! {
    /// What happens on SIGTERM. A second one ends the daemon at once.
    pub struct Drain checked by check {
        /// After the notice everything goes on for this time, while `/readyz` says `draining`: a load balancer or a
        /// service mesh gets the time to send new requests elsewhere.
        delay: Duration = value("0s", time_or_zero(MILLIS(10)..=HOUR));
        /// Streams are closed spread over this time, so that their clients do not all come back at once.
        window: Duration = value("10s", time_or_zero(MILLIS(10)..=HOUR));
        /// After this time, counted from the end of `delay`, whatever is still open is cut.
        deadline: Duration = value("30s", time_or_zero(MILLIS(10)..=HOUR));
    }
}

fn check(drain: &Drain, s: &mut SectionReader<'_, '_>) {
    if drain.window > drain.deadline {
        let message = "the drain's `window` is longer than its `deadline`, which would cut it short";
        s.report(&["window", "deadline"], message, None);
    }
}
