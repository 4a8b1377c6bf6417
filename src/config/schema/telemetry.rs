//! `[telemetry]`

use crate::config::parsers::{log_level, word};
use crate::config::schema::table::section;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

section! {
    /// The daemon's own log, on standard error.
    pub struct Telemetry {
        /// "text" or "json".
        log_format: LogFormat = value("text", word([("text", LogFormat::Text), ("json", LogFormat::Json)]));
        /// "error", "warn", "info", "debug" or "trace", or a filter such as "info,sidestream::proxy=debug".
        log_level: String = value("info", log_level);
    }
}
