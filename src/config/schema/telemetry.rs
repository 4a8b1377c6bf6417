//! `[telemetry]`

use crate::config::parsers::{log_level, word, yes_or_no};
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
        /// A line at level info, instead of debug, for each stream that opens and each that closes.
        log_streams: bool = value(false, yes_or_no);
        /// A line at level info for each request to the public listener that is answered and not a stream.
        log_requests: bool = value(false, yes_or_no);
        /// A line at level info, instead of debug, for each event that is published, and for what became of it on each
        /// instance.
        log_publishes: bool = value(false, yes_or_no);
    }
}
