//! `sidestream check`: reads a configuration as `serve` would, and says what is wrong with it or what it comes to.
//!
//! Starts nothing and connects to nothing; shows no secret.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::{note_lines, print};
use crate::config::{
    Capture, CaptureAuth, CheckedConfig, CommandLine, Config, ListenAddress, OnDisconnect, Public, Stream,
    StreamAuth, listed,
};
use crate::event::Template;

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The configuration file; without one, the environment (SIDESTREAM_…) alone is checked
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The application behind the daemon, as `serve` would be given it
    #[arg(long, value_name = "URL")]
    backend: Option<String>,
}

impl Check {
    /// Ends with 0 for a sound configuration, and with 1 for one that `serve` would refuse.
    pub(super) fn run(self) -> ExitCode {
        let line = CommandLine { backend: self.backend, ..CommandLine::default() };
        match Config::load_to_serve(self.config.as_deref(), std::env::vars_os(), &line) {
            Ok(checked) => {
                let by = if checked.listens_at_port() { " (from the variable PORT)" } else { "" };
                let CheckedConfig { config, warnings, in_force: _ } = checked;
                let name = self.config.map_or("environment".to_owned(), |path| path.display().to_string());
                let mut text = format!("{name}: ok\n{}", summary(&config, by));
                for warning in warnings {
                    let _ = write!(text, "\n{warning}");
                }
                print(format_args!("{text}"))
            }
            Err(bad) => {
                note_lines(bad);
                ExitCode::FAILURE
            }
        }
    }
}

/// What the configuration comes to, in a few lines.
fn summary(config: &Config, public_by: &str) -> String {
    let tls = if config.public.tls.is_some() { " over TLS" } else { "" };
    let Public { listen, backend, .. } = &config.public;
    let mut lines = format!("  public    {}{public_by}{tls} in front of {backend}\n", listed(listen));
    let keys = match config.internal.publish_keys.len() {
        0 if !config.internal.publishers.is_empty() => "no publish key for everything".to_owned(),
        0 => "no publish key: nobody may publish over HTTP".to_owned(),
        1 => "1 publish key".to_owned(),
        many => format!("{many} publish keys"),
    };
    let tls = config.internal.tls.is_some();
    let over = if tls { " over TLS" } else { "" };
    let _ = writeln!(lines, "  internal  {}{over}, {keys}", listed(&config.internal.listen));
    let _ = match (config.dashboard.keys.len(), config.dashboard.read_keys.len()) {
        (0, 0) => Ok(()),
        (act, read) => {
            let places: Vec<String> =
                config.internal.listen.iter().map(|address| page(address, tls)).collect();
            writeln!(lines, "  dashboard {}, {act} to act and {read} to look", places.join(", "))
        }
    };
    for publisher in &config.internal.publishers {
        let people = [
            (publisher.users, "users"),
            (publisher.sessions, "sessions"),
            (publisher.clients, "clients"),
            (publisher.broadcast, "broadcast"),
        ];
        let topics = publisher.topics.iter().map(|topic| topic.as_str());
        let topics: Vec<&str> =
            topics.chain(people.iter().filter(|(may, _)| *may).map(|(_, word)| *word)).collect();
        let _ = writeln!(lines, "  publisher {}: {}", publisher.name, topics.join(", "));
    }
    let shared = config.redis.as_ref().is_some_and(|redis| redis.stream.is_some());
    lines.extend(config.streams.iter().map(|stream| heard(stream, shared)));
    lines.extend(config.captures.iter().map(|capture| captured(capture, shared)));
    if let Some(jwt) = &config.auth.jwt {
        let keys = match jwt.keys.len() {
            1 => "1 key".to_owned(),
            many => format!("{many} keys"),
        };
        let fetched =
            jwt.jwks.as_ref().map(|jwks| format!(", keys from {}", jwks.source)).unwrap_or_default();
        let _ = writeln!(lines, "  tokens    {keys}{fetched}");
    }
    if !config.cors.origins.is_empty() {
        let origins: Vec<&str> = config.cors.origins.iter().map(|origin| origin.as_str()).collect();
        let with = if config.cors.credentials { ", with credentials" } else { "" };
        let _ = writeln!(lines, "  cors      {}{with}", origins.join(", "));
    }
    let _ = match &config.redis {
        Some(redis) => {
            let mut mapped: Vec<&str> =
                redis.channels.iter().map(|channel| channel.pattern.as_str()).collect();
            let mut seen = HashSet::new();
            mapped.retain(|pattern| seen.insert(*pattern));
            let own = format!("{0}, {0}:topic:*", redis.prefix);
            let channels = [&[own.as_str()], mapped.as_slice()].concat().join(", ");
            writeln!(lines, "  redis     {}, channels {channels}", redis.place())
        }
        None => writeln!(lines, "  redis     none"),
    };
    for webhook in &config.webhooks {
        let events: Vec<&str> = webhook.events.iter().map(|event| event.as_str()).collect();
        let _ = writeln!(lines, "  webhook   {} at {}: {}", webhook.name, webhook.url, events.join(", "));
    }
    lines
}

