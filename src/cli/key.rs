//! `sidestream key`: publish keys, and the hashes by which a configuration can know them.
//!
//! A key is printed once, on standard output, and read from standard input only: arguments are everybody's to read.

use data_encoding::HEXLOWER;
use std::io::{self, Read as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::auth::key_sha256;
use crate::cli::output::{fail, note, print};
use crate::config::Secret;

/// Longer than any key may be.
const MAX_INPUT: u64 = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  sidestream key new
  sidestream key hash < key-file

The key is for the publisher, the hash for `key_sha256` of an
[[internal.publisher]]: who reads the configuration cannot publish with it.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct KeyCommand {
    #[command(subcommand)]
    does: Does,
}

#[derive(Subcommand, Debug)]
enum Does {
    /// Make a key and its hash
    New,
    /// Print the hash of the key on standard input
    Hash,
}

impl KeyCommand {
    pub(super) fn run(self) -> ExitCode {
        match self.does {
            Does::New => {
                let key = random();
                let (key, hash) = (key.expose(), key_sha256(key.expose()));
                print(format_args!("key        = \"{key}\"\nkey_sha256 = \"{hash}\"\n"))
            }
            Does::Hash => {
                let mut key = String::new();
                if let Err(error) = io::stdin().take(MAX_INPUT).read_to_string(&mut key) {
                    return fail(&error);
                }
                let key = key.strip_suffix('\n').unwrap_or(&key);
                let key = key.strip_suffix('\r').unwrap_or(key);
                if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
                    note("a key is ASCII without spaces, because it travels in a header");
                    return ExitCode::FAILURE;
                }
                print(key_sha256(key) + "\n")
            }
        }
    }
}

/// A key of 160 random bits, in letters and digits that no shell minds.
pub(super) fn random() -> Secret {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    Secret::new(HEXLOWER.encode(&bytes))
}
