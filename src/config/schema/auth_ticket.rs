//! `[auth.ticket]`: tickets that the application asks for and its page redeems.

use std::time::Duration;

use crate::config::parsers::{publish_key, shared_secret, time, word};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::grant_end::{GRANT_ENDS, GrantEnd};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, SECOND};
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;

/// The cookies' `SameSite`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    Strict,
    Lax,
    /// For pages of another site; browsers want `Secure` with it.
    None,
}

/// Whether the cookies have `Secure`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecureCookie {
    /// When the request came by https.
    Auto,
    Always,
    Never,
}

const SAME_SITES: [(&str, SameSite); 3] =
    [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];

const SECURES: [(&str, SecureCookie); 3] =
    [("auto", SecureCookie::Auto), ("always", SecureCookie::Always), ("never", SecureCookie::Never)];

section! {
    /// For auth = "ticket": `POST /tickets` on the internal listener makes one-time tickets, which come as ?ticket=.
    pub struct AuthTicket checked by check {
        /// What seals tickets and cookies, 32 bytes or more: the same on all instances. Without it each instance draws
        /// its own at start.
        secret: Option<Secret> = secret("please-make-one-with-openssl-rand-hex-32", shared_secret);
        /// Keys that may ask for tickets (`Authorization: Bearer <key>`); without any, `internal.publish_keys`.
        keys: Vec<Secret> = secrets([], publish_key);
        /// How long a ticket may be redeemed, at most 30s.
        ttl: Duration = value("30s", time(SECOND..=30 * SECOND));
        /// The longest, and the default, from a ticket's making to the end of what it grants: then its cookie is worth
        /// nothing.
        session: Duration = value("1h", time(SECOND..=30 * DAY));
        /// First part of the cookies' names.
        cookie: String = value("sidestream", cookie);
        /// "strict", "lax" or "none" (for pages of another site, over https only).
        same_site: SameSite = value("lax", word(SAME_SITES));
        /// Whether the cookies are for https only: "auto" (when the request came by https), "always" or "never".
        secure: SecureCookie = value("auto", word(SECURES));
        /// How long a ticket's grant is looked at, for each `[[stream]]` that does not say it: "exp" = a stream ends
        /// with it, "open" = at the opening only (docs/auth.md).
        until: GrantEnd = value("exp", word(GRANT_ENDS));
    }
}

fn check(ticket: &AuthTicket, s: &mut SectionReader<'_, '_>) {
    warn_of_weak_keys(s, &["keys", "keys_file"], &ticket.keys);
    warn_of_weak_keys(s, &["secret", "secret_file"], ticket.secret.as_slice());
    if ticket.same_site == SameSite::None && ticket.secure == SecureCookie::Never {
        let message = "`same_site` is \"none\", which browsers take with `Secure` only";
        s.report(&["same_site", "secure"], message, Some("set secure = \"always\"".to_owned()));
    }
}

/// The first part of cookies' names.
fn cookie(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 64;
    let text = raw.text("the name of a cookie")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if text.is_empty() || text.len() > MAX || !text.bytes().all(plain) {
        return Err(format!("must be 1 to {MAX} letters, digits, `_`, `-` and `.`").into());
    }
    if text.to_ascii_lowercase().starts_with("__host-") {
        return Err("cannot be a `__Host-` name, which goes with Path=/ only".into());
    }
    Ok(text.to_owned())
}
