//! One topic, many readers, published as fast as the server answers.
//!
//! A server that answers before it has delivered would be drowned, and lose events for want of room: so the publisher
//! waits while an event is so far from having reached everybody.

use super::compare::{Bench, Outcome, ended, ms};
use super::steady::{SIZE, one_topic};
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::Pace;
use crate::meter::Meter;
use crate::peers::Server;
use crate::report::grouped;

/// Publishes in flight.
const IN_FLIGHT: u32 = 8;
/// Events that may be on their way to some reader.
const LAG: usize = 1000;

pub(super) fn run(bench: &Bench) -> Outcome {
    let streams = bench.size(1000, 100);
    let specs = vec![Spec {
        what: format!(
            "{} streams, as fast as publishes are answered: deliveries a second",
            grouped(streams as u64)
        ),
        unit: "/s",
        rule: Rule {
            subject: "sidestream",
            against: Some("nchan"),
            must: Some(Bound::AtLeast(5.0)),
            aim: Some(Bound::AtLeast(10.0)),
        },
    }];
    let contenders = Server::WITH_FLOOR.map(|server| bench.contender(server));
    bench.compare("saturated", specs, contenders, |_, running| {
        let mut load = one_topic(running, streams, SIZE, IN_FLIGHT)?;
        load.pace(Pace::Answered { lag: LAG });
        load.run(bench.seconds(2, 1))?;
        let meter = Meter::start(running)?;
        let tally = load.run(bench.seconds(8, 2))?;
        let usage = meter.stop()?;
        let notes = vec![format!(
            "{:.0} events/s, {:.2} events a read, p99 to the last reader {:.1} ms, CPU a delivery {:.2} µs",
            tally.completed as f64 / usage.seconds,
            tally.deliveries as f64 / tally.reads.max(1) as f64,
            ms(tally.last.value_at_quantile(0.99)),
            usage.micros_each(tally.deliveries),
        )];
        let values = vec![Some(tally.deliveries as f64 / usage.seconds)];
        Ok(Measured { values, faults: ended(&mut load)?, usage, notes })
    })
}
