//! `sidestream token`: tokens on the command line, judged with the daemon's own configuration and by its own code.

mod explain;
mod mint;
mod verify;

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Subcommand};

use crate::auth::jwt::JwtGate;
use crate::auth::{Denied, Verified};
use crate::cli::error::Error;
use crate::cli::output::{note, note_lines};
use crate::config;
use crate::config::Config;

/// How much is read of what should be a token.
const MAX_INPUT: u64 = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  sidestream token mint --config sidestream.toml --user u1 --topic 'conversation:*' --for 1h
  sidestream token mint --private-key key.pem --key 2026-11 --user u1
  sidestream token verify --config sidestream.toml < token
  pbpaste | sidestream token explain --config sidestream.toml --topic conversation:42

Tokens come on standard input, because everyone on the machine can read the
arguments.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a token, signed with the configured secret or with a private key
    Mint(Box<mint::Mint>),
    /// Say whether a token is good, and whose it is
    Verify(verify::Verify),
    /// Say what a token would be allowed on each configured stream, and why not
    Explain(explain::Explain),
}

impl TokenCommand {
    /// Ends with 0 for a token that is made or good, with 1 otherwise.
    pub(super) fn run(self) -> ExitCode {
        match self.command {
            Command::Mint(mint) => mint.run(),
            Command::Verify(verify) => verify.run(),
            Command::Explain(explain) => explain.run(),
        }
    }
}

/// The configuration as `serve` would read it. Which application is behind it does not matter here.
fn load(path: Option<&Path>) -> Result<Config, ExitCode> {
    let backend = "http://localhost:65535";
    Config::load(path, std::env::vars_os(), Some(backend)).map_err(|bad| {
        note_lines(bad);
        ExitCode::FAILURE
    })
}

/// The token that is given, or the one on standard input.
fn token(given: Option<String>) -> Result<String, Error> {
    let text = match given.filter(|text| text != "-") {
        Some(text) => text,
        None => {
            if io::stdin().is_terminal() {
                note("the token is read from standard input");
            }
            let mut text = String::new();
            io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text).map_err(Error::Input)?;
            if text.len() as u64 > MAX_INPUT {
                return Err(Error::LargeInput { max: MAX_INPUT });
            }
            text
        }
    };
    let text = text.trim();
    Ok(text.strip_prefix("Bearer ").unwrap_or(text).trim().to_owned())
}

/// What the daemon would say of `token`. Fetches the keys where they are at a URL.
fn judge(settings: &config::Auth, token: &str) -> Result<Result<Verified, Denied>, Error> {
    let Some(settings) = &settings.jwt else { return Err(Error::NoJwt) };
    let jwt = JwtGate::new(settings).map_err(|why| Error::NoKeys(why.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        jwt.fetch_keys().await.map_err(|why| Error::NoKeys(why.to_string()))?;
        Ok(jwt.verify_token(token).await)
    })
}

/// A few words for how long it is until `end`.
fn left(end: Option<SystemTime>) -> String {
    match end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()) {
        None => "never ends".to_owned(),
        Some(left) => {
            let whole = std::time::Duration::from_secs(left.as_secs());
            format!("ends in {}", humantime::format_duration(whole))
        }
    }
}
