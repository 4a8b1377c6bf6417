//! Side by side: every repetition runs all contenders in turn, so that what changes on the machine meets them all.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::figure::{Cell, Figure, Measured, Spec, median};
use crate::load::{Faults, Load};
use crate::machine;
use crate::meter::Usage;
use crate::peers::{Missing, Running, Server, Settings, Setup};
use crate::proc;

/// How the whole run is made.
pub(crate) struct Bench {
    /// Small sizes, to see that all works; the figures say nothing.
    pub(crate) quick: bool,
    pub(crate) repetitions: usize,
    /// Only these; all if empty.
    pub(crate) servers: Vec<Server>,
    /// sidestream's.
    pub(crate) binary: PathBuf,
    pub(crate) server_core: usize,
    pub(crate) load_core: usize,
}

/// A server as one measurement sees it.
pub(crate) struct Contender {
    pub(crate) label: &'static str,
    pub(crate) server: Server,
    pub(crate) setup: Setup,
}

/// What is known about a contender's measurements beside the figures.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) row: &'static str,
    pub(crate) label: &'static str,
    pub(crate) faults: Faults,
    /// Of each repetition.
    pub(crate) usage: Vec<Usage>,
    pub(crate) notes: Vec<String>,
}

/// A row's figures, and all that belongs to them.
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    pub(crate) contexts: Vec<Context>,
    /// sidestream's configuration.
    pub(crate) toml: String,
}

impl Bench {
    /// `full`, or `quick` in a quick run.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn seconds(&self, full: u64, quick: u64) -> Duration {
        Duration::from_secs(self.size(full, quick))
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup { cores: vec![self.server_core], heartbeat: 0, backend: None, sidestream: Settings::default() }
    }

    pub(crate) fn contender(&self, server: Server) -> Contender {
        Contender { label: server.name(), server, setup: self.setup() }
    }

    /// Measures every contender in every repetition. One that cannot start, or fails, is left out and says why.
    pub(crate) fn compare(
        &self,
        row: &'static str,
        specs: Vec<Spec>,
        contenders: impl IntoIterator<Item = Contender>,
        measure: impl Fn(&Contender, &Running) -> io::Result<Measured>,
    ) -> Outcome {
        let wanted =
            |contender: &Contender| self.servers.is_empty() || self.servers.contains(&contender.server);
        let contenders: Vec<Contender> = contenders.into_iter().filter(wanted).collect();
        let mut results: Vec<Result<Vec<Measured>, Missing>> =
            contenders.iter().map(|_| Ok(Vec::new())).collect();
        for repetition in 1..=self.repetitions {
            for (contender, result) in contenders.iter().zip(&mut results) {
                let Ok(measured) = result else { continue };
                match self.once(contender, &measure) {
                    Ok(one) => {
                        say(row, repetition, self.repetitions, contender.label, &specs, &one);
                        measured.push(one);
                    }
                    Err(missing) => {
                        eprintln!("{row}: {}: {}", contender.label, missing.0);
                        *result = Err(missing);
                    }
                }
            }
        }
        let toml = contenders
            .iter()
            .find(|contender| contender.server == Server::Sidestream)
            .map(|contender| contender.setup.toml())
            .unwrap_or_default();
        Outcome {
            figures: figures(row, specs, &contenders, &results),
            contexts: contexts(row, &contenders, results),
            toml,
        }
    }

    fn once(
        &self,
        contender: &Contender,
        measure: &impl Fn(&Contender, &Running) -> io::Result<Measured>,
    ) -> Result<Measured, Missing> {
        machine::pin(&[self.load_core])?;
        let running = contender.server.start(&contender.setup, &self.binary)?;
        measure(contender, &running).map_err(|error| {
            let log = running.log();
            let last = log.lines().last().unwrap_or_default();
            Missing(format!("failed: {error}{}{last}", if last.is_empty() { "" } else { "; its log ends: " }))
        })
    }
}

fn figures(
    row: &'static str,
    specs: Vec<Spec>,
    contenders: &[Contender],
    results: &[Result<Vec<Measured>, Missing>],
) -> Vec<Figure> {
    let figure = |(index, spec): (usize, Spec)| {
        let cell = |(contender, result): (&Contender, &Result<Vec<Measured>, Missing>)| match result {
            Ok(measured) => {
                let values: Vec<f64> = measured.iter().filter_map(|one| one.values[index]).collect();
                (!values.is_empty()).then_some(Cell { label: contender.label, result: Ok(values) })
            }
            Err(missing) => Some(Cell { label: contender.label, result: Err(Missing(missing.0.clone())) }),
        };
        Figure { row, spec, cells: contenders.iter().zip(results).filter_map(cell).collect() }
    };
    specs.into_iter().enumerate().map(figure).collect()
}

fn contexts(
    row: &'static str,
    contenders: &[Contender],
    results: Vec<Result<Vec<Measured>, Missing>>,
) -> Vec<Context> {
    let context = |(contender, result): (&Contender, Result<Vec<Measured>, Missing>)| {
        let mut context = Context {
            row,
            label: contender.label,
            faults: Faults::default(),
            usage: Vec::new(),
            notes: Vec::new(),
        };
        for one in result.ok()? {
            context.faults.add(&one.faults);
            context.usage.push(one.usage);
            context.notes = one.notes;
        }
        Some(context)
    };
    contenders.iter().zip(results).filter_map(context).collect()
}

fn say(row: &str, repetition: usize, of: usize, label: &str, specs: &[Spec], one: &Measured) {
    let values: Vec<String> = specs
        .iter()
        .zip(&one.values)
        .filter_map(|(spec, value)| Some(format!("{} {}", crate::report::digits((*value)?), spec.unit)))
        .collect();
    eprintln!(
        "{row} {repetition}/{of} {label}: {} (server {:.0} %, load {:.0} %, others {:.0} %{}){}",
        values.join(", "),
        one.usage.server * 100.0,
        one.usage.load * 100.0,
        one.usage.others * 100.0,
        if one.faults.none() { String::new() } else { format!("; {}", one.faults) },
        one.notes.iter().map(|note| format!("; {note}")).collect::<String>(),
    );
}

impl Context {
    /// The medians over the repetitions: server, load, others, in shares of a core.
    pub(crate) fn busy(&self) -> [f64; 3] {
        let of = |share: fn(&Usage) -> f64| {
            median(&self.usage.iter().map(share).collect::<Vec<_>>()).unwrap_or_default()
        };
        [of(|usage| usage.server), of(|usage| usage.load), of(|usage| usage.others)]
    }
}

/// How long what is under way may take to arrive at the end of a measurement.
const SETTLE: Duration = Duration::from_secs(20);

/// Ends a measurement: waits for what is under way, counts what did not come.
pub(super) fn ended(load: &mut Load) -> io::Result<Faults> {
    load.settle(SETTLE)?;
    Ok(load.finish())
}

/// Nanoseconds as milliseconds.
pub(super) fn ms(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Waits until the server has noticed that its readers are gone.
pub(super) fn until_gone(running: &Running, descriptors: usize) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let pids = running.pids();
    while proc::descriptors(&pids) > descriptors {
        if Instant::now() > deadline {
            return Err(io::Error::other("the server still holds streams that were cut half a minute ago"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
