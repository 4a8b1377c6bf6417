//! Who may see the dashboard, and who may act: keys, and what a browser holds in a key's place once it has signed in.
//!
//! A sign-in is sealed, not kept: it names its end and is signed with a key that is made of the configured one. So it
//! outlives a restart, is good on every instance that has the key, and ends with the key. Only those that were ended
//! early are remembered.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use crate::clock::{from_unix_ms, unix_ms};
use crate::config;
use crate::config::Secret;
use crate::expiring::ExpiringMap;
use crate::lock::Mutex;

/// What somebody may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum May {
    Read,
    Act,
}

impl May {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Act => "act",
        }
    }
}

/// Somebody who has just signed in.
#[derive(Debug)]
pub struct SignedIn {
    pub may: May,
    /// What the browser shows from now on.
    pub seal: Secret,
    pub lasts: Duration,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotSignedIn {
    #[error("sign in with one of dashboard.keys or dashboard.read_keys")]
    Missing,
    #[error("this is none of dashboard.keys and dashboard.read_keys")]
    Wrong,
    #[error("too many wrong keys from this address: wait a minute")]
    TooMany,
    #[error("the sign-in is over: sign in again")]
    Over,
}

/// The configured keys.
pub struct DashboardKeys {
    keys: Vec<DashboardKey>,
    lasts: Duration,
    /// Sign-ins that were ended before their time.
    ended: Arc<Mutex<ExpiringMap<[u8; NONCE], ()>>>,
    /// How many wrong keys an address has shown of late.
    wrong: Arc<Mutex<ExpiringMap<IpAddr, u32>>>,
}

struct DashboardKey {
    hash: [u8; 32],
    seals: hmac::Key,
    may: May,
}

/// Wrong keys that an address may show within [`WINDOW`] of each other.
const MOST_WRONG: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses, and ended sign-ins, that are remembered.
const REMEMBERED: usize = 10_000;
const NONCE: usize = 16;
/// The end in milliseconds, and the nonce.
const CLAIM: usize = 8 + NONCE;

impl DashboardKeys {
    pub fn new(section: &config::Dashboard) -> Self {
        let key = |may| {
            move |key: &Secret| DashboardKey {
                hash: sha256(key.expose().as_bytes()),
                seals: hmac::Key::new(
                    hmac::HMAC_SHA256,
                    &sha256(&[b"sidestream dashboard\0", key.expose().as_bytes()].concat()),
                ),
                may,
            }
        };
        let keys = section.keys.iter().map(key(May::Act));
        Self {
            keys: keys.chain(section.read_keys.iter().map(key(May::Read))).collect(),
            lasts: section.session,
            ended: Arc::new(Mutex::new(ExpiringMap::new(REMEMBERED))),
            wrong: Arc::new(Mutex::new(ExpiringMap::new(REMEMBERED))),
        }
    }

    /// The same with the keys of `section`. What is known of addresses and of sign-ins that were ended stays known.
    pub fn renewed(&self, section: &config::Dashboard) -> Self {
        Self { ended: Arc::clone(&self.ended), wrong: Arc::clone(&self.wrong), ..Self::new(section) }
    }

    /// What the holder of `key` may. Wrong ones are counted by address.
    pub fn check(&self, key: &[u8], from: IpAddr) -> Result<May, NotSignedIn> {
        self.find(key, from).map(|key| key.may)
    }

    /// Signs the holder of `key` in.
    pub fn sign_in(&self, key: &[u8], from: IpAddr) -> Result<SignedIn, NotSignedIn> {
        let key = self.find(key, from)?;
        let mut claim = [0; CLAIM];
        let end = unix_ms(SystemTime::now() + self.lasts);
        claim[..8].copy_from_slice(&end.to_be_bytes());
        // Without randomness nobody is signed in: two sign-ins would end together.
        getrandom::fill(&mut claim[8..]).map_err(|_| NotSignedIn::Over)?;
        let tag = hmac::sign(&key.seals, &claim);
        let seal = URL_SAFE_NO_PAD.encode([&claim, tag.as_ref()].concat());
        Ok(SignedIn { may: key.may, seal: Secret::new(seal), lasts: self.lasts })
    }

    /// What the holder of a seal may.
    pub fn signed_in(&self, seal: &str) -> Result<May, NotSignedIn> {
        let (claim, may) = self.open(seal).ok_or(NotSignedIn::Over)?;
        let ended = self.ended.lock().get(nonce(&claim), Instant::now()).is_some();
        if ended { Err(NotSignedIn::Over) } else { Ok(may) }
    }

    /// Ends a sign-in before its time, on this instance.
    pub fn sign_out(&self, seal: &str) {
        let Some((claim, _)) = self.open(seal) else { return };
        let (now, left) = (Instant::now(), end(&claim).duration_since(SystemTime::now()).unwrap_or_default());
        self.ended.lock().insert(*nonce(&claim), (), now + left, now);
    }

