//! The commands, one file each.

mod arguments;
mod check;
mod client;
mod completions;
mod connections;
mod daemon;
mod demo;
mod doctor;
mod error;
mod health;
mod init;
mod key;
mod kick;
mod man;
mod output;
mod presence;
mod publish;
mod reload;
mod retract;
mod revoke;
mod run;
mod serve;
mod status;
mod table;
mod tail;
mod token;
mod url;
mod version;

pub use crate::cli::arguments::main;
