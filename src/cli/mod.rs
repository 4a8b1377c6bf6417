//! The commands, one file each.

mod arguments;
mod check;
mod client;
mod demo;
mod error;
mod key;
mod output;
mod publish;
mod serve;
mod tail;
mod token;

pub use crate::cli::arguments::main;
