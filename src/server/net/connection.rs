//! What the connections of both listeners share.

use std::error::Error;
use std::fmt;

use metrics::Gauge;

use crate::telemetry::HTTP_PARSER_REFUSED;

/// Counts an open connection until it is dropped.
pub(in crate::server) struct OpenConnection<'a>(&'a Gauge);

impl<'a> OpenConnection<'a> {
    pub(in crate::server) fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// An error and its causes in one line.
pub(in crate::server) struct ErrorChain<'a>(pub(in crate::server) &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Counts a connection's end for a request that is no HTTP; None when it ended otherwise.
pub(in crate::server) fn count_unreadable(
    listener: &'static str,
    error: &hyper::Error,
) -> Option<&'static str> {
    let reason = match error {
        error if error.is_parse_too_large() => return Some(count_large_head(listener)),
        error if error.is_parse() => "malformed",
        _ => return None,
    };
    metrics::counter!(HTTP_PARSER_REFUSED, "listener" => listener, "reason" => reason).increment(1);
    Some(reason)
}

/// Counts a request whose head is larger than `public.max_head`; gives the metric's word for it.
pub(in crate::server) fn count_large_head(listener: &'static str) -> &'static str {
    let reason = "head_too_large";
    metrics::counter!(HTTP_PARSER_REFUSED, "listener" => listener, "reason" => reason).increment(1);
    reason
}
