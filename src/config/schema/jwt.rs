//! `[auth.jwt]` and `[internal.publisher_jwt]`: tokens that callers and publishers bring, and what is made of their
//! claims.

use std::time::Duration;

use http::HeaderName;

use crate::config::http_url::HttpUrl;
use crate::config::parsers::templates::claim_template;
use crate::config::parsers::{claim_name, whole, word};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::grant_end::{GRANT_ENDS, GrantEnd};
use crate::config::schema::table::section;
use crate::config::schema::token_rules::{Jwks, TokenRules, read_keys};
use crate::config::section_reader::SectionReader;
use crate::event::Template;
use crate::jws::{Algorithm, JwsKey};
use crate::suggest::nearest;

/// `[auth.jwt]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwt {
    /// The keys of `secret`, `public_key`, `jwks_file` and every `[[auth.jwt.key]]`, each with the algorithms that it
    /// is for.
    pub keys: Vec<JwsKey>,
    /// A set of keys that is fetched, and fetched again.
    pub jwks: Option<Jwks>,
    /// Algorithms that a fetched key may be used with; empty = whatever fits it.
    pub algorithms: Vec<Algorithm>,
    /// Issuers (`iss`) that are believed; empty = not looked at.
    pub issuer: Vec<String>,
    /// Audiences (`aud`) that we are; empty = not looked at.
    pub audience: Vec<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// Claims that a token has to have.
    pub require: Vec<String>,
    /// Whether a token may be good for ever.
    pub allow_without_exp: bool,
    /// Where in a request a token is looked for, in order.
    pub from: Vec<TokenSource>,
    /// The claims that name the user, the session, the topics, and the token itself.
    pub user: String,
    pub session: String,
    pub topics: String,
    pub token_id: String,
    /// Patterns of topics that every verified caller gets, made of its claims.
    pub grant: Vec<Template>,
    /// How many patterns the claim of the topics may hold.
    pub max_topics: usize,
    /// How long a token is looked at, for streams that do not say it.
    pub until: GrantEnd,
}

/// A place in a request where a token may stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenSource {
    /// A header, its value the token; `Bearer` may stand before it, and has to in `Authorization`.
    Header(HeaderName),
    Cookie(String),
    Query(String),
}

section! {
    /// Tokens (JWT) of callers, for streams with auth = "jwt". Without this section there are none. One of secret,
    /// public_key, jwks_file, jwks_url and discover, or an `[[auth.jwt.key]]`, is needed; all that are given hold
    /// together. A key knows which algorithms it is for; what a token says of its algorithm counts for nothing.
    struct CallerTokens without default checked by check {
        rules: TokenRules = by(TokenRules::read);
        /// Where a token is looked for, in order; the first place that holds one counts. "header:name" (in
        /// Authorization behind "Bearer"), "cookie:name" or "query:name".
        from: Vec<TokenSource> = list(
            ["header:Authorization", "header:X-Auth-Token", "query:token"],
            source
        );
        /// The claim that names the user: a text or a whole number. As in all of these, a dot leads into an object:
        /// "ctx.user".
        user: String = value("sub", claim_name);
        /// The claim that names the session.
        session: String = value("sid", claim_name);
        /// The claim that names the token itself.
        token_id: String = value("jti", claim_name);
        /// The claim that lists the topics which the caller may ask for, * standing for any text:
        /// `["news", "conversation:*"]`, or one text with spaces between them.
        topics: String = value("topics", claim_name);
        /// How many that claim may list.
        max_topics: usize = value(100, whole(0..=1000));
        /// Topics which every verified caller may ask for, made of claims: `["tenant:{claim.tenant}:*"]`.
        grant: Vec<Template> = list([], claim_template);
        /// How long a token is looked at, for each `[[stream]]` that does not say it: "exp" = a stream ends with it,
        /// "open" = at the opening only (docs/auth.md).
        until: GrantEnd = value("exp", word(GRANT_ENDS));
    }
}

