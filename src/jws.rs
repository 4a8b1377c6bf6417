//! Keys of tokens, and the signatures made with them (JWS, RFC 7515 to 7518).
//!
//! Invariant: a key knows by its own kind which algorithms it is for, and verifies no other; what a token says of its
//! algorithm chooses among them at most. This file must not know claims, clocks or where a key came from.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;
use serde::Deserialize;
use serde_json::Value;

/// Every algorithm that is spoken. ES512 is not among them, and neither is `none`.
pub const ALGORITHMS: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The most keys that a set may hold.
pub const MOST_KEYS: usize = 64;

/// A key that verifies. Cloning shares.
#[derive(Clone)]
pub struct JwsKey(Arc<Inner>);

struct Inner {
    id: Option<Box<str>>,
    algorithms: Box<[Algorithm]>,
    material: DecodingKey,
}

/// A key that signs.
pub struct SigningKey {
    algorithm: Algorithm,
    material: EncodingKey,
}

/// Whether a set of keys may hold shared secrets: one that travels may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secrets {
    Taken,
    PassedOver,
}

/// Why there is no key in what was given: the rest of a sentence. Holds nothing of the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKey {
    #[error("is empty")]
    Empty,
    #[error("is not base64")]
    NotBase64,
    #[error("is not a public key in PEM form (`-----BEGIN PUBLIC KEY-----`), nor a certificate")]
    NotPem,
    #[error("is a private key: only the public one is needed here")]
    Private,
    #[error(
        "is not a private key in PEM form: PKCS#8 (`-----BEGIN PRIVATE KEY-----`), which `openssl pkcs8 -topk8 -nocrypt` makes of others, or PKCS#1 for RSA"
    )]
    NotPrivatePem,
    #[error("is a key of a kind that is not supported: RSA, P-256, P-384 and Ed25519 are (ES512 is not)")]
    Unsupported,
    #[error("is an RSA key of {0} bits: 2048 to 8192 are supported")]
    RsaBits(usize),
    #[error("is for {fits}, not for {algorithm:?}")]
    NotFor { algorithm: Algorithm, fits: String },
    #[error("is not a JWK set: {0}")]
    NotASet(&'static str),
    #[error("holds no key that can be used here")]
    NoKey,
    #[error("holds more than {MOST_KEYS} keys")]
    TooMany,
}

/// The keys of a JWK set.
#[derive(PartialEq, Eq, Debug)]
pub struct JwkSet {
    /// At most [`MOST_KEYS`].
    pub keys: Vec<JwsKey>,
    /// How many more there were that could have been used.
    pub too_many: usize,
    /// How many are not for signatures, or of a kind that is not supported.
    pub unusable: usize,
}

impl JwsKey {
    /// A shared secret, for every HS algorithm.
    pub fn from_secret(secret: &[u8]) -> Result<Self, BadKey> {
        if secret.is_empty() {
            return Err(BadKey::Empty);
        }
        Ok(Self::new(None, AlgorithmFamily::Hmac.algorithms(), DecodingKey::from_secret(secret)))
    }

    /// A shared secret that is written in base64, either alphabet, padded or not.
    pub fn from_base64_secret(text: &str) -> Result<Self, BadKey> {
        Self::from_secret(&base64_secret(text)?)
    }

