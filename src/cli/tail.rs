//! `sidestream tail`: an event stream in a shell, followed as a browser would follow it.
//!
//! Invariant: nothing is skipped in silence. Standard output has the events and nothing else; what happens to the
//! stream (a reconnect, a `reset`) is said on standard error.

mod show;

use std::num::NonZeroU64;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use self::show::Output;
use crate::cli::client;
use crate::cli::client::{HttpAnswer, MaybeTls, TrustArguments};
use crate::cli::error::Error;
use crate::cli::output::{chain, fail, note};
use crate::cli::url::Url;
use crate::event::sse::Parser;

/// How much one event may be.
const MAX_EVENT: usize = 16 << 20;
/// The pause before a reconnect until the server says another.
const RETRY: Duration = Duration::from_secs(3);
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// The pause grows with every attempt that fails, but not beyond this, unless the server asks for more.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 3600);

const EXAMPLES: &str = "\
Examples:
  sidestream tail 'http://127.0.0.1:8080/events?topic=a&topic=b'
  sidestream tail 'http://127.0.0.1:8080/events?topic=a' --output json | jq .data
  sidestream tail 'http://127.0.0.1:8080/events?topic=a' --since 1763715600000-3
  sidestream tail 'https://app.example/events?topic=a' --header @token.txt
  sidestream tail 'https://localhost:8443/events?topic=a' --ca test-ca.pem

Standard output has the events: id (`-` without one), name, data. As JSON, each
is one line: {\"id\": …, \"event\": …, \"data\": …}, where data is its text.
Standard error says what happens to the stream: where it starts, a reconnect,
and a reset, which means that events were missed.

A stream that is cut is opened again after the pause that the server asks for,
and goes on behind the last id. It ends with SIGINT (Ctrl-C), or on an answer
that is final, such as 204, 401 and 403.

Put a token into a file rather than an argument, which everyone on the machine
can read.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TailCommand {
    /// The stream's address: http://, https:// or unix:/path/of/the/socket:/path
    #[arg(value_name = "URL")]
    url: Url,
    /// Go on behind this event id: what the log still has of later events comes first
    #[arg(long, value_name = "ID")]
    since: Option<String>,
    /// A header to send, as 'Name: value', or @FILE with one a line; may be given several times
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<Headers>,
    /// How events are written: for people, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    output: show::Format,
    /// Write the stream's own events too: connected, reset, closing, refused
    #[arg(long)]
    all: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,
    /// End when the stream ends, or cannot be opened
    #[arg(long)]
    no_reconnect: bool,
    #[command(flatten)]
    trust: TrustArguments,
}

/// Headers of one argument.
#[derive(Clone, Debug)]
pub(super) struct Headers(pub(super) Vec<(HeaderName, HeaderValue)>);

impl FromStr for Headers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('@') else { return Ok(Self(vec![header(text)?])) };
        let text = std::fs::read_to_string(Path::new(path)).map_err(|error| format!("{path}: {error}"))?;
        text.lines().filter(|line| !line.trim().is_empty()).map(header).collect::<Result<_, _>>().map(Self)
    }
}

/// One `Name: value`. A refusal does not repeat the value.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header has the form 'Name: value'")?;
    let name = HeaderName::from_str(name.trim()).map_err(|_| "the name is no header's name")?;
    if name == "last-event-id" {
        return Err("--since sets Last-Event-ID".to_owned());
    }
    if ["connection", "content-length", "transfer-encoding", "upgrade"].contains(&name.as_str()) {
        return Err(format!("{name} belongs to the connection"));
    }
    let mut value = HeaderValue::from_bytes(value.trim().as_bytes())
        .map_err(|_| "the value holds a control character")?;
    value.set_sensitive(true);
    Ok((name, value))
}

impl TailCommand {
    pub(super) fn run(self) -> ExitCode {
        // A thread beside the main one, so that a signal is heard while standard output takes nothing.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let result = runtime.map_err(Error::from).and_then(|runtime| {
            runtime.block_on(async {
                let _signals = end_at_a_signal()?;
                let tls = self.trust.for_url(&self.url, None)?;
                Follower::new(&self, tls).follow().await
            })
        });
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    }
}

/// Ends the process, as long as the value is kept. Every event is written whole before the next is read, so there is
/// nothing to wait for.
fn end_at_a_signal() -> Result<JoinSet<()>, Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(0);
    });
    Ok(task)
}

/// One stream over all its connections: `EventSource` in a shell.
struct Follower<'a> {
    tail: &'a TailCommand,
    tls: MaybeTls,
    output: Output,
    last_event_id: String,
    retry: Duration,
    /// Whether a stream was open before: what fails later may pass, what fails at once is said at once.
    was_open: bool,
    /// Attempts in a row that opened no stream.
    failed: u32,
}

/// How one connection came to its end.
enum ConnectionEnd {
    /// There is nothing more to do.
    Done,
    /// Worth another attempt, after at least `pause`.
    Lost { why: Error, pause: Option<Duration> },
}

