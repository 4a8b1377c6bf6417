//! Texts that only we can make and only we can read: what stands in a ticket and in its cookie.
//!
//! AES-256-GCM-SIV under a key that HKDF derives from the operator's secret for one purpose, so that a text made for
//! one purpose is nothing for another.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Seals for one purpose.
pub(in crate::auth) struct Seal {
    key: RandomizedNonceKey,
    /// The texts' first characters, by which they are known from others.
    prefix: &'static str,
}

/// A sealed text is looked at up to here.
const MAX: usize = 8 << 10;

impl Seal {
    /// `prefix` is the purpose.
    pub(in crate::auth) fn new(secret: &[u8], prefix: &'static str) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &derived(secret, prefix));
        Self { key: key.expect("a key of the cipher's length"), prefix }
    }

    pub(in crate::auth) fn seal(&self, text: &[u8]) -> String {
        let mut sealed = text.to_vec();
        let nonce = self.key.seal_in_place_append_tag(self.aad(), &mut sealed);
        let nonce = nonce.expect("a short text can be sealed");
        let bytes = [&nonce.as_ref()[..], &sealed].concat();
        format!("{}{}", self.prefix, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What was sealed; None for whatever this seal did not make.
    pub(in crate::auth) fn open(&self, text: &str) -> Option<Vec<u8>> {
        let text = text.strip_prefix(self.prefix).filter(|text| text.len() <= MAX)?;
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        if bytes.len() < NONCE_LEN {
            return None;
        }
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let length = self.key.open_in_place(nonce, self.aad(), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }

    fn aad(&self) -> Aad<&'static [u8]> {
        Aad::from(self.prefix.as_bytes())
    }
}

/// A key of 256 bits for `purpose`.
pub(in crate::auth) fn derived(secret: &[u8], purpose: &str) -> [u8; 32] {
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, b"sidestream")
        .extract(secret)
        .expand(&[purpose.as_bytes()], Length)
        .and_then(|key_material| key_material.fill(&mut key))
        .expect("HKDF gives as much");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_seal_that_made_a_text_opens_it() {
        let seal = Seal::new(b"secret", "a1_");
        let text = seal.seal(b"hello");
        assert!(text.starts_with("a1_") && !text.contains("hello"), "{text}");
        assert_ne!(text, seal.seal(b"hello"));
        assert_eq!(seal.open(&text).unwrap(), b"hello");
        assert_eq!(Seal::new(b"secret", "a1_").open(&text).unwrap(), b"hello");
        assert_eq!(Seal::new(b"Secret", "a1_").open(&text), None);
        let for_another = text.replacen("a1_", "b1_", 1);
        assert_eq!(Seal::new(b"secret", "b1_").open(&for_another), None);
    }

    #[test]
    fn a_text_with_one_character_changed_is_nothing() {
        let seal = Seal::new(b"secret", "a1_");
        let text = seal.seal(b"hello");
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut forged = text.clone();
            forged.replace_range(at..=at, other);
            // The last character of base64 has bits that stand for nothing: a strict reader refuses those.
            assert_eq!(seal.open(&forged), None, "{forged}");
        }
        for at in 0..text.len() {
            assert_eq!(seal.open(&text[..at]), None);
        }
        let long = format!("a1_{}", "A".repeat(MAX + 1));
        for forged in ["", "a1_", "a1_====", "a1_\u{e9}", &long, &format!("{text}A")] {
            assert_eq!(seal.open(forged), None, "{forged}");
        }
    }
}
