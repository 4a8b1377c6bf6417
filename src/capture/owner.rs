//! Whose a recorded answer is. An id opens nothing: who comes back shows what the first request showed.

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

use crate::auth::Grant;

/// Who asks, as far as answers are told apart by it. Never shown: it may hold credentials.
pub(super) struct Owner {
    said: Vec<u8>,
    /// Who it is, where somebody verified it.
    user: Option<String>,
}

impl Owner {
    /// The holder of these credentials.
    pub(super) fn by_credentials(headers: &HeaderMap, named: &[HeaderName], cookies: &[String]) -> Self {
        let mut said = b"credentials".to_vec();
        let mut say = |name: &str, value: &[u8]| {
            // With their lengths: no two owners can say the same.
            for part in [name.as_bytes(), value] {
                said.extend_from_slice(&part.len().to_be_bytes());
                said.extend_from_slice(part);
            }
        };
        for name in named {
            for value in headers.get_all(name) {
                if *name != COOKIE || cookies.is_empty() {
                    say(name.as_str(), value.as_bytes());
                    continue;
                }
                for pair in value.as_bytes().split(|&b| b == b';').map(<[u8]>::trim_ascii) {
                    let of = pair.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii();
                    if cookies.iter().any(|cookie| cookie.as_bytes() == of) {
                        say("cookie", pair);
                    }
                }
            }
        }
        Self { said, user: None }
    }

    /// The bearer of a grant that names somebody.
    pub(super) fn by_grant(grant: &Grant) -> Option<Self> {
        if grant.user.is_none() && grant.session.is_none() {
            return None;
        }
        let user = grant.user.as_ref().map(|user| user.as_str().to_owned());
        let mut said = b"grant".to_vec();
        for name in [&grant.user, &grant.session] {
            let text = name.as_ref().map(|name| name.as_str());
            said.extend_from_slice(&text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
            said.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        Some(Self { said, user })
    }
}

impl Owner {
    /// The same on every instance.
    pub(super) fn scope(&self) -> Arc<[u8]> {
        digest::digest(&digest::SHA256, &self.said).as_ref().into()
    }
}

/// What is kept of an owner.
#[derive(Clone)]
pub(super) struct OwnerMark {
    salt: [u8; 16],
    hash: Box<[u8]>,
    /// What tells apart the names that owners give; of one that came from another instance it is not known.
    pub(super) scope: Arc<[u8]>,
    pub(super) user: Option<Box<str>>,
}

impl OwnerMark {
    /// None without randomness of the system.
    pub(super) fn of(owner: &Owner) -> Option<Self> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salt);
        let hash = hmac::sign(&key, &owner.said).as_ref().into();
        let user = owner.user.as_deref().map(Into::into);
        Some(Self { salt, hash, scope: owner.scope(), user })
    }

    /// What other instances know it by. It says no more than the mark does, and not the user's name.
    pub(super) fn text(&self) -> String {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        format!("{} {}", hex(&self.salt), hex(&self.hash))
    }

    /// None when it is no such text.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let (salt, hash) = text.split_once(' ')?;
        let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
        let (salt, hash) = (bytes(salt)?.try_into().ok()?, bytes(hash)?.into());
        Some(Self { salt, hash, scope: Arc::default(), user: None })
    }

    pub(super) fn is(&self, owner: &Owner) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.salt);
        hmac::verify(&key, &owner.said, &self.hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::event::Name;

    fn owner(fields: &[(HeaderName, &str)], cookies: &[&str]) -> Owner {
        let fields = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let cookies: Vec<String> = cookies.iter().map(|&cookie| cookie.to_owned()).collect();
        Owner::by_credentials(&fields.collect(), &[AUTHORIZATION, COOKIE], &cookies)
    }

    #[test]
    fn an_owner_is_known_by_the_same_credentials_alone() {
        let mark = OwnerMark::of(&owner(&[(AUTHORIZATION, "Bearer a"), (COOKIE, "s=1; t=2")], &[])).unwrap();
        // As another instance reads it.
        let mark = OwnerMark::of_text(&mark.text()).unwrap();
        assert!(mark.is(&owner(&[(COOKIE, "s=1; t=2"), (AUTHORIZATION, "Bearer a")], &[])));
        for other in [
            owner(&[(AUTHORIZATION, "Bearer a"), (COOKIE, "s=1; t=3")], &[]),
            owner(&[(AUTHORIZATION, "Bearer b"), (COOKIE, "s=1; t=2")], &[]),
            owner(&[(COOKIE, "s=1; t=2")], &[]),
            owner(&[], &[]),
        ] {
            assert!(!mark.is(&other));
        }
    }

    #[test]
    fn cookies_that_do_not_count_may_change() {
        let mark = OwnerMark::of(&owner(&[(COOKIE, "s=1; t=2")], &["s"])).unwrap();
        assert!(mark.is(&owner(&[(COOKIE, "t=3; s=1")], &["s"])));
        assert!(!mark.is(&owner(&[(COOKIE, "t=2; s=2")], &["s"])));
        assert!(!mark.is(&owner(&[(COOKIE, "t=2")], &["s"])));
    }

    #[test]
    fn a_grant_is_its_user_and_session() {
        let name = |text: &str| Some(Name::parse(text).unwrap());
        let of = |user, session| Owner::by_grant(&Grant::open(user, session));
        let mark = OwnerMark::of(&of(name("u"), name("s")).unwrap()).unwrap();
        assert!(mark.is(&of(name("u"), name("s")).unwrap()));
        assert_eq!(mark.user.as_deref(), Some("u"));
        for other in
            [of(name("u"), None), of(None, name("s")), of(name("us"), None), of(name("s"), name("u"))]
        {
            assert!(!mark.is(&other.unwrap()));
        }
        assert!(of(None, None).is_none());
    }
}
