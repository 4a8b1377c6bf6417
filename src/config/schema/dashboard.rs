//! `[dashboard]`

use std::time::Duration;

use crate::config::parsers::{publish_key, time};
use crate::config::schema::table::section;
use crate::config::schema::units::{DAY, MINUTE};
use crate::config::schema::weak_key::warn_of_weak_keys;
use crate::config::section_reader::SectionReader;
use crate::config::values::Secret;

section! {
    /// The dashboard: a page at `/` of the internal listener. It is off unless there is a key to sign in with.
    pub struct Dashboard checked by check {
        /// Keys that may look and act: publish, close streams, give topics. `sidestream key new` makes one.
        keys: Vec<Secret> = secrets([], publish_key);
        /// Keys that may only look, at all there is: users, addresses, the data of events.
        read_keys: Vec<Secret> = secrets([], publish_key);
        /// How long a sign-in lasts.
        session: Duration = value("12h", time(MINUTE..=DAY * 30));
    }
}

impl Dashboard {
    /// Whether there is a key to sign in with.
    pub fn is_on(&self) -> bool {
        !self.keys.is_empty() || !self.read_keys.is_empty()
    }
}

fn check(dashboard: &Dashboard, s: &mut SectionReader<'_, '_>) {
    warn_of_weak_keys(s, &["keys", "keys_file"], &dashboard.keys);
    warn_of_weak_keys(s, &["read_keys", "read_keys_file"], &dashboard.read_keys);
    if dashboard.read_keys.iter().any(|key| dashboard.keys.contains(key)) {
        s.report(
            &["read_keys", "read_keys_file", "keys"],
            "a key of `read_keys` is one of `keys` too: it would be able to act",
            Some("give those who only look a key of their own: `sidestream key new` makes one".to_owned()),
        );
    }
}
