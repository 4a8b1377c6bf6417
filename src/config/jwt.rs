//! `[auth.jwt]`: tokens that a caller brings, and what is made of their claims. Keys are read here once, so that a
//! daemon starts with sound ones or not at all.

use std::time::Duration;

use http::HeaderName;

use crate::config::forms::{time, time_or_zero, whole, word, yes_or_no};
use crate::config::http_url::HttpUrl;
use crate::config::names::claim_template;
use crate::config::raw::{Raw, Refusal};
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::event::Template;
use crate::jws;
use crate::jws::{Algorithm, BadKey, Key, Secrets};
use crate::net::tls;
use crate::net::tls::Trust;

/// `[auth.jwt]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwt {
    /// The keys of `secret`, `public_key`, `jwks_file` and every `[[auth.jwt.key]]`, each with the algorithms that it
    /// is for.
    pub keys: Vec<Key>,
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
}

/// `jwks_url` and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Jwks {
    pub url: HttpUrl,
    /// PEM of the authorities that its certificate may come from; None = the system's.
    pub ca: Option<String>,
    /// How often it is fetched again.
    pub refresh: Duration,
    /// The least time between two fetches for tokens with an unknown key.
    pub cooldown: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

/// A place in a request where a token may stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TokenSource {
    /// A header, its value the token; `Bearer` may stand before it, and has to in `Authorization`.
    Header(HeaderName),
    Cookie(String),
    Query(String),
}

/// How a secret is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Text,
    Base64,
}

/// The most tables [[auth.jwt.key]].
const MOST_KEYS: usize = 32;

impl Default for Jwt {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks: None,
            algorithms: Vec::new(),
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway: Duration::from_secs(5),
            require: Vec::new(),
            allow_without_exp: false,
            from: vec![
                TokenSource::Header(http::header::AUTHORIZATION),
                TokenSource::Header(HeaderName::from_static("x-auth-token")),
                TokenSource::Query("token".to_owned()),
            ],
            user: "sub".to_owned(),
            session: "sid".to_owned(),
            topics: "topics".to_owned(),
            token_id: "jti".to_owned(),
            grant: Vec::new(),
            max_topics: 100,
        }
    }
}

