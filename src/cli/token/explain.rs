//! `sidestream token explain`: what a token would be allowed on each configured stream, and why not.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::auth::{
    ClaimCheck, Denied, GrantedTopics, Verified, allowing, compare_claims, explain_stream, near_misses,
    near_misses_of_publisher, next_step,
};
use crate::cli::error::Error;
use crate::cli::output::{fail, print};
use crate::cli::token::judge::{TokenJudge, Whose, load, token as read_token};
use crate::cli::token::verify::summary;
use crate::config;
use crate::config::Config;
use crate::event::Name;

const EXAMPLES: &str = "\
Examples:
  pbpaste | sidestream token explain --config sidestream.toml
  sidestream token explain --config sidestream.toml --topic conversation:42 < token

For a good token it says what each stream would be, and which claims nearly say
who its holder is; for a refused one why, and the next step. Ends with 1 for a
token that is refused, or that does not open a --topic.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// The token; `-`, or nothing, reads standard input
    token: Option<String>,
    /// The daemon's configuration; without one, the environment (SIDESTREAM_AUTH_JWT_…) alone is read
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A topic: may the token ask for it? May be given several times
    #[arg(long, value_name = "NAME", value_parser = topic)]
    topic: Vec<Name>,
    #[command(flatten)]
    whose: Whose,
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        let config = match load(self.config.as_deref()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        match self.explain(&config) {
            Ok((text, true)) => print(text),
            Ok((text, false)) => {
                print(text);
                ExitCode::FAILURE
            }
            Err(error) => fail(&error),
        }
    }

    /// What is to be said of the token, and whether it is good for all that is asked about.
    fn explain(self, config: &Config) -> Result<(String, bool), Error> {
        let Self { token, config: _, topic, whose } = self;
        let jwt = whose.settings(config)?;
        let token = read_token(token)?;
        Ok(match TokenJudge::new(jwt, &config.outbound)?.verify(&token) {
            Ok(verified) if whose.publisher => of_publisher(whose, jwt, &verified, &topic),
            Ok(verified) => of_good(config, &verified, &topic, &near_misses(whose.section(), jwt, &verified)),
            Err(denied) => (of_bad(whose, jwt, &token, &denied), false),
        })
    }
}

/// Where a publisher with a good token may publish.
fn of_publisher(whose: Whose, jwt: &config::Jwt, verified: &Verified, topics: &[Name]) -> (String, bool) {
    let mut text = format!("the token is good\n{}", summary(verified));
    text.push_str(&hinted(&near_misses_of_publisher(whose.section(), jwt, verified)));
    let mut good = true;
    for topic in topics {
        let _ = match allowing(verified, topic.as_str()) {
            Some(pattern) => writeln!(text, "\n{topic}: may be published to, by {pattern}"),
            None => {
                good = false;
                writeln!(text, "\n{topic}: topic_not_allowed")
            }
        };
    }
    (text, good)
}

/// Hints, a paragraph of their own each.
fn hinted(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("\n{hint}\n")).collect()
}

/// What a good token may, and whether it may ask for all of `topics`.
fn of_good(config: &Config, verified: &Verified, topics: &[Name], hints: &[String]) -> (String, bool) {
    let mut text = format!("the token is good\n{}", summary(verified));
    text.push_str(&hinted(hints));
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
    if explained.opens && explained.outlives_token {
        text.push_str(", and stays open when the token ends");
    }
    for topic in explained.topics {
        let _ = write!(text, "\n  {}: {}", topic.topic, topic.say);
    }
    text
}

/// Why a token is refused, with what it says of itself beside what is accepted, and the next step.
fn of_bad(whose: Whose, jwt: &config::Jwt, token: &str, denied: &Denied) -> String {
    let mut text = format!("the token is refused: {}: {denied}\n", denied.label());
    for ClaimCheck { name, value, accepted } in compare_claims(jwt, token) {
        let _ = match accepted {
            Some(accepted) => writeln!(text, "  {name:<4} {value}; accepted: {accepted}"),
            None => writeln!(text, "  {name}  {value}"),
        };
    }
    text.push_str(&hinted(next_step(whose.section(), jwt, token, denied).as_slice()));
    text
}

fn topic(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|why| format!("it {why}"))
}
