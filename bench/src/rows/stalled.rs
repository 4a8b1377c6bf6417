//! Readers that never read, beside others that do: what they cost in memory, and what they cost the others.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::compare::{Bench, Outcome, ended, ms};
use super::steady::one_topic;
use crate::figure::{Bound, Measured, Rule, Spec};
use crate::load::{Pace, Tally};
use crate::meter::Meter;
use crate::peers::{Running, Server};
use crate::proc;
use crate::report::grouped;

/// What the log may hold.
const LOG: u64 = 64 << 20;
/// Bytes of data in an event.
const EVENT: usize = 16 << 10;
/// Readers that do read.
const READERS: usize = 20;
const MIB: f64 = (1 << 20) as f64;

pub(super) fn run(bench: &Bench) -> Outcome {
    let stalled: u64 = bench.size(1000, 50);
    let bytes: usize = bench.size(1 << 30, 100 << 20);
    let rate = 500.0;
    let specs = vec![
        Spec {
            what: format!(
                "{} stalled readers while {} MiB are published: growth of memory beyond the log's bound",
                grouped(stalled),
                bytes >> 20
            ),
            unit: "MiB",
            rule: Rule { subject: "sidestream", against: None, must: Some(Bound::AtMost(32.0)), aim: None },
        },
        Spec {
            what: "… and the other readers' p99, against that without them".to_owned(),
            unit: "×",
            rule: Rule { subject: "sidestream", against: None, must: Some(Bound::AtMost(1.2)), aim: None },
        },
    ];
    let mut contender = bench.contender(Server::Sidestream);
    contender.setup.sidestream.log_bytes = Some(LOG);
    // They are to stay for the whole time.
    contender.setup.sidestream.write_timeout = Some(3600);
    bench.compare("stalled", specs, [contender], |_, running| {
        let mut load = one_topic(running, READERS, EVENT, 8)?;
        load.pace(Pace::Rate(rate));
        load.run(bench.seconds(2, 1))?;
        // The log is full after this, so that only the stalled readers are new.
        let fill = Duration::from_secs_f64(LOG as f64 / EVENT as f64 / rate).max(bench.seconds(20, 2));
        let without = load.run(fill)?;
        load.settle(Duration::from_secs(10))?;

        let pids = running.pids();
        let before = proc::pss(&pids)?;
        let held = (0..stalled).map(|_| stall(running)).collect::<io::Result<Vec<_>>>()?;
        load.pace(Pace::Rate(rate));
        load.run(bench.seconds(2, 1))?;
        let events = bytes / EVENT;
        let meter = Meter::start(running)?;
        load.count_afresh();
        let (mut most, mut left) = (before, events as f64 / rate);
        while left > 0.0 {
            load.until_after(Duration::from_secs_f64(left.min(1.0)))?;
            most = most.max(proc::pss(&pids)?);
            left -= 1.0;
        }
        let with = load.count_afresh();
        let usage = meter.stop()?;
        let faults = ended(&mut load)?;
        let gone = held.iter().filter(|socket| over(socket)).count();
        let at = |tally: &Tally, quantile| ms(tally.each.value_at_quantile(quantile));
        let notes = vec![format!(
            "the log is bounded to {} MiB and was full before; without them p50 {:.2} ms, p99 {:.2} ms; with them p50 {:.2} ms, p99 {:.2} ms; {gone} of them were closed",
            LOG >> 20,
            at(&without, 0.5),
            at(&without, 0.99),
            at(&with, 0.5),
            at(&with, 0.99),
        )];
        let values = vec![Some((most - before) as f64 / MIB), Some(at(&with, 0.99) / at(&without, 0.99))];
        Ok(Measured { values, faults, usage, notes })
    })
}

/// A reader that has seen its answer begin and reads no more.
fn stall(running: &Running) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(running.target.streams)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(&running.target.stream(0))?;
    socket.peek(&mut [0])?;
    Ok(socket)
}

/// Whether the server has closed the connection: a reset shows as the socket's error.
fn over(socket: &TcpStream) -> bool {
    !matches!(socket.take_error(), Ok(None))
}
