//! What tokens are verified with and what they have to be: the keys that `[auth.jwt]` and `[internal.publisher_jwt]`
//! share. Keys are read here once, so that a daemon starts with sound ones or not at all.

use std::time::Duration;

use crate::config::http_url::HttpUrl;
use crate::config::issuer::{IssuerUrl, JwksSource};
use crate::config::parsers::{
    authorities, claim_name, not_one_of, short_text, time, time_or_zero, word, yes_or_no,
};
use crate::config::problem::Severity;
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::expiry::warn_of_old_authorities;
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, HOUR, MILLIS, MINUTE, SECOND};
use crate::config::schema::weak_key::weakness;
use crate::config::section_reader::SectionReader;
use crate::jws::{self, Algorithm, BadKey, JwkSet, JwsKey, Secrets};

/// `jwks_url` or `discover`, and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwks {
    pub source: JwksSource,
    /// PEM of the authorities that its certificate may come from; None = the system's.
    pub ca: Option<String>,
    /// How often it is fetched again.
    pub refresh: Duration,
    /// The least time between two fetches for tokens with an unknown key.
    pub cooldown: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

/// How a secret is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Text,
    Base64,
}

const ENCODINGS: [(&str, Encoding); 2] = [("text", Encoding::Text), ("base64", Encoding::Base64)];

/// The most tables [[auth.jwt.key]].
const MOST_KEYS: usize = 32;

section! {
    pub(super) struct TokenRules without default checked by check {
        /// How secrets are written: "text" or "base64".
        secret_encoding: Encoding = value("text", word(ENCODINGS));
        /// A secret shared with the signer, for HS256, HS384 and HS512; use 32 random bytes or more.
        secret: Option<SharedKey> = secret("change-me", shared_key(secret_encoding));
        /// A public key, or a certificate, as PEM: RSA (RS256 to PS512), P-256 (ES256), P-384 (ES384) or Ed25519
        /// (EdDSA).
        public_key: Option<JwsKey> = secret(
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhmD+X31z7todctQ8amYwFXyhYZaWCzBLmNbP3tUsdZ4=\n-----END PUBLIC KEY-----",
            public_key
        );
        /// A file that holds a set of keys (JWKS).
        jwks_file: Option<Vec<JwsKey>> = file("jwks.json", jwks);
        /// Where a set of public keys (JWKS) is fetched: at the start, again and again, and once more for a token whose
        /// key is unknown. While it cannot be fetched, the keys last fetched stay.
        jwks_url: Option<HttpUrl> = optional("https://login.example/.well-known/jwks.json", jwks_url);
        /// Instead of `jwks_url` an issuer whose own document says where its keys are:
        /// `/.well-known/openid-configuration` behind its URL, or that of RFC 8414. It is written letter by letter as
        /// in that document. Unless `issuer` says more, tokens have to be of this issuer.
        discover: Option<IssuerUrl> = optional("https://login.example/realms/app", issuer_url);
        /// The authorities that its certificate may come from are the system's. Here those of a PEM file alone.
        jwks_ca_file: Option<String> = file("login-ca.pem", authorities);
        /// How often it is fetched again.
        jwks_refresh: Duration = value("10m", time(SECOND..=DAY));
        /// The least time between two fetches for tokens with unknown keys.
        jwks_cooldown: Duration = value("30s", time(SECOND..=HOUR));
        /// How long a fetch may take.
        jwks_timeout: Duration = value("5s", time(MILLIS(100)..=MINUTE));
        /// The algorithms that are accepted, such as `["RS256"]`; empty = whatever fits the keys.
        algorithms: Vec<Algorithm> = list([], algorithm);
        /// Issuers (iss) that are accepted; empty = not looked at.
        issuer: Vec<String> = list([], short_text);
        /// Audiences (aud), one of which a token has to name; empty = not looked at. Set it where an issuer signs for
        /// several.
        audience: Vec<String> = list([], short_text);
        /// How far clocks may be apart (at most 5 minutes), for exp and nbf.
        leeway: Duration = value("5s", time_or_zero(SECOND..=5 * MINUTE));
        /// Claims that a token has to have. "exp" is required anyhow.
        require: Vec<String> = list([], claim_name);
        /// Whether a token without exp, which is good for ever, is accepted.
        allow_without_exp: bool = value(false, yes_or_no);
    }
}

