//! The arguments: which command is run.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::{check, demo, key, publish, serve, tail, token};

const EXAMPLES: &str = "\
Examples:
  sidestream demo                                    try it out
  sidestream serve --backend http://127.0.0.1:3000   in front of an application
  sidestream check --config sidestream.toml          is this configuration sound?
  sidestream serve --config sidestream.toml
  sidestream tail 'http://127.0.0.1:8080/events?topic=a'
  sidestream publish --topic a '{\"text\": \"hi\"}'

Configuration: a TOML file that --config names; config.example.toml has every
key with its default. Each key is a variable SIDESTREAM_SECTION_KEY too.
README.md begins at the beginning, docs/ARCHITECTURE.md says how it works.";

/// Real-time push for an existing web backend
///
/// One daemon in front of the application: it passes ordinary HTTP on, holds the event streams (SSE) itself, and sends
/// to them what the application publishes, by POST /publish or over Redis channels.
#[derive(Parser, Debug)]
#[command(name = "sidestream", version, max_term_width = 100, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon
    Serve(serve::ServeCommand),
    /// Try it out: the daemon, a small backend and a page, with nothing to set up
    Demo(demo::Demo),
    /// Say whether a configuration is sound: every error of it, or what it comes to
    Check(check::Check),
    /// Publish events to a running daemon
    Publish(Box<publish::PublishCommand>),
    /// Follow an event stream
    Tail(tail::TailCommand),
    /// Make publish keys, and the hashes by which a configuration can know them
    Key(key::KeyCommand),
    /// Make tokens, verify them, and say what they open
    Token(token::TokenCommand),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Demo(demo) => demo.run(),
        Command::Publish(publish) => publish.run(),
        Command::Tail(tail) => tail.run(),
        Command::Token(token) => token.run(),
        Command::Check(check) => check.run(),
        Command::Key(key) => key.run(),
    }
}
