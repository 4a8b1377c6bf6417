//! `sidestream completions`: what a shell needs to complete the commands and their options.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::cli::output::print;

const EXAMPLES: &str = "\
Examples:
  source <(sidestream completions bash)
  sidestream completions bash > /usr/share/bash-completion/completions/sidestream
  sidestream completions zsh > ~/.zfunc/_sidestream
  sidestream completions fish > ~/.config/fish/completions/sidestream.fish

Packages install them already.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsCommand {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsCommand {
    /// `root` has every command and option.
    pub(super) fn run(self, mut root: clap::Command) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root, "sidestream", &mut script);
        print(String::from_utf8_lossy(&script))
    }
}
