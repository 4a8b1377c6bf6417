//! What the commands about tokens have in common: the configuration, the token, and the verdict of the daemon's own
//! code.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use crate::auth::jwt::JwtGate;
use crate::auth::{Denied, Verified};
use crate::cli::error::Error;
use crate::cli::output::{note, note_lines};
use crate::config;
use crate::config::Config;

/// How much is read of what should be a token.
const MAX_INPUT: u64 = 64 << 10;

/// Whose tokens are meant.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Whose {
    /// A publisher's token, for POST /publish, by [internal.publisher_jwt]
    #[arg(long)]
    pub(super) publisher: bool,
}

impl Whose {
    /// The section of the configuration that such tokens are judged by.
    pub(super) fn section(self) -> &'static str {
        if self.publisher { "internal.publisher_jwt" } else { "auth.jwt" }
    }

    pub(super) fn settings(self, config: &Config) -> Result<&config::Jwt, Error> {
        let settings = if self.publisher { &config.internal.publisher_jwt } else { &config.auth.jwt };
        settings.as_ref().ok_or(Error::NoJwt(self.section()))
    }
}

/// The configuration as `serve` would read it. Which application is behind it does not matter here.
pub(super) fn load(path: Option<&Path>) -> Result<Config, ExitCode> {
    let backend = "http://localhost:65535";
    Config::load(path, std::env::vars_os(), Some(backend)).map_err(|bad| {
        note_lines(bad);
        ExitCode::FAILURE
    })
}

/// The token that is given, or the one on standard input.
pub(super) fn token(given: Option<String>) -> Result<String, Error> {
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

/// What the daemon verifies tokens with.
pub(super) struct TokenJudge {
    jwt: JwtGate,
    runtime: tokio::runtime::Runtime,
}

impl TokenJudge {
    /// Fetches the keys where they are at a URL.
    pub(super) fn new(settings: &config::Jwt, outbound: &config::Outbound) -> Result<Self, Error> {
        let jwt = JwtGate::new(settings, outbound).map_err(|why| Error::NoKeys(why.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(jwt.fetch_keys()).map_err(|why| Error::NoKeys(why.to_string()))?;
        Ok(Self { jwt, runtime })
    }

    /// What the daemon would say of `token`.
    pub(super) fn verify(&self, token: &str) -> Result<Verified, Denied> {
        self.runtime.block_on(self.jwt.verify_token(token))
    }
}

/// A few words for how long it is until `end`.
pub(super) fn left(end: Option<SystemTime>) -> String {
    match end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default()) {
        None => "never ends".to_owned(),
        Some(left) => {
            let whole = std::time::Duration::from_secs(left.as_secs());
            format!("ends in {}", humantime::format_duration(whole))
        }
    }
}
