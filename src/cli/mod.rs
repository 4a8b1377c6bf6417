//! The commands, one file each.

mod check;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Real-time push for an existing web backend: forwards ordinary HTTP, answers event streams itself.
#[derive(Parser, Debug)]
#[command(name = "sidestream", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon
    Serve(serve::Serve),
    /// Say whether a configuration is sound: every error of it, or what it comes to
    Check(check::Check),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
    }
}

/// Says an error and its causes on standard error, in one line.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    eprintln!("sidestream: {text}");
    ExitCode::FAILURE
}
