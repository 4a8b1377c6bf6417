//! Keys and secrets. No message repeats any part of one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

use crate::config::raw::{RawValue, Rejection};
use crate::config::values::Secret;
use crate::net::tls::{self, Trust};

/// A key of publishers: it has to fit in a header.
pub(in crate::config) fn publish_key(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.len() > MAX {
        return Err(format!("is longer than {MAX} bytes").into());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be ASCII without spaces, because it travels in a header".into());
    }
    Ok(Secret::new(text))
}

/// The SHA-256 of a key, in hexadecimal digits.
pub(in crate::config) fn sha256(raw: &RawValue<'_>) -> Result<[u8; 32], Rejection> {
    const WANTED: &str = "the SHA-256 of a key in 64 hexadecimal digits";
    let refuse = || {
        Rejection::with(
            format!("must be {WANTED}"),
            "`sidestream key hash` makes it of a key on its standard input",
        )
    };
    let text = raw.text(WANTED)?;
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(refuse());
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).expect("ASCII");
        *byte = u8::from_str_radix(digits, 16).map_err(|_| refuse())?;
    }
    Ok(hash)
}

/// The SHA-256 of a server's public key, as RFC 7469 and curl write it.
pub(in crate::config) fn key_pin(raw: &RawValue<'_>) -> Result<[u8; 32], Rejection> {
    const WANTED: &str = "the SHA-256 of a public key (SubjectPublicKeyInfo) in base64";
    const HOW: &str = "`openssl x509 -in server.pem -pubkey -noout | openssl pkey -pubin -outform der | \
                       openssl dgst -sha256 -binary | base64` makes it of a certificate";
    let text = raw.text(WANTED)?;
    let digits = ["sha256//", "sha256/"].iter().find_map(|form| text.strip_prefix(form)).unwrap_or(text);
    let hash = BASE64.decode(digits).ok().and_then(|hash| hash.try_into().ok());
    hash.ok_or_else(|| Rejection::with(format!("must be {WANTED}"), HOW))
}

/// A user or a password of Redis.
pub(in crate::config) fn redis_word(raw: &RawValue<'_>) -> Result<String, Rejection> {
    const MAX: usize = 4096;
    match raw.text("a string")? {
        "" => Err("is empty".into()),
        text if text.len() > MAX => Err(format!("is longer than {MAX} bytes").into()),
        text => Ok(text.to_owned()),
    }
}

/// Text that is not looked into here.
pub(in crate::config) fn pem(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    Ok(Secret::new(raw.text("PEM")?))
}

/// A secret that signs or seals.
pub(in crate::config) fn shared_secret(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    const MIN: usize = 32;
    const MAX: usize = 1024;
    let text = raw.text("a string")?;
    if !(MIN..=MAX).contains(&text.len()) {
        return Err(Rejection::with(
            format!("must have {MIN} to {MAX} bytes"),
            "`openssl rand -hex 32` makes a good one",
        ));
    }
    Ok(Secret::new(text))
}

/// A secret that a service signs with: what it gives out, or was given.
pub(in crate::config) fn hook_secret(raw: &RawValue<'_>) -> Result<Secret, Rejection> {
    redis_word(raw).map(Secret::new)
}

/// Certificates of authorities.
pub(in crate::config) fn authorities(raw: &RawValue<'_>) -> Result<String, Rejection> {
    let text = raw.text("certificates in PEM form")?;
    match tls::client(Trust::Only(text.as_bytes()), None, &[]) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(why.to_string().into()),
    }
}
