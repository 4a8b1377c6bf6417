//! As many topics as streams: what one event costs when it reaches one reader.

use std::io;

use super::compare::{Bench, Outcome, ended, ms};
use super::steady::SIZE;
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Door, Load, Pace, Plan, Publisher, Spread};
use crate::meter::Meter;
use crate::peers::{Running, Server};
use crate::report::grouped;

/// HTTP publishes in flight.
pub(super) const IN_FLIGHT: u32 = 16;

pub(super) fn run(bench: &Bench) -> Outcome {
    let topics = bench.size(5000, 500);
    let specs = vec![Spec {
        what: format!(
            "{} topics × 1 stream, {IN_FLIGHT} HTTP publishes in flight: events a second",
            grouped(topics.into())
        ),
        unit: "/s",
        rule: Rule {
            subject: "sidestream",
            against: Some("nchan"),
            must: Some(Bound::AtLeast(1.2)),
            aim: Some(Bound::AtLeast(2.0)),
        },
    }];
    let contenders = Server::HUBS.map(|server| bench.contender(server));
    bench.compare("topics", specs, contenders, |_, running| {
        let door = Door::http(running.target.publish, IN_FLIGHT)?;
        each_its_own(bench, running, by_name(running, topics), door, running.target.publish(SIZE))
    })
}

/// A stream for each of so many topics.
pub(super) fn by_name(running: &Running, topics: u32) -> Vec<Plan> {
    (0..topics).map(|topic| Plan { request: running.target.stream(topic), lanes: topic..topic + 1 }).collect()
}

/// Events to all topics in turn, each of which one of the streams hears; events delivered a second.
pub(super) fn each_its_own(
    bench: &Bench,
    running: &Running,
    streams: Vec<Plan>,
    door: Door,
    request: Vec<u8>,
) -> io::Result<Measured> {
    let topics = streams.len() as u32;
    let mut load = Load::new()?;
    load.publish_by(Publisher::new(door, request, Spread::Topics(topics)))?;
    load.open(running.target.streams, streams, None)?;
    // Less than one event a topic under way, so that nothing depends on the order between connections.
    load.pace(Pace::Answered { lag: topics as usize * 4 / 5 });
    load.run(bench.seconds(2, 1))?;
    let meter = Meter::start(running)?;
    let tally = load.run(bench.seconds(8, 2))?;
    let usage = meter.stop()?;
    let notes = vec![format!(
        "p50 {:.2} ms, p99 {:.2} ms, CPU an event {:.2} µs",
        ms(tally.each.value_at_quantile(0.5)),
        ms(tally.each.value_at_quantile(0.99)),
        usage.micros_each(tally.completed),
    )];
    let values = vec![Some(tally.completed as f64 / usage.seconds)];
    Ok(Measured { values, faults: ended(&mut load)?, usage, notes })
}
