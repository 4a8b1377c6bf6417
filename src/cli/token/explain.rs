//! `sidestream token explain`: what a token would be allowed on each configured stream, and why not.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::auth::{ClaimCheck, Denied, GrantedTopics, Verified, allowing, compare_claims, explain_stream};
use crate::cli::output::{fail, print};
use crate::cli::token::judge::{TokenJudge, load, token};
use crate::cli::token::verify::summary;
use crate::config;
use crate::config::Config;
use crate::event::Name;

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The token; `-`, or nothing, reads standard input
    token: Option<String>,
    /// The daemon's configuration; without one, the environment (SIDESTREAM_AUTH_JWT_…) alone is read
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A topic: may the token ask for it? May be given several times
    #[arg(long, value_name = "NAME", value_parser = topic)]
    topic: Vec<Name>,
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        let config = match load(self.config.as_deref()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let token = match token(self.token) {
            Ok(token) => token,
            Err(error) => return fail(&error),
        };
        let judge = match TokenJudge::new(&config.auth) {
            Ok(judge) => judge,
            Err(error) => return fail(&error),
        };
        let (text, good) = match judge.verify(&token) {
            Ok(verified) => of_good(&config, &verified, &self.topic),
            Err(denied) => (of_bad(&config, &token, &denied), false),
        };
        let printed = print(text);
        if good { printed } else { ExitCode::FAILURE }
    }
}

/// What a good token may, and whether it may ask for all of `topics`.
fn of_good(config: &Config, verified: &Verified, topics: &[Name]) -> (String, bool) {
    let mut text = format!("the token is good\n{}", summary(verified));
    for stream in &config.streams {
        let _ = write!(text, "\n{}\n", on(stream, verified));
    }
    let mut good = true;
    for topic in topics {
        let by = allowing(verified, topic.as_str());
        let _ = match (by, &verified.grant.topics) {
            (Some(pattern), _) => writeln!(text, "\n{topic}: may be asked for, by {pattern}"),
            (None, GrantedTopics::Any) => writeln!(text, "\n{topic}: may be asked for"),
            (None, GrantedTopics::Only(_)) => {
                good = false;
                writeln!(text, "\n{topic}: topic_not_granted")
            }
        };
    }
    (text, good)
}

/// What the token may on one stream.
fn on(stream: &config::Stream, verified: &Verified) -> String {
    let explained = explain_stream(stream, verified);
    let mut text = format!("{}: {}", explained.path, explained.verdict);
    for topic in explained.topics {
        let _ = write!(text, "\n  {}: {}", topic.topic, topic.say);
    }
    text
}

/// Why a token is refused, with what it says of itself beside what is accepted.
fn of_bad(config: &Config, token: &str, denied: &Denied) -> String {
    let mut text = format!("the token is refused: {}: {denied}\n", denied.label());
    let checks = config.auth.jwt.as_ref().map(|jwt| compare_claims(jwt, token)).unwrap_or_default();
    for ClaimCheck { name, value, accepted } in checks {
        let _ = match accepted {
            Some(accepted) => writeln!(text, "  {name:<4} {value}; accepted: {accepted}"),
            None => writeln!(text, "  {name}  {value}"),
        };
    }
    text
}

fn topic(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|why| format!("it {why}"))
}
