//! `sidestream kick`: closes streams, and keeps their clients away if asked to.

use std::process::ExitCode;

use clap::{ArgGroup, Args};
use http::Method;
use serde_json::Value;

use crate::cli::connections::FilterArguments;
use crate::cli::daemon::{DaemonArguments, encoded, query};
use crate::cli::error::Error;
use crate::cli::output::{note, plain_json, print};
use crate::cli::run::block_on;
use crate::cli::table::count;

const USAGE: &str = "sidestream kick <WHICH>... [OPTIONS]
       sidestream kick --all [OPTIONS]";

const EXAMPLES: &str = "\
Examples:
  sidestream kick --user u1                      they come back, and resume
  sidestream kick --user u1 --stay-away 1h       they are kept out for an hour
  sidestream kick --client k7m2qx5tnd4hwz3c
  sidestream kick --all                          everybody reconnects

Streams that match everything that is given are closed, on all instances. With
--stay-away users and sessions are refused for that time, also with a new login;
to end a grant instead, so that a new login works, use `sidestream revoke`. A
client, an address, a path or a topic cannot be recognised later: such clients are
asked to stay away, not kept out.

Ends with 1 when no such client is open, or when an instance did not answer:
what is closed then stays closed, so ask again.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
#[command(group = ArgGroup::new("whose").required(true).multiple(true)
    .args(["user", "session", "topic", "client", "address", "path", "instance", "all"]))]
pub(super) struct KickCommand {
    #[command(flatten)]
    filter: FilterArguments,
    /// Every stream of every instance
    #[arg(long, help_heading = "Which streams",
        conflicts_with_all = ["user", "session", "topic", "client", "address", "path", "instance"])]
    all: bool,
    /// Their clients are not to come back; those of a user or a session are refused for TIME, from 1s to 30 days
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m")]
    stay_away: Option<String>,
    /// The daemon's own answer, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

impl KickCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let daemon = self.daemon.client()?;
            let (_, answer) = daemon.answer(Method::DELETE, &self.path(), None).await?;
            self.report(&answer)
        })
    }

    fn path(&self) -> String {
        let stay_away = self.stay_away.as_deref();
        let parting = [("reconnect", stay_away.map(|_| "false")), ("for", stay_away)];
        match self.filter.client_alone() {
            // This way the daemon says whether there is such a client.
            Some(client) => format!("/connections/{}{}", encoded(client), query(parting)),
            None => {
                let all = [("all", self.all.then_some("true"))];
                let filter = self.filter.parameters().into_iter();
                format!("/connections{}", query(filter.chain(all).chain(parting)))
            }
        }
    }

    fn report(&self, answer: &Value) -> Result<ExitCode, Error> {
        let printed = if self.json {
            print(format_args!("{}\n", plain_json(&answer.to_string())))
        } else {
            let closed = count(answer["closed"].as_u64().unwrap_or(0), "stream");
            let until = answer["until"].as_str().map(|until| format!("; kept out until {until}"));
            print(format_args!("closed {closed}{}\n", until.unwrap_or_default()))
        };
        match answer["error"].as_str() {
            None => Ok(printed),
            Some(error) => {
                note(error);
                Ok(ExitCode::FAILURE)
            }
        }
    }
}