impl Jwks {
    pub fn at(url: HttpUrl) -> Self {
        Self {
            url,
            ca: None,
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Jwt {
    /// What publishers' tokens have without a word: the claim `publish` lists where they may publish.
    pub fn for_publishers() -> Self {
        Self { topics: "publish".to_owned(), ..Self::default() }
    }

    /// `[auth.jwt]`
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let d = Self::default();
        let from = s.list("from", d.from, source);
        if from.is_empty() {
            s.complain(&["from"], "`from` names no place where a token could be", None);
        }
        Self {
            from,
            user: s.take("user", d.user, claim_name),
            session: s.take("session", d.session, claim_name),
            token_id: s.take("token_id", d.token_id, claim_name),
            grant: s.list("grant", d.grant, claim_template),
            ..Self::read_rules(s, "auth.jwt.key", Self::default())
        }
    }

    /// `[internal.publisher_jwt]`
    pub(super) fn read_for_publishers(s: &mut Section<'_, '_>) -> Self {
        Self::read_rules(s, "internal.publisher_jwt.key", Self::for_publishers())
    }

    /// The keys, what a token has to be, and where it lists topics. `array` is the name of the tables with a key each.
    fn read_rules(s: &mut Section<'_, '_>, array: &'static str, d: Self) -> Self {
        let algorithms = s.list("algorithms", d.algorithms, algorithm);
        let encoding = encoding(s);
        let single = [s.secret("secret", secret(encoding)), s.secret("public_key", public_key)];
        let mut keys: Vec<Key> = single.into_iter().flatten().collect();
        keys.extend(s.file("jwks_file", jwks).into_iter().flatten());
        let tables = s.each(array, "key", |s| read_key(s));
        if tables.len() > MOST_KEYS {
            s.complain(&["key"], format!("there are more than {MOST_KEYS} [[{array}]]"), None);
        }
        let from_tables: Vec<Key> = tables.into_iter().flatten().collect();
        let jwks = read_jwks(s);
        // A table has `algorithms` of its own; the section's hold for every key, and each narrows.
        let usable = |key: Key| {
            let fits: Vec<Algorithm> = key
                .algorithms()
                .iter()
                .copied()
                .filter(|one| algorithms.is_empty() || algorithms.contains(one))
                .collect();
            if fits.is_empty() { None } else { key.only(&fits).ok() }
        };
        let given = keys.len() + from_tables.len();
        let keys: Vec<Key> = keys.into_iter().chain(from_tables).filter_map(usable).collect();
        let asked =
            ["secret", "secret_file", "public_key", "public_key_file", "jwks_file", "jwks_url", "key"];
        if given == 0 && jwks.is_none() {
            s.complain(
                &asked,
                format!("[{}] has no key to verify tokens with", array.trim_end_matches(".key")),
                Some(format!("give it secret, public_key, jwks_file or jwks_url, or an [[{array}]]")),
            );
        } else if keys.is_empty() && jwks.is_none() {
            s.complain(&[&["algorithms"][..], &asked].concat(), "`algorithms` fits none of the keys", None);
        }
        Self {
            keys,
            jwks,
            algorithms,
            issuer: s.list("issuer", d.issuer, text),
            audience: s.list("audience", d.audience, text),
            leeway: s.take(
                "leeway",
                d.leeway,
                time_or_zero(Duration::from_secs(1)..=Duration::from_secs(300)),
            ),
            require: s.list("require", d.require, claim_name),
            allow_without_exp: s.take("allow_without_exp", d.allow_without_exp, yes_or_no),
            topics: s.take("topics", d.topics, claim_name),
            max_topics: s.take("max_topics", d.max_topics, whole(0..=1000)),
            from: d.from,
            user: d.user,
            session: d.session,
            token_id: d.token_id,
            grant: d.grant,
        }
    }
}

/// One `[[auth.jwt.key]]`.
fn read_key(s: &mut Section<'_, '_>) -> Option<Key> {
    let id = s.optional("kid", text);
    let algorithms = s.list("algorithms", Vec::new(), algorithm);
    let encoding = encoding(s);
    let secret = s.secret("secret", secret(encoding));
    let public = s.secret("public_key", public_key);
    let asked = ["secret", "secret_file", "public_key", "public_key_file"];
    let key = match (secret, public) {
        (Some(key), None) | (None, Some(key)) => key,
        (None, None) => {
            s.complain(&asked, "the key has neither a `secret` nor a `public_key`", None);
            return None;
        }
        (Some(_), Some(_)) => {
            s.complain(&asked, "the key has a `secret` and a `public_key`: it can be only one", None);
            return None;
        }
    };
    let key = match id {
        Some(id) => key.named(&id),
        None => key,
    };
    if algorithms.is_empty() {
        return Some(key);
    }
    match key.only(&algorithms) {
        Ok(key) => Some(key),
        Err(why) => {
            s.complain(&[&["algorithms"][..], &asked].concat(), format!("the key {why}"), None);
            None
        }
    }
}

fn read_jwks(s: &mut Section<'_, '_>) -> Option<Jwks> {
    let url = s.optional("jwks_url", |raw: &Raw<'_>| {
        let text = raw.text("a URL such as \"https://login.example/.well-known/jwks.json\"")?;
        text.parse::<HttpUrl>().map_err(|why| format!("{why}").into())
    });
    let given = url.is_some();
    let nowhere = || HttpUrl { https: true, host: String::new(), port: 443, target: String::new() };
    let d = Jwks::at(url.unwrap_or_else(nowhere));
    let ca = s.file("jwks_ca_file", authorities);
    let second = Duration::from_secs(1);
    let jwks = Jwks {
        url: d.url,
        ca,
        refresh: s.take("jwks_refresh", d.refresh, time(second..=Duration::from_secs(24 * 3600))),
        cooldown: s.take("jwks_cooldown", d.cooldown, time(second..=Duration::from_secs(3600))),
        timeout: s.take(
            "jwks_timeout",
            d.timeout,
            time(Duration::from_millis(100)..=Duration::from_secs(60)),
        ),
    };
    if given && jwks.ca.is_some() && !jwks.url.https {
        s.complain(
            &["jwks_ca_file", "jwks_url"],
            "`jwks_ca_file` is given, but `jwks_url` is not https",
            None,
        );
    }
    given.then_some(jwks)
}

fn encoding(s: &mut Section<'_, '_>) -> Encoding {
    let words = [("text", Encoding::Text), ("base64", Encoding::Base64)];
    s.take("secret_encoding", Encoding::Text, word(words))
}

fn text(raw: &Raw<'_>) -> Result<String, Refusal> {
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if text.is_empty() || text.len() > MAX {
        return Err(format!("must be 1 to {MAX} bytes").into());
    }
    Ok(text.to_owned())
}

/// A claim's name; dots lead into objects.
fn claim_name(raw: &Raw<'_>) -> Result<String, Refusal> {
    const MAX: usize = 256;
    let text = raw.text("the name of a claim such as \"sub\" or \"org.id\"")?;
    if text.is_empty() || text.len() > MAX || text.chars().any(|c| c.is_control() || matches!(c, '{' | '}')) {
        return Err(format!("must be the name of a claim: 1 to {MAX} bytes without braces").into());
    }
    Ok(text.to_owned())
}

fn algorithm(raw: &Raw<'_>) -> Result<Algorithm, Refusal> {
    let names = jws::ALGORITHMS.map(|algorithm| format!("{algorithm:?}"));
    let all = names.join(", ");
    let text = raw.text("the name of an algorithm such as \"RS256\"")?;
    if let Some(algorithm) = jws::algorithm(text) {
        return Ok(algorithm);
    }
    Err(match text {
        "ES512" => Refusal::with("cannot be ES512, which is not supported", "use ES384 or EdDSA"),
        "none" => "cannot be `none`: a token without a signature proves nothing".into(),
        other => match nearest(other, names.iter().map(String::as_str)) {
            Some(meant) => {
                Refusal::with(format!("must be one of {all}"), format!("did you mean \"{meant}\"?"))
            }
            None => format!("must be one of {all}").into(),
        },
    })
}

fn secret(encoding: Encoding) -> impl Fn(&Raw<'_>) -> Result<Key, Refusal> {
    move |raw| {
        let text = raw.text("a string")?;
        if text.contains("-----BEGIN ") {
            return Err(Refusal::with(
                "is a key in PEM form, not a shared secret",
                "a public key is given as `public_key`",
            ));
        }
        let key = match encoding {
            Encoding::Text => Key::from_secret(text.as_bytes()),
            Encoding::Base64 => Key::from_base64_secret(text),
        };
        key.map_err(refused)
    }
}

fn public_key(raw: &Raw<'_>) -> Result<Key, Refusal> {
    Key::from_pem(raw.text("a public key in PEM form")?).map_err(refused)
}

fn jwks(raw: &Raw<'_>) -> Result<Vec<Key>, Refusal> {
    Key::from_jwks(raw.text("a JWK set")?.as_bytes(), Secrets::Taken).map_err(refused)
}

fn refused(why: BadKey) -> Refusal {
    why.to_string().into()
}

/// Certificates of authorities.
pub(super) fn authorities(raw: &Raw<'_>) -> Result<String, Refusal> {
    let text = raw.text("certificates in PEM form")?;
    match tls::client(Trust::Only(text.as_bytes()), None, &[]) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(why.to_string().into()),
    }
}

/// `header:…`, `cookie:…` or `query:…`.
fn source(raw: &Raw<'_>) -> Result<TokenSource, Refusal> {
    const WANTED: &str = "`header:<name>`, `cookie:<name>` or `query:<name>`";
    let text = raw.text(WANTED)?;
    let Some((kind, name)) = text.split_once(':').map(|(kind, name)| (kind, name.trim())) else {
        let meant = format!("did you mean \"header:{text}\"?");
        return Err(Refusal::with(format!("must be {WANTED}"), meant));
    };
    let plain = !name.is_empty() && name.len() <= 256 && name.bytes().all(|b| b.is_ascii_graphic());
    match kind {
        "header" => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if name == http::header::COOKIE => {
                Err(Refusal::with("must name the cookie itself", "write \"cookie:<name>\""))
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
            Err(Refusal { message: format!("must be {WANTED}"), suggestion: meant })
        }
    }
}
