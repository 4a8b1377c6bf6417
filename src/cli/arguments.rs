//! What the command line may say: every command, and which of them runs.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::cli::{
    check, completions, connections, demo, doctor, health, init, key, kick, man, presence, publish, reload,
    retract, revoke, serve, status, tail, token, version,
};

const EXAMPLES: &str = "\
Examples:
  sidestream demo                                    try it out
  sidestream --backend http://127.0.0.1:3000         in front of an application
  sidestream check --config sidestream.toml          is this configuration sound?
  sidestream serve --config sidestream.toml
  sidestream tail 'http://127.0.0.1:8080/events?topic=a'
  sidestream publish --topic a '{\"text\": \"hi\"}'
  sidestream doctor https://app.example              what is in the way of streams?

Configuration: a TOML file that --config names; config.example.toml has every
key with its default. Each key is a variable SIDESTREAM_SECTION_KEY too.
README.md begins at the beginning, docs/commands.md has every command.";

/// Real-time push for an existing web backend
///
/// One daemon in front of the application: it passes ordinary HTTP on, holds the event streams (SSE) itself, and sends
/// to them what the application publishes, by POST /publish or over Redis channels.
#[derive(Parser, Debug)]
#[command(
    name = "sidestream",
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    override_usage = "sidestream <COMMAND>\n       sidestream --backend <URL> [OPTIONS]"
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten, next_help_heading = "Without a command, as for `serve`")]
    serve: serve::ServeOptions,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon
    Serve(serve::ServeCommand),
    /// Write a commented configuration for the application in this folder
    Init(init::InitCommand),
    /// Try it out: the daemon, a small backend and a page, with nothing to set up
    Demo(demo::Demo),
    /// Say whether a configuration is sound: every error of it, or what it comes to
    Check(check::Check),
    /// Publish events to a running daemon
    Publish(Box<publish::PublishCommand>),
    /// Follow an event stream
    Tail(tail::TailCommand),
    /// Say what stands between a public address and its streams
    Doctor(Box<doctor::DoctorCommand>),
    /// Show how a running daemon is, on one screen
    Status(Box<status::StatusCommand>),
    /// Say whether a daemon is alive or ready, for containers and scripts
    Health(Box<health::HealthCommand>),
    /// List the open streams of all instances
    Connections(Box<connections::ConnectionsCommand>),
    /// Close streams, and keep their clients away if asked to
    Kick(Box<kick::KickCommand>),
    /// Take grants back: their streams end, and requests with them are refused
    Revoke(Box<revoke::RevokeCommand>),
    /// Take back an event, or all that is kept of a topic
    Retract(Box<retract::RetractCommand>),
    /// Let a running daemon read its configuration anew
    Reload(Box<reload::ReloadCommand>),
    /// Say who is online, on all instances
    Presence(Box<presence::PresenceCommand>),
    /// Make publish keys, and the hashes by which a configuration can know them
    Key(key::KeyCommand),
    /// Make tokens, verify them, and say what they open
    Token(token::TokenCommand),
    /// Print what a shell needs to complete these commands
    Completions(completions::CompletionsCommand),
    /// Print the manual's pages
    Man(man::ManCommand),
    /// Say which build this is
    Version(version::VersionCommand),
}

/// Runs the command that the arguments name, or `serve` where they name none.
pub fn main() -> ExitCode {
    let Arguments { command, serve } = Arguments::parse();
    match command {
        None => serve.run(),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Init(init)) => init.run(),
        Some(Command::Demo(demo)) => demo.run(),
        Some(Command::Publish(publish)) => publish.run(),
        Some(Command::Tail(tail)) => tail.run(),
        Some(Command::Doctor(doctor)) => doctor.run(),
        Some(Command::Status(status)) => status.run(),
        Some(Command::Health(health)) => health.run(),
        Some(Command::Connections(connections)) => connections.run(),
        Some(Command::Kick(kick)) => kick.run(),
        Some(Command::Revoke(revoke)) => revoke.run(),
        Some(Command::Retract(retract)) => retract.run(),
        Some(Command::Reload(reload)) => reload.run(),
        Some(Command::Presence(presence)) => presence.run(),
        Some(Command::Token(token)) => token.run(),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Key(key)) => key.run(),
        Some(Command::Completions(completions)) => completions.run(Arguments::command()),
        Some(Command::Man(man)) => man.run(Arguments::command()),
        Some(Command::Version(version)) => version.run(),
    }
}
