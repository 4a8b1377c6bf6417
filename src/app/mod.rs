//! The whole daemon: the only room that sees every other. Bind, build, start, stop.

mod adapters;
mod parts;
mod running;
mod serving;
mod settings;
mod stop;
mod watchdog;

pub use crate::app::running::App;
