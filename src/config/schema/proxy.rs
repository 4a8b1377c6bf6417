//! `[proxy]`

use std::time::Duration;

use crate::config::parsers::{time, time_or_zero, whole, yes_or_no};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, HOUR, MILLIS};

section! {
    /// How requests go on to the backend.
    pub struct Proxy {
        /// How long connecting to the backend may take.
        connect_timeout: Duration = value("5s", time(MILLIS(10)..=HOUR));
        /// How long the backend may take from the last of a request to the head of its answer, and a client may pause in
        /// its body.
        head_timeout: Duration = value("60s", time(MILLIS(10)..=DAY));
        /// How long an idle connection to the backend is kept; choose less than the backend's own keep-alive.
        idle_timeout: Duration = value("30s", time(MILLIS(10)..=DAY));
        /// How long a connection to the backend is used again at all, so that a name's new address is followed; 0 = for as
        /// long as it is not idle for too long.
        max_age: Duration = value("5m", time_or_zero(MILLIS(10)..=DAY));
        /// Whether header names keep their capital letters (HTTP/1), for servers and clients that compare them letter by
        /// letter; otherwise they are written in lower case. It costs some time for each request.
        keep_header_case: bool = value(false, yes_or_no);
        /// How many idle connections to the backend are kept.
        max_idle: usize = value(256, whole(0..=1_000_000));
    }
}