    fn find(&self, key: &[u8], from: IpAddr) -> Result<&DashboardKey, NotSignedIn> {
        let (from, now) = (network(from), Instant::now());
        if self.wrong.lock().get(&from, now).is_some_and(|wrong| *wrong >= MOST_WRONG) {
            return Err(NotSignedIn::TooMany);
        }
        let hash = sha256(key);
        // Every key is looked at, whichever it is.
        let same = self.keys.iter().filter(|key| bool::from(key.hash.ct_eq(&hash)));
        same.fold(None, |first, key| first.or(Some(key))).ok_or_else(|| {
            let mut wrong = self.wrong.lock();
            let count = wrong.remove(&from).unwrap_or(0);
            wrong.insert(from, count + 1, now + WINDOW, now);
            NotSignedIn::Wrong
        })
    }

    /// The claim of a seal that is one of ours and not over.
    fn open(&self, seal: &str) -> Option<([u8; CLAIM], May)> {
        let bytes = URL_SAFE_NO_PAD.decode(seal).ok()?;
        let (claim, tag) = bytes.split_first_chunk::<CLAIM>()?;
        let key = self.keys.iter().find(|key| hmac::verify(&key.seals, claim, tag).is_ok())?;
        (end(claim) > SystemTime::now()).then_some((*claim, key.may))
    }
}

fn end(claim: &[u8; CLAIM]) -> SystemTime {
    let ms = claim.first_chunk().map_or(0, |ms| u64::from_be_bytes(*ms));
    from_unix_ms(ms)
}

fn nonce(claim: &[u8; CLAIM]) -> &[u8; NONCE] {
    claim.last_chunk().expect("a claim ends with its nonce")
}

/// The address, or for IPv6 the network that one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn keys(session: Duration) -> DashboardKeys {
        keys_of("act-0123456789abcdef", session)
    }

    fn keys_of(act: &str, session: Duration) -> DashboardKeys {
        DashboardKeys::new(&config::Dashboard {
            keys: vec![Secret::new(act)],
            read_keys: vec![Secret::new("read-0123456789abcdef")],
            session,
        })
    }

    #[test]
    fn a_key_opens_what_it_is_for_and_nothing_else_opens() {
        let keys = keys(Duration::from_secs(60));
        assert_eq!(keys.check(b"act-0123456789abcdef", HERE), Ok(May::Act));
        assert_eq!(keys.check(b"read-0123456789abcdef", HERE), Ok(May::Read));
        for wrong in [&b""[..], b"act-0123456789abcde", b"\xff"] {
            assert_eq!(keys.check(wrong, HERE), Err(NotSignedIn::Wrong));
        }
    }

    #[test]
    fn a_sign_in_is_good_until_its_end_and_wherever_the_key_is() {
        let first = keys(Duration::from_secs(60));
        let seal = first.sign_in(b"act-0123456789abcdef", HERE).unwrap().seal;
        assert_eq!(first.signed_in(seal.expose()), Ok(May::Act));
        let restarted = keys(Duration::from_secs(60));
        assert_eq!(restarted.signed_in(seal.expose()), Ok(May::Act));
        assert_eq!(
            keys_of("another-key-012345", Duration::ZERO).signed_in(seal.expose()),
            Err(NotSignedIn::Over)
        );
        let read = first.sign_in(b"read-0123456789abcdef", HERE).unwrap();
        assert_eq!((read.may, first.signed_in(read.seal.expose())), (May::Read, Ok(May::Read)));
        let over = keys(Duration::ZERO).sign_in(b"act-0123456789abcdef", HERE).unwrap();
        assert_eq!(first.signed_in(over.seal.expose()), Err(NotSignedIn::Over));
    }

    #[test]
    fn a_seal_that_was_changed_or_signed_out_is_no_good() {
        let keys = keys(Duration::from_secs(60));
        let seal = keys.sign_in(b"act-0123456789abcdef", HERE).unwrap().seal;
        let bytes = URL_SAFE_NO_PAD.decode(seal.expose()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(keys.signed_in(&URL_SAFE_NO_PAD.encode(changed)), Err(NotSignedIn::Over), "{at}");
        }
        for wrong in ["", "a", "%", &seal.expose()[1..]] {
            assert_eq!(keys.signed_in(wrong), Err(NotSignedIn::Over));
        }
        let other = keys.sign_in(b"act-0123456789abcdef", HERE).unwrap().seal;
        keys.sign_out(seal.expose());
        assert_eq!(keys.signed_in(seal.expose()), Err(NotSignedIn::Over));
        assert_eq!(keys.signed_in(other.expose()), Ok(May::Act), "it is another sign-in");
    }

    #[test]
    fn who_guesses_is_stopped_by_address_or_network() {
        let keys = keys(Duration::from_secs(60));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for nth in 0..MOST_WRONG {
            let from = address(&format!("2001:db8::{nth}"));
            assert_eq!(keys.check(b"wrong", from), Err(NotSignedIn::Wrong));
        }
        let right = b"act-0123456789abcdef";
        assert_eq!(keys.check(right, address("2001:db8::ffff")), Err(NotSignedIn::TooMany));
        assert_eq!(keys.check(right, address("2001:db8:0:1::1")), Ok(May::Act));
        assert_eq!(keys.check(right, HERE), Ok(May::Act));
    }
}
