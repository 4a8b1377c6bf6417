//! `sidestream revoke`: takes grants back: their streams end, and later requests with them are refused.

use std::process::ExitCode;

use clap::{ArgGroup, Args};
use http::Method;
use serde_json::{Map, Value};

use crate::cli::daemon::DaemonArguments;
use crate::cli::output::{note, plain_json, print};
use crate::cli::run::block_on;
use crate::cli::table::count;

const EXAMPLES: &str = "\
Examples:
  sidestream revoke --user u1                 after a logout, on all instances
  sidestream revoke --token 6f1c --for 1h     one token, by its id (jti)
  sidestream revoke --user u1 --topic room:7  what they had of one topic

Streams with a grant that matches everything that is given end, and requests
with such a grant are refused until the time is over. Grants that were made
later are accepted, so a new login works. Choose a time that is longer than
their tokens live.

Ends with 1 when the other instances could not be informed: ask again.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = "sidestream revoke <WHOSE>... [OPTIONS]")]
#[command(group = ArgGroup::new("whose").required(true).multiple(true)
    .args(["user", "session", "token", "topic"]))]
pub(super) struct RevokeCommand {
    /// Grants of this user
    #[arg(long, value_name = "NAME", help_heading = "Whose grants")]
    user: Option<String>,
    /// Grants of this session
    #[arg(long, value_name = "NAME", help_heading = "Whose grants")]
    session: Option<String>,
    /// The grant of the token with this id; it is not a secret, but the token itself would be
    #[arg(long, value_name = "ID", help_heading = "Whose grants")]
    token: Option<String>,
    /// Grants for this topic
    #[arg(long, value_name = "NAME", help_heading = "Whose grants")]
    topic: Option<String>,
    /// How long such grants are refused, at most 30 days [default: auth.revoke_for]
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
    /// The daemon's own answer, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

impl RevokeCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let daemon = self.daemon.client()?;
            let (_, answer) = daemon.answer(Method::POST, "/revoke", Some(&self.body())).await?;
            // A refusal as a whole: too many are in force.
            if answer["until"].is_null() {
                note(answer["error"].as_str().unwrap_or("it was not revoked"));
                return Ok(ExitCode::FAILURE);
            }
            let printed = if self.json {
                print(format_args!("{}\n", plain_json(&answer.to_string())))
            } else {
                let ended = count(answer["ended"].as_u64().unwrap_or(0), "stream");
                let until = answer["until"].as_str().unwrap_or_default();
                print(format_args!("revoked until {until}; {ended} ended on this instance\n"))
            };
            match answer["error"].as_str() {
                None => Ok(printed),
                Some(error) => {
                    note(error);
                    Ok(ExitCode::FAILURE)
                }
            }
        })
    }

    fn body(&self) -> Value {
        let all = [
            ("user", &self.user),
            ("session", &self.session),
            ("token", &self.token),
            ("topic", &self.topic),
            ("for", &self.time),
        ];
        let given =
            all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
        Value::Object(given.collect::<Map<_, _>>())
    }
}
