//! `sidestream connections`: the open streams of all instances, all pages of them.
//!
//! Nothing is left out in silence: a list that is not whole says so, and the exit code does.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::cli::daemon::{DaemonArguments, DaemonClient, query};
use crate::cli::error::Error;
use crate::cli::output::{note, plain_json, print};
use crate::cli::run::block_on;
use crate::cli::table::{Column, Layout, count, number, or_nothing, short_time};

const EXAMPLES: &str = "\
Examples:
  sidestream connections
  sidestream connections --user u1
  sidestream connections --topic conversation:42 --count
  sidestream connections --meta device=phone
  sidestream connections --json | jq -r 'select(.behind.events > 100) | .user'

A row is a stream; the columns are those of GET /connections in
docs/control.md. BEHIND is how many stored events it has still to get, with
`full` where its socket accepts no more for now. With --json each stream is one
line: an object as the daemon gives it.

Ends with 1 when an instance did not answer, so that the list is not whole.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConnectionsCommand {
    #[command(flatten)]
    filter: FilterArguments,
    /// Only how many there are, by instance
    #[arg(long)]
    count: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

/// Which streams are meant: those that match everything that is given.
#[derive(Args, Debug)]
pub(super) struct FilterArguments {
    /// Of this user
    #[arg(long, value_name = "NAME", help_heading = "Which streams")]
    user: Option<String>,
    /// Of this session
    #[arg(long, value_name = "NAME", help_heading = "Which streams")]
    session: Option<String>,
    /// That hold this topic
    #[arg(long, value_name = "NAME", help_heading = "Which streams")]
    topic: Option<String>,
    /// This one: the `client` of its `connected` event
    #[arg(long, value_name = "ID", help_heading = "Which streams")]
    client: Option<String>,
    /// Of this client address
    #[arg(long, value_name = "IP", help_heading = "Which streams")]
    address: Option<String>,
    /// Of the route with this path, as it is configured
    #[arg(long, value_name = "PATH", help_heading = "Which streams")]
    path: Option<String>,
    /// On this instance, by its name or id
    #[arg(long, value_name = "NAME", help_heading = "Which streams")]
    instance: Option<String>,
    /// Of which this is noted; may be given several times
    #[arg(long, value_name = "NAME=TEXT", value_parser = noted, help_heading = "Which streams")]
    meta: Vec<(String, String)>,
}

impl FilterArguments {
    pub(super) fn parameters(&self) -> Vec<(&str, Option<&str>)> {
        let mut all = vec![
            ("user", self.user.as_deref()),
            ("session", self.session.as_deref()),
            ("topic", self.topic.as_deref()),
            ("client", self.client.as_deref()),
            ("address", self.address.as_deref()),
            ("path", self.path.as_deref()),
            ("instance", self.instance.as_deref()),
        ];
        all.extend(self.meta.iter().map(|(name, text)| (name.as_str(), Some(text.as_str()))));
        all
    }

    /// The client, where nothing else is given.
    pub(super) fn client_alone(&self) -> Option<&str> {
        let given = self.parameters().iter().filter(|(_, value)| value.is_some()).count();
        self.client.as_deref().filter(|_| given == 1)
    }
}

/// `device=phone` as the query's parameter `meta.device`.
fn noted(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((format!("meta.{name}"), text.to_owned())),
        _ => Err("write it as NAME=TEXT, such as device=phone".to_owned()),
    }
}

const COLUMNS: &[Column] = &[
    Column { name: "CLIENT", is_number: false, is_optional: false },
    Column { name: "USER", is_number: false, is_optional: true },
    Column { name: "SESSION", is_number: false, is_optional: true },
    Column { name: "TOPICS", is_number: false, is_optional: true },
    Column { name: "PATH", is_number: false, is_optional: false },
    Column { name: "META", is_number: false, is_optional: true },
    Column { name: "AGE", is_number: true, is_optional: false },
    Column { name: "SENT", is_number: true, is_optional: false },
    Column { name: "BEHIND", is_number: true, is_optional: false },
    Column { name: "ADDRESS", is_number: false, is_optional: false },
    Column { name: "INSTANCE", is_number: false, is_optional: false },
];

