//! How often callers may ask for streams that are not on this instance.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::auth::Bearer;
use crate::expiring::ExpiringMap;
use crate::lock::Mutex;
use crate::pace::{Pace, Rate};

/// How often callers ask for streams that are not here.
pub(super) struct Callers {
    per_minute: AtomicU32,
    paces: Mutex<ExpiringMap<Box<str>, Pace>>,
}

/// How many callers are remembered.
const MAX_CALLERS: usize = 10_000;

/// A caller may have several streams, and all of them elsewhere.
const STREAMS_OF_A_CALLER: u32 = 10;

impl Callers {
    pub(super) fn new(rate: Rate) -> Self {
        Self { per_minute: rate.per_minute.into(), paces: Mutex::new(ExpiringMap::new(MAX_CALLERS)) }
    }

    /// How often a stream may be changed; a caller may have several.
    pub(super) fn rate(&self) -> Rate {
        Rate { per_minute: self.per_minute.load(Ordering::Relaxed) }
    }

    /// From now on they ask at this rate.
    pub(super) fn set(&self, rate: Rate) {
        self.per_minute.store(rate.per_minute, Ordering::Relaxed);
    }

    /// Counts one more time that `bearer` asks; how long to wait where that is too often.
    pub(super) fn take(&self, bearer: &Bearer, address: IpAddr) -> Result<(), Duration> {
        let grant = &bearer.grant;
        let caller = match (&grant.user, &grant.session, &grant.token) {
            (Some(user), ..) => format!("user {user}"),
            (None, Some(session), _) => format!("session {session}"),
            (None, None, Some(token)) => format!("token {token}"),
            (None, None, None) => address.to_string(),
        };
        let rate = Rate { per_minute: self.rate().per_minute.saturating_mul(STREAMS_OF_A_CALLER) };
        let now = Instant::now();
        let mut paces = self.paces.lock();
        let mut pace = paces.get(&*caller, now).copied().unwrap_or_default();
        pace.take(rate, now)?;
        let free = pace.free().unwrap_or(now);
        paces.insert(caller.into(), pace, free, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grant;
    use crate::event::Name;

    #[test]
    fn callers_are_told_apart_by_what_is_known_of_them() {
        let callers = Callers::new(Rate { per_minute: 1 });
        let name = |text: &str| Name::parse(text).ok();
        let bearer = |user: &str, session: &str, token: &str| Bearer {
            grant: Grant { token: name(token), ..Grant::open(name(user), name(session)) },
            of_route: vec![],
        };
        let [here, there] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        // Everybody behind one proxy has its address: it counts for those without a user, a session or a token.
        for caller in [bearer("u", "", ""), bearer("", "u", ""), bearer("", "", "u"), bearer("", "", "")] {
            for _ in 0..STREAMS_OF_A_CALLER {
                assert_eq!(callers.take(&caller, here), Ok(()), "{caller:?}");
            }
            assert!(callers.take(&caller, here).is_err(), "{caller:?}");
        }
        assert!(callers.take(&bearer("u", "s", "t"), there).is_err(), "the same user, wherever they are");
        assert_eq!(callers.take(&bearer("", "", ""), there), Ok(()));
    }
}
