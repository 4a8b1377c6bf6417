//! The log's set-up: lines on standard error that never hold up the daemon.

use std::io;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::telemetry::lines;
use crate::telemetry::lines::LineKind;
use crate::telemetry::log_writer::LogWriter;

/// The writer of this process's log.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// What of it is written.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BadLogging {
    #[error("the log level is not a filter: {0}")]
    Filter(#[from] ParseError),
    #[error("the thread that writes the log could not be started: {0}")]
    Thread(#[from] io::Error),
}

/// Reads a level, or levels by target, such as `info,sidestream::proxy=debug`. Of the targets that an event's own
/// target begins with, the longest decides.
pub fn log_filter(text: &str) -> Result<Targets, ParseError> {
    text.split(',').map(str::trim).collect::<Vec<_>>().join(",").parse()
}

/// Sends the log to standard error, as text or as one JSON object a line, by a thread of its own: code that logs never
/// waits and never fails. Lines that standard error does not take are counted in
/// `sidestream_log_lines_lost_total`, and a line says how many were lost when it takes lines again. A panic is a line
/// of the log too. Lines of the kinds `shown` are there whatever the filter's level.
pub fn install_log(json: bool, filter: &str, shown: &[LineKind]) -> Result<(), BadLogging> {
    let filter = quiet_filter(filter, shown)?;
    let writer = LogWriter::start(io::stderr())?;
    // A log that is already there (a second daemon in one process) stays.
    if WRITER.set(writer.clone()).is_err() {
        return Ok(());
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        // A failed write would be reported to the same standard error, by a macro that panics.
        .log_internal_errors(false)
        .with_target(true);
    let (filter, handle) = reload::Layer::new(filter);
    let _ = FILTER.set(handle);
    let filtered = tracing_subscriber::registry().with(filter);
    let _ = if json {
        filtered.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        filtered.with(lines.with_ansi(false)).try_init()
    };
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Writes from now on what `filter` lets through, and lines of the kinds `shown`. Of a log that is not ours nothing is
/// changed.
pub fn set_log_filter(filter: &str, shown: &[LineKind]) -> Result<(), ParseError> {
    let filter = quiet_filter(filter, shown)?;
    if let Some(handle) = FILTER.get() {
        let _ = handle.reload(filter);
    }
    Ok(())
}

/// A peer can cause lines of h2 at will, one a frame. They are there only if the operator names them.
fn quiet_filter(filter: &str, shown: &[LineKind]) -> Result<Targets, ParseError> {
    let filter = lines::show(shown, filter);
    if filter.contains("h2=") { log_filter(&filter) } else { log_filter(&format!("{filter},h2=error")) }
}

/// Waits until all lines so far are written, at the longest `limit`. To be called before the process ends.
pub fn flush_log(limit: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.flush(limit);
    }
}

/// The default hook writes to standard error itself, and waits as long as nobody reads it.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(place, thread, %backtrace, "panicked: {text}");
    // What follows may end the process.
    flush_log(Duration::from_millis(200));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_longest_target_of_a_filter_decides() {
        let filter =
            log_filter("info, sidestream::proxy=debug,sidestream::proxy::pool=off").expect("a filter");
        assert!(filter.would_enable("hyper", &Level::INFO));
        assert!(!filter.would_enable("sidestream::app", &Level::DEBUG));
        assert!(filter.would_enable("sidestream::proxy::link", &Level::DEBUG));
        assert!(!filter.would_enable("sidestream::proxy::pool", &Level::ERROR));
    }
}
