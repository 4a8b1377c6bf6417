//! `sidestream token mint`: a token such as an application would make.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::Error;
use crate::cli::output::{fail, note, print};
use crate::cli::token::judge::{TokenJudge, Whose, load};
use crate::config;
use crate::jws;
use crate::jws::{Algorithm, SigningKey};

/// How much is read of a private key.
const MAX_KEY: u64 = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  sidestream token mint --config sidestream.toml --user u1 --topic 'conversation:*'
  sidestream token mint --config sidestream.toml --user u1 --claim tenant=7 --for 10m
  sidestream token mint --private-key key.pem --key 2026-11 --user u1
  sidestream token mint --publisher --config sidestream.toml --topic 'conversation:*'

The claims are named as the configuration names them; issuer and audience are
the first that it accepts. Standard error says so when the daemon would refuse
the token all the same.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Mint {
    /// The daemon's configuration; without one, the environment (SIDESTREAM_AUTH_JWT_…) alone is read
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    whose: Whose,
    /// The user it is for; of a publisher its own name, which keeps its idempotency keys apart from others'
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The session that it is for
    #[arg(long, value_name = "NAME", conflicts_with = "publisher")]
    session: Option<String>,
    /// A topic that it opens, or may be published to, or a pattern of topics; may be given several times
    #[arg(long, value_name = "PATTERN")]
    topic: Vec<String>,
    /// How long it is good
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    lifetime: Duration,
    /// Its own id, by which it can be revoked; drawn at random without
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// A claim more; JSON, or else text. May be given several times, and goes before what the others say
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// The id (kid) of the key: the configured one to sign with, or what the token is to say
    #[arg(long, value_name = "KID")]
    key: Option<String>,
    /// A private key (PEM) to sign with, instead of the configured secret
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The algorithm, where the key fits several
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
}

impl Mint {
    pub(super) fn run(self) -> ExitCode {
        // With a private key alone the defaults say which claims mean what.
        let alone = self.private_key.is_some() && self.config.is_none();
        let config = match load(self.config.as_deref()) {
            Ok(config) => Some(config),
            Err(_) if alone => None,
            Err(code) => return code,
        };
        let configured = config.as_ref().and_then(|config| self.whose.settings(config).ok());
        match self.mint(configured) {
            Ok(token) => {
                self.warn(configured, &token);
                print(token + "\n")
            }
            Err(error) => fail(&error),
        }
    }

    fn mint(&self, configured: Option<&config::Jwt>) -> Result<String, Error> {
        let default =
            if self.whose.publisher { config::Jwt::for_publishers() } else { config::Jwt::default() };
        let settings = configured.unwrap_or(&default);
        let (key, kid) = match &self.private_key {
            Some(path) => {
                let wanted: Vec<Algorithm> =
                    self.algorithm.into_iter().chain(settings.algorithms.clone()).collect();
                let key = SigningKey::from_pem(&read(path)?, &wanted).map_err(Error::BadKey)?;
                (key, self.key.clone())
            }
            None => self.configured(configured.ok_or(Error::NoJwt(self.whose.section()))?)?,
        };
        if let Some(algorithm) = self.algorithm.filter(|algorithm| *algorithm != key.algorithm()) {
            let fits = format!("{:?}", key.algorithm());
            return Err(Error::BadKey(jws::BadKey::NotFor { algorithm, fits }));
        }
        key.sign(kid.as_deref(), &self.claims(settings)).map_err(Error::BadKey)
    }

    /// The first configured secret, or the one with the id that is asked for.
    fn configured(&self, settings: &config::Jwt) -> Result<(SigningKey, Option<String>), Error> {
        let asked = |id: Option<&str>| self.key.is_none() || self.key.as_deref() == id;
        let fits = |key: &&jws::JwsKey| self.algorithm.is_none_or(|algorithm| key.verifies(algorithm));
        let secrets = settings.keys.iter().filter(|key| key.secret_length().is_some());
        let key = secrets.filter(|key| asked(key.id())).find(fits).ok_or(Error::NoSecret)?;
        let narrowed = match self.algorithm {
            Some(algorithm) => key.clone().only(&[algorithm]).map_err(Error::BadKey)?,
            None => key.clone(),
        };
        Ok((narrowed.signing().ok_or(Error::NoSecret)?, key.id().map(str::to_owned)))
    }

    /// The claims, under the names that the configuration gives them.
    fn claims(&self, settings: &config::Jwt) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut all = json!({ "iat": now, "exp": now.saturating_add(self.lifetime.as_secs()) });
        if let [issuer, ..] = &settings.issuer[..] {
            all["iss"] = json!(issuer);
        }
        if let [audience, ..] = &settings.audience[..] {
            all["aud"] = json!(audience);
        }
        let id = self.id.clone().unwrap_or_else(|| crate::cli::key::random().expose().to_owned());
        put(&mut all, &settings.token_id, json!(id));
        for (name, value) in [(&settings.user, &self.user), (&settings.session, &self.session)] {
            if let Some(value) = value {
                put(&mut all, name, json!(value));
            }
        }
        if !self.topic.is_empty() {
            put(&mut all, &settings.topics, json!(self.topic));
        }
        for (name, value) in &self.claims {
            put(&mut all, name, value.clone());
        }
        all
    }

    /// Says so when the daemon would not take the token. Keys at a URL are not asked for.
    fn warn(&self, configured: Option<&config::Jwt>, token: &str) {
        if let Some(jwt) = configured.filter(|jwt| jwt.jwks.is_none())
            && let Ok(judge) = TokenJudge::new(jwt, &config::Outbound::default())
            && let Err(denied) = judge.verify(token)
        {
            note(format_args!("the daemon would refuse it: {denied} ({})", denied.label()));
        }
        if self.whose.publisher && self.topic.is_empty() && self.claims.is_empty() {
            note("it may publish to no topic: --topic says to which");
        }
    }
}

/// Sets a claim; dots in its name lead into objects, unless it looks like an address.
fn put(all: &mut Value, name: &str, value: Value) {
    if name.contains('/') {
        all[name] = value;
        return;
    }
    let mut place = all;
    for part in name.split('.') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[part];
    }
    *place = value;
}

fn read(path: &Path) -> Result<String, Error> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(MAX_KEY).read_to_string(&mut text));
    file.map_err(|why| Error::File(path.to_owned(), why))?;
    Ok(text)
}

fn claim(text: &str) -> Result<(String, Value), &'static str> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is written NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let all = || jws::ALGORITHMS.map(|algorithm| format!("{algorithm:?}")).join(", ");
    jws::algorithm(text).ok_or_else(|| format!("it is one of {}", all()))
}
