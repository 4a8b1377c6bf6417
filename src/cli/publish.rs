//! `sidestream publish`: one event, or many ready envelopes, to a running daemon's internal listener.
//!
//! What is sent is what `POST /publish` takes; the daemon checks it, and a refusal is said in its own words.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use bytes::Bytes;
use clap::{ArgGroup, Args, ValueEnum};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cli::daemon::{DaemonArguments, DaemonClient};
use crate::cli::error::Error;
use crate::cli::run::block_on;

/// How much is read from standard input; what the daemon takes is its own affair.
const MAX_INPUT: u64 = 64 << 20;
/// How large the answer may be: a receipt for every event.
const MAX_ANSWER: usize = 64 << 20;

const USAGE: &str = "sidestream publish <AUDIENCE>... [OPTIONS] [DATA]
       sidestream publish --envelopes [OPTIONS]";

const EXAMPLES: &str = "\
Examples:
  sidestream publish --topic room:42 --event message:new '{\"text\": \"hi\"}'
  sidestream publish --user u1 --user u2 --except-client c7 'text is fine too'
  sidestream publish --broadcast --event typing --ephemeral '{\"on\": true}'
  date | sidestream publish --topic clock
  sidestream publish --envelopes < events.ndjson

The key is one of the daemon's internal.publish_keys. Keep it out of the
arguments, which everyone on the machine can read: put it into the variable
SIDESTREAM_PUBLISH_KEY, or into a file that --key-file names. Without either,
the first key of the configuration that --config names is presented.

DATA that is JSON is sent as it stands, anything else as text; --text and
--json say which it is. From standard input, one line end at its end is left
out.

The answer is the event's id, and how many open streams it was for:
  id=1763715600000-0-abcdef matched=2";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
#[command(group = ArgGroup::new("audience").required(true).multiple(true)
    .args(["topic", "user", "session", "client", "broadcast", "envelopes"]))]
pub(super) struct PublishCommand {
    /// The event's data; `-`, or nothing with a pipe, reads standard input
    #[arg(value_name = "DATA", allow_negative_numbers = true)]
    data: Option<String>,

    /// For the subscribers of this topic; like all of these, may be given several times
    #[arg(long, value_name = "NAME", help_heading = "Audience")]
    topic: Vec<String>,
    /// For the streams of this user
    #[arg(long, value_name = "NAME", help_heading = "Audience")]
    user: Vec<String>,
    /// For the streams of this session
    #[arg(long, value_name = "NAME", help_heading = "Audience")]
    session: Vec<String>,
    /// For this one stream
    #[arg(long, value_name = "ID", help_heading = "Audience")]
    client: Vec<String>,
    /// For every stream
    #[arg(long, help_heading = "Audience")]
    broadcast: bool,
    /// But not for the subscribers of this topic
    #[arg(long, value_name = "NAME", help_heading = "Audience")]
    except_topic: Vec<String>,
    /// But not for the streams of this user
    #[arg(long, value_name = "NAME", help_heading = "Audience")]
    except_user: Vec<String>,
    /// But not for the streams of this session
    #[arg(long, value_name = "NAME", help_heading = "Audience")]
    except_session: Vec<String>,
    /// But not for this one stream
    #[arg(long, value_name = "ID", help_heading = "Audience")]
    except_client: Vec<String>,

    /// The event's name; without one, browsers call it `message`
    #[arg(long, value_name = "NAME", help_heading = "Event")]
    event: Option<String>,
    /// Deliver it live only: without an id, and never again
    #[arg(long, help_heading = "Event")]
    ephemeral: bool,
    /// Do not deliver it again after so many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Event")]
    ttl: Option<u64>,
    /// A second event with this key is not published
    #[arg(long, value_name = "KEY", help_heading = "Event")]
    idempotency_key: Option<String>,
    /// DATA is text, even if it looks like JSON
    #[arg(long, help_heading = "Event")]
    text: bool,
    /// DATA has to be JSON
    #[arg(long, conflicts_with = "text", help_heading = "Event")]
    json: bool,
    /// Publish ready envelopes, one JSON object a line of standard input: all of them or none
    #[arg(long, help_heading = "Event", conflicts_with_all = [
        "data", "topic", "user", "session", "client", "broadcast",
        "except_topic", "except_user", "except_session", "except_client",
        "event", "ephemeral", "ttl", "text", "json",
    ])]
    envelopes: bool,

    #[command(flatten)]
    daemon: DaemonArguments,
    /// How the answer is written: a line for each event, or the daemon's own JSON
    #[arg(long, value_enum, default_value_t, help_heading = "Daemon")]
    output: Format,
}

/// How the answer is written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

