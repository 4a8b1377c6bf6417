//! Who may publish over HTTP: holders of one of the configured keys, `Authorization: Bearer <key>`.
//!
//! A presented key is compared with every configured one in a time that depends on neither; keys are never shown.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::{Choice, ConstantTimeEq};

use crate::config::Secret;

/// The keys that may publish; several, so that they can be rotated.
pub struct PublisherKeys {
    /// Every key with zeros behind it up to the longest one's length, so that all comparisons take as long.
    keys: Vec<(Box<[u8]>, u64)>,
    width: usize,
}

/// Why somebody may not publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKey {
    #[error("publishing over HTTP is off: set internal.publish_keys")]
    Off,
    #[error("a publish key is needed: Authorization: Bearer <key>")]
    Missing,
    #[error("the publish key is wrong")]
    Wrong,
}

impl BadKey {
    /// One word for a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "publish_off",
            Self::Missing => "no_key",
            Self::Wrong => "wrong_key",
        }
    }
}

impl PublisherKeys {
    /// Empty keys are passed over: nobody may publish with nothing.
    pub fn new(keys: &[Secret]) -> Self {
        let keys: Vec<_> = keys.iter().map(Secret::expose).filter(|key| !key.is_empty()).collect();
        let width = keys.iter().map(|key| key.len()).max().unwrap_or(0);
        let keys = keys.into_iter().map(|key| (padded(key.as_bytes(), width), key.len() as u64)).collect();
        Self { keys, width }
    }

    /// Whether the sender of `headers` may publish.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), BadKey> {
        if self.keys.is_empty() {
            return Err(BadKey::Off);
        }
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = fields.next().ok_or(BadKey::Missing)?;
        if fields.next().is_some() {
            return Err(BadKey::Wrong);
        }
        let presented = bearer(field.as_bytes()).ok_or(BadKey::Missing)?;
        if self.holds(presented) { Ok(()) } else { Err(BadKey::Wrong) }
    }

    fn holds(&self, presented: &[u8]) -> bool {
        let length = presented.len() as u64;
        let presented = padded(presented, self.width);
        // No way out before the last key.
        let found = self.keys.iter().fold(Choice::from(0), |found, (key, key_length)| {
            found | (key.ct_eq(&presented) & key_length.ct_eq(&length))
        });
        found.into()
    }
}

/// The start of `text` in `width` bytes.
fn padded(text: &[u8], width: usize) -> Box<[u8]> {
    let mut bytes = vec![0; width];
    let length = text.len().min(width);
    bytes[..length].copy_from_slice(&text[..length]);
    bytes.into()
}

/// The token of `Bearer <token>` (RFC 6750 § 2.1); the scheme's case does not matter.
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at(field.iter().position(|&b| b == b' ')?);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn keys(keys: &[&str]) -> PublisherKeys {
        PublisherKeys::new(&keys.iter().map(|key| Secret::new(*key)).collect::<Vec<_>>())
    }

    fn check(keys: &PublisherKeys, fields: &[&str]) -> Result<(), BadKey> {
        let fields = fields.iter().map(|field| (AUTHORIZATION, HeaderValue::from_str(field).unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        keys.check(&headers)
    }

    #[test]
    fn any_of_the_keys_opens() {
        let keys = keys(&["old-key", "new", "ключ"]);
        for field in ["Bearer old-key", "Bearer new", "bearer new", "BEARER   new ", "Bearer ключ"] {
            assert_eq!(check(&keys, &[field]), Ok(()), "{field}");
        }
    }

    #[test]
    fn nothing_else_opens() {
        let keys = keys(&["old-key", "new"]);
        for field in [
            "Bearer old-kez",
            "Bearer old-ke",
            "Bearer old-keyy",
            "Bearer old-key-and-much-more",
            "Bearer ne",
            "Bearer neww",
            "Bearer NEW",
            "Bearer new old-key",
            "Bearer old-key,new",
            "Bearer \"new\"",
        ] {
            assert_eq!(check(&keys, &[field]), Err(BadKey::Wrong), "{field}");
        }
        for field in ["", "Bearer", "Bearer ", "new", "Basic new", "Bearernew", "Token new"] {
            assert_eq!(check(&keys, &[field]), Err(BadKey::Missing), "{field}");
        }
        assert_eq!(check(&keys, &[]), Err(BadKey::Missing));
        assert_eq!(check(&keys, &["Bearer new", "Bearer new"]), Err(BadKey::Wrong));
    }

    #[test]
    fn without_keys_nobody_publishes() {
        for none in [keys(&[]), keys(&["", ""])] {
            assert_eq!(check(&none, &["Bearer x"]), Err(BadKey::Off));
            assert_eq!(check(&none, &[]), Err(BadKey::Off));
        }
        assert_eq!(check(&keys(&["", "a"]), &["Bearer  "]), Err(BadKey::Missing));
    }
}
