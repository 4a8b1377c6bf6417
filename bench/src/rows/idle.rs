//! Streams on which nothing happens: what each takes of memory, and what their heartbeats take of a core.

use std::time::Duration;

use super::compare::{Bench, Outcome, until_gone};
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Load, Plan};
use crate::meter::Meter;
use crate::peers::{Server, Target};
use crate::proc;
use crate::report::grouped;

/// Seconds of silence before a heartbeat.
const HEARTBEAT: u32 = 20;
/// Connections that wait for their answer when all come back at once.
const STORM: usize = 2000;
/// Streams come one after the other rather than in a storm, whose height an allocator would remember.
const AT_ONCE: usize = 50;

pub(super) fn run(bench: &Bench) -> Outcome {
    let streams = bench.size(15_000, 1000);
    let alone = |must, aim| Rule { subject: "sidestream", against: None, must, aim };
    let specs = vec![
        Spec {
            what: format!(
                "{} idle streams, two topics and a user each: memory a stream",
                grouped(streams.into())
            ),
            unit: "KiB",
            rule: alone(Some(Bound::AtMost(1.5)), Some(Bound::AtMost(0.8))),
        },
        Spec {
            what: format!(
                "{} silent streams with {HEARTBEAT} s heartbeats: share of a core",
                grouped(streams.into())
            ),
            unit: "%",
            rule: alone(Some(Bound::AtMost(1.0)), None),
        },
    ];
    let contenders = Server::WITH_FLOOR.map(|server| {
        let mut contender = bench.contender(server);
        contender.setup.heartbeat = HEARTBEAT;
        contender.setup.sidestream.topics =
            vec!["conversation:{query.topic}".to_owned(), "announcements".to_owned()];
        contender.setup.sidestream.user = Some("{query.user}".to_owned());
        contender
    });
    bench.compare("idle", specs, contenders, |contender, running| {
        // What a first connection makes a server set up is not the streams'.
        let mut load = Load::new()?;
        load.at_once(AT_ONCE);
        load.open(running.target.streams, plans(&running.target, 10), None)?;
        load.cut();
        load.run(Duration::from_secs(1))?;
        let pids = running.pids();
        let before = proc::pss(&pids)?;
        let quiet = proc::descriptors(&pids);

        load.open(running.target.streams, plans(&running.target, streams), None)?;
        load.run(Duration::from_secs(2))?;
        let beats = matches!(
            contender.server,
            Server::Sidestream | Server::Nchan | Server::Centrifugo | Server::Mercure
        );
        let meter = Meter::start(running)?;
        let tally = load.run(if beats { bench.seconds(60, 5) } else { Duration::from_secs(5) })?;
        let usage = meter.stop()?;
        let each = |grown: u64| grown as f64 / streams as f64 / 1024.0;
        let grown = each(proc::pss(&pids)?.saturating_sub(before));

        // The same crowd once more, this time all at once.
        load.cut();
        until_gone(running, quiet + 16)?;
        load.at_once(STORM);
        load.open(running.target.streams, plans(&running.target, streams), None)?;
        load.run(Duration::from_secs(2))?;
        let after_storm = each(proc::pss(&pids)?.saturating_sub(before));

        let values = vec![Some(grown), beats.then_some(usage.server * 100.0)];
        let comments = (tally.comments as f64 / usage.seconds).round();
        let notes = vec![format!(
            "{comments} comments/s; when all have been cut and have come back with {STORM} at once: {after_storm:.2} KiB a stream"
        )];
        Ok(Measured { values, faults: load.finish(), usage, notes })
    })
}

fn plans(target: &Target, streams: u32) -> Vec<Plan> {
    (0..streams)
        .map(|stream| Plan {
            request: target.stream_with(stream, &format!("&user=u{stream}"), None),
            lanes: 0..0,
        })
        .collect()
}
