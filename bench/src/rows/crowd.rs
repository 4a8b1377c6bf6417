//! Very many streams: what a delivery costs when no cache holds all of them.

use super::compare::{Bench, Outcome};
use super::steady::{SIZE, Traffic, paced};
use crate::figure::{Bound, Rule, Spec};
use crate::peers::Server;
use crate::report::grouped;

pub(super) fn run(bench: &Bench) -> Outcome {
    let traffic = Traffic {
        streams: bench.size(15_000, 1000),
        rate: 5.0,
        size: SIZE,
        warm_up: bench.seconds(3, 1),
        time: bench.seconds(15, 3),
    };
    let at = format!("{} streams × {} events/s", grouped(traffic.streams as u64), traffic.rate);
    let specs = vec![Spec {
        what: format!("{at}: CPU a delivery"),
        unit: "µs",
        rule: Rule {
            subject: "sidestream",
            against: Some("bare loop"),
            must: Some(Bound::AtMost(1.10)),
            aim: None,
        },
    }];
    let contenders = [Server::Sidestream, Server::Bare, Server::Nchan].map(|server| bench.contender(server));
    bench.compare("crowd", specs, contenders, |_, running| paced(running, &traffic))
}
