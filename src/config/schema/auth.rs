//! `[auth]`

use std::time::Duration;

use crate::config::parsers::{claim_name, time, time_or_zero, whole, word};
use crate::config::schema::auth_backend::AuthBackend;
use crate::config::schema::auth_ticket::AuthTicket;
use crate::config::schema::jwt::Jwt;
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, HOUR, SECOND};

/// What a caller reads who is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusals {
    /// The reason, and the topic that it was about.
    Explained,
    /// That it is so.
    Terse,
}

section! {
    /// Who may open a stream. Each way to verify a caller is a section below it.
    pub struct Auth {
        /// What a caller reads who is not let in: "explained" (the reason, and the topic) or "terse". The log has the
        /// reason anyhow.
        refusals: Refusals = value(
            "explained",
            word([("explained", Refusals::Explained), ("terse", Refusals::Terse)])
        );
        /// So long before its grant ends a stream gets the event token_expired, so that its page can fetch a new token
        /// and present it; at the latest when half of the time is over. 0 = none.
        warn_before: Duration = value("30s", time_or_zero(SECOND..=HOUR));
        /// For how long `POST /revoke` keeps callers out, where the request does not say so itself.
        revoke_for: Duration = value("1h", time(SECOND..=30 * DAY));
        /// How many revocations are kept; one more is refused with 503.
        max_revocations: usize = value(100000, whole(1..=10_000_000));
        /// The claim (of a token, a ticket, or the application's answer) that lists the topics which a page may publish
        /// to where `page_publish` of its `[[stream]]` lets it, of those that it may hear: `["room:*"]`, one text with
        /// spaces between them, or true for all of them.
        publish_claim: String = value("publish", claim_name);
        /// Tokens of callers.
        jwt: Option<Jwt> = optional_section("auth.jwt", Jwt::read);
        /// The application is asked.
        backend: Option<AuthBackend> = optional_section("auth.backend", AuthBackend::read);
        /// Tickets that the application asks for.
        ticket: Option<AuthTicket> = optional_section("auth.ticket", AuthTicket::read);
    }
}