/// The JSON that `POST /publish` takes.
#[derive(Serialize)]
struct PublishFields<'a> {
    #[serde(flatten)]
    audience: AudienceArguments<'a>,
    #[serde(skip_serializing_if = "is_false")]
    broadcast: bool,
    #[serde(skip_serializing_if = "AudienceArguments::is_empty")]
    except: AudienceArguments<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "is_false")]
    ephemeral: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

#[derive(Serialize)]
struct AudienceArguments<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    topics: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    users: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sessions: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    clients: &'a [String],
}

impl AudienceArguments<'_> {
    fn is_empty(&self) -> bool {
        [self.topics, self.users, self.sessions, self.clients].iter().all(|names| names.is_empty())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl PublishCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            // Before anything is read: without a key there is nothing to do with it.
            let daemon = self.daemon.client()?;
            self.publish(&daemon, self.request()?).await.map(|()| ExitCode::SUCCESS)
        })
    }

    async fn publish(&self, daemon: &DaemonClient, request: Request<Full<Bytes>>) -> Result<(), Error> {
        let mut answer = daemon.send("/publish", request).await?;
        if answer.head.status != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        let body = answer.whole(MAX_ANSWER).await?;
        let text = match self.output {
            Format::Json => String::from_utf8_lossy(&body).trim_end().to_owned() + "\n",
            Format::Text => match receipts(&body) {
                Some(receipts) => receipts.iter().map(ReceiptFields::line).collect(),
                None => return Err(Error::NoReceipt { peer: daemon.peer() }),
            },
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // It is published, whether or not anybody reads this.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(Error::Output),
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Error> {
        let (kind, body) = if self.envelopes {
            ("application/x-ndjson", read_input()?)
        } else {
            ("application/json", self.envelope()?)
        };
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        // Of a single event it is a field of its envelope.
        if let Some(key) = self.idempotency_key.as_deref().filter(|_| self.envelopes) {
            let key = HeaderValue::from_bytes(key.as_bytes()).map_err(|_| Error::UnsendableIdempotencyKey)?;
            headers.insert("idempotency-key", key);
        }
        Ok(request)
    }

    fn envelope(&self) -> Result<Vec<u8>, Error> {
        let data = self.data()?;
        let envelope = PublishFields {
            audience: AudienceArguments {
                topics: &self.topic,
                users: &self.user,
                sessions: &self.session,
                clients: &self.client,
            },
            broadcast: self.broadcast,
            except: AudienceArguments {
                topics: &self.except_topic,
                users: &self.except_user,
                sessions: &self.except_session,
                clients: &self.except_client,
            },
            event: self.event.as_deref(),
            data: &data,
            ephemeral: self.ephemeral,
            ttl: self.ttl,
            idempotency_key: self.idempotency_key.as_deref(),
        };
        Ok(serde_json::to_vec(&envelope).expect("a struct of texts and JSON is JSON"))
    }

    /// The data as JSON: as it stands, or as a string of its text.
    fn data(&self) -> Result<Box<RawValue>, Error> {
        let text = match self.data.as_deref() {
            Some("-") => read_text()?,
            Some(text) => text.to_owned(),
            None if io::stdin().is_terminal() => return Err(Error::NoData),
            None => match read_text()? {
                // Rather a standard input that nobody thought of than an event of nothing.
                text if text.is_empty() => return Err(Error::NoData),
                text => text,
            },
        };
        if !self.text {
            match serde_json::from_str::<Box<RawValue>>(&text) {
                Ok(json) => return Ok(json),
                Err(error) if self.json => return Err(Error::NotJson(error)),
                Err(_) => {}
            }
        }
        let json = serde_json::to_string(&text).expect("a text is JSON");
        Ok(RawValue::from_string(json).expect("a JSON string is JSON"))
    }
}

fn read_input() -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes).map_err(Error::Input)?;
    if bytes.len() as u64 > MAX_INPUT { Err(Error::LargeInput { max: MAX_INPUT }) } else { Ok(bytes) }
}

fn read_text() -> Result<String, Error> {
    let mut text = String::from_utf8(read_input()?)
        .map_err(|_| Error::Input(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// What became of one event.
#[derive(Deserialize)]
struct ReceiptFields {
    id: Option<String>,
    matched: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    relayed: bool,
}

impl ReceiptFields {
    fn line(&self) -> String {
        let id = self.id.as_deref().unwrap_or("none");
        let duplicate = if self.duplicate { " duplicate" } else { "" };
        let relayed = if self.relayed { " relayed" } else { "" };
        format!("id={id} matched={}{duplicate}{relayed}\n", self.matched)
    }
}

/// The receipts of an answer; None when it is not one.
fn receipts(body: &[u8]) -> Option<Vec<ReceiptFields>> {
    #[derive(Deserialize)]
    struct Many {
        events: Vec<ReceiptFields>,
    }
    match serde_json::from_slice(body) {
        Ok(one) => Some(vec![one]),
        Err(_) => serde_json::from_slice(body).ok().map(|Many { events }| events),
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
