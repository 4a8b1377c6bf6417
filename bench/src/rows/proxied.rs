//! Ordinary requests on their way to the backend. The backend shares the load's core, and costs next to nothing.

use super::compare::{Bench, Outcome, ms};
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Faults, requests};
use crate::meter::Meter;
use crate::peers::{Server, start_backend};

const CONNECTIONS: usize = 64;

pub(super) fn run(bench: &Bench) -> Outcome {
    let specs = vec![Spec {
        what: format!("proxied GETs of 13 bytes over {CONNECTIONS} connections: requests a second"),
        unit: "/s",
        rule: Rule {
            subject: "sidestream",
            against: Some("nginx"),
            must: Some(Bound::AtLeast(0.9)),
            aim: Some(Bound::AtLeast(1.2)),
        },
    }];
    let backend = start_backend(&[bench.load_core]);
    let contenders = [Server::Sidestream, Server::Nginx].map(|server| {
        let mut contender = bench.contender(server);
        contender.setup.backend = backend.as_ref().ok().map(|backend| backend.target.streams);
        contender
    });
    bench.compare("proxied", specs, contenders, |_, running| {
        let target = running.target.streams;
        let request = format!("GET /hello HTTP/1.1\r\nhost: {target}\r\naccept: */*\r\n\r\n");
        let mut asking = requests(target, request.as_bytes(), CONNECTIONS)?;
        asking.run(bench.seconds(2, 1))?;
        let meter = Meter::start(running)?;
        let answered = asking.run(bench.seconds(8, 2))?;
        let usage = meter.stop()?;
        let faults = Faults { refused: answered.refused, ..Faults::default() };
        let notes = vec![format!(
            "p50 {:.2} ms, p99 {:.2} ms, CPU a request {:.2} µs",
            ms(answered.latency.value_at_quantile(0.5)),
            ms(answered.latency.value_at_quantile(0.99)),
            usage.micros_each(answered.answers),
        )];
        Ok(Measured { values: vec![Some(answered.answers as f64 / usage.seconds)], faults, usage, notes })
    })
}
