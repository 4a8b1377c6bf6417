//! The whole daemon: the only room that sees every other. Bind, build, start, stop.

mod adapters;
mod base;
mod generation;
mod parts;
mod reload;
mod running;
mod running_config;
mod serving;
mod settings;
mod spans;
mod stop;
mod watchdog;

pub use crate::app::reload::ConfigSource;
pub use crate::app::running::App;
pub use crate::app::settings::shown_lines;
