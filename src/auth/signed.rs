//! `auth = "signed"`: names of streams that the application has signed, as Rails does for Turbo
//! (`ActiveSupport::MessageVerifier`): base64 of the name as JSON, `--`, the HMAC of that text in hexadecimal digits.
//!
//! Who has such a name may hear what it names, whoever they are and for as long as the key lives. No name that is not
//! signed gets in, and no part of one into a reason.

use std::num::NonZeroU32;

use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use data_encoding::HEXLOWER;
use http::request::Parts;
use serde_json::{Map, Value};

use crate::auth::caller::Verified;
use crate::auth::denied::Denied;
use crate::auth::grant::{Grant, GrantedTopics};
use crate::config;
use crate::event::{Name, Pattern};

/// The parameter of the query that has the name: that of Turbo's own elements.
const PARAMETER: &str = "signed-stream-name";
/// The claim that templates find the name by.
const CLAIM: &str = "stream";
/// How many names one request may have.
const MOST: usize = 1000;

/// What Rails derives its key by: `key_generator.generate_key("turbo/signed_stream_verifier_key")`.
const SALT: &[u8] = b"turbo/signed_stream_verifier_key";
const ITERATIONS: u32 = 1000;
const KEY_BYTES: usize = 64;

/// Verifies names that one application has signed.
pub struct SignedNames {
    /// By any of these.
    keys: Box<[NameKey]>,
}

/// One key under the two hashes that Rails has signed with.
struct NameKey {
    sha256: hmac::Key,
    sha1: hmac::Key,
}

impl NameKey {
    fn new(bytes: &[u8]) -> Self {
        Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, bytes),
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, bytes),
        }
    }

    /// The hash follows from how long the signature is.
    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        match signature.len() {
            32 => hmac::verify(&self.sha256, text.as_bytes(), signature).is_ok(),
            20 => hmac::verify(&self.sha1, text.as_bytes(), signature).is_ok(),
            _ => false,
        }
    }
}

impl SignedNames {
    /// None for a stream that has no key.
    pub fn of(stream: &config::Stream) -> Option<Self> {
        let own = stream.signed_key.iter().map(|key| NameKey::new(key.expose().as_bytes()));
        // Applications that began before Rails 7.0 derive by SHA-1, later ones by SHA-256.
        let base = stream.signed_key_base.iter().flat_map(|base| {
            let by = [pbkdf2::PBKDF2_HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA1];
            by.map(|algorithm| NameKey::new(&derived(algorithm, base.expose())))
        });
        let keys: Box<[NameKey]> = own.chain(base).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// What the names in the query of `request` grant.
    pub fn verify(&self, request: &Parts) -> Result<Verified, Denied> {
        let query = request.uri.query().unwrap_or_default();
        let mut names: Vec<Name> = Vec::new();
        for (_, text) in form_urlencoded::parse(query.as_bytes())
            .filter(|(name, text)| name == PARAMETER && !text.is_empty())
            .take(MOST)
        {
            names.push(self.name(&text).ok_or(Denied::BadSignedName)?);
        }
        if names.is_empty() {
            return Err(Denied::NoSignedName);
        }
        // A `*` of the application's own is no pattern.
        let literal = names.iter().filter(|name| !name.as_str().contains('*'));
        let patterns: Vec<Pattern> = literal.filter_map(|name| Pattern::parse(name.as_str()).ok()).collect();
        let topics = GrantedTopics::Only(patterns.into());
        let all = names.into_iter().map(|name| Value::String(name.to_string())).collect();
        let mut verified = Verified::new(Grant { topics, ..Grant::open(None, None) });
        verified.claims = Map::from_iter([(CLAIM.to_owned(), Value::Array(all))]);
        Ok(verified)
    }

    fn name(&self, text: &str) -> Option<Name> {
        // A plus sign that was not encoded has become a space, which base64 does not have.
        let text = text.replace(' ', "+");
        let (data, signature) = text.rsplit_once("--")?;
        let signature = HEXLOWER.decode(signature.as_bytes()).ok()?;
        if !self.keys.iter().any(|key| key.verifies(data, &signature)) {
            return None;
        }
        let name: String = serde_json::from_slice(&BASE64.decode(data).ok()?).ok()?;
        Name::parse(&name).ok()
    }
}

fn derived(algorithm: pbkdf2::Algorithm, secret: &str) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let iterations = NonZeroU32::new(ITERATIONS).expect("it is not 0");
    pbkdf2::derive(algorithm, iterations, SALT, secret.as_bytes(), &mut key);
    key
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;
