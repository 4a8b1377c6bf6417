//! The gate of `auth = "jwt"`: from a request, or from a token alone, to a grant.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, Uri};

use crate::auth::caller::Verified;
use crate::auth::denied::Denied;
use crate::auth::jwt::grant::ClaimMapping;
use crate::auth::jwt::jwks::{NoKeys, RemoteKeys};
use crate::auth::jwt::presented::{presented, strip_tokens};
use crate::auth::jwt::verify;
use crate::auth::jwt::verify::{Claims, Rules};
use crate::config;
use crate::config::TokenSource;
use crate::health::Health;
use crate::jws::JwsKey;
use crate::net::tls::BadTls;
use crate::shutdown::{Drain, DrainGuard};

/// Verifies tokens, and maps their claims.
pub struct JwtGate {
    rules: Rules,
    mapping: ClaimMapping,
    from: Box<[TokenSource]>,
    /// The configured keys.
    keys: Box<[JwsKey]>,
    /// The fetched keys, where there are some, with the configured ones among them.
    jwks: Option<Arc<RemoteKeys>>,
    /// What it was made of.
    settings: config::Jwt,
    /// Ends what was started for it.
    fetching: OnceLock<DrainGuard>,
}

impl JwtGate {
    /// Reads the system's authorities where keys are to be fetched by https; fetches nothing yet.
    pub fn new(settings: &config::Jwt, outbound: &config::Outbound) -> Result<Self, BadTls> {
        let remote = |jwks| RemoteKeys::new(jwks, &settings.algorithms, &settings.keys, outbound.rules());
        let jwks = settings.jwks.as_ref().map(remote).transpose()?;
        Ok(Self {
            rules: Rules::new(settings),
            mapping: ClaimMapping::new(settings),
            from: settings.from.clone().into(),
            keys: settings.keys.clone().into(),
            jwks: jwks.map(Arc::new),
            settings: settings.clone(),
            fetching: OnceLock::new(),
        })
    }

    /// Fetches the keys of the URL in the background, from now until the drain starts or this is dropped; `name` is
    /// what depends on it. A second time changes nothing.
    pub fn start(&self, name: &'static str, health: &Health, drain: &Drain) {
        if let Some(jwks) = self.jwks.as_ref().filter(|_| !self.is_started()) {
            let (drain, guard) = drain.part();
            drain.spawn_essential("jwks", Arc::clone(jwks).keep(health.depend_on(name, true), drain.clone()));
            let _ = self.fetching.set(guard);
        }
    }

    /// Whether its keys are fetched in the background.
    pub fn is_started(&self) -> bool {
        self.fetching.get().is_some()
    }

    /// Whether it verifies by these settings.
    pub fn is_of(&self, settings: &config::Jwt) -> bool {
        self.settings == *settings
    }

    /// Fetches the keys of the URL once, where there is one: for a command that verifies a single token, or to see that
    /// it can be done.
    pub async fn fetch_keys(&self) -> Result<(), impl std::error::Error + use<>> {
        match &self.jwks {
            Some(jwks) => jwks.fetch_alone().await,
            None => Ok::<(), NoKeys>(()),
        }
    }

    /// Takes every token out of a request for somebody else.
    pub fn strip_tokens(&self, uri: &mut Uri, headers: &mut HeaderMap) {
        strip_tokens(uri, headers, &self.from);
    }

    /// The sender of `request`: of several cookies the first that is good counts.
    pub async fn verify(&self, request: &Parts) -> Result<Verified, Denied> {
        let mut refused = None;
        for token in presented(request, &self.from)? {
            match self.verify_token(&token).await {
                Ok(verified) => return Ok(verified),
                // Whether that one is good may be known in a moment.
                Err(unknown @ Denied::NotNow(_)) => refused = Some(unknown),
                Err(denied) => refused = refused.or(Some(denied)),
            }
        }
        Err(refused.unwrap_or(Denied::NoToken))
    }

    /// The bearer of `token`. Waits for keys that may be on their way.
    pub async fn verify_token(&self, token: &str) -> Result<Verified, Denied> {
        let claims = match self.claims(token, SystemTime::now()) {
            Err(Denied::UnknownKey | Denied::UnsupportedAlgorithm | Denied::BadSignature) => {
                self.claims_with_newer_keys(token).await?
            }
            decided => decided?,
        };
        let grant = self.mapping.grant(&claims)?;
        Ok(Verified { grant, claims: claims.all, headers: HeaderMap::new() })
    }

    /// The claims of `token` at `now`, with the keys that are there.
    fn claims(&self, token: &str, now: SystemTime) -> Result<Claims, Denied> {
        match self.jwks.as_ref().and_then(|jwks| jwks.keys()) {
            Some(keys) => verify(token, &keys, &self.rules, now),
            None => verify(token, &self.keys, &self.rules, now),
        }
    }

    /// The same, with keys that are fetched for it, if that may help.
    async fn claims_with_newer_keys(&self, token: &str) -> Result<Claims, Denied> {
        if let Some(jwks) = &self.jwks
            && !jwks.keys().is_some_and(|keys| verify::knows_key(token, &keys))
        {
            jwks.again().await;
            if jwks.keys().is_none() {
                return Err(Denied::NotNow("the keys of tokens have not been fetched yet"));
            }
        }
        self.claims(token, SystemTime::now())
    }

    /// The shortest of the shared secrets, in bytes.
    pub fn shortest_secret(&self) -> Option<usize> {
        self.keys.iter().filter_map(JwsKey::secret_length).min()
    }
}
