//! `[auth.ticket]`: tickets that the application asks for and its page redeems.
//!
//! Types, defaults and keys of this one section.

use std::time::Duration;

use crate::config::forms::{publish_key, time, word};
use crate::config::raw::{Raw, Refusal};
use crate::config::section::Section;
use crate::config::values::Secret;

/// `[auth.ticket]`: one-time tickets, and the cookies by which who has redeemed one is known again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthTicket {
    /// Seals tickets and cookies; None = one that this process draws for itself.
    pub secret: Option<Secret>,
    /// Keys that may ask for tickets; empty = the publishers' keys.
    pub keys: Vec<Secret>,
    /// How long a ticket may be redeemed.
    pub ttl: Duration,
    /// The longest, and the default, from a ticket's making to the end of what it grants.
    pub session: Duration,
    /// First part of the cookies' names.
    pub cookie: String,
    pub same_site: SameSite,
    pub secure: SecureCookie,
}

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

impl Default for AuthTicket {
    fn default() -> Self {
        Self {
            secret: None,
            keys: Vec::new(),
            ttl: Duration::from_secs(30),
            session: Duration::from_secs(3600),
            cookie: "sidestream".to_owned(),
            same_site: SameSite::Lax,
            secure: SecureCookie::Auto,
        }
    }
}

impl AuthTicket {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        let d = Self::default();
        let ticket = Self {
            secret: s.secret("secret", secret),
            keys: s.secrets("keys", publish_key).unwrap_or(d.keys),
            ttl: s.take("ttl", d.ttl, time(SECOND..=30 * SECOND)),
            session: s.take("session", d.session, time(SECOND..=Duration::from_secs(30 * 24 * 3600))),
            cookie: s.take("cookie", d.cookie, cookie),
            same_site: s.take(
                "same_site",
                d.same_site,
                word([("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)]),
            ),
            secure: s.take(
                "secure",
                d.secure,
                word([
                    ("auto", SecureCookie::Auto),
                    ("always", SecureCookie::Always),
                    ("never", SecureCookie::Never),
                ]),
            ),
        };
        if ticket.same_site == SameSite::None && ticket.secure == SecureCookie::Never {
            let message = "`same_site` is \"none\", which browsers take with `Secure` only";
            s.complain(&["same_site", "secure"], message, Some("set secure = \"always\"".to_owned()));
        }
        ticket
    }
}

fn secret(raw: &Raw<'_>) -> Result<Secret, Refusal> {
    const MIN: usize = 32;
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if !(MIN..=MAX).contains(&text.len()) {
        return Err(Refusal::with(
            format!("must have {MIN} to {MAX} bytes"),
            "`openssl rand -hex 32` makes a good one",
        ));
    }
    Ok(Secret::new(text))
}

/// The first part of cookies' names.
fn cookie(raw: &Raw<'_>) -> Result<String, Refusal> {
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
