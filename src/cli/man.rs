//! `sidestream man`: the manual's pages, made of the same texts as `--help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_mangen::Man;

use crate::cli::error::Error;
use crate::cli::output::{fail, print};

const EXAMPLES: &str = "\
Examples:
  sidestream man | man -l -
  sidestream man token mint | man -l -
  sidestream man --out /usr/share/man/man1

Packages install them already.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManCommand {
    /// The command whose page is printed, word by word; without one, the page of all
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write every page into this folder, which is made if need be: sidestream.1, sidestream-serve.1 and so on
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl ManCommand {
    /// `root` has every command and option.
    pub(super) fn run(self, mut root: clap::Command) -> ExitCode {
        // Names of subcommands become `sidestream-serve`, as pages are called.
        root.build();
        let done = match &self.out {
            Some(folder) => std::fs::create_dir_all(folder)
                .map_err(|why| Error::NotWritten(folder.clone(), why))
                .and_then(|()| write_all(&root, folder))
                .map(|()| ExitCode::SUCCESS),
            None => self.find(&root).and_then(page).map(print),
        };
        done.unwrap_or_else(|error| fail(&error))
    }

    fn find<'c>(&self, root: &'c clap::Command) -> Result<&'c clap::Command, Error> {
        self.command.iter().try_fold(root, |command, word| {
            command.find_subcommand(word).ok_or_else(|| Error::NoCommand(self.command.join(" ")))
        })
    }
}

fn page(command: &clap::Command) -> Result<String, Error> {
    let mut text = Vec::new();
    let source = concat!("sidestream ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).render(&mut text).map_err(Error::Output)?;
    Ok(with_examples(&String::from_utf8_lossy(&text)))
}

/// The page with its examples as they stand, line by line, rather than as a paragraph.
fn with_examples(page: &str) -> String {
    let Some((before, extra)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (examples, behind) = match extra.split_once("\n.SH ") {
        Some((examples, behind)) => (examples, format!("\n.SH {behind}")),
        None => (extra.trim_end_matches('\n'), "\n".to_owned()),
    };
    format!("{before}.SH EXAMPLES\n.nf\n{examples}\n.fi{behind}")
}

/// Writes the pages of `command` and of all below it.
fn write_all(command: &clap::Command, folder: &Path) -> Result<(), Error> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?).map_err(|why| Error::NotWritten(path.clone(), why))?;
    let mut below = command.get_subcommands().filter(|below| below.get_name() != "help");
    below.try_for_each(|below| write_all(below, folder))
}