    /// A public key, or a certificate's: RSA (all RS and PS algorithms), P-256, P-384, Ed25519. Line ends may be
    /// written `\n`, as they are in variables.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let text = text.replace("\\n", "\n");
        if text.contains("PRIVATE KEY-----") {
            return Err(BadKey::Private);
        }
        let text =
            if text.contains("-----BEGIN CERTIFICATE-----") { key_of_certificate(&text)? } else { text };
        let pem = text.trim().as_bytes();
        let material = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem));
        match material {
            Ok(material) => Self::of_kind(None, material),
            // Sound PEM of another kind of key, such as Ed448.
            Err(_) if text.contains("-----BEGIN PUBLIC KEY-----") && pem_is_sound(pem) => {
                Err(BadKey::Unsupported)
            }
            Err(_) => Err(BadKey::NotPem),
        }
    }

    /// The keys of a JWK set that are for signatures and of a supported kind; the others are passed over. It may begin
    /// with a byte order mark.
    pub fn from_jwks(text: &[u8], secrets: Secrets) -> Result<JwkSet, BadKey> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let value: Value = serde_json::from_slice(text).map_err(|_| BadKey::NotASet("it is not JSON"))?;
        let set: Set =
            serde_json::from_value(value).map_err(|_| BadKey::NotASet("it has no array `keys`"))?;
        let all = set.keys.len();
        let mut keys: Vec<Self> =
            set.keys.into_iter().filter_map(|key| Self::from_jwk(key, secrets)).collect();
        let unusable = all - keys.len();
        let too_many = keys.len().saturating_sub(MOST_KEYS);
        keys.truncate(MOST_KEYS);
        if keys.is_empty() { Err(BadKey::NoKey) } else { Ok(JwkSet { keys, too_many, unusable }) }
    }

    fn from_jwk(value: Value, secrets: Secrets) -> Option<Self> {
        /// RFC 7517 and 7518, as far as a verifier needs them.
        #[derive(Deserialize)]
        struct Given {
            kty: String,
            crv: Option<String>,
            alg: Option<String>,
            #[serde(rename = "use")]
            usage: Option<String>,
            key_ops: Option<Vec<String>>,
            kid: Option<String>,
            n: Option<String>,
            e: Option<String>,
            x: Option<String>,
            y: Option<String>,
            k: Option<String>,
        }
        let given: Given = serde_json::from_value(value).ok()?;
        let for_signatures = given.usage.as_deref().is_none_or(|usage| usage == "sig")
            && given.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        let kept = given.kid.as_deref().is_none_or(|id| id.len() <= 1024);
        if !for_signatures || !kept {
            return None;
        }
        fn of_length(text: Option<&str>, length: usize) -> Option<&str> {
            text.filter(|text| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == length))
        }
        let (x, y) = (given.x.as_deref(), given.y.as_deref());
        let material = match (&*given.kty, given.crv.as_deref()) {
            ("RSA", _) => DecodingKey::from_rsa_components(given.n.as_deref()?, given.e.as_deref()?).ok()?,
            ("EC", Some("P-256")) => {
                DecodingKey::from_ec_components(of_length(x, 32)?, of_length(y, 32)?).ok()?
            }
            ("EC", Some("P-384")) => {
                DecodingKey::from_ec_components(of_length(x, 48)?, of_length(y, 48)?).ok()?
            }
            ("OKP", Some("Ed25519")) => DecodingKey::from_ed_components(of_length(x, 32)?).ok()?,
            ("oct", _) if secrets == Secrets::Taken => {
                let secret = URL_SAFE_NO_PAD.decode(given.k.as_deref()?).ok()?;
                if secret.is_empty() {
                    return None;
                }
                DecodingKey::from_secret(&secret)
            }
            _ => return None,
        };
        let key = Self::of_kind(given.kid.as_deref(), material).ok()?;
        match given.alg.as_deref() {
            // RFC 9864's name of what was EdDSA.
            Some("Ed25519") => key.only(&[Algorithm::EdDSA]).ok(),
            Some(name) => key.only(&[algorithm(name)?]).ok(),
            None => Some(key),
        }
    }

    fn new(id: Option<&str>, algorithms: &[Algorithm], material: DecodingKey) -> Self {
        choose_back_end();
        Self(Arc::new(Inner { id: id.map(Into::into), algorithms: algorithms.into(), material }))
    }

    /// A key with the algorithms that fit it.
    fn of_kind(id: Option<&str>, material: DecodingKey) -> Result<Self, BadKey> {
        let family = material.family();
        let algorithms = match family {
            AlgorithmFamily::Hmac => family.algorithms(),
            AlgorithmFamily::Rsa => match rsa_bits(&material) {
                2048..=8192 => family.algorithms(),
                0 => return Err(BadKey::NotPem),
                bits => return Err(BadKey::RsaBits(bits)),
            },
            AlgorithmFamily::Ec => match material.try_get_as_bytes().map(<[u8]>::len) {
                Ok(65) => &[Algorithm::ES256],
                Ok(97) => &[Algorithm::ES384],
                _ => return Err(BadKey::Unsupported),
            },
            AlgorithmFamily::Ed => match material.try_get_as_bytes().map(<[u8]>::len) {
                Ok(32) => &[Algorithm::EdDSA][..],
                _ => return Err(BadKey::Unsupported),
            },
        };
        Ok(Self::new(id, algorithms, material))
    }

    /// The same key under this id (`kid`).
    pub fn named(self, id: &str) -> Self {
        Self::new(Some(id), &self.0.algorithms, self.0.material.clone())
    }

    /// The same key for these algorithms alone, each of which it has to be for.
    pub fn only(self, algorithms: &[Algorithm]) -> Result<Self, BadKey> {
        if let Some(&algorithm) = algorithms.iter().find(|algorithm| !self.verifies(**algorithm)) {
            let fits: Vec<String> = self.0.algorithms.iter().map(|fits| format!("{fits:?}")).collect();
            return Err(BadKey::NotFor { algorithm, fits: fits.join(", ") });
        }
        Ok(Self::new(self.id(), algorithms, self.0.material.clone()))
    }

    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    pub fn algorithms(&self) -> &[Algorithm] {
        &self.0.algorithms
    }

    pub fn verifies(&self, algorithm: Algorithm) -> bool {
        self.0.algorithms.contains(&algorithm)
    }

    /// Whether `signature` (base64url) is of this key over `message`; never with an algorithm that the key is not for.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.verifies(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.0.material, algorithm).unwrap_or(false)
    }

    /// A shared secret's length in bytes.
    pub fn secret_length(&self) -> Option<usize> {
        let secret = self.0.material.family() == AlgorithmFamily::Hmac;
        secret.then(|| self.0.material.try_get_as_bytes().map_or(0, <[u8]>::len))
    }

    /// The key that signs what this one verifies: only of a shared secret.
    pub fn signing(&self) -> Option<SigningKey> {
        let secret = self.secret_length().and_then(|_| self.0.material.try_get_as_bytes().ok())?;
        Some(SigningKey {
            algorithm: *self.0.algorithms.first()?,
            material: EncodingKey::from_secret(secret),
        })
    }
}

