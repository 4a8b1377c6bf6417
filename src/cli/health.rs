//! `sidestream health`: whether the daemon of this machine answers, for containers and scripts.
//!
//! Needs no shell, no curl and no configuration file, and ends within its timeout whatever the daemon does.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};

use crate::cli::daemon::ListenerArguments;
use crate::cli::error::Error;
use crate::cli::output::{note, print};
use crate::cli::run::block_on;
use crate::cli::status::missing;

const EXAMPLES: &str = "\
Examples:
  sidestream health
  sidestream health --ready --config /etc/sidestream.toml
  HEALTHCHECK CMD [\"/sidestream\", \"health\"]              in a Containerfile

The listener is found as `serve` finds it: from the file that --config names
and the variables SIDESTREAM_…, and without either it is 127.0.0.1:8081.
A mistake elsewhere in the file does not matter here.

Ends with 0 when the answer is good, with 1 when it is not or does not come.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthCommand {
    /// Ask whether it serves requests (/readyz), not only whether it is alive (/healthz)
    #[arg(long)]
    ready: bool,
    /// Ask whether events flow, too (/readyz/events): Redis, other instances
    #[arg(long, conflicts_with = "ready")]
    events: bool,
    /// How long the answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    listener: ListenerArguments,
}

impl HealthCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(self.ask())
    }

    async fn ask(&self) -> Result<ExitCode, Error> {
        let daemon = self.listener.client()?;
        let path = match (self.ready, self.events) {
            (true, _) => "/readyz",
            (_, true) => "/readyz/events",
            _ => "/healthz",
        };
        let answer = tokio::time::timeout(self.timeout, daemon.answer(Method::GET, path, None));
        let slow = |_| Error::Slow { peer: daemon.peer(), after: self.timeout };
        let (status, answer) = answer.await.map_err(slow)??;
        let word = answer["status"].as_str().ok_or_else(|| Error::NotTheDaemon { peer: daemon.peer() })?;
        if status == StatusCode::OK {
            return Ok(print(format_args!("{word}\n")));
        }
        note(format_args!("{word}: {}", missing(&answer)).to_string().trim_end_matches([':', ' ']));
        Ok(ExitCode::FAILURE)
    }
}
