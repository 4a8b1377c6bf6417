//! How far the holders of a lease have come, as it stands beside the lease: a version that each append replaces, and
//! what is kept with it.

use crate::event::EventId;
use crate::redis::log::entry::id_of;

/// How far the holders have come.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::redis) struct LeasePlace {
    /// No spaces; empty where nothing was ever appended.
    pub(in crate::redis) version: String,
    /// None where nothing is kept with it, or the one who asked knows the version.
    pub(in crate::redis) state: Option<LeasedState>,
}

/// What a holder keeps for the next one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::redis) struct LeasedState {
    /// The newest entry that was appended with it or before.
    pub(in crate::redis) id: Option<EventId>,
    pub(in crate::redis) text: String,
}

impl LeasePlace {
    /// `rest` is what stands behind the version.
    pub(super) fn read(version: &[u8], rest: &[u8]) -> Self {
        let version = String::from_utf8_lossy(version).into_owned();
        let state = rest.iter().position(|&byte| byte == b' ').map(|at| LeasedState {
            id: id_of(&rest[..at]),
            text: String::from_utf8_lossy(&rest[at + 1..]).into_owned(),
        });
        Self { version, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_version_and_perhaps_a_state() {
        let place = LeasePlace::read(b"v1", b"");
        assert_eq!((place.version.as_str(), place.state), ("v1", None));
        let state = LeasePlace::read(b"v2", b"17-3 {\"a b\":1}").state.unwrap();
        assert_eq!((state.id, state.text.as_str()), ("17-3".parse().ok(), "{\"a b\":1}"));
        assert_eq!(LeasePlace::read(b"v2", b" x").state.unwrap().id, None);
    }
}