/// Where a page of the listener is.
fn page(address: &ListenAddress, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    match address {
        ListenAddress::Tcp(address) => format!("{scheme}://{address}/"),
        ListenAddress::Unix(_) => address.to_string(),
    }
}

/// What streams of a route are, in a line. `shared`: the instances have one log.
fn heard(stream: &Stream, shared: bool) -> String {
    let topics: Vec<&str> = stream.heard().iter().map(|topic| topic.as_str()).collect();
    let topics = if topics.is_empty() { "no topics".to_owned() } else { topics.join(", ") };
    let auth = match stream.auth {
        StreamAuth::None => "",
        StreamAuth::Jwt => ", for tokens",
        StreamAuth::Backend => ", for callers that the application lets in",
        StreamAuth::Ticket => ", for tickets",
        StreamAuth::Signed => ", for signed names",
    };
    if !stream.source.is_upstream() {
        return format!("  stream    {}{auth}: {topics}\n", stream.path);
    }
    let also = if stream.source.with_topics { format!("; also {topics}") } else { String::new() };
    let refresh = refreshed(&stream.refresh_on);
    format!("  stream    {}{auth}: {}{refresh}{also}\n", stream.path, stream.source.sentence(shared))
}

/// What makes the answers of a polled route be asked for before their time.
fn refreshed(topics: &[Template]) -> String {
    let topics: Vec<&str> = topics.iter().map(Template::as_str).collect();
    if topics.is_empty() {
        String::new()
    } else {
        format!(", at once when {} is published to", topics.join(", "))
    }
}

/// What happens to answers on a captured path, in a line. `shared` as above.
fn captured(capture: &Capture, shared: bool) -> String {
    let methods: Vec<&str> = capture.methods.iter().map(|method| method.as_str()).collect();
    let (methods, path, types) = (methods.join(", "), &capture.path, capture.types.join(", "));
    let identities = capture.identities();
    let names: Vec<&str> = identities.iter().map(|template| template.as_str()).collect();
    let names = if names.is_empty() { String::new() } else { format!(" or {}", names.join(" or ")) };
    let at = capture.resumed_at().map(|path| format!(" or at {path}")).unwrap_or_default();
    let owner = match capture.auth {
        CaptureAuth::Credentials => "who shows the same credentials",
        CaptureAuth::Jwt => "the same user by token",
        CaptureAuth::Backend => "the same user as the application says",
    };
    let time = |time| humantime::format_duration(time);
    let left = match capture.on_disconnect {
        OnDisconnect::Drain => format!("is read on for {}", time(capture.drain_for)),
        OnDisconnect::Cancel => "is cancelled at once".to_owned(),
        OnDisconnect::Shield => "is read to its end".to_owned(),
    };
    let keep = time(capture.keep);
    let everywhere = if shared { ", in Redis for all instances" } else { "" };
    let ids = if capture.adds_ids() { ", with ids added" } else { "" };
    format!(
        "  capture   {methods} {path}: answers of {types} are recorded{ids}, and {owner} finds them by ?stream={names}{at}; one that \
         nobody reads {left}; kept for {keep} after its end{everywhere}\n"
    )
}