impl PartialEq for JwsKey {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |key: &Self| match key.0.material.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes.clone(), Vec::new()),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        self.0.id == other.0.id && self.0.algorithms == other.0.algorithms && bytes(self) == bytes(other)
    }
}

impl Eq for JwsKey {}

impl fmt::Debug for JwsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.0.id)
            .field("algorithms", &self.0.algorithms)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A private key in PEM form, with the first of `wanted` that it can sign with, or its usual algorithm.
    pub fn from_pem(text: &str, wanted: &[Algorithm]) -> Result<Self, BadKey> {
        choose_back_end();
        let pem = text.trim().as_bytes();
        let material = EncodingKey::from_rsa_pem(pem)
            .ok()
            // The reader takes a public key for a private one.
            .filter(|_| text.contains("PRIVATE KEY-----"))
            .or_else(|| EncodingKey::from_ec_pem(pem).ok())
            .or_else(|| EncodingKey::from_ed_pem(pem).ok())
            .ok_or(BadKey::NotPrivatePem)?;
        let family = material.family();
        let own = family.algorithms();
        let candidates = wanted.iter().chain(own).copied().filter(|algorithm| own.contains(algorithm));
        for algorithm in candidates {
            // The curve shows in what it takes.
            if jsonwebtoken::crypto::sign(b"", &material, algorithm).is_ok() {
                return Ok(Self { algorithm, material });
            }
        }
        Err(BadKey::Unsupported)
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A token of these claims, in the compact form.
    pub fn sign(&self, id: Option<&str>, claims: &Value) -> Result<String, BadKey> {
        let mut header = jsonwebtoken::Header::new(self.algorithm);
        header.kid = id.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.material).map_err(|_| BadKey::Unsupported)
    }
}

/// The algorithm of this name.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse().ok()
}

/// Said aloud, so that no other crate's choice of features changes it.
fn choose_back_end() {
    // It has been chosen by an earlier call.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

fn base64_secret(text: &str) -> Result<Vec<u8>, BadKey> {
    let plain = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).map_err(|_| BadKey::NotBase64)
}

/// The public key of the first certificate in `text`, as PEM.
fn key_of_certificate(text: &str) -> Result<String, BadKey> {
    let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| BadKey::NotPem)?;
    let parsed = ParsedCertificate::try_from(&certificate).map_err(|_| BadKey::NotPem)?;
    let key = STANDARD.encode(parsed.subject_public_key_info().as_ref());
    Ok(format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"))
}

fn pem_is_sound(pem: &[u8]) -> bool {
    rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pem).is_ok()
}

/// The length of an RSA key's modulus; 0 when it is no RSA key.
fn rsa_bits(material: &DecodingKey) -> usize {
    choose_back_end();
    let n = match Jwk::from_decoding_key(material, None).map(|jwk| jwk.algorithm) {
        Ok(AlgorithmParameters::RSA(parameters)) => URL_SAFE_NO_PAD.decode(parameters.n).unwrap_or_default(),
        _ => return 0,
    };
    let leading = n.iter().take_while(|byte| **byte == 0).count();
    match n.get(leading) {
        Some(first) => (n.len() - leading) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
#[path = "jws/tests.rs"]
mod tests;
