//! Makes tickets, and takes a ticket or its cookie for a grant.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Uri};
use tracing::warn;

use crate::auth::caller::{Caller, Verified};
use crate::auth::denied::Denied;
use crate::auth::strip;
use crate::auth::ticket::content::TicketContent;
use crate::auth::ticket::mint::{BadMint, MAX_CONTENT, MintRequest, Minted};
use crate::auth::ticket::redeemed::{FirstUse, Redeemed, Redemption};
use crate::auth::ticket::seal::{Seal, derived};
use crate::clock::unix_ms;
use crate::config;
use crate::config::{SameSite, SecureCookie};
use crate::telemetry;

/// Makes and redeems tickets.
pub struct Tickets {
    settings: config::AuthTicket,
    ticket: Seal,
    cookie: Seal,
    /// Of the cookies' names.
    names: hmac::Key,
    used: Arc<Redeemed>,
    /// Who knows what other instances have redeemed.
    shared: Option<Arc<dyn FirstUse>>,
}

const TICKET: &str = "sst1_";
const COOKIE: &str = "ssc1_";
/// The parameter of the query that a ticket comes in.
const PARAMETER: &str = "ticket";
/// A used ticket is remembered for so much longer than it lasts, as other instances' clocks may be behind.
const SLACK: Duration = Duration::from_secs(60);
/// So many cookies of a request are looked at.
const MAX_COOKIES: usize = 64;

const UNKNOWN: &str = "it is not known now whether the ticket has been used";

impl Tickets {
    /// `shared` knows what other instances have redeemed.
    pub fn new(settings: &config::AuthTicket, shared: Option<Arc<dyn FirstUse>>) -> Self {
        let mut own = [0; 32];
        let secret = match &settings.secret {
            Some(secret) => secret.expose().as_bytes(),
            None => {
                warn!(
                    "auth.ticket.secret is not set: tickets and their cookies are good on this instance only, and until it ends"
                );
                getrandom::fill(&mut own).expect("the system gives random bytes");
                &own
            }
        };
        Self {
            ticket: Seal::new(secret, TICKET),
            cookie: Seal::new(secret, COOKIE),
            names: hmac::Key::new(hmac::HMAC_SHA256, &derived(secret, "cookie names")),
            used: Arc::default(),
            shared,
            settings: settings.clone(),
        }
    }

    /// As [`new`](Self::new), and remembers what was redeemed by `before`, which is itself the answer where its
    /// settings are the same.
    pub fn renewed(
        settings: &config::AuthTicket,
        before: Option<&Arc<Self>>,
        shared: Option<Arc<dyn FirstUse>>,
    ) -> Arc<Self> {
        match before {
            Some(before) if before.settings == *settings => Arc::clone(before),
            Some(before) => {
                let used = Arc::clone(&before.used);
                Arc::new(Self { used, ..Self::new(settings, shared) })
            }
            None => Arc::new(Self::new(settings, shared)),
        }
    }

    /// Makes a ticket of what the body of `POST /tickets` says.
    pub fn mint(&self, body: &[u8]) -> Result<Minted, BadMint> {
        self.mint_at(body, SystemTime::now())
    }

    fn mint_at(&self, body: &[u8], now: SystemTime) -> Result<Minted, BadMint> {
        let request = MintRequest::parse(body, self.settings.session.as_secs())?;
        let content = TicketContent::new(request, unix_ms(now), self.settings.ttl);
        let text = content.to_json();
        if text.len() > MAX_CONTENT {
            return Err(BadMint::TooLarge { size: text.len() });
        }
        count("minted");
        Ok(Minted {
            ticket: self.ticket.seal(&text),
            expires_in: (content.x - content.n) / 1000,
            until: content.e / 1000,
            token_id: content.j,
        })
    }

    /// The grant of a caller with a ticket that has not been used, or the cookie of one that has.
    pub(in crate::auth) async fn verify(&self, caller: &Caller<'_>) -> Result<Verified, Denied> {
        self.verify_at(caller, SystemTime::now()).await
    }

