//! `sidestream retract`: takes back an event, or all that is kept of a topic.

use std::process::ExitCode;

use clap::{ArgGroup, Args};
use http::Method;

use crate::cli::daemon::{DaemonArguments, encoded};
use crate::cli::output::{plain_json, print};
use crate::cli::run::block_on;
use crate::cli::table::count;

const EXAMPLES: &str = "\
Examples:
  sidestream retract room:7 1763715600000-3    one event of the topic
  sidestream retract room:7 --all              all that is kept of the topic

What is taken back is in no replay any more, on any instance, and the readers
that may have it get an event that names it (sse.retracted_as). An event that
is for other topics as well is taken back from all of its readers; with --all,
what is for others as well stays with them. The key has to be one of
internal.publish_keys, or of a publisher with `retract`.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "sidestream retract <TOPIC> <ID> [OPTIONS]
       sidestream retract <TOPIC> --all [OPTIONS]")]
#[command(group = ArgGroup::new("what").required(true).args(["id", "all"]))]
pub(super) struct RetractCommand {
    /// The topic
    topic: String,
    /// The id of the event, as its readers see it
    id: Option<String>,
    /// All that is kept of the topic
    #[arg(long)]
    all: bool,
    /// The daemon's own answer, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

impl RetractCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let daemon = self.daemon.client()?;
            let (_, answer) = daemon.answer(Method::DELETE, &self.path(), None).await?;
            Ok(if self.json {
                print(format_args!("{}\n", plain_json(&answer.to_string())))
            } else {
                let taken = count(answer["retracted"].as_u64().unwrap_or(0), "event");
                print(format_args!("took back {taken}\n"))
            })
        })
    }

    fn path(&self) -> String {
        let topic = encoded(&self.topic);
        match &self.id {
            Some(id) => format!("/topics/{topic}/events/{}", encoded(id)),
            None => format!("/topics/{topic}"),
        }
    }
}
