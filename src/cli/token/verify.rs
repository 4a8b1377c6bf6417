//! `sidestream token verify`: whether the daemon would take a token, and for whose.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;

use crate::auth::{GrantedTopics, Verified};
use crate::cli::output::{fail, print};
use crate::cli::token::judge::{TokenJudge, Whose, left, load, token};

const EXAMPLES: &str = "\
Examples:
  sidestream token verify --config sidestream.toml < token

Ends with 0 for a good token, with 1 for any other. `sidestream token explain`
says more.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// The token; `-`, or nothing, reads standard input
    token: Option<String>,
    /// The daemon's configuration; without one, the environment (SIDESTREAM_AUTH_JWT_…) alone is read
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    whose: Whose,
}

impl Verify {
    pub(super) fn run(self) -> ExitCode {
        let config = match load(self.config.as_deref()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let judge = token(self.token)
            .and_then(|token| Ok((TokenJudge::new(self.whose.settings(&config)?, &config.outbound)?, token)));
        let (judge, token) = match judge {
            Ok(both) => both,
            Err(error) => return fail(&error),
        };
        match judge.verify(&token) {
            Ok(verified) => print(format_args!("ok\n{}", summary(&verified))),
            Err(denied) => {
                print(format_args!("{}: {denied}\n", denied.label()));
                ExitCode::FAILURE
            }
        }
    }
}

/// Whose it is, in a few lines.
pub(super) fn summary(verified: &Verified) -> String {
    let grant = &verified.grant;
    let mut lines = String::new();
    for (what, name) in [("user", &grant.user), ("session", &grant.session), ("id", &grant.token)] {
        if let Some(name) = name {
            let _ = writeln!(lines, "  {what:<8} {name}");
        }
    }
    let topics = match &grant.topics {
        GrantedTopics::Any => "all".to_owned(),
        GrantedTopics::Only(patterns) if patterns.is_empty() => {
            "none but those that a stream gives to everybody".to_owned()
        }
        GrantedTopics::Only(patterns) => {
            patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    };
    let _ = writeln!(lines, "  {:<8} {topics}", "topics");
    let _ = writeln!(lines, "  {:<8} {}", "time", left(own_end(verified)));
    lines
}

/// When the token itself ends: its streams go on for `leeway` longer.
fn own_end(verified: &Verified) -> Option<SystemTime> {
    let seconds = verified.claims.get("exp").and_then(Value::as_f64);
    let own = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let own = own.and_then(|own| SystemTime::UNIX_EPOCH.checked_add(own));
    verified.grant.until.map(|until| own.map_or(until, |own| own.min(until)))
}
