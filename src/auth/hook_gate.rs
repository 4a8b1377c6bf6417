//! Who may send to a hook: holders of its key, and those who sign with its secret (HMAC). Keys and signatures are
//! compared in a time that depends on neither. The body is verified as it came, before anything of it is understood.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use data_encoding::HEXLOWER_PERMISSIVE;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq as _;

use crate::auth::publisher::{bearer, sha256};
use crate::config::{InboundHook, PublisherKey, Secret, SignatureEncoding, SignatureHash, SignatureScheme};

/// How many signatures of one request are looked at.
const MAX_SIGNATURES: usize = 8;

/// What a request to a hook has to show.
pub struct HookGate {
    key: Option<([u8; 32], KeyPlace)>,
    signing: Option<HookSigning>,
}

enum KeyPlace {
    Bearer,
    Header(HeaderName),
    Query(Box<str>),
}

struct HookSigning {
    scheme: SignatureScheme,
    header: HeaderName,
    prefix: Box<str>,
    encoding: SignatureEncoding,
    tolerance: Duration,
    keys: Vec<hmac::Key>,
}

/// Why a request to a hook is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HookDenied {
    #[error("the key of this hook is needed")]
    NoKey,
    #[error("the key of this hook is wrong")]
    WrongKey,
    #[error("a signature is needed")]
    NotSigned,
    #[error("the signature is not of this body, or not by the secret of this hook")]
    BadSignature,
    #[error("the signature's time is too far from now")]
    TooOld,
}

impl HookDenied {
    /// One word for a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::NotSigned => "not_signed",
            Self::BadSignature => "bad_signature",
            Self::TooOld => "signature_too_old",
        }
    }
}

impl HookGate {
    /// One that has neither a key nor a secret takes nothing.
    pub fn new(hook: &InboundHook) -> Self {
        let place = match (&hook.key_header, &hook.key_query) {
            (Some(header), _) => KeyPlace::Header(header.clone()),
            (None, Some(name)) => KeyPlace::Query(name.as_str().into()),
            (None, None) => KeyPlace::Bearer,
        };
        let hash = hook.key.as_ref().map(|key| match key {
            PublisherKey::Plain(key) => sha256(key.expose().as_bytes()),
            PublisherKey::Sha256(hash) => *hash,
        });
        Self { key: hash.map(|hash| (hash, place)), signing: HookSigning::new(hook) }
    }

    /// Checks what can be checked without the body.
    pub fn check_key(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), HookDenied> {
        let Some((hash, place)) = &self.key else {
            return if self.signing.is_some() { Ok(()) } else { Err(HookDenied::WrongKey) };
        };
        let shown = match place {
            KeyPlace::Bearer => only(headers, &AUTHORIZATION).and_then(bearer).map(|key| key.to_vec()),
            KeyPlace::Header(name) => only(headers, name).map(<[u8]>::to_vec),
            KeyPlace::Query(name) => {
                let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
                pairs.find(|(other, _)| *other == **name).map(|(_, value)| value.into_owned().into_bytes())
            }
        };
        let shown = shown.ok_or(HookDenied::NoKey)?;
        if bool::from(hash.ct_eq(&sha256(&shown))) { Ok(()) } else { Err(HookDenied::WrongKey) }
    }

    /// Checks the signature, if there has to be one; `now` is in seconds since 1970.
    pub fn check_signature(&self, headers: &HeaderMap, body: &[u8], now: u64) -> Result<(), HookDenied> {
        match &self.signing {
            None => Ok(()),
            Some(signing) => signing.check(headers, body, now),
        }
    }
}

impl HookSigning {
    fn new(hook: &InboundHook) -> Option<Self> {
        let secret = hook.secret.as_ref()?;
        let known = HeaderName::from_static;
        let (header, prefix, hash, encoding) = match hook.scheme {
            SignatureScheme::Body => (
                hook.signature_header.clone()?,
                hook.signature_prefix.as_deref().unwrap_or_default(),
                hook.signature_hash,
                hook.signature_encoding,
            ),
            SignatureScheme::GitHub => {
                (known("x-hub-signature-256"), "sha256=", SignatureHash::Sha256, SignatureEncoding::Hex)
            }
            SignatureScheme::Stripe => {
                (known("stripe-signature"), "", SignatureHash::Sha256, SignatureEncoding::Hex)
            }
            SignatureScheme::StandardWebhooks => {
                (known("webhook-signature"), "", SignatureHash::Sha256, SignatureEncoding::Base64)
            }
        };
        let algorithm = match hash {
            SignatureHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            SignatureHash::Sha256 => hmac::HMAC_SHA256,
            SignatureHash::Sha512 => hmac::HMAC_SHA512,
        };
        let key = |secret: &Secret| hmac::Key::new(algorithm, &key_bytes(hook.scheme, secret.expose()));
        let keys = [Some(secret), hook.previous_secret.as_ref()].into_iter().flatten().map(key).collect();
        let (scheme, tolerance) = (hook.scheme, hook.tolerance);
        Some(Self { scheme, header, prefix: prefix.into(), encoding, tolerance, keys })
    }

