//! `sidestream token`: tokens on the command line, judged with the daemon's own configuration and by its own code.

mod explain;
mod judge;
mod mint;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  sidestream token mint --config sidestream.toml --user u1 --topic 'conversation:*' --for 1h
  sidestream token mint --private-key key.pem --key 2026-11 --user u1
  sidestream token verify --config sidestream.toml < token
  pbpaste | sidestream token explain --config sidestream.toml --topic conversation:42
  sidestream token mint --publisher --config sidestream.toml --topic 'conversation:*'

Tokens come on standard input, because everyone on the machine can read the
arguments. With --publisher they are those of [internal.publisher_jwt], which
open POST /publish; otherwise those of [auth.jwt], which open streams.";

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
