//! One topic at a rate that leaves every server most of its core: how long a reader waits when nobody is busy.

use super::compare::{Bench, Outcome, ended, ms};
use super::steady::{SIZE, one_topic};
use crate::figure::{Measured, Rule, Spec};
use crate::load::Pace;
use crate::meter::Meter;
use crate::peers::Server;
use crate::report::grouped;

/// Connections that publish.
const CONNECTIONS: u32 = 4;

pub(super) fn run(bench: &Bench) -> Outcome {
    let streams = bench.size(200, 50);
    let rate = 50.0;
    let specs = ["p50", "p99"].map(|quantile| Spec {
        what: format!("{} streams × {rate} events/s: {quantile} to the last reader", grouped(streams as u64)),
        unit: "ms",
        rule: Rule { subject: "sidestream", against: None, must: None, aim: None },
    });
    let contenders = Server::WITH_FLOOR.map(|server| bench.contender(server));
    bench.compare("light", specs.to_vec(), contenders, |_, running| {
        let mut load = one_topic(running, streams, SIZE, CONNECTIONS)?;
        load.pace(Pace::Rate(rate));
        load.run(bench.seconds(2, 1))?;
        let meter = Meter::start(running)?;
        let tally = load.run(bench.seconds(20, 2))?;
        let usage = meter.stop()?;
        let faults = ended(&mut load)?;
        let notes = vec![format!(
            "to any: p50 {:.2} ms, p99 {:.2} ms; CPU a delivery {:.2} µs",
            ms(tally.each.value_at_quantile(0.5)),
            ms(tally.each.value_at_quantile(0.99)),
            usage.micros_each(tally.deliveries),
        )];
        let values = [0.5, 0.99].map(|quantile| Some(ms(tally.last.value_at_quantile(quantile))));
        Ok(Measured { values: values.to_vec(), faults, usage, notes })
    })
}