    fn check(&self, headers: &HeaderMap, body: &[u8], now: u64) -> Result<(), HookDenied> {
        let text = |name: &HeaderName| only(headers, name).and_then(|value| str::from_utf8(value).ok());
        let shown = text(&self.header).ok_or(HookDenied::NotSigned)?;
        match self.scheme {
            SignatureScheme::Body | SignatureScheme::GitHub => {
                let shown = shown.strip_prefix(&*self.prefix).ok_or(HookDenied::NotSigned)?;
                self.verify(&[body], [shown])
            }
            SignatureScheme::Stripe => {
                let mut parts = shown.split(',').filter_map(|part| part.trim().split_once('='));
                let time = parts.clone().find(|(name, _)| *name == "t").map(|(_, time)| time);
                let time = self.timely(time, now)?;
                let signatures = parts.by_ref().filter(|(name, _)| *name == "v1").map(|(_, value)| value);
                self.verify(&[time.as_bytes(), b".", body], signatures)
            }
            SignatureScheme::StandardWebhooks => {
                let time = self.timely(text(&HeaderName::from_static("webhook-timestamp")), now)?;
                let id = text(&HeaderName::from_static("webhook-id")).ok_or(HookDenied::NotSigned)?;
                let signatures = shown.split(' ').filter_map(|one| one.strip_prefix("v1,"));
                self.verify(&[id.as_bytes(), b".", time.as_bytes(), b".", body], signatures)
            }
        }
    }

    fn timely<'t>(&self, time: Option<&'t str>, now: u64) -> Result<&'t str, HookDenied> {
        let time = time.ok_or(HookDenied::NotSigned)?;
        let seconds: u64 = time.parse().map_err(|_| HookDenied::NotSigned)?;
        if seconds.abs_diff(now) <= self.tolerance.as_secs() { Ok(time) } else { Err(HookDenied::TooOld) }
    }

    /// Whether one of the signatures is of these parts, one behind the other.
    fn verify<'s>(
        &self,
        parts: &[&[u8]],
        signatures: impl IntoIterator<Item = &'s str>,
    ) -> Result<(), HookDenied> {
        let made: Vec<hmac::Tag> = self
            .keys
            .iter()
            .map(|key| {
                let mut context = hmac::Context::with_key(key);
                parts.iter().for_each(|part| context.update(part));
                context.sign()
            })
            .collect();
        let mut signatures = signatures.into_iter().peekable();
        if signatures.peek().is_none() {
            return Err(HookDenied::NotSigned);
        }
        let shown: Vec<Vec<u8>> =
            signatures.take(MAX_SIGNATURES).filter_map(|text| self.decode(text.trim())).collect();
        let is_one = |tag: &hmac::Tag| shown.iter().any(|shown| bool::from(tag.as_ref().ct_eq(shown)));
        if made.iter().any(is_one) { Ok(()) } else { Err(HookDenied::BadSignature) }
    }

    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        match self.encoding {
            SignatureEncoding::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
            SignatureEncoding::Base64 => BASE64_STANDARD.decode(text).ok(),
        }
    }
}

/// The bytes of a secret. Standard Webhooks write them in base64.
fn key_bytes(scheme: SignatureScheme, secret: &str) -> Vec<u8> {
    let encoded = secret.strip_prefix("v1,whsec_").or_else(|| secret.strip_prefix("whsec_"));
    match (scheme, encoded) {
        (SignatureScheme::StandardWebhooks, Some(text)) => {
            BASE64_STANDARD.decode(text).unwrap_or_else(|_| secret.as_bytes().to_vec())
        }
        _ => secret.as_bytes().to_vec(),
    }
}

/// The value of a header that stands once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut fields = headers.get_all(name).iter();
    let field = fields.next()?;
    fields.next().is_none().then_some(field.as_bytes())
}

#[cfg(test)]
#[path = "hook_gate_tests.rs"]
mod tests;
