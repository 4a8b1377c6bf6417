//! The gates of the streams: from what a caller presents to a grant.
//!
//! Each way to verify is a file of its own; this one knows which is asked. Nothing a caller presents is kept, logged
//! or shown.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use tracing::warn;

use crate::auth::backend::client::BadServer;
use crate::auth::backend::gate::BackendGate;
use crate::auth::caller::{Caller, Verified};
use crate::auth::denied::Denied;
use crate::auth::jwt::JwtGate;
use crate::auth::ticket::Tickets;
use crate::config;
use crate::health::Health;
use crate::net::tls::BadTls;
use crate::shutdown::Drain;

/// A shared secret of fewer bytes than its hash is weaker than its algorithm (RFC 7518 § 3.2).
const SOUND_SECRET: usize = 32;

/// Every configured way to verify a caller.
#[derive(Default)]
pub struct Gates {
    jwt: Option<Arc<JwtGate>>,
    backend: Option<BackendGate>,
    tickets: Option<Arc<Tickets>>,
}

/// Why a way to verify callers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BadGate {
    #[error("the server of the keys of tokens {0}")]
    Jwks(BadTls),
    #[error("auth.backend.url: {0}")]
    Backend(BadServer),
}

impl Gates {
    /// Nothing works in the background before [`Gates::start`]; what asks the application ends with the drain.
    /// `backend` is the one of the public listener, and how it is reached; `tickets` are there when they are
    /// configured. What verifies by the same settings is taken over from `before`, with all that it knows.
    pub fn new(
        settings: &config::Auth,
        outbound: &config::Outbound,
        backend: (&config::Backend, &config::Proxy),
        tickets: Option<Arc<Tickets>>,
        before: Option<&Self>,
        drain: &Drain,
    ) -> Result<Self, BadGate> {
        let kept = before.and_then(|before| before.jwt.as_ref());
        let jwt = settings.jwt.as_ref().map(|jwt| jwt_gate(jwt, outbound, kept)).transpose()?;
        let ask = |settings| match before.and_then(|before| before.backend.as_ref()) {
            Some(gate) if gate.is_of(settings, backend) => Ok(gate.clone()),
            _ => BackendGate::new(settings, backend, drain.clone()),
        };
        let backend = settings.backend.as_ref().map(ask).transpose().map_err(BadGate::Backend)?;
        Ok(Self { jwt, backend, tickets })
    }

    /// Starts what works in the background, which ends when the drain starts or nobody has it any more.
    pub fn start(&self, health: &Health, drain: &Drain) {
        let Some(jwt) = &self.jwt else { return };
        jwt.start("jwks", health, drain);
        if let Some(bytes @ ..SOUND_SECRET) = jwt.shortest_secret() {
            warn!(
                bytes,
                "a secret of [auth.jwt] is so short that it can be guessed from a token; use {SOUND_SECRET} bytes"
            );
        }
    }

    /// Sees that all can verify that have not been started. An error says what cannot, and why.
    pub async fn try_out(&self) -> Result<(), String> {
        match self.jwt.as_ref().filter(|jwt| !jwt.is_started()) {
            Some(jwt) => jwt.fetch_keys().await.map_err(|why| format!("auth.jwt.jwks_url: {why}")),
            None => Ok(()),
        }
    }

    /// Takes out of a request for a route with `auth`, which the backend is to answer, the token that is for us.
    pub fn strip_token(&self, auth: config::StreamAuth, uri: &mut Uri, headers: &mut HeaderMap) {
        if let (config::StreamAuth::Jwt, Some(jwt)) = (auth, &self.jwt) {
            jwt.strip_tokens(uri, headers);
        }
    }

    /// The grant of `caller` on a route with `auth`; None when the route asks nobody who they are.
    pub async fn verify(
        &self,
        auth: config::StreamAuth,
        caller: Caller<'_>,
    ) -> Result<Option<Verified>, Denied> {
        match auth {
            config::StreamAuth::None => Ok(None),
            // Each route has a key of its own.
            config::StreamAuth::Signed => Err(Denied::NotNow("the stream has no signed_key")),
            config::StreamAuth::Jwt => match &self.jwt {
                Some(jwt) => jwt.verify(caller.request).await.map(Some),
                // Closed where the configuration should have been refused.
                None => Err(Denied::NotNow("[auth.jwt] is missing")),
            },
            config::StreamAuth::Backend => {
                let Some(gate) = &self.backend else {
                    return Err(Denied::NotNow("[auth.backend] is missing"));
                };
                let mut request = caller.request.clone();
                self.strip_tokens(&mut request.uri, &mut request.headers);
                gate.verify(&Caller { request: &request, ..caller }).await.map(Some)
            }
            config::StreamAuth::Ticket => {
                let Some(tickets) = &self.tickets else {
                    return Err(Denied::NotNow("[auth.ticket] is missing"));
                };
                tickets.verify(&caller).await.map(Some)
            }
        }
    }

    /// The way of `auth = "jwt"`, where it is configured.
    pub fn jwt(&self) -> Option<&JwtGate> {
        self.jwt.as_deref()
    }

    /// Takes out of a request that goes on to the backend the tickets and their cookies.
    pub fn strip_tokens(&self, uri: &mut Uri, headers: &mut HeaderMap) {
        if let Some(tickets) = &self.tickets {
            tickets.strip_tokens(uri, headers);
        }
    }
}

/// The gate of these settings: the one that there is, if it has the same.
pub(in crate::auth) fn jwt_gate(
    settings: &config::Jwt,
    outbound: &config::Outbound,
    before: Option<&Arc<JwtGate>>,
) -> Result<Arc<JwtGate>, BadGate> {
    if let Some(jwt) = before.filter(|jwt| jwt.is_of(settings)) {
        return Ok(Arc::clone(jwt));
    }
    JwtGate::new(settings, outbound).map(Arc::new).map_err(BadGate::Jwks)
}
