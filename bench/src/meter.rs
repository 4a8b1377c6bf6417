//! How busy everybody was during a measurement: the server, the load, and whoever else was on the machine.

use std::io;
use std::time::Duration;

use crate::clock::{Nanos, now};
use crate::peers::Running;
use crate::proc;

/// A measurement under way.
pub(crate) struct Meter {
    server: Vec<u32>,
    begun: Nanos,
    at_begin: Times,
}

struct Times {
    server: Duration,
    load: Duration,
    machine: Duration,
}

/// Shares of one core, and the server's own CPU time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    pub(crate) server_cpu: Duration,
    pub(crate) server: f64,
    /// The load's own process.
    pub(crate) load: f64,
    /// Everything else: a Redis or a backend on the load's core, and what has no business here.
    pub(crate) others: f64,
}

impl Meter {
    pub(crate) fn start(server: &Running) -> io::Result<Self> {
        let server = server.pids();
        let at_begin = times(&server)?;
        Ok(Self { server, begun: now(), at_begin })
    }

    pub(crate) fn stop(self) -> io::Result<Usage> {
        let seconds = (now() - self.begun) as f64 / 1e9;
        let end = times(&self.server)?;
        let share = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / seconds;
        let server = share(self.at_begin.server, end.server);
        let load = share(self.at_begin.load, end.load);
        let machine = share(self.at_begin.machine, end.machine);
        Ok(Usage {
            seconds,
            server_cpu: end.server.saturating_sub(self.at_begin.server),
            server,
            load,
            others: (machine - server - load).max(0.0),
        })
    }
}

fn times(server: &[u32]) -> io::Result<Times> {
    Ok(Times {
        server: proc::cpu(server)?,
        load: proc::cpu(&[std::process::id()])?,
        machine: proc::machine_busy()?,
    })
}

impl Usage {
    /// The server's CPU time for each of `count` things, in microseconds.
    pub(crate) fn micros_each(&self, count: u64) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / (count.max(1) as f64)
    }
}
