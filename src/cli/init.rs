//! `sidestream init`: writes a commented configuration for the application in a folder.
//!
//! Asks nothing, and writes over nothing unless told to. A key goes into a file that its owner alone can read; a secret
//! of the application is named, never read out.

mod configuration;
mod ecosystem;
mod surroundings;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::surroundings::Surroundings;
use crate::cli::error::Error;
use crate::cli::key;
use crate::cli::output::print;
use crate::cli::run::block_on;

const EXAMPLES: &str = "\
Examples:
  sidestream init                      for the application in this folder
  sidestream init --dir ../shop
  sidestream init --output /etc/sidestream/sidestream.toml --force

It looks at what the application is made of (package.json, requirements.txt,
pyproject.toml, manage.py, composer.json, Gemfile, go.mod), where something
listens on this machine (ports 3000, 8000, 8080, 5000), for a Redis on 6379, and
in .env for the name of a secret of tokens (JWT_SECRET and its like). It
connects to nothing but this machine, and changes no file that is there.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitCommand {
    /// The application's folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// The configuration that is written [default: sidestream.toml in that folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a configuration that is there; a key is kept
    #[arg(long)]
    force: bool,
}

/// The name of the file with the key, beside the configuration.
const KEY_FILE: &str = "sidestream.key";

impl InitCommand {
    pub(super) fn run(self) -> ExitCode {
        block_on(async {
            let own = if self.dir == Path::new(".") { PathBuf::new() } else { self.dir.clone() };
            let output = self.output.clone().unwrap_or_else(|| own.join("sidestream.toml"));
            if output.exists() && !self.force {
                return Err(Error::Exists(output));
            }
            let found =
                Surroundings::of(&self.dir).await.map_err(|why| Error::File(self.dir.clone(), why))?;
            let key_file = output.with_file_name(KEY_FILE);
            let made = write_key(&key_file).map_err(|why| Error::NotWritten(key_file.clone(), why))?;
            write_file(&output, &configuration::text(&found, KEY_FILE), self.force)
                .map_err(|why| Error::NotWritten(output.clone(), why))?;
            Ok(print(said(&found, &output, &key_file, made)))
        })
    }
}

/// Writes a new key, readable by its owner alone. Whether there was none.
fn write_key(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file {
        Ok(mut file) => writeln!(file, "{}", key::random().expose()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_file(path: &Path, text: &str, over: bool) -> io::Result<()> {
    let mut file = if over {
        File::create(path)?
    } else {
        OpenOptions::new().write(true).create_new(true).open(path)?
    };
    file.write_all(text.as_bytes())
}

/// What was written, what it is made of, and the next steps.
fn said(found: &Surroundings, output: &Path, key_file: &Path, made: bool) -> String {
    let (config, key) = (output.display().to_string(), key_file.display().to_string());
    let width = config.len().max(key.len());
    let about = if made { "the publish key, readable by you alone" } else { "kept: the publish key" };
    let mut text = format!("{config:<width$}  the configuration\n{key:<width$}  {about}\n\n");
    for line in found.lines() {
        let _ = writeln!(text, "{line}");
    }
    let public = found.public();
    let _ = write!(text, "\nNext:\n");
    if let Some(secret) = &found.secret {
        // A shell looks for a name without a slash in PATH.
        let file = found.folder.join(secret.file).display().to_string();
        let _ = writeln!(text, "  set -a; . {}; set +a", in_shell(&file));
    }
    let config = in_shell(&config);
    let _ = writeln!(text, "  sidestream check --config {config}\n  sidestream serve --config {config}");
    let _ = match &found.secret {
        Some(_) => write!(
            text,
            "  sidestream token mint --config {config} --user u1\n  \
             curl -N 'http://{public}/events?token=…'\n  \
             sidestream publish --config {config} --user u1 '{{\"text\": \"hi\"}}'\n"
        ),
        None => write!(
            text,
            "  sidestream tail 'http://{public}/events?topic=news'\n  \
             sidestream publish --config {config} --topic news '{{\"text\": \"hi\"}}'\n"
        ),
    };
    if let Some(page) = found.ecosystem.as_ref().and_then(|ecosystem| ecosystem.page) {
        let _ = writeln!(text, "\nThe page's and the application's own lines: docs/frameworks/{page}.md");
    }
    if found.keeps_history_without(KEY_FILE) {
        let _ = writeln!(text, "\n{KEY_FILE} does not belong into git: add it to .gitignore");
    }
    text
}

/// A path as a shell takes it for one word.
fn in_shell(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}
