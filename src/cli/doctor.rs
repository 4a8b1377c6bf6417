//! `sidestream doctor`: goes to a public address as a browser would, and says what stands between it and its streams.
//!
//! Invariant: a finding is something that was seen on the wire. What could not be looked at is listed as that, and
//! never counts as good.

mod address;
mod connect;
mod cures;
mod examine;
mod exchange;
mod finding;
mod front;
mod head;
mod origin;
mod publisher;
mod resume;
mod show;
mod stream;
mod watch;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use http::header::{AUTHORIZATION, HeaderName};

use self::address::PublicAddress;
use self::examine::Examination;
use self::exchange::Browser;
use self::front::FrontProxy;
use self::publisher::TestPublisher;
use crate::cli::daemon::DaemonArguments;
use crate::cli::error::Error;
use crate::cli::output::{fail, print};
use crate::cli::tail::Headers;

const EXAMPLES: &str = "\
Examples:
  sidestream doctor https://app.example
  sidestream doctor 'https://app.example/events?conversationId=42' --header @token.txt
  sidestream doctor https://app.example --quick --origin https://pages.example
  sidestream doctor https://app.example --key-file key --url http://10.0.0.7:8081
  sidestream doctor https://app.example --for 2m --json | jq '.findings[] | select(.state == \"bad\")'

It opens streams at the address, watches one of them, comes back with
Last-Event-ID, and says what it saw, what that means for pages, and which line
of the proxy's configuration changes it. It publishes only with a publish key,
and then only to its own streams; nobody else's page gets an event.

A publish key (--key-file, or the variable SIDESTREAM_PUBLISH_KEY) shows more:
whether events arrive one at a time, which limit cuts a stream, and whose
address sidestream sees.

It ends with 0 when nothing stands in the way, with 1 when something does, and
with 2 when it could not look: nobody answers there, or a token is missing.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorCommand {
    /// The address that browsers use; a path and a query in it are those of the stream
    #[arg(value_name = "URL")]
    address: String,
    /// The stream's path, where the URL has none
    #[arg(long, value_name = "PATH", default_value = "/events")]
    path: String,
    /// Put into the stream's query as `topic`; may be given several times. Without one and without a query, a topic of
    /// its own
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// A token to send in Authorization; everyone on this machine can read it here
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// A file that holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A header to send, as 'Name: value', or @FILE with one a line; may be given several times
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<Headers>,
    /// The origin of a page on another host that opens the stream, such as https://pages.example
    #[allow(rustdoc::bare_urls, reason = "it is shown by --help, where an address is no link")]
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<HeaderValue>,
    /// How long a stream is watched
    #[arg(long = "for", value_name = "TIME", default_value = "40s", value_parser = time)]
    watch: Duration,
    /// Take less than ten seconds: watch for 8s
    #[arg(long, conflicts_with = "watch")]
    quick: bool,
    /// What sse.heartbeat says
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time)]
    heartbeat: Duration,
    /// Which proxy is in front, where its answers do not say
    #[arg(long, value_enum, value_name = "NAME")]
    proxy: Vec<FrontProxy>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: DaemonArguments,
}

/// How long `--quick` watches.
const QUICK: Duration = Duration::from_secs(8);
/// Longer than anybody waits for a command.
const LONGEST: Duration = Duration::from_secs(3600);

/// A time as an operator writes it: `40s`, `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|bad| bad.to_string())?;
    if time < Duration::from_secs(1) || time > LONGEST {
        return Err("has to be from 1s to 1h".to_owned());
    }
    Ok(time)
}

impl DoctorCommand {
    pub(super) fn run(self) -> ExitCode {
        const NOT_EXAMINED: u8 = 2;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let examined = self.examination().and_then(|examination| {
            let show_progress = !self.json && io::stderr().is_terminal();
            Ok(runtime?.block_on(show::with_progress(show_progress, examination.watch, examination.run())))
        });
        match examined {
            Ok(report) => {
                let text = if self.json { show::json(&report) } else { show::text(&report) };
                match print(text) {
                    ExitCode::SUCCESS => report.exit_code(),
                    failed => failed,
                }
            }
            Err(error) => {
                fail(&error);
                ExitCode::from(NOT_EXAMINED)
            }
        }
    }

    fn examination(&self) -> Result<Examination, Error> {
        let address = PublicAddress::parse(&self.address, &self.path, &self.topic)?;
        let trust = self.daemon.trust();
        let tls = trust.config(&address.authority, &[b"h2", b"http/1.1"])?;
        let token = self.token()?;
        let mut headers: Vec<_> = self.header.iter().flat_map(|headers| headers.0.clone()).collect();
        headers.extend(token.map(|value| (AUTHORIZATION, value)));
        let sends = |name: HeaderName| headers.iter().any(|(sent, _)| *sent == name);
        Ok(Examination {
            sends_authorization: sends(AUTHORIZATION),
            browser: Browser::new(tls, headers, self.origin.clone()),
            verifies: trust.verifies(),
            address,
            watch: if self.quick { QUICK } else { self.watch },
            heartbeat: self.heartbeat,
            origin: self.origin.clone(),
            proxies: self.proxy.clone(),
            publisher: TestPublisher::new(self.daemon.client_with_any_key()?),
        })
    }

    /// As it stands in `Authorization`.
    fn token(&self) -> Result<Option<HeaderValue>, Error> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => {
                std::fs::read_to_string(path).map_err(|error| Error::File(path.clone(), error))?
            }
            (None, None) => return Ok(None),
        };
        let token = token.trim();
        let bare = token.strip_prefix("Bearer ").unwrap_or(token).trim();
        let mut value =
            HeaderValue::from_str(&format!("Bearer {bare}")).map_err(|_| Error::UnsendableToken)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