section! {
    /// Tokens (JWT) of publishers, signed by the service that says who may publish where. Without this section there
    /// are none.
    struct PublisherTokens without default {
        rules: TokenRules = by(TokenRules::read);
        /// The claim that lists the topics which the publisher may publish to, * standing for any text:
        /// `["conversation:*"]`.
        topics: String = value("publish", claim_name);
        /// How many that claim may list.
        max_topics: usize = value(100, whole(0..=1000));
    }
}

fn check(tokens: &CallerTokens, s: &mut SectionReader<'_, '_>) {
    if tokens.from.is_empty() {
        s.report(&["from"], "`from` names no place where a token could be", None);
    }
}

impl Default for Jwt {
    fn default() -> Self {
        CallerTokens::defaults().into_jwt(Vec::new())
    }
}

impl Jwks {
    pub fn at(url: HttpUrl) -> Self {
        TokenRules::fetched_from(url).jwks().expect("it has a URL")
    }
}

impl Jwt {
    /// What publishers' tokens have without a word: the claim `publish` lists where they may publish.
    pub fn for_publishers() -> Self {
        PublisherTokens::defaults().into_jwt(Vec::new())
    }

    pub(super) fn read(s: &mut SectionReader<'_, '_>) -> Self {
        let tokens = CallerTokens::read(s);
        let keys = read_keys(s, "auth.jwt.key", &tokens.rules);
        tokens.into_jwt(keys)
    }

    pub(super) fn read_for_publishers(s: &mut SectionReader<'_, '_>) -> Self {
        let tokens = PublisherTokens::read(s);
        let keys = read_keys(s, "internal.publisher_jwt.key", &tokens.rules);
        tokens.into_jwt(keys)
    }
}

impl CallerTokens {
    fn into_jwt(self, keys: Vec<JwsKey>) -> Jwt {
        let Self { rules, from, user, session, token_id, topics, max_topics, grant, until } = self;
        Jwt {
            keys,
            jwks: rules.jwks(),
            issuer: rules.issuers(),
            algorithms: rules.algorithms,
            audience: rules.audience,
            leeway: rules.leeway,
            require: rules.require,
            allow_without_exp: rules.allow_without_exp,
            from,
            user,
            session,
            topics,
            token_id,
            grant,
            max_topics,
            until,
        }
    }
}

impl PublisherTokens {
    /// Publishers present their token in `Authorization`, and what callers' tokens have beside is not asked for.
    fn into_jwt(self, keys: Vec<JwsKey>) -> Jwt {
        let Self { rules, topics, max_topics } = self;
        CallerTokens { rules, topics, max_topics, ..CallerTokens::defaults() }.into_jwt(keys)
    }
}

/// `header:…`, `cookie:…` or `query:…`.
fn source(raw: &RawValue<'_>) -> Result<TokenSource, Rejection> {
    const WANTED: &str = "`header:<name>`, `cookie:<name>` or `query:<name>`";
    let text = raw.text(WANTED)?;
    let Some((kind, name)) = text.split_once(':').map(|(kind, name)| (kind, name.trim())) else {
        let meant = format!("did you mean \"header:{text}\"?");
        return Err(Rejection::with(format!("must be {WANTED}"), meant));
    };
    let plain = !name.is_empty() && name.len() <= 256 && name.bytes().all(|b| b.is_ascii_graphic());
    match kind {
        "header" => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if name == http::header::COOKIE => {
                Err(Rejection::with("must name the cookie itself", "write \"cookie:<name>\""))
            }
            Ok(name) => Ok(TokenSource::Header(name)),
            Err(_) => Err(format!("names no header: `{name}`").into()),
        },
        "cookie" if plain && !name.contains(['=', ';', ',', '"']) => Ok(TokenSource::Cookie(name.to_owned())),
        "cookie" => Err("names no cookie".into()),
        "query" if plain => Ok(TokenSource::Query(name.to_owned())),
        "query" => Err("names no query parameter".into()),
        other => {
            let meant = nearest(other, ["header", "cookie", "query"]);
            let meant = meant.map(|meant| format!("did you mean \"{meant}:{name}\"?"));
            Err(Rejection { message: format!("must be {WANTED}"), suggestion: meant })
        }
    }
}