impl ConnectionsCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let daemon = self.daemon.client()?;
            if self.count { self.total(&daemon).await } else { self.list(&daemon).await }
        })
    }

    async fn total(&self, daemon: &DaemonClient) -> Result<ExitCode, Error> {
        let path = format!("/connections/count{}", query(self.filter.parameters()));
        let answer = daemon.ask(Method::GET, &path, None).await?;
        let text = if self.json {
            format!("{}\n", plain_json(&answer.to_string()))
        } else {
            let mut text = format!("{}\n", count(answer["total"].as_u64().unwrap_or(0), "stream"));
            for instance in answer["instances"].as_array().into_iter().flatten() {
                let streams = number(instance["streams"].as_u64().unwrap_or(0));
                text.push_str(&format!("  {}  {streams}\n", text_of(&instance["name"])));
            }
            text
        };
        let printed = print(text);
        Ok(if is_whole(&answer) { printed } else { ExitCode::FAILURE })
    }

    async fn list(&self, daemon: &DaemonClient) -> Result<ExitCode, Error> {
        let (mut cursor, mut layout, mut is_complete, mut seen) = (None, None, true, 0_usize);
        loop {
            let parameters = self.filter.parameters().into_iter();
            let page = [("limit", Some("1000")), ("cursor", cursor.as_deref())];
            let path = format!("/connections{}", query(parameters.chain(page)));
            let answer = daemon.ask(Method::GET, &path, None).await?;
            let streams = answer["connections"].as_array().map(Vec::as_slice).unwrap_or_default();
            seen += streams.len();
            let text = if self.json { lines(streams) } else { rows(streams, &mut layout) };
            match io::stdout().lock().write_all(text.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written.map_err(Error::Output)?,
            }
            // Said once, not with every page.
            is_complete = is_complete && is_whole(&answer);
            cursor = answer["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        if seen == 0 && !self.json {
            note("no stream is open that matches");
        }
        Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn lines(streams: &[Value]) -> String {
    streams.iter().map(|stream| format!("{}\n", plain_json(&stream.to_string()))).collect()
}

fn rows(streams: &[Value], layout: &mut Option<Layout<'static>>) -> String {
    let rows: Vec<Vec<String>> = streams.iter().map(cells).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    let layout = layout.get_or_insert_with(|| {
        let layout = Layout::new(COLUMNS, &rows);
        text.push_str(&layout.header());
        layout
    });
    text.extend(rows.iter().map(|row| layout.row(row)));
    text
}

fn cells(stream: &Value) -> Vec<String> {
    let behind = stream["behind"]["events"].as_u64().unwrap_or(0);
    let more = if stream["behind"]["more"] == true { "+" } else { "" };
    let full = if stream["blocked"] == true { " full" } else { "" };
    let age = Duration::from_secs(stream["age_seconds"].as_u64().unwrap_or(0));
    vec![
        text_of(&stream["client"]),
        or_nothing(stream["user"].as_str()),
        or_nothing(stream["session"].as_str()),
        topics(stream),
        text_of(&stream["path"]),
        meta(stream),
        short_time(age),
        number(stream["sent"].as_u64().unwrap_or(0)),
        format!("{}{more}{full}", number(behind)),
        text_of(&stream["address"]),
        text_of(&stream["instance"]["name"]),
    ]
}

/// `device=phone plan=pro`.
fn meta(stream: &Value) -> String {
    let entries = stream["meta"].as_object().into_iter().flatten();
    let entries: Vec<String> =
        entries.map(|(name, text)| format!("{name}={}", text.as_str().unwrap_or_default())).collect();
    or_nothing((!entries.is_empty()).then(|| entries.join(" ")).as_deref())
}

/// The first two, patterns behind topics, and how many more.
fn topics(stream: &Value) -> String {
    const SHOWN: usize = 2;
    let texts = |field: &str| stream[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let named = texts("topics").chain(texts("patterns"));
    let shown: Vec<&str> = named.take(SHOWN).collect();
    let all = stream["topics_total"].as_u64().unwrap_or(0) + texts("patterns").count() as u64;
    let more = all.saturating_sub(shown.len() as u64);
    match (shown.is_empty(), more) {
        (true, _) => or_nothing(None),
        (false, 0) => shown.join(","),
        (false, more) => format!("{} +{more}", shown.join(",")),
    }
}

fn text_of(value: &Value) -> String {
    or_nothing(value.as_str())
}

/// Whether every instance has answered; those that have not are named.
pub(super) fn is_whole(answer: &Value) -> bool {
    if answer["complete"] != false {
        return true;
    }
    let silent = answer["silent"].as_array().into_iter().flatten();
    let silent: Vec<&str> = silent.filter_map(|one| one["name"].as_str()).collect();
    let of = if silent.is_empty() { "an instance".to_owned() } else { silent.join(", ") };
    note(format_args!("this is not all: no answer from {of} within a second"));
    false
}
