//! `[cors]`

use std::time::Duration;

use http::HeaderName;

use crate::config::origin::OriginPattern;
use crate::config::parsers::{header_name, origin, time_or_zero, yes_or_no};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, SECOND};
use crate::config::section_reader::SectionReader;

section! {
    /// Which web pages of other origins may open the streams and read them (CORS). What the backend answers is its own
    /// affair.
    pub struct Cors checked by check {
        /// Their origins, each in full: "https://app.example", "http://localhost:5173". A "*" in the first part of a
        /// name stands for any text without dots: "https://*.app.example", "https://pr-*.app.example". "null" is for
        /// pages that have none, and "*" alone for every page.
        origins: Vec<OriginPattern> = list([], origin);
        /// Whether they may do so with cookies (`withCredentials`); not with "*" or "null".
        credentials: bool = value(false, yes_or_no);
        /// Names of headers that they may send; empty = whatever they ask for.
        headers: Vec<HeaderName> = list([], header_name);
        /// How long a browser may keep the answer to a preflight; 0 = not at all.
        max_age: Duration = value("10m", time_or_zero(SECOND..=DAY));
    }
}

fn check(cors: &Cors, s: &mut SectionReader<'_, '_>) {
    // Any page can make itself one without an origin, by a sandboxed frame.
    if cors.credentials && cors.origins.iter().any(|one| one.is_any() || one.as_str() == "null") {
        s.report(
            &["origins", "credentials"],
            "`origins` has every page (\"*\", or \"null\"), which `credentials` cannot be given to",
            Some("name each origin: origins = [\"https://app.example\"]".to_owned()),
        );
    }
}