section! {
    /// A key of its own, for instance the next one while keys change. There may be several; none by default.
    struct KeyTable without default {
        /// The id (kid) of tokens that it is for. Without it the key is tried on every token.
        kid: Option<String> = optional("2026-11", short_text);
        /// The algorithms that it is for; empty = whatever fits it.
        algorithms: Vec<Algorithm> = list([], algorithm);
        /// How its secret is written: "text" or "base64".
        secret_encoding: Encoding = value("text", word(ENCODINGS));
        /// Its shared secret.
        secret: Option<SharedKey> = secret("change-me-too", shared_key(secret_encoding));
        /// Instead of a secret its public key, or a certificate, as PEM.
        public_key: Option<JwsKey> = instead_secret(
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhmD+X31z7todctQ8amYwFXyhYZaWCzBLmNbP3tUsdZ4=\n-----END PUBLIC KEY-----",
            public_key
        );
    }
}

/// A shared secret, and why it can be guessed, if it can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SharedKey {
    key: JwsKey,
    weakness: Option<&'static str>,
}

fn check(rules: &TokenRules, s: &mut SectionReader<'_, '_>) {
    warn_of_weak_secret(s, rules.secret.as_ref());
    warn_of_old_authorities(s, "jwks_ca_file", rules.jwks_ca_file.as_ref());
}

fn warn_of_weak_secret(s: &mut SectionReader<'_, '_>, secret: Option<&SharedKey>) {
    if let Some(weakness) = secret.and_then(|secret| secret.weakness) {
        s.warn(
            Severity::Warning,
            &["secret", "secret_file"],
            format!("`secret` {weakness}"),
            "`openssl rand -hex 32` makes a good one",
        );
    }
}

impl TokenRules {
    /// The set of keys that is fetched, if there is one.
    pub(super) fn jwks(&self) -> Option<Jwks> {
        let url = self.jwks_url.clone().map(JwksSource::Url);
        Some(Jwks {
            source: url.or_else(|| self.discover.clone().map(JwksSource::Issuer))?,
            ca: self.jwks_ca_file.clone(),
            refresh: self.jwks_refresh,
            cooldown: self.jwks_cooldown,
            timeout: self.jwks_timeout,
        })
    }

    /// The issuers that are believed.
    pub(super) fn issuers(&self) -> Vec<String> {
        match &self.discover {
            Some(issuer) if self.issuer.is_empty() => vec![issuer.to_string()],
            _ => self.issuer.clone(),
        }
    }

    /// The defaults for a set that is fetched from `url`.
    pub(super) fn fetched_from(url: HttpUrl) -> Self {
        Self { jwks_url: Some(url), ..Self::defaults() }
    }
}

/// The keys of the section and of its tables `[[array]]`, each with the algorithms that it is for.
pub(super) fn read_keys(
    s: &mut SectionReader<'_, '_>,
    array: &'static str,
    rules: &TokenRules,
) -> Vec<JwsKey> {
    let tables = s.tables(array, "key", read_key);
    if tables.len() > MOST_KEYS {
        s.report(&["key"], format!("there are more than {MOST_KEYS} [[{array}]]"), None);
    }
    let shared = rules.secret.as_ref().map(|secret| secret.key.clone());
    let single = [shared, rules.public_key.clone()].into_iter().flatten();
    let set = rules.jwks_file.clone().into_iter().flatten();
    let given: Vec<JwsKey> = single.chain(set).chain(tables.into_iter().flatten()).collect();
    let none_given = given.is_empty();
    // A table has `algorithms` of its own; the section's hold for every key, and each narrows.
    let usable = |key: JwsKey| {
        let fits: Vec<Algorithm> = key
            .algorithms()
            .iter()
            .copied()
            .filter(|one| rules.algorithms.is_empty() || rules.algorithms.contains(one))
            .collect();
        if fits.is_empty() { None } else { key.only(&fits).ok() }
    };
    let keys: Vec<JwsKey> = given.into_iter().filter_map(usable).collect();
    let asked = [
        "secret",
        "secret_file",
        "public_key",
        "public_key_file",
        "jwks_file",
        "jwks_url",
        "discover",
        "key",
    ];
    let fetched = rules.jwks().map(|jwks| jwks.source.first());
    if fetched.is_none() && none_given {
        s.report(
            &asked,
            format!("[{}] has no key to verify tokens with", array.trim_end_matches(".key")),
            Some(format!("give it secret, public_key, jwks_file, jwks_url or discover, or an [[{array}]]")),
        );
    } else if fetched.is_none() && keys.is_empty() {
        s.report(&[&["algorithms"][..], &asked].concat(), "`algorithms` fits none of the keys", None);
    }
    if rules.jwks_url.is_some() && rules.discover.is_some() {
        let message = "`discover` says where the keys are, and `jwks_url` does, too: only one of the two can";
        s.report(&["discover", "jwks_url"], message, None);
    }
    if let Some(issuer) =
        rules.discover.as_ref().filter(|issuer| !rules.issuers().contains(&issuer.to_string()))
    {
        s.report(
            &["issuer", "discover"],
            format!("`issuer` does not name {issuer}, whose keys are used (`discover`)"),
            Some("add it, or leave `issuer` out".to_owned()),
        );
    }
    if rules.jwks_ca_file.is_some() && rules.jwks_url.as_ref().is_some_and(|url| !url.https) {
        s.report(&["jwks_ca_file", "jwks_url"], "`jwks_ca_file` is given, but `jwks_url` is not https", None);
    }
    keys
}

