//! `sidestream presence`: who is online, on all instances.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::daemon::{DaemonArguments, DaemonClient, encoded, query};
use crate::cli::error::Error;
use crate::cli::output::{note, plain, plain_json, print};
use crate::cli::run::block_on;
use crate::cli::table::{count, number};

const EXAMPLES: &str = "\
Examples:
  sidestream presence                       how many users and streams, and where
  sidestream presence u1 u2                 are they online?
  sidestream presence --users               everybody who is online
  sidestream presence --topic room:7        who is on a topic
  sidestream presence u1 --json | jq .online

Lists are one name a line. With --json there is one object a line, as the daemon
gives it; lists come in pages, an object each.

Ends with 1 when this is not all there is to know: an instance did not answer,
or Redis is away.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct PresenceCommand {
    /// Users that are asked about
    #[arg(value_name = "USER", conflicts_with_all = ["users", "topic"])]
    user: Vec<String>,
    /// Every user who is online
    #[arg(long, conflicts_with = "topic")]
    users: bool,
    /// The users on this topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// With --topic: only how many there are
    #[arg(long, requires = "topic")]
    count: bool,
    /// JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

impl PresenceCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let daemon = self.daemon.client()?;
            match &self.topic {
                Some(topic) => {
                    let path = format!("/presence/topics/{}", encoded(topic));
                    self.pages(&daemon, &path).await
                }
                None if self.users => self.pages(&daemon, "/presence/users").await,
                None if self.user.is_empty() => {
                    let totals = daemon.ask(Method::GET, "/presence", None).await?;
                    Ok(self.show(&totals, &totals_text(&totals)))
                }
                None => self.each(&daemon).await,
            }
        })
    }

    /// One line for each user that is asked about.
    async fn each(&self, daemon: &DaemonClient) -> Result<ExitCode, Error> {
        let mut worst = ExitCode::SUCCESS;
        for user in &self.user {
            let answer = daemon.ask(Method::GET, &format!("/presence/users/{}", encoded(user)), None).await?;
            let code = self.show(&answer, &user_text(&answer));
            if code != ExitCode::SUCCESS {
                worst = code;
            }
        }
        Ok(worst)
    }

    /// All pages of a list of users.
    async fn pages(&self, daemon: &DaemonClient, path: &str) -> Result<ExitCode, Error> {
        let mut cursor: Option<String> = None;
        let mut worst = ExitCode::SUCCESS;
        loop {
            let count = self.count.then_some("true");
            let limit = Some("5000").filter(|_| !self.count);
            let parameters = [("count", count), ("limit", limit), ("cursor", cursor.as_deref())];
            let page = daemon.ask(Method::GET, &format!("{path}{}", query(parameters)), None).await?;
            let code = self.show(&page, &page_text(&page, cursor.is_none()));
            if code != ExitCode::SUCCESS {
                worst = code;
            }
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(worst);
            }
        }
    }

    /// Prints an answer. Failure where it is not the whole truth.
    fn show(&self, answer: &Value, text: &str) -> ExitCode {
        let printed = if self.json {
            print(format_args!("{}\n", plain_json(&answer.to_string())))
        } else {
            print(text)
        };
        if answer["complete"] == false {
            note("this is not all: not every instance is heard (docs/control.md, Presence)");
            return ExitCode::FAILURE;
        }
        printed
    }
}

fn totals_text(totals: &Value) -> String {
    let of = |value: &Value| value.as_u64().unwrap_or(0);
    let (users, streams) = (of(&totals["users_total"]), of(&totals["streams"]));
    let mut text = format!("{} online, {}\n", count(users, "user"), count(streams, "stream"));
    for instance in totals["instances"].as_array().into_iter().flatten() {
        let here = if instance["id"] == totals["here"] { " (this one)" } else { "" };
        let name = plain(instance["name"].as_str().unwrap_or_default()).into_owned();
        let (users, streams) = (of(&instance["users_total"]), of(&instance["streams"]));
        text.push_str(&format!("  {name}{here}: {}, {}\n", count(users, "user"), count(streams, "stream")));
    }
    text
}

fn user_text(answer: &Value) -> String {
    let user = plain(answer["user"].as_str().unwrap_or_default()).into_owned();
    if answer["online"] != true {
        return format!("{user}: offline\n");
    }
    let streams = count(answer["streams"].as_u64().unwrap_or(0), "stream");
    let names = answer["instances"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    let names: Vec<_> = names.map(plain).collect();
    let on = if names.is_empty() { String::new() } else { format!(" on {}", names.join(", ")) };
    let since = answer["since"].as_str().map(|since| format!(", since {since}")).unwrap_or_default();
    format!("{user}: online, {streams}{on}{since}\n")
}

/// One name a line; of a topic, how many there are before the first.
fn page_text(page: &Value, is_first: bool) -> String {
    let mut text = String::new();
    if let (true, Some(streams)) = (is_first, page["streams"].as_u64()) {
        let users = count(page["users_total"].as_u64().unwrap_or(0), "user");
        let anonymous = number(page["anonymous"].as_u64().unwrap_or(0));
        let line = format!("{users}, {} ({anonymous} of nobody)", count(streams, "stream"));
        if page["users"].is_array() {
            // A list is for other programs: what is not a name goes elsewhere.
            note(line);
        } else {
            text = format!("{line}\n");
        }
    }
    for user in page["users"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&plain(user));
        text.push('\n');
    }
    text
}
