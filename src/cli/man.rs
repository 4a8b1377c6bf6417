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
  sidestream man serve | man -l -
  sidestream man --out /usr/share/man/man1

Packages install them already.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManCommand {
    /// The command whose page is printed; without one, the page of all
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,
    /// Write every page into this folder, which is made if need be: sidestream.1, sidestream-serve.1 and so on
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl ManCommand {
    /// `root` has every command and option.
    pub(super) fn run(self, mut root: clap::Command) -> ExitCode {
        // Names of subcommands become `sidestream-serve`, as pages are called.
        root.build();
        let done = match (&self.out, &self.command) {
            (Some(folder), _) => write_all(&root, folder).map(|()| ExitCode::SUCCESS),
            (None, Some(name)) => match root.find_subcommand(name) {
                Some(command) => page(command).map(print),
                None => Err(Error::NoCommand(name.clone())),
            },
            (None, None) => page(&root).map(print),
        };
        done.unwrap_or_else(|error| fail(&error))
    }
}

fn page(command: &clap::Command) -> Result<String, Error> {
    let mut text = Vec::new();
    let source = concat!("sidestream ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).render(&mut text).map_err(Error::Output)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write_all(root: &clap::Command, folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|why| Error::NotWritten(folder.to_owned(), why))?;
    let pages =
        std::iter::once(root).chain(root.get_subcommands().filter(|command| command.get_name() != "help"));
    for command in pages {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page(command)?).map_err(|why| Error::NotWritten(path.clone(), why))?;
    }
    Ok(())
}
