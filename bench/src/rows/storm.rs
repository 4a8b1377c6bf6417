//! All streams are cut and come back at once with their `Last-Event-ID`, each some events behind.
//!
//! "At once" is as fast as the server answers, with at most 2,000 connections waiting: fewer than any backlog here
//! holds, so that nobody's figure is made of retransmissions.

use std::io;
use std::time::Duration;

use super::compare::{Bench, Outcome, ended, until_gone};
use super::steady::SIZE;
use crate::clock::{nanos, now};
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Door, Load, Pace, Plan, Publisher, Spread};
use crate::meter::Meter;
use crate::peers::{Running, Server};
use crate::proc;
use crate::report::grouped;

/// Events published while nobody is there.
const BEHIND: usize = 10;

pub(super) fn run(bench: &Bench) -> Outcome {
    let streams = bench.size(10_000, 1000);
    let specs = vec![Spec {
        what: format!(
            "{} streams reconnect at once, each {BEHIND} events behind: until all have caught up",
            grouped(streams as u64)
        ),
        unit: "ms",
        rule: Rule {
            subject: "sidestream",
            against: Some("nchan"),
            must: Some(Bound::AtMost(0.5)),
            aim: None,
        },
    }];
    let contenders = [Server::Sidestream, Server::Nchan].map(|server| bench.contender(server));
    bench.compare("storm", specs, contenders, |_, running| storm(running, streams))
}

fn storm(running: &Running, streams: usize) -> io::Result<Measured> {
    let target = running.target;
    let quiet = proc::descriptors(&running.pids());
    let mut load = Load::new()?;
    load.keep_ids();
    load.publish_by(Publisher::new(Door::http(target.publish, 1)?, target.publish(SIZE), Spread::OneTopic))?;
    let plan = Plan { request: target.stream(0), lanes: 0..1 };
    load.open(target.streams, vec![plan; streams], None)?;
    // One event, so that everybody has an id.
    let soon = Duration::from_secs(30);
    if !load.publish(1, Pace::Answered { lag: 1 }, soon)? {
        return Err(io::Error::other("the first event did not reach everybody"));
    }
    let plans: Vec<Plan> = load
        .last_ids()
        .map(|id| Plan { request: target.stream_with(0, "", Some(id)), lanes: 0..1 })
        .collect();
    load.cut();
    until_gone(running, quiet + 16)?;
    load.publish(BEHIND, Pace::Answered { lag: 1 }, soon)?;

    let meter = Meter::start(running)?;
    load.count_afresh();
    let begun = now();
    let wanted = (streams * BEHIND) as u64;
    load.open(target.streams, plans, Some(1))?;
    let all =
        load.until(begun + nanos(Duration::from_secs(60)), |load| load.counted().deliveries >= wanted)?;
    let time = now() - begun;
    let usage = meter.stop()?;
    let faults = ended(&mut load)?;
    if !all {
        return Err(io::Error::other(format!("not all caught up within a minute: {faults}")));
    }
    Ok(Measured { values: vec![Some(time as f64 / 1e6)], faults, usage, notes: Vec::new() })
}
