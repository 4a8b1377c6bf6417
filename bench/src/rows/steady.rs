//! One topic, many readers, a fixed rate: what a delivery costs the server, and how long the last reader waits.

use std::io;
use std::time::Duration;

use super::compare::{Bench, Outcome, ended, ms};
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Door, Load, Pace, Plan, Publisher, Spread};
use crate::meter::Meter;
use crate::peers::{Running, Server, Target};
use crate::report::grouped;

/// Bytes of data in an event.
pub(super) const SIZE: usize = 200;
/// Connections that publish: enough that the rate never waits for an answer.
const CONNECTIONS: u32 = 8;

/// What is sent to whom, and for how long.
pub(super) struct Traffic {
    pub(super) streams: usize,
    /// Events a second.
    pub(super) rate: f64,
    pub(super) size: usize,
    pub(super) warm_up: Duration,
    pub(super) time: Duration,
}

impl Traffic {
    /// For so many seconds.
    pub(super) fn steady(bench: &Bench, seconds: u64) -> Self {
        Self {
            streams: bench.size(1000, 100),
            rate: 100.0,
            size: SIZE,
            warm_up: bench.seconds(2, 1),
            time: bench.seconds(seconds, 2),
        }
    }
}

pub(super) fn run(bench: &Bench) -> Outcome {
    let traffic = Traffic::steady(bench, 10);
    let at = format!("{} streams × {} events/s", grouped(traffic.streams as u64), traffic.rate);
    let bare = |must, aim| Rule {
        subject: "sidestream",
        against: Some("bare loop"),
        must: Some(must),
        aim: Some(aim),
    };
    let specs = vec![
        Spec {
            what: format!("{at}: CPU a delivery"),
            unit: "µs",
            rule: bare(Bound::AtMost(1.10), Bound::Below(1.0)),
        },
        Spec {
            what: format!("{at}: p99 to the last reader"),
            unit: "ms",
            rule: bare(Bound::AtMost(1.2), Bound::AtMost(1.0)),
        },
    ];
    let contenders = Server::WITH_FLOOR.map(|server| bench.contender(server));
    bench.compare("steady", specs, contenders, |_, running| paced(running, &traffic))
}

/// A load with all its readers, all of topic 0, and nothing published yet.
pub(super) fn one_topic(
    running: &Running,
    streams: usize,
    size: usize,
    connections: u32,
) -> io::Result<Load> {
    one_topic_at(running, &running.target, streams, (size, connections))
}

/// The same, published elsewhere than where it is heard: so many bytes, over so many connections.
fn one_topic_at(
    running: &Running,
    publish: &Target,
    streams: usize,
    (size, connections): (usize, u32),
) -> io::Result<Load> {
    let target = running.target;
    let mut load = Load::new()?;
    let door = Door::http(publish.publish, connections)?;
    load.publish_by(Publisher::new(door, publish.publish(size), Spread::OneTopic))?;
    let plan = Plan { request: target.stream(0), lanes: 0..connections };
    load.open(target.streams, vec![plan; streams], None)?;
    Ok(load)
}

/// CPU a delivery in µs; p99 to the last reader in ms.
pub(super) fn paced(running: &Running, traffic: &Traffic) -> io::Result<Measured> {
    paced_at(running, &running.target, traffic)
}

/// The same, published elsewhere than where it is heard.
pub(super) fn paced_at(running: &Running, publish: &Target, traffic: &Traffic) -> io::Result<Measured> {
    let mut load = one_topic_at(running, publish, traffic.streams, (traffic.size, CONNECTIONS))?;
    load.pace(Pace::Rate(traffic.rate));
    load.run(traffic.warm_up)?;
    let meter = Meter::start(running)?;
    let tally = load.run(traffic.time)?;
    let usage = meter.stop()?;
    let faults = ended(&mut load)?;
    let last = &tally.last;
    let notes = vec![format!(
        "to the last reader: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; to any: p50 {:.2} ms, p99 {:.2} ms; {:.2} events a read",
        ms(last.value_at_quantile(0.5)),
        ms(last.value_at_quantile(0.99)),
        ms(last.max()),
        ms(tally.each.value_at_quantile(0.5)),
        ms(tally.each.value_at_quantile(0.99)),
        tally.deliveries as f64 / tally.reads.max(1) as f64,
    )];
    let values = vec![Some(usage.micros_each(tally.deliveries)), Some(ms(last.value_at_quantile(0.99)))];
    Ok(Measured { values, faults, usage, notes })
}