    async fn verify_at(&self, caller: &Caller<'_>, now: SystemTime) -> Result<Verified, Denied> {
        let query = caller.request.uri.query().unwrap_or_default();
        let mut presented = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, value)| name == PARAMETER && !value.is_empty())
            .map(|(_, value)| value);
        let headers = &caller.request.headers;
        let at = unix_ms(now);
        let Some(ticket) = presented.next() else {
            // A client that leaves the ticket out when it comes back.
            let newest = self.cookies(headers, at).max_by_key(|content| content.n).ok_or(Denied::NoToken)?;
            count("known_by_cookie");
            return newest.verified();
        };
        if presented.next().is_some() {
            return Err(Denied::BadTicket);
        }
        let content = self.ticket.open(&ticket).and_then(|text| TicketContent::from_json(&text));
        let content = content.ok_or(Denied::BadTicket)?;
        let known = || {
            let name = self.cookie_name(&content);
            self.cookies_named(headers, &name, at).find(|known| known.is_of(&content))
        };
        if content.x <= at {
            return by_cookie(known(), Denied::TicketExpired);
        }
        match self.first_use(&content, at).await {
            Redemption::Again => by_cookie(known(), Denied::TicketUsed),
            Redemption::Unknown => by_cookie(known(), Denied::NotNow(UNKNOWN)),
            Redemption::First => {
                count("redeemed");
                let mut verified = content.clone().verified()?;
                verified.headers.append(SET_COOKIE, self.set_cookie(&content, caller, at));
                Ok(verified)
            }
        }
    }

    async fn first_use(&self, content: &TicketContent, at: u64) -> Redemption {
        let keep = Duration::from_millis(content.x.saturating_sub(at)) + SLACK;
        let now = Instant::now();
        let here = self.used.note(&content.i, now + keep, now);
        let (Redemption::First, Some(shared)) = (here, &self.shared) else { return here };
        match shared.first(content.i.clone(), keep).await {
            Some(true) => Redemption::First,
            Some(false) => Redemption::Again,
            None => {
                // A caller that comes back when it is known again should get in.
                self.used.forget(&content.i);
                Redemption::Unknown
            }
        }
    }

    /// Takes tickets and their cookies out of a request for somebody else.
    pub(in crate::auth) fn strip_tokens(&self, uri: &mut Uri, headers: &mut HeaderMap) {
        strip::cookies(headers, |name, value| self.is_cookie(name) && value.starts_with(COOKIE.as_bytes()));
        let hidden = |name: &str, value: &str| name == PARAMETER && value.starts_with(TICKET);
        if let Some(target) = uri.path_and_query().and_then(|target| strip::target(target, hidden)) {
            let mut parts = std::mem::take(uri).into_parts();
            parts.path_and_query = Some(target);
            *uri = Uri::from_parts(parts).unwrap_or(Uri::from_static("/"));
        }
    }

    fn is_cookie(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.settings.cookie.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// The cookies of a request that we have set and that still count.
    fn cookies(&self, headers: &HeaderMap, at: u64) -> impl Iterator<Item = TicketContent> {
        strip::all_cookies(headers)
            .filter(|(name, _)| self.is_cookie(name))
            .take(MAX_COOKIES)
            .filter_map(move |(_, value)| self.open_cookie(value, at))
    }

    fn cookies_named(
        &self,
        headers: &HeaderMap,
        sought: &str,
        at: u64,
    ) -> impl Iterator<Item = TicketContent> {
        strip::all_cookies(headers)
            .filter(move |(name, _)| *name == sought)
            .take(MAX_COOKIES)
            .filter_map(move |(_, value)| self.open_cookie(value, at))
    }

    fn open_cookie(&self, value: &[u8], at: u64) -> Option<TicketContent> {
        let text = self.cookie.open(str::from_utf8(value).ok()?)?;
        TicketContent::from_json(&text).filter(|content| at < content.e)
    }

    fn cookie_name(&self, content: &TicketContent) -> String {
        let granted = serde_json::to_vec(&content.granted()).expect("a grant is JSON");
        let tag = hmac::sign(&self.names, &granted);
        let digits = HEXLOWER.encode(&tag.as_ref()[..8]);
        format!("{}_{digits}", self.settings.cookie)
    }

    fn set_cookie(&self, content: &TicketContent, caller: &Caller<'_>, at: u64) -> HeaderValue {
        let secure = match self.settings.secure {
            SecureCookie::Always => true,
            SecureCookie::Never => false,
            SecureCookie::Auto => caller.origin.is_https(&caller.request.headers),
        };
        let text = format!(
            "{}={}; Path={}; Max-Age={}; HttpOnly; SameSite={}{}",
            self.cookie_name(content),
            self.cookie.seal(&content.to_json()),
            cookie_path(caller.request.uri.path()),
            content.e.saturating_sub(at).div_ceil(1000),
            match self.settings.same_site {
                SameSite::Strict => "Strict",
                SameSite::Lax => "Lax",
                SameSite::None => "None",
            },
            if secure { "; Secure" } else { "" },
        );
        HeaderValue::from_str(&text).expect("the parts of a cookie are a header's value")
    }
}

fn by_cookie(known: Option<TicketContent>, otherwise: Denied) -> Result<Verified, Denied> {
    let known = known.ok_or(otherwise)?;
    count("known_by_cookie");
    known.verified()
}

/// The path of the stream as a cookie can say it: up to the last `/` before what it cannot.
fn cookie_path(path: &str) -> &str {
    let plain = |b: u8| b.is_ascii_graphic() && b != b';';
    match path.bytes().position(|b| !plain(b)) {
        None => path,
        Some(at) => path[..at].rfind('/').map_or("/", |slash| &path[..=slash]),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(telemetry::TICKETS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;
