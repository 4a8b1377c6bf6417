//! Two shards on two cores against one on one. The load shares a core with one of the two.

use super::compare::{Bench, Contender, Outcome};
use super::steady::{Traffic, paced};
use crate::figure::{Bound, Rule, Spec};
use crate::peers::Server;
use crate::report::grouped;

const ONE: &str = "one shard";
const TWO: &str = "two shards";

pub(super) fn run(bench: &Bench) -> Outcome {
    let traffic = Traffic::steady(bench, 10);
    let at = format!("{} streams × {} events/s", grouped(traffic.streams as u64), traffic.rate);
    let specs = vec![Spec {
        what: format!("two shards on two cores, {at}: CPU a delivery"),
        unit: "µs",
        rule: Rule { subject: TWO, against: Some(ONE), must: Some(Bound::AtMost(1.1)), aim: None },
    }];
    let contender = |label, shards, cores: &[usize]| {
        let mut setup = bench.setup();
        setup.cores = cores.to_vec();
        setup.sidestream.shards = shards;
        Contender { label, server: Server::Sidestream, setup }
    };
    let contenders =
        [contender(TWO, 2, &[bench.server_core, bench.load_core]), contender(ONE, 1, &[bench.server_core])];
    bench.compare("shards", specs, contenders, |_, running| paced(running, &traffic))
}