impl<'a> Follower<'a> {
    fn new(tail: &'a TailCommand, tls: MaybeTls) -> Self {
        Self {
            tail,
            tls,
            output: Output::new(tail.output, tail.all, tail.count),
            last_event_id: tail.since.clone().unwrap_or_default(),
            retry: RETRY,
            was_open: false,
            failed: 0,
        }
    }

    async fn follow(&mut self) -> Result<(), Error> {
        loop {
            let (why, pause) = match self.connect().await? {
                ConnectionEnd::Done => return Ok(()),
                ConnectionEnd::Lost { why: Error::StreamEnded, .. } if self.tail.no_reconnect => {
                    return Ok(());
                }
                ConnectionEnd::Lost { why, .. } if self.tail.no_reconnect => return Err(why),
                ConnectionEnd::Lost { why, pause } => (why, pause),
            };
            let pause = pause.unwrap_or_default().max(self.backoff()).min(LONGEST_RETRY);
            note(format_args!("{}; again in {:.1} s", chain(&why), pause.as_secs_f32()));
            tokio::time::sleep(pause).await;
        }
    }

    /// What the server asked for, and more with every attempt that failed.
    fn backoff(&self) -> Duration {
        let grown = self.retry.saturating_mul(1 << self.failed.min(5)).min(LONGEST_BACKOFF);
        grown.max(self.retry).max(SHORTEST_RETRY)
    }

    /// One connection, from its request to its end. `Err` is final.
    async fn connect(&mut self) -> Result<ConnectionEnd, Error> {
        let answer = match client::send(&self.tail.url, &self.tls, self.request()).await {
            Ok(answer) => answer,
            Err(why @ (Error::BadUrl(_) | Error::Tls(_) | Error::Untrusted { .. })) => return Err(why),
            Err(why) if self.was_open => return Ok(self.failed_once(why, None)),
            Err(why) => return Err(why),
        };
        match answer.head.status {
            StatusCode::OK => {
                let kind = answer.head.headers.get(CONTENT_TYPE);
                let kind = kind.map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
                if !kind.as_deref().is_some_and(is_event_stream) {
                    return Err(Error::NotAStream { peer: self.tail.url.peer(), kind });
                }
                self.was_open = true;
                self.failed = 0;
                self.read(answer).await
            }
            StatusCode::NO_CONTENT => {
                note("the server says that nothing more will come (204)");
                Ok(ConnectionEnd::Done)
            }
            // Said by a server that would rather be asked later.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let pause = retry_after(&answer.head.headers);
                Ok(self.failed_once(answer.refusal().await, pause))
            }
            // Once it was a stream, so this is a backend or a proxy that is being replaced.
            status if status.is_server_error() && self.was_open => {
                Ok(self.failed_once(answer.refusal().await, None))
            }
            _ => Err(answer.refusal().await),
        }
    }

    fn failed_once(&mut self, why: Error, pause: Option<Duration>) -> ConnectionEnd {
        self.failed = self.failed.saturating_add(1);
        ConnectionEnd::Lost { why, pause }
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.tail.header.iter().flat_map(|headers| &headers.0) {
            // These take the place of our own.
            if name == ACCEPT || name == CACHE_CONTROL {
                headers.insert(name, value.clone());
            } else {
                headers.append(name, value.clone());
            }
        }
        if !self.last_event_id.is_empty() {
            match HeaderValue::from_bytes(self.last_event_id.as_bytes()) {
                Ok(id) => {
                    headers.insert("last-event-id", id);
                }
                Err(_) => note("the last id cannot be sent in a header: what came meanwhile is missed"),
            }
        }
        let mut request = Request::new(Full::default());
        *request.headers_mut() = headers;
        request
    }

    async fn read(&mut self, mut answer: HttpAnswer) -> Result<ConnectionEnd, Error> {
        let mut parser = Parser::new(&*self.last_event_id, MAX_EVENT);
        let ended = loop {
            let bytes = match answer.bytes().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break ConnectionEnd::Lost { why: Error::StreamEnded, pause: None },
                Err(why) => break ConnectionEnd::Lost { why, pause: None },
            };
            if self.take(&mut parser, &bytes)? {
                return Ok(ConnectionEnd::Done);
            }
        };
        parser.last_event_id().clone_into(&mut self.last_event_id);
        self.retry = parser.retry().unwrap_or(self.retry);
        Ok(ended)
    }

    /// Writes what is whole. Whether that was the last that is wanted.
    fn take(&mut self, parser: &mut Parser, mut bytes: &[u8]) -> Result<bool, Error> {
        loop {
            match parser.next(&mut bytes) {
                Ok(None) => return Ok(false),
                Ok(Some(message)) => match self.output.take(&message) {
                    Ok(true) => {}
                    Ok(false) => return Ok(true),
                    // The reader of our output has seen enough.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(true),
                    Err(error) => return Err(Error::Output(error)),
                },
                Err(crate::event::sse::TooLarge) => return Err(Error::LargeEvent { max: MAX_EVENT }),
            }
        }
    }
}

fn is_event_stream(kind: &str) -> bool {
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

/// In seconds; a date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
