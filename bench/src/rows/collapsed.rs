//! The backend's own event stream, read once for all who hear it, beside the same events published over HTTP.
//!
//! The backend is the bare loop, which has one reader then. It shares the load's core.

use std::io;
use std::time::Duration;

use super::compare::{Bench, Contender, Outcome, until_gone};
use super::steady::{Traffic, paced_at};
use crate::figure::{Bound, Rule, Spec};
use crate::load::{Load, Plan};
use crate::peers::{Running, Server, Setup};
use crate::proc;
use crate::report::grouped;

const COLLAPSED: &str = "read of the backend";
const PUBLISHED: &str = "published";
/// Streams come one after the other rather than in a storm, whose height an allocator would remember.
const AT_ONCE: usize = 50;

pub(super) fn run(bench: &Bench) -> Outcome {
    let traffic = Traffic::steady(bench, 20);
    let silent = bench.size(10_000, 500);
    let as_published = Rule {
        subject: COLLAPSED,
        against: Some(PUBLISHED),
        must: Some(Bound::AtMost(1.05)),
        aim: Some(Bound::AtMost(1.0)),
    };
    let at = format!("{} streams × {} events/s", grouped(traffic.streams as u64), traffic.rate);
    let specs = vec![
        Spec { what: format!("{at}: CPU a delivery"), unit: "µs", rule: as_published.clone() },
        Spec {
            what: format!("{} silent streams: memory a stream", grouped(silent.into())),
            unit: "KiB",
            rule: as_published,
        },
    ];
    let backend = Server::Bare.start(&on_the_loads_core(bench), &bench.binary);
    let contender = |label| {
        let mut setup = bench.setup();
        setup.backend = backend.as_ref().ok().map(|backend| backend.target.streams);
        setup.sidestream.collapsed = label == COLLAPSED;
        Contender { label, server: Server::Sidestream, setup }
    };
    bench.compare("collapsed", specs, [COLLAPSED, PUBLISHED].map(contender), |contender, running| {
        let backend = backend.as_ref().map_err(|missing| io::Error::other(missing.0.clone()))?;
        let memory = memory_a_stream(running, silent)?;
        let publish = if contender.label == COLLAPSED { &backend.target } else { &running.target };
        let mut measured = paced_at(running, publish, &traffic)?;
        measured.values.truncate(1);
        measured.values.push(Some(memory));
        Ok(measured)
    })
}

fn on_the_loads_core(bench: &Bench) -> Setup {
    Setup { cores: vec![bench.load_core], ..bench.setup() }
}

/// KiB that each of so many streams takes on which nothing happens.
fn memory_a_stream(running: &Running, streams: u32) -> io::Result<f64> {
    let plans = |count: u32| vec![Plan { request: running.target.stream(0), lanes: 0..0 }; count as usize];
    let mut load = Load::new()?;
    load.at_once(AT_ONCE);
    // What the first ones make the server set up is not the others'.
    load.open(running.target.streams, plans(10), None)?;
    load.run(Duration::from_secs(1))?;
    let pids = running.pids();
    let (before, quiet) = (proc::pss(&pids)?, proc::descriptors(&pids));
    load.open(running.target.streams, plans(streams), None)?;
    load.run(Duration::from_secs(2))?;
    let grown = proc::pss(&pids)?.saturating_sub(before);
    load.cut();
    until_gone(running, quiet)?;
    Ok(grown as f64 / f64::from(streams) / 1024.0)
}