fn read_key(s: &mut SectionReader<'_, '_>) -> Option<JwsKey> {
    let KeyTable { kid, algorithms, secret, public_key, .. } = KeyTable::read(s);
    warn_of_weak_secret(s, secret.as_ref());
    let secret = secret.map(|secret| secret.key);
    let asked = ["secret", "secret_file", "public_key", "public_key_file"];
    let key = match (secret, public_key) {
        (Some(key), None) | (None, Some(key)) => key,
        (None, None) => {
            s.report(&asked, "the key has neither a `secret` nor a `public_key`", None);
            return None;
        }
        (Some(_), Some(_)) => {
            s.report(&asked, "the key has a `secret` and a `public_key`: it can be only one", None);
            return None;
        }
    };
    let key = match kid {
        Some(kid) => key.named(&kid),
        None => key,
    };
    if algorithms.is_empty() {
        return Some(key);
    }
    match key.only(&algorithms) {
        Ok(key) => Some(key),
        Err(error) => {
            s.report(&[&["algorithms"][..], &asked].concat(), format!("the key {error}"), None);
            None
        }
    }
}

fn algorithm(raw: &RawValue<'_>) -> Result<Algorithm, Rejection> {
    let names = jws::ALGORITHMS.map(|algorithm| format!("{algorithm:?}"));
    let all = names.join(", ");
    let text = raw.text("the name of an algorithm such as \"RS256\"")?;
    if let Some(algorithm) = jws::algorithm(text) {
        return Ok(algorithm);
    }
    Err(match text {
        "ES512" => Rejection::with("cannot be ES512, which is not supported", "use ES384 or EdDSA"),
        "none" => "cannot be `none`: a token without a signature proves nothing".into(),
        other => not_one_of(&format!("one of {all}"), other, names.iter().map(String::as_str)),
    })
}

/// A shared secret, written so.
fn shared_key(encoding: Encoding) -> impl Fn(&RawValue<'_>) -> Result<SharedKey, Rejection> {
    move |raw| {
        let text = raw.text("a string")?;
        if text.contains("-----BEGIN ") {
            return Err(Rejection::with(
                "is a key in PEM form, not a shared secret",
                "a public key is given as `public_key`",
            ));
        }
        let key = match encoding {
            Encoding::Text => JwsKey::from_secret(text.as_bytes()),
            Encoding::Base64 => JwsKey::from_base64_secret(text),
        };
        let key = key.map_err(refused)?;
        Ok(SharedKey { key, weakness: weakness(text) })
    }
}

fn public_key(raw: &RawValue<'_>) -> Result<JwsKey, Rejection> {
    JwsKey::from_pem(raw.text("a public key in PEM form")?).map_err(refused)
}

fn jwks(raw: &RawValue<'_>) -> Result<Vec<JwsKey>, Rejection> {
    match JwsKey::from_jwks(raw.text("a JWK set")?.as_bytes(), Secrets::Taken).map_err(refused)? {
        JwkSet { too_many: 1.., .. } => Err(refused(BadKey::TooMany)),
        JwkSet { keys, .. } => Ok(keys),
    }
}

fn refused(why: BadKey) -> Rejection {
    why.to_string().into()
}

fn issuer_url(raw: &RawValue<'_>) -> Result<IssuerUrl, Rejection> {
    let text = raw.text("the URL of an issuer such as \"https://login.example/realms/app\"")?;
    text.parse::<IssuerUrl>().map_err(|error| error.to_string().into())
}

fn jwks_url(raw: &RawValue<'_>) -> Result<HttpUrl, Rejection> {
    let text = raw.text("a URL such as \"https://login.example/.well-known/jwks.json\"")?;
    text.parse::<HttpUrl>().map_err(|error| error.to_string().into())
}
